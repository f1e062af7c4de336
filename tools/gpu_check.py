"""make gpu-check: what a GPU must confirm, in one command: its tests, each published network's first steps, the benchmark.

Steps are at published size on random data, 20 of each in fp32, bf16 and fp16, and with each of the speedups, with their time
and peak memory. Everything goes to one JSON file, and a paragraph to paste is printed. A CPU, or --quick, does the same at tiny
sizes and without speedups: a check of this script.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lib import ROOT, RUNS, InputError, accelerators, losses, models, runs, training
from lib.files import read, write
from lib.kspace import center_crop
from lib.models.blocks import autocast
from lib.recipes import recipe_file
from lib.text import one_line, short
from lib.training import speedups

STEPS, SKIPPED = 20, 5  # steps of each, and how many of them warm up
PRECISIONS = ("fp32", "bf16", "fp16")
FASTER = tuple(f"{'fp32' if name == 'tf32' else 'bf16'}, {name}" for name in speedups.SPEEDUPS)  # one at a time
PUBLISHED = {  # task of a *_published recipe: size of its data, as its source has them
    "train_varnet_published": (15, 640, 368, 320, 320),  # coils, readout, phase encode; image
    "train_unet_published": (320, 320),
    "train_cascade_published": (16, 768, 396, 384, 384),
    "unet3d_published": (128, 128, 20),
    "unet2d1d_published": (128, 128, 20),
    "unet2d2d_published": (128, 128, 20),
    "unet3d_old_published": (128, 128, 20),
    "train_slices_published": (256, 128),
    "volumes_128": (128, 128, 128),
    "train_pairs_published": (256, 256),
}
SHARES = {"volumes_128": 2}  # a device's share of a batch that the source divides among several


def tasks() -> dict[str, dict[str, Any]]:
    """The training tasks of the published recipes, by name."""
    recipes = sorted((ROOT / "runs").glob("*_published.yaml"))
    entries = (entry for path in recipes for entry in recipe_file.read(path))
    return {entry["task_name"]: entry for entry in entries if "network_type" in entry}


def batch(family: str, fed: str, count: int, size: tuple[int, ...]) -> tuple[list[Tensor], list[Tensor]]:
    """Random inputs and targets of a network's family, as its data loaders give them."""
    if fed in ("kspace", "cascade"):
        coils, height, width, *image = size
        kspace = torch.randn(count, coils, height, width, dtype=torch.complex64)
        mask = torch.zeros(count, 1, 1, width, dtype=torch.bool)
        center = max(2, round(0.08 * width))
        mask[..., ::4] = mask[..., (width - center) // 2 : (width + center) // 2] = True
        given = [kspace * mask, mask, torch.full((count,), center)]
        given = given if fed == "kspace" else [*given[:2], torch.rand(count, *image), given[2]]
        return given, [torch.rand(count, *image), torch.ones(count)]
    if fed == "image":
        ones = torch.ones(count)
        return [torch.randn(count, 1, *size)], [torch.randn(count, *size), ones, 0 * ones, ones]
    if family == "cine":
        return [torch.rand(count, *size)], [torch.rand(count, *size)]
    if family == "pairs":
        return [torch.randn(count, 3, *size)], [torch.randint(0, 2, (count, 1, *size)).float()]
    return [torch.randn(count, 1, *size)], [torch.randint(0, 3, (count, *size))]


def steps(
    entry: dict[str, Any], size: tuple[int, ...], precision: str, device: torch.device, quick: bool
) -> dict[str, Any]:
    """Seconds (median) and peak bytes of training steps of a published task.

    Parameters
    ----------
    entry : of the recipe
    size : of its data
    precision : fp32, bf16, fp16 or one of FASTER
    device : where it trains
    quick : a tiny network and tiny data, three steps
    """
    torch.manual_seed(0)
    name, settings = entry["network_type"], dict(entry.get("network_settings") or {})
    line, count = models.entry(name), SHARES.get(entry["task_name"], entry.get("batch_size", 1))
    if quick:
        settings, count = models.tiny(name, settings), min(count, 2)
        size = tuple(n if n < 20 else 48 if line.family == "cascade" else 32 for n in size)
    if name == "ResUNet":
        settings |= {"encoder_weights": None, **({"encoder": "plain"} if quick else {})}
    if line.family in ("slices", "volumes"):
        settings |= {"num_classes": 3}
    model = models.build(name, **settings).train().to(device)
    given, targets = ([x.to(device) for x in part] for part in batch(line.family, line.batch, count, size))
    about = {"foreground_threshold": entry["foreground_threshold"]} if "foreground_threshold" in entry else {}
    loss = losses.by_name(entry["loss"], line.family, **about)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 1e-5)
    precision, *faster = precision.split(", ")
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
    seconds, start = [], accelerators.held(device)
    accelerators.start_peak(device)
    with ExitStack() as undo:
        for name in faster:
            undo.callback(speedups.switch_on(name, model))
        for _ in range(3 if quick else STEPS):
            begun = time.perf_counter()
            optimizer.zero_grad()
            with autocast(device.type, precision):
                output = model(*given)
            output = center_crop(output, tuple(size[-2:])) if line.batch in ("kspace", "cascade") else output
            value = loss(output.float(), *targets)
            scaler.scale(value).backward()
            scaler.step(optimizer)
            scaler.update()
            accelerators.synchronize(device)
            seconds.append(time.perf_counter() - begun)
    peak = accelerators.peak(device)
    result = {
        "seconds": statistics.median(seconds[0 if quick else SKIPPED :]),
        "loss": float(value.detach()),
        "batch_size": count,
    }
    return result | {"bytes": None if peak is None else peak - start, "finite": bool(torch.isfinite(value))}


