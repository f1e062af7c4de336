"""Dice, Hausdorff distance and confusion against MONAI and hand-worked cases; empty masks."""

import numpy as np
import pytest
import torch
from monai.metrics import compute_dice, compute_hausdorff_distance
from refusals import refused
from sklearn.metrics import confusion_matrix

from lib.metrics import bootstrap, segmentation


def blobs(seed, classes=4, shape=(3, 24, 20)):
    """Two label maps (S, H, W) that mostly agree."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, classes, (shape[0], 4, 4))
    label = coarse.repeat(shape[1] // 4, 1).repeat(shape[2] // 4, 2)
    return np.where(rng.uniform(size=shape) < 0.1, rng.integers(0, classes, shape), label), label


def hot(x, classes=4):
    return torch.nn.functional.one_hot(torch.from_numpy(x), classes).movedim(-1, 0)[None]


@pytest.mark.parametrize("seed", range(3))
def test_dice_is_monais(seed):
    a, b = blobs(seed)
    expected = compute_dice(hot(a), hot(b), include_background=True)[0]
    assert np.allclose(segmentation.dice(a, b, 4), expected, atol=1e-6)
    assert np.allclose(segmentation.dice(torch.from_numpy(a), torch.from_numpy(b), 4), expected, atol=1e-6)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("spacing", [None, (2.0, 0.5)])
def test_hausdorff_is_monais(spacing):
    for s in range(3):
        a, b = (x[s] for x in blobs(s))
        expected = compute_hausdorff_distance(hot(a), hot(b), percentile=95, spacing=spacing)[0]
        there = [c for c in range(1, 4) if (a == c).any() and (b == c).any()]
        assert np.allclose(segmentation.hausdorff95(a, b, 4, spacing)[there], [expected[c - 1] for c in there])


def test_hausdorff_worked_by_hand():
    a, b = np.zeros((9, 9), int), np.zeros((9, 9), int)
    a[4, 2] = b[4, 6] = 1
    assert segmentation.hausdorff95(a, b, 2)[1] == 4 and segmentation.hausdorff95(a, b, 2, (1.0, 0.5))[1] == 2


def test_confusion_is_scikit_learns():
    a, b = blobs(5)
    counts = segmentation.confusion(a, b, 4)
    assert np.array_equal(counts, confusion_matrix(b.ravel(), a.ravel()))


def test_empty_masks_follow_the_convention():
    nothing, something = np.zeros((4, 4), int), np.zeros((4, 4), int)
    something[1, 1] = 1
    assert segmentation.dice(nothing, nothing, 3).tolist() == [1, 1, 1]
    assert segmentation.dice(nothing, something, 3)[1:].tolist() == [0, 1]
    found = segmentation.hausdorff95(nothing, something, 3)
    assert np.isnan(found[0]) and np.isinf(found[1]) and found[2] == 0
    assert segmentation.both_empty(segmentation.confusion(nothing, something, 3)).tolist() == [False, False, True]


def test_the_interval_holds_the_value_and_narrows_with_slices():
    counts = np.stack([segmentation.confusion(*(x[0] for x in blobs(s)), 4) for s in range(40)])
    low, high = bootstrap.dice_interval([counts]).T
    value = segmentation.dice_of(counts.sum(0))
    assert (low <= value).all() and (value <= high).all() and (high - low < 0.1).all()
    assert ((high - low) < np.subtract(*bootstrap.dice_interval([counts[:8]]).T[::-1])).all()
    one, other = counts[:1], counts[1:2]  # one slice each: nothing to draw from
    mean = (segmentation.dice_of(one[0]) + segmentation.dice_of(other[0])) / 2
    assert np.allclose(bootstrap.dice_interval([one, other]), mean[:, None])


def test_draws_without_a_rare_class_do_not_count_as_a_dice_of_1():
    def counts(dices):  # of 100 pixels a slice, 20 in either mask
        hits = {None: None, 0.5: 5, 0.25: 2.5, 1.0: 10}
        rows = [[[100, 0], [0, 0]] if d is None else [[80, 10 - hits[d]], [10 - hits[d], hits[d]]] for d in dices]
        return np.array(rows)

    rare = [None] * 30 + [0.5] * 3 + [None] * 27
    assert (
        (segmentation.both_empty(counts(rare)[bootstrap.moving_blocks(60, None, 2000, (0, 0))].sum(1))[:, 1]).mean()
        > 0.1
    )
    assert bootstrap.dice_interval([counts(rare)])[1].tolist() == [
        0.5,
        0.5,
    ]  # that is its Dice in every slice that has it
    low, high = bootstrap.dice_interval([counts([None] * 30 + [0.25, 0.5] + [None] * 28)])[1]
    assert 0.25 <= low < 0.375 < high <= 0.5
    without = counts([None] * 60)  # neither has it in any slice: 1, by the convention for the person
    assert bootstrap.dice_interval([counts(rare), without])[1].tolist() == [0.75, 0.75]


def test_values_that_are_no_classes():
    with refused(found="the label holds int64 0 … 5", expected="whole numbers 0 … 2"):
        segmentation.dice(np.zeros((2, 2), int), np.array([[0, 5], [1, 2]]), 3)
    with refused(found=r"the prediction is \(2, 2\), the label \(3, 2\)"):
        segmentation.dice(np.zeros((2, 2), int), np.zeros((3, 2), int), 3)
    with refused(found="the prediction holds 0.9999999", expected="whole numbers 0 … 2"):
        segmentation.dice(np.full((2, 2), 0.9999999), np.zeros((2, 2), int), 3)


@pytest.mark.parametrize("kind", [">i2", np.ulonglong, np.float16, np.longdouble])
def test_labels_of_every_type_and_layout_are_taken(kind):
    a, b = blobs(1)
    flipped = [x.astype(kind)[::-1, :, ::-1] for x in (a, b)]
    assert np.array_equal(segmentation.dice(*flipped, 4), segmentation.dice(a, b, 4))
    assert np.array_equal(segmentation.hausdorff95(*flipped, 4), segmentation.hausdorff95(a, b, 4), equal_nan=True)


def test_what_is_not_labeled_is_cut_out():
    a, b = blobs(3)
    unlabeled = b.copy()
    unlabeled[:, :, 12:] = 255
    assert np.array_equal(
        segmentation.confusion(a, unlabeled, 4, 255), segmentation.confusion(a[..., :12], b[..., :12], 4)
    )
    assert np.array_equal(segmentation.dice(a, unlabeled, 4, 255), segmentation.dice(a[..., :12], b[..., :12], 4))
    blank = np.full_like(b, 255)
    assert not segmentation.confusion(a, blank, 4, 255).any()
    with refused(found="0 … 255", expected="0 … 3", hint="ignore_index"):
        segmentation.dice(a, unlabeled, 4)


def test_distances_leave_out_what_is_not_labeled():
    a, b = np.zeros((9, 9), int), np.zeros((9, 9), int)
    a[4, 2] = b[4, 6] = 1
    a[0, 0], unlabeled = 1, b.copy()
    unlabeled[0, 0] = 255  # where the stray prediction is
    assert (
        segmentation.hausdorff95(a, b, 2)[1] > 4 and segmentation.hausdorff95(a, unlabeled, 2, ignore_index=255)[1] == 4
    )
