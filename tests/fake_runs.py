"""Small run folders as the notebooks leave them, for tests of what reads them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from lib import files

DAY = datetime(2026, 3, 5, 14, 0, 0, tzinfo=UTC)


def make(
    root: Path, task: str, number: int = 0, *, notebook: str = "21_train_kspace", status: str = "ok",
    error: str | None = None, parameters: dict[str, Any] | None = None, headline: dict[str, Any] | None = None,
    by_class: str = "", role: str = "train",
    history: str | None = None, result: dict[str, dict[str, Any]] | None = None, classes: list[str] | None = None,
) -> Path:  # fmt: skip
    """A run folder, started `number` minutes after `DAY`; result: {case: {name: (S, H, W)}}."""
    started = DAY + timedelta(minutes=number)
    path = root / task / started.strftime("%Y%m%d-%H%M%S")
    state = {"started": started.isoformat(), "status": status, "error": error, "seconds": 192.0 + number}
    state |= {"pid": 1, "process": "elsewhere 1", "host": "elsewhere", "heartbeat": datetime.now(UTC).isoformat()}
    files.write(path / "status.json", state)
    given = {"task_name": task, "run_dir": str(path), "network_type": "VarNet"} | (parameters or {})
    files.write(path / "task.json", {"task": task, "notebook": notebook, "role": role, "parameters": given})
    files.write(path / "manifest.json", {"versions": {}, "inputs": []})
    if headline is not None:
        files.write(path / "metrics.json", {"headline": headline} | ({"by_class": by_class} if by_class else {}))
    if history is not None:
        files.write(path / "history.csv", history)
    if result is not None:
        with files.replacing(path / "predictions" / "result.h5") as partial, h5py.File(partial, "w") as file:
            for case, volumes in result.items():
                group = file.create_group(case, track_order=True)
                group.attrs["person"] = case.split("_")[0]
                if classes:
                    group.attrs["classes"] = classes
                for name, volume in volumes.items():
                    group[name] = volume
    return path


def volumes(noise: float, shape: tuple[int, int, int] = (3, 24, 20), seed: int = 0) -> dict[str, np.ndarray]:
    """input, output and truth of one case; the truth depends on `seed` alone, the output's error grows with `noise`."""
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0.2, 1, shape).astype(np.float32)
    output = truth + np.float32(noise) * rng.standard_normal(shape).astype(np.float32)
    return {"input": truth / 2, "output": output, "truth": truth}
