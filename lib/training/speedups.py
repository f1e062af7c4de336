"""What may make a training faster, and changes its numbers slightly: off unless asked for."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from fastai.basics import Callback
from torch import nn

from lib import InputError, accelerators
from lib.models.fastmri_unet import UNet
from lib.models.rcan import RCAN
from lib.parallel import mesh
from lib.text import one_of

LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}  # by the axes of a kernel
ON_ACCELERATORS = ("compile", "tf32", "benchmark")
SPEEDUPS = (*ON_ACCELERATORS, "channels_last")
GRAPHS = 16  # at most for a compiled part: training or not, batches and images of several sizes


class Speedups(Callback):
    """Switches on what may make training faster, and off again when it ends; `Learner.fit` sees to that after errors, too.

    The attribute `ran` names those that were on. A CPU leaves out all but channels_last, several processes leave out compile
    (their layers wait for each other); that is said.

    Parameters
    ----------
    names : some of SPEEDUPS
        compile: torch.compile of the networks, from the second batch on, when nothing more looks into them; of a network
        on k-space of its U-Nets, since coils' images are complex; with gradient checkpointing, block by block.
        tf32: matrix products in TF32, as convolutions are on NVIDIA's GPUs by torch's default: 10 bits of fraction.
        benchmark: cuDNN tries its algorithms for each new size and keeps the fastest.
        channels_last: all channels of a pixel lie beside each other, in weights and what convolutions make of them.

    Raises
    ------
    InputError
        For other names.
    """

    order = 5

    def __init__(self, names: Iterable[str] = ()):
        self.names, self.ran, self.undo, self.later = list(names), [], [], False
        for name in self.names:
            if name not in SPEEDUPS:
                raise InputError(f"speedups: {name!r}", *one_of(name, SPEEDUPS))

    def before_fit(self):
        self.leave()
        place = next(self.model.parameters()).device
        left = {} if accelerators.is_accelerator(place) else dict.fromkeys(ON_ACCELERATORS, "on a CPU")
        left |= {"compile": "in several processes"} if mesh.current().world > 1 else {}
        self.ran = [name for name in self.names if name not in left]
        for name in self.names:
            if name in left:
                print(f"speedups: {name} is left out {left[name]}", flush=True)
            elif name == "compile":
                self.later = True
            else:
                self.undo.append(switch_on(name, self.model))

    def after_batch(self):
        if self.later:
            self.later = False
            self.undo.append(switch_on("compile", self.model))

    def leave(self) -> None:
        """Leaves network and torch as they were."""
        self.later = False
        while self.undo:
            self.undo.pop()()

    after_fit = leave


def switch_on(name: str, model: nn.Module) -> Callable[[], None]:
    """One of SPEEDUPS for a network, wherever it is; gives what undoes it."""
    of_model = {"compile": compile_parts, "channels_last": lay_out}.get(name)
    return of_model(model) if of_model else accelerators.switch_on(name)


def compile_parts(model: nn.Module, **settings: Any) -> Callable[[], None]:
    """torch.compile in place, part by part (see `Speedups`); gives what undoes it and forgets what was compiled.

    Parameters
    ----------
    model : the network
    **settings : of torch.compile
    """
    networks = [part for part in model.modules() if isinstance(part, UNet | RCAN)] or [model]
    parts = [part for network in networks for part in _computed_again(network) or [network]]
    config, before = torch._dynamo.config, torch._dynamo.config.recompile_limit
    config.recompile_limit = max(before, GRAPHS * len(parts))  # torch counts those of all modules together
    for part in parts:
        part.compile(**settings)

    def undo() -> None:
        for part in parts:
            part._compiled_call_impl = None
        config.recompile_limit = before
        torch.compiler.reset()

    return undo


def _computed_again(network: nn.Module) -> list[nn.Module]:
    """The blocks of a network with gradient checkpointing: torch compiles within them, not around them."""
    if not (getattr(network, "checkpointing", False) or getattr(network, "checkpoint_groups", False)):
        return []
    return [block for blocks in network.children() if isinstance(blocks, nn.ModuleList) for block in blocks]


def lay_out(model: nn.Module) -> Callable[[], None]:
    """The weights of 2-D and 3-D convolutions with their channels last in memory; gives what undoes it."""
    kernels = [weight for weight in model.parameters() if weight.ndim in LAYOUTS]
    for weight in kernels:
        weight.data = weight.data.contiguous(memory_format=LAYOUTS[weight.ndim])

    def undo() -> None:
        for weight in kernels:
            weight.data = weight.data.contiguous()

    return undo
