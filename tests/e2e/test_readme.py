"""Every command in README.md is run, with the files that README.md shows."""

import os
import re
import signal
import subprocess
import sys

import pytest

from harness import SANITIZED, TOP, WAIT

README = (TOP / "README.md").read_text()
FILES = dict(re.findall(r"```python (\S+)\n(.*?)```", README, re.DOTALL))
COMMANDS = re.findall(r"^\$ (.+)$", README, re.MULTILINE)
SERVING = [command for command in COMMANDS
           if command.startswith(".venv/bin/") and not re.search("--(check|print)-config", command)]
TARGETS = [command.split()[1] for command in COMMANDS if command.startswith("make ")]
ANSWERING = [command for command in COMMANDS if re.search("--(check|print)-config", command)]

pytestmark = pytest.mark.skipif(SANITIZED, reason="the commands name the installed package")


@pytest.fixture
def shown(place):
    """The server's directory with the files of README.md; the port is the kernel's choice."""
    for name, text in FILES.items():
        (place / name).write_text(text.replace("127.0.0.1:8000", "127.0.0.1:0"))
    return place


def as_installed(command):
    """.venv/bin is where the tests run, whatever its name."""
    program, *rest = command.split()
    return [os.path.join(os.path.dirname(sys.executable), os.path.basename(program)), *rest]


def test_no_command_is_forgotten():
    known = {*SERVING, *ANSWERING, "curl http://127.0.0.1:8000/", *(f"make {t}" for t in TARGETS)}
    assert set(COMMANDS) == known
    assert len(SERVING) >= 5 and len(ANSWERING) == 2


@pytest.mark.parametrize("command", SERVING)
def test_a_command_serves(serve, shown, command):
    words = as_installed(command)
    if os.path.basename(words[0]) == "saola":
        words[1:1] = ["--bind", "127.0.0.1:0"]
    server = serve(command=words, bind=None)
    answer = server.get("/")
    assert (answer.status, answer.body) == (200, b"Hello\n")
    if "gunicorn.conf.py" in command:
        server.wait_log(rf"worker {server.worker_pids[0]} is here")
    assert server.stop(signal.SIGINT) == 0


@pytest.mark.parametrize("command", ANSWERING)
def test_a_command_answers(shown, command):
    done = subprocess.run(as_installed(command), cwd=shown, capture_output=True, text=True,
                          timeout=WAIT, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
    assert done.returncode == 0, done.stderr
    if "--print-config" in command:
        assert re.search(r"^max_requests\s*=\s*1000\b.*gunicorn\.conf\.py", done.stdout, re.MULTILINE)


def test_curl_prints_what_is_shown(serve, shown):
    expected = re.search(r"\$ curl \S+\n(.*\n)", README)[1]
    server = serve(command=[*as_installed(SERVING[0]), "--bind", "127.0.0.1:0"], bind=None)
    done = subprocess.run(["curl", "-s", "--noproxy", "*", server.url + "/"], capture_output=True,
                          text=True, timeout=WAIT)
    assert done.stdout == expected


@pytest.mark.parametrize("target", sorted({*TARGETS, "venv", "help", "bench", "check", "clean"}))
def test_a_make_target_exists(target):
    done = subprocess.run(["make", "--dry-run", target], cwd=TOP, capture_output=True, text=True,
                          env={k: v for k, v in os.environ.items() if not k.startswith("MAKE")})
    assert done.returncode == 0, done.stderr


def test_links_lead_to_files():
    pages = [TOP / "README.md", TOP / "CONTRIBUTING.md", *sorted((TOP / "docs").glob("*.md"))]
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_tour_names_files_that_exist():
    tour = README.partition("## A tour of the source")[2]
    room = TOP
    for name in re.findall(r"`([\w./*]+)`", tour):
        # `include/saola/settings.def` and `hooks.def`: the second stands in the folder of the first.
        path = TOP / name if list(TOP.glob(name)) else room / name
        assert list(path.parent.glob(path.name)), f"the tour names {name}"
        if path.is_relative_to(TOP) and "/" in name.rstrip("/"):
            room = path if path.is_dir() else path.parent


def test_architecture_names_what_exists():
    text = (TOP / "ARCHITECTURE.md").read_text()
    text = re.sub(r"## 10\..*?(?=\n## 11)", "", text, flags=re.DOTALL)  # where later things go
    text = re.sub(r"\nNot built yet:.*?\n\n", "\n\n", text, flags=re.DOTALL)
    rooms = ("include", "src", "python", "tests", "tools", "docs", "bench")
    files = [path for room in rooms for path in (TOP / room).rglob("*") if path.is_file()]
    names = ["/" + str(path) for path in [*files, *TOP.iterdir()]]
    code = "\n".join(path.read_text() for path in files if path.suffix in (".c", ".h", ".py"))
    for file in re.findall(r"`([\w./-]+\.(?:c|h|py|def|build|sh|md))`", text):
        assert any(name.endswith("/" + file) for name in names), f"ARCHITECTURE.md names {file}"
    functions = re.findall(r"`(?:\w+\.)?(\w+)\(\)`", text)
    assert len(functions) > 20
    for function in functions:
        assert re.search(rf"\b{function}\(", code), f"ARCHITECTURE.md names {function}()"
