"""What a run was made with, for its manifest.json."""

import contextlib
import importlib.metadata
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from lib import ROOT
from lib.files import checksum, fingerprint

PACKAGES = (
    "torch", "torchvision", "fastai", "numpy", "h5py", "nibabel", "scikit-image", "monai", "safetensors", "papermill",
)  # fmt: skip


def of(parameters: dict[str, Any]) -> dict[str, Any]:
    """Versions, machine, device, seed, precision asked for, and the commit."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    fields = {"versions": versions, "platform": f"{platform.system()} {platform.machine()}", "device": "cpu"}
    torch = sys.modules.get("torch")  # not imported: the notebook does without
    if torch:
        devices = parameters.get("devices", "auto")
        first = devices[0] if isinstance(devices, list) else devices
        from lib import accelerators

        names = accelerators.names() if first != "cpu" else []
        if names:
            fields["device"] = names[first if isinstance(devices, list) else 0]
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


def input_of(path: Path) -> dict[str, Any]:
    """A run, folder or file that a task has used, with the checksums of what it may have read there.

    Of HDF5 it is `lib.files.fingerprint`: results may have many GB.
    """
    if path.is_file():
        return {"path": path, "sha256": {path.name: _sum(path)}}
    names = ("model_weights/model.safetensors", "model.safetensors", "predictions/result.h5", "metrics.json")
    return {"path": path, "sha256": {name: _sum(path / name) for name in names if (path / name).is_file()}}


def _sum(path: Path) -> str:
    return fingerprint(path) if path.suffix == ".h5" else checksum(path)
