"""A task's parameters: read from the notebook that has them, checked before anything starts."""

import ast
import io
import json
import math
import os
import tokenize
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin

from pydantic import BaseModel, ValidationError

from lib import ROOT, InputError, models
from lib.models import own
from lib.runs.schema import Augmentation, Shared, expected
from lib.text import did_you_mean, errors_at

MINE = ROOT / "my_notebooks"  # the user's copies, which `make lab` opens: see lib.recipes.lab
NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}"  # a task's name: it becomes a folder's
ROLES = ("prepare", "train", "predict", "evaluate", "view", "benchmark")  # tags that say what a notebook is for
WORDS = {
    "int": "an integer", "float": "a number", "str": "a text", "bool": "true or false", "path": "a path",
    "list": "a list", "dict": "a mapping", "None": "null",
}  # fmt: skip


class Parameter(NamedTuple):
    """One line of a parameters cell: its default, its type as written (`int|None`) and the comment behind it."""

    default: Any
    type: str
    help: str


def notebook(name: str) -> Path:
    """The file of a notebook named with or without .ipynb; ECHOTRAIN_NOTEBOOKS may name another folder.

    In a kernel of Lab's on one of the user's copies it is the copy.
    """
    mine = "JPY_SESSION_NAME" in os.environ and Path.cwd() == MINE
    folder = Path(os.environ.get("ECHOTRAIN_NOTEBOOKS", MINE if mine else ROOT / "notebooks")).resolve()
    path = folder / (name if name.endswith(".ipynb") else f"{name}.ipynb")
    if Path(name).name != name or not path.is_file():
        raise InputError("notebook", f"{choose(name.removesuffix('.ipynb'), [p.stem for p in folder.glob('*.ipynb')])}")
    return path


def choose(name: object, names: Iterable[str]) -> str:
    """The words for a name that isn't among `names`: the nearest ones, then all."""
    names = sorted(names)
    return f"got {_show(name)}, {did_you_mean(name, names)}expected one of: {', '.join(names) or 'none'}"


def parameters(path: Path) -> dict[str, Parameter]:
    """The parameters of a notebook, in its order: the literals of the cell tagged `parameters`.

    Each is `name = literal  # type: TYPE  help`, TYPE one or more of int, float, str, bool, path, list, dict, None
    joined by `|`. Raises InputError where the file is no notebook or the cell holds anything else.
    """
    path = Path(path)
    source = _cell(path)[1]
    try:
        tree = ast.parse(source)
    except (ValueError, SyntaxError) as error:
        raise InputError(path, f"no notebook with a readable parameters cell ({error})") from None
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    listed = {}
    for statement in tree.body:
        lines = range(statement.lineno, statement.end_lineno + 1)
        typed = [comments[i] for i in lines if comments.get(i, "").startswith("type:")]
        kind, _, text = typed[0].removeprefix("type:").strip().partition(" ") if typed else ("", "", "")
        try:
            (target,) = statement.targets
            listed[target.id] = Parameter(ast.literal_eval(statement.value), kind, text.strip())
            if not kind or not WORDS.keys() >= set(kind.split("|")):
                raise ValueError
        except (AttributeError, ValueError, TypeError):
            where = f"{path.name}: parameters cell, line {statement.lineno}"
            line = source.splitlines()[statement.lineno - 1].strip()
            raise InputError(where, f"got {line!r}", "`name = literal  # type: TYPE  help`") from None
    return listed


def _cell(path: Path) -> tuple[list[str], str]:
    """The tags and the source of a notebook's parameters cell; none of either where it has no such cell."""
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        tagged = ((c["metadata"].get("tags", ()), c["source"]) for c in cells)
        return next(((list(tags), "".join(text)) for tags, text in tagged if "parameters" in tags), ([], ""))
    except OSError as error:
        raise InputError(path, error.strerror) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(path, f"no notebook with a readable parameters cell ({error})") from None


