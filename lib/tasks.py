"""A task's parameters: read from the notebook that has them, checked before anything starts."""

import ast
import difflib
import importlib
import io
import json
import math
import os
import tokenize
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from lib import ROOT, InputError

CINE, KSPACE, CASCADE = "20_train_cine", "21_train_kspace", "22_train_cascade"
SLICES, VOLUMES, PAIRS = "23_train_slices", "24_train_volumes", "25_train_pairs"
IMPLIED = {  # network_type → the notebook that trains it
    "UNet3D": CINE, "UNet2D1D": CINE, "UNet2D2D": CINE, "UNet3D_old": CINE, "VarNet": KSPACE, "UNet": KSPACE,
    "VarNetRCAN": CASCADE, "UNet2D": SLICES, "VolumeUNet": VOLUMES, "ResUNet": PAIRS,
}  # fmt: skip
NAMES = {  # where a notebook's losses and metrics have their names
    CINE: "lib.keras", KSPACE: "lib.losses", CASCADE: "lib.losses", SLICES: "lib.seg_losses", PAIRS: "lib.seg_losses",
    VOLUMES: "lib.seg_losses",
}  # fmt: skip
NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"  # a task's name: it becomes a folder's
WORDS = {
    "int": "an integer", "float": "a number", "str": "a text", "bool": "true or false", "path": "a path",
    "list": "a list", "dict": "a mapping", "None": "null",
}  # fmt: skip


class Parameter(NamedTuple):
    """One line of a parameters cell: its default, its type as written (`int|None`) and the comment behind it."""

    default: Any
    type: str
    help: str


