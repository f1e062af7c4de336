"""`python -m lib`: what it says and returns, in the background, interrupted, and with a kernel that won't start."""

import contextlib
import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from functools import partial

import psutil
import pytest
import toys

SLOW = 60  # seconds after which a test gives up waiting


@pytest.fixture
def place(tmp_path):
    toys.write(tmp_path / "notebooks", "21_toy")
    return tmp_path


def recipe(place, text):
    (place / "r.yaml").write_text(text)
    return place / "r.yaml"


@pytest.mark.parametrize(
    "text, last",
    [
        ("- [", "line 1: not YAML: expected the node content, but found '<stream end>'"),
        ("a: 1", "got a dict, expected a list of tasks (- task_name: …)"),
        (
            "- {task_name: a, notebook: 21_tyo}",
            "task a: notebook: got '21_tyo', did you mean '21_toy'? expected one of: 21_toy",
        ),
        (
            "- {task_name: a, notebook: 21_toy, epochs: -3}\n- {task_name: b}",
            "task a: epochs: got -3, expected an integer of at least 1",
        ),
        ("- {task_name: a, notebook: 21_toy, runs: [b]}", "task a: runs: run b: got 'b', expected one of: none"),
    ],
)
def test_a_bad_recipe_ends_with_its_problem_and_leaves_nothing(place, text, last):
    path, before = recipe(place, text), sorted(place.rglob("*"))
    for words in [(path,), (path, "--detach")]:
        done = toys.run(place, *words)
        assert done.returncode == 2 and done.stdout == ""
        assert done.stderr.splitlines()[-1] == f"recipe {path}: {last}" and "Traceback" not in done.stderr
        assert sorted(place.rglob("*")) == before


def test_help_and_a_missing_file(place):
    assert "--resume" in toys.run(place, "--help").stdout
    done = toys.run(place, place / "none.yaml")
    assert done.returncode == 2 and done.stderr == f"recipe {place / 'none.yaml'}: No such file or directory\n"


def test_a_refused_recipe_loads_neither_torch_nor_papermill(place):
    path = recipe(place, "- {task_name: a, notebook: 21_toy, epochs: -3}")
    code = f"import sys; from lib.__main__ import main; main([{str(path)!r}]); print({{'torch', 'papermill'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], env=toys.environment(place), capture_output=True, text=True)
    assert done.stdout == "set()\n"


def status(place, task="a"):
    found = list((place / "runs" / task).glob("*/status.json"))
    return json.loads(found[0].read_text()) if found else {"status": None}


@pytest.mark.whole
def test_a_detached_job_survives_its_terminal(place):
    path = recipe(place, "- {task_name: a, notebook: 21_toy, code: 'import time; time.sleep(1)'}")
    shell = f"{sys.executable} -m lib {path} --detach; sleep {SLOW}"
    terminal = subprocess.Popen(
        ["sh", "-c", shell], env=toys.environment(place), stdout=subprocess.PIPE, text=True, start_new_session=True
    )  # fmt: skip
    line = terminal.stdout.readline()
    os.killpg(terminal.pid, signal.SIGHUP)
    os.killpg(terminal.pid, signal.SIGKILL)
    terminal.communicate()
    words, _, log = line.strip().partition(", log ")
    assert words.startswith("pid ") and log.startswith(str(place / "runs" / "logs" / "r-"))
    deadline = time.monotonic() + SLOW
    while psutil.pid_exists(int(words[4:])) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert status(place)["status"] == "ok"
    with open(log) as file:
        assert "[1/1] a · cell 6/6" in file.read()


@pytest.mark.whole
def test_a_terminal_shows_a_bar_and_an_interrupt_ends_kernel_and_run(place):
    code = "'import time; time.sleep(1000)'"
    path = recipe(place, f"- {{task_name: a, notebook: 21_toy, code: {code}}}\n- {{task_name: b, notebook: 21_toy}}")
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    command = [sys.executable, "-m", "lib", str(path)]
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a test run in the background ignores it
    process = subprocess.Popen(command, env=toys.environment(place), stdout=its, stderr=its, preexec_fn=heed)
    os.close(its)
    shown = ""
    while "5/7" not in shown:  # the sixth cell, the one that sleeps, has begun
        shown += os.read(ours, 4096).decode()
    kernel = psutil.Process(status(place)["pid"])
    process.send_signal(signal.SIGINT)
    rest = b""
    with contextlib.suppress(OSError):  # Linux' way to say that the other end has closed
        while part := os.read(ours, 4096):
            rest += part
    rest = rest.decode()
    assert process.wait(SLOW) == 130
    os.close(ours)
    assert "\r[1/2] a:  57%|" in shown and "body of a\r\n" in shown
    assert (
        rest.endswith("interrupted; the same command with --resume goes on from here\r\n") and "Traceback" not in rest
    )
    assert (status(place)["status"], status(place)["error"]) == ("failed", "interrupted")
    assert not kernel.is_running() and not (place / "runs" / "b").exists()


@pytest.mark.whole
def test_a_kernel_that_fails_to_start_is_tried_once_more(place):
    launcher = """
import pathlib
count = pathlib.Path(__file__).with_name("count")
count.write_text(count.read_text() + "x" if count.exists() else "x")
if len(count.read_text()) in (1, 3, 4):
    raise SystemExit("no kernel today")
from ipykernel import kernelapp
kernelapp.launch_new_instance()
"""
    (place / "first").mkdir()
    (place / "first" / "ipykernel_launcher.py").write_text(launcher)
    path = recipe(place, "- {task_name: a, notebook: 21_toy}\n- {task_name: b, notebook: 21_toy}")
    done = toys.run(place, path, PYTHONPATH=str(place / "first"))
    assert done.returncode == 1 and status(place, "a")["status"] == "ok" and status(place, "b")["status"] == "failed"
    assert done.stderr.startswith("task b failed: ") and "Kernel died before replying" in done.stderr
    assert done.stderr.count("\n") == 1
    (run,) = (place / "runs" / "b").iterdir()
    assert (run / "kernel.log").read_text() == "no kernel today\n"