def tags(path: Path) -> list[str]:
    """What a notebook is for, by the tags of its parameters cell: one of ROLES and, of a data set, `reader:MODULE`."""
    return [tag for tag in _cell(Path(path))[0] if tag != "parameters"]


def role(path: Path) -> str:
    """The one of ROLES that a notebook has as a tag; "" where it has none."""
    return next((tag for tag in tags(path) if tag in ROLES), "")


def check(path: Path, values: dict[str, Any], task: str | None = None) -> dict[str, Any]:
    """All parameters of the notebook `path`, `values` over its defaults; InputError names the task and the key."""
    complete = check_values(path, values, task)
    check_names(complete, task or Path(path).stem, Path(path).stem)
    return complete


def check_values(path: Path, values: dict[str, Any], task: str | None = None) -> dict[str, Any]:
    """The quick part of `check`: names, types and ranges, without importing torch."""
    where, known = f"task {task}" if task else Path(path).stem, parameters(path)
    with errors_at(where):
        check_task_type(values, known, Path(path))
    for name in values:
        if name not in known:
            raise InputError(where, f"unknown parameter of {Path(path).stem}: {choose(name, known)}")
    complete = {name: parameter.default for name, parameter in known.items()} | values
    for name, value in complete.items():
        complete[name] = _typed(value, known[name].type.split("|"), name, where)
    if complete.get("task_name", "") is None and complete.get("network_type"):
        complete["task_name"] = f"train_{own.shown(complete['network_type']).rpartition(':')[2].lower()}"
    if {"network_type", "network_settings"} <= known.keys():
        complete["network_settings"] = _settings(complete, known)
    shared = {k: v for k, v in complete.items() if k in Shared.model_fields and v is not None}
    with errors_at(where):
        complete |= validated(Shared, shared, shared | values)
        family = models.family_of(complete.get("network_type"), Path(path).stem)
    allowed = models.FAMILIES[family].augmentation if family else Augmentation.model_fields
    for name in complete.get("augmentation") or {}:
        if name not in allowed:
            raise InputError(where, f"augmentation: unknown key: {choose(name, allowed)}")
    return complete


def check_task_type(values: dict[str, Any], known: Iterable[str], path: Path) -> None:
    """InputError for the `task_type` of earlier recipes, with what is written now; known: the parameters of the notebook `path`."""
    if "task_type" not in values or "task_type" in known:
        return
    evaluate = f"`notebook: {models.PREDICT}`, `evaluate: true` and `split: val` (of cine: test)"
    now = {"train": "`predict_split: val`", "predict": f"`notebook: {models.PREDICT}`", "evaluate": evaluate}
    given = values["task_type"]
    hint = f"write {now[given]} in its place" if given in now else "leave it out"
    raise InputError(f"task_type {given}", f"{path.stem} has no task types any more", hint=hint)


def _typed(value: Any, kinds: list[str], name: str, where: str) -> Any:
    kind = {type(None): "None", bool: "bool", int: "int", float: "float", list: "list", dict: "dict"}.get(type(value))
    if isinstance(value, str | Path):
        kind, value = "path" if isinstance(value, Path) or "str" not in kinds else "str", str(value)
    if kind == "int" and "int" not in kinds:
        kind, value = "float", float(value) if "float" in kinds else value
    if kind not in kinds or (kind == "path" and not value) or (kind == "float" and not math.isfinite(value)):
        field = Shared.model_fields.get(name)
        words = [expected(field)] if field else [WORDS[k] for k in kinds if k != "None"]
        words += ["null"] if "None" in kinds else []
        raise InputError(where, f"{name}: got {_show(value)}", f"{' or '.join(words)}")
    return value


def validated(
    model: type[BaseModel], given: dict[str, Any], written: dict[str, Any] | None = None
) -> dict[str, Any]:  # fmt: skip
    """The values `given`, as the model reads them; InputError for the first that it refuses, as it was `written`."""
    try:
        return model.model_validate(given).model_dump(exclude_unset=True)
    except ValidationError as error:
        raise _explained(error.errors()[0], model, written or given) from None


