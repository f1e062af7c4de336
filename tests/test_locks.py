"""One process at a time writes a folder, and its lock ends with it; a process is told by when it began, not by a clock."""

import ast
import contextlib
import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import toys
from PIL import Image
from refusals import refused

from lib import ROOT, locks, processes, runs
from lib.data import lgg


@pytest.fixture(autouse=True)
def free():
    yield
    for folder in list(locks._held):
        locks.release(folder)


@contextlib.contextmanager
def other(code, *words, **settings):
    """Another process, once it has printed a line; killed at the end."""
    command = [
        sys.executable,
        "-c",
        f"import os, subprocess, sys, time\nfrom lib import locks\n{code}",
        *map(str, words),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, **settings) as process:
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


HOLD = "locks.hold(sys.argv[1]); print('held', flush=True); time.sleep(600)"


def test_a_killed_process_holds_no_lock(tmp_path):
    with other(HOLD, tmp_path) as process:
        assert not locks.hold(tmp_path) and not locks.holds(tmp_path)
        with refused(where=str(tmp_path), found=f"^process {process.pid} writes here$", hint="wait until"):
            locks.claim(tmp_path)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert locks.hold(tmp_path) and locks.hold(tmp_path) and locks.holds(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_workers_that_are_forked_hold_nothing_and_kernels_hold_on(tmp_path):
    fork = "locks.hold(sys.argv[1])\nif os.fork():\n    print('held', flush=True)\ntime.sleep(30)"
    with other(fork, tmp_path) as process:
        worker = psutil.Process(process.pid).children()[0]
        process.kill(), process.wait()
        deadline = time.monotonic() + 20  # it forgets as the first thing that it does
        while not locks.hold(tmp_path) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert worker.is_running() and locks.holds(tmp_path)
        worker.kill()
    locks.release(tmp_path)
    kernel = (
        "f = sys.argv[1]; locks.hold(f)\n"
        "code = \"import sys, time; from lib import locks; print(locks.hold(sys.argv[1]) and 'held', flush=True); time.sleep(600)\"\n"
        "subprocess.Popen([sys.executable, '-c', code, f], pass_fds=locks.inherited(f), env=os.environ | locks.environment(f))\n"
        "time.sleep(600)"
    )
    with other(kernel, tmp_path) as process:
        child = psutil.Process(process.pid).children()[0]
        process.kill(), process.wait()
        assert not locks.hold(tmp_path)
        child.kill()
        deadline = time.monotonic() + 20
        while not locks.hold(tmp_path) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert locks.holds(tmp_path)


def test_a_folder_that_was_made_for_its_lock_goes_unless_something_is_in_it(tmp_path):
    with pytest.raises(KeyError), locks.writing(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").is_dir()
        raise KeyError
    assert list(tmp_path.iterdir()) == []
    with locks.writing(tmp_path / "a" / "b"), locks.writing(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "c").touch()
    assert (tmp_path / "a" / "b" / "c").exists() and not locks.holds(tmp_path / "a" / "b")
    with refused(where="c/d", found="can't be written"), locks.writing(tmp_path / "a" / "b" / "c" / "d"):
        pass


def test_without_locks_on_folders_a_file_is_locked_and_without_any_a_line_says_so(tmp_path, monkeypatch, capsys):
    real = fcntl.flock

    def of_files(handle, how):  # as NFS does
        if os.path.isdir(f"/proc/self/fd/{handle}"):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return real(handle, how)

    monkeypatch.setattr(fcntl, "flock", of_files)
    assert locks.hold(tmp_path) and [p.name for p in tmp_path.iterdir()] == [".lock"]
    locks.release(tmp_path)
    flock = "import fcntl; f = open(sys.argv[1] + '/.lock'); fcntl.flock(f, 2)"
    with other(f"{flock}; print('held', flush=True); time.sleep(600)", tmp_path) as process:
        assert not locks.hold(tmp_path) and locks.holder(tmp_path) == f"process {process.pid}"
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOLCK, "No locks available")))
    assert locks.hold(tmp_path)
    assert capsys.readouterr().out.startswith(f"{tmp_path}: no locks here (No locks available): see to it that")


