"""The run folder: runs/<task>/<time>/, what every notebook starts, finishes and finds its results in."""

import ast
import atexit
import contextlib
import errno
import os
import random
import re
import shutil
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lib import ROOT, RUNS, InputError, locks, processes
from lib.data.index import prepared
from lib.files import check_path, check_writable, clear, read, write
from lib.models import own
from lib.runs import error_boxes, manifest, parameters
from lib.runs.status_file import is_good, lock, mark, owned, recorded, status, take
from lib.text import short

BEAT = 10.0  # seconds between heartbeats
ELSEWHERE = ": ECHOTRAIN_RUNS can name another folder for runs"
RESERVED_NAMES = ("weights", "results", "logs")  # folders of runs/ that hold no runs
WEIGHTS = (".pt", ".pth", ".ckpt", ".safetensors")  # endings of files that hold nothing but weights
_current: "Run | None" = None


class Run(os.PathLike):
    """One run's folder: `path`, its checked `parameters`, `run / "figures"` for what lies in it, the set it `prepares`."""

    def __init__(self, path: Path, parameters: dict[str, Any] | None = None, prepares: Path | None = None):
        self.path, self.parameters, self.prepares = Path(path), parameters or {}, prepares

    def __fspath__(self) -> str:
        return str(self.path)

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def __repr__(self) -> str:
        return f"Run({short(self.path)})"

    def status(self) -> dict[str, Any]:
        return status(self.path)

    def record(self, **fields: Any) -> None:
        """Adds fields to manifest.json; of several processes that train together, the first does."""
        if os.environ.get("RANK", "0") != "0":
            return
        write(self / "manifest.json", read(self / "manifest.json") | fields)


# A run's life


def start(notebook: str, values: dict[str, Any]) -> Run:
    """Checks a notebook's parameters and opens its run folder; called right after the imports with `globals()`.

    The folder is `run_dir`, or a new runs/<task_name>/<YYYYmmdd-HHMMSS>. Seeds python, numpy and torch if there is a
    `seed`. A run that this process had open before is closed as failed. InputError, before anything is written, names the
    parameter at fault, the folder that can't be written, or why `run_dir` can't be gone on with (`lib.runs.status_file.take`).
    """
    global _current
    error_boxes.watch()
    source = parameters.notebook(notebook)
    known = parameters.parameters(source)
    unknown = {name: values.get(name) for name in _injected(values) - known.keys()}
    complete = parameters.check(source, unknown | {k: v for k, v in values.items() if k in known})
    reads = [*(complete.get("inputs") or ()), complete.get("saved_network_weights")]
    inputs = [find(name) for name in reads if name] + own.files(complete.get("network_type"))
    given = complete.get("run_dir")
    task = complete.get("task_name") or re.sub(r"^\d+_", "", source.stem)
    if not re.fullmatch(parameters.NAME, task) or task in RESERVED_NAMES:
        raise InputError(
            "task_name", f"got {task!r}", f"letters, digits, _ and -, and none of {', '.join(RESERVED_NAMES)}"
        )
    if "RANK" in os.environ:  # a process that helps to train: the run is its notebook's
        _seed(complete.get("seed"))
        return Run((ROOT / given).resolve(), complete)
    role = parameters.role(source)
    made = None
    if role == "prepare" and complete.get("data"):
        check_writable(ROOT / complete["data"])
        made = prepared(complete["data"], complete.get("quick", False))
    with contextlib.ExitStack() as undo:
        if made and not locks.holds(made):
            locks.claim(made)
            undo.callback(locks.release, made)
        path = (ROOT / given).resolve() if given else create(task)
        check_writable(path, ELSEWHERE)
        path.mkdir(parents=True, exist_ok=True)
        if path.parent.parent in roots():
            task = path.parent.name
        take(path, {"task": task, "notebook": source.stem, "role": role, "parameters": complete})
        undo.pop_all()
    earlier, run = _current, Run(path, complete, made)
    _hold(run)
    if earlier and earlier.path != path:
        _update("failed", "superseded by a later start in the same process")
    for left in {p.parent for p in path.parent.glob("*/**/.*.partial")} if path.parent.parent in roots() else ():
        clear(left)  # result.h5 of killed runs, which may have many GB
    _seed(complete.get("seed"))
    write(path / "manifest.json", manifest.of(complete) | {"inputs": [manifest.input_of(p) for p in inputs]})
    if _current is None:
        atexit.register(_close)
        threading.Thread(target=_beat, name="heartbeat", daemon=True).start()
    _current = run
    return run


def _injected(values: dict[str, Any]) -> set[str]:
    """The names that papermill's own cell gives, in IPython's list of the cells that were run: papermill lets any pass."""
    cells = [c for c in values.get("_ih", ()) if c.startswith("# Parameters\n") and "# type:" not in c]
    targets = [t for cell in cells[-1:] for s in ast.parse(cell).body if isinstance(s, ast.Assign) for t in s.targets]
    return {t.id for t in targets if isinstance(t, ast.Name)}


def _seed(seed: int | None) -> None:
    if seed is not None:
        import numpy as np
        import torch

        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)


def finish(run: Run, metrics: dict[str, Any] | None = None) -> None:
    """Writes metrics.json (no timings: a rerun gives the same file) and closes the run as ok.

    Tables of runs read of it `headline` (its rows: {name: value}), `by_class` (the metric that each row gives by class,
    the background first) and `note` (what sets its metrics apart from others of their name).
    """
    if metrics is None:
        (run / "metrics.json").unlink(missing_ok=True)  # what an earlier attempt left
    else:
        write(run / "metrics.json", metrics)
    closed = mark(run.path, "ok")
    print(f"{short(run.path)}: ok after {closed['seconds']:.1f} s", flush=True)


