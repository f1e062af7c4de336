"""A network as a table of its parts."""

from typing import Any

import pandas as pd
import torch
from torch import nn


@torch.no_grad()
def stages(model: nn.Module, *inputs: Any) -> pd.DataFrame:
    """One row per part of the network, in the order in which they work: its output's size and its parameters.

    Parameters
    ----------
    model : left in the mode in which it was
    *inputs : what its forward takes, for example a batch of one
    """
    rows, hooks, training = {}, [], model.training
    for name, part in model.named_modules():
        if "." in name or (name and not list(part.children())):

            def note(part: nn.Module, inputs: Any, output: Any, name: str = name) -> None:
                count = sum(p.numel() for p in part.parameters())
                size = "×".join(map(str, output.shape[1:])) if hasattr(output, "shape") else ""
                rows[name] = {"part": name, "output": size, "parameters": count}

            hooks.append(part.register_forward_hook(note))
    try:
        model.eval()(*inputs)
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    inner = [n for n in rows if any(n.startswith(f"{outer}.") for outer in rows)]  # parts of parts
    total = sum(p.numel() for p in model.parameters())
    return pd.DataFrame(
        [*(rows[n] for n in rows if n not in inner), {"part": "all", "output": "", "parameters": total}]
    ).set_index("part")
