"""Where a VarNet's training step spends its time, on paper: what each part computes, moves and launches.

`python -m tools.roofline` works out the tables of docs/devices.md. The network runs forward and backward on tensors that hold no
data; nothing is measured. A part's least time on a device is the longest of three: its operations at the device's peak, its
bytes at the memory's bandwidth, its kernels at 5 µs each, one after the other as eager torch launches them.
"""

import math
import warnings
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from lib import ROOT, memory
from lib.files import read, write
from lib.models import build
from tools.tables import table

SHAPE = (1, 15, 640, 368)  # of a fastMRI knee: samples, coils, readout, phase encode
LAUNCH = 5e-6  # seconds
RESULT = ROOT / "runs" / "results" / "roofline.json"
CHANGES = {
    "as published": {}, "checkpointing: true": {"checkpointing": True}, "readout_crop: 320": {"readout_crop": 320},
    "both": {"checkpointing": True, "readout_crop": 320},
}  # fmt: skip
VIEWS = ("view", "reshape", "unsqueeze", "squeeze", "expand", "slice", "select", "permute", "transpose", "t", "split", "detach",
         "alias", "as_strided", "unbind", "empty", "zeros", "view_as_real", "view_as_complex", "_unsafe_view", "real", "imag",
         "_conj", "empty_like", "new_empty_strided", "_reshape_alias")  # fmt: skip


class Device(NamedTuple):
    """Peak of float32 (tensor cores: TF32) in FLOP/s, and of the memory in bytes/s, by its data sheet."""

    name: str
    plain: float
    tensor: float
    bandwidth: float


DEVICES = (
    Device("A100 80 GB", 19.5e12, 156e12, 2.039e12),
    Device("H100 SXM", 67e12, 494e12, 3.35e12),
    Device("RTX 3060 12 GB", 12.7e12, 25.5e12, 0.36e12),
)


class Count(TorchDispatchMode):
    """FLOPs, bytes read and written, and kernels of all operations, by part: "fft", or the one that `part` names."""

    def __init__(self) -> None:
        super().__init__()
        self.flops, self.bytes, self.kernels = defaultdict(float), defaultdict(float), defaultdict(int)
        self.part = "coils"

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result, packet = function(*args, **(kwargs or {})), function.overloadpacket
        name = packet.__name__
        if name in VIEWS:
            return result
        part = "fft" if name.startswith("_fft") else self.part
        tensors = [t for t in tree_leaves((args, kwargs, result)) if isinstance(t, Tensor)]
        self.bytes[part] += sum(t.numel() * t.element_size() for t in tensors)
        self.kernels[part] += 1
        if packet in flop_registry:
            self.flops[part] += flop_registry[packet](*args, **(kwargs or {}), out_val=result)
        elif part == "fft":
            size = math.prod(args[0].shape[d] for d in args[1])
            self.flops[part] += 5 * result.numel() * math.log2(size)
        else:
            self.flops[part] += max((t.numel() for t in tensors), default=0)
        return result


@contextmanager
def _within(network: torch.nn.Module, count: Count) -> Iterator[None]:
    """What U-Nets compute, forward and backward, is counted as theirs."""
    parts = {network.sens_net: "sensitivities' U-Net"} | {c.model: "cascades' U-Nets" for c in network.cascades}

    def set_part(name: str) -> Any:
        return lambda *_: setattr(count, "part", name)

    hooks = []
    for module, name in parts.items():
        unet = module.norm_unet if name.startswith("sens") else module
        hooks += [unet.register_forward_pre_hook(set_part(name)), unet.register_forward_hook(set_part("coils"))]
        hooks += [unet.unet.register_full_backward_pre_hook(set_part(name))]
        hooks += [unet.unet.register_full_backward_hook(set_part("coils"))]
    yield
    for hook in hooks:
        hook.remove()


def count(shape: tuple[int, ...] = SHAPE, **settings: Any) -> Count:
    """A training step's counts.

    Parameters
    ----------
    shape : (N, C, H, W) of k-space
    **settings : of the VarNet
    """
    counted = Count()
    with torch.device("meta"):
        network = build("VarNet", **settings).train()
        kspace, mask = torch.empty(shape, dtype=torch.complex64), torch.empty(1, 1, 1, shape[-1], dtype=torch.bool)
        with warnings.catch_warnings(action="ignore"), _within(network, counted), counted:
            network(kspace, mask).square().mean().backward()
    return counted


def work_out(shape: tuple[int, ...] = SHAPE, **settings: Any) -> dict[str, Any]:
    """{"parts": {part: counts of a training step}, "settings": {name: GB moved, GB kept}} of a VarNet.

    Parameters
    ----------
    shape : (N, C, H, W) of k-space
    **settings : of the VarNet
    """
    counted, by_setting = count(shape, **settings), {}
    kinds = {"flops": counted.flops, "bytes": counted.bytes, "kernels": counted.kernels}
    parts = {part: {kind: of[part] for kind, of in kinds.items()} for part in counted.bytes}
    kspace = torch.empty(shape, dtype=torch.complex64, device="meta")
    mask = torch.ones(1, 1, 1, shape[-1], dtype=torch.bool)
    for name, change in CHANGES.items():
        moved = sum(count(shape, **settings, **change).bytes.values())
        held = memory.training_bytes(lambda c=change: build("VarNet", **settings, **c), kspace, mask)
        by_setting[name] = {"moved": moved, "kept": sum(held.values())}
    return {"parts": parts, "settings": by_setting}


def roofline(result: dict[str, Any]) -> str:
    """The tables of docs/devices.md."""
    rows = []
    for part, counts in sorted(result["parts"].items(), key=lambda item: -item[1]["bytes"]):
        times = [_least(counts, device, tensor="U-Net" in part) for device in DEVICES]
        about = [f"{counts['flops'] / 1e9:,.0f}", f"{counts['bytes'] / 1e9:,.1f}", f"{counts['kernels']:,}"]
        rows.append([part, *about, *times])
    head = ["part of a training step", "GFLOP", "GB moved", "kernels", *(f"{d.name}, ms at least" for d in DEVICES)]
    changes = [[n, f"{v['moved'] / 1e9:.0f}", f"{v['kept'] / 1e9:.1f}"] for n, v in result["settings"].items()]
    return f"{table(head, rows)}\n\n{table(['`network_settings`', 'GB moved', 'GB of memory'], changes)}"


def _least(counts: dict[str, float], device: Device, tensor: bool) -> str:
    """The longest of the three times, in ms, and which it is."""
    limits = {
        "FLOPs": counts["flops"] / (device.tensor if tensor else device.plain),
        "bandwidth": counts["bytes"] / device.bandwidth, "launches": counts["kernels"] * LAUNCH,
    }  # fmt: skip
    limit = max(limits, key=limits.get)
    return f"{1e3 * limits[limit]:.0f} ({limit})"


if __name__ == "__main__":
    write(RESULT, work_out())
    print(roofline(read(RESULT)))
