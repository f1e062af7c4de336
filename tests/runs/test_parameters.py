"""Reading a notebook's parameters cell and refusing what doesn't fit it."""

import re
from unittest import mock

import pytest
import toys
from refusals import refused

from lib import InputError
from lib.runs import parameters


@pytest.fixture
def toy(tmp_path):
    return toys.write(tmp_path, "21_toy")


def cell(tmp_path, text):
    return toys.write(tmp_path, "20_other", text)


def test_parameters_are_read_with_types_and_help(toy):
    found = parameters.parameters(toy)
    assert list(found) == [
        "quick", "interactive", "run_dir", "inputs", "data", "epochs", "steps_per_epoch", "factor", "code", "optimizer",
    ]  # fmt: skip
    assert found["epochs"] == (20, "int", "passes over the training slices")
    assert found["steps_per_epoch"] == (None, "int|None", "batches an epoch; None: all")
    assert found["factor"] == (0.5, "float|None", "a number # with a hash")
    assert found["optimizer"] == ({"type": "Adam", "learning_rate": 1e-3}, "dict", "torch's optimizers")


@pytest.mark.parametrize(
    "line",
    [
        "a = 1",
        "a = 1  # type: integer",
        "a = 1 + b  # type: int",
        "a = b = 1  # type: int",
        "import os  # type: int",
        "a.b = 1  # type: int",
    ],
)
def test_a_parameters_cell_holds_typed_literals_only(tmp_path, line):
    with refused(where="20_other.ipynb: parameters cell, line 2", found="got .*", expected="`name = literal"):
        parameters.parameters(cell(tmp_path, f"x = 1  # type: int\n{line}"))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"cells": 3}', "\xff"])
def test_what_is_no_notebook_is_refused(tmp_path, text):
    (tmp_path / "x.ipynb").write_text(text, encoding="latin-1")
    with refused(where=r"x\.ipynb", found="no notebook"):
        parameters.parameters(tmp_path / "x.ipynb")
    with refused(found="No such file"):
        parameters.parameters(tmp_path / "none.ipynb")


def test_values_stand_over_defaults(toy):
    complete = parameters.check(toy, {"epochs": 3, "factor": 1, "data": toy.parent, "steps_per_epoch": 2})
    assert complete["epochs"] == 3 and complete["steps_per_epoch"] == 2 and complete["code"] == ""
    assert complete["factor"] == 1.0 and isinstance(complete["factor"], float)
    assert complete["data"] == str(toy.parent)
    assert complete["optimizer"] == {"type": "Adam", "learning_rate": 1e-3}  # nothing added: torch has its own defaults


