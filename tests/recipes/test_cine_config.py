"""The cine source's training_config.yaml is a recipe."""

import os
import subprocess
import sys

import h5py
import numpy as np
import pytest
import torch
from refusals import refused

from lib import InputError, models, runs
from lib.recipes import cine_config, plan

CONFIG = """
- task_name: 'UNet2D2D_MSE_loss_no_regularization'
  task_type: 'train_and_predict'
  email_notification: true
  input_data_path:
    x_train: './data/input_train.h5'
    y_train: './data/truth_train.h5'
    x_test: './data/input_test.h5'
    y_test: './data/truth_test.h5'
    x_val: './data/input_validation.h5'
    y_val: './data/truth_validation.h5'
    saved_network_weights:
  network_settings:
    network_type: 'UNet2D2D'
    batch_size: 1
    epochs: 20
    loss: 'MSE'
    metrics:
              - 'ssim'
    optimizer:
      type: 'Adam'
      learning_rate: 1.0e-04
    regularization:
      type: 'l2'
      parameters:
                 - 1.0e-05
    early_stopping:
      use: true
      patience: 2
      min_delta: 1.0e-02
  output_data_dir: './keras_training'
"""


@pytest.fixture
def config(tmp_path):
    (tmp_path / "data").mkdir()
    for split in ("train", "test", "validation"):
        for name, key in (("input", "imagesRecon"), ("truth", "imagesTrue")):
            with h5py.File(tmp_path / "data" / f"{name}_{split}.h5", "w") as file:
                file[key] = np.ones((2, 12, 12, 4), np.float32)
    path = tmp_path / "training_config.yaml"
    path.write_text(CONFIG)
    return path


def test_the_sources_example_is_planned_as_it_stands(config, tmp_path):
    (task,) = plan.plan(config)
    found = task.parameters
    assert task.name == "UNet2D2D_MSE_loss_no_regularization" and task.notebook.stem == "20_train_cine"
    assert task.notify and task.output == tmp_path / "keras_training"
    assert found["files"]["x_val"] == str(tmp_path / "data" / "input_validation.h5") and len(found["files"]) == 6
    assert found["network_type"] == "UNet2D2D" and found["network_settings"] == {}
    assert (found["batch_size"], found["eval_batch_size"], found["epochs"], found["loss"]) == (1, 1, 20, "MSE")
    assert found["optimizer"] == {"type": "Adam", "learning_rate": 1e-4, "eps": 1e-7}
    assert found["regularization"] == {"type": "l2", "parameters": [1e-5]}
    assert found["early_stopping"] == {"use": True, "monitor": "ssim", "patience": 2, "min_delta": 1e-2}
    assert found["scheduler"] == {"type": "constant"} and found["predict_split"] == "test"
    assert found["metrics"] == ["ssim"] and found["saved_network_weights"] is None


