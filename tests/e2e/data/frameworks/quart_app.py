"""Quart: the cases of test_frameworks.py."""

import asyncio

from quart import Quart, request, websocket
from quart.utils import run_sync

app = Quart(__name__)
app.config["MAX_CONTENT_LENGTH"] = None
done = []
state = {}


@app.before_serving
async def startup():
    print("startup", flush=True)
    state["word"] = "from lifespan"


@app.after_serving
async def cleanup():
    print("cleanup", flush=True)


@app.get("/hello/<name>")
async def hello(name):
    return {"hello": name, "q": request.args.get("q"), "word": state["word"], "url": request.url}


@app.post("/upload")
async def upload():
    size = 0
    async for chunk in request.body:
        size += len(chunk)
    return str(size)


@app.get("/stream")
async def stream():
    async def parts():
        for i in range(3):
            await asyncio.sleep(0.001)
            yield f"part{i} "
    return parts()


@app.get("/thread")
async def thread():
    return str(await run_sync(lambda: 6 * 7)())


@app.get("/later")
async def later():
    app.add_background_task(done.append, "done")
    return "soon"


@app.get("/told")
async def told():
    return " ".join(done)


@app.get("/fail")
async def fail():
    raise ValueError("boom in a handler")


@app.websocket("/ws")
async def echo():
    try:
        while True:
            await websocket.send("echo " + await websocket.receive())
    except asyncio.CancelledError:
        done.append("left 3000")  # Quart does not tell the code
        raise
