"""How much memory a training step needs: computed without running it, and measured after it ran."""

import json
import resource
import statistics
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import psutil
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lib import ROOT, InputError


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


def training_bytes(build: Callable[[], nn.Module], shape: tuple[int, ...]) -> dict[str, int]:
    """Bytes of a training step in float32 on an input of that shape, computed with tensors that hold no data.

    `parameters`: weights, gradients and Adam's two states a weight. `activations`: the most bytes of
    all other tensors that are alive at a time in forward and backward pass, gradients of activations and, with gradient
    checkpointing, what is computed again included. A library's work space comes on top.
    """
    with torch.device("meta"):
        model, x = build().train(), torch.empty(shape)
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.empty_like(parameter)
    apart = [t for p in model.parameters() for t in (p, p.grad)]
    with _Live(apart) as live:
        live._count(x.untyped_storage())
        model(x).sum().backward()
    return {"parameters": 4 * weights, "activations": live.most}


def most_held(call: Callable[[], object]) -> int:
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
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        self.before, self.mark = psutil.Process().memory_info().rss, _mark()

    def bytes(self) -> int | None:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        return _mark() - self.before if _mark() > self.mark else None


def _mark() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def fresh_step(
    network: str, settings: dict[str, Any], shape: list[int], device: str, seed: int = 0
) -> dict[str, float]:
    """`bytes` and `seconds` of a training step of a cascade in a process of its own, where nothing was held before.

    shape: (1, C, H, W) of its k-space. bytes: of the first step, beyond what the network and its input took: resident
    memory on a CPU, torch's counter on a GPU. seconds: median of three later steps. InputError with the process's last line where it fails.
    """
    request = json.dumps({"network": network, "settings": settings, "shape": shape, "device": device, "seed": seed})
    done = subprocess.run([sys.executable, "-m", "lib.memory", request], capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise InputError(f"a step of {network}: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    return json.loads(done.stdout)


def _step(network: str, settings: dict[str, Any], shape: list[int], device: str, seed: int) -> dict[str, float]:
    from lib.models import build

    torch.manual_seed(seed)
    model = build(network, **settings).train().to(device)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad])
    kspace = torch.randn(shape, dtype=torch.complex64, device=device)
    mask = torch.ones(shape[0], 1, 1, shape[-1], dtype=torch.bool, device=device)
    given = (kspace, mask, torch.rand(shape[0], *shape[2:], device=device))

    def step() -> float:
        begun = time.perf_counter()
        optimizer.zero_grad()
        model(*given).square().mean().backward()
        optimizer.step()
        if given[0].is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - begun

    start = torch.cuda.memory_allocated() if given[0].is_cuda else 0
    peak = Peak(torch.device(device))
    step()
    held = (peak.bytes() or 0) - start  # 0: a step smaller than what importing torch once took leaves no mark
    return {"bytes": held, "seconds": statistics.median(step() for _ in range(3))}


if __name__ == "__main__":
    print(json.dumps(_step(**json.loads(sys.argv[1]))))
