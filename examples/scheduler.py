"""A scheduler that must run once, beside four web workers: python examples/scheduler.py

Needs Flask and APScheduler. Each web worker could start a scheduler of its own, and every job would run four
times; here it has a process of its own, of which there is never more than one.
"""

from __future__ import annotations

import os

from flask import Flask

import saola
from saola.pool import Pool, WorkerBase

app = Flask(__name__)


@app.get("/")
def index() -> str:
    return f"worker {os.getpid()}\n"


def job() -> None:
    print("tick", os.getpid(), flush=True)


def schedule(worker: WorkerBase) -> None:
    from apscheduler.schedulers.background import BackgroundScheduler
    scheduler = BackgroundScheduler()
    scheduler.add_job(job, "interval", seconds=1)
    scheduler.start()
    worker.wait()
    scheduler.shutdown()


if __name__ == "__main__":
    saola.run(app, workers=4, pools=[Pool("scheduler", schedule, hand_over="exclusive")])