class _Schema(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


def _number(words: str, **limits: float) -> Any:
    return Field(None, description=words, **limits)


_Share = Annotated[float, Field(ge=0, lt=1)]
_Probability = {"words": "a probability from 0 to 1", "ge": 0, "le": 1}
_AtLeast0, _Above0 = {"words": "a number of at least 0", "ge": 0}, {"words": "a number greater than 0", "gt": 0}


class Optimizer(_Schema):
    """One of torch's optimizers; what is left out has torch's default."""

    type: Literal["Adam", "AdamW", "RMSprop", "SGD"] = Field(description="Adam, AdamW, RMSprop or SGD")
    learning_rate: float = Field(gt=0, description="a number greater than 0")
    weight_decay: float = _number(**_AtLeast0)
    eps: float = _number(**_Above0)
    momentum: float = _number(**_AtLeast0)
    betas: list[_Share] = Field(None, min_length=2, max_length=2, description="two numbers of at least 0 and below 1")
    alpha: _Share = Field(None, description="a number of at least 0 and below 1")
    dampening: float = _number(**_AtLeast0)
    amsgrad: bool = Field(None, description="true or false")
    centered: bool = Field(None, description="true or false")
    nesterov: bool = Field(None, description="true or false")

    @model_validator(mode="after")
    def _fits_type(self):
        _only(self, OPTIMIZERS[self.type])
        return self


OPTIMIZERS = {
    "Adam": ("weight_decay", "eps", "betas", "amsgrad"),
    "AdamW": ("weight_decay", "eps", "betas", "amsgrad"),
    "RMSprop": ("weight_decay", "eps", "alpha", "momentum", "centered"),
    "SGD": ("weight_decay", "momentum", "dampening", "nesterov"),
}


class Scheduler(_Schema):
    """The learning rate over the epochs; what is left out has `lib.train.schedule`'s default."""

    type: Literal["constant", "one_cycle", "step", "exponential"] = Field(
        description="constant, one_cycle, step or exponential"
    )
    step_size: int = _number("an integer of at least 1", ge=1)
    gamma: float = _number("a number greater than 0 and at most 1", gt=0, le=1)
    staircase: bool = Field(None, description="true or false")
    pct_start: float = _number("a number greater than 0 and below 1", gt=0, lt=1)
    div: float = _number("a number of at least 1", ge=1)
    div_final: float = _number("a number of at least 1", ge=1)

    @model_validator(mode="after")
    def _fits_type(self):
        _only(self, SCHEDULERS[self.type])
        return self


SCHEDULERS = {
    "constant": (), "one_cycle": ("pct_start", "div", "div_final"), "step": ("step_size", "gamma"),
    "exponential": ("gamma", "staircase"),
}  # fmt: skip


class EarlyStopping(_Schema):
    """Stop when `monitor` has not improved by `min_delta` for `patience` epochs."""

    use: bool = Field(description="true or false")
    monitor: str = Field(None, min_length=1, description="valid_loss or a metric's name")
    patience: int = _number("an integer of at least 1", ge=1)
    min_delta: float = _number(**_AtLeast0)
    mode: Literal["min", "max"] | None = Field(None, description="min, max or null")


class Regularization(_Schema):
    """A regularisation layer or penalty with its own parameters."""

    type: str | None = Field(None, min_length=1, description="a regularization's name or null")
    parameters: list[float] | None = Field(None, description="a list of numbers or null")


class SamplingMask(_Schema):
    """The settings of `lib.sampling.make_mask` that a task chooses; a list of accelerations is drawn from."""

    kind: str = Field(description="a mask's kind")
    acceleration: float | Annotated[list[Annotated[float, Field(ge=1)]], Field(min_length=1)] = Field(
        None, description="a number of at least 1 or a list of them"
    )
    center_fraction: float = _number("a number greater than 0 and at most 1", gt=0, le=1)
    num_low_frequencies: int = _number("an integer of at least 1", ge=1)
    offset: int = _number("an integer of at least 0", ge=0)

    @field_validator("acceleration")
    @classmethod
    def _at_least_one(cls, value):
        if isinstance(value, float | int) and value < 1:
            raise ValueError
        return value

    @model_validator(mode="after")
    def _one_center(self):
        if (self.center_fraction is None) == (self.num_low_frequencies is None):
            raise ValueError("expected either center_fraction or num_low_frequencies")
        return self


class Augmentation(_Schema):
    """The settings of `lib.data.augment` or `lib.data.cases.augment`: probabilities, pixels, degrees, (height, width)."""

    flip: float = _number(**_Probability)
    half_turn: float = _number(**_Probability)
    quarter_turn: float = _number(**_Probability)
    cutmix: float = _number(**_Probability)
    flips: list[Annotated[float, Field(ge=0, le=1)]] = Field(
        None, min_length=3, max_length=3, description="three probabilities from 0 to 1"
    )
    intensity: float = _number(**_AtLeast0)
    shift: int = _number("an integer of at least 0", ge=0)
    rotate: float = _number("degrees from 0 to 180", ge=0, le=180)
    crop: list[Annotated[int, Field(ge=1)]] | None = Field(
        None, min_length=2, max_length=2, description="[height, width] or null"
    )


OF_IMAGES = ("flip", "rotate", "crop")
AUGMENTATIONS = {  # notebook → the settings that it has
    CASCADE: ("flip", "half_turn", "quarter_turn", "shift", "cutmix"), SLICES: OF_IMAGES, PAIRS: OF_IMAGES,
    VOLUMES: ("flips", "intensity"),
}  # fmt: skip


class SelfEnsemble(_Schema):
    """The settings of `lib.models.cascade.SelfEnsemble`."""

    turns: list[str] = Field(None, min_length=1, description="a list of flips and turns")
    of: Literal["image", "kspace"] = Field(None, description="image or kspace")


class Shared(_Schema):
    """What several notebooks have: one name, one meaning and one range everywhere."""

    task_type: Literal["train", "evaluate", "predict", "train_and_predict"] = Field(
        None, description="train, evaluate, predict or train_and_predict"
    )
    epochs: int = _number("an integer of at least 1", ge=1)
    batch_size: int = _number("an integer of at least 1", ge=1)
    eval_batch_size: int = _number("an integer of at least 1", ge=1)
    steps_per_epoch: int = _number("an integer of at least 1", ge=1)
    checkpoint_interval: int = _number("an integer of at least 1", ge=1)
    num_workers: int = _number("an integer of at least 0", ge=0)
    seed: int = _number("an integer from 0 to 4294967295", ge=0, le=2**32 - 1)  # numpy's range
    gradient_clip: float = _number(**_Above0)
    precision: Literal["fp32", "bf16", "fp16"] = Field(None, description="fp32, bf16 or fp16")
    devices: str | int | list[int | Literal["cpu"]] = Field(
        None, description="auto, cpu, a count of at least 1 or a list of different ids, or of cpu"
    )
    partition: dict[str, int] | list[int] = Field(None, description="{D, H, W} in parts, or five numbers N, D, H, W, C")
    network_type: str = Field(None, description="a network's name")
    network_settings: dict[str, Any] = Field(None, description="a mapping of the network's own keywords")
    loss: str = Field(None, description="a loss's name")
    metrics: list[str] = Field(None, description="a list of metrics' names")
    mask: SamplingMask = Field(None, description="a mapping with kind, acceleration and a centre")
    optimizer: Optimizer = Field(None, description="a mapping with type and learning_rate")
    scheduler: Scheduler = Field(None, description="a mapping with type")
    early_stopping: EarlyStopping = Field(None, description="a mapping with use")
    regularization: Regularization = Field(None, description="a mapping with type and parameters")
    augmentation: Augmentation = Field(None, description="a mapping of probabilities and shift")
    self_ensemble: SelfEnsemble = Field(None, description="a mapping with turns and of")
    foreground_threshold: float = _number(**_AtLeast0)
    normalise: Literal["none", "z_score", "percentile", "unit"] = Field(
        None, description="none, z_score, percentile or unit"
    )
    targets: Literal["index", "one_hot"] = Field(None, description="index or one_hot")
    crops: Literal["around", "uniform", "grid"] = Field(None, description="around, uniform or grid")
    patch: list[Annotated[int, Field(ge=1)]] = Field(
        None, min_length=3, max_length=3, description="three whole numbers of at least 1"
    )
    overlap: float = _number("a share of at least 0 and below 1", ge=0, lt=1)
    crops_per_volume: int = _number("an integer of at least 1", ge=1)
    odd: Literal["pad", "drop"] = Field(None, description="pad or drop")
    split_by: Literal["patient", "image"] = Field(None, description="patient or image")
    sample: Literal["brain", "abdomen"] = Field(None, description="brain or abdomen")
    val: float = _number("a share of at least 0 and below 1", ge=0, lt=1)

    @field_validator("devices")
    @classmethod
    def _devices(cls, value):
        if isinstance(value, list):
            ids = all(isinstance(v, int) and v >= 0 for v in value) and len(set(value)) == len(value)
            good = bool(value) and (ids or set(value) == {"cpu"})
        else:
            good = value in ("auto", "cpu") if isinstance(value, str) else value >= 1
        if not good:
            raise ValueError
        return value


def _only(model: BaseModel, allowed: Iterable[str]) -> None:
    allowed = [name for name in type(model).model_fields if name in ("type", "learning_rate", *allowed)]
    for name in sorted(model.model_fields_set.difference(allowed)):
        raise ValueError(f"{name}: {model.type} has no such setting, it has: {', '.join(allowed)}")


def notebook(name: str) -> Path:
    """The file of a notebook named with or without .ipynb; ECHOTRAIN_NOTEBOOKS may name another folder."""
    folder = Path(os.environ.get("ECHOTRAIN_NOTEBOOKS", ROOT / "notebooks")).resolve()
    path = folder / (name if name.endswith(".ipynb") else f"{name}.ipynb")
    if Path(name).name != name or not path.is_file():
        raise InputError(f"notebook: {choose(name.removesuffix('.ipynb'), [p.stem for p in folder.glob('*.ipynb')])}")
    return path


def choose(name: object, names: Iterable[str]) -> str:
    """The words for a name that isn't among `names`: the nearest ones, then all."""
    names = sorted(names)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f", did you mean {near[0]!r}?" if near else ","
    return f"got {_show(name)}{hint} expected one of: {', '.join(names) or 'none'}"


def parameters(path: Path) -> dict[str, Parameter]:
    """The parameters of a notebook, in its order: the literals of the cell tagged `parameters`.

    Each is `name = literal  # type: TYPE  help`, TYPE one or more of int, float, str, bool, path, list, dict, None
    joined by `|`. Raises InputError where the file is no notebook or the cell holds anything else.
    """
    path = Path(path)
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        tagged = [c for c in cells if "parameters" in c["metadata"].get("tags", ())]
        source = "".join(tagged[0]["source"]) if tagged else ""
        tree = ast.parse(source)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError, SyntaxError) as error:
        raise InputError(f"{path}: no notebook with a readable parameters cell ({error})") from None
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    found = {}
    for statement in tree.body:
        lines = range(statement.lineno, statement.end_lineno + 1)
        typed = [comments[i] for i in lines if comments.get(i, "").startswith("type:")]
        kind, _, text = typed[0].removeprefix("type:").strip().partition(" ") if typed else ("", "", "")
        try:
            (target,) = statement.targets
            found[target.id] = Parameter(ast.literal_eval(statement.value), kind, text.strip())
            if not kind or not WORDS.keys() >= set(kind.split("|")):
                raise ValueError
        except (AttributeError, ValueError, TypeError):
            where = f"{path.name}: parameters cell, line {statement.lineno}"
            found_line = source.splitlines()[statement.lineno - 1].strip()
            raise InputError(f"{where}: got {found_line!r}, expected `name = literal  # type: TYPE  help`") from None
    return found


