"""Dice against the number of training volumes."""

import fake_runs
import matplotlib.pyplot as plt
import numpy as np
import pytest

from lib import files
from lib.evaluation import learning_curve, segmentation

CLASSES = ("background", "a", "b")


def trained(root, name, count, number, **parameters):
    run = fake_runs.make(root, name, number, notebook="24_train_volumes", parameters=parameters)
    files.write(run / "metrics.json", {"headline": {}, "train_cases": count})
    return run


def score(case, right):
    """A case whose class a has a Dice of `right`, and class b half of that: of 100 voxels each, so many are found."""
    found = round(100 * right)
    counts = np.array([[0, 0, 0], [100 - found, found, 0], [100 - found // 2, 0, found // 2]])
    counts[0] = counts[:, 0] * 0 + [50, 100 - found, 100 - found // 2]  # as many wrong ones elsewhere
    return segmentation.Score(case, case, counts[None], np.zeros((1, 3)), CLASSES)


def test_runs_that_differ_in_the_number_of_volumes_alone_are_put_in_order(tmp_path):
    runs = {
        name: trained(tmp_path, name, n, n, train_cases=given, epochs=2)
        for name, n, given in (("x", 26, None), ("y", 3, 3), ("z", 6, 6))
    }
    assert learning_curve.training_volumes(runs) == {"y": 3, "z": 6, "x": 26}
    assert list(learning_curve.training_volumes(runs)) == ["y", "z", "x"]
    runs["z"] = trained(tmp_path, "z", 6, 9, train_cases=6, epochs=3)
    assert learning_curve.training_volumes(runs) == {}
    assert learning_curve.training_volumes({"x": runs["x"]}) == {}


def test_the_figure_shows_means_and_extremes(tmp_path):
    scores = {"few": [score("p", 0.4), score("q", 0.6)], "many": [score("p", 0.8), score("q", 0.9)]}
    figure = learning_curve.figure(scores, {"few": 3, "many": 26})
    (ax,) = figure.axes
    first, second = ax.lines
    assert first.get_xdata().tolist() == [3, 26] and first.get_ydata() == pytest.approx([0.5, 0.85])
    assert second.get_ydata() == pytest.approx([0.25, 0.425], abs=0.01)
    band = ax.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(0.4) and band[:, 1].max() == pytest.approx(0.9)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]
    plt.close(figure)
    assert [s.case for s in segmentation.worst(scores["few"] + scores["many"][1:], 2)] == ["p", "q"]
