"""A run's status.json: who works on it, since when, and how it ended; and which parameters may go on with it."""

import csv
import math
import os
import socket
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lib import InputError, locks, processes, progress
from lib.files import read, write
from lib.text import short, value_or_error

STALE = 120.0  # seconds without a heartbeat after which a run on another machine counts as killed
STATUSES = ("running", "ok", "failed", "skipped")
QUIET_WORDS = "no progress for"
MOST_SECONDS = 1e10  # that a run may have taken
FREE = ("run_dir", "interactive", "num_workers", "notify", "early_stopping")  # may differ where a run is gone on with
GROWS = ("epochs",)  # may be more
lock = threading.RLock()


def _quiet_seconds() -> float:
    """After how many seconds without progress that is said, by the environment's ECHOTRAIN_QUIET_MINUTES."""
    text = os.environ.get("ECHOTRAIN_QUIET_MINUTES", "10")
    try:
        minutes = float(text)
    except ValueError:
        minutes = math.nan
    if not minutes > 0:
        raise InputError("ECHOTRAIN_QUIET_MINUTES", f"got {text!r}", "minutes above 0")
    return 60 * minutes


QUIET = _quiet_seconds()


def mark(path: Path, status: str, error: str | None = None, new: bool = False) -> dict[str, Any]:
    """Writes status.json: running | ok | failed | skipped; `new` begins the count of seconds and makes it ours."""
    with lock:
        now, old = datetime.now(UTC).isoformat(timespec="microseconds"), {} if new else recorded(path)
        if not old:
            progress.made()  # this process may have waited long
            pid = os.getpid()
            old = {"started": now, "pid": pid, "process": processes.identity(pid), "host": socket.gethostname()}
        seconds = (datetime.fromisoformat(now) - datetime.fromisoformat(old["started"])).total_seconds()
        fields = old | {"status": status, "error": error, "seconds": round(seconds, 3), "heartbeat": now}
        fields["idle"] = round(progress.idle(), 1)
        write(path / "status.json", fields)
        if status != "running":
            locks.release(path)
        return fields


def recorded(path: Path) -> dict[str, Any]:
    """status.json as it stands there; {} where it is missing, unreadable or isn't what `mark` writes.

    Everything that reads a status does so by this, so that a damaged one is no matter for other runs.
    """
    try:
        fields = read(path / "status.json")
        known = {"status": str, "started": str, "seconds": (int, float)}
        known |= {"pid": (int, type(None)), "process" if "process" in fields else "process_started": (str, int, float)}
        known |= {"host": str, "heartbeat": str}
        sound = all(isinstance(fields[key], kind) and fields[key] is not True for key, kind in known.items())
        sound = sound and fields["status"] in STATUSES and 0 <= fields["seconds"] < MOST_SECONDS
        sound = sound and isinstance(fields.get("error"), str | None) and 0 <= fields.get("idle", 0) < MOST_SECONDS
        times = [datetime.fromisoformat(fields[key]) for key in ("started", "heartbeat")]
        local = [time.astimezone() for time in times]  # some years are none elsewhere
        "".join(filter(lambda value: isinstance(value, str), fields.values())).encode()  # what can't be printed
        return fields if sound and all(time.tzinfo for time in times) and local else {}
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return {}


def status(path: os.PathLike | str) -> dict[str, Any]:
    """A run's status.json, in which a running one whose process is gone reads as killed, one that trained to NaN as failed.

    Of one that runs, `note` says if there has been no progress for `QUIET` seconds, else it is "".
    """
    fields = recorded(Path(path))
    if not fields:
        raise InputError(path, "no run folder, status.json is missing or unreadable")
    if fields["status"] == "running" and not _alive(fields):
        fields |= {"status": "killed", "error": "the process is gone"}
    if fields["status"] == "running":
        seconds = fields.get("idle", 0) + max(0.0, _silence(fields))
        fields["note"] = f"{QUIET_WORDS} {seconds / 60:.0f} min" if seconds > QUIET else ""
    if fields["status"] == "ok" and (wrong := _not_finite(Path(path) / "history.csv")):
        fields |= {"status": "failed", "error": wrong}
    return fields


def is_good(path: Path) -> bool:
    """Whether a run has ended ok; a damaged one hasn't."""
    state, _ = value_or_error(status, path)
    return bool(state) and state["status"] == "ok"


def _not_finite(history: Path) -> str:
    """What is wrong with the losses that a training has recorded; "" if they are finite, or there are none."""
    try:
        with history.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                for name in ("train_loss", "valid_loss"):
                    if not math.isfinite(float(row[name])):
                        return f"its {name} is {row[name]} in epoch {row.get('epoch')}: train it again"
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        pass  # no training, or a history that tells nothing
    return ""


def owned(path: Path) -> dict[str, Any]:
    """The status of a run that is this very process's, else {}; forked workers own nothing."""
    fields = recorded(path)
    return fields if _by(fields, os.getpid()) else {}


def _by(fields: dict[str, Any], pid: int) -> bool:
    return fields.get("pid") == pid and fields.get("process") == processes.identity(pid)


def _alive(fields: dict[str, Any]) -> bool:
    here = fields["host"] == socket.gethostname() and "process" in fields  # older versions didn't write it
    seen = processes.is_alive(fields["pid"], fields["process"]) if here else None
    return _silence(fields) <= STALE if seen is None else seen


def _silence(fields: dict[str, Any]) -> float:
    """Seconds since the last heartbeat."""
    return (datetime.now(UTC) - datetime.fromisoformat(fields["heartbeat"])).total_seconds()


def take(path: Path, task: dict[str, Any], decided: bool = False) -> None:
    """Makes a run folder this process's until it ends or the run does: locked, task.json is `task`, the status "running".

    InputError, and nothing is written, where another live process holds it, or where it was begun with a notebook or
    parameters that don't go on with it: see `differences`. decided: a recipe has chosen the folder, and may not take
    what its own kernels hold; otherwise a folder that the parent process (the recipe) holds is ours.
    """
    with lock:
        before, held = locks.holds(path), locks.hold(path)
        try:
            _check(path, task, decided, held)
        except InputError:
            if not before:
                locks.release(path)
            raise
        write(path / "task.json", task)
        mark(path, "running", new=True)


def _check(path: Path, task: dict[str, Any], decided: bool, held: bool) -> None:
    state = recorded(path)
    handed = not decided and _by(state, os.getppid())
    running = state.get("status") == "running" and not _by(state, os.getpid()) and _alive(state)
    if not handed and (running or not held):
        raise InputError(
            "run_dir",
            f"{short(path)} is being written by {writer(path)}, which still runs: wait for it, stop it (in Lab: shut "
            "its kernel down), or leave run_dir out for a new folder",
        )
    if not decided and not handed and (wrong := differences(path, task)):
        raise InputError(
            "run_dir",
            f"{short(path)} was begun with {'; '.join(wrong)}: give the same to go on with it, or leave run_dir "
            "out for a new folder",
        )


def writer(path: Path) -> str:
    """Which process works in a run folder, as far as its status and its lock tell."""
    state = recorded(path)
    known = state.get("status") == "running" and _alive(state)
    return f"process {state['pid']} on {state['host']}" if known else locks.holder(path)


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
    then, now = (p["early_stopping"] if isinstance(p.get("early_stopping"), dict) else {} for p in (old, new))
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
