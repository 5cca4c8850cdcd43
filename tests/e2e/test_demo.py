"""A server answers, and stops without a trace."""

import signal

import pytest


def test_answers_and_stops_with_code_0(serve, worker_class):
    server = serve("hello:app", worker_class=worker_class)
    response = server.get()
    assert response.status == 200
    assert response.text == f"pid={server.worker_pids[0]}\n"
    assert server.stop(signal.SIGTERM) == 0
