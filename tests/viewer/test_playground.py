"""The playground's numbers: what it acquires, reconstructs and says, against slow or hand-worked expectations."""

import numpy as np
import pytest
import torch
from refusals import refused

from lib import InputError, metrics, runs
from lib.kspace import calibrated, coils, fft2c, ifft2c
from lib.kspace.grappa import grappa
from lib.kspace.sampling import make_mask
from lib.models import build
from lib.phantoms import sample_scans
from lib.text import value_or_error
from lib.viewer import playground
from lib.viewer.playground import ERROR, KSPACE, MASK, METHODS, SPREAD, TRUTH, Playground, Settings, check

WEIGHTS = "runs/weights/demo_varnet"


@pytest.fixture(scope="module")
def play():
    return Playground(slice=3, weights=WEIGHTS)


def acquired(play, snr, mask, seed=0):
    """K-space as lib.kspace.coils simulates it in one step."""
    maps = coils.simulate((1, 256, 256), 8, seed, voxel=play.spacing)[0]
    phase = coils.smooth_phase((1, 256, 256), seed)[0]
    noise = float(play.truth[play.truth > 0.1].mean()) / snr
    return coils.acquire(play.truth, maps, noise, phase, seed) * mask.columns


def test_the_slice_has_its_own_pixels_in_its_own_window(play):
    own = sample_scans.scan("brain_c_pd").volume[3]
    assert own.shape == (256, 256)  # nothing to pad, nothing to cut
    np.testing.assert_allclose(play.truth, own / np.percentile(own, 99.5), rtol=1e-6)
    own, placed = sample_scans.scan("brain_b_t1").volume[40], Playground("brain_b_t1", 40).truth.numpy()
    framed = np.zeros((256, 256))
    framed[128 - 217 // 2 :, 128 - 181 // 2 :][:217, :181] = own  # zeros around, center on center
    np.testing.assert_allclose(placed, framed / np.percentile(framed, 99.5), rtol=1e-5)


def test_kspace_is_what_the_coils_record(play):
    settings = Settings(kind="random", acceleration=3, num_low_frequencies=20, snr=20.0)
    mask, kspace = play.acquire(settings)
    expected = make_mask("random", 256, 3, num_low_frequencies=20, seed=0)
    assert torch.equal(mask.columns, expected.columns)
    torch.testing.assert_close(kspace, acquired(play, 20.0, expected), rtol=1e-4, atol=1e-5)
    assert play.acquire(settings._replace(snr=float("inf")))[1].abs().sum() < kspace.abs().sum()


def test_each_method_is_the_librarys_own(play):
    mask = make_mask("equispaced", 256, 4, num_low_frequencies=24, seed=0)
    kspace = acquired(play, 50.0, mask)

    def combined(k):
        return ifft2c(k).abs().square().sum(0).sqrt()

    with torch.no_grad():
        varnet = runs.load_model(WEIGHTS)(kspace[None], mask.columns.view(1, 1, 1, -1))[0]
    expected = {
        "zero-filled": combined(kspace), "GRAPPA": combined(grappa(kspace, mask.columns)),
        "TV-SENSE": calibrated.by_tv(calibrated.calibrated(kspace, mask.columns)), "network": varnet,
    }  # fmt: skip
    for shown in METHODS:
        settings = Settings(shown=shown)
        torch.testing.assert_close(play.image(settings), expected[shown], rtol=1e-3, atol=1e-3)
        view = play.result(settings)
        head = metrics.foreground(play.truth)
        error = expected[shown].numpy() - play.truth.numpy()
        nmse = (error[head] ** 2).sum() / (play.truth.numpy()[head] ** 2).sum()
        assert view.notes[ERROR].startswith(f"NMSE {nmse:.4f}")
        np.testing.assert_allclose(view.panels[ERROR], abs(error), atol=1e-3)
        assert view.problem == ""
    full = Settings(acceleration=1, snr=float("inf"))
    torch.testing.assert_close(play.image(full), play.truth, atol=1e-5, rtol=1e-4)
    assert play.result(full).notes["zero-filled"].startswith("SSIM 1.000")


def test_panels_of_the_scan(play):
    view = play.scan(Settings(num_coils=1, snr=float("inf"), acceleration=2, num_low_frequencies=0))
    lines = view.panels[MASK]
    assert lines.shape == (256, 256) and (lines == lines[0]).all() and lines[0].sum() == 128
    assert view.notes[MASK] == "128 of 256 lines · 2× asked, 2.00× achieved"
    assert view.notes[SPREAD] == "highest side lobe 0.0 dB at ±128 px"  # a whole copy, half the field of view away
    assert view.notes[KSPACE].startswith("1 coil together")
    maps = coils.simulate((1, 256, 256), 1, 0, voxel=play.spacing)[0, 0]
    phase = coils.smooth_phase((1, 256, 256), 0)[0]
    strength = fft2c(play.truth * torch.exp(1j * phase) * maps).abs().numpy()
    shown = view.panels[KSPACE]
    assert (shown[:, lines[0] == 0] == 0).all()
    sampled = (strength > 1e-3 * strength.max()) & (lines > 0)
    np.testing.assert_allclose(shown[sampled], 1 + np.log10(strength[sampled] / strength.max()) / 4, atol=1e-3)


def test_the_point_spread_by_hand():
    spread = np.array([0.1, 0.5, 0.01, 0.2, 1.0, 0.2, 0.01, 0.5])  # peak in the middle, a lobe of ½ 3 pixels away
    assert playground.describe_spread(spread) == "highest side lobe −6.0 dB at ±3 px"
    assert playground.describe_spread(np.array([0, 0, 1.0, 0])) == "no side lobe above −60 dB"
    picture = playground.draw_spread(np.array([0.1, 1.0, 1e-5]), 61)  # a row a dB
    heights = (picture > 0.8).sum(0)
    assert heights.tolist() == [41, 61, 0]  # 0.1 is −20 dB
    assert np.flatnonzero(np.isclose(picture[:, 2], 0.3)).tolist() == [20, 40]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(kind="random", shown="GRAPPA"), "mask is not a GRAPPA grid: lines"),
        (Settings(num_low_frequencies=2, shown="GRAPPA"), "2 center lines of 256 points are too few for GRAPPA"),
        (
            Settings("equispaced", 4, 0, 50.0, 1, "GRAPPA"),
            "1 center line of 256 points is too few for GRAPPA with 1 coil ",
        ),
        (Settings(shown="magic"), "shown: 'magic', expected one of zero-filled, GRAPPA, TV-SENSE, network"),
        (Settings(acceleration=20), "acceleration: 20, expected 1 to 12"),
        (Settings(snr=0), "snr: 0, expected more than 0"),
    ],
)
def test_what_cannot_be_done_is_said(play, settings, message):
    view = play.result(settings)
    assert message in view.problem and "\n" not in view.problem
    assert view.panels[settings.shown] == view.problem and view.panels[ERROR] == "no image"
    assert view.panels[TRUTH] is not None
    if value_or_error(check, settings)[1]:
        with pytest.raises(InputError, match=message):
            play.figure(settings)
    else:
        play.figure(settings)


