"""An application that takes memory until the kernel stops it (test_oom.py)."""


def app(environ, start_response):
    taken = []
    while environ["PATH_INFO"] == "/take":
        taken.append(bytearray(b"x" * (1 << 20)))
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
