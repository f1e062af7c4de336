"""Masks: equal to fastMRI's own, what they claim to be, and refused where they can't be made."""

import math

import numpy as np
import pytest
import torch
from fastmri.data.subsample import create_mask_for_mask_type
from refusals import refused

from lib import InputError
from lib.kspace.sampling import KINDS, make_mask, point_spread

GRIDS = [kind for kind in KINDS if kind != "random"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [15, 16, 100, 320, 368, 372, 396])
@pytest.mark.parametrize(("acceleration", "fraction"), [(4, 0.08), (8, 0.04), (3, 0.05), (1, 0.08), (4, 0.2), (6, 0)])
def test_equals_fastmri_for_the_same_file(kind, width, acceleration, fraction):
    reference = create_mask_for_mask_type(kind, [fraction], [acceleration])
    for name in ("file1000000.h5", "file1002570.h5", "x"):
        expected, lines = reference((1, width, 2), seed=tuple(map(ord, name)))
        by_name = make_mask(kind, width, acceleration, center_fraction=fraction, seed=name)
        by_code = make_mask(kind, width, acceleration, center_fraction=fraction, seed=tuple(map(ord, name)))
        assert torch.equal(by_name.columns, expected.flatten().bool())
        assert torch.equal(by_code.columns, by_name.columns)
        assert by_name.num_low_frequencies == lines
        assert (by_name.columns.shape, by_name.columns.dtype) == ((width,), torch.bool)


@pytest.mark.parametrize("kind", GRIDS)
@pytest.mark.parametrize("width", [31, 368])
def test_equals_fastmri_for_a_given_offset(kind, width):
    for offset in range(4):
        expected, _ = create_mask_for_mask_type(kind, [0.08], [4])((1, width, 2), offset=offset, seed=0)
        mask = make_mask(kind, width, 4, center_fraction=0.08, offset=offset)
        assert torch.equal(mask.columns, expected.flatten().bool())
        assert mask.offset == offset


def test_float_acceleration_equals_fastmri():
    for kind in ("random", "equispaced_fraction", "magic_fraction"):
        expected, _ = create_mask_for_mask_type(kind, [0.06], [5.5])((1, 200, 2), seed=3)
        assert torch.equal(make_mask(kind, 200, 5.5, center_fraction=0.06, seed=3).columns, expected.flatten().bool())


def test_equispaced_is_a_grid_and_its_center():
    mask = make_mask("equispaced", 20, 4, num_low_frequencies=3, offset=1)
    assert mask.columns.nonzero().flatten().tolist() == [1, 5, 9, 10, 11, 13, 17]  # center: (20 − 3 + 1) // 2 = 9
    assert mask.achieved == 20 / 7
    even = make_mask("equispaced", 20, 20, num_low_frequencies=4, offset=0)
    assert even.columns.nonzero().flatten().tolist() == [0, 8, 9, 10, 11]


def test_magic_grids_interleave_under_conjugate_symmetry():
    mask = make_mask("magic", 16, 4, num_low_frequencies=0, offset=0)
    # Frequencies 1, 5 and −3, −7: their mirror images 3, 7 fall between.
    assert (mask.columns.nonzero().flatten() - 8).tolist() == [-7, -3, 1, 5]


@pytest.mark.parametrize(("acceleration", "fraction", "effective"), [(4, 0.08, 3.24), (8, 0.04, 6.23)])
def test_achieved_acceleration_is_reported(acceleration, fraction, effective):
    values = [
        make_mask("equispaced", 368, acceleration, center_fraction=fraction, offset=o).achieved
        for o in range(acceleration)
    ]
    assert np.mean(values) == pytest.approx(effective, abs=0.05)
    for kind in ("equispaced_fraction", "magic_fraction"):
        mask = make_mask(kind, 368, acceleration, center_fraction=fraction, seed=1)
        assert mask.acceleration == acceleration
        assert mask.achieved == pytest.approx(acceleration, rel=0.09)


def test_random_reaches_the_acceleration_on_average():
    counts = [make_mask("random", 368, 4, center_fraction=0.08, seed=s).columns.sum() for s in range(200)]
    assert np.mean(counts) == pytest.approx(368 / 4, rel=0.02)


@pytest.mark.parametrize(
    ("kind", "acceleration", "fraction"),
    [
        ("equispaced_fraction", 4, 0.25),  # fastMRI divides by zero
        ("equispaced_fraction", 4, 0.5),
        ("magic_fraction", 4, 0.37),  # fastMRI draws from an empty range
        ("magic_fraction", 4, 0.25),
        ("random", 4, 0.25),
        ("random", 4, 0.5),
        ("random", 4, 1.0),
    ],
)
def test_a_center_that_reaches_the_acceleration_is_all_there_is(kind, acceleration, fraction):
    mask = make_mask(kind, 100, acceleration, center_fraction=fraction, seed=0)
    lines = 25 if kind == "magic_fraction" else round(100 * fraction)  # limited to W / R
    start = (100 - lines + 1) // 2
    assert mask.columns.nonzero().flatten().tolist() == list(range(start, start + lines))
    assert (mask.num_low_frequencies, mask.offset, mask.achieved) == (lines, None, 100 / lines)


