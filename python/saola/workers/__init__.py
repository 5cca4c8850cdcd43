"""Worker classes: how a worker process serves."""

#: Aliases that the setting worker_class takes. Third parties add theirs.
SUPPORTED_WORKERS = {
    "sync": "saola.workers.sync.SyncWorker",
    "gthread": "saola.workers.gthread.ThreadWorker",
    "aiohttp": "saola.workers.gaiohttp.AiohttpWorker",
    "asgi": "saola.workers.asgi.ASGIWorker",
}
