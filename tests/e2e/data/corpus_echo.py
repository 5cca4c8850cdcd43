"""Reports in JSON what the server made of a request; see tests/e2e/corpus/README.md."""

import json


def app(environ, start_response):
    body = environ["wsgi.input"].read()
    report = {
        "method": environ["REQUEST_METHOD"], "target": environ["RAW_URI"],
        "path": environ["PATH_INFO"], "query": environ["QUERY_STRING"],
        "version": environ["SERVER_PROTOCOL"], "scheme": environ["wsgi.url_scheme"],
        "length": environ.get("CONTENT_LENGTH"), "type": environ.get("CONTENT_TYPE"),
        "script": environ["SCRIPT_NAME"], "body": body.decode("latin-1"),
    }
    for key, value in environ.items():
        if key.startswith("HTTP_"):
            report["header " + key[5:]] = value
    text = json.dumps({key: value for key, value in report.items() if value is not None}).encode()
    start_response("200 OK", [("Content-Type", "application/json"),
                              ("Content-Length", str(len(text)))])
    return [text]
