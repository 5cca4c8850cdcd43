"""A worker class that does not do anything yet. See docs/writing-a-worker.md.

    saola -k step1.MyWorker app:app
"""

from saola.workers.base import Worker  # `from gunicorn.workers.base import Worker` is the same here


class MyWorker(Worker):
    pass
