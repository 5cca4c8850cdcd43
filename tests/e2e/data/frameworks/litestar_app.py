"""Litestar: the cases of test_frameworks.py."""

import asyncio
import contextlib

from litestar import Litestar, Request, WebSocket, get, post, websocket
from litestar.background_tasks import BackgroundTask
from litestar.exceptions import WebSocketDisconnect
from litestar.response import Response, Stream

done = []


@contextlib.asynccontextmanager
async def lifespan(app):
    print("startup", flush=True)
    app.state.word = "from lifespan"
    yield
    print("cleanup", flush=True)


@get("/hello/{name:str}")
async def hello(name: str, request: Request, q: str | None = None) -> dict:
    return {"hello": name, "q": q, "word": request.app.state.word, "url": str(request.url)}


@post("/upload", media_type="text/plain", status_code=200, request_max_body_size=None)
async def upload(request: Request) -> str:
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
    return str(size)


@get("/stream")
async def stream() -> Stream:
    async def parts():
        for i in range(3):
            await asyncio.sleep(0.001)
            yield f"part{i} "
    return Stream(parts())


@get("/thread", media_type="text/plain", sync_to_thread=True)
def thread() -> str:
    return str(6 * 7)


@get("/later")
async def later() -> Response[str]:
    return Response("soon", media_type="text/plain", background=BackgroundTask(done.append, "done"))


@get("/told", media_type="text/plain")
async def told() -> str:
    return " ".join(done)


@get("/fail")
async def fail() -> str:
    raise ValueError("boom in a handler")


@websocket("/ws")
async def echo(socket: WebSocket) -> None:
    await socket.accept()
    try:
        while True:
            await socket.send_text("echo " + await socket.receive_text())
    except WebSocketDisconnect as exc:
        done.append(f"left {exc.code}")


app = Litestar([hello, upload, stream, thread, later, told, fail, echo], lifespan=[lifespan])
