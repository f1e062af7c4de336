"""Memory and seconds of a training step of a cascade, measured in a process of its own."""

import json
import statistics
import subprocess
import sys
import time
from typing import Any

import torch

from lib import ROOT, InputError, accelerators
from lib.memory import Peak
from lib.models import build


def fresh_step(
    network: str, settings: dict[str, Any], shape: list[int], device: str, seed: int = 0
) -> dict[str, float]:
    """A training step of a cascade in a process of its own, where nothing was held before.

    Parameters
    ----------
    network : its name in MODELS
    settings : of the network
    shape : (1, C, H, W) of its k-space
    device : where it trains
    seed : of its weights and data

    Returns
    -------
    bytes: of the first step, beyond what the network and its input took: resident memory on a CPU, torch's counter on a
    GPU; seconds: median of three later steps.

    Raises
    ------
    InputError
        With the process's last line, if it fails.
    """
    request = json.dumps({"network": network, "settings": settings, "shape": shape, "device": device, "seed": seed})
    done = subprocess.run(
        [sys.executable, "-m", "tools.step_memory", request], capture_output=True, text=True, cwd=ROOT
    )
    if done.returncode:
        raise InputError(f"a step of {network}", f"{(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    return json.loads(done.stdout)


def _step(network: str, settings: dict[str, Any], shape: list[int], device: str, seed: int) -> dict[str, float]:
    torch.manual_seed(seed)
    place = torch.device(device)
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
        accelerators.synchronize(place)
        return time.perf_counter() - begun

    start, peak = accelerators.held(place), Peak(place)
    step()
    held = (peak.bytes() or 0) - start  # 0: a step smaller than what importing torch once took leaves no mark
    return {"bytes": held, "seconds": statistics.median(step() for _ in range(3))}


if __name__ == "__main__":
    print(json.dumps(_step(**json.loads(sys.argv[1]))))
