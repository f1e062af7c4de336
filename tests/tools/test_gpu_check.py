"""`make gpu-check` runs from end to end without a GPU: at tiny sizes on the CPU, and on the pretended accelerator."""

import json
import subprocess
import sys
from functools import partial

import pytest
import torch

from lib import ROOT
from tools import gpu_check

ON_PRETENDED = """
import json, sys
sys.path[:0] = [{root!r}, {tests!r}]
import accelerator
place = accelerator.begin()
from tools import gpu_check
print(json.dumps(gpu_check.measured(place, True, lambda line: print(line, file=sys.stderr))))
"""


def test_every_published_training_is_among_them():
    families = {
        gpu_check.models.family_of(entry["network_type"])
        for name, entry in gpu_check.tasks().items()
        if name in gpu_check.PUBLISHED
    }
    assert gpu_check.PUBLISHED.keys() <= gpu_check.tasks().keys() and families == gpu_check.models.FAMILIES.keys()


def test_steps_of_every_network_run_and_lower_nothing_to_nan():
    found = gpu_check.measured(torch.device("cpu"), True, lambda line: None)
    assert found.keys() == gpu_check.PUBLISHED.keys()
    for task, results in found.items():
        assert results.keys() == {"fp32", "bf16"}, task  # fp16 needs a GPU
        for result in results.values():
            assert "error" not in result and result["finite"] and result["seconds"] > 0, (task, result)


@pytest.mark.parametrize("precision", gpu_check.FASTER)
def test_a_step_with_each_speedup_leaves_nothing_on(monkeypatch, precision):
    compiled = partial(gpu_check.speedups.compile_parts, backend="aot_eager")  # without a compiler's minutes
    monkeypatch.setattr(gpu_check.speedups, "compile_parts", compiled)
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.fp32_precision, cudnn.benchmark
    entry = gpu_check.tasks()["train_slices_published"]
    found = gpu_check.steps(entry, (32, 32), precision, torch.device("cpu"), True)
    assert found["finite"] and (matmul.fp32_precision, cudnn.benchmark) == before
    assert {p.split(", ")[1] for p in gpu_check.FASTER} == set(gpu_check.speedups.SPEEDUPS)


@pytest.mark.whole
def test_the_same_steps_run_on_an_accelerator_with_nothing_left_on_the_cpu():
    code = ON_PRETENDED.format(root=str(ROOT), tests=str(ROOT / "tests"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.keys() == gpu_check.PUBLISHED.keys()
    for task, results in found.items():
        assert results.keys() == set(gpu_check.PRECISIONS), task
        for result in results.values():
            assert "error" not in result and result["finite"], (task, result)


def test_its_paragraph_says_what_was_measured():
    result = {
        "device": "A card", "torch": "2.15", "date": "2026-11-30", "tests": {"passed": 5},
        "steps": {"train_varnet_published": {
            "fp32": {"seconds": 0.5, "bytes": 3 << 30, "finite": True}, "fp16": {"error": "RuntimeError: out of memory"},
        }},
        "benchmark": {"VarNet": {"ratio": 1.5}},
    }  # fmt: skip
    said = gpu_check.paragraph(result)
    assert said.splitlines() == [
        "A card, torch 2.15, 2026-11-30: tests that need a GPU: 5 passed.",
        "train_varnet_published: fp32 500.0 ms a step, 3.00 GiB; fp16 RuntimeError: out of memory.",
        "VarNet: 1.50 times as fast.",
    ]


def test_the_tests_that_need_a_gpu_are_counted(monkeypatch):
    class Done:
        stdout = "...\n======= 3 passed, 2 skipped, 1 failed in 4.2s ======="
        returncode = 1

    monkeypatch.setattr(subprocess, "run", lambda *_, **__: Done)
    assert gpu_check.tests(False) == {"passed": 3, "skipped": 2, "failed": 1}
