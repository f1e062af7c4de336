"""Which processes train together: each has a share of every batch and, of a partitioned volume, one part of it."""

import os
import sys
from dataclasses import dataclass, field
from typing import Any, NoReturn

import psutil
import torch
import torch.distributed as dist
from torch import Tensor

from lib import InputError, accelerators
from lib.parallel import spatial

STORE = "ECHOTRAIN_STORE"  # the file by which processes of one machine find each other
AXES = {"D": 2, "H": 3, "W": 4}  # of (N, C, D, H, W)
Parts = dict[int, tuple[int, int]]


@dataclass
class Mesh:
    """A process's place among those that train together.

    Parameters
    ----------
    rank : among all
    world : how many there are
    data_rank : which share of a batch it has
    data_world_size : into how many shares a batch is divided
    parts : of its volumes, {axis: (number, count, process group)}
    device : of its network
    """

    rank: int = 0
    world: int = 1
    data_rank: int = 0
    data_world_size: int = 1
    parts: dict[int, tuple[int, int, Any]] = field(default_factory=dict)
    device: torch.device | None = None


_mesh = Mesh()


def current() -> Mesh:
    """This process's place; of a process that trains by itself, rank 0 of 1."""
    return _mesh


def partition_of(given: dict[str, int] | list[int] | None) -> dict[int, int]:
    """{axis of (N, C, D, H, W): parts} of `{D: 1, H: 2, W: 1}`, or of the source's five numbers (N, D, H, W, C).

    Axes of one part are left out. InputError for other letters, numbers below 1, and parts of batch or channels.
    """
    if isinstance(given, list):
        if len(given) != 5 or given[0] != 1 or given[-1] != 1:
            raise InputError("partition", f"got {given}", "five numbers N, D, H, W, C, the first and last 1")
        given = dict(zip(AXES, given[1:4], strict=True))
    for name, parts in (given or {}).items():
        if name not in AXES or isinstance(parts, bool) or not isinstance(parts, int) or parts < 1:
            raise InputError("partition", f"got {name}: {parts!r}", "D, H and W with whole numbers of at least 1")
    return {AXES[name]: parts for name, parts in sorted((given or {}).items()) if parts > 1}


def local_processes(devices: str | int | list) -> int:
    """How many processes `devices` stands for on this machine."""
    return devices if isinstance(devices, int) else len(devices) if isinstance(devices, list) else 1


def count(devices: str | int | list) -> int:
    """How many processes those are on all machines together (torchrun's PET_NNODES says how many machines)."""
    return local_processes(devices) * int(os.environ.get("PET_NNODES", "1").split(":")[-1])


def data_world_size(devices: str | int | list, partition: dict[int, int]) -> int:
    """Into how many shares a batch is divided; InputError where the processes can't be grouped into whole volumes."""
    world, parts = count(devices), 1
    for n in partition.values():
        parts *= n
    if world % parts:
        words = ", ".join(f"{'DHW'[axis - 2]}: {n}" for axis, n in partition.items())
        raise InputError(
            "partition", f"{words} needs {parts} processes or a multiple, devices: {devices} gives {world}"
        )
    return world // parts


def check_size(size: tuple[int, ...], partition: dict[int, int], step: int) -> None:
    """InputError where a volume (D, H, W) can't be cut into parts whose extents `step` (all the pooling) divides."""
    for axis, parts in partition.items():
        try:
            spatial.check(size[axis - 2], parts, step)
        except InputError as error:
            raise InputError("partition", f"{'DHW'[axis - 2]}: {error}") from None


def on_cpu(devices: str | int | list) -> bool:
    """Whether `devices` are processes on the CPU: "cpu", ["cpu", "cpu"], or "auto" without a GPU."""
    listed = isinstance(devices, list) and devices[0] == "cpu"
    return listed or devices == "cpu" or (devices == "auto" and accelerators.kind() == "cpu")


def visible(devices: list[int], now: str | None) -> str:
    """CUDA_VISIBLE_DEVICES for the GPUs `devices`, which count among those that are visible `now`: no other is touched."""
    names = now.split(",") if now else [str(n) for n in range(max(devices) + 1)]
    return ",".join(names[n].strip() for n in devices)


def init(devices: str | int | list, partition: dict[int, int]) -> Mesh:
    """Joins the processes that torchrun has started. The ranks of one volume follow each other, its last axis fastest."""
    from accelerate import PartialState

    global _mesh
    if isinstance(devices, list) and not on_cpu(devices):
        os.environ["CUDA_VISIBLE_DEVICES"] = visible(devices, os.environ.get("CUDA_VISIBLE_DEVICES"))
    if store := os.environ.get(STORE):
        about = {"rank": int(os.environ["RANK"]), "world_size": int(os.environ["WORLD_SIZE"])}
        dist.init_process_group("gloo" if on_cpu(devices) else "nccl", init_method=f"file://{store}", **about)
    state = PartialState(cpu=on_cpu(devices))
    rank, world = state.process_index, state.num_processes
    if world != count(devices):
        raise InputError("devices", f"{devices} stands for {count(devices)} processes, torchrun has started {world}")
    many = data_world_size(devices, partition)
    grid, parts = torch.arange(world).reshape(many, *partition.values()), {}
    for position, (axis, n) in enumerate(partition.items(), 1):
        for ranks in grid.movedim(position, -1).reshape(-1, n).tolist():
            group = dist.new_group(ranks)  # every process takes part in making every group
            if rank in ranks:
                parts[axis] = (ranks.index(rank), n, group)
    _mesh = Mesh(rank, world, rank // (world // many), many, parts, state.device)
    return _mesh


def loopback() -> str:
    """The network interface that leads to this machine alone, such as "lo"."""
    addresses = psutil.net_if_addrs().items()
    return next((name for name, given in addresses if any(a.address == "127.0.0.1" for a in given)), "lo")


def shutdown() -> NoReturn:
    """Ends this process well, once all have come here: at once, since gloo's own end aborts some (torch 2.15)."""
    dist.barrier()
    sys.stdout.flush()
    os._exit(0)


def slab(x: Tensor, parts: Parts) -> Tensor:
    """The part of a whole volume (N, C, D, H, W) or label (N, D, H, W); parts: {axis: (number, count)}."""
    for axis, (number, n) in parts.items():
        x = x.tensor_split(n, axis - (x.ndim == 4))[number].contiguous()
    return x


def total(x: Tensor) -> Tensor:
    """x summed over all processes that train together; in the backward pass its gradients are summed likewise.

    A loss made of such sums is the same on all of them, and the mean of their gradients is its gradient.
    """
    if _mesh.world == 1:
        return x
    return spatial.total(x)


def over_volume(x: Tensor) -> Tensor:
    """x summed over the parts of this process's volumes; in the backward pass its gradients are summed likewise."""
    for _, _, group in _mesh.parts.values():
        x = spatial.total(x, group)
    return x
