import h5py
import nibabel
import numpy as np
import pytest

from lib import InputError
from lib.viewer import case, case_names
from lib.viewer.sources import read

VOLUME = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def test_files_give_volumes_and_their_spacing(tmp_path):
    np.save(tmp_path / "a.npy", VOLUME)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["brain/output"] = VOLUME
        file["brain"].attrs["spacing"] = [3.0, 1.0, 2.0]
    for name, spacing in (("a.npy", None), ("a.h5:brain/output", (3.0, 1.0, 2.0))):
        volume, found = read("x", str(tmp_path / name))
        assert np.array_equal(volume, VOLUME) and found == spacing
    assert read("x", "no weights") == ("no weights", None) and read("x", None) == (None, None)
    assert read("x", VOLUME)[0] is VOLUME and read("x", VOLUME.tolist())[0].shape == (2, 3, 4)


@pytest.mark.parametrize("flipped", [False, True])
def test_nifti_has_the_front_on_top_and_the_right_on_the_left(tmp_path, flipped):
    voxels = np.zeros((5, 4, 3), np.float32)  # x to the right, y to the front, z to the head
    voxels[4, 0, 2] = 1  # right, back, head
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    if flipped:  # stored from right to left: the same person
        voxels, affine[0, 0] = voxels[::-1], -2.0
    nibabel.save(nibabel.Nifti1Image(voxels, affine), tmp_path / "a.nii.gz")
    volume, spacing = read("x", tmp_path / "a.nii.gz")
    assert volume.shape == (3, 4, 5) and spacing == (4.0, 3.0, 2.0)
    assert np.argwhere(volume).tolist() == [[2, 3, 0]]  # last slice, at the bottom, on the left


def test_a_series_of_one_slice_is_a_cine(tmp_path):
    voxels = np.zeros((5, 4, 1, 6), np.float32)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([2.0, 3.0, 8.0, 1.0])), tmp_path / "cine.nii.gz")
    volume, spacing = read("x", tmp_path / "cine.nii.gz")
    assert volume.shape == (6, 4, 5) and spacing == (8.0, 3.0, 2.0)


def test_what_cannot_be_read_is_told_in_a_line(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["brain/output"] = VOLUME
    (tmp_path / "b.nii").write_bytes(b"no image")
    (tmp_path / "c.h5").write_bytes(b"no hdf5")
    nibabel.save(nibabel.Nifti1Image(np.random.default_rng(0).random((9, 9, 9)), np.eye(4)), tmp_path / "whole.nii.gz")
    (tmp_path / "half.nii.gz").write_bytes((tmp_path / "whole.nii.gz").read_bytes()[:2000])  # a download that stopped
    for name in ("empty.npy", "scan.dcm"):
        (tmp_path / name).touch()
    for name, message in {
        "none.npy": "no such file",
        "a.h5:brain/truth": "no dataset 'brain/truth', expected one of brain/output",
        "a.h5": "no dataset '', expected one of brain/output",
        "b.nii": "can't be read",
        "half.nii.gz": "can't be read",
        "empty.npy": "can't be read",
        "scan.dcm": "expected .nii, .nii.gz, .npy or .h5:dataset",
        "c.h5:x": "can't be read",
    }.items():
        with pytest.raises(InputError, match=message) as error:
            read("x", str(tmp_path / name))
        assert "\n" not in str(error.value) and "'x'" in str(error.value)


def test_cases_of_a_run(tmp_path):
    path = tmp_path / "result.h5"
    with h5py.File(path, "w") as file:
        file["b/input"], file["b/output"], file["c/input"] = VOLUME, VOLUME + 1, VOLUME
        file["b"].attrs["spacing"], file["b"].attrs["classes"] = [3.0, 1.0, 1.0], ["none", "liver"]
        file["b"].attrs["volume"] = True
    assert case_names(path) == ["b", "c"]
    volumes, unit, spacing, classes = case(path)
    assert unit == "slice" and spacing == (3.0, 1.0, 1.0) and classes == ["none", "liver"]
    assert np.array_equal(volumes["output"], VOLUME[:, ::-1, ::-1] + 1)  # of segmented volumes
    assert np.array_equal(case(path, "c").volumes["input"], VOLUME)
    with pytest.raises(InputError, match="unknown name 'd'; expected one of b, c"):
        case(path, "d")
    with h5py.File(path, "a") as file:
        file.attrs["first_axis"] = "time"
    assert case(path, "c").unit == "frame"
    for name, message in {"none.h5": "no such file", "bad.h5": "not a result.h5", "empty.h5": "holds no cases"}.items():
        if name == "bad.h5":
            (tmp_path / name).write_bytes(b"x")
        elif name == "empty.h5":
            h5py.File(tmp_path / name, "w").close()
        with pytest.raises(InputError, match=message):
            case_names(tmp_path / name)
