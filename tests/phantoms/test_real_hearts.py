"""Real hearts: who trains, validates and tests, what is read of the files, what other poses and tempos are made of."""

import nibabel
import numpy as np
import pytest
import torch
from refusals import refused

from lib.data.index import SPLITS
from lib.kspace import radial
from lib.phantoms import cine, objects, real_hearts
from lib.phantoms.sample_scans import FOLDER

SMALL = {"size": 16, "frames": 4, "trajectory": "cartesian", "acceleration": 2.0, "num_coils": 2, "snr": 50.0}
CHECKED = {"hearts": "both", "size": 64, "frames": 20, "cases": [1, 1, 1], "copies": 1, "num_coils": 1, "snr": 1.0}


def file(name):
    return np.asarray(nibabel.load(FOLDER / f"{name}.nii.gz").dataobj)


def test_nobody_is_in_two_splits_and_every_heart_has_its_people():
    found = real_hearts.people(True, 64)
    assert found == {
        "train": ["heart_sax_1", "heart_sax_2", "heart_sax_3"],
        "val": ["heart_sax_4"],
        "test": ["heart_sax_5", "heart_cine", "heart_long_axis_b"],
    }
    assert real_hearts.people(False, 64) == {"test": found["test"]}
    assert list(objects.HEARTS) == found["train"]  # k-space is simulated of the same people


def test_a_slice_and_frame_is_the_files_own_plane_by_y_and_x():
    series, pixel = real_hearts.recorded("heart_sax_1", 64, 20)
    values = file("heart_sax_1")
    assert series.shape == (6, 20, 128, 128) and pixel == pytest.approx(1.367188)
    for s, t in ((0, 0), (4, 17)):
        assert np.allclose(series[s, t], values[:, :, s, t].T / values.max())


@pytest.mark.parametrize(("name", "row", "column"), [("heart_cine", 92, 63), ("heart_long_axis_b", 8, 8)])
def test_a_larger_heart_is_cut_around_its_middle(name, row, column):
    series, _ = real_hearts.recorded(name, 64, 10)
    values = file(name)[column : column + 128, row : row + 128, 0, :10]
    assert series.shape == (1, 10, 128, 128) and np.allclose(series[0], values.transpose(2, 1, 0) / values.max())
    assert (series[0, 5] - series[0, 0]).abs().mean() > 0.01  # it beats


def test_series_are_named_by_slice_and_copy():
    assert list(real_hearts.planes("heart_cine", 0)) == ["heart_cine"]
    assert real_hearts.planes("heart_sax_4", 0)["heart_sax_4_slice_2"] == (2, 0)
    copies = real_hearts.planes("heart_sax_1", 2)
    assert len(copies) == 12 and copies["heart_sax_1_slice_5_copy_01"] == (5, 1)
    assert list(real_hearts.planes("heart_sax_1", 0, middle_only=True)) == ["heart_sax_1_slice_3"]


def beat(frames=20):
    """A frame's number, everywhere: only its contrast and tempo can be seen."""
    return torch.linspace(0.1, 0.8, frames)[:, None, None].expand(frames, 32, 32)


def test_another_pose_shows_the_same_beat_from_another_frame():
    at_rate, rates = torch.linspace(0.1, 0.8, 20).log(), []
    for seed in range(30):
        made = real_hearts.varied(beat(), 8, 20, np.random.default_rng(seed))
        assert made.shape == (20, 16, 16)
        log = made[:, 8, 8].log()  # gamma · log(frame) + log(shading): an affine map of the beat's
        step = log.diff()
        if int((step < 0).sum()) == 1 and torch.allclose(
            log.sort().values.diff() / log.sort().values.diff().sum(), at_rate.diff() / at_rate.diff().sum(), atol=1e-4
        ):
            rates.append(1)  # all frames once, in their order, from another one on
    assert 8 <= len(rates) <= 22  # about half


def test_a_pose_turns_mirrors_and_moves_but_makes_nothing_up():
    image = torch.zeros(1, 64, 64)
    image[0, 28:36, 20:44] = 0.5
    made = [real_hearts.varied(image, 32, 1, np.random.default_rng(s))[0] for s in range(12)]
    assert all(m.shape == (64, 64) and m.min() >= 0 and m.max() < 0.5**0.6 * 1.31 for m in made)
    areas = torch.tensor([float((m > 0.1).sum()) for m in made]) / (8 * 24)
    assert (areas > 0.6).all() and (areas < 2.5).all() and areas.std() > 0.1  # .85² to 1.4², soft edges
    assert not any(torch.allclose(a, b, atol=0.05) for i, a in enumerate(made) for b in made[:i])


def test_the_same_seed_gives_the_same_series_and_another_seed_or_copy_others():
    def made(seed, copies=2):
        return [torch.cat(p) for p in cine.real("heart_sax_1", copies, seed=seed, middle_only=True, **SMALL)]

    first, again, other = made(5), made(5), made(6)
    assert all(map(torch.equal, first, again)) and not torch.allclose(first[0], other[0])
    assert torch.equal(made(5, 1)[0], first[0])  # more copies change none of those before
    assert not torch.allclose(first[0][4:], first[1][4:], atol=0.05)  # the truths differ in more than noise


def test_recorded_hearts_are_sampled_as_they_are():
    ((seen, truth),) = cine.real("heart_cine", 0, seed=0, middle_only=True, **SMALL)
    fine, _ = real_hearts.recorded("heart_cine", 16, 4)
    expected = radial.fully_sampled(fine[0])
    assert seen.shape == (4, 16, 16) and torch.allclose(truth / truth.max(), expected / expected.max(), atol=1e-6)
    assert (seen - truth).norm() / truth.norm() > 0.05


def test_nobodys_series_are_made_of_anothers(monkeypatch):
    read, recorded = [], real_hearts.recorded
    monkeypatch.setattr(real_hearts, "recorded", lambda name, *rest: read.append(name) or recorded(name, *rest))
    for split in SPLITS:
        for name in real_hearts.people(True, 16)[split]:
            read.clear()
            list(cine.real(name, int(split == "train"), seed=0, middle_only=True, **SMALL))
            assert set(read) == {name}


def test_sizes_beyond_the_data_are_refused_or_left_out(capsys):
    cine.check_simulation(**CHECKED)
    with refused(where="size 66", found="heart_sax_1 has 128 pixels", expected="at most 64, or hearts: drawn"):
        cine.check_simulation(**CHECKED | {"size": 66})
    cine.check_simulation(**CHECKED | {"size": 128, "hearts": "drawn"})
    assert real_hearts.people(False, 72) == {"test": ["heart_cine", "heart_long_axis_b"]}
    assert capsys.readouterr().out == "heart_sax_5 is left out: size 72 needs 144 pixels, it has 128\n"
    with refused(where="size 74", found="heart_long_axis_b has 144 pixels", expected="at most 72"):
        real_hearts.recorded("heart_long_axis_b", 74)


@pytest.mark.parametrize(
    ("wrong", "where", "found"),
    [({"hearts": "rael"}, "hearts 'rael'", "did you mean 'real'"), ({"copies": 0}, "copies", "got 0"),
     ({"cases": [1, 2]}, "cases", r"got \[1, 2\]"), ({"size": 15}, "size", "got 15")],
)  # fmt: skip
def test_settings_out_of_range_are_refused(wrong, where, found):
    with refused(where=where, found=found):
        cine.check_simulation(**CHECKED | wrong)
