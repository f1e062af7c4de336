"""Headers of a prepared set's files are read once, and anew when a file or the code that reads them changes."""

import json
import os
import time

import h5py
import numpy as np
import pytest
import torch
from refusals import refused

from lib import files
from lib.data import kspace_headers
from lib.data.fastmri import split_files
from lib.data.fastmri_file import kspace_file
from lib.data.fastmri_index import index
from lib.kspace import ifft2c, rss


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A set in fastMRI's layout: one file with a mask of its own, one fully sampled, of persons with names."""
    monkeypatch.setattr(files, "SETTLED", -1)
    rng = np.random.default_rng(0)
    source = tmp_path / "source"
    for split, name in (("multicoil_train", "a"), ("multicoil_train", "b"), ("multicoil_val", "c")):
        (source / split).mkdir(parents=True, exist_ok=True)
        with h5py.File(source / split / f"{name}.h5", "w") as file:
            kspace = (rng.normal(size=(2, 3, 24, 20)) + 1j * rng.normal(size=(2, 3, 24, 20))).astype(np.complex64)
            kspace[..., 8:12, 7:13] *= 20
            file["kspace"] = kspace * (np.arange(20) % 2 == 0 if name == "a" else 1)
            image = rss(ifft2c(torch.from_numpy(kspace)), 1).numpy()[:, 2:22]
            file["reconstruction_rss"] = image
            file.attrs["max"], file.attrs["patient_id"] = float(image.max()), f"Jane {name}"
            if name == "a":
                file["mask"] = (np.arange(20) % 2 == 0).astype(np.float32)
    index(source, tmp_path / "set")
    return tmp_path / "set"


def test_the_second_time_no_header_is_read(folder, monkeypatch):
    first = split_files(folder, "train")
    assert [f._replace(person="") for f in first] == [kspace_file(f.path)._replace(person="") for f in first]
    assert first[0].columns and first[1].columns is None
    kept = (folder / kspace_headers.KEPT).read_text()
    assert "Jane" not in kept and str(folder) not in kept
    monkeypatch.setattr(kspace_headers, "kspace_file", None)
    assert split_files(folder, "train") == first


def test_another_file_is_read_anew(folder):
    first = split_files(folder, "train")
    path = first[1].path
    with h5py.File(path, "r+") as file:
        file["mask"] = np.ones(20, np.float32)
        file.attrs["max"] *= 1.1
    index(folder.parent / "source", folder)
    assert [f.maximum for f in split_files(folder, "train")] == [
        first[0].maximum,
        pytest.approx(1.1 * first[1].maximum),
    ]


@pytest.mark.parametrize("damage", ["{", "[]", '{"code": 1}', "types", "code"])
def test_what_was_kept_and_is_damaged_is_read_anew(folder, damage):
    first, path = split_files(folder, "train"), folder / kspace_headers.KEPT
    content = json.loads(path.read_text())
    if damage == "types":
        damage = path.read_text().replace('"coils":3', '"coils":"three"')
        assert "three" in damage
    if damage == "code":
        damage = json.dumps(content | {"code": []})
    path.write_text(damage)
    assert split_files(folder, "train") == first and json.loads(path.read_text()) == content


def test_what_was_kept_may_hold_what_is_no_number(folder):
    first, path = split_files(folder, "train"), folder / kspace_headers.KEPT
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"files": {"other": float("nan")}}))
    assert (
        split_files(folder, "train") == first and content["files"].keys() < json.loads(path.read_text())["files"].keys()
    )


def test_a_file_that_was_written_just_now_is_not_kept(folder, monkeypatch):
    monkeypatch.setattr(files, "SETTLED", 2)
    path = split_files(folder, "train")[0].path
    (folder / kspace_headers.KEPT).unlink(missing_ok=True)
    os.utime(path, (time.time(), time.time()))
    index(folder.parent / "source", folder)
    split_files(folder, "train")
    assert not (folder / kspace_headers.KEPT).exists()


def test_a_file_that_is_gone_is_named(folder):
    path = split_files(folder, "train")[0].path
    path.unlink()
    with refused(where=path.name, found="listed in"):
        split_files(folder, "train")
