"""Notebooks 20 to 26 and 30 run on a pretended accelerator: nothing that they compute with stays on the CPU by mistake."""

import json
import math
import os
import re
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from lib import ROOT

pytestmark = [pytest.mark.whole, pytest.mark.timeout(1800)]  # the first test prepares the data

PREPARE = {
    "10_prepare_kspace": "kspace", "11_prepare_cine": "cine", "12_prepare_slices": "slices",
    "13_prepare_volumes": "volumes", "14_prepare_pairs": "pairs",
}  # fmt: skip
RUNS = {  # in this order: a cascade starts from a VarNet, and 30 evaluates both; trainings have their live chart
    "20_train_cine": {"data": "cine", "network_type": "UNet2D1D", "network_settings": {"head": "relu"}},
    "21_train_kspace": {"data": "kspace"},
    "22_train_cascade": {"data": "kspace", "augmentation": {"flip": 0.5, "shift": 2, "cutmix": 0.5}},
    "23_train_slices": {"data": "slices", "class_weights": [1.0, 2.0, 1.0]},
    "24_train_volumes": {"data": "volumes"},
    "25_train_pairs": {"data": "pairs", "network_settings": {"encoder": "plain"}},
    "26_predict": {"data": "volumes", "saved_network_weights": "train_volumes"},
    "30_evaluate_kspace": {
        "data": "kspace", "inputs": ["train_varnet", "train_cascade"],
        "self_ensemble": {"turns": ["identity", "flip_w"], "of": "kspace"},
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Runs notebooks, {name: parameters}, in a process of its own on the device named, after the statements `before`."""
    place = tmp_path_factory.mktemp("accelerator")

    def called(device, notebooks, before="", runs=""):
        given = {n: {"quick": True, **p, "data": str(place / p["data"])} for n, p in notebooks.items()}
        ours = {"ECHOTRAIN_RUNS": str(place / f"runs on {runs or device}"), "MPLBACKEND": "agg"}
        command = [sys.executable, str(ROOT / "tests" / "accelerator.py"), device, json.dumps(given), before]
        return subprocess.run(command, capture_output=True, text=True, timeout=1200, env=os.environ | ours, cwd=ROOT)

    done = called("cpu", {notebook: {"data": data} for notebook, data in PREPARE.items()})
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    called.place = place
    return called


BEFORE = "from lib.training import finite, history; finite.EVERY = 2;"
BEFORE += "history.History.__init__.__defaults__ = (1e9, True)"  # no lines by the clock, which wait for the loss


@pytest.fixture(scope="module")
def pretended(run):
    """What each notebook of RUNS says on the pretended device, all of them in one process, and its errors."""
    done = run("pretended", RUNS, BEFORE)
    said = re.split(r"^== (\w+)$", done.stdout, flags=re.M)
    return dict(zip(said[1::2], said[2::2], strict=True)), done.stderr[-2000:]


@pytest.mark.parametrize("notebook", RUNS)
def test_notebook_computes_on_one_device(pretended, notebook):
    said, errors = pretended
    assert "went to its end" in said[notebook], said[notebook][-2000:] + errors
    if notebook < "26":  # a training
        assert "beside the preview" in said[notebook] and "no preview" not in said[notebook]
        ((steps, count, where),) = re.findall(
            r"^(\d+) training steps, (\d+) waits after the first: (.*)", said[notebook], re.M
        )
        assert int(steps) > 2 and int(count) <= int(steps) // 2 and re.fullmatch(r"{('finite\.py[^{}]*)?}", where), (
            where
        )


def test_on_the_device_each_notebook_comes_to_what_a_cpu_does(run, pretended):
    """Metrics, scores and weights of every run. Where a gradient is nothing but rounding, Adam steps by its sign."""
    done = run("cpu", RUNS, BEFORE)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    places = [run.place / f"runs on {device}" for device in ("cpu", "pretended")]
    names = {path.name for path in places[1].iterdir()}
    assert len(names) == len(RUNS) and sum(name.startswith("train") for name in names) == 6
    for name in names:
        one, other = (max((place / name).iterdir()) for place in places)
        assert_close(*(json.loads((folder / "metrics.json").read_text()) for folder in (one, other)), name)
        if name.startswith("train"):
            first, second = (load_file(folder / "model_weights" / "model.safetensors") for folder in (one, other))
            here, there = (torch.cat([w[k].double().flatten() for k in first]) for w in (first, second))
            assert (here - there).norm() <= 2e-3 * here.norm(), name


@pytest.mark.parametrize(("precision", "ran"), [("bf16", "bfloat16"), ("fp16", "float16")])
def test_each_training_runs_in_half_precision(run, precision, ran):
    """Convolutions in that type, and nothing that autocast, the scaler or a loss mixes with another or leaves on the CPU."""
    trainings = {name: given | {"precision": precision} for name, given in RUNS.items() if name < "26"}
    done = run("pretended", trainings, BEFORE, precision)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    manifests = [
        json.loads(path.read_text()) for path in (run.place / f"runs on {precision}").glob("*/*/manifest.json")
    ]
    assert [about["precision_ran"] for about in manifests] == [ran] * 6


def assert_close(one, other, where):
    """That two results are the same, but for the last digits of numbers and for what was measured by a clock."""
    assert type(one) is type(other), where
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one.keys() - {"seconds"}:
            assert_close(one[key], other[key], f"{where}: {key}")
    elif isinstance(one, list):
        assert len(one) == len(other), where
        for number, pair in enumerate(zip(one, other, strict=True)):
            assert_close(*pair, f"{where}: {number}")
    else:
        close = isinstance(one, float) and math.isclose(one, other, rel_tol=1e-3, abs_tol=1e-5)
        assert close or one == other, f"{where}: {one} and {other}"


@pytest.mark.parametrize(
    ("notebook", "size", "line"),
    [
        ("20_train_cine", (1, 1, 1), {"family": "cine"}),
        ("21_train_kspace", (1, 1), {"family": "kspace", "batch": "image"}),
    ],
)
def test_a_new_network_in_models_is_all_that_it_takes(run, notebook, size, line):
    """Named by network_type alone: its settings are its own, its run is named after it, nothing else names it."""
    given = RUNS[notebook] | {"network_type": "Mine", "predict_split": "val", "metrics": ["psnr"], "loss": "mse"}
    given = {k: v for k, v in given.items() if k != "network_settings"}
    done = run("cpu", {notebook: given}, NEW.format(kind="3d" if len(size) == 3 else "2d", size=size, line=line))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "/train_mine/" in done.stdout and "Mine: " in done.stdout


NEW = """
from torch import nn
from lib import models

class Mine(nn.Module):
    def __init__(self, width: int = 3):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv{kind}(1, width, 1), nn.Conv{kind}(width, 1, 1))

    def forward(self, image):
        return self.layers(image[:, None])[:, 0] if {size} == (1, 1, 1) else self.layers(image)

models.MODELS["Mine"] = models.Network(Mine, **{line})
"""


def in_process(text):
    here = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=200, env=here)
    assert done.returncode == 0, done.stderr


def test_the_pretended_device_refuses_what_stays_on_the_cpu():
    in_process("""
import torch, accelerator
place = accelerator.begin()
network, x = torch.nn.Conv2d(1, 2, 3).to(place), torch.randn(1, 1, 8, 8)
network(x.to(place)).square().sum().backward()
assert network.weight.grad.device.type == "pretended" and (x.to(place) + x.to(place)).cpu().equal(2 * x)
for mixed in (lambda: network(x), lambda: x.to(place) + x, lambda: torch.where(x > 0, x.to(place), x)):
    try:
        mixed()
    except RuntimeError as error:
        assert "expected one device" in str(error)
    else:
        raise AssertionError("nothing was raised")
""")


def test_a_network_on_tv_sense_computes_and_learns_on_the_device():
    in_process("""
import sys
from pathlib import Path
import torch, accelerator
place = accelerator.begin()
sys.path.append(str(Path(accelerator.__file__).with_name("models")))
from test_sense_unet import network, scan
for kind in ("equispaced", "random"):
    kspace, mask = scan(kind)
    given = kspace[None], mask.view(1, 1, 1, -1)
    model = network(trained=True)
    expected = model(*given)
    found = model.to(place)(*(x.to(place) for x in given))
    found.square().mean().backward()
    assert torch.allclose(found.cpu(), expected, atol=1e-5) and model.gain[0].weight.grad.device.type == "pretended"
""")


def test_a_resumed_adam_counts_its_steps_on_the_cpu():
    """On the device, each step of each parameter would wait for it to read the count."""
    in_process("""
import sys, tempfile
from pathlib import Path
import accelerator
place = accelerator.begin()
sys.path.append(str(Path(accelerator.__file__).with_name("training")))
from test_training import fit, learner
from lib import training
with tempfile.TemporaryDirectory() as run:
    for epochs in (1, 2):
        learn = learner(device=place)
        fit(learn, epochs, training.History(Path(run), tensorboard=False), training.Checkpoint(Path(run)))
        states = learn.opt.opt.state.values()
        assert {s["step"].device.type for s in states} == {"cpu"}
        assert {s["exp_avg"].device.type for s in states} == {"pretended"}
        assert {float(s["step"]) for s in states} == {3.0 * epochs}
""")


def test_baselines_are_the_same_on_the_device():
    in_process("""
import tempfile
from pathlib import Path
import accelerator
place = accelerator.begin()
from lib.evaluation.baselines import BASELINES
from lib.data.fastmri import KspaceSlices
from lib.data.fastmri_file import kspace_file
from lib.phantoms import sample_scans
job = next(j for j in sample_scans.plan() if j.name == "brain_b")._replace(slices=range(8, 9))
with tempfile.TemporaryDirectory() as folder:
    sample_scans.write(Path(folder) / "a.h5", job, (40, 32), 4, 40.0, voxel=5.0)
    mask = {"kind": "equispaced", "num_low_frequencies": 10, "acceleration": 2}
    case = KspaceSlices([kspace_file(Path(folder) / "a.h5")], mask).case(0)
    for name, method in BASELINES.items():
        here, there = method([case]), method([case], place)
        assert there.device.type == "cpu" and (here - there).norm() <= 1e-6 * here.norm(), name
""")