def test_a_mask_that_cannot_be_made_leaves_no_panels(play):
    view = play.scan(Settings(kind="nonsense"))
    assert view.problem.startswith("kind: 'nonsense', expected one of random") and set(view.panels.values()) == {
        view.problem
    }


def test_networks_that_are_not_there_or_another_kind(tmp_path):
    model = build("UNet", chans=2, num_pool_layers=1)
    runs.save_model(tmp_path / "unet", "UNet", {"chans": 2, "num_pool_layers": 1}, model)
    for weights, message in {
        str(tmp_path / "unet"): "a UNet, expected VarNet or SenseUNet",
        str(tmp_path / "nothing"): f"run {tmp_path / 'nothing'}: ",
    }.items():
        with pytest.raises(InputError, match=message):
            Playground(weights=weights)
    assert "no weights given" in Playground().result(Settings(shown="network")).problem


def test_a_run_that_fails_is_one_line(play, monkeypatch):
    class Broken(torch.nn.Module):
        def forward(self, *inputs):
            raise RuntimeError("out of\nmemory")

    monkeypatch.setattr(play, "_network", Broken)
    assert play.result(Settings(shown="network")).problem == "RuntimeError: out of memory"


def test_scans_and_slices_that_are_not_there():
    with refused(found="no such sample scan; there are"):
        Playground("brain_x")
    with refused(where="slice 11 of brain_c_pd", expected="0 to 10"):
        Playground(slice=11)
    with refused(where="gain", found="got 0", expected="more than 0"):
        Playground(gain=0)


def test_what_does_not_change_is_kept(play, monkeypatch):
    play.scan(Settings())
    monkeypatch.setattr(coils, "simulate", lambda *a, **k: pytest.fail("simulated anew"))
    play.scan(Settings(acceleration=3, snr=20.0))
    monkeypatch.setattr(playground, "make_mask", lambda *a, **k: pytest.fail("acquired anew"))
    play.result(Settings(acceleration=3, snr=20.0, shown="GRAPPA"))


def test_the_static_picture_has_all_six_panels(play):
    figure = play.figure(Settings(shown="GRAPPA"))
    titles = [ax.get_title() for ax in figure.axes]
    assert titles == [
        "GRAPPA",
        "truth",
        "|image − truth| ×5",
        "mask",
        "k-space × mask",
        "point spread, lines 20 dB apart",
    ]
