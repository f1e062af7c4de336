import pytest
import torch
from refusals import refused

from lib.kspace import calibrated, fft2c
from lib.kspace.coils import simulate
from lib.kspace.sampling import make_mask
from lib.models import build


def scan(kind="equispaced", seed=0, noise=1e-2, shape=(48, 56)):
    generator = torch.Generator().manual_seed(seed)
    image = torch.zeros(shape)
    image[8:40, 10:46] = 1
    image[16:30, 18:34] = 0.4
    kspace = fft2c(image * simulate((1, *shape), 4, seed)[0])
    kspace = kspace + noise * torch.randn(kspace.shape, dtype=torch.complex64, generator=generator)
    mask = make_mask(kind, shape[1], 3, num_low_frequencies=14, seed=seed).columns
    return kspace * mask, mask


def network(trained=False):
    torch.manual_seed(0)
    model = build("SenseUNet", chans=2, pools=2)
    generator = torch.Generator().manual_seed(1)
    for p in model.parameters() if trained else ():  # so that the correction isn't 0
        p.data.add_(0.1 * torch.randn(p.shape, generator=generator))
    return model.eval()


def test_as_many_parameters_as_the_layers_have():
    convolutions = 9 * (3 * 24 + 24 * 24 + 24 * 48 + 48 * 48 + 48 * 96 + 96 * 96 + 96 * 192 + 192 * 192)
    up = 4 * (192 * 96 + 96 * 48 + 48 * 24) + 9 * (192 * 96 + 96 * 96 + 96 * 48 + 48 * 48 + 48 * 24 + 24 * 24) + 24 + 1
    gain = 6 * 16 + 16 + 16 + 1
    assert sum(p.numel() for p in build("SenseUNet", chans=24, pools=3).parameters()) == convolutions + up + gain


@pytest.mark.parametrize("kind", ["equispaced", "random"])
@pytest.mark.parametrize("shape", [(48, 56), (45, 51)])
def test_untrained_it_gives_the_image_of_tv_sense(kind, shape):
    kspace, mask = scan(kind, shape=shape)
    image = network()(kspace[None], mask.view(1, 1, 1, -1))[0]
    assert torch.allclose(image, calibrated.by_tv(calibrated.calibrated(kspace, mask)), atol=1e-5)


@torch.no_grad()
def test_samples_of_a_batch_know_nothing_of_each_other():
    model, scans = network(trained=True), [scan(), scan("random", seed=1, noise=0.05)]
    kspace, mask = (torch.stack(parts) for parts in zip(*scans, strict=True))
    together = model(kspace, mask[:, None, None])
    for k, m, image in zip(kspace, mask, together, strict=True):
        assert torch.allclose(model(k[None], m.view(1, 1, 1, -1))[0], image, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_what_grappa_predicts_well_is_hardly_corrected():
    model, shares = network(trained=True), []
    for noise in (1e-5, 0.05):
        kspace, mask = scan(noise=noise)
        start = network()(kspace[None], mask.view(1, 1, 1, -1))[0]
        image = model(kspace[None], mask.view(1, 1, 1, -1))[0]
        shares.append(torch.linalg.vector_norm(image - start) / torch.linalg.vector_norm(start))
    assert shares[0] < 0.2 * shares[1]


@pytest.mark.parametrize("scale", [1e-6, 1e5])
@torch.no_grad()
def test_scaled_kspace_gives_a_scaled_image(scale):
    model, (kspace, mask) = network(trained=True), scan()
    image, scaled = (model(k[None], mask.view(1, 1, 1, -1)) for k in (kspace, kspace * scale))
    assert torch.allclose(scaled / scale, image, rtol=1e-3, atol=1e-3 * float(image.max()))


def test_every_part_learns():
    model, (kspace, mask) = network(trained=True).train(), scan()
    model(kspace[None], mask.view(1, 1, 1, -1)).square().mean().backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert float(model.gain[0].weight.grad.abs().sum()) > 0


def test_what_does_not_fit_is_refused():
    model, (kspace, mask) = network(), scan()
    with refused(where="SenseUNet", found=r"k-space is \(4, 48, 56\)"):
        model(kspace, mask.view(1, 1, 1, -1))
    with refused(where="SenseUNet", found=r"the mask is \(48, 56\)", expected=r"\(1, 1, 1, 56\) torch.bool"):
        model(kspace[None], mask.expand(48, 56))
    with refused(where="the center of k-space, 48×2", found="0 windows"):
        few = torch.zeros(56, dtype=torch.bool)
        few[::3] = few[27:29] = True
        model(kspace[None], few.view(1, 1, 1, -1))
