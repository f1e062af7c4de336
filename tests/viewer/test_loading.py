import h5py
import nibabel
import numpy as np
import pytest
from refusals import refused

from lib import InputError
from lib.viewer import case, case_names
from lib.viewer.loading import read

VOLUME = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def test_files_give_volumes_and_their_spacing(tmp_path):
    np.save(tmp_path / "a.npy", VOLUME)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["brain/output"] = VOLUME
        file["brain"].attrs["spacing"] = [3.0, 1.0, 2.0]
    for name, spacing in (("a.npy", None), ("a.h5:brain/output", (3.0, 1.0, 2.0))):
        found = read("x", str(tmp_path / name))
        assert np.array_equal(found.volume, VOLUME) and found.spacing == spacing and not found.anatomical
    for reason in ("no weights", "n/a", "runs/a/result.h5: no dataset 'x', expected y", "no file a b.nii", None):
        assert read("x", reason).volume == reason
    assert read("x", VOLUME).volume is VOLUME and read("x", VOLUME.tolist()).volume.shape == (2, 3, 4)


def test_paths_may_hold_spaces(tmp_path):
    (tmp_path / "my scans").mkdir()
    np.save(tmp_path / "my scans" / "a.npy", VOLUME)
    with h5py.File(tmp_path / "my scans" / "a.h5", "w") as file:
        file["brain_b 4x/GRAPPA"] = VOLUME
    for name in ("my scans/a.npy", "my scans/a.h5:brain_b 4x/GRAPPA"):
        assert np.array_equal(read("x", str(tmp_path / name)).volume, VOLUME)


def test_segmented_volumes_look_the_same_by_path_and_as_a_case(tmp_path):
    for name, about in {"result.h5": {"volume": True}, "prepared.h5": {"original_affine": np.eye(4)}}.items():
        with h5py.File(tmp_path / name, "w") as file:
            file["a/output"] = VOLUME
            file["a"].attrs.update(about)
        found = read("x", f"{tmp_path / name}:a/output")
        assert found.anatomical and np.array_equal(found.volume, VOLUME[:, ::-1, ::-1])
        assert np.array_equal(found.volume, case(tmp_path / name, "a").volumes["output"])


@pytest.mark.parametrize("flipped", [False, True])
def test_nifti_has_the_front_on_top_and_the_right_on_the_left(tmp_path, flipped):
    voxels = np.zeros((5, 4, 3), np.float32)  # x to the right, y to the front, z to the head
    voxels[4, 0, 2] = 1  # right, back, head
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    if flipped:  # stored from right to left: the same person
        voxels, affine[0, 0] = voxels[::-1], -2.0
    nibabel.save(nibabel.Nifti1Image(voxels, affine), tmp_path / "a.nii.gz")
    volume, spacing, affine, anatomical, _ = read("x", tmp_path / "a.nii.gz")
    assert volume.shape == (3, 4, 5) and spacing == (4.0, 3.0, 2.0) and anatomical
    assert np.argwhere(volume).tolist() == [[2, 3, 0]]  # last slice, at the bottom, on the left
    assert (affine @ [2, 3, 0, 1]).tolist() == [0.0 if flipped else 8.0, 0.0, 8.0, 1.0]  # mm to the right, front, head


def test_a_series_of_one_slice_is_a_cine(tmp_path):
    voxels = np.zeros((5, 4, 1, 6), np.float32)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([2.0, 3.0, 8.0, 1.0])), tmp_path / "cine.nii.gz")
    volume, spacing, affine, anatomical, _ = read("x", tmp_path / "cine.nii.gz")
    assert volume.shape == (6, 4, 5) and spacing == (8.0, 3.0, 2.0) and affine is None and not anatomical


def test_what_cannot_be_read_is_told_in_a_line(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["brain/output"] = VOLUME
    (tmp_path / "b.nii").write_bytes(b"no image")
    (tmp_path / "c.h5").write_bytes(b"no hdf5")
    nibabel.save(nibabel.Nifti1Image(np.random.default_rng(0).random((9, 9, 9)), np.eye(4)), tmp_path / "whole.nii.gz")
    (tmp_path / "half.nii.gz").write_bytes((tmp_path / "whole.nii.gz").read_bytes()[:2000])  # a download that stopped
    colors = np.zeros((2, 3, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.save(nibabel.Nifti1Image(colors, np.eye(4)), tmp_path / "rgb.nii")
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
        "rgb.nii": "expected numbers",
    }.items():
        with pytest.raises(InputError, match=message) as error:
            read("x", str(tmp_path / name))
        assert "\n" not in str(error.value) and "'x'" in str(error.value)


def test_reasons_are_not_paths():
    for reason in ("n/a", "N/A", "no result in predictions/result.h5", "/runs/x: no model.json in it", "not a grid"):
        assert read("x", reason).volume == reason


def test_the_datasets_of_the_same_case_are_named(tmp_path):
    with h5py.File(tmp_path / "r.h5", "w") as file:
        for case in "abcdefgh":
            file[f"{case}/input"], file[f"{case}/truth"] = VOLUME, VOLUME
    with refused(found=r"no dataset 'h/x', expected one of h/input, h/truth … \(16 in all\)$"):
        read("x", f"{tmp_path}/r.h5:h/x")


def test_a_list_of_uneven_lengths_is_refused():
    with refused(found="uneven lengths"):
        read("x", [[[1, 2], [3]]])


def test_cases_of_a_run(tmp_path):
    path = tmp_path / "result.h5"
    with h5py.File(path, "w") as file:
        file["b/input"], file["b/output"], file["c/input"] = VOLUME, VOLUME + 1, VOLUME
        file["b"].attrs["spacing"], file["b"].attrs["classes"] = [3.0, 1.0, 1.0], ["none", "liver"]
        file["b"].attrs["volume"] = True
    assert case_names(path) == ["b", "c"]
    volumes, unit, spacing, classes, planes, mask, achieved, ignore_index = case(path)
    assert planes == ("axial", "coronal", "sagittal") and mask is achieved is ignore_index is None
    assert case(path, "c").planes == ("slice", "row", "column")
    assert unit == "slice" and spacing == (3.0, 1.0, 1.0) and classes == ["none", "liver"]
    assert np.array_equal(volumes["output"], VOLUME[:, ::-1, ::-1] + 1)  # of segmented volumes
    assert np.array_equal(case(path, "c").volumes["input"], VOLUME)
    assert repr(case(path, "c")) == "ViewedCase(input (2, 3, 4); slices, spacing None mm)"
    with refused(found="unknown name 'd'; expected one of b, c"):
        case(path, "d")
    with h5py.File(path, "a") as file:
        file.attrs["first_axis"] = "time"
    assert case(path, "c").unit == "frame"
    for name, message in {
        "none.h5": "no such file",
        "bad.h5": "not a readable HDF5 file",
        "empty.h5": "holds no cases",
    }.items():
        if name == "bad.h5":
            (tmp_path / name).write_bytes(b"x")
        elif name == "empty.h5":
            h5py.File(tmp_path / name, "w").close()
        with pytest.raises(InputError, match=message):
            case_names(tmp_path / name)
