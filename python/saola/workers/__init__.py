"""Worker classes: how a worker process serves."""

#: Aliases that the setting worker_class takes. Third parties add theirs.
SUPPORTED_WORKERS = {
    "sync": "saola.workers.sync.SyncWorker",
    "gthread": "saola.workers.gthread.ThreadWorker",
    "aiohttp": "saola.workers.gaiohttp.AiohttpWorker",
    "asgi": "saola.workers.asgi.ASGIWorker",
    "gevent": "saola.workers.ggevent.GeventWorker",
    "gevent_wsgi": "saola.workers.ggevent.GeventPyWSGIWorker",
    "gevent_pywsgi": "saola.workers.ggevent.GeventPyWSGIWorker",
    "tornado": "saola.workers.gtornado.TornadoWorker",
}
