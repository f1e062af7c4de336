"""Paired timing."""

import math

import pytest

from lib import InputError, files
from tools import benchmark


def test_pairs_are_timed_in_turn():
    calls = []
    found = benchmark.pair(lambda: calls.append("a"), lambda: calls.append("b"), 3)
    assert calls == ["a", "b"] * 4 and found["pairs"] == 3  # the first pair warms up
    assert found["ratio_min"] <= found["ratio"] <= found["ratio_max"]


def test_papermills_share_is_what_cells_dont_take_and_needs_every_run(tmp_path, monkeypatch):
    def notebook(task):
        cells = [{"metadata": {"papermill": {"duration": 4.5}}}, {"metadata": {}}, {"metadata": {"papermill": None}}]
        files.write(tmp_path / task / "notebook.ipynb", {"metadata": {"papermill": {"duration": 5.0}}, "cells": cells})

    def find(task):
        if not (tmp_path / task).is_dir():
            raise InputError(task, "no run")
        return tmp_path / task

    monkeypatch.setattr(benchmark.runs, "find", find)
    notebook("a")
    assert benchmark.papermill_share(["a"]) == pytest.approx(0.1)
    assert math.isnan(benchmark.papermill_share(["a", "b"]))
    notebook("b")
    assert benchmark.papermill_share(["a", "b"]) == pytest.approx(0.1)
