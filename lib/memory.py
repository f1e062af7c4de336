"""How much memory a training step needs: computed without running it, and measured after it ran."""

import weakref
from collections.abc import Callable, Iterable

import psutil
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lib import accelerators, system


class _Live(TorchDispatchMode):
    """Counts the bytes of all storages that are alive, but those of `apart`, and the most that were at a time."""

    def __init__(self, apart: Iterable[Tensor]):
        super().__init__()
        self.apart = {t.untyped_storage()._cdata for t in apart}
        self.seen: dict[int, int] = {}
        self.now = self.most = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage._cdata not in self.seen and storage._cdata not in self.apart:
            self.seen[storage._cdata] = storage.nbytes()
            self.now += storage.nbytes()
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self._drop, storage._cdata)

    def _drop(self, key: int) -> None:
        self.now -= self.seen.pop(key)


def training_bytes(build: Callable[[], nn.Module], *inputs: tuple[int, ...] | Tensor) -> dict[str, int]:
    """Bytes of a training step in float32, computed with tensors that hold no data.

    A library's work space comes on top.

    Parameters
    ----------
    build : makes the network
    *inputs : of the network: shapes of float32 tensors, or tensors, of which only shape and type count

    Returns
    -------
    `parameters`: weights, gradients and Adam's two states per weight. `activations`: the most bytes of all other tensors
    that are alive at a time in forward and backward pass, gradients of activations and, with gradient checkpointing,
    what is computed again included.
    """
    with torch.device("meta"):
        model, given = build().train(), [torch.empty(x) if isinstance(x, tuple) else x.to("meta") for x in inputs]
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.empty_like(parameter)
    apart = [t for p in model.parameters() for t in (p, p.grad)]
    with _Live(apart) as live:
        for x in given:
            live._count(x.untyped_storage())
        model(*given).sum().backward()
    return {"parameters": 4 * weights, "activations": live.most}


def peak_memory(call: Callable[[], object]) -> int:
    """The most bytes that arrays made by a call hold at a time; it runs once, and a library's work space isn't counted."""
    with _Live(()) as live:
        call()
    return live.most


class Peak:
    """The most bytes held since it was made: `Peak(device).bytes()`, on the GPU, or resident in RAM beyond the start.

    The system's mark of the most RAM ever held can't be set back: after something larger in the same process it is None.
    """

    def __init__(self, device: torch.device):
        self.device = device
        accelerators.start_peak(device)
        self.before, self.mark = psutil.Process().memory_info().rss, system.most_memory()

    def bytes(self) -> int | None:
        if accelerators.is_accelerator(self.device):
            return accelerators.peak(self.device)
        return system.most_memory() - self.before if system.most_memory() > self.mark else None
