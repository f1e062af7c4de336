"""Runs that test different people, as those of a leave-one-out, in one table."""

import numpy as np
import pytest

from lib.evaluation.segmentation import Score, by_person
from lib.metrics import segmentation

CLASSES = ("background", "cavity")


def score(person, hits, case=None):
    """A case of two slices with 20 pixels of the class in each mask, `hits` of them in both."""
    label, prediction = np.zeros((2, 10, 10), int), np.zeros((2, 10, 10), int)
    label[:, 0, :], prediction.reshape(2, -1)[:, 10 - hits // 2 : 20 - hits // 2] = 1, 1
    counts = np.stack([segmentation.confusion(p, t, 2) for p, t in zip(prediction, label, strict=True)])
    return Score(case or person, person, counts, np.zeros((2, 2)), CLASSES)


def test_people_count_alike_and_their_spread_is_that_of_persons():
    scores = {"a": [score("x", 10, "x1"), score("x", 6, "x2")], "b": [score("y", 18)], "c": [score("z", 20)]}
    table = by_person(scores)
    dice = [0.4, 0.9, 1.0]  # of x: 16 of 40
    assert table.index.tolist() == ["x", "y", "z", "mean", "standard deviation"] and list(table) == ["cavity"]
    assert table.cavity[:3].tolist() == pytest.approx(dice)
    assert table.cavity["mean"] == pytest.approx(np.mean(dice))
    assert table.cavity["standard deviation"] == pytest.approx(np.std(dice, ddof=1))


def test_runs_that_test_the_same_people_or_other_classes_are_not_put_together():
    assert not len(by_person({"a": [score("x", 10)]}))
    assert not len(by_person({"a": [score("x", 10)], "b": [score("x", 18)]}))
    other = score("y", 18)._replace(classes=("background", "lesion"))
    assert not len(by_person({"a": [score("x", 10)], "b": [other]}))
