"""The networks by name. A new one is a file here and a line in MODELS."""

import difflib
import importlib
import inspect
from typing import Any

from torch import nn

from lib import InputError

MODELS = {"UNet": "unet", "VarNet": "varnet"}  # class → its module


def build(name: str, **settings: Any) -> nn.Module:
    """The network `name` of MODELS with its settings; InputError for an unknown name or setting, or a senseless one."""
    if name not in MODELS:
        raise InputError(f"network {name!r}: {_hint(name, MODELS)}")
    cls = getattr(importlib.import_module(f"lib.models.{MODELS[name]}"), name)
    allowed = inspect.signature(cls).parameters
    for key, value in settings.items():
        if key not in allowed:
            raise InputError(f"{name} setting {key!r}: {_hint(key, allowed)}")
        default = allowed[key].default
        if isinstance(default, int) and not isinstance(default, bool) and (not _whole(value) or value < 1):
            raise InputError(f"{name} setting {key}: got {value!r}, expected an integer of at least 1")
    try:
        return cls(**settings)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: {settings} doesn't make a network: {error}") from None


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _hint(name: str, known) -> str:
    near = difflib.get_close_matches(str(name), list(known), 1, 0.4)
    return (f"did you mean {near[0]!r}? " if near else "") + f"expected one of {', '.join(known)}"
