"""The run folder: runs/<task>/<time>/, what every notebook starts, finishes and finds its results in."""

import atexit
import contextlib
import importlib.metadata
import os
import platform
import random
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from lib import ROOT, RUNS, InputError, tasks
from lib.files import checksum, read, replacing, write  # noqa: F401  (runs.write is what notebooks know)

BEAT = 10.0  # seconds between heartbeats
STALE = 120.0  # seconds without one after which a run on another machine counts as killed
NOT_TASKS = ("weights", "results", "logs")  # folders of runs/ that hold no runs
WEIGHTS = (".pt", ".pth", ".ckpt", ".safetensors")  # endings of files that hold nothing but weights
PACKAGES = (
    "torch", "torchvision", "fastai", "numpy", "h5py", "nibabel", "scikit-image", "monai", "safetensors", "papermill",
)  # fmt: skip
_lock = threading.RLock()
_current: "Run | None" = None


class Run(os.PathLike):
    """One run's folder: `path`, its checked `parameters`, and `run / "figures"` for what lies in it."""

    def __init__(self, path: Path, parameters: dict[str, Any] | None = None):
        self.path, self.parameters = Path(path), parameters or {}

    def __fspath__(self) -> str:
        return str(self.path)

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def __repr__(self) -> str:
        return f"Run({_short(self.path)})"

    def status(self) -> dict[str, Any]:
        return status(self.path)

    def record(self, **fields: Any) -> None:
        """Adds fields to manifest.json; of several processes that train together, the first does."""
        if os.environ.get("RANK", "0") != "0":
            return
        write(self / "manifest.json", read(self / "manifest.json") | fields)


def _short(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


# A run's life


def start(notebook: str, values: dict[str, Any]) -> Run:
    """Checks a notebook's parameters and opens its run folder; called right after the imports with `globals()`.

    The folder is `run_dir`, or a new runs/<task_name>/<YYYYmmdd-HHMMSS>. Seeds python, numpy and torch if there is a
    `seed`. A run that this process had open before is closed as failed. InputError names the parameter at fault.
    """
    global _current
    source = tasks.notebook(notebook)
    known = tasks.parameters(source)
    parameters = tasks.check(source, {k: v for k, v in values.items() if k in known})
    given = [*(parameters.get("inputs") or ()), parameters.get("saved_network_weights")]
    inputs = [find(name) for name in given if name]
    given = parameters.get("run_dir")
    task = parameters.get("task_name") or re.sub(r"^\d+_", "", source.stem)
    if not re.fullmatch(tasks.NAME, task) or task in NOT_TASKS:
        raise InputError(
            f"task_name: got {task!r}, expected letters, digits, _ and -, and none of {', '.join(NOT_TASKS)}"
        )
    _update("failed", "superseded by a later start in the same process")
    if "RANK" in os.environ:  # a process that helps to train: the run is its notebook's
        _seed(parameters.get("seed"))
        return Run((ROOT / given).resolve(), parameters)
    path = (ROOT / given).resolve() if given else create(task)
    path.mkdir(parents=True, exist_ok=True)
    if path.parent.parent in roots():
        task = path.parent.name
    run = Run(path, parameters)
    write(path / "task.json", {"task": task, "notebook": source.stem, "parameters": parameters})
    mark(path, "running", new=True)
    _seed(parameters.get("seed"))
    write(path / "manifest.json", _manifest(parameters) | {"inputs": [_input(p) for p in inputs]})
    if _current is None:
        atexit.register(_close)
        threading.Thread(target=_beat, name="heartbeat", daemon=True).start()
    _current = run
    return run


def _seed(seed: int | None) -> None:
    if seed is not None:
        import numpy as np
        import torch

        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)


def finish(run: Run, metrics: dict[str, Any] | None = None) -> None:
    """Writes metrics.json (no timings: a rerun gives the same file) and closes the run as ok."""
    if metrics is None:
        (run / "metrics.json").unlink(missing_ok=True)  # what an earlier attempt left
    else:
        write(run / "metrics.json", metrics)
    closed = mark(run.path, "ok")
    print(f"{_short(run.path)}: ok after {closed['seconds']:.1f} s", flush=True)


def roots() -> list[Path]:
    """The folders that hold runs: runs/, and those that a recipe's output_data_dir has named."""
    listed = RUNS / ".elsewhere"
    more = listed.read_text(encoding="utf-8").splitlines() if listed.is_file() else []
    return [RUNS, *dict.fromkeys(Path(line) for line in more if Path(line).is_dir())]


