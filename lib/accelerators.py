"""The one place that knows accelerators by name: which there is, its memory, its random numbers, what suits it.

`torch.accelerator` tells what a machine has: "cuda" is NVIDIA's CUDA and AMD's ROCm, "xpu" Intel's, "mps" Apple's. All
functions take a CPU, too, so that nothing else asks which device it is on.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor


def kind() -> str:
    """The kind of this machine's accelerator: cuda, xpu, mps; "cpu" without one."""
    if torch.cuda.is_available():
        return "cuda"
    found = torch.accelerator.current_accelerator(check_available=True)
    return found.type if found else "cpu"


def count() -> int:
    """How many accelerators this machine shows this process."""
    return torch.cuda.device_count() or (0 if kind() == "cpu" else _of(kind()).device_count())


def names() -> list[str]:
    """What they are called."""
    name = getattr(_of(kind()), "get_device_name", lambda _: kind())
    return [name(i) for i in range(count())]


def use(number: int) -> torch.device:
    """The accelerator of a number, as torch's current one: else pinned memory and the like would take room on the first, too."""
    device = torch.device(kind(), number)
    if choose := _function(device, "set_device"):
        choose(number)
    return device


def is_accelerator(device: torch.device | str) -> bool:
    """Whether a device isn't the CPU: it computes beside it, has memory of its own, and wants its batches brought."""
    return torch.device(device).type != "cpu"


def pins(device: torch.device | str) -> bool:
    """Whether batches for a device are worth reading ahead, into pinned memory, from which it fetches them by itself."""
    return torch.device(device).type in ("cuda", "xpu")


def empty_cache() -> None:
    """Gives back what torch keeps of the accelerator's memory, for other processes."""
    if empty := _function(torch.device(kind()), "empty_cache"):
        empty()


def synchronize(device: torch.device) -> None:
    """Waits until an accelerator has done all that it was given, so that a clock can be read."""
    if wait := _function(device, "synchronize"):
        wait()


def held(device: torch.device) -> int:
    """The bytes that tensors hold on an accelerator now; 0 where its kind doesn't count them."""
    now = _function(device, "memory_allocated")
    return int(now(device)) if now else 0


def start_peak(device: torch.device) -> None:
    """Begins to measure the most memory held on an accelerator, where its kind does that."""
    if reset := _function(device, "reset_peak_memory_stats"):
        reset(device)


def peak(device: torch.device) -> int | None:
    """The most bytes held on an accelerator since `start_peak`; None where its kind doesn't count them."""
    most = _function(device, "max_memory_allocated")
    return int(most(device)) if most else None


def switch_on(name: str) -> Callable[[], None]:
    """Matrix products in TF32 ("tf32"), or cuDNN's search for the fastest algorithm ("benchmark"); gives what undoes it."""
    where, field, value = {
        "tf32": (torch.backends.cuda.matmul, "fp32_precision", "tf32"),
        "benchmark": (torch.backends.cudnn, "benchmark", True),
    }[name]
    before = getattr(where, field)
    setattr(where, field, value)
    return lambda: setattr(where, field, before)


def random_state(device: torch.device) -> Tensor | None:
    """The state of an accelerator's random numbers; None of the CPU, whose state is torch's own."""
    state = _function(device, "get_rng_state")
    return state(device) if state else None


def set_random_state(device: torch.device, state: Tensor) -> None:
    """Puts such a state back, on a device of whatever number."""
    _of(device.type).set_rng_state(state, device)


def random_states_kept(device: torch.device) -> AbstractContextManager[None]:
    """Within, random numbers may be drawn on a device and the CPU: their states are put back afterwards."""
    if random_state(device) is None:
        return torch.random.fork_rng([])
    return torch.random.fork_rng([device], device_type=device.type)


def _function(device: torch.device, name: str) -> Any:
    """A function of torch's module of an accelerator; None where it has none, and of the CPU."""
    return getattr(_of(device.type), name, None) if is_accelerator(device) else None


def _of(kind: str) -> Any:
    """torch's module of a kind of device, such as torch.cuda."""
    return getattr(torch, kind, torch.cpu)