def pictures(folder):
    for p in range(4):
        for name, mode in (("", "RGB"), ("_mask", "L")):
            path = folder / f"TCGA_XX_{p}_2000" / f"TCGA_XX_{p}_2000_1{name}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new(mode, (16, 16)).save(path)
    return folder


def test_of_two_preparations_of_one_folder_the_second_is_refused(tmp_path, monkeypatch):
    source, out, runs_folder = pictures(tmp_path / "source"), tmp_path / "set", tmp_path / "runs"
    toys.write(tmp_path / "notebooks", "14_toy", tags=("prepare",))
    monkeypatch.setenv("ECHOTRAIN_NOTEBOOKS", str(tmp_path / "notebooks"))
    monkeypatch.setattr("lib.runs.run.RUNS", runs_folder)
    with other(HOLD, out) as process:
        for second in (lambda: lgg.prepare(source, out, (8, 8)), lambda: runs.start("14_toy", {"data": str(out)})):
            with refused(where=str(out), found=f"^process {process.pid} writes here$"):
                second()
        assert list(out.iterdir()) == [] and not runs_folder.exists()
    lgg.prepare(source, out, (8, 8))
    assert (out / "set.json").exists()
    run = runs.start("14_toy", {"data": str(out), "quick": True})
    assert locks.holds(tmp_path / "set-quick")
    again = runs.start("14_toy", {"data": str(out), "quick": True})  # its cells once more
    assert locks.holds(tmp_path / "set-quick") and not locks.holds(run.path)
    runs.finish(again)
    assert not locks._held and not (tmp_path / "set-quick").exists()


def test_every_function_that_writes_a_whole_set_locks_its_folder():
    unlocked = []
    for path in [*ROOT.glob("lib/data/*.py"), *ROOT.glob("lib/phantoms/*.py")]:
        for function in (node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)):
            calls = {ast.unparse(n.func) for n in ast.walk(function) if isinstance(n, ast.Call)}
            if "write_set" in calls and "writes_set" not in map(ast.unparse, function.decorator_list):
                unlocked.append(function.name)
    assert unlocked == ["write_index"]  # 10_prepare_kspace writes the rest, whose run holds the lock


RACE = """
import os, sys, time
from pathlib import Path
from lib import files, runs
from lib.recipes import execute, plan
place = Path(sys.argv[1])
def entered(task, run, title):
    with open(place / "entered", "a") as log:
        log.write(f"{run}\\n")
    time.sleep(0.2)
execute._execute = entered
(task,) = plan.plan(place / "r.yaml", resume=True)
for trial in range(6):
    run = runs.create("toy")
    files.write(run / "task.json", task.description)
    runs.mark(run, "failed", "killed", new=True)
    at, children = time.time() + 0.1, []
    for _ in range(2):
        child = os.fork()
        if not child:
            while time.time() < at: pass
            result = execute._run_or_keep(task, "t", True, None)
            os._exit(result.status != "ok")
        children.append(child)
    print(sorted(os.waitstatus_to_exitcode(os.waitpid(c, 0)[1]) for c in children))
"""


def test_of_two_that_resume_at_once_one_enters_the_folder(tmp_path):
    toys.write(tmp_path / "notebooks", "21_toy")
    (tmp_path / "r.yaml").write_text("- {task_name: toy, notebook: 21_toy}\n")
    done = subprocess.run(
        [sys.executable, "-c", RACE, str(tmp_path)], env=toys.environment(tmp_path), capture_output=True, text=True,
        cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("[")][-6:].count("[0, 1]") == 6, done.stdout
    entered = (tmp_path / "entered").read_text().splitlines()
    assert len(entered) == len(set(entered)) == 6