def create(task: str, root: Path | None = None) -> Path:
    """A new folder <root or runs/>/<task>/<YYYYmmdd-HHMMSS>, with -2, -3 … behind it when that second is taken."""
    if root and root not in roots():
        root.mkdir(parents=True, exist_ok=True)
        RUNS.mkdir(parents=True, exist_ok=True)
        with open(RUNS / ".elsewhere", "a", encoding="utf-8") as listed:
            listed.write(f"{root}\n")
    stamp, number = time.strftime("%Y%m%d-%H%M%S"), 1
    while True:
        path = (root or RUNS) / task / (stamp if number == 1 else f"{stamp}-{number}")
        try:
            path.mkdir(parents=True)
            return path
        except FileExistsError:
            number += 1


def mark(path: Path, status: str, error: str | None = None, new: bool = False) -> dict[str, Any]:
    """Writes status.json: running | ok | failed | skipped; `new` begins the count of seconds and makes it ours."""
    with _lock:
        now, old = _now(), {} if new else _read_status(path)
        if not old:
            me = psutil.Process()
            old = {"started": now, "pid": me.pid, "process_started": me.create_time(), "host": socket.gethostname()}
        seconds = (datetime.fromisoformat(now) - datetime.fromisoformat(old["started"])).total_seconds()
        fields = old | {"status": status, "error": error, "seconds": round(seconds, 3), "heartbeat": now}
        write(path / "status.json", fields)
        return fields


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _read_status(path: Path) -> dict[str, Any]:
    try:
        return read(path / "status.json")
    except (OSError, ValueError):
        return {}


def _beat() -> None:
    while True:
        time.sleep(BEAT)
        _update("running")


def _close() -> None:
    _update("failed", "stopped before the end")


def _update(status: str, error: str | None = None) -> None:
    with _lock, contextlib.suppress(OSError):  # a full or absent disk is for the notebook to report
        if _current and _owned(_current.path):
            mark(_current.path, status, error)


def _owned(path: Path) -> bool:
    fields = _read_status(path)
    return fields.get("status") == "running" and fields.get("pid") == os.getpid()  # false in forked workers


def _manifest(parameters: dict[str, Any]) -> dict[str, Any]:
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    fields = {"versions": versions, "platform": f"{platform.system()} {platform.machine()}", "device": "cpu"}
    torch = sys.modules.get("torch")  # not imported: the notebook does without
    if torch:
        devices = parameters.get("devices", "auto")
        first = devices[0] if isinstance(devices, list) else devices
        if first != "cpu" and torch.cuda.is_available():
            fields["device"] = torch.cuda.get_device_name(first if isinstance(devices, list) else 0)
        fields["threads"] = torch.get_num_threads()
    return fields | {"seed": parameters.get("seed"), "precision": parameters.get("precision")} | _commit()


def _commit() -> dict[str, Any]:
    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, timeout=30)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    changes = git("status", "--porcelain")
    return {"commit": git("rev-parse", "HEAD"), "dirty": None if changes is None else bool(changes)}


def _input(path: Path) -> dict[str, Any]:
    if path.is_file():
        return {"path": path, "sha256": {path.name: checksum(path)}}
    names = ("model_weights/model.safetensors", "model.safetensors", "predictions/result.h5", "metrics.json")
    return {"path": path, "sha256": {name: checksum(path / name) for name in names if (path / name).is_file()}}


# What runs there are


def status(path: os.PathLike | str) -> dict[str, Any]:
    """A run's status.json, in which a running one whose process is gone reads as killed."""
    fields = _read_status(Path(path))
    if not fields:
        raise InputError(f"{path}: no run folder, status.json is missing or unreadable")
    if fields["status"] == "running" and not _alive(fields):
        fields |= {"status": "killed", "error": "the process is gone"}
    return fields


def _alive(fields: dict[str, Any]) -> bool:
    if fields["host"] != socket.gethostname():
        silence = datetime.now(UTC) - datetime.fromisoformat(fields["heartbeat"])
        return silence.total_seconds() <= STALE
    try:
        process = psutil.Process(fields["pid"])
        same = abs(process.create_time() - fields["process_started"]) < 2  # a later process may have got its number
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def history(task: str = "*") -> list[Path]:
    """Run folders of a task (or all), the one started last at the end."""
    states = [(_read_status(p.parent), p.parent) for r in roots() for p in r.glob(f"{task}/*/status.json")]
    found = [(s["started"], p.name, p) for s, p in states if s.get("started") and p.parent.name not in NOT_TASKS]
    return [p for *_, p in sorted(found)]


