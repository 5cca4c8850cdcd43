"""Starlette: the cases of test_frameworks.py."""

import asyncio
import contextlib
import sys

import anyio
import sniffio
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocketDisconnect

done = []


@contextlib.asynccontextmanager
async def lifespan(app):
    print("startup", flush=True)
    yield {"word": "from lifespan"}
    print("cleanup", flush=True)


async def hello(request):
    return JSONResponse({"hello": request.path_params["name"], "q": request.query_params.get("q"),
                         "word": request.state.word, "url": str(request.url)})


async def upload(request):
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
    return PlainTextResponse(str(size))


async def stream(request):
    async def parts():
        for i in range(3):
            await anyio.sleep(0.001)
            yield f"part{i} "
    return StreamingResponse(parts())


async def thread(request):
    return PlainTextResponse(str(await anyio.to_thread.run_sync(lambda: 6 * 7)))


async def later(request):
    return PlainTextResponse("soon", background=BackgroundTask(done.append, "done"))


async def told(request):
    return PlainTextResponse(" ".join(done))


async def fail(request):
    raise ValueError("boom in a handler")


async def structured(request):
    """Cancel scopes, groups and timeouts of anyio and asyncio, in a request's first step and after it."""
    assert sniffio.current_async_library() == "asyncio"
    task = asyncio.current_task()
    seen = []
    with anyio.move_on_after(0.01) as scope:
        await anyio.sleep_forever()
    assert scope.cancelled_caught and asyncio.current_task() is task
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep, 0.001)
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep_forever)
            raise KeyError("mine")
    except BaseException as exc:  # a group
        seen.append(type(exc.exceptions[0]).__name__)
    if sys.version_info >= (3, 11):
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(30)
        except TimeoutError:
            seen.append("timeout")
        async with asyncio.TaskGroup() as tasks:
            one = tasks.create_task(asyncio.sleep(0.001, "one"))
        seen.append(one.result())
    with anyio.fail_after(5):
        seen.append(str(await anyio.to_thread.run_sync(anyio.from_thread.run, anyio.sleep, 0)))
    assert not task.cancelling() if sys.version_info >= (3, 11) else True
    return PlainTextResponse(" ".join(seen))


async def echo(websocket):
    await websocket.accept()
    try:
        while True:
            await websocket.send_text("echo " + await websocket.receive_text())
    except WebSocketDisconnect as exc:
        done.append(f"left {exc.code}")


app = Starlette(lifespan=lifespan, routes=[
    Route("/hello/{name}", hello), Route("/upload", upload, methods=["POST"]), Route("/stream", stream),
    Route("/thread", thread), Route("/later", later), Route("/told", told), Route("/fail", fail),
    Route("/structured", structured),
    WebSocketRoute("/ws", echo)])
