"""Image metrics: scikit-image, fastMRI's own evaluation and cases worked by hand."""

import importlib
import math
import sys
import types

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from lib import InputError, metrics


def volumes(shape=(3, 33, 40), scale=1.0, dtype=np.float64, seed=0):
    """A smooth positive volume whose slices differ in brightness, and the same with noise: (output, target)."""
    rng = np.random.default_rng(seed)
    target = (
        np.abs(ndimage.gaussian_filter(rng.normal(size=shape), (0, 2, 2))) * np.linspace(1, 4, shape[0])[:, None, None]
    )
    output = np.abs(target + 0.05 * target.max() * rng.normal(size=shape))
    return (output * scale).astype(dtype), (target * scale).astype(dtype)


def skimage_ssim(output, target, data_range, **settings):
    output, target = output.astype(np.float64), target.astype(np.float64)
    return np.mean(
        [structural_similarity(t, o, data_range=data_range, **settings) for o, t in zip(output, target, strict=True)]
    )


GAUSSIAN = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
OF_IMAGES = [name for name in metrics.METRICS if name not in ("dice", "hausdorff95")]


@pytest.mark.parametrize("scale", [1e-6, 1, 1e4])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(3, 33, 40), (1, 7, 7), (2, 12, 7), (2, 64, 31)])
def test_ssim_equals_skimage(shape, dtype, scale):
    output, target = volumes(shape, scale, dtype)
    expected = skimage_ssim(output, target, float(target.max()))
    assert metrics.ssim(output, target) == pytest.approx(expected, abs=1e-9)
    if min(shape[1:]) >= 11:
        expected = skimage_ssim(output, target, float(target.max()), **GAUSSIAN)
        assert metrics.ssim_gaussian(output, target) == pytest.approx(expected, abs=1e-9)


def test_the_default_data_range_is_the_volumes_not_the_slices():
    output, target = volumes()
    volume = skimage_ssim(output, target, target.max())
    slices = np.mean([skimage_ssim(o[None], t[None], t.max()) for o, t in zip(output, target, strict=True)])
    assert abs(volume - slices) > 0.01
    assert metrics.ssim(output, target) == pytest.approx(volume, abs=1e-9)
    assert np.mean([metrics.ssim(o, t) for o, t in zip(output, target, strict=True)]) == pytest.approx(slices, abs=1e-9)
    assert metrics.ssim(output, target, 2.5) == pytest.approx(skimage_ssim(output, target, 2.5), abs=1e-9)
    assert metrics.ssim_gaussian(output, target, 1) == pytest.approx(skimage_ssim(output, target, 1, **GAUSSIAN))


@pytest.mark.parametrize("shape", [(7, 7, 7), (9, 20, 13)])
def test_ssim3d_equals_skimage(shape):
    output, target = volumes(shape, dtype=np.float32)
    expected = structural_similarity(target.astype(float), output.astype(float), data_range=float(target.max()))
    assert metrics.ssim3d(output, target) == pytest.approx(expected, abs=1e-9)
    assert metrics.ssim3d(output, target) != pytest.approx(metrics.ssim(output, target), abs=1e-3)


@pytest.fixture
def evaluate(monkeypatch):
    """fastmri.evaluate; the running statistics that it imports too have no part in its metrics."""
    monkeypatch.setitem(sys.modules, "runstats", types.SimpleNamespace(Statistics=None))
    return importlib.import_module("fastmri.evaluate")


@pytest.mark.parametrize("scale", [1e-6, 1])
def test_equal_to_fastmri(evaluate, scale):
    output, target = volumes(scale=scale, dtype=np.float32)
    assert metrics.ssim(output, target) == pytest.approx(evaluate.ssim(target, output).item(), abs=1e-6)
    assert metrics.psnr(output, target) == pytest.approx(evaluate.psnr(target, output), abs=1e-4)
    assert metrics.nmse(output, target) == pytest.approx(evaluate.nmse(target, output).item(), rel=1e-5)
    wide = np.float64(output), np.float64(target)
    assert metrics.psnr(*wide) == pytest.approx(peak_signal_noise_ratio(wide[1], wide[0], data_range=wide[1].max()))


def test_by_hand():
    target = np.array([[3.0, 4.0], [0.0, 0.0]])
    output = np.array([[3.0, 2.0], [0.0, 0.0]])
    assert metrics.nmse(output, target) == pytest.approx(4 / 25)
    assert metrics.psnr(output, target) == pytest.approx(10 * math.log10(4**2 / 1))
    assert metrics.psnr(output, target, 1) == pytest.approx(0)
    assert metrics.psnr(target, target) == math.inf
    # Two constant images have no variance: only the luminance term is left.
    ones = np.ones((1, 7, 7))
    expected = (2 * 0.5 + 1e-4) / (1 + 0.25 + 1e-4)
    assert metrics.ssim(0.5 * ones, ones) == pytest.approx(expected, abs=1e-12)
    assert metrics.ssim(ones, ones) == pytest.approx(1, abs=1e-12)


