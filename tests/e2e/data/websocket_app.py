"""The application of test_websocket.py: what a WebSocket does is said by its path."""

import asyncio
import gc
import os

notes = []
everybody = set()


async def accept(receive, send, **more):
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept", **more})


async def echo(scope, receive, send):
    await accept(receive, send)
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            notes.append(f"{message['code']} {message['reason']}")
            return
        notes.append(sorted(message)[0])
        await send({**message, "type": "websocket.send"})


async def show(scope, receive, send):
    offered = scope["subprotocols"]
    await accept(receive, send, subprotocol=offered[-1] if offered else None,
                 headers=[(b"x-mine", b"yes"), (b"Sec-WebSocket-Accept", b"mine")])
    shown = {key: value for key, value in scope.items() if key not in ("headers", "client")}
    await send({"type": "websocket.send", "text": repr(shown)})
    await send({"type": "websocket.close", "code": 4000, "reason": "shown"})
    notes.append((await receive())["code"])
    for message in ({"type": "websocket.send", "text": "x"}, {"type": "websocket.close"}):
        try:
            await send(message)
        except RuntimeError as exc:
            notes.append(str(exc))


async def refuse(scope, receive, send):
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.close"})
    notes.append((await receive())["code"])


async def deny(scope, receive, send):
    await receive()
    await send({"type": "websocket.http.response.start", "status": 401, "headers": [(b"x-why", b"secret")]})
    await send({"type": "websocket.http.response.body", "body": b"not ", "more_body": True})
    await send({"type": "websocket.http.response.body", "body": b"you"})


async def wrong(scope, receive, send):
    for message in ({"type": "websocket.send", "text": "early"}, {"type": "websocket.accept", "subprotocol": "none"},
                    {"type": "http.response.start", "status": 200}):
        try:
            await send(message)
        except (RuntimeError, ValueError) as exc:
            notes.append(type(exc).__name__)
    await accept(receive, send)
    for message in ({"type": "websocket.accept"}, {"type": "websocket.send"}, {"type": "websocket.send", "text": b"x"},
                    {"type": "websocket.send", "text": "\ud800"}, {"type": "websocket.close", "code": 1005},
                    {"type": "websocket.close", "reason": "x" * 124}):
        try:
            await send(message)
        except (RuntimeError, ValueError, TypeError) as exc:
            notes.append(type(exc).__name__)
    await send({"type": "websocket.send", "bytes": bytearray(b"still here")})


async def boom(scope, receive, send):
    await accept(receive, send)
    raise ValueError("boom in a WebSocket")


async def boom_early(scope, receive, send):
    raise ValueError("boom before accept")


async def ignore(scope, receive, send):
    pass


async def flood(scope, receive, send):
    """Sends more than anybody reads; counts how far it came."""
    await accept(receive, send)
    try:
        for i in range(1 << 12):
            await send({"type": "websocket.send", "bytes": os.urandom(1 << 16)})
            notes.append("block")
    except OSError as exc:
        notes.append(type(exc).__name__)


async def deaf(scope, receive, send):
    """Never receives, until it is told to."""
    await accept(receive, send)
    everybody.add(event := asyncio.Event())
    await event.wait()
    total = 0
    while (message := await receive())["type"] == "websocket.receive":
        total += len(message["bytes"])
    notes.append(f"total {total}")


async def stay(scope, receive, send):
    """Does not care that the client has gone."""
    await accept(receive, send)
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        notes.append("cancelled")
        raise


async def crowd(scope, receive, send):
    """Everybody hears what anybody says."""
    await accept(receive, send)
    everybody.add(send)
    try:
        while (message := await receive())["type"] == "websocket.receive":
            for other in list(everybody):
                await other({"type": "websocket.send", "text": message["text"]})
    finally:
        everybody.discard(send)


async def tidy(scope, receive, send):
    """Has something to do when the client has gone."""
    await accept(receive, send)
    try:
        while (await receive())["type"] == "websocket.receive":
            pass
    finally:
        await asyncio.sleep(0.2)
        print("tidied up", flush=True)


async def lifespan(scope, receive, send):
    for _ in range(2):
        phase = (await receive())["type"]
        await send({"type": phase + ".complete"})
    print("cleanup", flush=True)


async def http(scope, receive, send):
    path = scope["path"].removeprefix(scope["root_path"])
    text = "hello"
    if path == "/tell":
        text = repr(notes)
        notes.clear()
    elif path == "/let_hear":
        for event in everybody:
            event.set()
    elif path == "/objects":
        gc.collect()
        text = str(sum(type(o).__name__ in ("ASGIRequest", "ASGICall", "Task") for o in gc.get_objects()))
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": text.encode()})


async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await globals()[scope["path"].rpartition("/")[2]](scope, receive, send)
    elif scope["type"] == "http":
        await http(scope, receive, send)
    else:
        await lifespan(scope, receive, send)
