"""Trained networks: what is stored beside their weights, and how it is compared with the data they are shown."""

import json

import pytest
import torch
from refusals import refused

from lib import InputError, models, runs
from lib.runs import weights

SMALL = {"base_filters": 2, "depth": 2}
ORGANS = ("background", "liver", "spleen")


@pytest.fixture
def trained(tmp_path):
    settings = SMALL | {"num_classes": 3}
    runs.save_model(tmp_path, "UNet2D", settings, models.build("UNet2D", **settings), ORGANS, normalize="z_score")
    return tmp_path


def shown(folder, classes, trains=False, count=3, **more):
    settings = SMALL | {"num_classes": count}
    if trains:
        return weights.network("UNet2D", settings, folder, classes, **more)
    return weights.load(folder, "UNet2D", settings, classes, **more)


def test_what_a_network_needs_comes_back_with_it(trained, capsys):
    found = shown(trained, ORGANS)
    assert found.classes == ORGANS and found.preprocessing == {"normalize": "z_score"} and not found.model.training
    assert found.run == trained / "model_weights" and found.name == "UNet2D" and found.settings["base_filters"] == 2
    assert weights.load(trained, "UNet2D").settings == found.settings
    assert not capsys.readouterr().out
    weights.load(trained, "UNet2D", {"depth": 3})
    assert capsys.readouterr().out == "depth: 2 as in the run of the weights, not 3\n"


@pytest.mark.parametrize("classes", [("background", "spleen", "liver"), ("background", "liver", "kidney"), ORGANS[:2]])
def test_a_network_shown_other_classes_is_refused_and_both_are_named(trained, classes):
    with pytest.raises(InputError) as error:
        shown(trained, classes, count=len(classes))
    for names in (ORGANS, classes):
        assert ", ".join(names) in str(error.value)


def test_one_that_is_trained_on_learns_the_new_classes_and_says_so(trained, capsys):
    other = ("background", "kidney", "bladder")
    assert shown(trained, other, trains=True).classes == other
    assert (
        "trained on the classes background, liver, spleen; the data have background, kidney" in capsys.readouterr().out
    )
    assert shown(None, other, trains=True).classes == other and not capsys.readouterr().out


def test_the_number_of_outputs_is_that_of_the_classes_or_one(trained):
    with refused(where="UNet2D with num_classes 3", found=r"the data have 2 classes \(a, b\)", expected="2"):
        shown(None, ("a", "b"), trains=True)
    with refused(where="num_classes 2", found=".* ", expected="1"):
        shown(None, ("a", "b"), trains=True, count=2, channels=1)
    assert shown(None, ("a", "b"), trains=True, count=1, channels=1).run is None


def test_weights_of_earlier_runs_are_read_as_they_are(trained):
    path = trained / "model_weights" / "model.json"
    about = json.loads(path.read_text())
    path.write_text(json.dumps({"name": "UNet2D", "settings": about["settings"], "fed": {"normalise": "percentile"}}))
    found = shown(trained, ("a", "b", "c"))
    assert found.classes == () and found.preprocessing == {"normalize": "percentile"}
    state = runs.load_model(trained).state_dict()
    assert all(torch.equal(value, state[key]) for key, value in found.model.state_dict().items())


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"{", "model.json: can't be read as JSON"),
        (b"\xff\xfe", "model.json: can't be read as JSON"),
        (b"[" * 100_000, "model.json: can't be read as JSON"),
        (b"[1]", "model.json: name is missing or of another type"),
        (b'{"settings": {}}', "model.json: name or settings is missing"),
        (b'{"name": "UNet2D", "settings": 3}', "model.json: settings is missing or of another type"),
        (
            b'{"name": "UNet2D", "settings": {"depth": 1000000000000}}',
            "depth is 1000000000000, expected a whole number",
        ),
    ],
)
def test_a_damaged_description_is_named(trained, content, found):
    (trained / "model_weights" / "model.json").write_bytes(content)
    with pytest.raises(InputError, match=found):
        weights.load(trained)
