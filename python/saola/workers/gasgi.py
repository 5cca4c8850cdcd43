"""gunicorn's name of the worker class asgi."""

from .asgi import ASGIWorker  # noqa: F401
