"""Slow: the same seed gives the same numbers, and a run killed in training ends as if it had not been."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml

from lib import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def lib(place, *words):
    environment = os.environ | {"ECHOTRAIN_RUNS": str(place / "runs")}
    return subprocess.Popen([sys.executable, "-m", "lib", *words], env=environment, stdout=subprocess.DEVNULL)


def recipe(place):
    (place / "runs").mkdir(parents=True)
    (place / "runs" / "weights").symlink_to(ROOT / "runs" / "weights")
    (place / "runs" / "demo.yaml").write_text((ROOT / "runs" / "demo.yaml").read_text())
    return str(place / "runs" / "demo.yaml")


def test_the_demo_twice_gives_the_same_metrics(tmp_path):
    found = []
    for number in ("1", "2"):
        place = tmp_path / number
        assert lib(place, recipe(place), "--quick").wait() == 0
        found.append({p.parent.parent.name: p.read_bytes() for p in (place / "runs").glob("*/*/metrics.json")})
    assert len(found[0]) >= 4
    for task in found[0]:
        assert found[0][task] == found[1][task], task


def test_killed_training_ends_with_the_weights_of_an_uninterrupted_one(tmp_path):
    weights = []
    for number, kill in (("whole", False), ("cut", True)):
        place = tmp_path / number
        path = recipe(place)
        named = {task["task_name"]: task for task in yaml.safe_load((ROOT / "runs" / "demo.yaml").read_text())}
        tasks = [named["prepare_kspace"], named["train_varnet"]]
        tasks[1] |= {"epochs": 6, "steps_per_epoch": 20}
        tasks[1] |= {"network_settings": {"num_cascades": 1, "chans": 2, "pools": 1, "sens_chans": 2, "sens_pools": 1}}
        tasks[0] |= {"shape": [48, 40], "voxel": 4.0, "num_coils": 3, "acquisitions": 2, "every": 40}
        tasks[1] |= {"mask": {"kind": "equispaced", "acceleration": 4, "num_low_frequencies": 8}}
        (place / "runs" / "demo.yaml").write_text(yaml.safe_dump(tasks))
        process = lib(place, path)
        if kill:
            deadline = time.monotonic() + 300
            while (
                not (history := list((place / "runs").glob("train_varnet/*/history.csv")))
                or len(history[0].read_text().splitlines()) < 3
            ):
                assert time.monotonic() < deadline and process.poll() is None
                time.sleep(0.05)
            kernel = json.loads((history[0].parent / "status.json").read_text())["pid"]
            os.kill(kernel, signal.SIGKILL)
            assert process.wait() == 1
            status = json.loads((history[0].parent / "status.json").read_text())
            assert status["status"] == "failed" and "probably out of memory" in status["error"]
            assert not (history[0].parent / "model_weights").exists()
            process = lib(place, path, "--resume")
        assert process.wait() == 0
        (run,) = (place / "runs" / "train_varnet").iterdir()
        weights.append((run / "model_weights" / "model.safetensors").read_bytes())
        assert len((run / "history.csv").read_text().splitlines()) == 7
    assert weights[0] == weights[1]
