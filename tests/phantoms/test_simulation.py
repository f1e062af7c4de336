import numpy as np
import pytest
import torch
from refusals import refused

from lib.kspace import fft2c, ifft2c, rss
from lib.phantoms import objects, simulation
from lib.phantoms.simulated_kspace import SimulatedSlices
from lib.phantoms.simulation import Physics, draw_physics, record, target

PLAIN = Physics(4, "around", 0, 1.0, 50.0, 0.0, (0, 0), (0, 0), 1.0)
MASK = {"kind": ["equispaced", "random"], "acceleration": [2, 4], "num_low_frequencies": [8, 16]}


def head():
    image = torch.zeros(48, 40)
    image[8:40, 8:32] = 0.5
    image[16:24, 12:20] = 1.0
    return image


def test_the_noise_is_as_large_as_asked_for():
    noisy, clean = record(head(), PLAIN, np.random.default_rng(0))
    noise = torch.view_as_real(noisy - clean)
    expected = float(head()[head() > 0.1].mean()) / 50
    assert noise.std() == pytest.approx(expected, rel=0.03)  # 15,360 numbers: 3 % is five standard errors


def test_correlated_noise_has_unit_variances_and_other_coils_in_it():
    physics = PLAIN._replace(correlation=0.5)
    noisy, clean = record(head(), physics, np.random.default_rng(0))
    noise = (noisy - clean).flatten(1).numpy()
    covariance = np.corrcoef(noise)
    assert np.abs(covariance - np.eye(4)).max() > 0.1
    assert np.std(noise, axis=1) == pytest.approx(np.full(4, np.std(noise)), rel=0.05)


def test_without_noise_the_image_is_seen_through_coils_whose_rss_is_1_on_the_mean():
    noisy, clean = record(head(), PLAIN, np.random.default_rng(0))
    image = target(noisy, clean, 0.0)
    inside = head() > 0.1
    assert torch.allclose(target(noisy, clean, 1.0), rss(ifft2c(noisy), 0), atol=1e-6)
    assert float((image / head().clamp_min(1e-6))[inside].mean()) == pytest.approx(1, abs=0.02)
    assert image[~inside].abs().max() < 1e-5


def test_what_lies_outside_the_field_of_view_comes_in_at_the_other_side():
    images = torch.arange(6.0).reshape(1, 1, 6)  # columns 0 … 5, of which 1 … 4 are the field of view
    assert simulation._folded(images, 4).flatten().tolist() == [1 + 5, 2, 3, 4 + 0]
    wide = torch.randn(1, 3, 12, dtype=torch.complex64)
    folded = fft2c(simulation._folded(wide, 6))
    assert torch.allclose(folded, fft2c(wide)[..., ::2] * 2**0.5, atol=1e-5)  # as leaving out every second line does it


def test_margins_are_empty_and_nothing_else_is():
    noisy, clean = record(head(), PLAIN._replace(rows=(3, 0), columns=(2, 5)), np.random.default_rng(0))
    assert not noisy[:, :3].any() and not noisy[..., :2].any() and not noisy[..., -5:].any()
    assert noisy[:, 3:, 2:-5].abs().min() > 0 and clean.shape == noisy.shape == (4, 48, 40)


def test_virtual_coils_keep_nearly_all_of_the_signal():
    noisy, clean = record(head(), PLAIN._replace(compressed=12, snr=1e4), np.random.default_rng(0))
    full, _ = record(head(), PLAIN._replace(num_coils=12, snr=1e4), np.random.default_rng(0))
    assert noisy.shape[0] == 4
    assert 0.9 < float(noisy.abs().square().sum() / full.abs().square().sum()) <= 1 + 1e-5


@pytest.mark.parametrize("geometry", simulation.GEOMETRIES)
def test_every_geometry_gives_coils_that_differ(geometry):
    noisy, clean = record(head(), PLAIN._replace(geometry=geometry, snr=1e6), np.random.default_rng(1))
    coils = ifft2c(clean).abs().flatten(1)
    assert torch.isfinite(coils).all() and float(torch.corrcoef(coils).fill_diagonal_(0).abs().max()) < 0.999


def test_drawn_physics_lie_in_their_ranges():
    rng = np.random.default_rng(0)
    drawn = [draw_physics(int(rng.integers(1, 33)), (128, 96), rng) for _ in range(500)]
    assert all(10 <= p.snr <= 1600 and 1 <= p.wrap <= 1.35 and sum(p.columns) < 48 for p in drawn)
    assert {p.geometry for p in drawn} == set(simulation.GEOMETRIES)
    assert all(p.compressed == 0 or p.compressed > p.num_coils for p in drawn)


def test_slices_follow_from_seed_epoch_and_index_alone():
    slices, again = SimulatedSlices(3, seed=5, mask=MASK), SimulatedSlices(3, seed=5, mask=MASK)
    first, second = slices[(0, 1)], again[(0, 1)]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    other = slices[(1, 1)]
    assert other[0].shape == first[0].shape and not torch.equal(other[0], first[0])


def test_items_are_what_the_networks_get_from_files():
    for kind, count in (("kspace", 5), ("image", 5)):
        slices = SimulatedSlices(4, kind, mask=MASK)
        for i, size in enumerate(slices.sizes):
            item = slices[i]
            assert len(item) == count
            if kind == "kspace":
                kspace, mask, lines, truth, maximum = item
                assert tuple(kspace.shape) == size and tuple(truth.shape) == size[1:]
                assert not kspace[..., ~mask.flatten()].any() and float(truth.max()) == float(maximum)
                assert mask.flatten().sum() < size[2] and int(lines) > 0


def test_settings_out_of_range_are_refused():
    with refused(where="kind"):
        SimulatedSlices(1, "cascade")
    with refused(where="target_noise"):
        SimulatedSlices(1, target_noise=2.0)


def test_no_test_person_is_in_the_library(monkeypatch):
    read, planes = [], objects.planes
    monkeypatch.setattr(objects, "planes", lambda name: read.append(name) or planes(name))
    assert set(objects.library.__wrapped__()) == set(objects.SHARES) - {"shapes"}
    testing = (
        "brain_b",
        "brain_c",
        "brain_d",
        "brain_e",
        "tumour",
        "heart_sax_4",
        "heart_sax_5",
        "heart_cine",
        "heart_long",
    )
    assert len(read) > 10 and not [name for name in read if name.startswith(testing)]


def test_objects_are_magnitudes_of_the_shape_asked_for():
    rng = np.random.default_rng(0)
    drawn = [objects.draw((96, 128), rng) for _ in range(60)]
    assert all(tuple(x.shape) == (96, 128) and x.min() >= 0 and x.isfinite().all() for x in drawn)
    assert sum(float(x.max()) > 0.3 for x in drawn) > 50
