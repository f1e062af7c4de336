"""What a prediction is made with: whose network, on which data, with which settings. Found before any network is built."""

import os
from pathlib import Path
from typing import Any, NamedTuple

from lib import InputError, models
from lib.data.index import read_set
from lib.models import own
from lib.runs import parameters
from lib.runs.model_folder import description, weights_of
from lib.runs.status_file import begun
from lib.text import short


class Origin(NamedTuple):
    """Where a network comes from.

    Parameters
    ----------
    network : its name in MODELS
    preprocessing : how its inputs were made, such as {"normalize": "z_score"}; {} if that isn't known, as of a file
    parameters : of the task that trained it; {} likewise
    """

    network: str
    preprocessing: dict[str, Any]
    parameters: dict[str, Any]

    @property
    def family(self) -> models.Family:
        return models.FAMILIES[models.family_of(self.network)]


def origin(weights: os.PathLike | str, network_type: str | None = None) -> Origin:
    """The origin of a network.

    Parameters
    ----------
    weights : a run, a folder of weights, a task (its newest good run), or a file
    network_type : the network's name, which a file doesn't have

    Raises
    ------
    InputError
        If there are no such weights, if they are another network's, or if no notebook trains it.
    """
    place = weights_of(weights)
    about = description(place)
    name = about.get("name", network_type)
    if not name and place.is_dir():
        raise InputError(short(place), "no model.json in it", hint="the run has trained no network")
    if not name:
        raise InputError("network_type", "missing", hint=f"{short(place)} doesn't say whose weights it holds")
    if network_type and not own.same(name, network_type):
        raise InputError(short(place), f"weights of {own.shown(name)}", own.shown(network_type))
    task = begun(place.parent if place.name == "model_weights" else place)
    return checked(Origin(name, about.get("preprocessing", {}), task.get("parameters", {})))


def checked(origin: Origin) -> Origin:
    """`origin`; InputError if its network is unknown, or no notebook trains it."""
    if not models.entry(origin.network).family:
        trained = (name for name in models.MODELS if models.entry(name).family)
        raise InputError(origin.network, "no notebook trains it", f"one of {', '.join(trained)}")
    return origin


def data_of(given: dict[str, Any], origin: Origin) -> dict[str, Any]:
    """`data` and `files` of a prediction: those of the network's training if neither is given.

    Parameters
    ----------
    given : parameters of the notebook `models.PREDICT`
    origin : of the network

    Raises
    ------
    InputError
        For a setting that is for other networks, and if there are no data.
    """
    mine, trained = origin.family.predict, origin.parameters
    for name in dict.fromkeys(name for family in models.FAMILIES.values() for name in family.predict):
        if name not in mine and given.get(name):
            raise InputError(name, f"{own.shown(origin.network)} has no such setting", f"some of {', '.join(mine)}")
    if given.get("images") and given.get("evaluate"):
        raise InputError("evaluate", "got true", "false", "images have no masks to be compared with")
    data, files = given.get("data"), given.get("files")
    if not data and not files:
        data, files = trained.get("data"), trained.get("files")
    if not (data or files or given.get("images")):
        raise InputError(
            "data", "missing", hint=f"the weights don't say on which data {own.shown(origin.network)} was trained"
        )
    return {"data": data, "files": files}


def complete(given: dict[str, Any], origin: Origin) -> dict[str, Any]:
    """The data of a prediction and the settings that its network's family reads.

    What isn't given is as the weights say, else as it was in the task that trained them, else the default of the notebook that
    trains such networks. Prints what is given but overruled by the weights.

    Parameters
    ----------
    given : parameters of the notebook `models.PREDICT`; None: not given
    origin : of the network

    Raises
    ------
    InputError
        As `data_of` does.
    """
    defaults = parameters.parameters(parameters.notebook(origin.family.notebook))
    settings = data_of(given, origin)
    for name in (name for name in origin.family.predict if name not in settings):
        default = defaults[name].default if name in defaults else None
        values = (given.get(name), origin.parameters.get(name), default)
        value = next((value for value in values if value is not None), None)
        settings[name] = origin.preprocessing.get(name, value)
        if given.get(name) not in (None, settings[name]):
            print(f"{name}: {settings[name]!r} as in the run of the weights, not {given[name]!r}")
    return settings


def check_kind(folder: Path, network: str) -> None:
    """InputError if a prepared set is for networks of another family than `network`'s; a kind of the user's own passes."""
    kind, fits = read_set(folder).get("kind", ""), models.FAMILIES[models.family_of(network)].data
    if fits not in kind and any(family.data in kind for family in models.FAMILIES.values()):
        raise InputError(folder, f"a set of {kind}", f"{fits} for {own.shown(network)}")
