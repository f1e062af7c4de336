"""The weights that a task starts from or predicts with, and the settings of the networks that they belong to."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from lib import ROOT, InputError, models, runs
from lib.models.state_dict import fill, settings_in, tensors
from lib.runs.model_folder import description
from lib.text import short


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
    if about and kind and about["name"] != kind:
        raise InputError(short(place), f"weights of {about['name']}", kind)
    return place, about


def preprocessing(weights: os.PathLike | str | None, **values: Any) -> tuple[Any, ...]:
    """`values`, or in their place how the network of `weights` had its inputs made: prints where they differ."""
    known = _described(weights)[1].get("preprocessing", {}) if weights else {}
    for key in (k for k in values if k in known and known[k] != values[k]):
        print(f"{key}: {known[key]!r} as in the run of the weights, not {values[key]!r}")
        values[key] = known[key]
    return tuple(values.values())


def network(
    kind: str, settings: dict[str, Any], weights: os.PathLike | str | None, trains: bool, classes: Sequence[str] = (),
    channels: int | None = None,
) -> Trained:  # fmt: skip
    """The network of a task: new with the weights given, or, if it isn't trained, as its run left it.

    A network that only predicts is rebuilt from the settings that its weights tell, if any, and not from the task's:
    prints where they differ. InputError if the weights are another network's.

    classes: of the data that a segmenting network is shown. channels: its outputs, if they aren't one per class. Names and
    order are compared with those that the weights were trained on: InputError if they differ, but a network that is
    trained on them learns the new ones, and prints both.
    """
    place, about = _described(weights, kind) if weights else (None, {})
    if about and (place.is_file() or not trains):
        settings = _settled(kind, settings, about["settings"], place, trains)
    known = tuple(about.get("classes", ()))
    if classes:
        _check_classes(short(place) if place else kind, known, classes, trains)
        found, expected = models.complete(kind, settings)["num_classes"], channels or len(classes)
        if found != expected:
            what = f"the data have {len(classes)} classes ({', '.join(classes)})"
            raise InputError(f"{kind} with num_classes {found}", what, str(expected))
    model = load_weights(models.build(kind, **settings), place)
    needs = about.get("preprocessing", {})
    return Trained(kind, settings, model if trains else model.eval(), place, tuple(classes) if trains else known, needs)


def _settled(kind: str, given: dict[str, Any], stored: dict[str, Any], place: Path, trains: bool) -> dict[str, Any]:
    """The settings to build a network with whose weights tell `stored`: prints, or of one to train refuses, what differs."""
    its, mine = (models.complete(kind, s) for s in (given | stored, given))
    differing = [key for key in its if its[key] != mine.get(key)]
    if trains and differing:
        found, wanted = (", ".join(f"{key} {s.get(key)!r}" for key in differing) for s in (its, mine))
        raise InputError(short(place), f"{kind} with {found}", f"{wanted} (network_settings)")
    for key in differing:
        print(f"{key}: {its[key]!r} as in the run of the weights, not {mine.get(key)!r}")
    return given | stored if place.is_file() else stored


def _check_classes(what: str, known: Sequence[str], classes: Sequence[str], trains: bool) -> None:
    """Compares classes by name and order; `known` are empty for weights that don't tell theirs."""
    if not known or list(known) == list(classes):
        return
    found = f"trained on the classes {', '.join(known)}; the data have {', '.join(classes)}"
    if not trains:
        raise InputError(what, found, "the same, in the same order")
    print(f"{what}: {found}, which it learns now")


def load(source: os.PathLike | str, kind: str | None = None) -> Trained:
    """The network of a run, a folder of weights, a task's newest run, or a file whose weights tell its settings.

    kind: its name in MODELS; None: the one that its model.json says, which a single file hasn't got.
    """
    place, about = _described(source, kind)
    kind = kind or about.get("name")
    if kind is None and place.is_file():
        raise InputError(short(place), "a single file doesn't say which network its weights are of")
    settings = _told(place, about, kind, {})
    model = load_weights(models.build(kind, **settings), place).eval()
    return Trained(kind, settings, model, place, tuple(about.get("classes", ())), about.get("preprocessing", {}))


def settings_of(source: os.PathLike | str, kind: str, given: dict[str, Any] | None = None) -> dict[str, Any]:
    """The settings of the network `kind` whose weights `source` has: a run, a folder of weights, or a task's newest run.

    A single file has those that its weights' shapes tell, else `given`. InputError for another network, and where
    `given` says otherwise.
    """
    return _told(*_described(source, kind), kind, given or {})


def _told(place: Path, about: dict[str, Any], kind: str, given: dict[str, Any]) -> dict[str, Any]:
    """`settings_of` of weights that are described already."""
    if not about and not place.is_file():
        raise InputError(short(place), "no model.json in it: the run has trained no network")
    its = about.get("settings", {})
    its = its if place.is_file() else models.complete(kind, its)
    for key, value in given.items():
        if its.get(key, value) != value:
            raise InputError(short(place), f"{kind} with {key} {its[key]!r}, the task says {value!r}: leave it out")
    return given | its


def with_varnet(settings: dict[str, Any], inputs: list[str], weights: os.PathLike | str | None) -> dict[str, Any]:
    """A cascade's settings with those of its VarNet: of the cascade's own `weights`, else of the VarNet inputs[0].

    What a single file's weights don't tell, `settings` say. InputError where there is neither.
    """
    if weights and not (ROOT / weights).is_file():
        return settings | {"varnet": settings_of(weights, "VarNetRCAN")["varnet"]}
    if not weights and not inputs:
        raise InputError("inputs", "no VarNet given", "a task, a run folder or a file of weights (runs: in a recipe)")
    its = settings_of(weights or inputs[0], "VarNet", settings.get("varnet"))
    return settings | ({"varnet": its} if its else {})


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
