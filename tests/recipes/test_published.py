"""The published recipes: they leave nothing to the defaults of the demo, say the numbers that the sources say, and run,
with the commands of data/README.md, on miniatures of the public data sets.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import miniatures
import nbformat
import pytest
import torch

from lib import ROOT
from lib.models import build, notebook_of
from lib.recipes import plan
from lib.recipes.task import KEYS
from lib.runs import parameters

RECIPES = subprocess.run(
    ["git", "ls-files", "--cached", "--others", "--exclude-standard", "runs/*_published.yaml"],
    cwd=ROOT, capture_output=True, text=True, check=True,
).stdout.split()  # fmt: skip
# What a run's result doesn't depend on, or a published recipe means to leave to the notebook:
FREE = {
    "task_name", "kspace", "network_type", "metrics", "bucket_sampling", "checkpoint_interval", "num_workers", "devices", "seed",
    "interactive", "predict_split", "serving", "preload", "gain", "size",
}  # fmt: skip


def neutral(value):
    """Whether a default does nothing."""
    if isinstance(value, dict):
        switch = value.get("use", value.get("type", True))
        return not switch or all(v in (None, 0, 1) for v in value.values())
    return value in (None, False, 0, 1, [], "fp32", "index")


@pytest.mark.parametrize("recipe", RECIPES)
def test_nothing_is_left_to_the_demos_defaults(recipe):
    for entry in plan.read(ROOT / recipe):
        notebook = parameters.notebook(entry.get("notebook") or notebook_of(entry["network_type"]))
        wanted = {name for name, p in parameters.parameters(notebook).items() if not neutral(p.default)}
        given = set(entry) | ({"inputs"} if "runs" in entry else set())
        assert not wanted - given - FREE, entry["task_name"]


ADAM = {"type": "Adam", "learning_rate": 1e-4}
KERAS = ADAM | {"eps": 1e-7}
STEP = {"type": "step", "step_size": 40, "gamma": 0.1}
FASTMRI = {"batch_size": 1, "epochs": 50, "scheduler": STEP, "data": "fastmri_knee", "predict_split": "val"}
CINE = {
    "batch_size": 1, "epochs": 20, "loss": "ssim_loss", "optimizer": KERAS, "scheduler": {"type": "constant"},
    "early_stopping": {"use": True, "monitor": "ssim", "patience": 2, "min_delta": 0.01},
}  # fmt: skip
LITS = {
    "batch_size": 16, "eval_batch_size": 8, "epochs": 9, "loss": "adaptive_dice32", "optimizer": KERAS,
    "scheduler": {"type": "exponential", "gamma": 0.9, "staircase": False}, "patch": [128] * 3, "precision": "bf16",
    "crops_per_volume": 54, "crops": "around", "organ": "liver", "fresh_crops": False,
    "network_settings": {"base_filters": 32, "depth": 4, "norm": "batch", "up": "transposed", "norm_momentum": 0.99},
}  # fmt: skip
PUBLISHED = {  # task → what its source says; steps_per_epoch is null in all: a pass over the data
    "train_varnet_published": FASTMRI | {
        "network_settings": {"num_cascades": 12, "chans": 18, "pools": 4, "sens_chans": 8, "sens_pools": 4},
        "loss": "ssim", "optimizer": {"type": "Adam", "learning_rate": 3e-4},
        "mask": {"kind": "equispaced_fraction", "acceleration": 4, "center_fraction": 0.08},
    },
    "train_unet_published": FASTMRI | {
        "network_settings": {"chans": 32, "num_pool_layers": 4, "drop_prob": 0.0}, "loss": "l1",
        "optimizer": {"type": "RMSprop", "learning_rate": 1e-3},
        "mask": {"kind": "random", "acceleration": 4, "center_fraction": 0.08},
    },
    "unet3d_published": CINE | {"network_settings": {"head": "relu"}},
    "unet2d1d_published": CINE | {"network_settings": {"head": "relu"}},
    "unet2d2d_published": CINE | {"network_settings": {"head": "relu"}},
    "unet3d_old_published": CINE | {"network_settings": {}},
    "train_cascade_published": {
        "batch_size": 1, "loss": "ssim_foreground", "foreground_threshold": 5e-5, "optimizer": ADAM, "augmentation": {},
        "network_settings": {
            "varnet": {"num_cascades": 12, "chans": 18, "pools": 4, "sens_chans": 8, "sens_pools": 4},
            "rcan": {
                "n_feats": 160, "n_resblocks": 25, "n_resgroups": 4, "reduction": 16, "res_scale": 0.125,
                "checkpoint_groups": True,
            },
            "statistics": "joint", "residual": False,
        },
    },
    "train_slices_published": {
        "batch_size": 32, "epochs": 2, "loss": "cross_entropy", "normalize": "none", "augmentation": {},
        "optimizer": {"type": "Adam", "learning_rate": 1e-3, "eps": 1e-7}, "scheduler": {"type": "constant"},
        "network_settings": {"base_filters": 64, "depth": 5}, "reuse_network": False,
    },
    "train_pairs_published": {
        "batch_size": 32, "eval_batch_size": 64, "epochs": 20, "loss": "dice", "optimizer": ADAM, "augmentation": {},
        "scheduler": {"type": "exponential", "gamma": 0.95}, "checkpoint_interval": 10, "preload": True,
        "network_settings": {"encoder": "resnet50", "encoder_weights": "imagenet"},
    },
    "volumes_128": LITS,
    "volumes_256_16_parts": LITS | {"batch_size": 8, "epochs": 10, "patch": [256] * 3, "optimizer": KERAS | {"learning_rate": 5e-5}},
}  # fmt: skip


def test_published_numbers():
    entries = {e["task_name"]: e for recipe in RECIPES for e in plan.read(ROOT / recipe)}
    for name, numbers in PUBLISHED.items():
        entry = entries[name]
        notebook = parameters.notebook(notebook_of(entry["network_type"]))
        given = {k: v for k, v in entry.items() if k not in KEYS or k == "task_name"}
        found = parameters.check_values(notebook, given, name)
        found["data"] = found["data"].split("/")[-1]
        assert found | numbers == found, name
        assert found["steps_per_epoch"] is None and found["gradient_clip"] is None, name


VARNET = {"num_cascades": 1, "chans": 2, "pools": 2, "sens_chans": 2, "sens_pools": 2}
SMALLER = {  # in the commands of data/README.md and in the recipes
    r"\[(192|384), .*?\]": "[16, 16, 16]", r"\[256, 256\]": "[32, 32]", "window: null": "window: null, split: {val: 3}",
    "encoder_weights: imagenet": "encoder_weights: null",  # needs the network
    "varnet: {.*}": f"varnet: {VARNET}",
}  # fmt: skip
COMMANDS = re.findall(r"^\.venv/bin/python -m papermill (.+)$", (ROOT / "data" / "README.md").read_text(), re.M)
SETS = ("fastmri_knee", "snu_index", "hipmri", "lgg", "lits", "lits_256")


NUMBERS = {  # what tasks differ in that are one in a quick run
    "task_name", "data", "patch", "batch_size", "eval_batch_size", "epochs", "optimizer", "scheduler", "devices",
    "partition",
}  # fmt: skip


def different(recipe):
    """The names of a recipe's tasks, without those that differ from an earlier one in NUMBERS alone."""
    kinds = {}
    for entry in plan.read(ROOT / recipe):
        kinds.setdefault(json.dumps({k: v for k, v in entry.items() if k not in NUMBERS}), entry["task_name"])
    return list(kinds.values())


