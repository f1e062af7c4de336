"""What goes wrong around a run: a full or read-only disk, files that vanish, workers that die or hang, a clock that jumps."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from lib import ROOT
from soak.kills import digests, kill, processes, start, wait_for_end

QUIET = {"ECHOTRAIN_QUIET_MINUTES": "0.05"}  # without progress, after which that is said
PATIENCE = 240  # seconds that a scenario waits for something to happen
PREPARE = """- task_name: prepare
  notebook: 10_prepare_kspace
  data: {0}/data
  shape: [48, 40]
  voxel: 4.0
  num_coils: 3
  acquisitions: 2
  every: 40
"""
TRAIN = """- task_name: train
  network_type: VarNet
  data: {0}/data
  network_settings: {{num_cascades: 1, chans: 2, pools: 1, sens_chans: 2, sens_pools: 1}}
  mask: {{kind: equispaced, acceleration: 4, num_low_frequencies: 8}}
  epochs: 8
  steps_per_epoch: 20
"""


class Failed(Exception):
    """What was seen instead of what should be."""


def expect(fact: object, seen: object) -> None:
    """Failed unless `fact` holds."""
    if not fact:
        raise Failed(str(seen)[-400:])


def _begin(place: Path, more: str = "", *words: str, **settings) -> subprocess.Popen:
    place.mkdir(parents=True, exist_ok=True)
    (place / "recipe.yaml").write_text((PREPARE + TRAIN + more).format(place))
    return start(place, *words, **settings)


def _run(place: Path) -> Path:
    """The folder of the training."""
    (found,) = (place / "runs" / "train").iterdir()
    return found


def _until(what: Callable[[], object], why: str) -> None:
    """Waits until something is so."""
    end = time.monotonic() + PATIENCE
    while not what():
        if time.monotonic() > end:
            raise Failed(f"after {PATIENCE} s still not: {why}")
        time.sleep(0.05)


def _trains(place: Path, epochs: int = 2) -> None:
    """Waits until a training has done some epochs."""

    def done() -> bool:
        found = list(place.glob("runs/train/*/history.csv"))
        return bool(found) and len(found[0].read_text().splitlines()) > epochs

    _until(done, f"{epochs} epochs")


def _said(place: Path) -> str:
    return (place / "said.txt").read_text()


def _one_line(place: Path, *words: str) -> None:
    """The last line says what is wrong, and nothing that was said is a traceback."""
    said = _said(place)
    expect("Traceback" not in said, said)
    expect(all(word in said for word in words), said)


def _in_own_mount(place: Path, options: str, prepare: str = "true") -> Path:
    """Runs a recipe on a small disk of its own, after a command of the shell; what the disk held, copied."""
    disk, copy = place / "disk", place / "copy"
    disk.mkdir(parents=True)
    (place / "recipe.yaml").write_text((PREPARE + TRAIN).format(disk))
    steps = [
        f"mount -t tmpfs -o {options} disk {disk} && cp {place}/recipe.yaml {disk} && {prepare}",
        f"cd {ROOT}; ECHOTRAIN_RUNS={disk}/runs OMP_NUM_THREADS=1 {sys.executable} -m lib {disk}/recipe.yaml; code=$?",
        f"cp -r {disk} {copy}; exit $code",
    ]
    command = ["unshare", "--mount", "--map-root-user", "sh", "-c", "; ".join(steps)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=2 * PATIENCE)
    (place / "said.txt").write_text(done.stdout + done.stderr)
    expect(done.returncode not in (0, 137), f"exit code {done.returncode}: {done.stderr}")
    return copy


def full_disk(place: Path) -> None:
    """The disk fills up while the data are prepared: a line says so, what is there is whole."""
    copy = _in_own_mount(place, "size=300k")
    _one_line(place, "space left on device")
    for file in (*copy.rglob("*.json"), *copy.rglob("*.ipynb")):
        json.loads(file.read_text())
    expect(not list(copy.rglob("*.partial")), list(copy.rglob("*.partial")))


def read_only_disk(place: Path) -> None:
    """Nothing can be written: refused before anything starts."""
    copy = _in_own_mount(place, "size=9m", f"mount -o remount,ro {place}/disk")
    _one_line(place, "Read-only")
    expect([p.name for p in copy.iterdir()] == ["recipe.yaml"], list(copy.iterdir()))


def vanishing_files(place: Path) -> None:
    """The data go while a network trains on them."""
    recipe = _begin(place)
    _trains(place)
    shutil.rmtree(place / "data")
    expect(recipe.wait(PATIENCE) == 1, _said(place))
    _one_line(place, "data")
    expect(json.loads((_run(place) / "status.json").read_text())["status"] == "failed", "not failed")


def killed_worker(place: Path) -> None:
    """A process that reads data is killed: the training fails in a line, and resumed it ends as if it had not been."""
    whole = _whole(place, "  num_workers: 2\n")
    recipe = _begin(place, "  num_workers: 2\n")
    _trains(place)
    _workers(place)[-1].kill()
    expect(recipe.wait(PATIENCE) == 1, _said(place))
    _one_line(place)
    expect(start(place, "--resume").wait(PATIENCE) == 0, _said(place))
    expect(digests(place) == whole, "other numbers than of the training that was never disturbed")


def hung_worker(place: Path) -> None:
    """A process that reads data hangs: that there is no progress is said; when it goes on, so does the training."""
    whole = _whole(place, "  num_workers: 2\n")
    recipe = _begin(place, "  num_workers: 2\n", **QUIET)
    _trains(place)
    stopped = _workers(place)
    for worker in stopped:
        worker.suspend()
    _until(lambda: "no progress" in _status(place), "the status tells that there is no progress")
    for worker in stopped:
        worker.resume()
    expect(recipe.wait(PATIENCE) == 0, _said(place))
    expect(digests(place) == whole, "other numbers than of the training that was never disturbed")


def killed_rank(place: Path) -> None:
    """One of two processes that train together is killed: the other ends, too, and resumed all is as if it had not been."""
    whole = _whole(place, "  devices: [cpu, cpu]\n")
    recipe = _begin(place, "  devices: [cpu, cpu]\n")
    _trains(place)
    ranks = [p for p in processes(place) if "RANK" in p.environ()]
    ranks[-1].kill()
    expect(recipe.wait(PATIENCE) == 1, _said(place))
    _one_line(place)
    expect(wait_for_end(place, recipe) == 0, "a process is left")
    expect(start(place, "--resume").wait(PATIENCE) == 0, _said(place))
    expect(digests(place) == whole, "other numbers than of the training that was never disturbed")


def two_starts(place: Path) -> None:
    """Two `--resume` at the same moment: one goes on, the other says who does."""
    recipe = _begin(place)
    _trains(place)
    kill(place, "all", recipe)
    wait_for_end(place, recipe)
    both = [start(place, "--resume") for _ in range(2)]
    codes = sorted(process.wait(PATIENCE) for process in both)
    expect(codes[0] == 0 and codes[1] in (1, 2), codes)
    expect(len(list((place / "runs" / "train").iterdir())) == 1, "two runs")
    _one_line(place, "process")


def clock_step(place: Path) -> None:
    """The clock is put forward by a day, then back: a training that lives is not said to be killed."""
    recipe = _begin(place)
    _trains(place, 1)
    for hours in (24, -24):
        step = f"import time; now = time.time; time.time = lambda: now() + {3600 * hours}; "
        seen = _status(place, step)
        expect(seen.startswith("running"), seen)
    expect(recipe.wait(PATIENCE) == 0, _said(place))


SCENARIOS = {
    "the disk is full": full_disk, "the disk is read-only": read_only_disk, "the data vanish": vanishing_files,
    "a worker is killed": killed_worker, "a worker hangs": hung_worker, "a rank is killed": killed_rank,
    "two resume at once": two_starts, "the clock jumps": clock_step,
}  # fmt: skip


def run(folder: Path, names: list[str] | None = None) -> Iterator[dict[str, str]]:
    """{scenario, seen: "as it should be", or what was seen instead} of each scenario, or of some."""
    for name in names or SCENARIOS:
        place = folder / "fault"
        try:
            SCENARIOS[name](place)
            seen = "as it should be"
        except (Failed, subprocess.TimeoutExpired, IndexError, ValueError) as error:
            seen = f"{type(error).__name__}: {error}"
        for process in processes(place):
            process.kill()
        shutil.rmtree(place, ignore_errors=True)
        yield {"scenario": name, "seen": seen}


def _whole(place: Path, more: str) -> dict[str, str]:
    """`digests` of the recipe when nothing disturbs it; the folder is empty afterwards."""
    recipe = _begin(place, more)
    expect(recipe.wait(PATIENCE) == 0, _said(place))
    found = digests(place)
    shutil.rmtree(place)
    return found


def _workers(place: Path) -> list[psutil.Process]:
    """The processes that read data for the training: the kernel's children."""
    kernel = json.loads((_run(place) / "status.json").read_text())["pid"]
    found = [p for p in psutil.Process(kernel).children() if "resource_tracker" not in " ".join(p.cmdline())]
    expect(found, "no workers")
    return found


def _status(place: Path, before: str = "") -> str:
    """What the listing says of the training, in a process of its own, after some statements."""
    code = f"{before}import pathlib, sys; from lib.runs import listing; row = listing.row(pathlib.Path(sys.argv[1]))"
    environment = os.environ | QUIET | {"ECHOTRAIN_RUNS": str(place / "runs")}
    command = [sys.executable, "-c", f"{code}; print(row.status, row.message)", str(_run(place))]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True).stdout
