"""VarNet against the fastMRI package's, sample by sample, and what the package can't do."""

import fastmri.models
import pytest
import torch
from refusals import refused

from lib import InputError, memory
from lib.kspace import center_crop, fft2c, fftc, ifftc, rss
from lib.models.varnet import VarNet, center_lines

SMALL = {"num_cascades": 3, "chans": 4, "pools": 2, "sens_chans": 3, "sens_pools": 2}


def pair(dtype=torch.float32, **settings):
    """Ours and the package's, with one set of random weights; data consistency weights away from their start of 1."""
    torch.manual_seed(0)
    theirs = fastmri.models.VarNet(**(SMALL | settings)).to(dtype)
    for cascade in theirs.cascades:
        torch.nn.init.uniform_(cascade.dc_weight, 0.3, 1.4)
    ours = VarNet(**(SMALL | settings)).to(dtype)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return ours, theirs


def scan(n, coils, height, width, center=6, seed=0, dtype=torch.float32):
    """K-space of white noise, masked, and a mask for each sample: `center` lines in the middle, a third elsewhere."""
    draw = torch.Generator().manual_seed(seed)
    kspace = fft2c(torch.randn(n, coils, height, width, generator=draw, dtype=dtype.to_complex()))
    mask = torch.rand(n, 1, 1, width, generator=draw) < 1 / 3
    first = (width - center + 1) // 2
    mask[..., first - 1] = mask[..., first + center] = False
    mask[..., first : first + center] = True
    return kspace * mask, mask


def theirs_on(network, kspace, mask, counts=None):
    """The package's output one sample after the other, so that nothing of a batch is shared."""
    counts = [None] * len(kspace) if counts is None else [int(c) for c in counts]
    return torch.cat(
        [
            network(torch.view_as_real(kspace[i : i + 1].clone()), mask[i : i + 1, ..., None], counts[i])
            for i in range(len(kspace))
        ]
    )


def error(found, expected):
    return float(((found - expected).norm() / expected.norm()).detach())


@pytest.mark.parametrize("center", [6, 5])
@pytest.mark.parametrize("size", [(20, 24), (21, 24), (20, 27), (23, 33), (32, 48)])
def test_equals_fastmri(size, center):
    kspace, mask = scan(3, 3, *size, center=center)
    assert not torch.equal(mask[0], mask[1])
    before = kspace.clone()
    ours, theirs = pair()
    with torch.no_grad():
        output = ours(kspace, mask)
        assert output.shape == (3, *size) and output.dtype == torch.float32
        assert error(output, theirs_on(theirs, kspace, mask)) < 1e-5
        assert torch.equal(kspace, before)
        ours, theirs = pair(torch.float64)
        kspace = kspace.to(torch.complex128)
        assert error(ours(kspace, mask), theirs_on(theirs, kspace, mask)) < 1e-12


@pytest.mark.parametrize("num_cascades", [1, 2, 4])
def test_any_number_of_cascades_equals_fastmri(num_cascades):
    ours, theirs = pair(torch.float64, num_cascades=num_cascades)
    kspace, mask = scan(2, 2, 20, 26, dtype=torch.float64)
    assert error(ours(kspace, mask), theirs_on(theirs, kspace, mask)) < 1e-12


def test_published_network_equals_fastmri():
    settings = {"num_cascades": 12, "chans": 18, "pools": 4, "sens_chans": 8, "sens_pools": 4}
    ours, theirs = pair(**settings)
    height, width = 40, 36
    y, x = torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)
    image = (x.square() + y.square() < 0.8).float() + ((x - 0.2).square() + y.square() < 0.1)
    maps = torch.stack([torch.exp(1j * i * x - (x - i / 2).square() - (y - 0.3 * i).square()) for i in range(-1, 3)])
    mask = scan(1, 1, 1, width, center=8)[1]
    kspace = 1e-4 * fft2c(image * maps)[None] * mask  # fastMRI's units
    with torch.no_grad():
        # On white noise instead of an image either is 1e-5 to 2e-5 away from its float64 value, 100 convolutions deep.
        assert error(ours(kspace, mask), theirs_on(theirs, kspace, mask)) < 1e-5


