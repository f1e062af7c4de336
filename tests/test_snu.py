"""Files of the SNU challenge's exact layout and size through prepare, an epoch of the cascade, and prediction."""

import json
import os
import re
import shutil

import h5py
import numpy as np
import pytest
import torch
import toys
from scans import snu

from lib import runs
from lib.data.fastmri_index import index
from lib.models import build

VARNET = {"num_cascades": 1, "chans": 2, "pools": 2, "sens_chans": 2, "sens_pools": 2}
FULL = {"shape": (768, 396), "size": (384, 384)}
RECIPE = """
- task_name: prepare_snu
  notebook: 10_prepare_kspace
  source: snu
  data: data/snu
- task_name: cascade
  network_type: VarNetRCAN
  runs: [./varnet]
  data: data/snu
  network_settings: {rcan: {n_feats: 8, n_resblocks: 1, n_resgroups: 1, reduction: 4}}
  batch_size: 2
  eval_batch_size: 2
  epochs: 1
  steps_per_epoch: null
  loss: ssim_foreground
  metrics: [ssim]
"""

TASK = RECIPE[RECIPE.index("- task_name: cascade") :]


def varnet(place):
    torch.manual_seed(0)
    runs.save_model(place / "varnet", "VarNet", VARNET, build("VarNet", **VARNET))
    os.rename(place / "varnet" / "model_weights" / "model.json", place / "varnet" / "model.json")
    os.rename(place / "varnet" / "model_weights" / "model.safetensors", place / "varnet" / "model.safetensors")
    os.rmdir(place / "varnet" / "model_weights")


def last(finished):
    return finished.stderr.strip().splitlines()[-1]


@pytest.mark.slow
def test_the_challenges_own_sizes_go_all_the_way(tmp_path):
    snu(tmp_path / "snu" / "train", "brain_acc4_1", coils=4, slices=2, seed=0, **FULL)
    snu(tmp_path / "snu" / "train", "brain_acc8_2", coils=20, seed=2, **FULL | {"shape": (768, 392)})
    snu(tmp_path / "snu" / "val", "brain_acc4_3", coils=5, seed=3, **FULL | {"shape": (768, 392)})
    snu(tmp_path / "snu" / "leaderboard", "brain_test_4", coils=6, seed=4, label=False, **FULL)
    varnet(tmp_path)
    finished = toys.recipe(tmp_path, RECIPE)
    assert finished.returncode == 0, finished.stderr
    assert "splits: by the names of folders" in finished.stdout
    (run,) = (tmp_path / "runs" / "cascade").iterdir()
    assert "'(2, 4, 768, 396) complex64', '(2, 1, 1, 396) bool', '(2, 384, 384) float32'" in finished.stdout
    with h5py.File(run / "predictions" / "reconstructions" / "brain_test_4.h5") as submission:
        assert set(submission) == {"reconstruction"}
        assert submission["reconstruction"].shape == (1, 384, 384) and submission["reconstruction"].dtype == np.float32
        with h5py.File(run / "predictions" / "result.h5") as result:
            assert np.array_equal(submission["reconstruction"], result["brain_test_4/output"])
            assert "truth" not in result["brain_test_4"]
    settings = json.loads((run / "model_weights" / "model.json").read_text())["settings"]
    assert settings["varnet"]["num_cascades"] == 1 and settings["statistics"] == "joint"
    weights = runs.load_model(run).varnet.state_dict()
    assert all(torch.equal(v, weights[k]) for k, v in runs.load_model(tmp_path / "varnet").state_dict().items())


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    place = tmp_path_factory.mktemp("small")
    snu(place / "snu" / "train", "a", coils=4)
    snu(place / "snu" / "train", "b", coils=5, seed=1)
    snu(place / "snu" / "val", "c", seed=2)
    snu(place / "snu" / "test", "d", seed=3)
    varnet(place)
    assert toys.recipe(place, RECIPE, "--only", "prepare_snu").returncode == 0
    return place


