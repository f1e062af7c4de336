"""UNet against the fastMRI package's Unet, and what the package can't do."""

import pytest
import torch
from fastmri.models import Unet

from lib import InputError
from lib.models.blocks import InstanceNorm
from lib.models.fastmri_unet import UNet

SETTINGS = {"in_chans": 2, "out_chans": 3, "chans": 5, "num_pool_layers": 3}


def pair(seed=0, **settings):
    torch.manual_seed(seed)
    theirs, ours = Unet(**settings), UNet(**settings)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return ours, theirs


def error(found, expected):
    return float(((found - expected).norm() / expected.norm()).detach())


def check_equal(ours, theirs, image):
    """The same in double precision; in single precision rounding of the size of fastMRI's (which kernels a CPU picks for
    either memory layout decides: 0.9 to 1.8 times as much was seen).
    """
    output, rounded = ours(image), theirs(image)
    exact = theirs.double()(image.double())
    assert error(ours.double()(image.double()), exact) < 1e-13
    assert error(output, exact) < 3 * error(rounded, exact)


@pytest.mark.parametrize("size", [(32, 24), (33, 24), (24, 37), (41, 31), (16, 17)])
@pytest.mark.parametrize("scale", [1e-3, 1, 1e3])
def test_equals_fastmri(size, scale):
    ours, theirs = pair(**SETTINGS)
    image = scale * torch.randn(2, 2, *size)
    before = image.clone()
    with torch.no_grad():
        output = ours(image)
        assert output.shape == (2, 3, *size) and output.is_contiguous()
        check_equal(ours, theirs, image)
    assert torch.equal(image, before)


def test_published_baseline_equals_fastmri():
    ours, theirs = pair(in_chans=1, out_chans=1, chans=32, num_pool_layers=4)
    image = torch.randn(1, 1, 80, 69)
    with torch.no_grad():
        check_equal(ours, theirs, image)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-13)])
def test_gradients_equal_fastmri(dtype, tolerance):
    ours, theirs = (network.to(dtype) for network in pair(**SETTINGS))
    image = torch.randn(2, 2, 33, 26, dtype=dtype)
    weight = torch.randn(2, 3, 33, 26, dtype=dtype)
    gradients = []
    for network in (ours, theirs):
        x = image.clone().requires_grad_()
        (network(x) * weight).sum().backward()
        gradients.append([x.grad, *(network.get_parameter(name).grad for name, _ in theirs.named_parameters())])
    for found, expected in zip(*gradients, strict=True):
        assert error(found, expected) < tolerance


def test_dropout_equals_fastmri():
    ours, theirs = pair(**SETTINGS, drop_prob=0.4)
    image = torch.randn(2, 2, 32, 24)
    with torch.no_grad():
        torch.manual_seed(3)
        expected = theirs(image)
        torch.manual_seed(3)
        assert error(ours(image), expected) < 1e-6
        assert error(ours(image), expected) > 1e-2
        assert error(ours.eval()(image), theirs.eval()(image)) < 1e-6


def test_one_seed_gives_the_same_first_weights_as_fastmri():
    torch.manual_seed(7)
    theirs = Unet(**SETTINGS).state_dict()
    torch.manual_seed(7)
    ours = UNet(**SETTINGS).state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize(
    ("chans", "count"), [(32, 7_756_097), (64, 31_023_745), (128, 124_093_697), (256, 496_372_225)]
)
def test_published_parameter_counts(chans, count):
    with torch.device("meta"):
        assert sum(p.numel() for p in UNet(chans=chans).parameters()) == count


def test_sizes_that_pool_down_to_one_pixel():
    ours, theirs = pair(**SETTINGS)
    assert torch.isfinite(ours(torch.randn(1, 2, 8, 8))).all()  # the package refuses its 1 × 1 level while it trains
    image = torch.randn(1, 2, 16, 8)
    assert error(ours(image), theirs(image)) < 1e-6
    with pytest.raises(InputError, match="an image of 8×7 is too small.*at least 8×8"):
        ours(torch.randn(1, 2, 8, 7))


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_a_constant_image_is_finite(value):
    ours, _ = pair(**SETTINGS)
    image = torch.full((1, 2, 24, 24), value, requires_grad=True)
    output = ours(image)
    output.sum().backward()
    assert torch.isfinite(output).all() and torch.isfinite(image.grad).all()
    assert all(torch.isfinite(p.grad).all() for p in ours.parameters())


def test_autocast_stays_close():
    ours, _ = pair(**SETTINGS)
    image = torch.randn(2, 2, 33, 24)
    expected = ours(image)
    with torch.autocast("cpu", torch.bfloat16):
        output = ours(image)
    assert output.dtype == torch.bfloat16
    assert 1e-4 < error(output.float(), expected) < 0.05


@pytest.mark.parametrize("shape", [(2, 4, 9, 8), (2, 16, 20, 20), (1, 1, 5, 5), (3, 5, 40), (2, 3, 4, 5, 6)])
@pytest.mark.parametrize("memory_format", ["first", "last"])
def test_instance_norm_keeps_its_digits(shape, memory_format):
    x = 3 + torch.randn(shape)
    dims = tuple(range(2, x.ndim))
    exact = x.double() - x.double().mean(dims, keepdim=True)
    exact /= (exact.square().mean(dims, keepdim=True) + 1e-5).sqrt()
    if memory_format == "last" and x.ndim == 4:
        x = x.contiguous(memory_format=torch.channels_last)
    assert error(InstanceNorm()(x), exact) < 1e-6


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("scale", [1e-6, 1, 1e3])
def test_instance_norm_of_halves_sums_in_float32(kind, scale):
    x = (scale * (1 + torch.randn(2, 3, 64, 80))).to(kind).requires_grad_()
    output = InstanceNorm()(x)
    output.square().sum().backward()
    exact = x.detach().double() - x.detach().double().mean((2, 3), keepdim=True)
    exact /= (exact.square().mean((2, 3), keepdim=True) + 1e-5).sqrt()
    assert output.dtype == kind and torch.isfinite(x.grad).all()
    assert error(output.double(), exact) < 2 * torch.finfo(kind).eps