def find(task: os.PathLike | str) -> Path:
    """The newest good run of a task, or the run, folder or file of weights that a path leads to; InputError where none is."""
    folder = ROOT / task
    if (folder / "model.json").is_file() or folder.is_file():
        return folder.resolve()
    if folder.suffix in WEIGHTS:
        raise InputError(f"{folder}: no such file of weights")
    if (folder / "status.json").is_file():
        found = status(folder)
        if found["status"] != "ok":
            raise InputError(f"run {_short(folder)}: {found['status']} ({found['error']}), expected one that ended ok")
        return folder.resolve()
    name = os.fspath(task)
    all_runs = history(name) if re.fullmatch(tasks.NAME, name) else []
    good = [p for p in all_runs if _read_status(p).get("status") == "ok"]
    if good:
        return good[-1]
    there = sorted({p.parent.name for p in history() if _read_status(p).get("status") == "ok"})
    maker, states = _maker(name), ", ".join(f"{p.name} {status(p)['status']}" for p in all_runs[-5:])
    found = f"none has ended ok ({states})" if states else tasks.choose(name, there)
    raise InputError(f"run {name}: {found}{f'; {maker} makes it' if maker else ''}")


def _maker(task: str) -> str:
    for recipe in sorted((ROOT / "runs").glob("*.yaml")):
        if re.search(rf"^\W*task_name:\s*['\"]?{re.escape(task)}['\"]?\s*(#.*)?$", recipe.read_text("utf-8"), re.M):
            return f"`python -m lib {_short(recipe)} --only {task}`"
    made = [p for p in (ROOT / "notebooks").glob("*.ipynb") if re.sub(r"^\d+_", "", p.stem) == task]
    return f"notebooks/{made[0].name}" if made else ""


def table(runs: Iterable[os.PathLike | str] | None = None):
    """A pandas table, a row a run (all of them by default): task, time, status, seconds, …, headline metrics, path."""
    import pandas as pd

    rows = []
    for path in history() if runs is None else [Path(r) for r in runs]:
        state, task = status(path), read(path / "task.json")
        row = {"task": path.parent.name, "time": path.name, "status": state["status"], "seconds": state["seconds"]}
        row |= {"notebook": task["notebook"], "network": task["parameters"].get("network_type")}
        for name, value in headline(path).items():
            row |= {f"{name} {k}": v for k, v in value.items()} if isinstance(value, dict) else {name: value}
        rows.append(row | {"path": str(path)})
    first = ["task", "time", "status", "seconds", "notebook", "network"]
    metrics = [k for row in rows for k in row if k not in first and k != "path"]
    return pd.DataFrame(rows, columns=[*first, *dict.fromkeys(metrics), "path"])


def headline(path: Path) -> dict[str, Any]:
    """The main metrics of a run: metrics.json's `headline`, name → number or row → {name → number}."""
    try:
        return read(path / "metrics.json").get("headline", {})
    except OSError:
        return {}


# Weights


def save_model(run: os.PathLike | str, name: str, settings: dict[str, Any], model: Any, **fed: Any) -> None:
    """Writes model_weights/model.safetensors and model.json: all that `load_model` needs to rebuild the network.

    fed: how its input was made (such as normalise="z_score"), for `fed_with`.
    """
    from safetensors.torch import save

    from lib import models

    folder, settings = Path(run) / "model_weights", models.complete(name, settings)  # another default mustn't change it
    write(folder / "model.safetensors", save({k: v.detach().cpu().clone() for k, v in model.state_dict().items()}))
    write(folder / "model.json", {"name": name, "settings": settings} | ({"fed": fed} if fed else {}))


def fed_with(weights: os.PathLike | str | None, **values: Any) -> tuple[Any, ...]:
    """`values`, or in their place what the run of `weights` says that its network was fed with: prints where they differ."""
    folder = ROOT / weights if weights else None
    if folder and not folder.is_file():
        folder = _weights_in(folder if folder.is_dir() else find(weights))
        fed = read(folder / "model.json").get("fed", {}) if (folder / "model.json").is_file() else {}
        for key in (k for k in values if k in fed and fed[k] != values[k]):
            print(f"{key}: {fed[key]!r} as in the run of the weights, not {values[key]!r}")
            values[key] = fed[key]
    return tuple(values.values())


def load_model(run: os.PathLike | str):
    """The network of a run (or of a folder of weights, or of a task's newest good run), on the CPU, in eval mode."""
    from safetensors.torch import load_file

    from lib import models

    folder = ROOT / run if (ROOT / run / "model_weights").is_dir() else find(run)  # a run may load its own, unfinished
    folder = _weights_in(folder)
    if not ((folder / "model.json").is_file() and (folder / "model.safetensors").is_file()):
        raise InputError(f"{_short(folder)}: no model.json and model.safetensors in it: the run has trained no network")
    description = read(folder / "model.json")
    model = models.build(description["name"], **description["settings"])
    return _fill(model, load_file(folder / "model.safetensors"), folder).eval()


