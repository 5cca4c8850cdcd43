"""What of gunicorn's surface Saola has no counterpart of, and why: the end of an error's sentence."""

_PARSER = "requests are read and parsed in C; see the hooks pre_request and post_request, and Worker.handle_error"
_SOCKETS = "listening sockets are opened and kept by the arbiter, in C; a worker has them in self.sockets"
_TLS = "TLS is not built yet; let a proxy end it"
_DIRTY = "dirty arbiters are not built; run what is slow or keeps state in a group of workers of its own"
_HTTP2 = "HTTP/2 is not built yet"
_ENGINE = "connections are accepted, read and answered by the engine, in C"

#: Modules of gunicorn that can be imported, so that programs which import them start, and whose attributes
#: are all missing.
MODULES = {
    "gunicorn.dirty": _DIRTY,
    "gunicorn.http.body": _PARSER,
    "gunicorn.http.parser": _PARSER,
    "gunicorn.http.unreader": _PARSER,
    "gunicorn.http2": _HTTP2,
    "gunicorn.instrument": "metrics are not built yet; derive from gunicorn.glogging.Logger, whose access() is "
                           "called for each request",
    "gunicorn.systemd": "the sockets and messages of systemd are the arbiter's, in C; nothing has to be called",
}

_ATTRIBUTES = {
    "gunicorn.http": _PARSER,
    "gunicorn.http.message": _PARSER,
    "gunicorn.http.wsgi": "environ and response are made in C",
    "gunicorn.sock": _SOCKETS,
    "gunicorn.sock.ssl_context": _TLS,
    "gunicorn.sock.ssl_wrap_socket": _TLS,
    "gunicorn.sock.is_http2_negotiated": _HTTP2,
    "gunicorn.workers.gthread": _ENGINE,
    "gunicorn.workers.sync": _ENGINE,
    "gunicorn.workers.gasgi": _ENGINE,
    "gunicorn.workers.ggevent": _ENGINE,
    "gunicorn.workers.gtornado": _ENGINE,
    "gunicorn.workers.base_async": _ENGINE,
    "gunicorn.arbiter": "this part of the arbiter is in C; see the server hooks",
}


#: What is below them.
_PARTS = frozenset(
    [f"gunicorn.dirty.{name}" for name in "app arbiter client errors protocol stash tlv worker".split()]
    + [f"gunicorn.http2.{name}" for name in "async_connection connection errors request response stream".split()]
    + ["gunicorn.instrument.statsd"])


def is_placeholder(module):
    """Whether the module exists, without content."""
    return module in MODULES or module in _PARTS


def reason(module, attribute):
    """Why there is no such attribute; "" where there is nothing to say."""
    package = module.rpartition(".")[0]
    return (_ATTRIBUTES.get(f"{module}.{attribute}") or MODULES.get(module) or _ATTRIBUTES.get(module)
            or MODULES.get(package, ""))
