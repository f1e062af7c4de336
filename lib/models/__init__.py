"""The networks by name: `build("VarNet", num_cascades=8)`.

A new network is one file here and one line in MODELS. Classes are named by their module and loaded when they are built,
so that a network with a heavy library costs nothing until it is used.
"""

import importlib
import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from lib import InputError
from lib.text import did_you_mean

MODELS: dict[str, str | Callable[..., nn.Module]] = {
    "UNet3D": "lib.models.cine_unet:UNet3D",
    "UNet2D1D": "lib.models.cine_unet:UNet2D1D",
    "UNet2D2D": "lib.models.cine_unet:UNet2D2D",
    "UNet3D_old": "lib.models.cine_unet:UNet3D_old",
    "UNet": "lib.models.fastmri_unet:UNet",
    "VarNet": "lib.models.varnet:VarNet",
    "RCAN": "lib.models.rcan:RCAN",
    "VarNetRCAN": "lib.models.varnet_rcan:VarNetRCAN",
    "UNet2D": "lib.models.unet2d:UNet2D",
    "VolumeUNet": "lib.models.unet3d:VolumeUNet",
    "ResUNet": "lib.models.resunet:ResUNet",
}


# Settings that are another network's, and which of those follow from the rest.
PARTS = {"VarNetRCAN": {"varnet": ("VarNet", ()), "rcan": ("RCAN", ("in_chans",))}}


def complete(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Settings with the network's defaults for what is left out, those of its parts too."""
    defaults = {k: p.default for k, p in inspect.signature(_network(name)).parameters.items()}
    settings = {k: list(v) if isinstance(v, tuple) else v for k, v in (defaults | settings).items()}  # as JSON has them
    for key, (part, follow) in PARTS.get(name, {}).items():
        inner = complete(part, settings[key] or {})
        settings[key] = {k: v for k, v in inner.items() if k not in follow}
    return settings


def known(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Those of the settings that the network has."""
    there = inspect.signature(_network(name)).parameters
    return {key: value for key, value in settings.items() if key in there}


def build(name: str, /, **settings) -> nn.Module:
    """The network `name` of MODELS with its published defaults but for `settings`, its own keywords.

    A batch norm takes a batch of one value a channel, too (`lib.models.blocks.steady`).
    Raises InputError for an unknown name or setting and for settings that no network can be built with.
    """
    from lib.models.blocks import steady

    network = _network(name)
    known = inspect.signature(network).parameters
    for key in settings:
        if key not in known:
            raise InputError(
                f"{name}: setting {key!r} is unknown: {did_you_mean(key, known)}expected one of {', '.join(known) or 'none'}"
            )
    try:
        return steady(network(**settings))
    except InputError:
        raise
    except (ArithmeticError, MemoryError, RuntimeError, TypeError, ValueError) as error:
        given = ", ".join(f"{key}={value!r}" for key, value in settings.items())
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"{name}({given}) can't be built: {reason}") from error


def _network(name: str) -> Callable[..., nn.Module]:
    if name not in MODELS:
        raise InputError(
            f"network {name!r} is unknown: {did_you_mean(name, MODELS)}expected one of {', '.join(MODELS)}"
        )
    network = MODELS[name]
    if isinstance(network, str):
        module, _, attribute = network.partition(":")
        network = getattr(importlib.import_module(module), attribute)
    return network
