"""Segmentation losses against MONAI, torch and hand-worked cases; one-hot and index targets alike."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from monai.losses import DiceLoss

from lib import InputError, seg_losses


def batch(classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, classes, 6, 5, generator=generator), torch.randint(0, classes, (2, 6, 5), generator=generator)


@pytest.mark.parametrize("name", list(seg_losses.LOSSES))
def test_one_hot_and_index_targets_are_the_same(name):
    output, target = batch()
    loss = seg_losses.by_name(name)
    assert torch.allclose(loss(output, target), loss(output, seg_losses.one_hot(target, 3)))


def test_dice_is_monais():
    output, target = batch()
    peer = DiceLoss(to_onehot_y=True, softmax=True, batch=True, smooth_nr=1e-7, smooth_dr=1e-7)
    assert torch.allclose(seg_losses.dice_loss(output, target), peer(output, target[:, None]), atol=1e-6)
    output, target = output[:, :1], (target[:, None] == 1).float()
    peer = DiceLoss(sigmoid=True, batch=True, smooth_nr=1e-7, smooth_dr=1e-7)
    assert torch.allclose(seg_losses.dice_loss(output, target), peer(output, target), atol=1e-6)


def test_cross_entropy_is_torchs_with_its_weights():
    output, target = batch()
    weights = [0.2, 1.0, 3.0]
    assert torch.equal(seg_losses.by_name("cross_entropy")(output, target), F.cross_entropy(output, target))
    expected = F.cross_entropy(output, target, torch.tensor(weights))
    assert torch.equal(seg_losses.by_name("cross_entropy", weights)(output, target), expected)
    binary = (target[:, None] > 0).float()
    expected = F.binary_cross_entropy_with_logits(output[:, :1], binary)
    assert torch.allclose(seg_losses.by_name("cross_entropy")(output[:, :1], binary), expected)


def test_a_perfect_output_has_no_loss_and_blank_masks_stay_finite():
    target = batch()[1]
    sure = 100 * seg_losses.one_hot(target, 3)
    assert seg_losses.dice_loss(sure, target) < 1e-6
    output = torch.full((2, 1, 4, 4), -50.0, requires_grad=True)
    loss = seg_losses.dice_loss(output, torch.zeros(2, 1, 4, 4))
    loss.backward()
    assert loss < 1e-6 and output.grad.isfinite().all()


def test_metrics_worked_by_hand():
    target = torch.tensor([[[0, 1], [1, 2]]])
    output = seg_losses.one_hot(torch.tensor([[[0, 1], [0, 2]]]), 3)
    assert seg_losses.dice(output, target).item() == pytest.approx((2 / 3 + 1) / 2)
    assert seg_losses.accuracy(output, target) == 0.75
    one = torch.tensor([[[[1.0, -1.0]]]])
    assert seg_losses.dice(one, torch.tensor([[[[1.0, 1.0]]]])).item() == pytest.approx(2 / 3)
    assert seg_losses.dice(-one.abs(), torch.zeros(1, 1, 1, 2)) == 1


def test_half_precision_is_summed_in_float32():
    output, target = batch()
    low = seg_losses.dice_loss(output.bfloat16(), target)
    assert low.dtype == torch.float32
    assert np.isclose(low, seg_losses.dice_loss(output.bfloat16().float(), target))


def test_what_is_refused():
    with pytest.raises(InputError, match="did you mean 'dice'"):
        seg_losses.by_name("dise")
    with pytest.raises(InputError, match="class_weights: dice has none"):
        seg_losses.by_name("dice", [1, 2])
    with pytest.raises(InputError, match="class_weights: 2 of them, the network has 3 classes"):
        seg_losses.by_name("cross_entropy", [1, 2])(*batch())
    with pytest.raises(InputError, match=r"the output is \(2, 3, 6, 5\), the target \(2, 6, 4\)"):
        seg_losses.dice_loss(batch()[0], batch()[1][..., :4])
