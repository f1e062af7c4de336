"""What a training step needs when one volume is split over several processes: measured in fresh ones, by torchrun."""

import json
import os
import re
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lib import ROOT, InputError
from lib.models import build
from lib.parallel import mesh, spatial


def saved_bytes(model: nn.Module, x: Tensor) -> int:
    """Bytes that a forward pass keeps for the backward pass, weights and buffers not counted, each memory once."""
    own = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    held: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            held[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # itself, as its node's output, would never be freed

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = model(x)
    del output
    return sum(held.values())


def step(settings: dict[str, Any], size: Sequence[int], parts: int, repeats: int = 1) -> dict[str, float]:
    """A training step of a VolumeUNet on a volume that is split over several processes.

    Parameters
    ----------
    settings : of the network
    size : (D, H, W) of the volume
    parts : processes that share H
    repeats : timed steps, after a first one

    Returns
    -------
    The most of any process. saved: bytes kept for the backward pass; peak: bytes that it held (resident, Python and
    torch included); seconds: per step, the median.

    Raises
    ------
    InputError
        If the volume can't be split, and if a process ended badly.
    """
    spatial.check(size[1], parts, 2 ** (settings.get("depth", 4) - 1))
    request = json.dumps({"settings": settings, "size": list(size), "repeats": repeats})
    threads = max(1, (os.cpu_count() or 1) // parts)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={parts}"]
    done = subprocess.run(
        [*command, "-m", "tools.measure_partition", request], capture_output=True, text=True, cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": str(threads)},
    )  # fmt: skip
    if done.returncode:
        words = re.findall(r"^(?:\[rank\d+\]:\s*)?(\S*(?:Error|Exception)\b.*)", done.stderr, re.M)
        cause = "killed by signal 9, out of memory?" if "SIGKILL" in done.stderr else (words or ["no reason given"])[0]
        raise InputError(f"{'×'.join(map(str, size))} in {parts} parts", f"a process ended badly: {cause}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def _measure(settings: dict[str, Any], size: list[int], repeats: int) -> dict[str, float]:
    dist.init_process_group("gloo")
    torch.manual_seed(0)
    model, world = build("VolumeUNet", **settings).train(), dist.get_world_size()
    slab = [size[0], size[1] // world, size[2]]
    if world > 1:
        model = spatial.partition(model, 3)
    x, target = torch.randn(1, 1, *slab), torch.randint(0, 3, (1, *slab))
    optimizer, seconds = torch.optim.Adam(model.parameters()), []
    saved = saved_bytes(model, x) if repeats else 0
    for _ in range(1 + repeats):
        dist.barrier()
        begun = time.perf_counter()
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), target).backward()
        spatial.reduce_grads(model)
        optimizer.step()
        seconds.append(time.perf_counter() - begun)
    mine = [saved, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, statistics.median(seconds[1:] or seconds)]
    most = torch.tensor(mine, dtype=torch.float64)
    dist.all_reduce(most, dist.ReduceOp.MAX)
    return dict(zip(("saved", "peak", "seconds"), most.tolist(), strict=True))


if __name__ == "__main__":
    result = _measure(**json.loads(sys.argv[1]))
    if dist.get_rank() == 0:
        print(json.dumps(result))
    mesh.shutdown()