# In float32 rounding may put an activation on the other side of LeakyReLU's kink, in theirs as in ours.
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 3e-2), (torch.float64, 1e-11)])
@pytest.mark.parametrize("size", [(20, 24), (21, 27)])
def test_gradients_equal_fastmri(size, dtype, tolerance):
    ours, theirs = pair(dtype)
    kspace, mask = scan(2, 3, *size, dtype=dtype)
    weight = torch.rand(2, *size, dtype=dtype)
    gradients = []
    for forward in (ours, lambda k, m: theirs_on(theirs, k, m)):
        k = kspace.clone().requires_grad_()
        (forward(k, mask) * weight).sum().backward()
        gradients.append(torch.view_as_real(k.grad))
    assert error(*gradients) < tolerance
    for name, parameter in theirs.named_parameters():
        found = ours.get_parameter(name).grad
        if name == "cascades.0.dc_weight":  # nothing to pull back yet: no effect, but a gradient for optimizers and DDP
            assert found == parameter.grad == 0
        else:
            assert error(found, parameter.grad) < tolerance, name


@pytest.mark.parametrize("size", [(20, 24), (20, 27)])
def test_counts_of_center_lines(size):
    ours, theirs = pair()
    kspace, mask = scan(3, 3, *size, center=8)
    with torch.no_grad():
        for counts in (4, 5, torch.tensor(4), torch.tensor([3]), torch.tensor([8, 4, 0]), torch.tensor([1, 5, 7])):
            each = torch.as_tensor(counts).expand(3).tolist()
            assert error(ours(kspace, mask, counts), theirs_on(theirs, kspace, mask, each)) < 1e-5
        assert error(ours(kspace, mask, 4), ours(kspace, mask)) > 1e-3
        one = scan(1, 3, *size, center=8)[1]  # one mask for the whole batch
        kspace = kspace * one
        assert error(ours(kspace, one, torch.tensor([8, 4, 2]))[1], ours(kspace[1:2], one, 4)[0]) < 1e-6


@pytest.mark.parametrize("width", [24, 27])
def test_a_full_mask_has_one_center_line_as_in_fastmri_unless_told_otherwise(width):
    kspace, _ = scan(2, 3, 20, width)
    full = torch.ones(2, 1, 1, width, dtype=torch.bool)
    ours, theirs = pair()
    corrected = VarNet(**SMALL, full_mask_center=True)
    corrected.load_state_dict(theirs.state_dict(), strict=True)
    partial = scan(2, 3, 20, width)[1]
    with torch.no_grad():
        assert error(ours(kspace, full), theirs_on(theirs, kspace, full)) < 1e-5
        assert torch.equal(ours(kspace, full), ours(kspace, full, 1))
        assert error(corrected(kspace, full), theirs_on(theirs, kspace, full, [width, width])) < 1e-5
        kspace = kspace * partial
        assert torch.equal(corrected(kspace, partial), ours(kspace, partial))


@pytest.mark.parametrize(
    ("mask", "count", "lines", "corrected"),
    [
        ("01011010", None, [3, 4], None),  # one line on either side
        ("00111100", None, [2, 3, 4, 5], None),
        ("00111000", None, [3, 4], None),  # the shorter run counts, twice
        ("00000000", None, [4], None),
        ("00110110", None, [4], None),  # the center line itself is missing
        ("11111111", None, [4], list(range(8))),
        ("11111100", None, [4], [2, 3, 4, 5]),  # a full half counts as none
        ("111111111", None, [4], list(range(9))),
        ("001111100", None, [3, 4, 5, 6], None),  # odd: W // 2 = 4 and two lines left of it
        ("000111000", None, [4, 5], None),
        ("00111100", 3, [3, 4, 5], None),
        ("00111100", 2, [3, 4], None),
        ("00111100", 0, [2, 3, 4, 5], None),
        ("001111100", 5, [2, 3, 4, 5, 6], None),
        ("001111100", 9, list(range(9)), None),
    ],
)
def test_center_lines_by_hand(mask, count, lines, corrected):
    mask = torch.tensor([c == "1" for c in mask])[None, None, None]
    assert center_lines(mask, count)[0, 0, 0].nonzero().flatten().tolist() == lines
    assert center_lines(mask, count, True)[0, 0, 0].nonzero().flatten().tolist() == (corrected or lines)


