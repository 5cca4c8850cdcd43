"""A scheduler that must run once, beside four web workers: python examples/pools/scheduler.py [address]

Needs Flask and APScheduler. Each web worker could start a scheduler of its own, and every job would run four
times; here it has a process of its own, of which there is never more than one: "exclusive" holds in reloads,
upgrades and restarts.
"""

from __future__ import annotations

import os
import sys
import time

from flask import Flask

import saola
from saola.pool import Pool, WorkerBase

app = Flask(__name__)


@app.get("/")
def index() -> str:
    return f"worker {os.getpid()}\n"


def job() -> None:
    print("tick", int(time.time()), os.getpid())


def schedule(worker: WorkerBase) -> None:
    from apscheduler.schedulers.background import BackgroundScheduler  # type: ignore
    scheduler = BackgroundScheduler()
    scheduler.add_job(job, "cron", second="*")
    scheduler.start()
    print("scheduler begins", os.getpid())
    worker.wait()  # until it is asked to stop
    scheduler.shutdown()  # after the job that runs
    print("scheduler ends", os.getpid())


if __name__ == "__main__":
    bind = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:8000"
    saola.run(app, bind=bind, workers=4, pools=[Pool("scheduler", schedule, hand_over="exclusive")])
