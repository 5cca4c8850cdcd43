"""The first minute: a server answers, the counter counts, both leave nothing behind."""

import json
import re
import sys

import pytest

from harness import SERVER, TOP, Load

COUNTER = TOP / "examples" / "counter"
OURS = "gunicorn" not in SERVER[0]


def test_answers_and_stops_with_code_0(serve, worker_class):
    server = serve("hello:app", worker_class=worker_class)
    response = server.get()
    assert response.status == 200
    assert response.text == f"pid={server.worker_pids[0]}\n"
    assert server.stop() == 0


@pytest.mark.parametrize("options, name", [
    ([], "sync"), (["--threads", "4"], "gthread"), (["-k", "gthread"], "gthread")])
def test_the_log_names_the_worker_class_in_use(serve, options, name):
    server = serve("hello:app", *options)
    server.wait_log(rf"Using worker: {name}$")
    assert server.get().status == 200


def start_counter(serve, tmp_path, form, max_requests):
    """Starts one of the two programs of examples/counter on a port of the kernel's choice."""
    if form == "saola.run":
        return serve(script=COUNTER / "counter.py", script_args=("127.0.0.1:0",),
                     env={"MAX_REQUESTS": str(max_requests)})
    program = COUNTER / "counter_gunicorn.py"
    if max_requests:
        # Does what the comment in the program says.
        text = program.read_text()
        changed = text.replace('# self.cfg.set("max_requests", 10)',
                               f'self.cfg.set("max_requests", {max_requests})')
        assert changed != text
        program = tmp_path / "counter_gunicorn.py"
        program.write_text(changed)
    run = [sys.executable] + (["-m", "saola.gunicorn"] if OURS else [])
    return serve(command=[*run, str(program), "localhost:0"], bind=None)


form = pytest.mark.parametrize("form", [
    "gunicorn", pytest.param("saola.run", marks=pytest.mark.skipif(not OURS, reason="ours"))])


@form
@pytest.mark.leaves("state.txt")
def test_the_counter_page_is_served(serve, tmp_path, form):
    server = start_counter(serve, tmp_path, form, 0)
    page = server.get("/")
    assert page.status == 200 and page.header("content-type").startswith("text/html")
    assert "<button" in page.text and "/getvalue" in page.text


@form
@pytest.mark.leaves("state.txt")
def test_200_clicks_across_worker_restarts_give_200_values(serve, place, tmp_path, form):
    server = start_counter(serve, tmp_path, form, 10)
    load = Load(server.address, clients=4, target="/getvalue", limit=200)
    load.bodies = []
    with load:
        load.join()
    load.assert_clean(at_least=200)
    values = [json.loads(body)["value"] for body in load.bodies]
    assert sorted(values) == list(range(1, 201))
    # Every worker printed where it began and where it ended, and each went on where another stopped.
    starts = re.findall(r"^Service starts, state: (\d+)$", server.log, re.MULTILINE)
    assert len(starts) >= 10, f"{len(starts)} workers for 200 requests"
    assert server.stop() == 0
    saves = re.findall(r"^Saving state: (\d+)$", server.log, re.MULTILINE)
    starts = re.findall(r"^Service starts, state: (\d+)$", server.log, re.MULTILINE)
    assert starts == ["0", *saves[:-1]]
    assert saves[-1] == "200" and (place / "state.txt").read_text() == "200"


@form
@pytest.mark.leaves("state.txt")
def test_the_value_survives_a_restart_of_the_server(serve, place, tmp_path, form):
    for expected in (1, 2):
        server = start_counter(serve, tmp_path, form, 0)
        assert json.loads(server.get("/getvalue").body)["value"] == expected
        assert server.stop() == 0
        assert f"Saving state: {expected}\n" in server.log


@form
@pytest.mark.leaves("state.txt")
def test_one_connection_carries_several_requests(serve, tmp_path, form):
    server = start_counter(serve, tmp_path, form, 0)
    with server.connect() as connection:
        values = [json.loads(connection.request(target="/getvalue").body)["value"]
                  for _ in range(5)]
    assert values == [1, 2, 3, 4, 5]


@pytest.mark.skipif(not OURS, reason="ours")
@pytest.mark.log_may_contain("Traceback")
def test_a_damaged_state_file_is_not_taken_for_zero(serve, place):
    """The reason is printed and the file is left as it was."""
    (place / "state.txt").write_text("4x")
    server = serve(script=COUNTER / "counter.py", script_args=("127.0.0.1:0",), wait=False)
    assert server.wait_exit() != 0
    assert "'4x'" in server.log
    assert (place / "state.txt").read_text() == "4x"
