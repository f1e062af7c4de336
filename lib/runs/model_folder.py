"""A network in a run folder: model_weights/model.safetensors, and model.json with what rebuilds it and what it needs."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lib import ROOT, InputError
from lib.files import read, write
from lib.runs.run import find
from lib.text import short


def save_model(
    run: os.PathLike | str, name: str, settings: dict[str, Any], model: Any, classes: Sequence[str] = (),
    **preprocessing: Any,
) -> None:  # fmt: skip
    """Writes model_weights/model.safetensors and model.json: all that `load_model` needs to rebuild the network.

    classes: names of the classes that a segmenting network was trained on, in the order of its outputs.
    preprocessing: how its inputs were made (such as normalize="z_score"), for `lib.runs.prediction.complete`.
    """
    from safetensors.torch import save

    from lib import models

    folder, settings = Path(run) / "model_weights", models.complete(name, settings)  # another default mustn't change it
    about = {"name": name, "settings": settings, "classes": list(classes), "preprocessing": preprocessing}
    write(folder / "model.safetensors", save({k: v.detach().cpu().clone() for k, v in model.state_dict().items()}))
    write(folder / "model.json", {k: v for k, v in about.items() if v or k == "settings"})


def has_weights(path: Path) -> bool:
    """Whether a folder is a run's, or one of weights."""
    return any((path / name).exists() for name in ("model_weights", "model.json", "model.safetensors", "status.json"))


def weights_of(source: os.PathLike | str) -> Path:
    """The file of weights that `source` is, or the folder with them: of weights, of a run, of a task's newest good run."""
    path = ROOT / source
    if not path.is_file() and not has_weights(path):  # a task may be called as a folder here
        path = find(source)
    return path / "model_weights" if (path / "model_weights").is_dir() else path


def description(place: Path) -> dict[str, Any]:
    """A folder's model.json with its `name`, `settings`, and `classes` and `preprocessing` if known; {} if it has none.

    InputError if it isn't as `save_model` writes it.
    """
    path = place / "model.json"
    about = read(path) if path.is_file() else {}
    kinds = {"name": str, "settings": dict, "classes": list, "preprocessing": dict, "fed": dict}
    odd = [
        key
        for key, kind in kinds.items()
        if not isinstance(about, dict) or not isinstance(about.get(key, kind()), kind)
    ]
    if odd or about and not {"name", "settings"} <= set(about):
        raise InputError(
            short(path),
            f"{odd[0] if odd else 'name or settings'} is missing or of another type",
            hint="the file is damaged",
        )
    if "fed" in about:  # older runs' name, with a British spelling in it
        about["preprocessing"] = {k.replace("normalise", "normalize"): v for k, v in about.pop("fed").items()}
    return about


def load_model(run: os.PathLike | str):
    """The network of a run (or of a folder of weights, or of a task's newest good run), on the CPU, in eval mode."""
    from lib import models
    from lib.models.state_dict import fill, tensors

    folder = weights_of(run)
    about, path = description(folder), folder / "model.safetensors"
    if not (about and path.is_file()):
        raise InputError(
            short(folder), "no model.json and model.safetensors in it", hint="the run has trained no network"
        )
    return fill(models.build(about["name"], **about["settings"]), tensors(path), path).eval()