def test_metrics_are_not_symmetric_so_the_order_counts():
    output, target = volumes()
    output = output * 2
    assert metrics.nmse(output, target) != pytest.approx(metrics.nmse(target, output))
    assert metrics.ssim(output, target) == pytest.approx(skimage_ssim(output, target, target.max()), abs=1e-9)


@pytest.mark.parametrize("name", OF_IMAGES)
def test_every_metric_is_called_alike_scales_and_says_what_it_is(name):
    metric = metrics.METRICS[name]
    output, target = volumes((9, 33, 40), dtype=np.float32)
    value = metric(output, target, float(target.max()))
    assert isinstance(value, float)
    assert metric(torch.from_numpy(output).requires_grad_(), torch.from_numpy(target)) == pytest.approx(
        value, rel=1e-12
    )
    if name != "ssim_foreground":
        assert metric(1e-6 * output, 1e-6 * target) == pytest.approx(value, rel=1e-5)
    assert set(metrics.definitions()[name]) == {"window", "data_range", "reduction"}
    assert metrics.METRICS.keys() == metrics.definitions().keys()


def test_a_slice_is_a_volume_of_one():
    output, target = volumes((1, 33, 40))
    for name in ("ssim", "psnr", "nmse", "ssim_gaussian", "ssim_foreground"):
        metric = metrics.METRICS[name]
        assert metric(output[0], target[0]) == metric(output, target)


def test_where_restricts_to_a_region():
    output, target = volumes()
    where = np.zeros(target.shape, dtype=bool)
    where[1, 10:20, 5:30] = where[2, 0:9, 0:9] = True
    error, energy = ((output - target)[where] ** 2), target[where] ** 2
    assert metrics.nmse(output, target, where=where) == pytest.approx(error.sum() / energy.sum())
    assert metrics.psnr(output, target, where=where) == pytest.approx(10 * np.log10(target.max() ** 2 / error.mean()))
    maps = [
        structural_similarity(t, o, data_range=target.max(), full=True)[1] for o, t in zip(output, target, strict=True)
    ]
    inner = np.pad(np.ones((27, 34), dtype=bool), 3)  # the window has to lie in the image
    assert metrics.ssim(output, target, where=where) == pytest.approx(np.stack(maps)[where & inner].mean(), abs=1e-9)
    everywhere = torch.ones(target.shape, dtype=torch.bool)
    for metric in (metrics.ssim, metrics.psnr, metrics.nmse):
        assert metric(output, target, where=everywhere) == pytest.approx(metric(output, target))
        assert metric(output[1], target[1], where=where[1]) == metric(output[1:2], target[1:2], where=where[1:2])


def test_ssim_foreground_equals_its_definition():
    rng = np.random.default_rng(0)
    target = np.zeros((2, 96, 90))
    target[:, 20:60, 0:50] = 1e-4 * (1 + rng.random((2, 40, 50)))
    target[0, 80, 80] = target[1, 5:9, 70:74] = 1e-4  # a speck that the erosion removes, a piece that it leaves
    output = target + 2e-5 * rng.random(target.shape)
    masks = []
    for t in target:
        mask, square = t > 5e-5, np.ones((3, 3))
        mask = ndimage.binary_erosion(mask, square, 1, border_value=1)
        mask = ndimage.binary_dilation(mask, square, 15, border_value=0)
        masks.append(ndimage.binary_erosion(mask, square, 14, border_value=1))
    masks = np.stack(masks)
    assert masks[1, 7, 72] and not masks[0, 80, 80] and 0.2 < masks.mean() < 0.6
    assert np.array_equal(metrics.challenge_foreground(torch.from_numpy(target)).numpy(), masks)
    expected = skimage_ssim(output * masks, target * masks, target.max())
    assert metrics.ssim_foreground(output, target) == pytest.approx(expected, abs=1e-9)
    assert metrics.ssim_foreground(output, target) != pytest.approx(metrics.ssim(output, target), abs=1e-2)
    assert metrics.ssim_foreground(output * 10, target * 10, threshold=5e-4) == pytest.approx(expected, abs=1e-9)


def test_foreground_is_the_biggest_piece_with_its_holes_filled():
    target = np.zeros((3, 40, 40))
    target[:, 5:30, 5:30] = 1.0
    target[1, 10:15, 10:15] = 0.0  # a hole
    target[:, 35:38, 35:38] = 2.0  # another piece
    target[0, 0, 0] = 1000.0  # one pixel doesn't set the level
    expected = np.zeros(target.shape, dtype=bool)
    expected[:, 5:30, 5:30] = True
    assert np.array_equal(metrics.foreground(target + 0.05), expected)
    assert np.array_equal(metrics.foreground(torch.from_numpy(target[1])), expected[1])
    assert not metrics.foreground(np.zeros((2, 8, 8))).any()


def test_per_slice_keeps_the_volumes_range():
    output, target = volumes()
    values = metrics.per_slice(metrics.ssim, output, target)
    assert values.shape == (3,)
    assert values.mean() == pytest.approx(metrics.ssim(output, target))
    assert values[0] == metrics.ssim(output[0], target[0], target.max())


