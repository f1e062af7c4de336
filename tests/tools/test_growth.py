"""Exponents of known growth, and the curves that show them."""

import numpy as np
import pytest
import torch

from tools import growth


def test_the_exponent_of_a_power_is_found():
    sizes = [2, 4, 8, 16]
    assert growth.exponent(sizes, [3 * s**1.5 for s in sizes]) == pytest.approx(1.5)
    assert growth.exponent(sizes, [7.0] * 4) == pytest.approx(0)


def test_each_size_is_called_in_each_round_and_its_memory_follows():
    called, held = [], {1: 10, 2: 20, 4: 40}
    points = {s: lambda s=s: growth.Point(lambda: called.append(s), held[s]) for s in held}
    found = growth.measure(points, 3)
    assert called == [1, 2, 4] * 4  # a round to warm up
    assert found["size"] == [1, 2, 4] and found["bytes"] == [10, 20, 40]
    assert found["memory_exponent"] == pytest.approx(1) and len(found["seconds"]) == 3
    uncounted = growth.measure({1: lambda: growth.Point(int, None), 2: lambda: growth.Point(int, None)}, 1)
    assert uncounted["bytes"] is None and uncounted["memory_exponent"] is None


def test_memory_of_a_step_grows_with_the_pixels():
    one, four = (growth.varnet_step(coils=2, side=side, cascades=1) for side in (32, 64))
    assert 3.5 < four.bytes / one.bytes < 4.5
    one.call()  # and it is a step that can be taken


def test_the_chart_has_a_curve_for_each_and_says_its_exponent():
    curve = {"size": [1, 2], "seconds": [1.0, 4.0], "bytes": None, "time_exponent": 2.0, "memory_exponent": None}
    figure = growth.chart({"a": curve, "b": curve | {"bytes": [8, 16], "memory_exponent": 1.0}})
    left, right = ([text.get_text() for text in ax.get_legend().get_texts()] for ax in figure.axes)
    assert left == ["a: 2.00", "b: 2.00"] and right == ["b: 1.00"]
    assert np.array_equal(figure.axes[0].lines[1].get_ydata(), [1, 4])


def test_calibration_lines_are_what_grappa_fills_from():
    point = growth.grappa_slice(2, 32)
    filled = point.call()
    assert filled.shape == (2, 32, 32) and torch.isfinite(filled.abs()).all() and point.bytes > filled.nbytes
