"""The request object that the hooks pre_request and post_request and the access log get."""


class Request:
    """One request, as gunicorn's hooks know it.

    method, uri (the whole target), path, query, fragment: str, as received (latin-1).
    version: (1, 1). headers: list of (UPPER-CASE-NAME, value). scheme: "http" or "https".
    remote_addr, peer_addr: (host, port) of who has connected; ("", 0) on a unix socket.
    proxy_protocol_info: dict of both ends of the client's connection when a PROXY header told them,
    else None.
    body: wsgi.input; valid while the request lasts.
    """

    __slots__ = ("method", "uri", "path", "query", "fragment", "version", "headers", "trailers",
                 "scheme", "remote_addr", "peer_addr", "proxy_protocol_info", "body", "req_number",
                 "_keep_alive", "__dict__")

    def __init__(self, method, uri, path, query, version, headers, scheme, peer, proxy, body,
                 keep_alive):
        self.method = method
        self.uri = uri
        self.path = path
        self.query = query
        self.fragment = uri.partition("#")[2]
        self.version = version
        self.headers = headers
        self.trailers = []
        self.scheme = scheme
        self.remote_addr = peer
        self.peer_addr = peer
        self.proxy_protocol_info = None
        if proxy is not None:
            client, client_port = peer
            address, port, proxy_host, proxy_port = proxy
            self.proxy_protocol_info = {
                "proxy_protocol": "TCP6" if ":" in client else "TCP4",
                "client_addr": client, "client_port": client_port,
                "proxy_addr": address, "proxy_port": port,
            }
            self.remote_addr = self.peer_addr = (proxy_host, proxy_port)
        self.body = body
        self._keep_alive = keep_alive

    def should_close(self):
        """True when the client does not want the connection to stay open."""
        return not self._keep_alive

    def __repr__(self):
        return f"<Request {self.method} {self.uri}>"
