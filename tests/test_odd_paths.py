"""Paths and files that no reader expects: each reader refuses them in one line, and none raises anything else or waits."""

import json
import os
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
from PIL import Image

from lib import InputError, files, runs, viewer
from lib.data import case_files, cine_files, decathlon, hipmri, image_files, lgg, lits, nifti
from lib.data.fastmri_file import kspace_file, source_files
from lib.data.index import read_set
from lib.evaluation.look import look
from lib.inference import results
from lib.models import state_dict
from lib.recipes import recipe_file
from lib.text import value_or_error


def shown(path):
    return viewer.show({"a": path}, False, error_of=None)


READERS = {
    "k-space": (kspace_file, ".h5"), "cine": (lambda p: cine_files.series_file(p, "x"), ".h5"),
    "case": (case_files.case_file, ".h5"), "result": (results.case_names, ".h5"), "look, HDF5": (look, ".h5"),
    "look, NIfTI": (look, ".nii"), "look, npy": (look, ".npy"), "look, gz": (look, ".nii.gz"), "look, other": (look, ".x"),
    "NIfTI's header": (nifti.header, ".nii.gz"), "NIfTI's values": (nifti.values, ".nii"), "npy": (nifti.values, ".npy"),
    "image": (image_files.read_image, ".png"), "mask": (image_files.read_mask, ".png"),
    "viewer, HDF5": (lambda p: shown(f"{p}:a"), ".h5"), "viewer, NIfTI": (shown, ".nii"), "viewer, npy": (shown, ".npy"),
    "weights": (state_dict.tensors, ".pt"), "safetensors": (state_dict.tensors, ".safetensors"),
    "recipe": (recipe_file.read, ".yaml"),
}  # fmt: skip
FOLDER_READERS = {
    "set": read_set, "fastMRI": source_files, "LiTS": lits.find, "LGG": lgg.find, "HipMRI": hipmri.find,
    "images": image_files.images_in, "run": runs.find, "Decathlon": decathlon.pairs,
}  # fmt: skip


def fifo(path):
    os.mkfifo(path)


ODD = {
    "missing": lambda p: None, "folder": lambda p: p.mkdir(), "pipe": fifo, "empty": lambda p: p.touch(),
    "link to itself": lambda p: p.symlink_to(p.name), "link to nothing": lambda p: p.symlink_to("gone"),
    "text": lambda p: p.write_text("hello" * 300), "zeros": lambda p: p.write_bytes(bytes(5000)),
}  # fmt: skip
NAMES = {
    "300 letters": "n" * 300,
    "a null": "a\0b",
    "half a character": "a\ud800b",
    "within a file": "file/x",
    "dots": "../.." * 50,
}


def refused_in_one_line(reader, path):
    with pytest.raises(InputError) as error:
        reader(path)
    text = str(error.value)
    assert "\n" not in text and len(text) < 1500 and text.encode("utf-8", "backslashreplace")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", ODD)
def test_files_that_are_none(tmp_path, reader, kind):
    call, ending = READERS[reader]
    path = tmp_path / f"a{ending}"
    ODD[kind](path)
    refused_in_one_line(call, path)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", NAMES)
def test_names_that_no_file_has(tmp_path, reader, kind):
    call, ending = READERS[reader]
    (tmp_path / "file").touch()
    refused_in_one_line(call, tmp_path / f"{NAMES[kind]}{ending}")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("reader", FOLDER_READERS)
@pytest.mark.parametrize("kind", [*(k for k in ODD if k not in ("empty", "text", "zeros")), *NAMES])
def test_folders_that_are_none(tmp_path, reader, kind):
    path = tmp_path / NAMES.get(kind, "a")
    (tmp_path / "file").touch()
    if kind in ODD:
        ODD[kind](path)
    refused_in_one_line(FOLDER_READERS[reader], path)


@pytest.mark.parametrize("text", ["[]", "null", "3", '"x"', "{}", '{"files": 3}', '{"files": [3]}', '{"files": [{}]}',
    '{"files": [{"path": 3, "split": "train"}]}', '{"files": {"path": "x"}}', '{"files": [{"path": "a.h5"}]}',
    '{"files": [{"path": "a.h5", "sha256": 1, "bytes": "x", "split": []}]}', "[" * 100_000, "9" * 5000, "{", "\xff"])  # fmt: skip
def test_an_index_of_wrong_types(tmp_path, text):
    (tmp_path / "set.json").write_text(text, "latin-1")
    (tmp_path / "a.h5").touch()
    refused_in_one_line(read_set, tmp_path)


@pytest.mark.parametrize("about", ["[]", "3", '{"labels": 3}', '{"labels": []}', '{"labels": {"a": null}}', '{"labels": {"a": {}}}',
    '{"labels": {"0": "a"}, "modality": 3}', '{"labels": {"0": "a"}, "channel_names": true}', "[" * 100_000])  # fmt: skip
def test_a_decathlons_dataset_json_of_wrong_types(tmp_path, about):
    (tmp_path / "dataset.json").write_text(about)
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / folder).mkdir()
        nibabel.save(nibabel.Nifti1Image(np.zeros((3, 3, 3), np.uint8), np.eye(4)), tmp_path / folder / "a.nii")
    found = [value_or_error(call, tmp_path)[1] for call in (decathlon.classes, decathlon.pairs)]
    assert any(found) and not any("\n" in text for text in found)


@pytest.mark.parametrize("training", [3, [3, None, [], {}, {"image": 3}, {"label": ["x"]}], {"a": 1}, "x"])
def test_a_decathlons_list_of_wrong_types(tmp_path, training):
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"0": "a"}, "training": training}))
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / folder).mkdir()
        nibabel.save(nibabel.Nifti1Image(np.zeros((3, 3, 3), np.uint8), np.eye(4)), tmp_path / folder / "a.nii")
    try:
        assert decathlon.pairs(tmp_path)
    except InputError as error:
        assert "\n" not in str(error)


def test_a_folder_within_itself_is_entered_once(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "again").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "x.h5").touch()
    (tmp_path / "a" / "loop.png").symlink_to("loop.png")
    assert [p.name for p in files.list_files(tmp_path, (".h5",))] == ["x.h5"]
    refused_in_one_line(lambda p: files.list_files(p, (".png",)), tmp_path)


def test_names_with_half_characters_are_written_and_read_again(tmp_path):
    name = os.fsdecode(b"expos\xe9.h5")
    files.write(tmp_path / "x.json", {"path": name})
    assert files.read(tmp_path / "x.json") == {"path": name}


PIXELS = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)


@pytest.mark.parametrize("name", [os.fsdecode(b"expos\xe9"), "a\nb", "\x1b[31mred", "<b>$x$", "n" * 240])
def test_odd_names_that_files_do_have(tmp_path, name):
    Image.fromarray(PIXELS).save(tmp_path / f"{name}.png")
    assert image_files.read_image(tmp_path / f"{name}.png").shape == (3, 8, 8)
    with h5py.File(os.fsencode(tmp_path / f"{name}.h5"), "w") as file:
        file["a"] = np.ones((3, 8, 8), np.float32)
    assert look(tmp_path / f"{name}.h5")
    refused_in_one_line(kspace_file, tmp_path / f"{name}.h5")


def test_every_reader_of_a_path_takes_one_as_text(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((2, 8, 8)))
    assert look(str(tmp_path / "a.npy")) and shown(str(tmp_path / "a.npy")) and Path(tmp_path / "a.npy").exists()
