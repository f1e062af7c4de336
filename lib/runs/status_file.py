"""A run's status.json: who works on it, since when, and how it ended; and which parameters may go on with it."""

import contextlib
import fcntl
import os
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from lib import InputError
from lib.files import read, write
from lib.text import short

STALE = 120.0  # seconds without a heartbeat after which a run on another machine counts as killed
FREE = ("run_dir", "interactive", "num_workers", "notify", "early_stopping")  # may differ where a run is gone on with
GROWS = ("epochs",)  # may be more
lock = threading.RLock()


def mark(path: Path, status: str, error: str | None = None, new: bool = False) -> dict[str, Any]:
    """Writes status.json: running | ok | failed | skipped; `new` begins the count of seconds and makes it ours."""
    with lock:
        now, old = datetime.now(UTC).isoformat(timespec="microseconds"), {} if new else recorded(path)
        if not old:
            me = psutil.Process()
            old = {"started": now, "pid": me.pid, "process_started": me.create_time(), "host": socket.gethostname()}
        seconds = (datetime.fromisoformat(now) - datetime.fromisoformat(old["started"])).total_seconds()
        fields = old | {"status": status, "error": error, "seconds": round(seconds, 3), "heartbeat": now}
        write(path / "status.json", fields)
        return fields


def recorded(path: Path) -> dict[str, Any]:
    """status.json as it stands there; {} where it is missing, unreadable or lacks what every run's has."""
    try:
        fields = read(path / "status.json")
        known = {"status": str, "started": str, "seconds": (int, float)}
        known |= {"pid": (int, type(None)), "process_started": (int, float), "host": str, "heartbeat": str}
        sound = all(isinstance(fields[key], kind) for key, kind in known.items())
        times = [datetime.fromisoformat(fields[key]) for key in ("started", "heartbeat")]
        return fields if sound and all(time.tzinfo for time in times) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def status(path: os.PathLike | str) -> dict[str, Any]:
    """A run's status.json, in which a running one whose process is gone reads as killed."""
    fields = recorded(Path(path))
    if not fields:
        raise InputError(path, "no run folder, status.json is missing or unreadable")
    if fields["status"] == "running" and not _alive(fields):
        fields |= {"status": "killed", "error": "the process is gone"}
    return fields


def owned(path: Path) -> dict[str, Any]:
    """The status of a run that is this very process's, else {}; forked workers own nothing."""
    fields = recorded(path)
    return fields if _by(fields, os.getpid()) else {}


def _by(fields: dict[str, Any], pid: int) -> bool:
    return fields.get("pid") == pid and fields["host"] == socket.gethostname()


def _alive(fields: dict[str, Any]) -> bool:
    if fields["host"] != socket.gethostname():
        silence = datetime.now(UTC) - datetime.fromisoformat(fields["heartbeat"])
        return silence.total_seconds() <= STALE
    try:
        process = psutil.Process(fields["pid"])
        same = abs(process.create_time() - fields["process_started"]) < 2  # a later process may have got its number
        return same and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, OverflowError, ValueError):
        return False


def take(path: Path, task: dict[str, Any], decided: bool = False) -> None:
    """Makes a run folder this process's: task.json is `task`, the status "running".

    InputError, and nothing is written, where another live process holds it, or where it was begun with a notebook or
    parameters that don't go on with it: see `differences`. decided: a recipe has chosen the folder, and may not take
    what its own kernels hold; otherwise a folder that the parent process (the recipe) holds is ours.
    """
    with _alone(path):
        state = recorded(path)
        ours = _by(state, os.getpid()) or (not decided and _by(state, os.getppid()))
        if state.get("status") == "running" and not ours and _alive(state):
            raise InputError(
                "run_dir",
                f"{short(path)} is being written by process {state['pid']} on {state['host']}, which still runs: "
                "wait for it, stop it (in Lab: shut its kernel down), or leave run_dir out for a new folder",
            )
        if not decided and not _by(state, os.getppid()) and (wrong := differences(path, task)):
            raise InputError(
                "run_dir",
                f"{short(path)} was begun with {'; '.join(wrong)}: give the same to go on with it, or leave run_dir "
                "out for a new folder",
            )
        write(path / "task.json", task)
        mark(path, "running", new=True)


def differences(path: Path, task: dict[str, Any]) -> list[str]:
    """What keeps a run from being gone on with as `task`, such as "loss 'l1', not 'ssim'": [] where nothing does.

    FREE parameters may differ, and those in GROWS be more: such runs train on, see `prolonged`. So may what only one has.
    """
    if not (path / "task.json").exists():
        return []
    if not (earlier := begun(path)):
        return ["a task.json that is unreadable"]
    if earlier["notebook"] != task["notebook"]:
        return [f"notebook {earlier['notebook']}, not {task['notebook']}"]
    old, new = earlier["parameters"], task["parameters"]
    more = {k for k in GROWS if isinstance(old.get(k), int) and isinstance(new.get(k), int) and old[k] <= new[k]}
    keys = [k for k in old if k in new and k not in (*FREE, *more) and old[k] != new[k]]
    return [f"{k} {old[k]!r}, not {new[k]!r}" for k in keys]


def prolonged(path: Path, task: dict[str, Any]) -> str:
    """What a run without `differences` trains on with, such as "for 6 epochs instead of 5"; "" if its training is the same."""
    old, new = begun(path)["parameters"], task["parameters"]
    words = [f"for {new[k]} {k} instead of {old[k]}" for k in GROWS if k in old and k in new and old[k] != new[k]]
    then, now = (p.get("early_stopping") or {} for p in (old, new))
    if then != now and (then.get("use") or now.get("use")):
        words.append(f"with early_stopping {now} instead of {then}")
    return " and ".join(words)


def begun(path: Path) -> dict[str, Any]:
    """task.json as it stands there: with which notebook and parameters a run was begun; {} where it is missing or unreadable."""
    try:
        task = read(path / "task.json")
        return task | {"notebook": task["notebook"], "parameters": dict(task["parameters"])}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time; nothing is written."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network disks have no locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
