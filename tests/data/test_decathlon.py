"""Folders in the layouts of the Medical Segmentation Decathlon and nnU-Net, with all that such folders may lack or hold besides."""

import json

import h5py
import nibabel
import numpy as np
import pytest
from refusals import refused

from lib.data import decathlon, lits
from lib.data.index import read_set
from lib.data.lits_matching import find
from lib.phantoms import labeled_scans

MSD = {"labels": {"0": "background", "1": "Anterior", "2": "Posterior"}, "modality": {"0": "MRI"}}
NNUNET = {
    "labels": {"Posterior": 2, "background": 0, "Anterior": 1},
    "channel_names": {"0": "MRI"},
    "file_ending": ".nii.gz",
}


def volume(path, values=None, affine=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.arange(60, dtype=np.uint8).reshape(3, 4, 5) % 3 if values is None else values
    nibabel.save(nibabel.Nifti1Image(values, np.diag([1, 1, 2, 1]) if affine is None else affine), path)


def folder(place, about=MSD, cases=("a_1", "a_2", "a_10"), suffix="", **more):
    """A small set; suffix: of the images' names; more: further entries of dataset.json."""
    for case in cases:
        volume(place / "imagesTr" / f"{case}{suffix}.nii.gz")
        volume(place / "labelsTr" / f"{case}.nii.gz")
    if about:
        (place / "dataset.json").write_text(json.dumps(about | more))
    return place


@pytest.mark.parametrize(("about", "suffix"), [(MSD, ""), (NNUNET, "_0000"), (NNUNET, ""), (MSD, "_0000")])
def test_both_forms_of_names_and_labels_give_the_same_set(tmp_path, about, suffix):
    lits.prepare(folder(tmp_path / "in", about, suffix=suffix), tmp_path / "out")
    content = read_set(tmp_path / "out")
    assert content["classes"] == ["background", "Anterior", "Posterior"]
    assert [e["path"] for e in content["files"]] == ["train/a_1.h5", "train/a_2.h5", "val/a_10.h5"]  # by their numbers
    with h5py.File(tmp_path / "out" / "train" / "a_1.h5") as file:
        expected = np.arange(60).reshape(3, 4, 5) % 3
        assert np.array_equal(file["label"][:], expected.transpose(2, 1, 0))
        assert file.attrs["spacing"].tolist() == [2, 1, 1] and file.attrs["source"] == f"a_1{suffix}.nii.gz"


def test_the_split_is_by_number_a_tenth_and_a_quarter(tmp_path):
    source = folder(tmp_path, cases=[f"c_{n}" for n in range(1, 41)])
    found = {split: [pair.id for pair in pairs] for split, pairs in find(source).items()}
    numbers = [f"c_{n}" for n in range(1, 41)]
    assert found == {"train": numbers[:26], "val": numbers[26:30], "test": numbers[30:]}
    own = find(source, split={"test": ["c_1"], "val": 2}, persons={"c_1": "p"})
    assert own["test"][0].person == "p" and [p.id for p in own["val"]] == ["c_39", "c_40"]


def test_what_lacks_its_partner_is_named_and_left_out(tmp_path, capsys):
    source = folder(tmp_path)
    volume(source / "imagesTr" / "a_3.nii.gz")
    volume(source / "imagesTr" / "a_4_0000.nii")
    volume(source / "labelsTr" / "a_5.nii.gz")
    for hidden in ("imagesTr/._a_1.nii.gz", "labelsTr/._a_1.nii.gz", "imagesTr/.DS_Store", "imagesTr/notes.txt"):
        (source / hidden).write_bytes(b"\x00\x05\x16\x07")
    assert list(decathlon.pairs(source)) == ["a_1", "a_10", "a_2"]
    said = capsys.readouterr().out.splitlines()
    assert said == [
        "skipped, images without a label: a_3.nii.gz, a_4_0000.nii",
        "skipped, labels without an image: a_5.nii.gz",
    ]


def test_the_training_list_decides_where_there_is_one(tmp_path, capsys):
    names = ("a_1", "a_10", "a_7")
    listed = [{"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in names]
    source = folder(tmp_path, training=listed)
    assert list(decathlon.pairs(source)) == ["a_1", "a_10"]
    said = capsys.readouterr().out
    assert "listed in dataset.json, but not in imagesTr and labelsTr: a_7\n" in said
    assert "not listed in dataset.json: a_2.nii.gz\n" in said


def test_channels_are_in_order_in_files_of_their_own_or_on_a_fourth_axis(tmp_path):
    source = folder(tmp_path / "files", suffix="_0000", modality={"0": "T2", "1": "ADC"})
    for case in ("a_1", "a_2", "a_10"):
        volume(source / "imagesTr" / f"{case}_0001.nii.gz")
    assert [p.name for p in decathlon.pairs(source)["a_2"][0]] == ["a_2_0000.nii.gz", "a_2_0001.nii.gz"]
    source = folder(tmp_path / "axis", modality={"0": "T2", "1": "ADC"})
    for case in ("a_1", "a_2", "a_10"):
        volume(source / "imagesTr" / f"{case}.nii.gz", np.zeros((3, 4, 5, 2), np.uint8))
    assert decathlon.pairs(source)["a_2"][0] == (source / "imagesTr" / "a_2.nii.gz",) * 2
    assert decathlon.channels(source) == ("T2", "ADC")


def test_channels_that_are_not_all_there_are_refused(tmp_path):
    source = folder(tmp_path / "files", suffix="_0000")
    volume(source / "imagesTr" / "a_2_0001.nii.gz")
    with refused(where=r"a_2_0000.nii.gz", found="2 channels, a_10_0000.nii.gz has 1", expected="as many"):
        decathlon.pairs(source)
    volume(source / "imagesTr" / "a_2_0003.nii.gz")
    with refused(where=r"a_2_0000.nii.gz", found="channels _0000, _0001, _0003", expected="_0000, _0001, _0002"):
        decathlon.pairs(source)
    source = folder(tmp_path / "one", cases=("a_1",), suffix="_0001")
    with refused(where="a_1_0001.nii.gz", found="channels _0001$"):
        decathlon.pairs(source)
    source = folder(tmp_path / "axis", cases=("a_2",))
    volume(source / "imagesTr" / "a_2.nii.gz", np.zeros((3, 4, 5, 2), np.uint8))
    with refused(where="a_2.nii.gz", found="a fourth axis of 2", expected="one channel"):
        decathlon.pairs(source)
    volume(source / "imagesTr" / "a_2.nii.gz", np.zeros((3, 4, 5, 5), np.uint8))
    with refused(where="a_2.nii.gz", found="5 channels", expected="at most 4"):
        decathlon.pairs(source)
    for key, value in (("modality", {"0": "T2", "1": "ADC"}), ("channel_names", {"0": "T2", "1": "ADC"})):
        with refused(where="a_1.nii.gz", found="1 channels", expected=r"2, as dataset.json has them \(T2, ADC\)"):
            decathlon.pairs(folder(tmp_path / key, **{key: value}))


def test_a_name_that_ends_like_a_channel_is_a_case_if_its_label_is_called_so(tmp_path):
    assert list(decathlon.pairs(folder(tmp_path, cases=("b_0000", "b_0001")))) == ["b_0000", "b_0001"]


REFUSED = {
    "empty": (lambda p: empty(p / "s"), {"where": "s$", "found": "0 images in imagesTr and 0 labels"}),
    "no pair": (lambda p: alone(p / "s"), {"where": "s$", "found": "1 images in imagesTr and 1 labels.*none", "expected": "case_0000"}),
    "no labels": (lambda p: alone(p / "s", label=False), {"where": "labelsTr", "found": "no such folder"}),
    "twice": (lambda p: twice(p / "s"), {"where": "a_1.nii.gz", "found": "a_1.nii has the same name"}),
    "no JSON": (lambda p: broken(p / "s"), {"where": "dataset.json", "found": "can't be read as JSON"}),
}  # fmt: skip


def empty(place):
    for name in ("imagesTr", "labelsTr"):
        (place / name).mkdir(parents=True)
    return place


def alone(place, label=True):
    volume(place / "imagesTr" / "a.nii.gz")
    if label:
        volume(place / "labelsTr" / "b.nii.gz")
    return place


def twice(place):
    volume(folder(place) / "imagesTr" / "a_1.nii")
    return place


def broken(place):
    (folder(place) / "dataset.json").write_text("{")
    return place


@pytest.mark.parametrize("name", REFUSED)
def test_folders_that_are_refused(tmp_path, name, capsys):
    make, fields = REFUSED[name]
    with refused(**fields):
        decathlon.pairs(make(tmp_path))


@pytest.mark.parametrize(("labels", "fields"), [
    ({"background": 0, "whole": [1, 2], "core": 2}, {"where": "dataset.json", "found": r"labels: whole is \[1, 2\]"}),
    ({"0": "background", "2": "liver"}, {"where": "dataset.json", "found": "the numbers are 0, 2", "hint": "relabel"}),
    ([], {"where": "dataset.json", "found": "labels: got"}),
    ({"background": 0, "a": 1, "ignore": 2}, {"found": "labels: 2 is ignore", "hint": "ignore_index: 2"}),
    (None, {"where": "classes", "found": "no labels in .*dataset.json", "expected": "names"}),
])  # fmt: skip
def test_labels_that_are_no_numbered_classes(tmp_path, labels, fields):
    source = folder(tmp_path / "in", {"labels": labels} if labels is not None else None)
    with refused(**fields):
        lits.prepare(source, tmp_path / "out")
    lits.prepare(source, tmp_path / "out", classes=["background", "one", "two"])  # one's own names need no dataset.json


def test_an_identity_beside_voxels_of_one_millimeter_has_lost_nothing(tmp_path):
    source = folder(tmp_path / "in")
    for kind in ("imagesTr", "labelsTr"):
        volume(source / kind / "a_1.nii.gz", affine=np.eye(4))
    with refused(where="a_1.nii.gz", found="identity"):  # beside voxels of 1 × 1 × 2 mm
        lits.prepare(source, tmp_path / "out")
    for kind in ("imagesTr", "labelsTr"):
        for case in ("a_2", "a_10"):
            volume(source / kind / f"{case}.nii.gz", affine=np.eye(4) + np.eye(4, k=3))
    lits.prepare(source, tmp_path / "out")


def test_the_sample_is_26_to_4_to_10_with_both_labels_in_each(tmp_path):
    about = labeled_scans.volumes("hippocampus", tmp_path)
    lits.prepare(folder=tmp_path / "set", **about)
    files = read_set(tmp_path / "set")["files"]
    assert [sum(e["split"] == s for e in files) for s in ("train", "val", "test")] == [26, 4, 10]
    assert all(min(e["voxels"]) > 1000 for e in files)
    with refused(where="sample 'hipocampus'", found="did you mean 'hippocampus'", expected="hippocampus, abdomen"):
        labeled_scans.volumes("hipocampus", tmp_path)
