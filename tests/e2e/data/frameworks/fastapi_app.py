"""FastAPI: the cases of test_frameworks.py."""

import asyncio
import contextlib

from fastapi import BackgroundTasks, Depends, FastAPI, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import PlainTextResponse, StreamingResponse

done = []


@contextlib.asynccontextmanager
async def lifespan(app):
    print("startup", flush=True)
    yield {"word": "from lifespan"}
    print("cleanup", flush=True)


app = FastAPI(lifespan=lifespan)


async def word(request: Request):
    yield request.state.word


@app.get("/hello/{name}")
async def hello(name: str, request: Request, q: str | None = None, word: str = Depends(word)):
    return {"hello": name, "q": q, "word": word, "url": str(request.url)}


@app.post("/upload", response_class=PlainTextResponse)
async def upload(request: Request):
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
    return str(size)


@app.get("/stream")
async def stream():
    async def parts():
        for i in range(3):
            await asyncio.sleep(0.001)
            yield f"part{i} "
    return StreamingResponse(parts())


@app.get("/thread", response_class=PlainTextResponse)
def thread():  # not async: in a thread of anyio's
    return str(6 * 7)


@app.get("/later", response_class=PlainTextResponse)
async def later(tasks: BackgroundTasks):
    tasks.add_task(done.append, "done")
    return "soon"


@app.get("/told", response_class=PlainTextResponse)
async def told():
    return " ".join(done)


@app.get("/fail")
async def fail():
    raise ValueError("boom in a handler")


@app.websocket("/ws")
async def echo(websocket: WebSocket):
    await websocket.accept()
    try:
        while True:
            await websocket.send_text("echo " + await websocket.receive_text())
    except WebSocketDisconnect as exc:
        done.append(f"left {exc.code}")
