"""What a task's parameters may be: one name, one meaning and one range in all notebooks, checked by pydantic."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


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
    """The learning rate over the epochs; what is left out has `lib.training.schedule`'s default."""

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
    """A regularization layer or penalty with its own parameters."""

    type: str | None = Field(None, min_length=1, description="a regularization's name or null")
    parameters: list[float] | None = Field(None, description="a list of numbers or null")


class SamplingMask(_Schema):
    """The settings of `lib.kspace.sampling.make_mask` that a task chooses; a list of accelerations is drawn from."""

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
    """The settings of `lib.data.kspace_augment` or `lib.data.slice_augment.augment_slice`: probabilities, pixels, degrees, (height, width)."""

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


class SelfEnsemble(_Schema):
    """The settings of `lib.models.varnet_rcan.SelfEnsemble`."""

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
    mask: SamplingMask = Field(None, description="a mapping with kind, acceleration and a center")
    optimizer: Optimizer = Field(None, description="a mapping with type and learning_rate")
    scheduler: Scheduler = Field(None, description="a mapping with type")
    early_stopping: EarlyStopping = Field(None, description="a mapping with use")
    regularization: Regularization = Field(None, description="a mapping with type and parameters")
    augmentation: Augmentation = Field(None, description="a mapping of probabilities and shift")
    self_ensemble: SelfEnsemble = Field(None, description="a mapping with turns and of")
    foreground_threshold: float = _number(**_AtLeast0)
    normalize: Literal["none", "z_score", "percentile", "unit"] = Field(
        None, description="none, z_score, percentile or unit"
    )
    targets: Literal["index", "one_hot"] = Field(None, description="index or one_hot")
    crops: Literal["around", "uniform", "grid"] = Field(None, description="around, uniform or grid")
    patch: list[Annotated[int, Field(ge=1)]] = Field(
        None, min_length=3, max_length=3, description="three whole numbers of at least 1"
    )
    overlap: float = _number("a share of at least 0 and below 1", ge=0, lt=1)
    crop_overlap: float = _number("a share of at least 0 and below 1", ge=0, lt=1)
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