@pytest.mark.whole
def test_the_sources_example_runs_and_leaves_its_outputs_where_it_says(config, tmp_path):
    environment = os.environ | {"ECHOTRAIN_RUNS": str(tmp_path / "runs"), "ECHOTRAIN_NOTIFY": ""}
    command = [sys.executable, "-m", "lib", str(config), "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "keras_training" / "UNet2D2D_MSE_loss_no_regularization").iterdir()
    with h5py.File(run / "predictions" / "result_cine.h5") as result:
        assert {key: result[key].shape for key in result} == dict.fromkeys(("input", "result", "truth"), (2, 12, 12, 4))
    assert (run / "serving" / "UNet2D2D" / "1" / "model.onnx").is_file()


def test_from_a_config_folder_paths_count_from_where_it_is_started(config, tmp_path, monkeypatch):
    (tmp_path / "config").mkdir()
    config = config.rename(tmp_path / "config" / "training_config.yaml")
    monkeypatch.chdir(tmp_path)
    (task,) = plan.plan(config)
    assert task.parameters["files"]["x_test"] == str(tmp_path / "data" / "input_test.h5")
    assert task.output == tmp_path / "keras_training"


def test_no_regularization_and_rmsprop(config):
    text = CONFIG.replace("'l2'", "").replace("- 1.0e-05", "").replace("'Adam'", "'RMSprop'")
    config.write_text(text)
    (task,) = plan.plan(config)
    assert task.parameters["regularization"] == {"type": None, "parameters": None}
    assert task.parameters["optimizer"] == {"type": "RMSprop", "learning_rate": 1e-4, "eps": 1e-7, "alpha": 0.9}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("    loss: 'MSE'\n", "", "network_settings: loss: missing, the cine source needs it"),
        ("email_notification", "e_mail", "e_mail: no such key in the cine source"),
        (
            "x_val:",
            "x_valid:",
            "input_data_path: x_valid: no such key in the cine source: got 'x_valid', did you mean 'x_val'",
        ),
        ("batch_size: 1", "batchsize: 1", "network_settings: batchsize: no such key"),
        ("'MSE'", "'MSEE'", "loss 'MSEE': did you mean 'mse'"),
        ("'l2'", "'l3'", "regularization: type is 'l3'"),
        ("'ssim'", "'sim'", "metric 'sim': did you mean 'ssim'"),
        ("input_validation", "input_nowhere", "input_nowhere.h5: no such file"),
        (
            "'train_and_predict'",
            "'predict'",
            "input_data_path: saved_network_weights: missing, the cine source needs it",
        ),
        ("'train_and_predict'", "'trian'", "task_type: got 'trian', did you mean 'train'"),
    ],
)
def test_what_is_wrong_is_named(config, old, new, words):
    config.write_text(CONFIG.replace(old, new))
    with pytest.raises(InputError) as error:
        plan.plan(config)
    assert words in str(error.value)


def network(folder):
    """Weights of a tiny network in a file, which doesn't say what they are."""
    torch.save(models.build("UNet2D1D", base_filters=2, depth=2).state_dict(), folder / "weights.pt")
    return "network_type: UNet2D1D, network_settings: {base_filters: 2, depth: 2}, saved_network_weights: weights.pt"


@pytest.mark.parametrize("task_type", ["predict", "evaluate"])
def test_predicting_is_another_notebooks(config, task_type):
    network(config.parent)
    text = CONFIG.replace("train_and_predict", task_type).replace("weights:", "weights: weights.pt")
    config.write_text(text)
    (task,) = plan.plan(config)
    given = {key: task.parameters[key] for key in ("split", "evaluate", "network_type", "metrics", "serving")}
    assert task.notebook.stem == "26_predict" and task.notify and len(task.parameters["files"]) == 6
    assert list(given.values()) == ["test", task_type == "evaluate", "UNet2D2D", ["ssim"], True]
    assert task.parameters["saved_network_weights"] == str(config.with_name("weights.pt"))
    config.write_text(text.replace("    y_test: './data/truth_test.h5'\n", ""))
    if task_type == "predict":
        assert "y_test" not in plan.plan(config)[0].parameters["files"]
    else:
        with refused(where="y_test is missing, expected at least x_test, y_test"):
            plan.plan(config)


def test_weights_of_an_earlier_task_are_its_run(config):
    first = config.with_name("two.yaml")
    first.write_text(f"""
- {{task_name: one, notebook: 26_predict, {network(config.parent)}, files: {{x_test: data/input_test.h5}}}}
- {{task_name: two, notebook: 26_predict, saved_network_weights: one}}
""")
    one, two = plan.plan(first)
    assert one.runs == [] and one.parameters["saved_network_weights"] == str(config.with_name("weights.pt"))
    assert two.weights == "one" and two.runs == [] and two.parameters["saved_network_weights"] == "one"
    assert two.parameters["files"] == one.parameters["files"] and two.parameters["network_type"] == "UNet2D1D"


def test_ours_are_not_taken_for_the_sources():
    assert not cine_config.is_source({"task_name": "a", "network_type": "UNet3D", "network_settings": {"depth": 3}})


def test_runs_elsewhere_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr("lib.runs.run.RUNS", tmp_path / "runs")
    folder = runs.create("away", tmp_path / "elsewhere")
    runs.mark(folder, "ok", new=True)
    assert folder.parent.parent == tmp_path / "elsewhere" and runs.find("away") == folder
    runs.create("away", tmp_path / "elsewhere")
    assert runs.roots() == [tmp_path / "runs", tmp_path / "elsewhere"]
