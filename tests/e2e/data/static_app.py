"""Says that it was called; /send/PATH has PATH below $ROOT sent by X-Sendfile. aio: each path."""

import os


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path.startswith("/send"):
        headers = [("X-Sendfile", os.environ["ROOT"] + path[5:]), ("X-App", "yes")]
        if "typed" in environ["QUERY_STRING"]:
            headers += [("Content-Type", "application/x-app"), ("Content-Length", "3")]
        if "tagged" in environ["QUERY_STRING"]:
            headers += [("ETag", '"mine"')]
        status = environ["QUERY_STRING"].partition("status=")[2]
        start_response(status.replace("+", " ") or "200 OK", headers)
        return [b"not", b" this"]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"the application: {environ['REQUEST_METHOD']} {path}".encode()]


async def aio(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError("only http")
    name = (os.environ["ROOT"] + scope["path"]).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-sendfile", name)]})
    await send({"type": "http.response.body", "body": b"not this"})
