"""gunicorn's base class of workers with greenlets. Here they are the worker class gevent."""

from .serving import EngineWorker

#: What an application returned under gunicorn when it had taken the connection. It cannot take ours.
ALREADY_HANDLED = object()


class AsyncWorker(EngineWorker):
    """Base of saola.workers.ggevent.GeventWorker."""
