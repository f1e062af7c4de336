"""What the overview notebook shows: the environment in one line each, and every notebook with its last run."""

import importlib.metadata
import json
import os
import platform
import shutil
from pathlib import Path

import pandas as pd

from lib import ROOT, RUNS, runs


def environment() -> list[str]:
    """One line for each thing that a run depends on, with a word on what to do where something is missing."""
    import psutil
    import torch

    packages = ("torch", "fastai", "jupyterlab", "papermill", "h5py", "scikit-image")
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    free = shutil.disk_usage(ROOT).free
    memory = psutil.virtual_memory()
    prepared = sorted(p.parent.name for p in (ROOT / "data").glob("*/set.json") if not p.parent.name.endswith("-quick"))
    return [
        f"Python {platform.python_version()} on {platform.system()} {platform.machine()}",
        " · ".join(f"{name} {importlib.metadata.version(name)}" for name in packages),
        f"GPU: {', '.join(gpus) if gpus else 'none; everything runs on the CPU'}",
        f"CPU: {os.cpu_count()} cores, {torch.get_num_threads()} threads for torch",
        f"memory: {memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free",
        f"disk: {free / 2**30:.0f} GiB free{'' if free > 2 * 2**30 else ': too little, a demo needs about 1 GiB'}",
        f"data: samples{''.join(f', {name}' for name in prepared)}{'' if prepared else '; 10_prepare_kspace makes more'}",
        f"runs: {len(runs.history())} in {RUNS.name}/",
    ]


def notebooks() -> pd.DataFrame:
    """A row a notebook, in order: a link, its goal (the line after its title), its last run's time, status, seconds."""
    last: dict[str, tuple[str, dict]] = {}
    for path in runs.history():
        try:
            name = json.loads((path / "task.json").read_text())["notebook"]
        except (OSError, ValueError, KeyError):
            continue
        if name not in last or path.name > last[name][0]:
            last[name] = (path.name, runs.status(path))
    rows = []
    for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        time, status = last.get(path.stem, ("", {}))
        seconds = status.get("seconds")
        rows.append({
            "notebook": f'<a href="{path.name}">{path.stem}</a>', "goal": _goal(path), "last run": time,
            "status": status.get("status", "not run yet"), "seconds": "" if seconds is None else f"{seconds:.0f}",
        })  # fmt: skip
    return pd.DataFrame(rows)


def _goal(path: Path) -> str:
    first = "".join(json.loads(path.read_text())["cells"][0]["source"])
    return next((line[2:] for line in first.splitlines() if line.startswith("> ")), "")
