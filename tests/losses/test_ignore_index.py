"""Pixels that aren't labeled: every loss and training metric is that of the labeled ones, which alone get a gradient."""

import pytest
import torch
import torch.nn.functional as F
from refusals import refused

from lib import losses
from lib.data.targets import target_of
from lib.losses import segmentation

ROWS = 4  # of 6 are labeled
FORMS = {"index": 3, "one_hot": 3, "binary": 1}  # of the target, and the network's channels


def partly_labeled(form, ignore_index=255):
    """Output, the target whose last rows aren't labeled, and both without those rows."""
    generator = torch.Generator().manual_seed(1)
    channels = FORMS[form]
    output = torch.randn(2, channels, 6, 5, generator=generator)
    label = torch.randint(0, max(channels, 2), (2, 6, 5), generator=generator)
    unlabeled = label.clone()
    unlabeled[:, ROWS:] = ignore_index
    target = torch.stack([target_of(form, channels, ignore_index)(each) for each in unlabeled])
    cut = torch.stack([target_of(form, channels)(each) for each in label[:, :ROWS]])
    return output, target, output[:, :, :ROWS], cut


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", [*segmentation.LOSSES, *segmentation.TRAINING_METRICS])
def test_values_are_those_of_the_labeled_pixels_cut_out(name, form):
    output, target, output_cut, target_cut = partly_labeled(form)
    known = segmentation.LOSSES if name in segmentation.LOSSES else segmentation.TRAINING_METRICS
    whole, cut = (
        (losses.by_name(name, "slices", ignore_index=i) for i in (255, None))
        if known is segmentation.LOSSES
        else (losses.training_metric(name, "slices", i) for i in (255, None))
    )
    assert torch.allclose(whole(output, target), cut(output_cut, target_cut), atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", segmentation.LOSSES)
def test_the_gradient_is_0_where_nothing_is_labeled_and_only_there(name, form):
    output, target, *_ = partly_labeled(form)
    output.requires_grad_()
    losses.by_name(name, "slices", ignore_index=255)(output, target).backward()
    assert not output.grad[:, :, ROWS:].any()
    assert output.grad[:, :, :ROWS].all(1).any((1, 2)).all()


@pytest.mark.parametrize("weights", [None, [0.2, 1.0, 3.0]])
def test_cross_entropy_and_its_gradient_are_torchs(weights):
    output, target, *_ = partly_labeled("index")
    ours, torchs = output.clone().requires_grad_(), output.clone().requires_grad_()
    loss = losses.by_name("cross_entropy", "slices", class_weights=weights, ignore_index=255)(ours, target)
    given = None if weights is None else torch.tensor(weights)
    expected = F.cross_entropy(torchs, target, given, ignore_index=255)
    loss.backward()
    expected.backward()
    assert torch.allclose(loss, expected) and torch.allclose(ours.grad, torchs.grad)


def test_dice_worked_by_hand():
    p = torch.tensor([0.9, 0.2, 0.7, 0.99])
    y = torch.tensor([1.0, 0.0, 255.0, 255.0])
    output, target = p.logit().reshape(1, 1, 1, 4), y.reshape(1, 1, 1, 4)
    found = losses.by_name("dice", "pairs", ignore_index=255)(output, target)
    assert found.item() == pytest.approx(1 - 2 * 0.9 / (0.9 + 0.2 + 1), abs=1e-6)
    assert losses.training_metric("dice", "pairs", 255)(output, target) == 1
    assert losses.training_metric("dice", "pairs", 255)(-output, target) == 0


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", segmentation.LOSSES)
def test_a_batch_without_any_label_trains_nothing(name, form):
    output, target, *_ = partly_labeled(form)
    output.requires_grad_()
    loss = losses.by_name(name, "slices", ignore_index=255)(output, torch.full_like(target, 255))
    loss.backward()
    assert loss.isfinite() and not output.grad.any()


def test_who_does_not_know_of_it_refuses():
    with refused(where="ignore_index", found="the loss .* has no such setting"):
        losses.by_name("mse", "cine", ignore_index=255)