def network(kind: str, settings: dict[str, Any], weights: os.PathLike | str | None, trains: bool):
    """(network, its settings) of a task: built anew with the weights given, or, where it isn't trained, as its run left it.

    A network that only predicts is rebuilt from the settings beside its weights, if there are any, and not from the
    task's: prints where they differ. InputError where the weights are another network's.
    """
    from lib import models

    folder = ROOT / weights if weights else None
    if folder and not folder.is_file() and not trains:
        folder = folder if folder.is_dir() else find(weights)
        folder = _weights_in(folder)
        if (folder / "model.json").is_file():
            description = read(folder / "model.json")
            if description["name"] != kind:
                raise InputError(f"{_short(folder)}: weights of {description['name']}, this task has {kind}")
            mine, its = (models.complete(kind, s) for s in (settings, description["settings"]))
            for key in (k for k in its if its[k] != mine[k]):
                print(f"{key}: {its[key]!r} as in the run of the weights, not {mine[key]!r}")
            return load_model(folder), description["settings"]
    return load_weights(models.build(kind, **settings), weights), settings


def settings_of(source: os.PathLike | str, kind: str, given: dict[str, Any] | None = None) -> dict[str, Any]:
    """The settings of the network `kind` whose weights `source` has: a run, a folder of weights, or a task's newest run.

    A single file has none: `given` it is. InputError for another network, and where `given` says otherwise.
    """
    from lib import models

    if (ROOT / source).is_file():
        return given or {}
    folder = _weights_in(ROOT / source if (ROOT / source).is_dir() else find(source))
    if not (folder / "model.json").is_file():
        raise InputError(f"{_short(folder)}: no model.json in it: the run has trained no network")
    description = read(folder / "model.json")
    if description["name"] != kind:
        raise InputError(f"{_short(folder)}: weights of {description['name']}, expected {kind}")
    its = models.complete(kind, description["settings"])
    for key, value in (given or {}).items():
        if its.get(key, value) != value:
            raise InputError(f"{_short(folder)}: {kind} with {key} {its[key]!r}, the task says {value!r}: leave it out")
    return its


def with_varnet(settings: dict[str, Any], inputs: list[str], weights: os.PathLike | str | None) -> dict[str, Any]:
    """A cascade's settings with those of its VarNet: of the cascade's own `weights`, else of the VarNet inputs[0].

    A single file says nothing of its network: what `settings` say stands. InputError where there is neither.
    """
    if weights and (ROOT / weights).is_file():
        return settings
    if weights:
        return settings | {"varnet": settings_of(weights, "VarNetRCAN")["varnet"]}
    if not inputs:
        raise InputError(
            "inputs: no VarNet given, expected a task, a run folder or a file of weights (runs: in a recipe)"
        )
    return settings | {"varnet": settings_of(inputs[0], "VarNet", settings.get("varnet"))}


def load_weights(model: Any, weights: os.PathLike | str | None) -> Any:
    """`model` with the weights of a run, a folder of weights, or a .safetensors or .pt file; as it is where None.

    A .pt file holds a state_dict of tensors, such as fastMRI's published weights; nothing else in it is run or read.
    """
    if weights is None:
        return model
    path = ROOT / weights
    if path.suffix in WEIGHTS[:3]:
        import torch

        if not path.is_file():
            raise InputError(f"saved_network_weights: {path}: no such file")
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise InputError(f"{_short(path)}: not a file of weights ({type(error).__name__})") from None
        state = state if isinstance(state, dict) else {}
        state = state.get("state_dict", state.get("model", state))  # "model": a checkpoint of ours
        return _fill(model, state, path)
    if path.suffix != ".safetensors":
        path = path if path.is_dir() else find(weights)
        path = _weights_in(path)
        path = path / "model.safetensors"
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return _fill(model, load_file(path), path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{_short(path)}: not a file of weights ({type(error).__name__})") from None


def _weights_in(folder: Path) -> Path:
    """Where a run folder keeps its weights; a folder of weights is its own."""
    return folder / "model_weights" if (folder / "model_weights").is_dir() else folder


def _fill(model: Any, found: dict[str, Any], path: Path) -> Any:
    """The model with the tensors `found` in `path`; InputError naming the first keys that don't fit."""
    wanted = model.state_dict()
    wrong = [f"{k} is missing" for k in wanted if k not in found]
    wrong += [f"{k} is too many" for k in found if k not in wanted]
    wrong += [
        f"{k} is {tuple(found[k].shape)}, expected {tuple(v.shape)}"
        for k, v in wanted.items()
        if k in found and found[k].shape != v.shape
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise InputError(f"{_short(path)}: weights don't fit {type(model).__name__}: {'; '.join(wrong[:3])}{more}")
    model.load_state_dict(found, strict=True)
    return model
