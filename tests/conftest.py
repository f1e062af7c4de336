"""For all tests: GPU tests are skipped without a GPU; with ECHOTRAIN_NO_SKIPS=1 any other skip is a failure."""

import os

import pytest
import torch

torch.set_num_threads(min(2, os.cpu_count() or 1))
_skipped: list[str] = []


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder for runs, in place of runs/."""

    monkeypatch.setattr("lib.runs.run.RUNS", tmp_path / "runs")
    return tmp_path / "runs"


def pytest_collection_modifyitems(items):
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


def pytest_runtest_logreport(report):
    if report.skipped and "gpu" not in report.keywords and not hasattr(report, "wasxfail"):
        _skipped.append(report.nodeid)


def pytest_sessionfinish(session, exitstatus):
    if _skipped and os.environ.get("ECHOTRAIN_NO_SKIPS") and exitstatus == 0:
        print(f"\nskipped, which counts as failed here: {', '.join(_skipped)}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
