"""NIfTI files as they come: misnamed, of either byte order, with axes of 1; and when two of them share one grid."""

import gzip

import nibabel
import numpy as np
import pytest
from refusals import refused

from lib import InputError
from lib.data import grids, nifti
from lib.data.classes import check_named, whole

LPS = np.array([[-0.7, 0, 0, 90.0], [0, -0.7, 0, 70], [0, 0, 3, -40], [0, 0, 0, 1]])
TURN = np.array([[np.cos(0.4), -np.sin(0.4), 0, 0], [np.sin(0.4), np.cos(0.4), 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
SHEARED = LPS @ np.array([[1, 0.3, 0, 0], [0, 1, 0.1, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
VALUES = np.random.default_rng(0).normal(0, 50, (5, 4, 3)).astype(np.int16)


def save(path, values, affine=LPS):
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    return path


@pytest.mark.parametrize("endianness", "<>")
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_the_bytes_say_whether_a_file_is_gzipped_and_in_which_order(tmp_path, endianness, kind, zipped, name):
    header = kind.header_class(endianness=endianness)
    header.set_data_dtype(VALUES.dtype.newbyteorder(endianness))
    content = kind(VALUES, LPS, header).to_bytes()
    (tmp_path / name).write_bytes(gzip.compress(content) if zipped else content)
    shape, affine = nifti.header(tmp_path / name)
    assert shape == (5, 4, 3) and np.allclose(affine, LPS, atol=1e-6)
    assert np.array_equal(nifti.values(tmp_path / name), VALUES)
    assert np.array_equal(nifti.read_radiological(tmp_path / name).volume[0, ::-1, ::-1].T[::-1, ::-1], VALUES[..., 0])
    (tmp_path / name).write_bytes(content[:400])
    with refused(where="a.nii.*", found=r"can't be read as NIfTI \(.*truncated"):
        nifti.values(tmp_path / name)


def test_what_the_system_refuses_is_said_in_its_words(tmp_path):
    (tmp_path / "a.nii").mkdir()
    with refused(where="a.nii", found=r"can't be read as NIfTI \(Is a directory\)$"):
        nifti.header(tmp_path / "a.nii")


@pytest.mark.parametrize(("shape", "axes", "expected"), [
    ((6, 5), 2, [0, 1]), ((1, 6, 5), 2, [1, 2]), ((6, 5, 1), 2, [0, 1]), ((6, 1, 5), 2, [0, 2]), ((6, 5, 1, 1), 2, [0, 1]),
    ((1, 5), 2, [0, 1]), ((1, 5, 1), 2, [0, 1]), ((6, 5, 4), 2, None), ((6, 5, 2), 2, None), ((6,), 2, None),
    ((6, 5, 4), 3, [0, 1, 2]), ((6, 5, 4, 1, 1), 3, [0, 1, 2]), ((6, 5, 1), 3, [0, 1, 2]), ((6, 5, 4, 3), 3, None),
    ((1, 6, 5, 4), 3, None), ((6, 5, 1, 4), 3, None), ((6, 5), 3, None), ((6, 0, 4), 3, None),
])  # fmt: skip
def test_axes_of_one_go_and_others_are_refused(tmp_path, shape, axes, expected):
    if expected is None:
        with refused(where="a.nii", found=r"shape \(.*\)", expected=".* and no further axes but of 1"):
            nifti.kept(tmp_path / "a.nii", shape, axes)
    else:
        assert nifti.kept(tmp_path / "a.nii", shape, axes) == expected


def test_an_npy_of_a_channel_is_a_volume_and_a_slice_keeps_its_axes_affine(tmp_path):
    np.save(tmp_path / "a.npy", VALUES[None])
    assert nifti.header(tmp_path / "a.npy", voxel=(1, 2, 3))[0] == (5, 4, 3)
    assert np.array_equal(nifti.values(tmp_path / "a.npy"), VALUES)
    path = save(tmp_path / "a.nii", VALUES[:1])
    shape, affine = nifti.header(path, 2)
    assert shape == (4, 3) and np.allclose(affine, LPS[:, [1, 2, 3]], atol=1e-6)
    assert np.array_equal(nifti.values(path, 2), VALUES[0])


def test_the_farthest_voxel_decides_worked_by_hand():
    shifted, wider = LPS.copy(), LPS.copy()
    shifted[:3, 3] += 3, 4, 0
    assert grids.apart((5, 4, 3), LPS, shifted) == pytest.approx(5)
    wider[2, 2] = 3.5  # the third plane lies 2 · .5 mm higher
    assert grids.apart((5, 4, 3), LPS, wider) == pytest.approx(1)
    shifted[:3, 3] = LPS[:3, 3] + (0.034, 0, 0)  # a twentieth of .7 mm is .035
    assert grids.apart((5, 4, 3), LPS, shifted) == 0
    shifted[0, 3] += 0.002
    assert grids.apart((5, 4, 3), LPS, shifted) == pytest.approx(0.036)


@pytest.mark.parametrize("affine", [LPS, TURN @ LPS, SHEARED, np.diag([0.7, 1, 3, 1])[:, [2, 0, 1, 3]]])
def test_labels_may_be_stored_along_other_axes(tmp_path, affine):
    image = save(tmp_path / "image.nii", VALUES, affine)
    stored = nibabel.Nifti1Image(VALUES, affine)
    flipped = stored.as_reoriented([[1, -1], [0, 1], [2, -1]])  # other axes, other directions, the same place
    nibabel.save(flipped, tmp_path / "label.nii")
    found = grids.agreed(image, tmp_path / "label.nii", nifti.header(image), nifti.header(tmp_path / "label.nii"))
    assert np.allclose(found[0], affine, atol=1e-5) and np.allclose(found[1], flipped.affine, atol=1e-5)
    near = affine + np.array([[0, 2e-8, 2e-8, 1e-5]] * 3 + [[0] * 4])
    assert all(a is affine for a in grids.agreed(image, image, ((5, 4, 3), affine), ((5, 4, 3), near)))


def test_an_unlike_grid_names_both_files_and_a_setting_says_whose_counts(tmp_path):
    image, label = tmp_path / "image.nii", tmp_path / "label.nii"
    first, lost = ((5, 4, 3), LPS), ((5, 4, 3), np.eye(4))
    with refused(where="label.nii", found=r"its affine differs by up to .* mm .*image.nii\): .* affine_from") as error:
        grids.agreed(image, label, first, lost)
    assert len(str(error.value).splitlines()) == 1
    assert all(a is LPS for a in grids.agreed(image, label, first, lost, "image"))
    assert all(a is LPS for a in grids.agreed(image, label, lost, first, "label"))
    for how in grids.AFFINE_FROM:
        with refused(where="label.nii", found=r"\(5, 4, 2\), its image is \(5, 4, 3\) \(.*image.nii\)"):
            grids.agreed(image, label, first, ((5, 4, 2), LPS), how)
    with refused(where="affine_from", found="got 'header'", expected="one of both, image, label"):
        grids.agreed(image, label, first, lost, "header")


def test_an_affine_that_says_no_size_is_known():
    bare = nibabel.Nifti1Image(VALUES, None)
    assert grids.is_lost((5, 4, 3), np.eye(4)) and grids.is_lost((5, 4, 3), np.diag([-1.0, -1, 1, 1]))
    assert grids.is_lost((5, 4, 3), nibabel.Nifti1Image.from_bytes(bare.to_bytes()).affine)
    real = np.diag([1.0, 1, 1, 1])
    real[:3, 3] = -90, -126, -72
    assert not grids.is_lost((5, 4, 3), real) and not grids.is_lost((5, 4, 3), np.diag([1, 1, 1.5, 1]))


@pytest.mark.parametrize("axis", [0, 1, 2, None])
def test_a_single_slice_is_looked_at_as_one(tmp_path, axis):
    plane = np.arange(12, dtype=np.float32).reshape(4, 3)
    path = save(tmp_path / "a.nii", plane if axis is None else np.expand_dims(plane, axis), np.diag([1.0, 2, 3, 1]))
    volume, spacing, affine, anatomical = nifti.read_radiological(path)
    assert volume.shape == (1, 3, 4) and np.array_equal(volume[0], plane.T[::-1, ::-1])
    sizes = [1.0, 2.0, 3.0]
    across = sizes.pop(2 if axis is None else axis)
    assert spacing == (across, sizes[1], sizes[0]) and anatomical == (axis in (2, None))
    assert np.allclose(np.sort((affine @ [0, 2, 3, 1])[:3]), 0)  # the file's first voxel


def test_labels_near_whole_numbers_are_rounded_and_others_named():
    label = np.zeros((4, 3, 3), np.float32)
    label[1], label[2], label[3] = 0.9999999, 1.004, 2
    assert whole("a", label).tolist() == np.repeat([0, 1, 1, 2], 9).reshape(4, 3, 3).tolist()
    assert whole("a", label).dtype == np.uint8
    for value, words in ((0.9899, "0.989"), (0.5, "0.5"), (-1, "-1"), (256, r"256, .* 255"), (np.nan, "nan")):
        label[1, 1, 1] = value
        with pytest.raises(InputError, match=f"a: holds {words}.*expected class numbers 0, 1, 2|a: holds {words}"):
            whole("a", label)
    with refused(where="a", found=r"holds label 2 \(5 times\), 4 \(1 times\)", expected=r"0 … 1 \(x, y\)"):
        check_named("a", np.array([3, 0, 5, 0, 1]), np.arange(5), ("x", "y"))
