"""What a task's parameters may be: one name, one meaning and one range in all notebooks, checked by pydantic."""

from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic.fields import FieldInfo

Count = Annotated[int, Field(ge=1)]
Index = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
Probability = Annotated[float, Field(ge=0, le=1)]


class Schema(BaseModel):
    """Of exactly these keys and types; NaN and inf are no numbers. What is left out has the default of who reads it."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


def expected(field: FieldInfo) -> str:
    """What a field may be, in words: its description, else by its type and limits, such as "an integer of at least 1"."""
    kind, limits = field.annotation, {k: getattr(m, k) for k in _LIMITS for m in field.metadata if hasattr(m, k)}
    if field.description:
        return field.description
    if get_origin(kind) is Literal:
        *others, last = get_args(kind)
        return f"{', '.join(others)} or {last}"
    if {"ge", "le"} <= limits.keys():
        return f"{_TYPES[kind]} from {limits['ge']} to {limits['le']}"
    return " ".join([_TYPES[kind], " and ".join(f"{_LIMITS[k]} {v}" for k, v in limits.items())]).strip()


_TYPES = {bool: "true or false", int: "an integer", float: "a number"}
_LIMITS = {"gt": "greater than", "ge": "of at least", "lt": "below", "le": "at most"}


class _OfType(Schema):
    """Settings of which each `type` has some, as listed."""

    settings: ClassVar[dict[str, tuple[str, ...]]]
    type: str

    @model_validator(mode="after")
    def _fits_type(self):
        has = ("type", "learning_rate", *self.settings[self.type])
        allowed = [name for name in type(self).model_fields if name in has]
        for name in sorted(self.model_fields_set.difference(allowed)):
            raise ValueError(f"{name}: {self.type} has no such setting, it has: {', '.join(allowed)}")
        return self


class Optimizer(_OfType):
    """One of torch's optimizers; what is left out has torch's default."""

    type: Literal["Adam", "AdamW", "RMSprop", "SGD"]
    learning_rate: Positive
    weight_decay: NotNegative = None
    eps: Positive = None
    momentum: NotNegative = None
    betas: list[Share] = Field(None, min_length=2, max_length=2, description="two numbers of at least 0 and below 1")
    alpha: Share = None
    dampening: NotNegative = None
    amsgrad: bool = None
    centered: bool = None
    nesterov: bool = None
    foreach: bool = None
    fused: bool = None

    settings = {
        "Adam": ("weight_decay", "eps", "betas", "amsgrad", "foreach", "fused"),
        "AdamW": ("weight_decay", "eps", "betas", "amsgrad", "foreach", "fused"),
        "RMSprop": ("weight_decay", "eps", "alpha", "momentum", "centered", "foreach"),
        "SGD": ("weight_decay", "momentum", "dampening", "nesterov", "foreach", "fused"),
    }  # fmt: skip

    @model_validator(mode="after")
    def _one_way(self):
        if self.foreach and self.fused:
            raise ValueError("fused: not with foreach, they are two ways of the same step")
        return self


class Scheduler(_OfType):
    """The learning rate over the epochs; what is left out has `lib.training.schedule`'s default."""

    type: Literal["constant", "one_cycle", "step", "exponential"]
    step_size: Count = None
    gamma: float = Field(None, gt=0, le=1)
    staircase: bool = None
    pct_start: float = Field(None, gt=0, lt=1)
    div: float = Field(None, ge=1)
    div_final: float = Field(None, ge=1)

    settings = {
        "constant": (), "one_cycle": ("pct_start", "div", "div_final"), "step": ("step_size", "gamma"),
        "exponential": ("gamma", "staircase"),
    }  # fmt: skip


class EarlyStopping(Schema):
    """Stop when `monitor` has not improved by `min_delta` for `patience` epochs."""

    use: bool
    monitor: str = Field(None, min_length=1, description="valid_loss or a metric's name")
    patience: Count = None
    min_delta: NotNegative = None
    mode: Literal["min", "max"] | None = Field(None, description="min, max or null")


class Regularization(Schema):
    """A regularization layer or penalty with its own parameters."""

    type: str | None = Field(None, min_length=1, description="a regularization's name or null")
    parameters: list[float] | None = Field(None, description="a list of numbers or null")


class SamplingMask(Schema):
    """The settings of `lib.kspace.sampling.make_mask` that a task chooses; a list of accelerations is drawn from."""

    kind: str = Field(description="a mask's kind")
    acceleration: float | Annotated[list[Annotated[float, Field(ge=1)]], Field(min_length=1)] = Field(
        None, description="a number of at least 1 or a list of them"
    )
    center_fraction: float = Field(None, gt=0, le=1)
    num_low_frequencies: Count = None
    offset: Index = None

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


class Augmentation(Schema):
    """The settings of `lib.data.kspace_augment` or `lib.data.slice_augment.augment_slice`: probabilities, pixels, degrees, (height, width)."""

    flip: Probability = None
    half_turn: Probability = None
    quarter_turn: Probability = None
    cutmix: Probability = None
    flips: list[Probability] = Field(None, min_length=3, max_length=3, description="three numbers from 0 to 1")
    intensity: NotNegative = None
    shift: Index = None
    rotate: float = Field(None, ge=0, le=180, description="degrees from 0 to 180")
    scale: Probability = None
    gamma: NotNegative = None
    crop: list[Count] | None = Field(None, min_length=2, max_length=2, description="[height, width] or null")


class SelfEnsemble(Schema):
    """The settings of `lib.models.varnet_rcan.SelfEnsemble`."""

    turns: list[str] = Field(None, min_length=1, description="a list of flips and turns")
    of: Literal["image", "kspace"] = None


class Shared(Schema):
    """What several notebooks have: one name, one meaning and one range everywhere."""

    predict_split: Literal["val", "test"] = None
    epochs: Count = None
    batch_size: Count = None
    eval_batch_size: Count = None
    steps_per_epoch: Count = None
    checkpoint_interval: Count = None
    num_workers: Index = None
    seed: int = Field(None, ge=0, le=2**32 - 1)  # numpy's range
    gradient_clip: Positive = None
    precision: Literal["fp32", "bf16", "fp16"] = None
    speedups: list[Literal["compile", "tf32", "benchmark", "channels_last"]] = Field(
        None, description="a list of compile, tf32, benchmark, channels_last"
    )
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
    foreground_threshold: NotNegative = None
    normalize: Literal["none", "z_score", "percentile", "unit"] = None
    targets: Literal["index", "one_hot"] = None
    crops: Literal["around", "uniform", "grid"] = None
    patch: list[Count] = Field(None, min_length=3, max_length=3, description="three whole numbers of at least 1")
    overlap: Share = None
    crop_overlap: Share = None
    crops_per_volume: Count = None
    train_cases: Count = None
    test_time_flips: list[Literal["D", "H", "W"]] = Field(
        None, description="a list of axes: D, H, W of volumes, H, W of slices"
    )
    odd: Literal["pad", "drop"] = None
    split_by: Literal["patient", "image"] = None
    sample: Literal["hippocampus", "brain", "abdomen", "ventricle", "lesions"] = None
    val: Share = None

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