@pytest.mark.parametrize(
    "values, words",
    [
        (
            {"epoch": 3},
            "unknown parameter of 21_toy: got 'epoch', did you mean 'epochs'? expected one of: code, data, epochs",
        ),
        ({"epochs": -3}, "epochs: got -3, expected an integer of at least 1"),
        ({"epochs": 0}, "epochs: got 0, expected an integer of at least 1"),
        ({"epochs": 2.0}, "epochs: got 2.0, expected an integer of at least 1"),
        ({"epochs": True}, "epochs: got True, expected an integer of at least 1"),
        ({"epochs": None}, "epochs: got null, expected an integer of at least 1"),
        ({"steps_per_epoch": "2"}, "steps_per_epoch: got '2', expected an integer of at least 1 or null"),
        ({"factor": "1e-4"}, "factor: got '1e-4', expected a number or null"),
        ({"factor": float("nan")}, "factor: got nan, expected a number or null"),
        ({"quick": 1}, "quick: got 1, expected true or false"),
        ({"data": ""}, "data: got '', expected a path or null"),
        ({"code": None}, "code: got null, expected a text"),
        ({"inputs": "a"}, "inputs: got 'a', expected a list"),
        (
            {"optimizer": {"type": "Adm", "learning_rate": 1}},
            "optimizer.type: got 'Adm', did you mean 'Adam'? expected Adam, AdamW, RMSprop or SGD",
        ),
        ({"optimizer": {"type": "Adam"}}, "optimizer.learning_rate: missing, expected a number greater than 0"),
        (
            {"optimizer": {"type": "Adam", "learning_rate": 0}},
            "optimizer.learning_rate: got 0, expected a number greater than 0",
        ),
        (
            {"optimizer": {"type": "Adam", "learning_rate": 1, "beta": 1}},
            "optimizer: unknown key: got 'beta', did you mean 'betas'?",
        ),
        (
            {"optimizer": {"type": "Adam", "learning_rate": 1, "betas": [0.9, 1]}},
            "optimizer.betas: got [0.9, 1], expected two numbers",
        ),
        (
            {"optimizer": {"type": "Adam", "learning_rate": 1, "momentum": 0}},
            "optimizer.momentum: Adam has no such setting, it has: type,",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(toy, values, words):
    with pytest.raises(InputError) as error:
        parameters.check(toy, values, "train_toy")
    assert str(error.value).startswith(f"task train_toy: {words}") and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("train", "write `predict_split: val` in its place"),
        ("train_and_predict", "leave it out"),
        ("predict", "write `notebook: 26_predict` in its place"),
        ("evaluate", "write `notebook: 26_predict`, `evaluate: true` and `split: val` (of cine: test) in its place"),
    ],
)
def test_the_task_type_of_earlier_recipes_is_refused_with_what_is_written_now(toy, given, words):
    with pytest.raises(InputError) as error:
        parameters.check(toy, {"task_type": given})
    assert str(error.value) == f"21_toy: task_type {given}: 21_toy has no task types any more: {words}"


SHARED = """
devices = "auto"  # type: str|int|list
precision = "fp32"  # type: str
seed = 0  # type: int
num_workers = 0  # type: int
gradient_clip = None  # type: float|None
scheduler = {"type": "constant"}  # type: dict
early_stopping = {"use": False}  # type: dict
regularization = {"type": None}  # type: dict
predict_split = "test"  # type: str
network_type = None  # type: str|None
network_settings = {}  # type: dict
loss = None  # type: str|None
metrics = []  # type: list
"""


@pytest.mark.parametrize(
    "name, good, bad, words",
    [
        (
            "devices",
            ["auto", "cpu"],
            ["gpu", 0, -1, [], [-1], ["0"], True],
            "auto, cpu, a count of at least 1 or a list",
        ),
        ("precision", ["fp32", "bf16", "fp16"], ["fp64", 16], "fp32, bf16 or fp16"),
        ("seed", [0, 2**32 - 1], [-1, 2**32, 1.0], "an integer from 0 to 4294967295"),
        ("num_workers", [0, 4], [-1], "an integer of at least 0"),
        ("gradient_clip", [None, 1, 0.5], [0, -1.0], "a number greater than 0"),
        ("predict_split", ["val", "test"], ["train"], "val or test"),
        (
            "scheduler",
            [{"type": "step", "step_size": 40, "gamma": 0.1}, {"type": "one_cycle", "div": 25}],
            [3],
            "a mapping",
        ),
        (
            "early_stopping",
            [{"use": True, "monitor": "ssim", "patience": 2, "min_delta": 0.01}],
            [[]],
            "a mapping with use",
        ),
        (
            "regularization",
            [{"type": "l2", "parameters": [1e-4]}, {"type": "dropblock", "parameters": [0.8, 3]}],
            ["l2"],
            "a mapping with type",
        ),
    ],
)
def test_shared_parameters_have_one_range_everywhere(tmp_path, name, good, bad, words):
    path = cell(tmp_path, SHARED)
    for value in good:
        assert parameters.check(path, {name: value})[name] == value
    for value in bad:
        with pytest.raises(InputError) as error:
            parameters.check(path, {name: value})
        message = re.sub(r" did you mean '.*'\?", "", str(error.value))  # of one of a few names the nearest
        assert message.startswith(f"20_other: {name}: got {value!r}, expected {words}")


@pytest.mark.parametrize(
    "values, words",
    [
        (
            {"scheduler": {"type": "constant", "gamma": 0.1}},
            "scheduler.gamma: constant has no such setting, it has: type",
        ),
        (
            {"scheduler": {"type": "step", "gamma": 2}},
            "scheduler.gamma: got 2, expected a number greater than 0 and at most 1",
        ),
        (
            {"early_stopping": {"use": True, "patience": 0}},
            "early_stopping.patience: got 0, expected an integer of at least 1",
        ),
        ({"early_stopping": {"patience": 1}}, "early_stopping.use: missing, expected true or false"),
        (
            {"early_stopping": {"use": True, "mode": "mx"}},
            "early_stopping.mode: got 'mx', did you mean 'max'? expected min, max or null",
        ),
        (
            {"regularization": {"type": "l2", "parameters": "x"}},
            "regularization.parameters: got 'x', expected a list of numbers or null",
        ),
        ({"metrics": ["ssim", 3]}, "metrics: got ['ssim', 3], expected a list of metrics' names"),
    ],
)
def test_nested_settings_are_named_by_their_path(tmp_path, values, words):
    with pytest.raises(InputError, match="20_other: ") as error:
        parameters.check(cell(tmp_path, SHARED), values)
    assert words in str(error.value)


def test_devices_that_are_not_there(tmp_path, monkeypatch):
    import torch

    path = cell(tmp_path, SHARED)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert parameters.check(path, {"devices": [1]})["devices"] == [1]
    for several in (1, 2, [0, 1], ["cpu", "cpu", "cpu"]):
        assert parameters.check(path, {"devices": several})["devices"] == several
    for value, words in [
        (3, "this machine has 2 GPUs"),
        ([2], "this machine has 2 GPUs"),
        ([0, 0], "a list of different ids"),
        (["cpu", 0], "or of cpu"),
    ]:
        with pytest.raises(InputError, match=words):
            parameters.check(path, {"devices": value})


@mock.patch.dict("lib.models.MODELS")  # put back as it was, in its order
def test_names_of_networks_losses_and_metrics(tmp_path, monkeypatch):
    def build(name, width=4):
        import torch

        assert torch.empty(1).is_meta  # nothing real is built
        if width < 1:
            raise InputError(f"width: got {width}, expected at least 1")

    def by_name(name, family):
        assert family == "kspace"
        raise InputError(f"loss {name!r}: expected l1")

    def training_metric(name, family):
        if name != "psnr":
            raise InputError(f"metric {name!r}: expected psnr")

    from lib import losses, models

    for module, functions in ((models, (build,)), (losses, (by_name, training_metric))):
        for function in functions:
            monkeypatch.setattr(module, function.__name__, function)
    for name in models.MODELS.keys() - {"VarNet", "UNet"}:
        del models.MODELS[name]
    path = cell(tmp_path, SHARED)
    parameters.check(path, {"network_type": "VarNet", "network_settings": {"width": 2}, "metrics": ["psnr"]})
    for values, words in [
        (
            {"network_type": "Varnet"},
            "network_type: got 'Varnet', did you mean 'VarNet'? expected one of: UNet, VarNet",
        ),
        (
            {"network_type": "UNet", "network_settings": {"width": 0}},
            "network_settings: width: got 0, expected at least 1",
        ),
        ({"network_type": "VarNet", "loss": "l3"}, "loss 'l3': expected l1"),
        ({"network_type": "VarNet", "metrics": ["sim"]}, "metric 'sim': expected psnr"),
    ]:
        with pytest.raises(InputError) as error:
            parameters.check(path, values, "t")
        assert str(error.value) == f"task t: {words}"


def test_notebooks_are_named_with_or_without_their_ending(toy, monkeypatch):
    monkeypatch.setenv("ECHOTRAIN_NOTEBOOKS", str(toy.parent))
    assert parameters.notebook("21_toy") == parameters.notebook("21_toy.ipynb") == toy
    with refused(found="got '21_toi', did you mean '21_toy'[?] expected one of: 21_toy"):
        parameters.notebook("21_toi")
    with pytest.raises(InputError):
        parameters.notebook(f"../{toy.parent.name}/21_toy")


def test_another_network_has_its_own_settings_and_its_runs_their_own_name():
    def given(notebook, **values):
        found = parameters.check(parameters.notebook(notebook), values)
        return found["task_name"], found["network_settings"]

    assert given("21_train_kspace") == (
        "train_varnet",
        parameters.parameters(parameters.notebook("21_train_kspace"))["network_settings"].default,
    )
    assert given("21_train_kspace", network_type="UNet") == ("train_unet", {})
    assert given("21_train_kspace", network_type="UNet", task_name="a", network_settings={"chans": 8}) == (
        "a",
        {"chans": 8},
    )
    assert given("20_train_cine", network_type="UNet2D1D") == ("train_unet2d1d", {"base_filters": 8, "head": "linear"})
    with refused(where="network_settings", found="UNet: setting 'pools' is unknown"):
        given("21_train_kspace", network_type="UNet", network_settings={"pools": 3})
    with refused(found="network_type: got 'Unet', did you mean 'UNet'"):
        given("21_train_kspace", network_type="Unet")


def test_a_network_is_fed_as_its_line_says():
    from lib.data.fastmri import inputs_of

    assert {name: inputs_of(name)["kind"] for name in ("VarNet", "UNet", "VarNetRCAN")} == {
        "VarNet": "kspace", "UNet": "image", "VarNetRCAN": "cascade",
    }  # fmt: skip
    with refused(
        where="VolumeUNet", found="no network for k-space .* ", expected="one of UNet, VarNet, SenseUNet, VarNetRCAN"
    ):
        inputs_of("VolumeUNet")
