"""Weights from files into networks, with a word on what doesn't fit."""

from pathlib import Path

import torch
from torch import Tensor, nn

from lib import InputError, short


def tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, or of a .pt file's state_dict, of which nothing else is run or read.

    InputError: no such file, or another kind of file.
    """
    if not path.is_file():
        raise InputError(f"{short(path)}: no such file of weights")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(f"{short(path)}: not a file of weights ({type(error).__name__})") from None
    found = found if isinstance(found, dict) else {}
    return found.get("state_dict", found.get("model", found))  # "model": a checkpoint of ours


def fill(model: nn.Module, found: dict[str, Tensor], path: Path) -> nn.Module:
    """The model with the tensors `found` in `path`; InputError naming the first keys that don't fit."""
    wanted = model.state_dict()
    wrong = [f"{k} is missing" for k in wanted if k not in found]
    wrong += [f"{k} is too many" for k in found if k not in wanted]
    wrong += [
        f"{k} is {tuple(found[k].shape)}, expected {tuple(v.shape)}"
        for k, v in wanted.items()
        if k in found and found[k].shape != v.shape
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise InputError(f"{short(path)}: weights don't fit {type(model).__name__}: {'; '.join(wrong[:3])}{more}")
    model.load_state_dict(found, strict=True)
    return model