@pytest.mark.parametrize("width", [28, 31])
def test_columns_that_were_never_encoded(width):
    ours, theirs = pair()
    kspace, mask = scan(2, 3, 20, width)
    mask[..., :5] = mask[..., -4:] = False
    kspace = kspace * mask
    full = torch.ones_like(mask)  # fully sampled but for the padding
    full[..., :5] = full[..., -4:] = False
    with torch.no_grad():
        assert error(ours(kspace, mask), theirs_on(theirs, kspace, mask)) < 1e-5
        assert error(ours(kspace, full), theirs_on(theirs, kspace, full)) < 1e-5
        assert center_lines(full).sum() == 2 * 2 * min(width // 2 - 5, width - width // 2 - 4)


def test_an_empty_coil_counts_for_nothing():
    ours, _ = pair()
    kspace, mask = scan(2, 3, 20, 24)
    empty = torch.cat((kspace[:, :2], torch.zeros_like(kspace[:, :1]), kspace[:, 2:]), 1).requires_grad_()
    output = ours(empty, mask)
    assert error(output, ours(kspace, mask)) < 1e-6
    output.square().sum().backward()
    assert torch.isfinite(torch.view_as_real(empty.grad)).all()
    assert all(torch.isfinite(p.grad).all() for p in ours.parameters())
    assert (ours.sensitivities(empty, mask)[:, 2] == 0).all()


def test_an_empty_sample_is_black_and_leaves_the_others_alone():
    ours, _ = pair()
    kspace, mask = scan(2, 3, 20, 24)
    batch = torch.stack((torch.zeros_like(kspace[0]), kspace[1])).requires_grad_()
    output = ours(batch, mask)
    assert (output[0] == 0).all()
    assert error(output[1], ours(kspace, mask)[1]) < 1e-6
    output.square().sum().backward()
    assert torch.isfinite(torch.view_as_real(batch.grad)).all()
    assert all(torch.isfinite(p.grad).all() for p in ours.parameters())


@pytest.mark.parametrize("value", [1, 1j, 0.3 - 0.2j])
def test_a_constant_image_is_finite(value):
    ours, _ = pair()
    mask = scan(1, 2, 20, 24)[1]
    kspace = (fft2c(torch.full((1, 2, 20, 24), value, dtype=torch.complex64)) * mask).requires_grad_()
    output = ours(kspace, mask)
    output.sum().backward()
    assert torch.isfinite(output).all() and torch.isfinite(torch.view_as_real(kspace.grad)).all()
    assert all(torch.isfinite(p.grad).all() for p in ours.parameters())


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1e3, 1e6])
def test_scaled_kspace_gives_a_scaled_image(scale):
    ours, _ = pair()
    kspace, mask = scan(2, 3, 20, 27)
    with torch.no_grad():
        assert error(ours(scale * kspace, mask), scale * ours(kspace, mask)) < 1e-5
        assert error(ours(1e-6 * scale * kspace, mask), scale * ours(1e-6 * kspace, mask)) < 1e-5


def test_autocast_is_for_the_u_nets_alone():
    ours, _ = pair()
    kspace, mask = scan(2, 3, 20, 27)
    kspace = 1e-5 * kspace  # fastMRI's units
    expected = ours(kspace, mask)
    with torch.autocast("cpu", torch.bfloat16):
        output = ours(kspace, mask)
    output.sum().backward()
    assert output.dtype == torch.float32
    assert 1e-4 < error(output, expected) < 0.1
    assert all(torch.isfinite(p.grad).all() for p in ours.parameters())
    for network in (ours.sens_net.norm_unet, *(cascade.model for cascade in ours.cascades)):
        torch.nn.init.zeros_(network.unet.up_conv[-1][-1].weight)  # the U-Nets say nothing now: physics is what is left
        torch.nn.init.zeros_(network.unet.up_conv[-1][-1].bias)
    with torch.autocast("cpu", torch.bfloat16):
        output = ours(kspace, mask)
    assert torch.equal(output, ours(kspace, mask))


def test_sensitivities_equal_fastmri():
    ours, theirs = pair()
    kspace, mask = scan(2, 3, 20, 27)
    maps = ours.sensitivities(kspace, mask, 4)
    assert maps.shape == kspace.shape and maps.dtype == torch.complex64
    expected = torch.view_as_complex(theirs.sens_net(torch.view_as_real(kspace), mask[..., None], 4))
    assert error(maps, expected) < 1e-5
    assert torch.allclose(rss(maps), torch.ones(2, 20, 27), atol=1e-5)


