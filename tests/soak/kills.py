"""Processes killed at random moments: after `--resume` everything is there, to the last bit, and no process is left."""

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import h5py
import psutil

from lib import ROOT

MARK = "ECHOTRAIN_SOAK"  # an environment variable by which a run's processes are known
ORPHAN_SECONDS = 60  # after which every process of a killed recipe has ended
VICTIMS = ("recipe", "kernel", "all")
_TRAIN = "- task_name: {task}\n  network_type: {network}\n  data: {data}\n{more}"


def _recipe(prepare: str, data: str, task: str, network: str, more: str = "") -> str:
    """A preparation and a training on what it makes."""
    made = f"- task_name: prepare\n  notebook: {prepare}\n  data: data/{data}\n"
    return made + _TRAIN.format(task=task, network=network, data=f"data/{data}", more=more)


_PREDICT = "- task_name: predict\n  notebook: 26_predict\n  saved_network_weights: {0}\n  data: data/{1}\n"
RECIPES = {  # every training notebook, with workers, several processes, predictions and exports
    "kspace": _recipe("10_prepare_kspace", "kspace", "train_varnet", "VarNet"),
    "workers": _recipe("10_prepare_kspace", "kspace", "train_varnet", "VarNet", "  num_workers: 2\n"),
    "two ranks": _recipe("10_prepare_kspace", "kspace", "train_varnet", "VarNet", "  devices: [cpu, cpu]\n"),
    "cascade": _recipe("10_prepare_kspace", "kspace", "train_varnet", "VarNet")
    + _TRAIN.format(task="train_cascade", network="VarNetRCAN", data="data/kspace", more="  runs: [train_varnet]\n"),
    "cine": _recipe("11_prepare_cine", "cine", "train_unet2d1d", "UNet2D1D"),
    "slices": _recipe("12_prepare_slices", "slices", "train_slices", "UNet2D"),
    "volumes": _recipe("13_prepare_volumes", "volumes", "train_volumes", "VolumeUNet")
    + _PREDICT.format("train_volumes", "volumes"),
    "volumes, two ranks": _recipe(
        "13_prepare_volumes", "volumes", "train_volumes", "VolumeUNet", "  devices: [cpu, cpu]\n"
    ),
    "pairs": _recipe("14_prepare_pairs", "pairs", "train_pairs", "ResUNet") + _PREDICT.format("train_pairs", "pairs"),
}


def start(place: Path, *words: str, **more: str) -> subprocess.Popen:
    """`python -m lib` on the recipe in `place`, with `words`, in a session of its own; more: environment variables.

    What it says is appended to said.txt.
    """
    environment = os.environ | {"ECHOTRAIN_RUNS": str(place / "runs"), MARK: str(place), "OMP_NUM_THREADS": "1"} | more
    command = [sys.executable, "-m", "lib", str(place / "recipe.yaml"), *words]
    with open(place / "said.txt", "ab") as said:
        return subprocess.Popen(
            command,
            env=environment,
            cwd=ROOT,
            stdout=said,
            stderr=said,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )


def processes(place: Path) -> list[psutil.Process]:
    """What still runs of `start`, by its environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == str(place) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):  # of another user, or gone
            continue
    return found


def kill(place: Path, victim: str, recipe: subprocess.Popen) -> None:
    """Signal 9 to the recipe's process, to the kernel of its notebook with what it started, or to all."""
    for process in processes(place):
        own = process.pid == recipe.pid
        if victim == "all" or own == (victim == "recipe"):
            try:
                os.kill(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def digests(place: Path) -> dict[str, str]:
    """What must be equal to the last bit: weights, histories but their seconds, metrics, arrays of results and of data."""
    found = {}
    for run in sorted((place / "runs").glob("*/*/status.json")):
        if json.loads(run.read_text())["status"] != "ok":
            continue
        for file in sorted(run.parent.rglob("*")):
            value = _digest(file)
            if value:
                found[f"{run.parent.parent.name}/{file.relative_to(run.parent)}"] = value
    for file in sorted((place / "data").rglob("*.h5")):
        found[str(file.relative_to(place))] = _digest(file)
    return found


def _digest(file: Path) -> str:
    made = sha256()
    if file.name == "history.csv":
        for row in csv.DictReader(file.read_text().splitlines()):
            row.pop("seconds")
            made.update(repr(row).encode())
    elif file.suffix in (".safetensors",) or file.name == "metrics.json" or file.name.endswith(".nii.gz"):
        made.update(file.read_bytes())
    elif file.suffix == ".h5":
        with h5py.File(file) as content:
            content.visititems(lambda name, item: made.update(name.encode() + _bytes(item)))
    else:
        return ""
    return made.hexdigest()


def _bytes(item: h5py.Dataset | h5py.Group) -> bytes:
    return item[()].tobytes() if isinstance(item, h5py.Dataset) and item.dtype.kind in "biufc" else b""


def trial(name: str, place: Path, whole: dict[str, str], seconds: float, seed: int) -> dict[str, object]:
    """A recipe that is killed once at a moment drawn from `seed` and resumed.

    Parameters
    ----------
    name : of RECIPES
    place : a folder that isn't there yet
    whole : `digests` of the recipe that was never killed
    seconds : that it took
    seed : of moment and victim

    Returns
    -------
    {recipe, victim, second, differ: files that differ, orphans: processes left, partial: unfinished files, ended: how the
    resumed recipe ended}
    """
    drawn = random.Random(seed)
    victim, moment = drawn.choice(VICTIMS), drawn.uniform(0.02, 0.98) * seconds
    recipe = _begin(name, place)
    end = time.monotonic() + moment
    while time.monotonic() < end and recipe.poll() is None:
        time.sleep(0.02)
    kill(place, victim, recipe)
    orphans = wait_for_end(place, recipe)
    resumed = start(place, "--quick", "--resume")
    ended = resumed.wait()
    found = digests(place)
    return {
        "recipe": name, "victim": victim, "second": round(moment, 1), "ended": ended, "orphans": orphans,
        "differ": sorted(key for key in {*whole, *found} if whole.get(key) != found.get(key)),
        "partial": sorted(str(p.relative_to(place)) for p in place.rglob("*.partial")),
    }  # fmt: skip


def wait_for_end(place: Path, recipe: subprocess.Popen) -> int:
    """Waits until all processes of a recipe have ended; how many haven't, which are killed."""
    end = time.monotonic() + ORPHAN_SECONDS
    while (left := processes(place)) and time.monotonic() < end:
        recipe.poll()
        time.sleep(0.1)
    for process in left:
        process.kill()
    recipe.wait()
    return len(left)


def run(count: int, folder: Path, names: list[str] | None = None) -> Iterator[dict[str, object]]:
    """`count` trials, over all RECIPES or some in turn."""
    names, wholes, place = names or list(RECIPES), {}, folder / "kills"  # one folder for all: its name is in results
    for seed in range(count):
        name = names[seed % len(names)]
        if name not in wholes:
            begun = time.monotonic()
            if _begin(name, place).wait():
                raise RuntimeError(f"{name}: {(place / 'said.txt').read_text()[-2000:]}")
            wholes[name] = digests(place), time.monotonic() - begun
            shutil.rmtree(place)
        yield trial(name, place, *wholes[name], seed)
        shutil.rmtree(place)


def _begin(name: str, place: Path) -> subprocess.Popen:
    place.mkdir(parents=True)
    (place / "recipe.yaml").write_text(RECIPES[name].replace("data/", f"{place}/data/"))
    return start(place, "--quick")
