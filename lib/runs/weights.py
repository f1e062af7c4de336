"""The weights that a task starts from or predicts with, and the settings of the networks that they belong to."""

import os
from pathlib import Path
from typing import Any

from torch import nn

from lib import ROOT, InputError, models, runs
from lib.files import read
from lib.models.state_dict import fill, settings_in, tensors
from lib.text import short


def _described(source: os.PathLike | str, kind: str | None = None) -> tuple[Path, dict[str, Any]]:
    """The file or folder of weights that `source` is, and its model.json, {} where it has none.

    Of a single file it is what the weights' shapes tell. InputError where they are another network's than `kind`.
    """
    place = runs.weights_of(source)
    about = read(place / "model.json") if (place / "model.json").is_file() else {}
    if kind and place.is_file() and (settings := settings_in(kind, tensors(place), place)):
        about = {"name": kind, "settings": settings}
    if about and kind and about["name"] != kind:
        raise InputError(f"{short(place)}: weights of {about['name']}, expected {kind}")
    return place, about


def fed_with(weights: os.PathLike | str | None, **values: Any) -> tuple[Any, ...]:
    """`values`, or in their place what the run of `weights` says that its network was fed with: prints where they differ."""
    fed = _described(weights)[1].get("fed", {}) if weights else {}
    for key in (k for k in values if k in fed and fed[k] != values[k]):
        print(f"{key}: {fed[key]!r} as in the run of the weights, not {values[key]!r}")
        values[key] = fed[key]
    return tuple(values.values())


def network(kind: str, settings: dict[str, Any], weights: os.PathLike | str | None, trains: bool):
    """(network, its settings) of a task: built anew with the weights given, or, where it isn't trained, as its run left it.

    A network that only predicts is rebuilt from the settings that its weights tell, if any, and not from the task's:
    prints where they differ. InputError where the weights are another network's.
    """
    place, about = _described(weights, kind) if weights else (None, {})
    if not about or (trains and not place.is_file()):
        return load_weights(models.build(kind, **settings), place), settings
    its, mine = (models.complete(kind, s) for s in (settings | about["settings"], settings))
    differing = [key for key in its if its[key] != mine.get(key)]
    if trains and differing:
        found, given = (", ".join(f"{key} {s.get(key)!r}" for key in differing) for s in (its, mine))
        raise InputError(f"{short(place)}: {kind} with {found}, expected {given} (network_settings)")
    for key in differing:
        print(f"{key}: {its[key]!r} as in the run of the weights, not {mine.get(key)!r}")
    settings = settings | about["settings"] if place.is_file() else about["settings"]
    return load_weights(models.build(kind, **settings), place).eval(), settings


def settings_of(source: os.PathLike | str, kind: str, given: dict[str, Any] | None = None) -> dict[str, Any]:
    """The settings of the network `kind` whose weights `source` has: a run, a folder of weights, or a task's newest run.

    A single file has those that its weights' shapes tell, else `given`. InputError for another network, and where
    `given` says otherwise.
    """
    given, (place, about) = given or {}, _described(source, kind)
    if not about and not place.is_file():
        raise InputError(f"{short(place)}: no model.json in it: the run has trained no network")
    its = about.get("settings", {})
    its = its if place.is_file() else models.complete(kind, its)
    for key, value in given.items():
        if its.get(key, value) != value:
            raise InputError(f"{short(place)}: {kind} with {key} {its[key]!r}, the task says {value!r}: leave it out")
    return given | its


def with_varnet(settings: dict[str, Any], inputs: list[str], weights: os.PathLike | str | None) -> dict[str, Any]:
    """A cascade's settings with those of its VarNet: of the cascade's own `weights`, else of the VarNet inputs[0].

    What a single file's weights don't tell, `settings` say. InputError where there is neither.
    """
    if weights and not (ROOT / weights).is_file():
        return settings | {"varnet": settings_of(weights, "VarNetRCAN")["varnet"]}
    if not weights and not inputs:
        raise InputError(
            "inputs: no VarNet given, expected a task, a run folder or a file of weights (runs: in a recipe)"
        )
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
