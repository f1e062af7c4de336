"""For all tests: GPU tests are skipped without a GPU; with ECHOTRAIN_NO_SKIPS=1 any other skip is a failure.

Each test's fixtures, and then the test, start from the same seed, in whatever order the tests come.

Several workers share the cores: each computes with one thread, and takes whole files, whose fixtures are made once.
"""

import os
import random

import numpy as np
import pytest
import torch

WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))
if WORKERS > 1:
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that tests start, too
torch.set_num_threads(1 if WORKERS > 1 else min(2, os.cpu_count() or 1))
_skipped: list[str] = []


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder for runs, in place of runs/."""

    monkeypatch.setattr("lib.runs.run.RUNS", tmp_path / "runs")
    return tmp_path / "runs"


def pytest_collection_modifyitems(items):
    items.sort(key=_patience, reverse=True)  # the longest first, so that no worker waits for another at the end
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


def _seeded(item):
    torch.default_generator.manual_seed(0), np.random.seed(0), random.seed(0)


pytest_runtest_setup = pytest.hookimpl(_seeded, tryfirst=True)
pytest_runtest_call = pytest.hookimpl(_seeded, tryfirst=True)


def _patience(item) -> float:
    """The seconds that a test may take; 300, as any may, where it starts recipes or kills processes, else 0."""
    mark = item.get_closest_marker("timeout")
    return mark.args[0] if mark else 300 if item.get_closest_marker("whole") else 0


def pytest_runtest_logreport(report):
    if report.skipped and "gpu" not in report.keywords and not hasattr(report, "wasxfail"):
        _skipped.append(report.nodeid)


def pytest_sessionfinish(session, exitstatus):
    if _skipped and os.environ.get("ECHOTRAIN_NO_SKIPS") and exitstatus == 0:
        print(f"\nskipped, which counts as failed here: {', '.join(_skipped)}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
