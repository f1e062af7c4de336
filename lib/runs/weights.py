"""The weights that a task starts from or predicts with, and the settings of the networks that they belong to."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from lib import ROOT, InputError, models, runs
from lib.models import own
from lib.models.state_dict import fill, settings_in, tensors
from lib.runs.model_folder import description
from lib.text import short

WITHOUT_EFFECT = ("checkpointing",)  # settings of a network that change its memory alone


class Trained(NamedTuple):
    """A network, and what its weights need.

    name, settings: of `lib.models.build`. run: the folder or file that the weights are from, None of random ones.
    classes: names of the classes that it was, or will be, trained on, in the order of its outputs; () if not known.
    preprocessing: how its inputs were made, such as {"normalize": "z_score"}.
    """

    name: str
    settings: dict[str, Any]
    model: nn.Module
    run: Path | None
    classes: tuple[str, ...]
    preprocessing: dict[str, Any]


def _described(source: os.PathLike | str, kind: str | None = None) -> tuple[Path, dict[str, Any]]:
    """The file or folder of weights that `source` is, and its model.json, {} where it has none.

    Of a single file it is what the weights' shapes tell. InputError where they are another network's than `kind`.
    """
    place = runs.weights_of(source)
    about = description(place)
    if kind and place.is_file() and (settings := settings_in(kind, tensors(place), place)):
        about = {"name": kind, "settings": settings}
    if about and kind and not own.same(about["name"], kind):
        raise InputError(short(place), f"weights of {own.shown(about['name'])}", own.shown(kind))
    return place, about


def network(
    kind: str, settings: dict[str, Any], weights: os.PathLike | str | None, classes: Sequence[str] = (),
    channels: int | None = None,
) -> Trained:  # fmt: skip
    """The network of a task that trains it, new or with the weights given.

    Parameters
    ----------
    kind : its name in MODELS
    settings : of `lib.models.build`
    weights : a task, a run, a folder or a file of weights; None: random ones
    classes : of the data that a segmenting network learns; prints both if those of the weights differ
    channels : its outputs, if they aren't one per class

    Raises
    ------
    InputError
        If the weights are another network's, or it has another number of outputs than the data need.
    """
    place, about = _described(weights, kind) if weights else (None, {})
    if about and place.is_file():
        settings = _fitting(kind, settings, about["settings"], place)
    known = tuple(about.get("classes", ()))
    if known and classes and known != tuple(classes):
        print(f"{short(place)}: {_both(known, classes)}, which it learns now")
    _check_outputs(kind, settings, classes, channels)
    model = load_weights(models.build(kind, **settings), place)
    return Trained(kind, settings, model, place, tuple(classes), about.get("preprocessing", {}))


def load(
    source: os.PathLike | str, kind: str | None = None, given: dict[str, Any] | None = None,
    classes: Sequence[str] = (), channels: int | None = None,
) -> Trained:  # fmt: skip
    """A network as its run left it.

    Parameters
    ----------
    source : a run, a folder of weights, a task (its newest run), or a file
    kind : its name in MODELS; None: as its model.json says, which a single file hasn't got
    given : settings that its weights don't tell; prints those that they tell otherwise
    classes : of the data that a segmenting network is shown
    channels : as in `network`

    Raises
    ------
    InputError
        If the weights are another network's, or it was trained on other classes, or in another order.
    """
    place, about = _described(source, kind)
    kind, given, stored = about.get("name") or kind or "", given or {}, about.get("settings", {})
    if not kind and place.is_file():
        raise InputError(short(place), "a single file doesn't say which network its weights are of")
    if not about and not given and not place.is_file():
        raise InputError(short(place), "no model.json in it", hint="the run has trained no network")
    settings = given | stored if place.is_file() or not stored else stored
    mine, as_left = models.complete(kind, given), models.complete(kind, settings)
    for key in (key for key in given if as_left.get(key) != mine.get(key)):
        print(f"{key}: {as_left.get(key)!r} as in the run of the weights, not {mine.get(key)!r}")
    known = tuple(about.get("classes", ()))
    if known and classes and known != tuple(classes):
        raise InputError(short(place), _both(known, classes), "the same, in the same order")
    _check_outputs(kind, settings, classes, channels)
    model = load_weights(models.build(kind, **settings), place).eval()
    left = settings if place.is_file() else as_left
    return Trained(kind, left, model, place, known, about.get("preprocessing", {}))


def _fitting(kind: str, given: dict[str, Any], stored: dict[str, Any], place: Path) -> dict[str, Any]:
    """`given` with the settings that a file's weights tell; InputError where they differ."""
    as_stored, mine = (models.complete(kind, settings) for settings in (given | stored, given))
    if differing := [key for key in as_stored if as_stored[key] != mine.get(key)]:
        found, wanted = (", ".join(f"{key} {s.get(key)!r}" for key in differing) for s in (as_stored, mine))
        raise InputError(short(place), f"{kind} with {found}", f"{wanted} (network_settings)")
    return given | stored