def smaller(text):
    for pattern, words in SMALLER.items():
        text = re.sub(pattern, words, text)
    return text


def execute(place, *words):
    environment = os.environ | {"ECHOTRAIN_RUNS": str(place / "runs"), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", *words], env=environment, capture_output=True, text=True, timeout=1500, cwd=ROOT
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The sets' miniatures, where data/README.md has the sets."""
    place = tmp_path_factory.mktemp("published")
    (place / "runs" / "weights").mkdir(parents=True)
    data = place / "data"
    miniatures.knee(data / "fastmri")
    miniatures.snu(data / "snu")
    miniatures.hipmri(data / "hipmri_source")
    miniatures.lits(data / "lits_source")
    miniatures.decathlon(data / "Task04_Hippocampus")
    miniatures.lgg(data / "lgg_source")
    miniatures.cine(data)
    torch.save(build("VarNet", **VARNET).state_dict(), place / "runs" / "weights" / "brain_leaderboard_state_dict.pt")
    return place


@pytest.fixture(scope="module")
def prepared(place):
    """What each of data/README.md's commands printed; the sets that they made are those of quick runs, too."""

    def prepare(command):
        words = shlex.split(smaller(command).replace("notebooks/", f"{ROOT}/notebooks/"))
        return execute(
            place, "papermill", *(re.sub(r"(^|[ {])/?(data|runs)/", rf"\1{place}/\2/", word) for word in words)
        )

    with ThreadPoolExecutor(2) as pool:
        finished = list(pool.map(prepare, COMMANDS))
    for name in SETS:
        (place / "data" / f"{name}-quick").symlink_to(place / "data" / name)
    return finished


@pytest.fixture(scope="module")
def ran(place, prepared):
    """Each recipe run quickly, two at a time."""
    for recipe in RECIPES:
        (place / recipe).write_text(smaller((ROOT / recipe).read_text()))
    with ThreadPoolExecutor(2) as pool:
        words = [("lib", str(place / recipe), "--quick", "--only", *different(recipe)) for recipe in RECIPES]
        finished = pool.map(lambda line: execute(place, *line), words)
        return dict(zip(RECIPES, finished, strict=True))


@pytest.mark.whole
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("number", range(len(COMMANDS)), ids=lambda n: shlex.split(COMMANDS[n])[1].split("/")[1])
def test_the_commands_of_the_readme_prepare_the_public_sets(place, prepared, number):
    assert prepared[number].returncode == 0, prepared[number].stderr[-2000:]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_published_recipe_runs_on_a_miniature_of_its_data(place, ran, recipe):
    assert len(plan.plan(place / recipe, quick=True)) == len(plan.read(ROOT / recipe))
    assert ran[recipe].returncode == 0, ran[recipe].stdout[-2000:] + ran[recipe].stderr[-2000:]
    for name in different(recipe):
        (run,) = (place / "runs" / name).iterdir()
        assert json.loads((run / "status.json").read_text())["status"] == "ok"
        cells = nbformat.read(run / "notebook.ipynb", as_version=4).cells
        printed = [o for c in cells for o in c.get("outputs", ()) if o.get("name") == "stderr"]
        assert not [o.text for o in printed if "Warning" in o.text]
