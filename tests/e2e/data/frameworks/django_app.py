"""Django by ASGI: the cases of test_frameworks.py that it has (no lifespan, no WebSocket)."""

import asyncio

import django
from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

settings.configure(DEBUG=False, SECRET_KEY="not one", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__,
                   DATA_UPLOAD_MAX_MEMORY_SIZE=None, LOGGING_CONFIG=None)
django.setup()


async def hello(request, name):
    return JsonResponse({"hello": name, "q": request.GET.get("q"), "word": "from lifespan",
                         "url": request.build_absolute_uri()})


@csrf_exempt
async def upload(request):
    size = 0
    while chunk := request.read(1 << 16):  # Django has the body in a temporary file
        size += len(chunk)
    return HttpResponse(str(size))


async def stream(request):
    async def parts():
        for i in range(3):
            await asyncio.sleep(0.001)
            yield f"part{i} "
    return StreamingHttpResponse(parts())


async def thread(request):
    return HttpResponse(str(await sync_to_async(lambda: 6 * 7)()))


async def fail(request):
    raise ValueError("boom in a handler")


urlpatterns = [path("hello/<name>", hello), path("upload", upload), path("stream", stream), path("thread", thread),
               path("fail", fail)]
app = get_asgi_application()