def check(path: Path, values: dict[str, Any], task: str | None = None) -> dict[str, Any]:
    """All parameters of the notebook `path`, `values` over its defaults; InputError names the task and the key."""
    complete = check_values(path, values, task)
    check_names(complete, task or Path(path).stem)
    return complete


def check_values(path: Path, values: dict[str, Any], task: str | None = None) -> dict[str, Any]:
    """The quick part of `check`: names, types and ranges, without importing torch."""
    where, known = f"task {task}" if task else Path(path).stem, parameters(path)
    for name in values:
        if name not in known:
            raise InputError(f"{where}: unknown parameter of {Path(path).stem}: {choose(name, known)}")
    complete = {name: parameter.default for name, parameter in known.items()} | values
    for name, value in complete.items():
        complete[name] = _typed(value, known[name].type.split("|"), name, where)
    if complete.get("task_type") in ("predict", "evaluate") and not complete.get("saved_network_weights", True):
        raise InputError(
            f"{where}: task_type {complete['task_type']}: saved_network_weights is missing: whose network?"
        )
    shared = {k: v for k, v in complete.items() if k in Shared.model_fields and v is not None}
    try:
        complete |= Shared.model_validate(shared).model_dump(exclude_unset=True)
    except ValidationError as error:
        raise InputError(f"{where}: {_explain(error.errors()[0], shared | values)}") from None
    for name in complete.get("augmentation") or {}:
        if name not in AUGMENTATIONS.get(Path(path).stem, Augmentation.model_fields):
            raise InputError(f"{where}: augmentation: unknown key: {choose(name, AUGMENTATIONS[Path(path).stem])}")
    return complete


