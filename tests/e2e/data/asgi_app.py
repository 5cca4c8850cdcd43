"""ASGI applications of test_asgi.py."""

import asyncio
import contextvars
import gc
import os
import signal
import sys
import threading
import weakref

seen = contextvars.ContextVar("seen", default=0)
notes = []  # what happened to requests that nobody could be told of
held = {}
marked = weakref.WeakKeyDictionary()


async def respond(send, body=b"", status=200, headers=(), **more):
    if isinstance(body, str):
        body = body.encode()
    await send({"type": "http.response.start", "status": status,
                "headers": [(b"content-type", b"text/plain"), *headers], **more})
    await send({"type": "http.response.body", "body": body})


async def read(receive):
    parts = []
    while True:
        message = await receive()
        assert message["type"] == "http.request", message
        parts.append(message["body"])
        if not message["more_body"]:
            return b"".join(parts)


async def show_scope(scope, receive, send):
    state = dict(scope["state"])
    scope["state"]["mine"] = 1  # another request must not see it
    scope["extensions"]["mine"] = 1
    scope["asgi"]["mine"] = 1
    shown = {**scope, "state": state, "client": scope["client"] and scope["client"][0]}
    await respond(send, repr({k: v for k, v in shown.items()}))


async def use_scope(scope, receive, send):
    """Keeps or changes a part of its scope, without ever waiting. The next request must not see it."""
    how = scope["query_string"].decode()
    shown = {**scope, "query_string": b"", "state": dict(scope["state"]), "headers": list(scope["headers"]),
             "asgi": dict(scope["asgi"]), "extensions": dict(scope["extensions"])}
    assert held.setdefault("scope", shown) == shown, (held["scope"], shown)
    key, _, action = how.partition(".")
    part = scope[key] if key else scope
    assert part is not held.get("part")
    if action == "keep":
        held["part"] = part
    elif action == "drop":
        part.clear()
    elif action and isinstance(part, list):
        part[:] = ([*part] if action == "add" else part[1:]) + [(b"a", b"b")]
    elif action:
        part["mine" if action == "add" else list(part)[-1]] = "mine"
    await respond(send, "fresh")


async def echo(scope, receive, send):
    await respond(send, await read(receive))


async def count(scope, receive, send):
    total = messages = largest = 0
    while True:
        message = await receive()
        total, messages = total + len(message["body"]), messages + 1
        largest = max(largest, len(message["body"]))
        if not message["more_body"]:
            break
    await respond(send, f"{total} {largest}")


async def stream(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for i in range(3):
        await send({"type": "http.response.body", "body": b"part%d " % i, "more_body": True})
        await asyncio.sleep(0)
    await send({"type": "http.response.body"})


async def trailers(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"trailer", b"sum, end")],
                "trailers": True})
    await send({"type": "http.response.body", "body": b"x"})
    await send({"type": "http.response.trailers", "headers": [(b"sum", b"42")], "more_trailers": True})
    await send({"type": "http.response.trailers", "headers": [(b"end", b"1")]})


