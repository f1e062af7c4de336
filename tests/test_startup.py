"""`python -m lib` that is interrupted as it starts, or has little memory, ends with one line and leaves nothing."""

import resource
import signal
import subprocess
import sys
import time
from functools import partial

import pytest
import toys

from lib import ROOT

GO_ON = "the same command with --resume goes on from here"


def started(place, **settings):
    toys.write(place / "notebooks", "21_toy")
    (place / "r.yaml").write_text("- {task_name: toy, notebook: 21_toy}\n")
    return subprocess.Popen(
        [sys.executable, "-m", "lib", str(place / "r.yaml")], env=toys.environment(place), cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **settings,
    )  # fmt: skip


def imported(process, name):
    """Waits until a process has a file open or mapped whose path holds `name`."""
    while process.poll() is None:
        with open(f"/proc/{process.pid}/maps") as maps:
            if name in maps.read():
                return
        time.sleep(0.001)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("when", ["numpy", "libtorch_cpu"])
def test_an_interrupt_while_it_starts_is_one_line(tmp_path, when, number):
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a test run in the background ignores it
    process = started(tmp_path, preexec_fn=heed)
    imported(process, when)
    process.send_signal(number)
    output, errors = process.communicate(timeout=120)
    assert (process.returncode, output) == (130, "")
    assert errors in ("interrupted before anything was started\n", f"interrupted; {GO_ON}\n")
    assert not (tmp_path / "runs").exists()


def test_little_memory_is_one_line(tmp_path):
    def limited():
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))

    process = started(tmp_path, preexec_fn=limited)
    output, errors = process.communicate(timeout=120)
    assert (process.returncode, output) == (2, "")
    assert errors == "memory: ulimit -v allows 1024 MiB, expected at least 4 GiB or unlimited\n"
    assert not (tmp_path / "runs").exists()
