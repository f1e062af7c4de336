"""A network in a run folder: model_weights/model.safetensors, and model.json with what rebuilds it and what it needs."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lib import ROOT, InputError
from lib.files import checksum, read, write
from lib.models import own
from lib.runs.run import find, roots
from lib.text import short

TRUSTED = ".own_code"  # in runs/: checksums of networks' code that was trained here


def save_model(
    run: os.PathLike | str, name: str, settings: dict[str, Any], model: Any, classes: Sequence[str] = (),
    **preprocessing: Any,
) -> None:  # fmt: skip
    """Writes model_weights/model.safetensors and model.json: all that `load_model` needs to rebuild the network.

    A network of one's own has its file beside them. classes: names of the classes that a segmenting network was trained on,
    in the order of its outputs.
    preprocessing: how its inputs were made (such as normalize="z_score"), for `lib.runs.prediction.complete`.
    """
    from safetensors.torch import save

    from lib import models

    folder, settings = Path(run) / "model_weights", models.complete(name, settings)  # another default mustn't change it
    about = {"name": name, "settings": settings, "classes": list(classes), "preprocessing": preprocessing}
    if own.is_own(name):
        line = models.entry(name)
        about |= {"name": f"{own.shown(name)}:{line.batch}"}
        files = own.files(name)
        for path in files:
            write(folder / path.name, path.read_bytes())
        about |= {"code": {path.name: checksum(path) for path in files}} if files else {}
        _trust(checksum(path) for path in files)
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

    Of a network of one's own with a file beside it the name has that file's path. InputError if it isn't as `save_model`
    writes it, or comes with code that no one here has trained.
    """
    path = place / "model.json"
    about = read(path) if path.is_file() else {}
    kinds = {"name": str, "settings": dict, "classes": list, "preprocessing": dict, "fed": dict, "code": dict}
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
    if own.is_own(about.get("name")):
        about["name"] = _with_code(place, about)
    return about


def _with_code(place: Path, about: dict[str, Any]) -> str:
    """The name of a network of one's own, with the path of its code in the folder.

    InputError for code that wasn't saved by this suite here and that the user has no file of: a folder from elsewhere may
    bring any.
    """
    name, code = about["name"], about.get("code", {})
    module, kind, _ = own.split(name)
    if not code:
        if "/" in module or "\\" in module or module.endswith(".py"):
            raise InputError(short(place), f"a network by a path ({module})", "its code beside it")
        return name  # of an installed package
    for file, total in code.items():
        path = place / Path(file).name
        if not path.is_file() or checksum(path) != total:
            raise InputError(short(path), "not the code that was trained: gone or changed", hint="the file is damaged")
        mine = own.file_of(path.name)
        if total not in _trusted() and (mine is None or checksum(mine) != total):
            raise InputError(
                short(path), f"code of a network from elsewhere, which isn't run ({kind})",
                hint=f"read it, and put it beside your notebook as {path.name} if you trust it",
            )  # fmt: skip
    return f"{place / Path(next(iter(code))).name}:{name.partition(':')[2]}"


def _trusted() -> set[str]:
    """The checksums of code that has been trained here."""
    listed = roots()[0] / TRUSTED
    return set(listed.read_text(encoding="utf-8").split()) if listed.is_file() else set()


def _trust(totals: Iterable[str]) -> None:
    """Adds checksums to those; code is saved only after it has run."""
    if new := sorted(set(totals) - _trusted()):
        with open(roots()[0] / TRUSTED, "a", encoding="utf-8") as listed:
            listed.write("".join(f"{total}\n" for total in new))


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