async def hints(scope, receive, send):
    await send({"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]})
    await respond(send, "hinted")


async def file(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.pathsend", "path": __file__})


async def big(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(64):
        await send({"type": "http.response.body", "body": bytes(1 << 18), "more_body": True})
        notes.append("block")
    await send({"type": "http.response.body"})


async def wait_disconnect(scope, receive, send):
    await read(receive)
    held["waiting"] = True
    message = await receive()
    notes.append(message["type"])
    try:
        for _ in range(100):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            break
        for _ in range(100):
            await send({"type": "http.response.body", "body": bytes(1000), "more_body": True})
            await asyncio.sleep(0.01)
    except OSError as exc:
        notes.append(type(exc).__name__)
        raise


async def forever(scope, receive, send):
    held["waiting"] = True
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        notes.append("cancelled")
        raise


async def timed_out(scope, receive, send):
    """Waits for what does not come, and does something else meanwhile that is cancelled."""
    other = asyncio.ensure_future(asyncio.Event().wait())
    try:
        await asyncio.wait_for(asyncio.Event().wait(), 0.002)
    except asyncio.TimeoutError:
        await respond(send, "timed out")
    finally:
        other.cancel()


async def tell(scope, receive, send):
    told, notes[:] = " ".join(notes), []
    await respond(send, told)


async def is_waiting(scope, receive, send):
    await respond(send, str(held.pop("waiting", False)))


async def context(scope, receive, send):
    before = seen.get()
    seen.set(before + 1)
    await asyncio.sleep(0)
    await respond(send, f"{before} {seen.get()}")


async def tasks(scope, receive, send):
    """current_task, TaskGroup or gather, timeouts, executor: as on the stock loop."""
    task = asyncio.current_task()
    assert task is not None and isinstance(task, asyncio.Task) and task in asyncio.all_tasks()
    assert task.get_loop() is asyncio.get_running_loop()
    try:
        await asyncio.wait_for(receive_twice(receive), 0.05)
    except asyncio.TimeoutError:
        pass
    else:
        raise AssertionError("no timeout")
    assert asyncio.current_task() is task
    if sys.version_info >= (3, 11):
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(30)
        except TimeoutError:
            pass
        async with asyncio.TaskGroup() as group:
            one, two = (group.create_task(asyncio.sleep(0.01, n)) for n in (1, 2))
        assert one.result() + two.result() == 3
    assert await asyncio.gather(asyncio.sleep(0, 1), asyncio.sleep(0, 2)) == [1, 2]
    main = await asyncio.get_running_loop().run_in_executor(None, threading.current_thread)
    assert main is not threading.current_thread()
    process = await asyncio.create_subprocess_exec("true")
    assert await process.wait() == 0
    sender = asyncio.create_task(send({"type": "http.response.start", "status": 200, "headers": []}))
    await sender
    await send({"type": "http.response.body", "body": b"as ever"})


async def touch(scope, receive, send):
    """Does something to its task, without ever waiting. The next request must not see it."""
    task, how = asyncio.current_task(), scope["query_string"].decode()
    assert task in asyncio.all_tasks() and not task.done()
    assert task.get_name() != "mine" and not hasattr(task, "mark") and task not in marked
    assert task is not held.get("task") and seen.get() == 0
    seen.set(1)
    if how == "name":
        task.set_name("mine")
    elif how == "attribute":
        task.mark = 1
    elif how == "weak":
        marked[task] = 1
    elif how == "keep":
        held["task"] = task
    elif how == "callback":
        task.add_done_callback(lambda done: notes.append(f"done {done.result()}"))
    elif how == "cancel":
        task.add_done_callback(lambda done: notes.append(f"cancelled {done.cancelled()}"))
        task.cancel()
    elif how == "kept":
        done = held.pop("task")
        return await respond(send, f"{done.done()} {done.result()}")
    await respond(send, "fresh")


async def cancel_itself(scope, receive, send):
    """What it waits for first is cancelled, or the wait ends at once."""
    asyncio.current_task().cancel()
    future = asyncio.get_running_loop().create_future()
    try:
        await (future if scope["query_string"] == b"future" else asyncio.sleep(0))
    except asyncio.CancelledError:
        await respond(send, f"cancelled {future.cancelled()}")
        raise


async def other_tasks(scope, receive, send):
    """How many other requests all_tasks() shows to one that has waited."""
    await asyncio.sleep(0)
    kinds = [type(task.get_coro()).__name__ for task in asyncio.all_tasks() - {asyncio.current_task()}]
    await respond(send, str(kinds.count("ASGIRequest")))


async def reset(scope, receive, send):
    token = seen.set(5)
    held["waiting"] = True
    try:
        await asyncio.Event().wait()
    finally:
        seen.reset(token)
        notes.append("reset")


async def receive_twice(receive):
    await receive()
    await receive()


async def connect_out(scope, receive, send):
    """The loop's own transports work while the engine serves."""
    async def answer(reader, writer):
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"round trip\n")
    line = await reader.readline()
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()
    await respond(send, line)


async def background(scope, receive, send):
    await respond(send, "answered")
    assert (await receive())["type"] == "http.disconnect"
    await asyncio.sleep(0.05)
    notes.append("afterwards")


async def afterwards(scope, receive, send):
    """A background task that is still at work when the worker is asked to leave."""
    await respond(send, "answered")
    await asyncio.sleep(1)
    print("all done", flush=True)


async def boom(scope, receive, send):
    raise ValueError("boom before")


async def boom_after(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"some", "more_body": True})
    raise ValueError("boom after")


async def never_started(scope, receive, send):
    await asyncio.sleep(0)


async def never_completed(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"some", "more_body": True})


async def wrong(scope, receive, send):
    """Each message that does not fit raises one clear error, and the response goes on."""
    start = {"type": "http.response.start", "status": 200, "headers": []}
    messages = [
        ({"type": "http.response.body", "body": b""}, RuntimeError, "comes first"),
        ("no dict", TypeError, "dict"), ({}, ValueError, "'type'"),
        ({"type": "websocket.accept"}, RuntimeError, "unexpected ASGI message"),
        ({**start, "status": 99}, ValueError, "100 to 999"), ({"type": start["type"]}, KeyError, "status"),
        ({**start, "headers": [(b"a b", b"")]}, ValueError, "invalid response header"),
        ({**start, "headers": [(b"a", b"x\r\ny: z")]}, ValueError, "invalid response header"),
        ({**start, "headers": [("a", "b")]}, TypeError, "must be bytes"),
        (start, None, ""), (start, RuntimeError, "started already"),
        ({"type": "http.response.body", "body": "text"}, TypeError, "must be bytes"),
        ({"type": "http.response.trailers", "headers": []}, RuntimeError, "trailers"),
        ({"type": "http.response.pathsend", "path": "/no/such/file"}, OSError, "/no/such/file"),
        ({"type": "http.response.body", "body": b"right"}, None, ""),
        ({"type": "http.response.body", "body": b"more"}, RuntimeError, "completed already"),
    ]
    for message, kind, words in messages:
        try:
            await send(message)
            caught = None
        except Exception as exc:
            caught = exc
        if kind is None:
            assert caught is None, (message, caught)
        elif not isinstance(caught, kind) or words not in str(caught):
            notes.append(f"{message}: {caught!r}")


async def slow(scope, receive, send):
    held["waiting"] = True
    await asyncio.sleep(0.3)
    await respond(send, "slow")


async def objects(scope, receive, send):
    for _ in range(3):
        gc.collect()
        await asyncio.sleep(0.01)
    kinds = ("Task", "ASGIRequest", "ASGICall", "coroutine")
    counts = {kind: 0 for kind in kinds}
    for thing in gc.get_objects():
        name = type(thing).__name__
        if name in counts:
            counts[name] += 1
    counts["fd"] = len(os.listdir("/proc/self/fd"))
    await respond(send, repr(counts))


async def block(scope, receive, send):
    import time
    time.sleep(60)


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return await lifespan(scope, receive, send)
    name = scope["path"].rpartition("/")[2] or "hello"
    if name == "hello":
        return await respond(send, "hello")
    await globals()[name](scope, receive, send)


async def lifespan(scope, receive, send):
    assert (await receive())["type"] == "lifespan.startup"
    print("startup in", os.getpid(), flush=True)
    scope["state"]["started"] = True
    ticker = asyncio.create_task(tick())
    await send({"type": "lifespan.startup.complete"})
    assert (await receive())["type"] == "lifespan.shutdown"
    ticker.cancel()
    await asyncio.sleep(float(os.environ.get("CLEANUP", "0.01")))
    print("cleanup in", os.getpid(), flush=True)
    await send({"type": "lifespan.shutdown.complete"})


async def tick():
    while True:
        await asyncio.sleep(0.01)


async def without_lifespan(scope, receive, send):
    assert scope["type"] == "http", scope["type"]
    await respond(send, "plain")


async def replies_to_anything(scope, receive, send):
    await receive()
    await respond(send, "anything")


async def failing(scope, receive, send):
    await receive()
    if os.environ.get("HOW") == "raise":
        raise ValueError("no database")
    if os.environ.get("HOW") == "hang":
        await asyncio.sleep(600)
    await send({"type": "lifespan.startup.failed", "message": "no database"})


class Old:
    def __init__(self, scope):
        pass


class Callable:
    async def __call__(self, scope, receive, send):
        await respond(send, "instance")


instance = Callable()


def stop_arbiter():
    os.kill(os.getppid(), signal.SIGTERM)
