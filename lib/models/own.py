"""A network of one's own: "my_module:MyNet" or "my_module:MyNet:volumes" in the place of a name in MODELS.

The module is a file beside the recipe or the notebook (my_module.py, or a path to it) or an installed package, such as
monai.networks.nets. What stands last, or the class's attribute `input`, says what the network is fed: a batch of
`lib.models.families`. The attribute `tiny` may hold the settings of a quick try.
"""

import contextlib
import hashlib
import importlib
import inspect
import json
import re
import sys
import traceback
import types
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lib import ROOT, InputError
from lib.models.families import FAMILIES
from lib.text import did_you_mean, one_of, short

INPUTS = {batch: name for name, family in FAMILIES.items() for batch in family.batches}  # what is fed: its family
_WORDS = {  # what others call the settings that our notebooks give
    "num_classes": ("num_classes", "out_channels", "out_chans", "n_classes", "classes"),
    "in_chans": ("in_chans", "in_channels", "n_channels"),
    "spatial_dims": ("spatial_dims", "dims", "dimensions"),
}
# modules by file, with a checksum, and the files that they are from
_loaded: dict[Path, tuple[str, Any, list[Path]]] = {}


class Own(NamedTuple):
    """What a name stands for.

    Parameters
    ----------
    network : the class
    input : what it is fed, a key of INPUTS
    file : of the module; None of an installed package
    """

    network: Callable[..., Any]
    input: str
    file: Path | None


def is_own(name: object) -> bool:
    """Whether a name is "module:Class" rather than one of MODELS."""
    return isinstance(name, str) and ":" in name


def split(name: str) -> tuple[str, str, str]:
    """Module or path, class, and what it is fed ("" if the name doesn't say); InputError for another form."""
    found = re.fullmatch(r"(.+?):([A-Za-z_]\w*)(?::(\w+))?", name)
    if not found:
        raise InputError(name, "no name of a network of one's own", "module:Class or module:Class:input")
    return found[1], found[2], found[3] or ""


def shown(name: Any) -> Any:
    """A network's name as tables show it: of one's own the module without its folder, and the class."""
    if not is_own(name):
        return name
    module, kind, _ = split(name)
    return f"{Path(module).stem if module.endswith('.py') else module}:{kind}"


def same(name: str, other: str) -> bool:
    """Whether two names are one network's, wherever its file lies."""
    return name == other or (is_own(name) and is_own(other) and shown(name) == shown(other))


def file_of(module: str, *folders: Path) -> Path | None:
    """The file of a module or path: as it stands, or in one of the folders, else here, in notebooks/ or the repository."""
    path = Path(module if module.endswith(".py") else f"{module}.py")
    places = (*folders, Path.cwd(), ROOT / "notebooks", ROOT)
    return next((found.resolve() for folder in places if (found := folder / path).is_file()), None)


def beside(name: str, folder: Path, fed: str = "") -> str:
    """The name with its file's whole path if that lies in `folder`, a recipe's, and with what it is fed if it doesn't say."""
    module, kind, given = split(name)
    path = file_of(module, folder)
    return ":".join(filter(None, (str(path or module), kind, given or fed)))


def find(name: str) -> Own:
    """The class that a name stands for; a file that has changed is read again.

    Raises
    ------
    InputError
        For a module that isn't there or can't be loaded, with its line, for another class, and if it isn't said what
        the network is fed.
    """
    module, kind, fed = split(name)
    path = file_of(module)
    loaded = _of_file(path) if path else _of_package(module)
    network = getattr(loaded, kind, None)
    from torch import nn

    if not (inspect.isclass(network) and issubclass(network, nn.Module)):
        classes = [
            k for k, v in vars(loaded).items() if inspect.isclass(v) and issubclass(v, nn.Module) and k[0] != "_"
        ]
        raise InputError(
            shown(name),
            f"{short(path) if path else module} has no network {kind} (a class of torch's nn.Module)",
            hint=did_you_mean(kind, classes),
        )
    fed = fed or getattr(network, "input", "")
    if fed not in INPUTS:
        words = f"input {fed!r}: {one_of(fed, INPUTS)[0]}" if fed else "it isn't said what the network is fed"
        raise InputError(shown(name), words, f"{shown(name)}:X or input = X in the class, X one of {', '.join(INPUTS)}")
    return Own(network, fed, path)


def files(name: object) -> list[Path]:
    """The file that a network of one's own is from, and those beside it that it imports; [] of other names and of packages."""
    path = find(name).file if is_own(name) else None
    return _loaded[path][2] if path else []


