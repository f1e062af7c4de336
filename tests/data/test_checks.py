"""Checks of k-space files and of the index: every refusal is one line that names the file and what is expected."""

import json

import h5py
import numpy as np
import pytest
from refusals import refused

from lib import InputError
from lib.data.fastmri_file import kspace_file
from lib.data.fastmri_index import index
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
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_in_one_line(tmp_path, name):
    kspace, more, message = BAD[name]
    path = make(tmp_path / "bad.h5", kspace, **more)
    with pytest.raises(InputError, match=message) as error:
        kspace_file(path, values=True)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


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
    assert found == {s: f"multicoil_{s}" for s in SPLITS}


def test_a_person_in_two_splits_is_refused(tmp_path):
    make(tmp_path / "a.h5"), make(tmp_path / "b.h5")
    files = [{"split": "train", "path": "a.h5", "person": "x"}, {"split": "test", "path": "b.h5", "person": "x"}]
    with refused(found="person x is in both train and test"):
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