def test_one_seed_gives_the_same_first_weights_as_fastmri():
    torch.manual_seed(7)
    theirs = fastmri.models.VarNet(**SMALL).state_dict()
    torch.manual_seed(7)
    ours = VarNet(**SMALL).state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_published_parameter_counts():
    with torch.device("meta"):
        published, eight = VarNet(), VarNet(num_cascades=8)
    count = lambda network: sum(p.numel() for p in network.parameters())  # noqa: E731
    assert count(published) == 29_936_966 and count(eight) == 20_119_610
    assert count(published.sens_net) == 484_898 and count(published.cascades[0]) == 2_454_339


def test_what_does_not_fit_is_refused():
    ours, _ = pair()
    kspace, mask = scan(2, 3, 20, 24)
    with pytest.raises(InputError, match=r"k-space is \(3, 20, 24\).*samples, coils"):
        ours(kspace[0], mask)
    with refused(found="k-space is .* torch.float32", expected=".* torch.complex64"):
        ours(torch.view_as_real(kspace), mask)
    with refused(found="complex128", expected=".* torch.complex64"):
        ours.sensitivities(kspace.to(torch.complex128), mask)
    with refused(found=r"mask is \(24,\) torch.bool", expected=r"\(2, 1, 1, 24\)"):
        ours(kspace, mask[0, 0, 0])
    with refused(found="mask is .*float32", expected=".* torch.bool"):
        ours(kspace, mask.float())
    for count in (-1, 25, 2.5, torch.tensor([4, 4, 4]), torch.tensor([4, 25])):
        with pytest.raises(InputError, match="num_low_frequencies is .* from 0 to 24"):
            ours(kspace, mask, count)


def test_the_image_after_each_cascade_is_that_of_a_shorter_network():
    ours, _ = pair()
    kspace, mask = scan(2, 3, 20, 16)
    images = ours.after_each_cascade(kspace, mask)
    assert len(images) == len(ours.cascades) == 3
    assert torch.equal(images[-1], ours(kspace, mask))
    shorter = VarNet(**(SMALL | {"num_cascades": 1}))
    state = {k: v for k, v in ours.state_dict().items() if not k.startswith(("cascades.1", "cascades.2"))}
    shorter.load_state_dict(state, strict=True)
    assert torch.equal(images[0], shorter(kspace, mask))


@pytest.mark.parametrize(("samples", "coils"), [(1, 11), (2, 3)])
def test_checkpointing_changes_nothing(samples, coils):
    results = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        network = VarNet(**SMALL, checkpointing=checkpointing).double()
        kspace, mask = scan(samples, coils, 24, 28, dtype=torch.float64)
        output = network(kspace, mask)
        output.square().mean().backward()
        results.append([output.detach(), *(p.grad for p in network.parameters())])
    for plain, recomputed in zip(*results, strict=True):
        torch.testing.assert_close(recomputed, plain, rtol=1e-10, atol=1e-10 * plain.abs().max().item())


def test_checkpointing_at_published_size_holds_a_quarter_at_most_and_fits_a_card_of_12_gb():
    kspace, mask = torch.empty(1, 15, 640, 368, dtype=torch.complex64, device="meta"), torch.ones(1, 1, 1, 368).bool()
    plain, saved = (memory.training_bytes(lambda c=c: VarNet(checkpointing=c), kspace, mask) for c in (False, True))
    assert saved["activations"] <= plain["activations"] / 4
    assert sum(saved.values()) <= 10e9


@pytest.mark.parametrize(("rows", "crop"), [(24, 12), (25, 12), (24, 40)])
def test_a_cropped_readout_is_the_network_on_the_cropped_image(rows, crop):
    ours, _ = pair(torch.float64)
    kspace, mask = scan(2, 3, rows, 28, dtype=torch.float64)
    network = VarNet(**SMALL, readout_crop=crop).double()
    network.load_state_dict(ours.state_dict())
    kept = min(rows, crop + (rows - crop) % 2)
    inside = fftc(center_crop(ifftc(kspace, (-2,)), (kept, 28)), (-2,))
    torch.testing.assert_close(network(kspace, mask), ours(inside, mask), rtol=1e-9, atol=1e-9)
    assert network.sensitivities(kspace, mask).shape[-2:] == (kept, 28)


def test_a_negative_readout_crop_is_refused():
    with refused(where="VarNet", found="readout_crop is -1", expected="rows that are kept"):
        VarNet(readout_crop=-1)