def roots() -> list[Path]:
    """The folders that hold runs: runs/, and those that a recipe's output_data_dir has named."""
    listed = RUNS / ".elsewhere"
    more = listed.read_text(encoding="utf-8", errors="replace").splitlines() if listed.is_file() else []
    return [RUNS, *dict.fromkeys(Path(line) for line in more if Path(line).is_dir())]


def create(task: str, root: Path | None = None) -> Path:
    """A new folder <root or runs/>/<task>/<YYYYmmdd-HHMMSS>, with -2, -3 … behind it when that second is taken.

    It appears with its status.json, "running", whenever the process is killed. InputError where it can't be made, such as on a disk that is read-only.
    """
    check_writable((root or RUNS) / task, ELSEWHERE)
    if root and root not in roots():
        root.mkdir(parents=True, exist_ok=True)
        RUNS.mkdir(parents=True, exist_ok=True)
        with open(RUNS / ".elsewhere", "a", encoding="utf-8") as listed:
            listed.write(f"{root}\n")
    folder, stamp, number = (root or RUNS) / task, time.strftime("%Y%m%d-%H%M%S"), 1
    folder.mkdir(parents=True, exist_ok=True)
    clear(folder)
    hidden = folder / f".{stamp}.{processes.signature()}.partial"
    try:
        mark(hidden, "running", new=True)
        while True:
            path = folder / (stamp if number == 1 else f"{stamp}-{number}")
            try:
                os.rename(hidden, path)
                return path
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                    raise
                number += 1
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def opened() -> Run | None:
    """The run that this process has started and not ended, also where a cell of it has failed."""
    state = owned(_current.path) if _current else {}
    return _current if state.get("status") in ("running", "failed") else None


def _hold(run: Run) -> bool:
    """Locks a run's folder and the set that it prepares for this process; False where another holds one of them."""
    return locks.hold(run.path) and (not run.prepares or locks.hold(run.prepares, run.path))


def _beat() -> None:
    while True:
        time.sleep(BEAT)
        with lock, contextlib.suppress(OSError):
            if error_boxes.busy and opened() and _hold(_current):  # maybe the one after a cell that failed
                mark(_current.path, "running")
            else:
                _update("running")


def _close() -> None:
    _update("failed", "stopped before the end")


def _update(status: str, error: str | None = None) -> None:
    with lock, contextlib.suppress(OSError):  # a full or absent disk is for the notebook to report
        if _current and owned(_current.path).get("status") == "running":
            mark(_current.path, status, error)


# What runs there are


def history(task: str = "*") -> list[Path]:
    """Run folders of a task (or all), the one started last at the end."""
    states = [(recorded(p.parent), p.parent) for r in roots() for p in r.glob(f"{task}/*/status.json")]
    runs = [(s, p) for s, p in states if s and not p.name.startswith(".") and p.parent.name not in RESERVED_NAMES]
    started = [(s["started"], p.name, p) for s, p in runs]
    return [p for *_, p in sorted(started)]


def find(task: os.PathLike | str) -> Path:
    """The newest good run of a task, or the run, folder or file of weights that a path leads to; InputError where none is."""
    folder = ROOT / task
    check_path(folder / "status.json")
    if (folder / "model.json").is_file() or folder.is_file():
        return folder.resolve()
    if folder.suffix in WEIGHTS:
        raise InputError(folder, "no such file of weights")
    if (folder / "status.json").is_file():
        state = status(folder)
        if state["status"] != "ok":
            said = f"{state['status']} ({state['error']})" if state["error"] else state["status"]
            raise InputError(f"run {short(folder)}", said, "one that ended ok")
        return folder.resolve()
    name = folder.name if folder.parent.resolve() in roots() else os.fspath(task)  # its folder, too
    all_runs = history(name) if re.fullmatch(parameters.NAME, name) else []
    if good := next(filter(is_good, reversed(all_runs)), None):
        return good
    good_tasks = sorted({p.parent.name for p in filter(is_good, history())})
    maker, states = _maker(name), ", ".join(f"{p.name} {status(p)['status']}" for p in all_runs[-5:])
    found = f"none has ended ok ({states})" if states else parameters.choose(name, good_tasks)
    raise InputError(f"run {name}", f"{found}{(f'; {maker} makes it' if maker else '')}")


def only(inputs: Sequence[os.PathLike | str]) -> os.PathLike | str:
    """The one that a notebook's `inputs` hold; InputError for none or several."""
    if len(inputs) != 1:
        raise InputError("inputs (runs in a recipe)", f"got {len(inputs)}", "one")
    return inputs[0]


def _maker(task: str) -> str:
    for recipe in sorted((ROOT / "runs").glob("*.yaml")):
        if re.search(rf"^\W*task_name:\s*['\"]?{re.escape(task)}['\"]?\s*(#.*)?$", recipe.read_text("utf-8"), re.M):
            return f"`python -m lib {short(recipe)} --only {task}`"
    notebooks = [p for p in (ROOT / "notebooks").glob("*.ipynb") if re.sub(r"^\d+_", "", p.stem) == task]
    return f"notebooks/{notebooks[0].name}" if notebooks else ""