def _of_file(path: Path) -> Any:
    """The module in a file, which may import what lies beside it: that is its own, whatever else has the name."""
    if path in _loaded and _loaded[path][0] == _total(_loaded[path][2]):
        return _loaded[path][1]
    before = set(sys.modules)
    name = f"own_{path.stem}_{_total([path])[:12]}"
    module = types.ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module  # dataclasses and pickle look there
    sys.path.insert(0, str(path.parent))
    # byte code is told by seconds: a quick change isn't
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        exec(compile(path.read_bytes(), str(path), "exec"), vars(module))
    except Exception as error:
        del sys.modules[name]
        raise InputError(short(path), _line_of(error, path)) from None
    finally:
        sys.dont_write_bytecode = writes
        sys.path.remove(str(path.parent))
        beside = _beside(path, set(sys.modules) - before - {name})
        for other in beside:  # the next file's module of that name is another one
            del sys.modules[other]
    used = [path, *sorted(beside.values())]
    _loaded[path] = _total(used), module, used
    return module


def _beside(path: Path, names: Iterable[str]) -> dict[str, Path]:
    """The files beside `path` that modules of these names are from."""
    found = {name: Path(file) for name in names if (file := getattr(sys.modules.get(name), "__file__", None))}
    return {
        name: file.resolve()
        for name, file in found.items()
        if file.is_absolute() and file.resolve().parent == path.parent
    }


def _total(files: Iterable[Path]) -> str:
    contents = (file.read_bytes() if file.is_file() else b"" for file in files)
    return hashlib.sha256(b"".join(hashlib.sha256(content).digest() for content in contents)).hexdigest()


def _line_of(error: Exception, path: Path) -> str:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    line = error.lineno if isinstance(error, SyntaxError) and error.filename == str(path) else lines[-1] if lines else 0
    return f"line {line}: {type(error).__name__}: {next(iter(str(error).splitlines()), '')}"


def _of_package(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except Exception as error:
        package = module.split(".")[0]
        absent = isinstance(error, ModuleNotFoundError) and error.name and module.startswith(error.name)
        if not absent:
            raise InputError(module, f"{type(error).__name__}: {error}") from None
        hint = f"`.venv/bin/python -m pip install {package}`, if that is its name there" if "." in module else ""
        raise InputError(module, "no such file beside recipe or notebook, and no such package", hint=hint) from None


def settings_of(network: Callable[..., Any], fed: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings given in the network's own words, with those that a network of its family can't do without.

    `num_classes`, `in_chans` and `spatial_dims` become what the network calls them (out_channels, in_channels …), and are left
    out where it has nothing of the kind.

    Parameters
    ----------
    network : the class
    fed : what it is fed
    given : in our notebooks' words or its own, which count more
    """
    has, family = inspect.signature(network).parameters, INPUTS[fed]
    usual: dict[str, Any] = {}
    if FAMILIES[family].losses == "segmentation":
        usual = {"in_chans": 3 if family == "pairs" else 1, "spatial_dims": 3 if family == "volumes" else 2}
        usual["num_classes"] = 1 if family == "pairs" else 2
        called = [word for word in _WORDS["num_classes"] if word in has]
        if family != "pairs" and called and has[called[0]].default is not inspect.Parameter.empty:
            del usual["num_classes"]
    settings = {
        word: value
        for key, value in (usual | {k: v for k, v in given.items() if k in _WORDS}).items()
        for word in [word for word in _WORDS[key] if word in has][:1]
    }
    return settings | {key: value for key, value in given.items() if key not in _WORDS or key in has}


def outputs(settings: Mapping[str, Any]) -> int | None:
    """How many classes a network with these settings gives; None if no setting says so."""
    return next((settings[word] for word in _WORDS["num_classes"] if word in settings), None)


def inputs(settings: Mapping[str, Any]) -> int | None:
    """How many channels a network with these settings takes; None if no setting says so."""
    return next((settings[word] for word in _WORDS["in_chans"] if word in settings), None)


def defaults(network: Callable[..., Any]) -> dict[str, Any]:
    """The defaults of a network's settings that can be written as JSON."""
    listed = {}
    for key, parameter in inspect.signature(network).parameters.items():
        with contextlib.suppress(TypeError, ValueError):  # none, or an object: the network has it by itself
            listed[key] = json.loads(json.dumps(parameter.default))
    return listed
