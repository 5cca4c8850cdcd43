"""An application that tells about its process: descriptors, children, rights."""

import os
import subprocess
import threading
import time
from urllib.parse import parse_qs

DURATION = 600


def descriptors():
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[name] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            pass  # the one that listed the directory
    return "\n".join(f"{name} {target}" for name, target in found.items())


def descriptors_of_a_child():
    """Of a program executed by this process, which got everything that is not close-on-exec."""
    done = subprocess.run(["ls", "-l", "/proc/self/fd"], close_fds=False, capture_output=True, text=True,
                          check=True)
    found = (line.split(" -> ") for line in done.stdout.splitlines() if " -> " in line)
    return "\n".join(f"{name.split()[-1]} {target}" for name, target in found
                     if not target.startswith("/proc/"))  # that is how ls looks


def start_children():
    child = subprocess.Popen(["sh", "-c", f"sleep {DURATION} & echo $!; exec sleep {DURATION}"],
                             stdout=subprocess.PIPE, text=True)
    return f"{child.pid} {child.stdout.readline()}"


def double_fork(code):
    """A process of nobody, which ends with this code once its parent is gone."""
    if os.fork() == 0:
        if os.fork() == 0:
            while os.getppid() == orphan_of:
                time.sleep(0.01)
        os._exit(code)
    return "done"


orphan_of = None


def child_status():
    return subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True).stdout


def app(environ, start_response):
    query = {key: values[0] for key, values in parse_qs(environ["QUERY_STRING"]).items()}
    global orphan_of
    orphan_of = os.getpid()
    body = {
        "/": lambda: f"pid={os.getpid()}\n",
        "/fds": descriptors,
        "/exec": descriptors_of_a_child,
        "/children": start_children,
        "/orphan": lambda: double_fork(int(query["code"])),
        "/status": child_status,
    }[environ["PATH_INFO"]]().encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


if os.environ.get("THREAD_AT_IMPORT"):
    threading.Thread(target=threading.Event().wait, name="ticker", daemon=True).start()