def _typed(value: Any, kinds: list[str], name: str, where: str) -> Any:
    kind = {type(None): "None", bool: "bool", int: "int", float: "float", list: "list", dict: "dict"}.get(type(value))
    if isinstance(value, str | Path):
        kind, value = "path" if isinstance(value, Path) or "str" not in kinds else "str", str(value)
    if kind == "int" and "int" not in kinds:
        kind, value = "float", float(value) if "float" in kinds else value
    if kind not in kinds or (kind == "path" and not value) or (kind == "float" and not math.isfinite(value)):
        field = Shared.model_fields.get(name)
        words = [field.description] if field else [WORDS[k] for k in kinds if k != "None"]
        words += ["null"] if "None" in kinds else []
        raise InputError(f"{where}: {name}: got {_show(value)}, expected {' or '.join(words)}")
    return value


def _explain(error: dict[str, Any], given: dict[str, Any]) -> str:
    """One line for pydantic's first error: the key, what was found, what is expected."""
    keys, model = [k for k in error["loc"] if isinstance(k, str)], Shared
    field, path = model.model_fields[keys[0]], keys[0]
    for key in keys[1:]:
        model = field.annotation
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            break  # inside a union: the field itself says what is expected
        if error["type"] == "extra_forbidden":
            return f"{path}: unknown key: {choose(key, model.model_fields)}"
        field, path = model.model_fields[key], f"{path}.{key}"
    if error["type"] == "missing":
        return f"{path}: missing, expected {field.description}"
    if error["type"] == "value_error" and str(error["ctx"]["error"]):
        return f"{path}.{error['ctx']['error']}"
    value = given
    for key in path.split("."):
        value = value[key]
    return f"{path}: got {_show(value)}, expected {field.description}"


def check_names(complete: dict[str, Any], task: str) -> None:
    """The slow part of `check`: that network, settings, loss, metrics and devices exist. Imports what it needs."""
    where = f"task {task}"
    if complete.get("network_type") is not None:
        import torch

        from lib import models

        if complete["network_type"] not in models.MODELS:
            raise InputError(f"{where}: network_type: {choose(complete['network_type'], models.MODELS)}")
        settings = dict(complete.get("network_settings") or {})
        if "regularization" in settings and "regularization" in complete:
            raise InputError(f"{where}: network_settings: regularization is a parameter of its own: give it there")
        if (complete.get("regularization") or {}).get("type"):
            settings["regularization"] = complete["regularization"]
        try:
            with torch.device("meta"):  # no memory, no time
                models.build(complete["network_type"], **settings)
        except InputError as error:
            raise InputError(f"{where}: network_settings: {error}") from None
    try:
        names = importlib.import_module(NAMES[IMPLIED.get(complete.get("network_type"), KSPACE)])
        if complete.get("loss") is not None:
            names.by_name(complete["loss"])
        for name in complete.get("metrics") or ():
            names.training_metric(name)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    if complete.get("mask"):
        from lib.sampling import KINDS

        if complete["mask"]["kind"] not in KINDS:
            raise InputError(f"{where}: mask: kind: {choose(complete['mask']['kind'], KINDS)}")
    if "devices" in complete:
        _check_devices(complete["devices"], complete.get("partition"), where)


def _check_devices(devices: str | int | list, partition: Any, where: str) -> None:
    import torch

    from lib.parallel import mesh

    there, wanted = torch.cuda.device_count(), 0
    if not mesh.on_cpu(devices):
        wanted = max(devices) + 1 if isinstance(devices, list) else devices if isinstance(devices, int) else 1
    if wanted > there:
        raise InputError(
            f"{where}: devices: got {devices}, this machine has {there} GPUs (processes on its CPU: [cpu, cpu])"
        )
    try:
        mesh.shares(devices, mesh.partition_of(partition))
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _show(value: Any) -> str:
    text = repr(str(value) if isinstance(value, Path) else value)
    return "null" if value is None else text if len(text) <= 60 else f"{text[:57]}…"
