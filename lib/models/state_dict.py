"""Weights from files into networks, with a word on what doesn't fit."""

import argparse
import pathlib
import re
import stat
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lib import InputError
from lib.text import short

WEIGHT_KEYS = (
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "network",
)  # keys under which trainers keep the weights
FREE_BYTES, MOST_COMPRESSED = 1 << 26, 1100  # what a file may claim: these, and so many bytes for each that is stored
COMMON_PREFIX = re.compile(
    r"((module|model|varnet|unet|net|network|_orig_mod)\.)*"
)  # what wrappers put before the names
# Beside the weights arguments and paths may lie, as in SNU's best_model.pt: plain values, whose making runs nothing.
SAFE_CLASSES = [
    argparse.Namespace,
    *(
        (pure, f"{module}.{name}")
        for pure in (pathlib.PurePosixPath, pathlib.PureWindowsPath)
        for module in ("pathlib", "pathlib._local")  # the latter: written by Python 3.13
        for name in (pure.__name__, pure.__name__.removeprefix("Pure"))
    ),
]


def read_torch_file(path: Path) -> Any:
    """What torch.save has put into a file, on the CPU: tensors, plain values, paths and argparse's.

    Nothing else is made or run. InputError: no such file, a damaged one, or one with objects of other types, named.
    """
    _check_file(path)
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                claimed = sum(part.file_size for part in archive.infolist())
            if claimed > FREE_BYTES + MOST_COMPRESSED * (stored := path.stat().st_size):
                found = f"what is in it takes {claimed:,} bytes, {stored:,} are stored"
                raise InputError(short(path), found, f"at most {MOST_COMPRESSED} to one")
        with torch.serialization.safe_globals(SAFE_CLASSES):
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(short(path), "no such file of weights") from None
    except InputError:
        raise
    except Exception as error:
        words = " ".join(str(error).split())
        if match := re.search(r"GLOBAL (\S+)", words):
            kind = match[1].removeprefix("__builtin__.")
            raise InputError(
                short(path),
                f"holds objects of {kind}, which could run code: expected tensors alone; where the file was made, "
                "save the network's state_dict()",
            ) from None
        reason = words.partition(". ")[0][:120]
        raise InputError(short(path), f"damaged, or no file of weights ({type(error).__name__}: {reason})") from None


def _check_file(path: Path) -> None:
    """InputError for a folder, a pipe or a device, whose reading might never end, and for what can't be a path."""
    try:
        kind = path.stat().st_mode
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise InputError(short(path), f"no file of weights: {getattr(error, 'strerror', None) or error}") from None
    if not stat.S_ISREG(kind):
        raise InputError(short(path), "not a file", "a file of weights")


def tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, or of a .pt file's state_dict, alone or in a trainer's checkpoint.

    InputError: no such file, a damaged one, one without weights.
    """
    _check_file(path)
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except FileNotFoundError:
            raise InputError(short(path), "no such file of weights") from None
        except Exception as error:
            raise InputError(short(path), f"damaged, or no file of weights ({error})") from None
    nested = content = read_torch_file(path)
    while isinstance(nested, Mapping) and (keys := [k for k in WEIGHT_KEYS if isinstance(nested.get(k), Mapping)]):
        nested = nested[keys[0]]
    weights = {k: v for k, v in nested.items() if isinstance(v, Tensor)} if isinstance(nested, Mapping) else {}
    if not weights:
        what = f"keys {_some(content)}" if isinstance(content, Mapping) else f"a {type(content).__name__}"
        raise InputError(short(path), f"no weights: got {what}", f"a state_dict, alone or as {WEIGHT_KEYS[0]}")
    return weights


def fill(model: nn.Module, weights: dict[str, Tensor], path: Path) -> nn.Module:
    """The model with the tensors `weights` in `path`; InputError naming the first keys of each side that don't fit.

    A prefix of all names, such as `module.` or `varnet.`, is taken off, and what stands without it is left aside.
    """
    wanted = model.state_dict()
    weights = without_prefix(weights, wanted, path)
    missing, extra = [k for k in wanted if k not in weights], [k for k in weights if k not in wanted]
    wrong = [f"{_some(missing)} missing"] if missing else []
    wrong += [f"{_some(extra)} too many"] if extra else []
    shapes = [(k, tuple(weights[k].shape), tuple(v.shape)) for k, v in wanted.items() if k in weights]
    other = [f"{k} is {stored}, expected {mine}" for k, stored, mine in shapes if stored != mine]
    wrong += [_some(other)] if other else []
    if wrong:
        raise InputError(short(path), f"weights don't fit {type(model).__name__}: {'; '.join(wrong)}")
    model.load_state_dict(weights, strict=True)
    return model


def without_prefix(weights: dict[str, Tensor], wanted: Iterable[str], path: Path) -> dict[str, Tensor]:
    """`weights` without the prefix under which most of the `wanted` names stand: none, a common one, or the only one.

    InputError where two others have as many.
    """
    wanted, counts = set(wanted), Counter()
    for key in weights:
        parts = key.split(".")
        rests = ((".".join(parts[:i]), ".".join(parts[i:])) for i in range(len(parts)))
        counts.update(f"{prefix}." * bool(prefix) for prefix, rest in rests if rest in wanted)
    best = [prefix for prefix, n in counts.items() if n == max(counts.values())]
    prefixes = [p for p in best if COMMON_PREFIX.fullmatch(p)] or best or [""]
    prefix = min(prefixes, key=len)
    if len(prefixes) > 1 and not COMMON_PREFIX.fullmatch(prefix):
        raise InputError(short(path), f"weights of several networks: under {_some(sorted(best))}; expected one")
    return {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}


def settings_in(kind: str, weights: dict[str, Tensor], path: Path) -> dict[str, int]:
    """The settings of a VarNet or UNet that the shapes of its weights tell; {} of other networks and other weights."""
    first = "down_sample_layers.0.layers.0.weight"
    if kind == "UNet":
        weights = without_prefix(weights, [first], path)
        return _unet(weights) if first in weights else {}
    if kind == "VarNet":
        parts = {"": "cascades.0.model.unet.", "sens_": "sens_net.norm_unet.unet."}
        weights = without_prefix(weights, [part + first for part in parts.values()], path)
        if all(part + first in weights for part in parts.values()):
            settings = {"num_cascades": len({k.split(".")[1] for k in weights if k.startswith("cascades.")})}
            for name, part in parts.items():
                inner = _unet({k.removeprefix(part): v for k, v in weights.items() if k.startswith(part)})
                settings |= {f"{name}chans": inner["chans"], f"{name}pools": inner["num_pool_layers"]}
            return settings
    return {}


def _unet(weights: dict[str, Tensor]) -> dict[str, int]:
    chans, in_chans = weights["down_sample_layers.0.layers.0.weight"].shape[:2]
    pools = len({k.split(".")[1] for k in weights if k.startswith("down_sample_layers.")})
    last = weights.get(f"up_conv.{pools - 1}.1.weight")
    settings = {"in_chans": in_chans, "chans": chans, "num_pool_layers": pools}
    return settings | ({} if last is None else {"out_chans": len(last)})


def _some(names: Iterable[object]) -> str:
    """The first three, and how many more."""
    names = [str(name) for name in names]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
