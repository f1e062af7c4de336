"""Losses and training metrics: scikit-image, fastMRI's loss, finite differences, cases worked by hand."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fastmri.losses import SSIMLoss as FastMRI
from refusals import refused
from scipy import ndimage
from skimage.metrics import structural_similarity

from lib import losses, metrics


def batch(n=3, h=33, w=40, scale=1.0, seed=0):
    """Output, target (N, H, W) and max (N,), each file with its own range."""
    generator = torch.Generator().manual_seed(seed)
    target = F.avg_pool2d(torch.rand(n, 1, h, w, generator=generator), 5, 1, 2).squeeze(1) * scale
    target = target * torch.linspace(1, 3, n)[:, None, None]
    output = target + 0.05 * scale * torch.randn(n, h, w, generator=generator)
    return output, target, 1.3 * target.amax((1, 2))


def skimage_ssim(output, target, maximum):
    pairs = zip(output.double().numpy(), target.double().numpy(), maximum.double().numpy(), strict=True)
    return np.mean([structural_similarity(t, o, data_range=m) for o, t, m in pairs])


@pytest.mark.parametrize("scale", [1e-6, 1e-4, 1, 1e3])
@pytest.mark.parametrize(
    ("h", "w", "error"), [(33, 40, 3e-7), (64, 31, 3e-7), (161, 160, 3e-7), (7, 7, 2e-6), (8, 7, 2e-6)]
)
def test_ssim_loss_equals_skimage(h, w, error, scale):
    output, target, maximum = batch(h=h, w=w, scale=scale)
    assert 1 - losses.SSIMLoss()(output, target, maximum).item() == pytest.approx(
        skimage_ssim(output, target, maximum), abs=error
    )


def test_ssim_loss_and_its_gradient_equal_fastmri():
    output, target, maximum = (x.double() for x in batch())
    ours, theirs = output.clone().requires_grad_(), output.clone().requires_grad_()
    loss = losses.SSIMLoss()(ours, target, maximum)
    fastmri = FastMRI().double()
    fastmri.w.fill_(1 / 49)  # which it rounds to float32
    reference = fastmri(theirs[:, None], target[:, None], maximum)
    assert loss.item() == pytest.approx(reference.item(), abs=1e-12)
    torch.testing.assert_close(
        *torch.autograd.grad(loss, ours), *torch.autograd.grad(reference, theirs), rtol=1e-9, atol=1e-14
    )


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_box_mean_is_a_pooling_with_an_exact_gradient(axes):
    x = torch.randn(2, 9, 8, 11, dtype=torch.float64, requires_grad=True)
    expected = x
    for axis in range(-axes, 0):
        expected = expected.unfold(axis, 7, 1).mean(-1)
    torch.testing.assert_close(metrics.box_mean(x, axes), expected)
    small = torch.randn(9, 8, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(metrics.box_mean, (small, axes))
    assert torch.autograd.gradgradcheck(metrics.box_mean, (small, axes))


def test_ssim_loss_survives_half_precision_and_autocast():
    output, target, maximum = batch(scale=1e-4)
    exact = losses.SSIMLoss()(output, target, maximum)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(losses.SSIMLoss()(output, target, maximum), exact)
    rounded = output.bfloat16()
    assert torch.equal(losses.SSIMLoss()(rounded, target, maximum), losses.SSIMLoss()(rounded.float(), target, maximum))
    # Float16 has no room below 6e-8: the image batch's mean and std must not be cast to it.
    mean, std = target.mean((1, 2)) * 1e-3, target.std((1, 2)) * 1e-3
    image = losses.unnormalize(torch.ones(3, 1, 4, 4, dtype=torch.float16), mean, std)
    torch.testing.assert_close(image[:, 0, 0, 0], mean + std)


def image_batch():
    """What the "image" kind gives: normalized output (N, 1, H, W) | target, max, mean, std."""
    output, target, maximum = batch(scale=1e-5)
    mean, std = output.mean((1, 2)), output.std((1, 2))
    return ((output - mean[:, None, None]) / std[:, None, None])[:, None], output, target, maximum, mean, std


def test_image_batches_are_unnormalized_for_ssim_and_the_metrics():
    normalized, output, *targets = image_batch()
    torch.testing.assert_close(losses.unnormalize(normalized, *targets[2:])[:, 0], output)
    for function in (losses.SSIMLoss(), losses.ssim_slices, losses.psnr_slices, losses.nmse_slices):
        torch.testing.assert_close(function(normalized, *targets), function(output, *targets[:2]), rtol=1e-5, atol=1e-7)


def test_image_batches_train_on_normalized_values_for_l1_and_mse():
    normalized, _, target, maximum, mean, std = image_batch()
    target[0, 0, 0] = 1.0  # an outlier, cut off at six standard deviations
    expected = torch.stack([((t - m) / (s + 1e-11)).clamp(-6, 6) for t, m, s in zip(target, mean, std, strict=True)])
    output = normalized.squeeze(1)
    torch.testing.assert_close(losses.L1Loss()(normalized, target, maximum, mean, std), F.l1_loss(output, expected))
    torch.testing.assert_close(losses.MSELoss()(normalized, target, maximum, mean, std), F.mse_loss(output, expected))


def test_l1_and_mse_are_fractions_of_the_maximum_or_plain():
    output, target = torch.tensor([[[2.0, 0.0]], [[10.0, 30.0]]]), torch.tensor([[[1.0, 0.0]], [[10.0, 10.0]]])
    maximum = torch.tensor([2.0, 40.0])
    assert losses.L1Loss()(output, target, maximum).item() == pytest.approx((0.5 + 0.5) / 4)
    assert losses.MSELoss()(output, target, maximum).item() == pytest.approx((0.25 + 0.25) / 4)
    assert losses.L1Loss()(output, target).item() == pytest.approx(21 / 4)
    assert losses.MSELoss()(output, target).item() == pytest.approx(401 / 4)


@pytest.mark.parametrize("name", list(losses.LOSSES))
def test_losses_do_not_depend_on_the_datas_units(name):
    output, target, maximum = batch()
    for scale in (1e-6, 1e4):
        scaled, plain = (losses.by_name(name, foreground_threshold=0.5 * s) for s in (scale, 1))
        value = scaled(output * scale, target * scale, maximum * scale)
        torch.testing.assert_close(value, plain(output, target, maximum), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", list(losses.LOSSES))
def test_gradients_reach_the_output_finite_even_of_blank_slices(name):
    output, target, maximum = batch()
    target[0], output[0] = 0, 0
    output.requires_grad_()
    losses.by_name(name)(output[:, None], target, maximum).backward()
    assert output.grad.isfinite().all()
    assert output.grad[1:].abs().amax() > 0


def test_training_metrics_are_those_of_single_slices():
    output, target, maximum = batch()
    for name, function in losses.TRAINING_METRICS.items():
        assert function.__name__ == f"{name}_slices"
        value = function(output.requires_grad_(), target, maximum)
        expected = np.mean(
            [metrics.METRICS[name](o, t, m.item()) for o, t, m in zip(output, target, maximum, strict=True)]
        )
        assert value.item() == pytest.approx(expected, rel=1e-5)
        assert value.shape == () and not value.requires_grad


def test_training_metrics_stay_finite():
    output, target, maximum = batch()
    target[0], output[0] = 0, 0
    assert losses.psnr_slices(target, target, maximum).item() == pytest.approx(138.5, abs=0.1)
    for function in losses.TRAINING_METRICS.values():
        assert function(output, target, maximum).isfinite()
    assert losses.nmse_slices(output, target, maximum) == pytest.approx(
        2 / 3 * losses.nmse_slices(output[1:], target[1:], maximum[1:]).item()
    )


def test_names():
    assert isinstance(losses.by_name("SSIM"), losses.SSIMLoss)
    assert isinstance(losses.by_name("l1"), losses.L1Loss)
    assert isinstance(losses.by_name("MSE"), losses.MSELoss)
    assert losses.training_metric("ssim_slices") is losses.training_metric("ssim") is losses.ssim_slices
    with refused(where="loss 'sim'", found="did you mean 'ssim'"):
        losses.by_name("sim")
    with refused(where="metric 'accuracy'", expected="one of ssim, psnr, nmse"):
        losses.training_metric("accuracy")


@pytest.mark.parametrize("function", [*(loss() for loss in losses.LOSSES.values()), *losses.TRAINING_METRICS.values()])
def test_shapes_that_would_broadcast_are_refused(function):
    output, target, maximum = batch()
    with refused(found=r"output is \(3, 2, 33, 40\), the target \(3, 33, 40\)"):
        function(torch.stack((output, output), 1), target, maximum)
    with refused(found=r"output is \(1, 33, 40\)"):
        function(output[:1], target, maximum)


def test_images_smaller_than_the_window_are_refused():
    with refused(found="7×7"):
        losses.SSIMLoss()(*batch(h=6))


def test_foreground_loss_is_ssim_of_images_that_are_zero_outside_the_challenges_mask():
    rng = np.random.default_rng(0)
    target = np.zeros((2, 80, 72))
    target[:, 30:48, 28:43] = 1e-4 * rng.uniform(0.6, 1, (2, 18, 15))
    output = target + 1e-5 * rng.standard_normal(target.shape)
    mask = ndimage.binary_erosion(target > 5e-5, np.ones((1, 3, 3)), border_value=1)
    mask = ndimage.binary_dilation(mask, np.ones((1, 3, 3)), iterations=15)
    mask = ndimage.binary_erosion(mask, np.ones((1, 3, 3)), iterations=14, border_value=1)
    assert 0 < mask.mean() < 1
    expected = [structural_similarity(o, t, data_range=1e-4) for o, t in zip(output * mask, target * mask, strict=True)]
    value = losses.by_name("ssim_foreground")(*(torch.from_numpy(a) for a in (output, target)), torch.full((2,), 1e-4))
    assert value.item() == pytest.approx(1 - np.mean(expected), abs=1e-6)


def test_a_metric_of_the_table_is_followed_while_training(monkeypatch):
    line = metrics.Metric(
        lambda output, target, data_range: abs(output - target).max() / data_range, "worst", lower_is_better=True
    )
    monkeypatch.setitem(metrics.METRICS, "worst", line)
    output, target = torch.tensor([[[1.0, 2.0]], [[3.0, 4.0]]]), torch.tensor([[[1.0, 1.0]], [[3.0, 2.0]]])
    metric = losses.training_metric("worst_slices")
    assert metric.__name__ == "worst_slices" and metric(output[:, None], target, torch.tensor([2.0, 4.0])) == 0.5
    assert (
        not losses.rises("worst_slices")
        and losses.rises("SSIM")
        and losses.rises("jaccard")
        and not losses.rises("mse")
    )


def test_log_error_counts_each_slices_error_by_its_size():
    """Worked out by scikit-image; a tenth of a slice's error is worth the same, be the slice good or poor."""
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(2, 24, 20, generator=generator)
    noise = torch.randn(2, 24, 20, generator=generator) * torch.tensor([0.1, 0.001]).view(2, 1, 1)
    loss, maximum = losses.by_name("log_error"), torch.tensor([1.0, 2.0])
    expected = 0.0
    for t, e, m in zip(target.double().numpy(), noise.double().numpy(), maximum.tolist(), strict=True):
        similarity = structural_similarity(t, t + e, data_range=m)
        expected += (np.log10(1 - similarity) + np.log10(np.mean(e**2) / m**2)) / 2
    assert float(loss(target.double() + noise, target.double(), maximum)) == pytest.approx(expected, abs=1e-6)
    parts = torch.tensor([[1.0, 1.0], [0.5, 1.0], [1.0, 0.5]]).view(3, 2, 1, 1)
    whole, first, second = (float(loss(target + part * noise, target, maximum)) for part in parts)
    assert first - whole == pytest.approx(second - whole, rel=0.15) and first < whole
    assert float(loss(target, target, maximum)) == pytest.approx(-18)