def tests(quick: bool) -> dict[str, int]:
    """How many of the tests that need a GPU passed, failed or were left out."""
    words = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-m",
        "gpu",
        "-p",
        "no:cacheprovider",
        *(["--collect-only"] if quick else []),
    ]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    said = done.stdout.splitlines()
    pairs = [pair.strip().split(" ") for pair in (said or [""])[-1].strip("= ").split(" in ")[0].split(",")]
    counts = {
        words[-1].split("/")[0]: int(words[0].split("/")[0]) for words in pairs if words[0].split("/")[0].isdigit()
    }
    return counts | ({"failed": max(1, counts.get("failed", 0))} if done.returncode else {})


def measured(device: torch.device, quick: bool, say: Callable[[str], None] = print) -> dict[str, dict[str, Any]]:
    """{task: {precision: what `steps` gives, or the error}} for every published network."""
    found: dict[str, dict[str, Any]] = {}
    kinds = [kind for kind in PRECISIONS if kind != "fp16" or device.type != "cpu"] + list(() if quick else FASTER)
    for task, entry in tasks().items():
        for precision in kinds if task in PUBLISHED else ():
            try:
                result = steps(entry, PUBLISHED[task], precision, device, quick)
            except (RuntimeError, InputError) as error:
                result = {"error": one_line(error)[:200]}
            found.setdefault(task, {})[precision] = result
            accelerators.empty_cache()
            say(f"{entry['network_type']}, {precision}: {_words(result)}")
    return found


def _words(result: dict[str, Any]) -> str:
    if "error" in result:
        return result["error"]
    memory = "" if result["bytes"] is None else f", {result['bytes'] / 2**30:.2f} GiB"
    return f"{result['seconds'] * 1e3:.1f} ms a step{memory}{'' if result['finite'] else ', loss not finite'}"


def paragraph(result: dict[str, Any]) -> str:
    """The result in a few sentences."""
    counts = ", ".join(f"{number} {word}" for word, number in result["tests"].items())
    lines = [
        f"{result['device']}, torch {result['torch']}, {result['date']}: tests that need a GPU: {counts or 'none'}."
    ]
    for task, by_precision in result["steps"].items():
        lines.append(f"{task}: " + "; ".join(f"{p} {_words(r)}" for p, r in by_precision.items()) + ".")
    lines += [f"{name}: {row['ratio']:.2f} times as fast." for name, row in result.get("benchmark", {}).items()]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 if tests passed, every step ran and was finite, and the benchmark ended well."""
    parser = argparse.ArgumentParser(prog="make gpu-check", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny sizes; no benchmark")
    given = parser.parse_args(arguments)
    device = training.device("auto")
    quick = given.quick or not accelerators.is_accelerator(device)
    names = accelerators.names()
    result: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"), "device": names[0] if names else f"{device.type} ({platform.machine()})",
        "torch": torch.__version__, "quick": quick, "tests": tests(quick), "steps": measured(device, quick),
    }  # fmt: skip
    if not quick:
        command = [sys.executable, "-m", "lib", "runs/benchmark.yaml", "--only", "benchmark"]
        if subprocess.run(command, cwd=ROOT).returncode == 0:
            result["benchmark"] = read(runs.find("benchmark") / "metrics.json")["headline"]
    path = Path(RUNS) / "gpu_check.json"
    write(path, json.dumps(result, indent=1))
    print(f"\n{paragraph(result)}\n\n{short(path)}")
    ran = [r for by_precision in result["steps"].values() for r in by_precision.values()]
    good = all(r.get("finite") for r in ran) and not result["tests"].get("failed")
    return 0 if good and (quick or "benchmark" in result) else 1


if __name__ == "__main__":
    sys.exit(main())
