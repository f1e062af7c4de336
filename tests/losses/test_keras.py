"""Losses and metrics by Keras' names: against scikit-image, pytorch-msssim and formulas worked out in numpy."""

import numpy as np
import pytest
import torch
from pytorch_msssim import ssim as peer_ssim
from refusals import refused
from skimage.metrics import normalized_root_mse, structural_similarity

from lib import InputError, losses, metrics
from lib.losses import keras


def pair(shape=(2, 24, 20, 9), seed=0):
    random = np.random.default_rng(seed)
    y = random.random(shape)
    return np.clip(y + 0.1 * random.standard_normal(shape), 0.01, 0.99), y


P, Y = pair()
E = 1e-7
EXPECTED = {
    "mean_squared_error": ((P - Y) ** 2).mean(),
    "mean_absolute_error": np.abs(P - Y).mean(),
    "mean_absolute_percentage_error": 100 * (np.abs(P - Y) / np.abs(Y)).mean(),
    "mean_squared_logarithmic_error": ((np.log(P + 1) - np.log(Y + 1)) ** 2).mean(),
    "log_cosh": np.log(np.cosh(P - Y)).mean(),
    "huber": np.where(np.abs(P - Y) <= 1, 0.5 * (P - Y) ** 2, np.abs(P - Y) - 0.5).mean(),
    "binary_crossentropy": -(Y * np.log(P) + (1 - Y) * np.log(1 - P)).mean(),
    "psnr_loss": -np.mean([10 * np.log10(1 / ((p - y) ** 2).mean()) for p, y in zip(P, Y, strict=True)]),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_losses_equal_their_formulas(name):
    found = losses.by_name(name, "cine")(torch.from_numpy(P), torch.from_numpy(Y)).item()
    assert found == pytest.approx(EXPECTED[name], rel=1e-5)


def test_every_loss_is_checked_here():
    assert set(keras.LOSSES) == {*EXPECTED, "ssim_loss"}


@pytest.mark.parametrize(
    ("name", "of"),
    [("MSE", "mean_squared_error"), ("mae", "mean_absolute_error"), ("logcosh", "log_cosh"),
     ("MeanSquaredError", "mean_squared_error"),
     ("BinaryCrossentropy", "binary_crossentropy"), ("Huber", "huber"), ("msle", "mean_squared_logarithmic_error")],
)  # fmt: skip
def test_aliases(name, of):
    assert losses.by_name(name, "cine")(torch.from_numpy(P), torch.from_numpy(Y)).item() == pytest.approx(
        EXPECTED[of], rel=1e-5
    )


def test_ssim_is_the_gaussian_one_with_frames_as_channels():
    p, y = (torch.from_numpy(a).movedim(-1, 1) for a in (P, Y))
    expected = peer_ssim(p, y, data_range=1.0, win_size=11, win_sigma=1.5).item()
    assert losses.training_metric("ssim", "cine")(torch.from_numpy(P), torch.from_numpy(Y)).item() == pytest.approx(
        expected, abs=1e-6
    )
    assert losses.by_name("ssim_loss", "cine")(torch.from_numpy(P), torch.from_numpy(Y)).item() == pytest.approx(
        1 - expected, abs=1e-6
    )


def test_metrics_equal_scikit_image():
    output, truth = torch.from_numpy(P), torch.from_numpy(Y)
    blocks = [structural_similarity(y, p, win_size=7, data_range=1.0) for p, y in zip(P, Y, strict=True)]
    assert losses.training_metric("ssim3d", "cine")(output, truth).item() == pytest.approx(np.mean(blocks), abs=1e-6)
    errors = [normalized_root_mse(y, p) for p, y in zip(P, Y, strict=True)]
    assert losses.training_metric("nrmse", "cine")(output, truth).item() == pytest.approx(np.mean(errors), abs=1e-6)
    assert metrics.ssim3d(P[0], Y[0], 1.0) == pytest.approx(blocks[0], abs=1e-6)


def test_half_precision_is_scored_in_float32():
    output = torch.from_numpy(P).to(torch.bfloat16)
    assert losses.by_name("mse", "cine")(output, torch.from_numpy(Y).float()).dtype == torch.float32


def test_gradients_are_finite():
    for name in keras.LOSSES:
        output = torch.from_numpy(P).requires_grad_()
        losses.by_name(name, "cine")(output, torch.from_numpy(Y)).backward()
        assert torch.isfinite(output.grad).all(), name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("SIM_loss", "did you mean 'ssim_loss'"),
        ("mean_sqared_error", "did you mean 'mean_squared_error'"),
        ("nonsense!", "expected one of"),
    ],
)
def test_unknown_names_get_the_nearest(name, words):
    with pytest.raises(InputError, match=words):
        losses.by_name(name, "cine")


def test_different_shapes_are_told():
    with refused(found=r"the output is \(1, 2\), the truth \(2, 1\)"):
        losses.by_name("mse", "cine")(torch.zeros(1, 2), torch.zeros(2, 1))
