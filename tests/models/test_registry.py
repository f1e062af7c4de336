"""The table of networks: what a line may say, and what is read from it."""

from typing import Literal

import pytest
from refusals import refused
from torch import nn

from lib import InputError, models
from lib.data.fastmri import inputs_of
from lib.models.registry import Count


class Mine(nn.Module):
    def __init__(self, width: int = 3):
        super().__init__()
        self.layer = nn.Conv2d(1, width, 1)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"where": 3}, "got 3, expected a Network, a class or 'module:Class'"),
        ({"where": "varnet"}, "got 'varnet', expected"),
        ({"where": Mine, "family": "kspac"}, "family 'kspac': did you mean 'kspace'"),
        ({"where": Mine, "family": "kspace", "batch": "slices"}, "batch 'slices': .* kspace has kspace or image"),
    ],
)
def test_a_line_that_makes_no_sense_is_refused(line, message):
    with pytest.raises(InputError, match=message):
        models.Network(**line)


def test_every_line_is_built_at_its_tiny_size():
    for name in models.MODELS:
        assert models.build(name, **models.tiny(name, {})).network_type == name
    assert models.tiny("VarNet", {"chans": 18, "pools": 4})["chans"] == 2


def test_a_network_of_a_notebook_s_own(monkeypatch):
    monkeypatch.setitem(models.MODELS, "Mine", models.Network(Mine, family="kspace", batch="image"))
    assert models.notebook_of("Mine") == models.FAMILIES["kspace"].notebook
    assert inputs_of("Mine") == inputs_of(models.build("Mine", width=2)) == {"kind": "image", "grappa": None}


def test_a_bare_class_is_one_of_no_family(monkeypatch):
    monkeypatch.setitem(models.MODELS, "Mine", Mine)
    monkeypatch.setitem(models.MODELS, "Named", "lib.models.unet2d:UNet2D")
    assert models.notebook_of("Mine") is None and type(models.build("Named")).__name__ == "UNet2D"
    assert models.family_of("Mine", "23_train_slices") == "slices"  # its losses are those of the notebook
    with refused(where="Mine", found="no network for k-space by its line in MODELS"):
        inputs_of("Mine")


def test_a_family_has_its_losses_and_settings():
    from lib import losses
    from lib.runs import parameters
    from lib.runs.schema import Augmentation

    known = parameters.parameters(parameters.notebook(models.PREDICT))
    for name, family in models.FAMILIES.items():
        assert set(family.predict) <= known.keys()
        assert set(family.augmentation) <= Augmentation.model_fields.keys()
        with pytest.raises(InputError, match="expected one of"):
            losses.by_name("", name)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ({"width": 1.5}, "width is 1.5, expected a whole number"),
        ({"width": True}, "width is True, expected a whole number"),
        ({"share": "x"}, "share is 'x', expected a number"),
        ({"kind": "x"}, "kind is 'x', expected a, b or c"),
        ({"depth": 0}, "depth is 0, expected a whole number from 1 to 1024"),
    ],
)
def test_settings_are_checked_against_their_annotations(monkeypatch, setting, expected):
    class Mine(nn.Module):
        def __init__(
            self,
            width: int = 1,
            share: float = None,  # as users write it
            kind: Literal["a", "b", "c"] = "a",
            depth: Count = 2,
            other: "whatever" = (),  # noqa: F821
        ):
            super().__init__()

    monkeypatch.setitem(models.MODELS, "Mine", Mine)
    models.build("Mine", width=0, share=None, kind="b", other=3)
    with pytest.raises(InputError, match=expected):
        models.build("Mine", **setting)