def test_bootstrap_interval():
    rng = np.random.default_rng(0)
    values = rng.normal(10, 1, size=400)
    low, high = metrics.bootstrap_interval(values, block=1)
    # Independent values: the interval of the normal distribution, ±1.96 σ / √n.
    assert (low + high) / 2 == pytest.approx(values.mean(), abs=0.01)
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.08)
    narrow = metrics.bootstrap_interval(values, block=1, level=0.5)
    assert low < narrow[0] < narrow[1] < high
    assert metrics.bootstrap_interval(values, seed=3) == metrics.bootstrap_interval(values, seed=3)
    # Neighbors that resemble each other: blocks see that there are fewer independent values.
    alike = np.repeat(rng.normal(size=40), 10)
    single, blocks = (np.diff(metrics.bootstrap_interval(alike, block=b)).item() for b in (1, 20))
    assert blocks > 2 * single
    assert metrics.bootstrap_interval([5.0]) == (5.0, 5.0)
    assert metrics.bootstrap_interval([1.0, 2.0, 3.0], block=3) == (2.0, 2.0)


@pytest.mark.parametrize("values", [[], [[1.0, 2.0]], 3.0])
def test_bootstrap_wants_a_list_of_values(values):
    with pytest.raises(InputError, match="expected"):
        metrics.bootstrap_interval(values)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda o, t: metrics.ssim(o[:2], t), r"output is \(2, 33, 40\), the target \(3, 33, 40\)"),
        (lambda o, t: metrics.ssim(o[:, :6], t[:, :6]), r"\(6, 40\) is smaller than the 7-pixel"),
        (lambda o, t: metrics.ssim_gaussian(o[:, :10], t[:, :10]), "11-pixel"),
        (lambda o, t: metrics.ssim3d(o, t), "7×7×7"),
        (lambda o, t: metrics.psnr(o + 1j, t), "real volume"),
        (lambda o, t: metrics.psnr(o[None], t[None]), "slices, H, W"),
        (lambda o, t: metrics.psnr(o, t * 0), "data range 0"),
        (lambda o, t: metrics.ssim(o, t, -1), "data range -1"),
        (lambda o, t: metrics.nmse(o, t * 0), "zero everywhere"),
        (lambda o, t: metrics.nmse(o, t, where=t > t.max()), "empty"),
        (lambda o, t: metrics.psnr(o, t, where=t), "expected bool"),
        (lambda o, t: metrics.ssim(o, t, where=t[0] > 0), r"expected bool \(3, 33, 40\)"),
        (
            lambda o, t: metrics.ssim(o, t, where=np.pad(np.ones((3, 3, 40), bool), ((0, 0), (0, 30), (0, 0)))),
            "no pixel",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(call, message):
    with pytest.raises(InputError, match=message) as caught:
        call(*volumes())
    assert "\n" not in str(caught.value)


LAYOUTS = {
    "flipped": lambda x: x[::-1, :, ::-1],
    "transposed": lambda x: x.transpose(0, 2, 1),
    "big-endian": lambda x: x.astype(">f4"),
    "long double": lambda x: x.astype(np.longdouble),
    "unsigned long long": lambda x: (1000 * x).astype(np.ulonglong),
    "read-only": lambda x: np.frombuffer(x.tobytes(), np.float32).reshape(x.shape),
    "unaligned": lambda x: np.frombuffer(b"x" + x.tobytes(), np.float32, offset=1).reshape(x.shape),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_of_numpy_is_taken(layout):
    output, target = (LAYOUTS[layout](x) for x in volumes((8, 24, 20), dtype=np.float32))
    peak = float(target.max())
    assert metrics.ssim(output, target) == pytest.approx(skimage_ssim(output, target, peak), abs=1e-9)
    expected = peak_signal_noise_ratio(target.astype(float), output.astype(float), data_range=peak)
    assert metrics.psnr(output, target) == pytest.approx(expected, abs=1e-9)
    plain = [np.array(x, np.float64, order="C") for x in (output, target)]
    where = (plain[1] > np.median(plain[1]))[:, ::-1]
    for name in OF_IMAGES:
        assert metrics.METRICS[name](output, target) == metrics.METRICS[name](*plain), name
    for metric in (metrics.ssim, metrics.psnr, metrics.nmse):
        assert metric(output, target, where=where) == metric(*plain, where=where.copy())
    assert np.array_equal(metrics.foreground(target), metrics.foreground(plain[1]))
    assert np.array_equal(*(metrics.per_slice(metrics.ssim, *pair) for pair in ((output, target), plain)))


def test_which_way_is_better_is_told_by_what_a_table_shows():
    assert metrics.lower_is_better("NMSE at 4×") and metrics.lower_is_better("NRMSE")
    assert not any(map(metrics.lower_is_better, ("SSIM", "PSNR, dB", "Dice, liver", "anything")))
    assert metrics.standard() == ["ssim", "psnr", "nmse"]
    assert metrics.scored("cine") == ["ssim", "psnr", "nmse", "ssim3d", "nrmse"]


def test_nrmse_is_the_root_of_nmse():
    output, target = volumes()
    assert metrics.nrmse(output, target) == metrics.nmse(output, target) ** 0.5
