"""Networks of the user's own: found in a file or a package, built in our words, kept with their code in the run."""

import json
import shutil
import sys
import textwrap

import pytest
import torch
from refusals import refused

from lib import models, runs
from lib.models import own
from lib.recipes.task import task_of
from lib.runs import weights
from lib.runs.model_folder import TRUSTED
from lib.training import Learner  # noqa: F401  (as notebooks do before a network is built)

SMALL = """
    import torch
    from torch import nn

    class Small(nn.Module):
        {input}
        tiny = {{"chans": 2}}

        def __init__(self, num_classes, in_channels, chans=4, act=nn.ReLU):
            super().__init__()
            self.layers = nn.Sequential(nn.Conv2d(in_channels, chans, 3, padding=1), act(), nn.Conv2d(chans, num_classes, 1))

        def forward(self, image):
            return self.layers(image)
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder of the user's, where the notebook runs, and runs of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lib.runs.run.RUNS", tmp_path / "runs")
    return tmp_path


def write(place, text=SMALL, name="mine.py", fed='input = "slices"'):
    path = place / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text.format(input=fed) if "{input}" in text else text))
    return path


def test_a_file_beside_the_notebook_is_found_and_built_in_our_words(place):
    path = write(place)
    line = models.entry("mine:Small")
    assert (line.family, line.batch, line.file, line.tiny) == ("slices", "slices", path, {"chans": 2})
    model = models.build("mine:Small", num_classes=5, in_chans=2)
    assert model(torch.zeros(1, 2, 8, 8)).shape == (1, 5, 8, 8) and models.entry(model).family == "slices"
    settings = models.complete("mine:Small", {"num_classes": 5})
    assert settings == {
        "num_classes": 5,
        "in_channels": 1,
        "chans": 4,
    }  # nn.ReLU is no JSON: the class has it by itself
    assert models.notebook_of("mine:Small") == "23_train_slices" and models.tiny("mine:Small", {}) == {"chans": 2}


def test_what_it_is_fed_may_stand_in_the_name(place):
    write(place, fed="")
    assert models.entry("mine:Small:pairs").family == "pairs"
    assert models.build("mine:Small:pairs")(torch.zeros(1, 3, 8, 8)).shape == (1, 1, 8, 8)
    with refused(where="^mine:Small$", found="isn't said what", expected="mine:Small:X or input = X"):
        models.entry("mine:Small")
    with refused(where="mine:Small", found="'slice': did you mean 'slices'"):
        models.entry("mine:Small:slice")


def test_a_package_is_imported_and_called_in_its_words():
    name = "monai.networks.nets:BasicUNet:volumes"
    model = models.build(name, num_classes=3, features=[4, 4, 8, 8, 16, 4])
    assert model(torch.zeros(1, 1, 32, 32, 32)).shape == (1, 3, 32, 32, 32) and models.entry(model).batch == "volumes"
    flat = models.build("monai.networks.nets:BasicUNet:slices", num_classes=3, features=[4, 4, 8, 8, 16, 4])
    assert flat(torch.zeros(1, 1, 32, 32)).shape == (1, 3, 32, 32)
    stored = json.loads(json.dumps(models.complete(name, {"num_classes": 3, "features": [4, 4, 8, 8, 16, 4]})))
    again = models.build(name, **stored)
    assert [p.shape for p in again.parameters()] == [p.shape for p in model.parameters()] and own.outputs(stored) == 3


@pytest.mark.parametrize(
    "text, found",
    [
        ("import torch\n\nx = 1 / 0\n", "line 3: ZeroDivisionError: division by zero"),
        ("class Small(:\n", "line 1: SyntaxError"),
        ("import nothing_like_it\n", "line 1: ModuleNotFoundError"),
    ],
)
def test_a_file_that_cannot_be_loaded_names_its_line(place, text, found):
    write(place, text)
    with refused(where=r"mine\.py$", found=found):
        models.entry("mine:Small:slices")


def test_what_is_not_there_is_named(place):
    write(place)
    with refused(where="^mine:SmallNet$", found=r"mine\.py has no network SmallNet", hint="did you mean 'Small'"):
        models.entry("mine:SmallNet")
    with refused(where="^absent$", found="no such file beside recipe or notebook, and no such package"):
        models.entry("absent:Small")
    with refused(where="^absent.nets$", hint="pip install absent"):
        models.entry("absent.nets:Small")
    with refused(where="^mine:$", expected="module:Class"):
        models.entry("mine:")
    with refused(where="^mine:Small: setting 'chan' is unknown", found="did you mean 'chans'"):
        models.build("mine:Small", num_classes=2, chan=3)
    with refused(where=r"mine:Small\(.*can't be built"):
        models.build("mine:Small", num_classes=2, chans=-1)


def test_a_changed_file_is_read_again(place):
    path = write(place)
    first = models.build("mine:Small", num_classes=2)
    path.write_text(path.read_text().replace("chans=4", "chans=6"))
    assert models.build("mine:Small", num_classes=2).layers[0].weight.shape[0] == 6 != first.layers[0].weight.shape[0]


def test_a_recipe_finds_the_file_in_its_folder_and_has_a_key_for_the_input(place):
    path = write(place, name="study/mine.py", fed="")
    entry = {"task_name": "train", "network_type": "mine:Small", "input": "slices", "data": "../data"}
    task = task_of(entry, 1, place / "study", False, [])
    assert task.notebook.stem == "23_train_slices" and task.parameters["network_type"] == f"{path}:Small:slices"
    assert task.parameters["network_settings"] == {}  # UNet2D's aren't its own
    entry = {"task_name": "train", "notebook": "25_train_pairs", "network_type": "mine:Small", "data": "../data"}
    assert task_of(entry, 1, place / "study", False, []).parameters["network_type"].endswith(":Small:pairs")
    with refused(where="task train", found="input: got 3, expected one of cine"):
        task_of(entry | {"input": 3}, 1, place / "study", False, [])


def saved(place, name="mine:Small"):
    """A run with the network trained in it."""
    folder = place / "runs" / "train" / "20260101-000000"
    model = models.build(name, num_classes=3)
    runs.save_model(folder, name, {"num_classes": 3}, model, ["a", "b", "c"])
    return folder, model


def test_a_run_is_rebuilt_from_its_own_copy_of_the_code(place):
    path = write(place)
    folder, model = saved(place)
    about = json.loads((folder / "model_weights" / "model.json").read_text())
    assert about["name"] == "mine:Small:slices" and about["code"].keys() == {"mine.py"}
    path.unlink()  # gone, or another one by now
    for again in (runs.load_model(folder), weights.load(folder, classes=["a", "b", "c"]).model):
        x = torch.rand(1, 1, 8, 8)
        torch.testing.assert_close(again(x), model.eval()(x), rtol=0, atol=0)
        assert models.entry(again).family == "slices"
    write(place, SMALL.replace("chans=4", "chans=9"))
    assert (
        weights.network("mine:Small", {"num_classes": 3, "chans": 4}, folder, ["a", "b", "c"])
        .model.layers[0]
        .out_channels
        == 4
    )
    with refused(found="weights of mine:Small", expected="UNet2D"):
        weights.load(folder, "UNet2D")
    with refused(where="mine:Small with num_classes 3", found="2 classes", expected="2"):
        weights.load(folder, classes=[])._replace() and weights.network(
            "mine:Small", {"num_classes": 3}, None, ["a", "b"]
        )


def test_code_from_elsewhere_is_not_run(place, tmp_path_factory):
    """Neither from a folder of weights nor from a run of somebody's that was put among one's own."""
    path, marker = write(place, SMALL + "\n    open('ran', 'a').close()\n"), place / "ran"
    folder, _ = saved(place)
    (place / "runs" / TRUSTED).unlink()  # as on another machine
    given = tmp_path_factory.mktemp("downloads") / "run"
    shutil.copytree(folder / "model_weights", given)
    code = path.read_text()
    path.unlink(), marker.unlink()
    for place_of in (given, folder):
        for call in (runs.load_model, weights.load):
            with refused(
                where=r"mine\.py$", found="from elsewhere, which isn't run", hint="put it beside your notebook"
            ):
                call(place_of)
    assert not marker.exists()
    path.write_text(code)  # the user has read it, and trusts it
    assert runs.load_model(given) and marker.exists()
    (given / "mine.py").write_text("changed")
    with refused(found="not the code that was trained"):
        runs.load_model(given)


@pytest.mark.parametrize(
    ("name", "settings", "found"),
    [
        ("subprocess:run:slices", {"args": "touch ran", "shell": True}, "has no network run"),
        ("os:system:slices", {}, "has no network system"),
        ("{place}/evil.py:Small:slices", {}, "a network by a path"),
    ],
)
def test_a_model_json_cannot_name_what_is_run(place, name, settings, found):
    folder, _ = saved(place) if write(place) else (None, None)
    write(place, "open('ran', 'a').close()\n" + textwrap.dedent(SMALL.format(input="")), name="evil.py")
    about = {"name": name.format(place=place), "settings": settings}
    (folder / "model_weights" / "model.json").write_text(json.dumps(about))
    for call in (runs.load_model, weights.load):
        with refused(found=found):
            call(folder)
    assert not (place / "ran").exists()


def test_what_a_file_imports_beside_it_is_kept_with_it(place):
    write(place, "WIDTH = 6", name="helper.py")
    path = write(place, "\n    from helper import WIDTH\n" + SMALL.replace("chans=4", "chans=WIDTH"))
    assert [p.name for p in own.files("mine:Small")] == ["mine.py", "helper.py"] and "helper" not in sys.modules
    folder, model = saved(place)
    write(place, "WIDTH = 3", name="helper.py")  # another one by now
    assert models.build("mine:Small", num_classes=2).layers[0].out_channels == 3
    path.unlink(), (place / "helper.py").unlink()
    assert runs.load_model(folder).layers[0].out_channels == model.layers[0].out_channels == 6
    assert not list(place.rglob("__pycache__"))


def test_names_in_tables_have_no_folder():
    assert own.shown("/a/b/mine.py:Small:slices") == "mine:Small" == own.shown("mine:Small")
    assert own.shown("VarNet") == "VarNet" and own.shown(None) is None
    assert own.split(r"C:\a\mine.py:Small:image") == (r"C:\a\mine.py", "Small", "image")
    assert own.same("/a/mine.py:Small", "mine:Small:slices") and not own.same("mine:Small", "mine:Other")
