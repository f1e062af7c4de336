"""The networks by name. A new one is one file here and one line in MODELS; loading this costs no torch."""

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

from lib import InputError
from lib.models import own
from lib.models.families import FAMILIES
from lib.text import one_of

if TYPE_CHECKING:
    from torch import nn

MOST = 1024  # channels, levels, blocks …: a network of more is built for hours, or not at all
Count = Annotated[int, "1 to MOST"]  # what most settings of networks are
_KINDS = {  # what `build` checks, by annotation
    Count: (Integral, f"a whole number from 1 to {MOST}"), int: (Integral, "a whole number"), float: (Real, "a number"),
    bool: (bool, "true or false"),
}  # fmt: skip
_CANT_BE_BUILT = (ArithmeticError, MemoryError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True)
class Network:
    """A line of MODELS.

    Parameters
    ----------
    where : "module:Class" (a module without a dot lies in lib.models), loaded when the network is built, or the class
    family : one of FAMILIES; None of a network that no notebook trains
    batch : what it is fed, one of the family's batches; None: the usual one
    tiny : settings for a quick try
    parts : settings that are another network's: {setting: (network, those of its settings that follow from the rest)}
    file : a network of one's own is from, if it isn't a package's

    Raises
    ------
    InputError
        For another family or batch.
    """

    where: "str | Callable[..., nn.Module]"
    family: str | None = None
    batch: str | None = None
    tiny: Mapping[str, Any] = field(default_factory=dict)
    parts: Mapping[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    file: Path | None = None

    def __post_init__(self):
        if not callable(self.where) and not (isinstance(self.where, str) and ":" in self.where):
            raise InputError("MODELS", f"got {self.where!r}", "a Network, a class or 'module:Class'")
        if self.family is not None and self.family not in FAMILIES:
            raise InputError(f"MODELS: family {self.family!r}", *one_of(self.family, FAMILIES))
        batches = FAMILIES[self.family].batches if self.family else (None,)
        if self.batch is None:
            object.__setattr__(self, "batch", batches[0])
        elif self.batch not in batches:
            raise InputError("MODELS", f"batch {self.batch!r}: a network of {self.family} has {' or '.join(batches)}")

    def load(self) -> "Callable[..., nn.Module]":
        """Its class."""
        if not isinstance(self.where, str):
            return self.where
        module, _, name = self.where.partition(":")
        return getattr(importlib.import_module(module if "." in module else f"lib.models.{module}"), name)


_CINE = {"base_filters": 2, "depth": 3}
MODELS: "dict[str, Network | str | Callable[..., nn.Module]]" = {
    "UNet3D": Network("cine_unet:UNet3D", "cine", tiny=_CINE),
    "UNet2D1D": Network("cine_unet:UNet2D1D", "cine", tiny=_CINE),
    "UNet2D2D": Network("cine_unet:UNet2D2D", "cine", tiny=_CINE),
    "UNet3D_old": Network("cine_unet:UNet3D_old", "cine", tiny=_CINE),
    "UNet": Network("fastmri_unet:UNet", "kspace", "image", tiny={"chans": 2}),
    "VarNet": Network(
        "varnet:VarNet", "kspace", tiny={"num_cascades": 1, "chans": 2, "pools": 2, "sens_chans": 2, "sens_pools": 2}
    ),
    "SenseUNet": Network("sense_unet:SenseUNet", "kspace", tiny={"chans": 2, "pools": 2}),
    "RCAN": Network("rcan:RCAN"),
    "VarNetRCAN": Network(
        "varnet_rcan:VarNetRCAN", "cascade",
        tiny={"rcan": {"n_feats": 8, "n_resblocks": 1, "n_resgroups": 2, "reduction": 4}},
        parts={"varnet": ("VarNet", ()), "rcan": ("RCAN", ("in_chans",))},
    ),
    "UNet2D": Network("unet2d:UNet2D", "slices", tiny={"base_filters": 4, "depth": 2}),
    "VolumeUNet": Network("unet3d:VolumeUNet", "volumes", tiny={"base_filters": 2, "depth": 3}),
    "ResUNet": Network("resunet:ResUNet", "pairs"),
}  # fmt: skip


def entry(network: "str | nn.Module") -> Network:
    """The line of MODELS of a network or its name; a bare class counts as one of no family. Of one's own one is made."""
    network = network if isinstance(network, str) else name_of(network)
    if own.is_own(network):
        found = own.find(network)
        tiny = getattr(found.network, "tiny", {})
        return Network(found.network, own.INPUTS[found.input], found.input, tiny, file=found.file)
    if network not in MODELS:
        raise InputError(f"network {network!r} is unknown", *one_of(network, MODELS))
    line = MODELS[network]
    return line if isinstance(line, Network) else Network(line)


def name_of(network: "nn.Module") -> str:
    """The name by which a network was built, else its class's, or that of the class in MODELS which it extends."""
    names = [getattr(network, "network_type", ""), *(kind.__name__ for kind in type(network).__mro__)]
    return next(filter(is_known, names), names[1])


def is_known(name: Any) -> bool:
    """Whether a name stands in MODELS, or is one of a network of one's own."""
    return name in MODELS or own.is_own(name)


def family_of(name: Any, notebook: str = "") -> str:
    """The family of the network `name`; where it has none, the one that `notebook` trains; "" where neither tells."""
    mine = entry(name).family if is_known(name) else None
    return mine or next((name for name, family in FAMILIES.items() if family.notebook == notebook), "")


def notebook_of(name: Any) -> str | None:
    """The notebook that trains the network `name`; None where there is no such network, or none trains it."""
    family = family_of(name)
    return FAMILIES[family].notebook if family else None


def complete(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Settings with the network's defaults for what is left out, its parts' too; tuples as lists, as JSON has them."""
    line = entry(name)
    if own.is_own(name):
        return own.defaults(line.where) | own.settings_of(line.where, line.batch, settings)
    defaults = {k: p.default for k, p in inspect.signature(line.load()).parameters.items()}
    settings = {k: list(v) if isinstance(v, tuple) else v for k, v in (defaults | settings).items()}  # as JSON has them
    for key, (part, follow) in line.parts.items():
        inner = complete(part, settings[key] or {})
        settings[key] = {k: v for k, v in inner.items() if k not in follow}
    return settings


def known(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Those of the settings that the network has."""
    parameters = inspect.signature(entry(name).load()).parameters
    return {key: value for key, value in settings.items() if key in parameters}


def tiny(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """`settings` at the size of a quick try."""
    return settings | entry(name).tiny


def build(name: str, /, **settings) -> "nn.Module":
    """A network with its published defaults.

    A batch norm takes a batch of one value per channel, too (`lib.models.blocks.steady`).

    Parameters
    ----------
    name : one of MODELS
    **settings : the network's own keywords
        Those annotated int, float, bool, Count or Literal are checked against that.

    Raises
    ------
    InputError
        For an unknown name or setting, with the nearest one, and for settings that no network can be built with.
    """
    line = entry(name)
    network = line.load()
    if own.is_own(name):
        settings = own.settings_of(network, line.batch, settings)
    has = inspect.signature(network).parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in has.values())
    name_shown, expected_errors = own.shown(name), Exception if own.is_own(name) else _CANT_BE_BUILT
    for key in settings:
        if key not in has and open_ended:
            continue
        if key not in has:
            raise InputError(f"{name_shown}: setting {key!r} is unknown", *one_of(key, has))
        if settings[key] is not has[key].default and (expected := _expected(settings[key], has[key].annotation)):
            raise InputError(name_shown, f"{key} is {settings[key]!r}", expected)
    from lib.models.blocks import steady

    try:
        model = steady(network(**settings))
    except InputError:
        raise
    except expected_errors as error:
        given = ", ".join(f"{key}={value!r}" for key, value in settings.items())
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"{name_shown}({given}) can't be built", reason) from error
    model.network_type = name
    return model


def _expected(value: Any, annotation: Any) -> str:
    """What a setting is annotated to be, if `value` isn't; "" for annotations that aren't checked."""
    if get_origin(annotation) is Literal:
        *others, last = get_args(annotation)
        return "" if value in (*others, last) else f"{', '.join(others)} or {last}"
    if annotation not in _KINDS:
        return ""
    kind, expected = _KINDS[annotation]
    fits = isinstance(value, kind) and isinstance(value, bool) == (kind is bool)
    return "" if fits and (annotation is not Count or 1 <= value <= MOST) else expected
