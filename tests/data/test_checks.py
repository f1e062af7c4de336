"""Checks of k-space files and of the index: every refusal is one line that names the file and what is expected."""

import json
import re

import h5py
import nibabel
import numpy as np
import pytest
from refusals import refused

from lib import InputError
from lib.data import nifti
from lib.data.case_files import case_file, write_case
from lib.data.fastmri_file import kspace_file
from lib.data.fastmri_index import index
from lib.data.header import header_of
from lib.data.index import SPLITS, read_set, write_set


def make(path, kspace=None, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    kspace = np.ones((2, 3, 8, 6), np.complex64) if kspace is None else kspace
    with h5py.File(path, "w") as file:
        file["kspace"] = kspace
        for key, value in more.items():
            file[key] = value
    return path


def test_fastmri_file_without_header_mask_and_target_says_what_is_assumed(tmp_path):
    file = kspace_file(make(tmp_path / "a.h5"))
    assert (file.slices, file.coils, file.shape, file.target) == (2, 3, (8, 6), "kspace")
    assert [a.split(":")[0] for a in file.assumed] == ["no ismrmrd_header", "no target", "no mask"]
    undersampled = kspace_file(make(tmp_path / "b.h5", mask=np.array([1, 0, 1, 1, 0, 1])))
    assert undersampled.target is None and "no target: it can be reconstructed" in " ".join(undersampled.assumed)


def test_single_coil_has_one_coil(tmp_path):
    file = kspace_file(make(tmp_path / "a.h5", np.ones((2, 8, 6), np.complex64)))
    assert file.coils == 1 and file.shape == (8, 6)


def test_snu_files_find_their_target_beside_them(tmp_path):
    path = make(tmp_path / "kspace" / "b.h5", mask=np.ones(6))
    (tmp_path / "image").mkdir()
    with h5py.File(tmp_path / "image" / "b.h5", "w") as file:
        file["image_label"] = np.full((2, 4, 4), 2.0, np.float32)
        file.attrs["max"] = 3.0
    found = kspace_file(path)
    assert (found.layout, found.target, found.target_shape, found.maximum) == ("SNU", "image_label", (4, 4), 3.0)
    assert found.mask


NAN = np.ones((2, 3, 8, 6), np.complex64)
NAN[1, 0, 0, 0] = np.nan
BAD = {
    "shape": (np.ones((8, 6), np.complex64), {}, r"kspace: shape \(8, 6\), expected \(slices, coils, H, W\)"),
    "type": (np.ones((2, 3, 8, 6)), {}, "kspace: type float64, expected complex64"),
    "nan": (NAN, {}, "kspace: slice 1 holds 1 NaN or inf"),
    "zero": (np.zeros((2, 3, 8, 6), np.complex64), {}, "kspace: all 2 slices are zero"),
    "mask": (None, {"mask": np.ones(5)}, r"mask: shape \(5,\), expected \(6,\)"),
    "target": (
        None,
        {"reconstruction_rss": np.ones((3, 8, 6))},
        r"reconstruction_rss: shape \(3, 8, 6\), expected \(2, H, W\)",
    ),
    "header": (None, {"ismrmrd_header": b"<no/>"}, "ismrmrd_header: not a valid ISMRMRD header"),
    "target nan": (None, {"reconstruction_rss": np.where(NAN[:, 0].real == 1, 1, np.nan)}, "its largest value is nan"),
    "target zero": (None, {"reconstruction_rss": np.zeros((2, 8, 6))}, "its largest value is 0, expected a finite"),
    "target below zero": (None, {"reconstruction_rss": np.full((2, 8, 6), -1.0)}, "its largest value is -1, expected"),
    "mask nan": (None, {"mask": np.array([1, np.nan, 1, 1, 0, 1])}, "mask: holds NaN or inf values"),
    "mask inf": (None, {"mask": np.array([1, np.inf, 1, 1, 0, 1])}, "mask: holds NaN or inf values"),
    "mask zero": (None, {"mask": np.zeros(6)}, "mask: none of its 6 columns is acquired"),
    "mask zero (H, W)": (None, {"mask": np.zeros((8, 6))}, "mask: none of its 6 columns is acquired"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_in_one_line(tmp_path, name):
    kspace, more, message = BAD[name]
    path = make(tmp_path / "bad.h5", kspace, **more)
    with pytest.raises(InputError, match=message) as error:
        kspace_file(path, values=True)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


@pytest.mark.parametrize("maximum", [0, -1.0, np.nan, np.inf, "much", [1.0, 2.0]], ids=str)
def test_the_maximum_is_a_finite_number_above_0(tmp_path, maximum):
    path = make(tmp_path / "bad.h5", reconstruction_rss=np.ones((2, 8, 6)))
    with h5py.File(path, "a") as file:
        file.attrs["max"] = maximum
    with refused(where=str(path), found="attribute max", expected="finite number"):
        kspace_file(path)


def test_all_values_of_a_target_are_read_also_where_its_maximum_is_stated(tmp_path):
    target = np.ones((2, 8, 6))
    target[0, 3, 3] = np.nan
    path = make(tmp_path / "a" / "bad.h5", reconstruction_rss=target)
    with h5py.File(path, "a") as file:
        file.attrs["max"] = 1.0
    with refused(where=str(path), found="reconstruction_rss: slice 0 holds NaN or inf"):
        index(tmp_path / "a", tmp_path / "set")
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("mm", ["-1", "-0.5", "nan", "inf"])
def test_a_header_of_impossible_sizes_is_refused(tmp_path, mm):
    header = header_of((8, 6), (2.0, 1.0, 1.0), 3)
    path = make(
        tmp_path / "a.h5", ismrmrd_header=re.sub(rb"(<fieldOfView_mm>\s*<x>)[^<]*", rb"\g<1>" + mm.encode(), header)
    )
    with refused(where=str(path), found="ismrmrd_header: .*(field of view|fieldOfView_mm)"):
        kspace_file(path)


CASE = {"image": np.ones((2, 4, 4), np.float32), "label": None, "person": "p", "classes": ("a", "b"), "names": "01"}


@pytest.mark.parametrize("spacing", [(1, np.nan, 1), (1, 0, 1), (1, -1, 1), (np.inf, 1, 1), (1, 1), 1.0], ids=str)
def test_a_case_has_a_finite_spacing_above_0(tmp_path, spacing):
    with refused(where="a.h5", found="attribute spacing: ", expected="3 finite numbers above 0"):
        write_case(tmp_path / "b" / "a.h5", **CASE, spacing=spacing)
    assert not (tmp_path / "b").exists()
    write_case(tmp_path / "a.h5", **CASE)
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file.attrs["spacing"] = spacing
    with refused(where="a.h5", found="attribute spacing: ", expected="3 finite numbers above 0"):
        case_file(tmp_path / "a.h5")


def test_a_case_holds_finite_values(tmp_path):
    image = CASE["image"].copy()
    image[1, 2, 3] = np.nan
    with refused(found="the image holds NaN or inf"):
        write_case(tmp_path / "a.h5", **CASE | {"image": image})
    assert not list(tmp_path.iterdir())
    write_case(tmp_path / "a.h5", **CASE, fill=0.5)
    assert case_file(tmp_path / "a.h5").fill == (0.5,)
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file.attrs["fill"] = [0.0, np.nan]
    with refused(found=r"attribute fill: \[0.0, nan\]", expected="^finite numbers$"):
        case_file(tmp_path / "a.h5")


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_a_volume_has_an_affine_with_an_inverse(tmp_path, bad):
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    image = nibabel.Nifti1Image(np.ones((4, 4, 4), np.uint8), affine)
    image.header["srow_x"][0] = bad
    image.header["qform_code"] = 0
    (tmp_path / "a.nii").write_bytes(image.header.structarr.tobytes() + bytes(4) + image.dataobj.tobytes())
    for reader in (nifti.header, nifti.read_radiological):
        with refused(where="a.nii", found="its affine .* has no inverse|can't be read as NIfTI"):
            reader(tmp_path / "a.nii")


def test_missing_key_group_and_truncated_files_are_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["image"] = np.ones(3)
    with refused(found=r"no key 'kspace' \(found image\)"):
        kspace_file(tmp_path / "a.h5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["kspace/0"], file["kspace/1"] = np.ones((3, 8, 6), np.complex64), np.ones((3, 8, 4), np.complex64)
    with refused(found="slices of different size"):
        kspace_file(tmp_path / "b.h5")
    whole = make(tmp_path / "c.h5").read_bytes()
    (tmp_path / "c.h5").write_bytes(whole[: len(whole) // 2])
    with refused(found=r"not a readable HDF5 file \(\d+ bytes"):
        kspace_file(tmp_path / "c.h5")


def test_index_splits_by_person_and_prints_what_is_assumed(tmp_path, capsys):
    for i in range(12):
        path = make(tmp_path / "scans" / f"{i:02d}.h5")
        with h5py.File(path, "a") as file:
            file.attrs["patient_id"] = f"person {i // 2}"
    index(tmp_path / "scans", tmp_path / "set")
    content = read_set(tmp_path / "set")
    splits = {s: {e["person"] for e in content["files"] if e["split"] == s} for s in SPLITS}
    assert all(splits.values()) and sum(map(len, splits.values())) == 6  # nobody in two splits
    assert "no mask" in capsys.readouterr().out


def test_index_takes_splits_from_folder_names(tmp_path):
    for split in ("multicoil_train", "multicoil_val", "multicoil_test"):
        make(tmp_path / "scans" / split / f"{split}.h5")
    index(tmp_path / "scans", tmp_path / "set")
    found = {e["split"]: e["person"] for e in read_set(tmp_path / "set")["files"]}
    assert found == {"test": "person_001", "train": "person_002", "val": "person_003"}  # in the order of their names


def test_a_person_in_two_splits_is_refused(tmp_path):
    make(tmp_path / "a.h5"), make(tmp_path / "b.h5")
    files = [{"split": "train", "path": "a.h5", "person": "x"}, {"split": "test", "path": "b.h5", "person": "x"}]
    with refused(found=r"a.h5 \(train\) and b.h5 \(test\) are of one person: split by person"):
        write_set(tmp_path, "here", "k-space", files)


def test_changed_and_missing_files_are_noticed(tmp_path):
    make(tmp_path / "a.h5")
    write_set(tmp_path, "here", "k-space", [{"split": "train", "path": "a.h5", "person": "x"}])
    assert read_set(tmp_path)["persons"]["train"] == ["x"]
    content = bytearray((tmp_path / "a.h5").read_bytes())
    content[-1] ^= 1
    (tmp_path / "a.h5").write_bytes(content)
    with refused(found="changed since"):
        read_set(tmp_path)
    (tmp_path / "a.h5").unlink()
    with refused(found="but gone"):
        read_set(tmp_path)
    (tmp_path / "set.json").write_text(json.dumps([]))
    with refused(found="not a valid index"):
        read_set(tmp_path)