def _explained(error: dict[str, Any], model: type[BaseModel], written: dict[str, Any]) -> InputError:
    """pydantic's error: the key, what was found, what is `expected`."""
    keys = [key for key in error["loc"] if isinstance(key, str)]
    field, path, value = model.model_fields[keys[0]], keys[0], written.get(keys[0])
    for key in keys[1:]:
        model = field.annotation
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            break  # inside a union: the field itself says what is expected
        if error["type"] == "extra_forbidden":
            return InputError(path, f"unknown key: {choose(key, model.model_fields)}")
        field, path, value = model.model_fields[key], f"{path}.{key}", value.get(key)
    if error["type"] == "missing":
        return InputError(path, "missing", expected(field))
    if error["type"] == "value_error" and str(error["ctx"]["error"]):
        return InputError(f"{path}.{error['ctx']['error']}")
    kinds = (field.annotation, *get_args(field.annotation))  # a Literal, or one among others
    near = did_you_mean(value, [name for kind in kinds if get_origin(kind) is Literal for name in get_args(kind)])
    return InputError(path, f"got {_show(value)}{', ' * bool(near)}{near}", expected(field))


def check_names(complete: dict[str, Any], task: str, notebook: str) -> None:
    """The slow part of `check`: that network, settings, loss, metrics and devices exist. Imports what it needs."""
    import torch

    from lib import losses

    where = f"task {task}"
    if complete.get("network_type") is not None:
        if not models.is_known(complete["network_type"]):
            raise InputError(where, f"network_type: {choose(complete['network_type'], models.MODELS)}")
        settings = dict(complete.get("network_settings") or {})
        if "regularization" in settings and "regularization" in complete:
            raise InputError(where, "network_settings: regularization is a parameter of its own: give it there")
        if (complete.get("regularization") or {}).get("type"):
            settings["regularization"] = complete["regularization"]
        device = "cpu" if own.is_own(complete["network_type"]) else "meta"  # meta: no memory, no time
        with errors_at(f"{where}: network_settings"), torch.device(device):
            models.build(complete["network_type"], **settings)
    family = models.family_of(complete.get("network_type"), notebook)
    with errors_at(where):
        if family and complete.get("loss") is not None:
            losses.by_name(complete["loss"], family)
        for name in (complete.get("metrics") or ()) if family else ():
            losses.training_metric(name, family)
    if complete.get("mask"):
        from lib.kspace.sampling import KINDS

        if complete["mask"]["kind"] not in KINDS:
            raise InputError(where, f"mask: kind: {choose(complete['mask']['kind'], KINDS)}")
    if "devices" in complete:
        _check_devices(complete["devices"], complete.get("partition"), where)


def _settings(complete: dict[str, Any], defaults: dict[str, Parameter]) -> dict[str, Any] | None:
    """network_settings; {} where they are the defaults of another network_type than the task's, which hasn't all of them."""
    kind, settings = complete["network_type"], complete["network_settings"]
    if not settings or kind == defaults["network_type"].default or settings != defaults["network_settings"].default:
        return settings
    if own.is_own(kind):
        return {}
    return settings if kind not in models.MODELS or models.known(kind, settings) == settings else {}


def _check_devices(devices: str | int | list, partition: Any, where: str) -> None:
    from lib import accelerators
    from lib.parallel import mesh

    gpus, wanted = accelerators.count(), 0
    if not mesh.on_cpu(devices):
        wanted = max(devices) + 1 if isinstance(devices, list) else devices if isinstance(devices, int) else 1
    if wanted > gpus and "RANK" not in os.environ:  # a process that helps to train sees its own GPUs only
        raise InputError(
            where, f"devices: got {devices}, this machine has {gpus} GPUs (processes on its CPU: [cpu, cpu])"
        )
    with errors_at(where):
        mesh.data_world_size(devices, mesh.partition_of(partition))


def _show(value: Any) -> str:
    text = repr(str(value) if isinstance(value, Path) else value)
    return "null" if value is None else text if len(text) <= 60 else f"{text[:57]}…"
