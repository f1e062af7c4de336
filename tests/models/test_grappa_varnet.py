import pytest
import torch

from lib.kspace import fft2c, ifft2c, rss
from lib.kspace.coils import simulate
from lib.kspace.grappa import grappa
from lib.kspace.sampling import make_mask
from lib.models import build

TINY = {"num_cascades": 2, "chans": 2, "pools": 2, "sens_chans": 2, "sens_pools": 2, "refine_chans": 2}


def scan(kind="equispaced", acceleration=3, seed=0, noise=1e-3):
    generator = torch.Generator().manual_seed(seed)
    image = torch.zeros(48, 56)
    image[8:40, 10:46] = 1
    image[16:30, 18:34] = 0.4
    kspace = fft2c(image * simulate((1, 48, 56), 4, seed)[0])
    kspace = kspace + noise * torch.randn(kspace.shape, dtype=torch.complex64, generator=generator)
    mask = make_mask(kind, 56, acceleration, num_low_frequencies=14, seed=seed).columns
    return kspace * mask, mask


def network(**settings):
    torch.manual_seed(0)
    return build("GrappaVarNet", **TINY | settings)


def test_untrained_it_gives_grappas_image():
    kspace, mask = scan()
    image = network()(kspace[None], mask.view(1, 1, 1, -1))[0]
    expected = rss(ifft2c(grappa(kspace, mask)), 0)
    assert torch.allclose(image, expected, atol=1e-5 * float(expected.max()))


def test_where_grappa_cant_be_made_it_starts_from_zeros():
    kspace, mask = scan("random")
    image = network()(kspace[None], mask.view(1, 1, 1, -1))[0]
    assert torch.allclose(image, rss(ifft2c(kspace), 0), atol=1e-5)


def trained():
    """One whose corrections aren't 0."""
    model = network()
    generator = torch.Generator().manual_seed(1)
    for p in model.parameters():
        p.data.add_(0.1 * torch.randn(p.shape, generator=generator))
    return model.eval()


def test_samples_of_a_batch_know_nothing_of_each_other():
    model, scans = trained(), [scan(), scan("random", seed=1, noise=0.05)]
    kspace, mask = (torch.stack(parts) for parts in zip(*scans, strict=True))
    together = model(kspace, mask[:, None, None])
    for k, m, image in zip(kspace, mask, together, strict=True):
        assert torch.allclose(model(k[None], m.view(1, 1, 1, -1))[0], image, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scale", [1e-6, 1e5])
@torch.no_grad()
def test_scaled_kspace_gives_a_scaled_image(scale):
    model, (kspace, mask) = trained(), scan()
    image, scaled = (model(k[None], mask.view(1, 1, 1, -1)) for k in (kspace, kspace * scale))
    assert torch.allclose(scaled / scale, image, rtol=1e-3, atol=1e-3 * float(image.max()))


def test_every_part_learns():
    model, (kspace, mask) = trained().train(), scan()
    model(kspace[None], mask.view(1, 1, 1, -1)).square().mean().backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert float(model.gains[0].weight.grad.abs().sum()) > 0


def test_what_was_measured_weighs_on_the_correction():
    model, (kspace, mask) = trained(), scan()
    other = kspace.clone()
    other[..., mask.nonzero().flatten()[0]] *= 1.5
    assert not torch.allclose(model(kspace[None], mask.view(1, 1, 1, -1)), model(other[None], mask.view(1, 1, 1, -1)))


def test_without_the_last_look_there_is_none():
    assert network(refine_chans=0).refine is None
