"""Takes bodies, gives large answers; says how often it was called."""

calls = 0


def app(environ, start_response):
    global calls
    calls += 1
    path = environ["PATH_INFO"]
    if path == "/big":
        start_response("200 OK", [("Content-Length", str(8 << 20))])
        return [bytes(8 << 20)]
    if path == "/stream":  # longer than what is sent at once; each byte says where it belongs
        start_response("200 OK", [])
        return (bytes([n % 251]) * 65536 for n in range(128))
    length = 0
    if path != "/calls":
        while data := environ["wsgi.input"].read(65536):
            length += len(data)
    text = f"{length} {calls}".encode()
    start_response("200 OK", [("Content-Length", str(len(text)))])
    return [text]