def test_a_process_is_told_by_its_start_and_not_by_the_clock(tmp_path, monkeypatch):
    toys.write(tmp_path / "notebooks", "21_toy")
    monkeypatch.setenv("ECHOTRAIN_NOTEBOOKS", str(tmp_path / "notebooks"))
    monkeypatch.setattr("lib.runs.run.RUNS", tmp_path / "runs")
    run = runs.start("21_toy", {})
    boot = psutil.boot_time()
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: boot + 3600)  # as after a step of the clock by an hour
    monkeypatch.setattr("psutil._psplatform.boot_time", lambda: boot + 3600)
    assert run.status()["status"] == "running"
    runs.mark(run.path, "failed")

    words = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    mine = processes.identity(os.getpid())
    assert mine.endswith(f" {words[19]}") and processes.is_alive(os.getpid(), mine) is True
    assert processes.is_alive(1, mine) is False and processes.is_alive(10**9, mine) is False
    boot, space, start = mine.split()
    assert processes.is_alive(os.getpid(), f"{boot} pid:[1] {start}") is None  # another container's
    assert processes.is_alive(os.getpid(), f"{boot}0 {space} {start}") is False  # before a reboot
    assert [processes.identity(pid) for pid in (-1, 0, 10**20)] == [None] * 3
    with subprocess.Popen(["true"]) as ended:
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        assert processes.identity(ended.pid) is None  # it waits for being fetched


def test_systems_without_proc_tell_a_process_by_when_it_began(monkeypatch):
    monkeypatch.setattr(processes.os.path, "exists", lambda path: not str(path).startswith("/proc"))
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: (_ for _ in ()).throw(OSError()))
    assert processes.identity(os.getpid()).endswith(str(psutil.Process().create_time()))
    assert processes.identity(-1) is None


WITHOUT_FCNTL = """
import os, subprocess, sys, types, fcntl as real
class Msvcrt(types.ModuleType):
    LK_NBLCK = 2
    @staticmethod
    def locking(handle, mode, count):
        try:
            real.flock(handle, real.LOCK_EX | real.LOCK_NB)
        except BlockingIOError as error:
            raise PermissionError(13, "Permission denied") from None
sys.modules |= {"fcntl": None, "resource": None, "msvcrt": Msvcrt("msvcrt")}
from lib import locks, startup, system
"""


def test_locks_without_fcntl_are_those_of_windows(tmp_path):
    """msvcrt is played: what is tested is our side of it, as no Windows is here."""
    hold = f"{WITHOUT_FCNTL}\nopened = os.open\nos.open = lambda p, f, m=0: opened(p, f, m) if f != os.O_RDONLY else (_ for _ in ()).throw(PermissionError(13, 'no folders'))\nprint(locks.hold(sys.argv[1]), flush=True)\ninput()"
    command = [sys.executable, "-c", hold, str(tmp_path / "set")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as first:
        assert first.stdout.readline() == "True\n"
        second = subprocess.run(command, input="\n", capture_output=True, text=True, cwd=ROOT, timeout=60)
        assert second.stdout == "False\n", second.stderr
        first.communicate("\n")
    third = subprocess.run(command, input="\n", capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert third.stdout == "True\n", third.stderr


def test_where_files_cannot_be_handed_on_a_kernel_has_its_starters_word(tmp_path, monkeypatch):
    monkeypatch.setattr("lib.system.can_hand_files", lambda: False)
    locks.hold(tmp_path / "run")
    assert locks.inherited(tmp_path / "run") == ()
    check = "import sys; from lib import locks; print(locks.hold(sys.argv[1]), locks.hold(sys.argv[2]))"
    (tmp_path / "other").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", check, str(tmp_path / "run"), str(tmp_path / "other")], capture_output=True, text=True,
        cwd=ROOT, env=os.environ | locks.environment(tmp_path / "run"), timeout=60,
    )  # fmt: skip
    assert done.stdout == "True True\n", done.stderr
    without = subprocess.run(
        [sys.executable, "-c", check, str(tmp_path / "run"), str(tmp_path / "other")], capture_output=True, text=True,
        cwd=ROOT, timeout=60,
    )  # fmt: skip
    assert without.stdout == "False True\n"