def _both(known: Sequence[str], classes: Sequence[str]) -> str:
    return f"trained on the classes {', '.join(known)}; the data have {', '.join(classes)}"


def _check_outputs(kind: str, settings: dict[str, Any], classes: Sequence[str], channels: int | None) -> None:
    """InputError if a segmenting network has another number of outputs than the data need."""
    expected = channels or len(classes)
    found = own.outputs(models.complete(kind, settings)) if classes else None
    if found not in (None, expected):
        what = f"the data have {len(classes)} classes ({', '.join(classes)})"
        raise InputError(f"{own.shown(kind)} with num_classes {found}", what, str(expected))


def network_name(source: os.PathLike | str) -> str:
    """Whose weights `source` has; a single file's are a VarNet's, such as fastMRI's."""
    return _described(source)[1].get("name", "VarNet")


def settings_of(source: os.PathLike | str, kind: str, given: dict[str, Any] | None = None) -> dict[str, Any]:
    """The settings of the network `kind` whose weights `source` has: a run, a folder of weights, or a task's newest run.

    A single file has those that its weights' shapes tell, else `given`. InputError for another network, and where
    `given` says otherwise.
    """
    return _checked_settings(*_described(source, kind), kind, given or {})


def _checked_settings(place: Path, about: dict[str, Any], kind: str, given: dict[str, Any]) -> dict[str, Any]:
    """`settings_of` of weights that are described already."""
    if not about and not place.is_file():
        raise InputError(short(place), "no model.json in it: the run has trained no network")
    stored = about.get("settings", {})
    stored = stored if place.is_file() else models.complete(kind, stored)
    for key, value in given.items():
        if key not in WITHOUT_EFFECT and stored.get(key, value) != value:
            raise InputError(short(place), f"{kind} with {key} {stored[key]!r}, the task says {value!r}: leave it out")
    return given | stored | {key: given[key] for key in WITHOUT_EFFECT if key in given}


def with_varnet(
    settings: dict[str, Any], inputs: list[str], weights: os.PathLike | str | None, kind: str = "VarNetRCAN"
) -> dict[str, Any]:  # fmt: skip
    """A cascade's settings with those of its VarNet: of the cascade's own `weights`, else of the VarNet inputs[0].

    A cascade `kind` of one's own may have none. What a single file's weights don't tell, `settings` say. InputError where there is neither.
    """
    if not models.known(kind, {"varnet": None}):
        return settings
    if weights and not (ROOT / weights).is_file():
        return settings | {"varnet": settings_of(weights, kind)["varnet"]}
    if not weights and not inputs:
        raise InputError("inputs", "no VarNet given", "a task, a run folder or a file of weights (runs: in a recipe)")
    varnet = settings_of(weights or inputs[0], "VarNet", settings.get("varnet"))
    return settings | ({"varnet": varnet} if varnet else {})


def load_weights(model: nn.Module, weights: os.PathLike | str | None) -> nn.Module:
    """`model` with the weights of a run, a folder of weights, or a .safetensors or .pt file; as it is where None.

    A .pt or .ckpt file holds a state_dict, such as fastMRI's published weights, or a trainer's checkpoint with one, such
    as Lightning's or SNU's best_model.pt: see lib.models.state_dict.
    """
    if weights is None:
        return model
    place = runs.weights_of(weights)
    path = place if place.is_file() else place / "model.safetensors"
    return fill(model, tensors(path), path)
