"""A small Django application in one file: a form, a session, an upload, a stream and a file.

    saola --chdir examples/django app:application
"""

import hashlib
import os
from pathlib import Path

import django
from django.conf import settings

if not settings.configured:
    settings.configure(
        # Sessions are signed cookies: every worker needs the same key.
        SECRET_KEY=os.environ.get("SECRET_KEY", "for this example only"),
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
        MIDDLEWARE=[
            "django.middleware.security.SecurityMiddleware",
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.common.CommonMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
        ],
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
    )
    django.setup()

from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, HttpResponse, HttpResponseRedirect, JsonResponse, StreamingHttpResponse
from django.template import RequestContext, Template
from django.urls import path
from django.views.decorators.http import require_GET, require_POST

PAGE = """<!doctype html>
<title>Saola with Django</title>
<h1>Hello {{ name|default:"stranger" }}</h1>
<p>Visit number {{ visits }}.</p>
<form method="post" action="/name">{% csrf_token %}
  <input name="name"><button>That is my name</button></form>
<form method="post" action="/upload" enctype="multipart/form-data">{% csrf_token %}
  <input type="file" name="file"><button>Upload</button></form>
<p><a href="/download?mb=5">A download of 5 MB</a>, <a href="/file">this program</a></p>
"""


@require_GET
def index(request):
    visits = request.session["visits"] = request.session.get("visits", 0) + 1
    context = RequestContext(request, {"name": request.session.get("name"), "visits": visits})
    return HttpResponse(Template(PAGE).render(context))


@require_POST
def name(request):
    request.session["name"] = request.POST["name"]
    response = HttpResponseRedirect("/")
    response.status_code = 303
    return response


@require_POST
def upload(request):
    file = request.FILES["file"]
    digest = hashlib.sha256()
    for block in file.chunks():
        digest.update(block)
    return JsonResponse({"name": file.name, "size": file.size, "sha256": digest.hexdigest()})


@require_GET
def download(request):
    """Megabytes of a known pattern, made while they are sent."""
    megabytes = min(int(request.GET.get("mb", "1")), 1000)

    def blocks():
        for number in range(megabytes * 16):
            yield bytes([number % 251]) * (1 << 16)

    return StreamingHttpResponse(blocks(), content_type="application/octet-stream")


@require_GET
def file(request):
    """Django hands the file to wsgi.file_wrapper."""
    return FileResponse(open(Path(__file__).resolve(), "rb"), content_type="text/x-python")


urlpatterns = [
    path("", index),
    path("name", name),
    path("upload", upload),
    path("download", download),
    path("file", file),
]

application = get_wsgi_application()