def test_a_count_of_center_lines_is_taken_as_it_is():
    for kind in KINDS:
        mask = make_mask(kind, 101, 4, num_low_frequencies=31, seed=0)
        assert mask.num_low_frequencies == 31
        assert mask.columns[35:66].all()
    assert make_mask("random", 101, 4, num_low_frequencies=0, seed=0).num_low_frequencies == 0


def test_padding_is_not_sampled_and_not_counted():
    whole = make_mask("equispaced", 40, 4, num_low_frequencies=4, offset=0)
    padded = make_mask("equispaced", 40, 4, num_low_frequencies=4, offset=0, padding=(5, 3))
    expected = whole.columns.clone()
    expected[:5] = expected[37:] = False
    assert torch.equal(padded.columns, expected)
    assert padded.achieved == 32 / int(expected.sum())


def test_randomness_comes_from_the_seed_alone():
    def columns(seed):
        return make_mask("random", 256, 4, center_fraction=0.08, seed=seed).columns

    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    for seed in (7, (1, 2, 3), "file.h5"):
        assert torch.equal(columns(seed), columns(seed))
    assert np.array_equal(np.random.get_state()[1], before)
    assert not torch.equal(columns((0, 1, 2)), columns((0, 2, 1)))
    assert not torch.equal(columns(None), columns(None))


def test_an_unseeded_mask_names_the_seed_that_repeats_it():
    mask = make_mask("random", 256, 4, center_fraction=0.08)
    assert torch.equal(make_mask("random", 256, 4, center_fraction=0.08, seed=mask.seed).columns, mask.columns)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "equispased"}, "did you mean 'equispaced'"),
        ({"kind": "radial"}, "one of random, equispaced"),
        ({"width": 0}, "at least 1 column"),
        ({"acceleration": 0.5}, "at least 1"),
        ({"acceleration": math.nan}, "at least 1"),
        ({"acceleration": 4.5}, "whole number"),
        ({"kind": "magic", "acceleration": 4.5}, "whole number"),
        ({"center_fraction": None}, "one of center_fraction and num_low_frequencies"),
        ({"num_low_frequencies": 8}, "one of center_fraction and num_low_frequencies"),
        ({"center_fraction": 1.5}, "0 to 1"),
        ({"center_fraction": None, "num_low_frequencies": 101}, "0 to the width, 100"),
        ({"offset": 4}, "0 to 3"),
        ({"offset": -1}, "0 to 3"),
        ({"kind": "random", "offset": 1}, "takes none"),
        ({"padding": (50, 50)}, "leave some"),
        ({"padding": (-1, 0)}, "leave some"),
        ({"padding": (47, 0)}, "cuts into the 8 center lines 46 to 53"),
        ({"padding": (0, 47)}, "cuts into"),
        ({"seed": -1}, "seed -1"),
        ({"seed": ""}, "seed ''"),
        ({"seed": 1.5}, "seed 1.5"),
    ],
)
def test_what_makes_no_mask_is_refused_in_one_line(settings, message):
    defaults = {"kind": "equispaced", "width": 100, "acceleration": 4, "center_fraction": 0.08}
    with pytest.raises(InputError, match=message) as caught:
        make_mask(**defaults | settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("width", [64, 65])
def test_point_spread(width):
    columns = make_mask("random", width, 3, num_low_frequencies=5, seed=0).columns
    x = np.arange(width) - width // 2  # the definition: |Σ exp(2πi k x / W)| over the acquired k
    k = columns.nonzero().flatten().numpy() - width // 2
    expected = np.abs(np.exp(2j * np.pi * np.outer(x, k) / width).sum(1))
    np.testing.assert_allclose(point_spread(columns).numpy(), expected / expected.max(), atol=1e-6)
    assert point_spread(columns)[width // 2] == 1


def test_point_spread_of_a_full_mask_is_a_point_and_of_a_grid_its_aliases():
    assert torch.allclose(point_spread(torch.ones(32, dtype=torch.bool)), (torch.arange(32) == 16).float(), atol=1e-6)
    grid = make_mask("equispaced", 32, 4, num_low_frequencies=0, offset=0).columns
    assert torch.allclose(point_spread(grid), (torch.arange(32) % 8 == 0).float(), atol=1e-6)
    with refused(found="none of the 8"):
        point_spread(torch.zeros(8, dtype=torch.bool))
