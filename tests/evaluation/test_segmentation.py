"""HipMRI's and LGG's layouts through prepare, one epoch and prediction, as a user runs them; what is refused."""

import json

import h5py
import numpy as np
import pytest
import toys
from labeled import hipmri_layout, kaggle_layout
from PIL import Image
from safetensors.torch import load_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # the quick notebooks run both systems, too
RECIPE = """
- task_name: prepare_hipmri
  notebook: 12_prepare_slices
  source: hipmri
  data: data/hipmri
- task_name: slices
  network_type: UNet2D
  data: data/hipmri
  network_settings: {base_filters: 2, depth: 3}
  reuse_network: true
  targets: one_hot
  batch_size: 4
  epochs: 1
  steps_per_epoch: null
- task_name: prepare_lgg
  notebook: 14_prepare_pairs
  source: lgg
  data: data/lgg
  size: [64, 64]
- task_name: pairs
  network_type: ResUNet
  network_settings: {encoder: plain}
  data: data/lgg
  epochs: 1
  steps_per_epoch: 2
- task_name: predict
  notebook: 26_predict
  saved_network_weights: pairs
  images: data/lgg/sample
- task_name: evaluate
  notebook: 32_evaluate_segmentation
  runs: [slices, pairs]
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    place = tmp_path_factory.mktemp("segmentation")
    hipmri_layout(place / "hipmri")
    kaggle_layout(place / "lgg")
    return place, toys.recipe(place, RECIPE)


def run_of(place, task):
    return sorted((place / "runs" / task).iterdir())[-1]


def test_both_systems_go_all_the_way(done):
    place, finished = done
    assert finished.returncode == 0, finished.stderr
    out = finished.stdout
    for words in (
        "10 slices of 256×128",
        "12 slices of 256×144",
        "epoch 1/1",
        "saved ",
        "Dice Coefficient: ",
        "Accuracy: ",
    ):
        assert (words in out) == (words != "10 slices of 256×128"), words
    assert "reading train: 100%" in out + finished.stderr
    metrics = json.loads((run_of(place, "evaluate") / "metrics.json").read_text())
    assert list(metrics["classes"]["slices"]) == ["background", "body", "bones", "bladder", "rectum", "prostate"]
    assert {"dice", "low", "high", "hausdorff95", "missed", "both empty"} == set(metrics["classes"]["pairs"]["lesion"])


def test_masks_read_as_in_the_sources_snippet(done):
    place, _ = done
    with h5py.File(run_of(place, "predict") / "predictions" / "masks.h5") as pred:
        names = list(pred)
        assert sorted(names) == sorted(p.stem for p in (place / "data" / "lgg" / "sample").iterdir()) and names
        for name in names:
            mask = pred[name][0, :, :].round()
            assert mask.shape == (64, 64) and set(np.unique(mask)) <= {0, 1} and pred[name][:].min() >= 0
    trained = run_of(place, "pairs") / "predictions"
    with h5py.File(trained / "masks.h5") as pred, h5py.File(trained / "result.h5") as result:
        case = next(iter(result.values()))
        assert np.array_equal(pred[case.attrs["names"][1]][0].round(), case["output"][1])


def test_a_run_of_the_same_network_data_and_loss_is_tested_and_another_is_trained(done):
    place, first = done
    again = toys.recipe(place, RECIPE, "--only", "slices")
    assert "tested as it is: " in again.stdout and "epoch 1/1" not in again.stdout and again.returncode == 0
    for number in ("Dice Coefficient: ", "Accuracy: "):
        assert first.stdout.split(number)[1].split()[0] == again.stdout.split(number)[1].split()[0]
    other = toys.recipe(place, RECIPE.replace("targets: one_hot", "loss: dice"), "--only", "slices")
    assert "differs in loss: cross_entropy, now dice" in other.stdout and "epoch 1/1" in other.stdout


TASK = "- task_name: bad\n  network_type: {}\n  data: data/{}\n  epochs: 1\n"
PREDICT = "- {task_name: bad, notebook: 26_predict, saved_network_weights: "
BAD = {
    "encoder": (TASK.format("ResUNet", "lgg") + "  network_settings: {encoder: vgg}\n", "encoder is 'vgg', expected"),
    "folder": (PREDICT + "{pairs}, images: gone}", "gone: no such folder, expected one with images"),
    "weights": (PREDICT + "{pairs}, network_type: UNet2D}", "weights of ResUNet, expected UNet2D"),
    "data": (PREDICT + "{pairs}, data: data/hipmri}", "a set of labeled slices, expected pairs for ResUNet"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_ends_in_one_line(done, name):
    place, _ = done
    recipe, words = BAD[name]
    assert words in toys.refusal(place, recipe.replace("{pairs}", str(run_of(place, "pairs"))))


def test_weights_of_another_network_end_in_one_line(done):
    place, _ = done
    task = TASK.format("ResUNet", "lgg") + "  saved_network_weights: "
    finished = toys.recipe(place, f"{task}{run_of(place, 'slices')}\n")
    last = finished.stderr.strip().splitlines()[-1]
    assert finished.returncode == 1 and "weights of UNet2D, expected ResUNet" in last, finished.stderr
    assert not list((place / "runs").glob("bad/*/model_weights/*"))


def test_training_starts_anew_from_a_checkpoints_weights_and_a_killed_one_goes_on(done):
    place, _ = done
    trained = run_of(place, "pairs")
    task = RECIPE[RECIPE.index("- task_name: pairs") : RECIPE.index("- task_name: predict")].replace(
        "pairs\n", "more\n", 1
    )
    finished = toys.recipe(
        place,
        task
        + f"  saved_network_weights: {trained / 'checkpoints' / 'last.pt'}\n  optimizer: {{type: SGD, learning_rate: 1e-30}}\n",
    )
    assert finished.returncode == 0 and "epoch 1/1" in finished.stdout, finished.stderr
    mine, its = (load_file(p / "model_weights" / "model.safetensors") for p in (run_of(place, "more"), trained))
    name = "network.head.weight"
    assert (mine[name] - its[name]).abs().max() < 1e-6
    run = run_of(place, "more")
    (run / "status.json").write_text((run / "status.json").read_text().replace('"ok"', '"failed"'))
    again = toys.recipe(place, (place / "recipe.yaml").read_text(), "--resume")
    assert "continuing after epoch 1 of 1" in again.stdout and again.returncode == 0, again.stderr
    assert run_of(place, "more") == run


def test_an_rgb_mask_is_refused_before_anything_is_written(tmp_path):
    kaggle_layout(tmp_path / "lgg", patients=3, slices=1, size=32)
    mask = next((tmp_path / "lgg").rglob("*_mask.tif"))
    Image.new("RGB", (32, 32)).save(mask)
    finished = toys.recipe(tmp_path, RECIPE, "--only", "prepare_lgg")
    assert f"{mask.name}: a mask of 3 channels (RGB), expected a gray one" in finished.stderr.strip().splitlines()[-1]
    assert not (tmp_path / "data" / "lgg" / "set.json").exists()
