"""A small Bottle application: a form, a session, an upload, a stream and a file.

    saola --chdir examples/bottle app:app
"""

import hashlib
import json
import os
from pathlib import Path

from bottle import Bottle, redirect, request, response, static_file, template

app = Bottle()
# Sessions are signed cookies: every worker needs the same key.
SECRET = os.environ.get("SECRET_KEY", "for this example only")

PAGE = """<!doctype html>
<title>Saola with Bottle</title>
<h1>Hello {{name or "stranger"}}</h1>
<p>Visit number {{visits}}.</p>
<form method="post" action="/name"><input name="name"><button>That is my name</button></form>
<form method="post" action="/upload" enctype="multipart/form-data">
  <input type="file" name="file"><button>Upload</button></form>
<p><a href="/download?mb=5">A download of 5 MB</a>, <a href="/file">this program</a></p>
"""


def session():
    return json.loads(request.get_cookie("session", "{}", secret=SECRET))


def keep(values):
    response.set_cookie("session", json.dumps(values), secret=SECRET, path="/", httponly=True)


@app.get("/")
def index():
    values = session()
    values["visits"] = values.get("visits", 0) + 1
    keep(values)
    return template(PAGE, name=values.get("name"), visits=values["visits"])


@app.post("/name")
def name():
    keep({**session(), "name": request.forms.getunicode("name")})
    redirect("/", 303)


@app.post("/upload")
def upload():
    part = request.files.get("file")
    digest, size = hashlib.sha256(), 0
    while block := part.file.read(1 << 16):
        digest.update(block)
        size += len(block)
    return {"name": part.raw_filename, "size": size, "sha256": digest.hexdigest()}


@app.get("/download")
def download():
    """Megabytes of a known pattern, made while they are sent."""
    megabytes = min(int(request.query.get("mb", "1")), 1000)
    response.content_type = "application/octet-stream"
    for number in range(megabytes * 16):
        yield bytes([number % 251]) * (1 << 16)


@app.get("/file")
def file():
    """Bottle hands the file to wsgi.file_wrapper."""
    here = Path(__file__).resolve()
    return static_file(here.name, root=str(here.parent), mimetype="text/x-python")
