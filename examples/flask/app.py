"""A small Flask application: a form, a session, an upload, a stream and a file.

    saola --chdir examples/flask app:app
"""

import hashlib
import os
from pathlib import Path

from flask import Flask, Response, jsonify, redirect, render_template_string, request, send_file, session

app = Flask(__name__)
# Sessions are signed cookies: every worker needs the same key.
app.secret_key = os.environ.get("SECRET_KEY", "for this example only")

PAGE = """<!doctype html>
<title>Saola with Flask</title>
<h1>Hello {{ name or "stranger" }}</h1>
<p>Visit number {{ visits }}.</p>
<form method="post" action="/name"><input name="name"><button>That is my name</button></form>
<form method="post" action="/upload" enctype="multipart/form-data">
  <input type="file" name="file"><button>Upload</button></form>
<p><a href="/download?mb=5">A download of 5 MB</a>, <a href="/file">this program</a></p>
"""


@app.get("/")
def index():
    session["visits"] = session.get("visits", 0) + 1
    return render_template_string(PAGE, name=session.get("name"), visits=session["visits"])


@app.post("/name")
def name():
    session["name"] = request.form["name"]
    return redirect("/", code=303)


@app.post("/upload")
def upload():
    file = request.files["file"]
    digest, size = hashlib.sha256(), 0
    while block := file.stream.read(1 << 16):
        digest.update(block)
        size += len(block)
    return jsonify(name=file.filename, size=size, sha256=digest.hexdigest())


@app.get("/download")
def download():
    """Megabytes of a known pattern, made while they are sent."""
    megabytes = min(request.args.get("mb", 1, type=int), 1000)

    def blocks():
        for number in range(megabytes * 16):
            yield bytes([number % 251]) * (1 << 16)

    return Response(blocks(), mimetype="application/octet-stream")


@app.get("/file")
def file():
    """Werkzeug hands the file to wsgi.file_wrapper."""
    return send_file(Path(__file__).resolve(), mimetype="text/x-python")
