"""Segmentation losses against MONAI, torch and hand-worked cases; one-hot and index targets alike."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from monai.losses import DiceLoss, GeneralizedDiceLoss, TverskyLoss
from refusals import refused

from lib import losses
from lib.losses import segmentation


def batch(classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, classes, 6, 5, generator=generator), torch.randint(0, classes, (2, 6, 5), generator=generator)


@pytest.mark.parametrize("name", list(segmentation.LOSSES))
def test_one_hot_and_index_targets_are_the_same(name):
    output, target = batch()
    loss = losses.by_name(name, "slices")
    assert torch.allclose(loss(output, target), loss(output, segmentation.one_hot(target, 3)))


def test_dice_is_monais():
    output, target = batch()
    peer = DiceLoss(to_onehot_y=True, softmax=True, batch=True, smooth_nr=1e-7, smooth_dr=1e-7)
    assert torch.allclose(segmentation.dice_loss(output, target), peer(output, target[:, None]), atol=1e-6)
    output, target = output[:, :1], (target[:, None] == 1).float()
    peer = DiceLoss(sigmoid=True, batch=True, smooth_nr=1e-7, smooth_dr=1e-7)
    assert torch.allclose(segmentation.dice_loss(output, target), peer(output, target), atol=1e-6)


def test_cross_entropy_is_torchs_with_its_weights():
    output, target = batch()
    weights = [0.2, 1.0, 3.0]
    assert torch.equal(losses.by_name("cross_entropy", "slices")(output, target), F.cross_entropy(output, target))
    expected = F.cross_entropy(output, target, torch.tensor(weights))
    assert torch.allclose(losses.by_name("cross_entropy", "slices", class_weights=weights)(output, target), expected)
    binary = (target[:, None] > 0).float()
    expected = F.binary_cross_entropy_with_logits(output[:, :1], binary)
    assert torch.allclose(losses.by_name("cross_entropy", "slices")(output[:, :1], binary), expected)


def test_a_perfect_output_has_no_loss_and_blank_masks_stay_finite():
    target = batch()[1]
    sure = 100 * segmentation.one_hot(target, 3)
    assert segmentation.dice_loss(sure, target) < 1e-6
    output = torch.full((2, 1, 4, 4), -50.0, requires_grad=True)
    loss = segmentation.dice_loss(output, torch.zeros(2, 1, 4, 4))
    loss.backward()
    assert loss < 1e-6 and output.grad.isfinite().all()


def test_metrics_worked_by_hand():
    target = torch.tensor([[[0, 1], [1, 2]]])
    output = segmentation.one_hot(torch.tensor([[[0, 1], [0, 2]]]), 3)
    assert segmentation.dice(output, target).item() == pytest.approx((2 / 3 + 1) / 2)
    assert segmentation.accuracy(output, target) == 0.75
    assert segmentation.hamming(output, target).item() == pytest.approx(2 / 12)  # one voxel of 4, two of its 3 classes
    one = torch.tensor([[[[1.0, -1.0]]]])
    assert segmentation.dice(one, torch.tensor([[[[1.0, 1.0]]]])).item() == pytest.approx(2 / 3)
    assert segmentation.dice(-one.abs(), torch.zeros(1, 1, 1, 2)) == 1


def by_hand(output, target):
    """Σpy, Σp, Σy (N, C) in float64 by plain loops."""
    p = np.exp(output.double().numpy())
    p /= p.sum(1, keepdims=True)
    sums = np.zeros((3, *p.shape[:2]))
    for n, c in np.ndindex(*p.shape[:2]):
        y = target[n].numpy() == c
        sums[:, n, c] = p[n, c][y].sum(), p[n, c].sum(), y.sum()
    return sums


def test_adaptive_dice_by_hand_and_its_anchors():
    output, target = batch()
    both, p, y = by_hand(output, target).sum(1)
    d = 2 * (both + 1e-7) / (p + y + 1e-7)
    expected = 1 - (np.exp(-d) * d).sum() / (3 * np.exp(-1))
    assert segmentation.adaptive_dice32(output, target).item() == pytest.approx(expected, abs=1e-6)
    sure = 100 * segmentation.one_hot(target, 3)
    assert abs(segmentation.adaptive_dice32(sure, target)) < 1e-5
    none = torch.zeros(1, 3, 4, 4)  # the third class is in neither: d = 2 there, or 1 where it is capped
    none[:, 0], none[:, 2] = 50, -200
    empty = torch.zeros(1, 4, 4, dtype=torch.long)
    missing = (2 + 2 * 2 * np.exp(-2) / np.exp(-1)) / 3 - 1 / 3  # class 0 right, 1 and 2 in neither
    assert segmentation.adaptive_dice32(none, empty).item() == pytest.approx(1 - missing, abs=1e-5)
    assert abs(losses.by_name("adaptive_dice32_capped", "slices")(none, empty)) < 1e-5


def test_overlap_losses_by_hand():
    output, target = batch()
    both, p, y = by_hand(output, target)
    w = 1 / y**2
    generalized = (2 * (w * both).sum(1) / (w * (p + y)).sum(1)).mean()
    jaccard = (both.sum(1) / (p + y - both).sum(1)).mean()
    tversky = (both / (both + 0.3 * (p - both) + 0.7 * (y - both))).mean()
    for name, value in {"generalized_dice": generalized, "jaccard": jaccard, "tversky": tversky}.items():
        assert losses.training_metric(name, "slices")(output, target).item() == pytest.approx(value, abs=1e-6)
        assert losses.by_name(name, "slices")(output, target).item() == pytest.approx(1 - value, abs=1e-6)


def test_tversky_and_generalized_dice_are_monais():
    output, target = batch()
    for name, peer in {
        "tversky": TverskyLoss(to_onehot_y=True, softmax=True, alpha=0.3, beta=0.7, smooth_nr=1e-7, smooth_dr=1e-7),
        "generalized_dice": GeneralizedDiceLoss(to_onehot_y=True, softmax=True, smooth_nr=1e-7, smooth_dr=1e-7),
    }.items():
        assert torch.allclose(losses.by_name(name, "slices")(output, target), peer(output, target[:, None]), atol=1e-5)


@pytest.mark.parametrize("size", [4, 32, 128])
def test_overlap_losses_do_not_depend_on_the_volumes_size(size):
    output, target = torch.zeros(1, 1, size, size, size, requires_grad=True), torch.ones(1, 1, size, size, size)
    # p = .5 everywhere, y = 1: the size cancels
    for name, value in {"dice": 2 / 3, "generalized_dice": 2 / 3, "jaccard": 1 / 2, "tversky": 1 / 1.7}.items():
        loss = losses.by_name(name, "slices")(output, target)
        assert loss.item() == pytest.approx(1 - value, abs=1e-6), name
    segmentation.generalized_dice(output, target).backward()
    slope = 2 * 1 / 1.5**2 * 0.25  # d(2p / (p + 1)) / dp at .5, and of the sigmoid at 0
    assert output.grad.sum().item() == pytest.approx(slope, rel=1e-5)


@pytest.mark.parametrize("rare", [0, 1, 1000, 50000])
def test_generalized_dice_of_a_large_volume_is_monais_without_smoothing(rare):
    generator = torch.Generator().manual_seed(0)
    target = torch.arange(64**3).reshape(1, 64, 64, 64) % 2  # classes 0 and 1, and `rare` voxels of class 2, or none
    target.view(-1)[:rare] = 2
    output = torch.randn(1, 3, 64, 64, 64, generator=generator)
    peer = GeneralizedDiceLoss(to_onehot_y=True, softmax=True, smooth_nr=0, smooth_dr=0)
    found = losses.by_name("generalized_dice", "slices")(output, target)
    assert found.item() == pytest.approx(peer(output, target[:, None]).item(), abs=1e-6)


def test_generalized_dice_without_any_lesion():
    empty, output = torch.zeros(2, 1, 8, 8), torch.full((2, 1, 8, 8), -200.0)
    assert segmentation.generalized_dice(output, empty) == 1  # rightly none
    assert segmentation.generalized_dice(-output, empty) < 1e-6
    sure = 200 * segmentation.one_hot(torch.ones(1, 8, 8, dtype=torch.long), 3)  # classes 0 and 2 are in neither
    assert segmentation.generalized_dice(sure, torch.ones(1, 8, 8, dtype=torch.long)) == pytest.approx(1)


def test_half_precision_is_summed_in_float32():
    output, target = batch()
    low = segmentation.dice_loss(output.bfloat16(), target)
    assert low.dtype == torch.float32
    assert np.isclose(low, segmentation.dice_loss(output.bfloat16().float(), target))


def test_what_is_refused():
    with refused(found="did you mean 'dice'"):
        losses.by_name("dise", "slices")
    with refused(where="class_weights", found="the loss dice has no such setting"):
        losses.by_name("dice", "slices", class_weights=[1, 2])
    with refused(where="class_weights", found="2 of them, the network has 3 classes"):
        losses.by_name("cross_entropy", "slices", class_weights=[1, 2])(*batch())
    with refused(found=r"the output is \(2, 3, 6, 5\), the target \(2, 6, 4\)"):
        segmentation.dice_loss(batch()[0], batch()[1][..., :4])