@pytest.mark.slow
def test_prediction_starts_from_what_is_there(small, tmp_path):
    """A .pt file as the VarNet; then a cascade alone predicts, without a VarNet's run and without false words."""
    torch.save(build("VarNet", **VARNET).state_dict(), tmp_path / "varnet.pt")
    settings = f"{{varnet: {VARNET}, rcan: {{n_feats: 8, n_resblocks: 1, n_resgroups: 1, reduction: 4}}}}"
    first = TASK.replace("runs: [./varnet]", f"runs: [{tmp_path / 'varnet.pt'}]")
    first = re.sub(r"network_settings: .*", f"network_settings: {settings}", first)
    predict = "- task_name: again\n  notebook: 26_predict\n"
    predict += "  data: data/snu\n  saved_network_weights: cascade\n"
    finished = toys.recipe(small, first + predict)
    assert finished.returncode == 0, finished.stderr
    assert "as in the run of the weights, not (7, 4)" not in finished.stdout
    outputs = []
    for task in ("cascade", "again"):
        (run,) = (small / "runs" / task).iterdir()
        with h5py.File(run / "predictions" / "result.h5") as result:
            outputs.append(result["d/output"][:])
    assert np.array_equal(*outputs)
    shutil.rmtree(small / "runs" / "cascade")
    shutil.rmtree(small / "runs" / "again")


BAD = {
    "n_feats and 4": (TASK.replace("n_feats: 8", "n_feats: 6"), "n_feats is 6, expected a number divisible by 4"),
    "probability": (TASK + "  augmentation: {flip: 2}\n", "augmentation.flip: got 2, expected a number from 0 to 1"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_settings_are_refused(tmp_path, name):
    snu(tmp_path / "snu" / "train", "a")
    snu(tmp_path / "snu" / "val", "c", seed=2)
    snu(tmp_path / "snu" / "test", "d", seed=3)
    varnet(tmp_path)
    index(tmp_path / "snu", tmp_path / "data" / "snu")
    recipe, words = BAD[name]
    assert words in toys.refusal(tmp_path, recipe)


IN_KERNELS = {
    "coils": ("  bucket_sampling: false\n", "can't share a batch: use BucketSampler (bucket_sampling: true)"),
    "turns": ("  self_ensemble: {turns: [turn_45]}\n", "turns of image: 'turn_45', expected some of identity"),
}


@pytest.mark.whole
def test_what_a_kernel_finds_ends_in_one_line(small):
    tasks = (TASK.replace("cascade", name, 1) + more for name, (more, _) in IN_KERNELS.items())
    finished = toys.recipe(small, "".join(tasks))
    assert finished.returncode == 1 and "Traceback" not in finished.stderr
    assert IN_KERNELS["coils"][1] in last(finished)
    for name, (_, words) in IN_KERNELS.items():
        (run,) = (small / "runs" / name).iterdir()
        error = json.loads((run / "status.json").read_text())["error"]
        assert words in error and "\n" not in error
    assert not [p for p in (small / "runs").rglob("*") if p.name in ("model.safetensors", "result.h5")]


@pytest.mark.whole
def test_files_that_do_not_belong_together_end_in_one_line(tmp_path):
    for name, seed in (("a", 0), ("b", 1)):
        snu(tmp_path / "snu" / "train", name, seed=seed)
    snu(tmp_path / "snu" / "val", "c", seed=2)
    snu(tmp_path / "snu" / "test", "d", seed=3)
    varnet(tmp_path)
    snu(tmp_path / "snu" / "train", "b", seed=1, grappa_of=7)
    finished = toys.recipe(tmp_path, RECIPE)
    assert "b.h5: image_grappa: " in last(finished) and "another case" in last(finished), finished.stderr
    snu(tmp_path / "snu" / "train", "b", seed=1, label=False)
    finished = toys.recipe(tmp_path, RECIPE)
    assert "b.h5: no target (1 files of train): needed to train or score" in last(finished), finished.stderr
