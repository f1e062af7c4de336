"""Folders of images and labels whose names nobody has agreed on: what belongs together, whose it is, how it is divided."""

import numpy as np
import pytest
from PIL import Image
from refusals import refused

from lib.data import lgg, lgg_matching, lits_matching, pairing
from lib.data.index import read_set

NIFTI = (".nii.gz", ".nii", ".npy")


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


LAYOUTS = {
    "two folders": (
        ["images/case_01_img.nii.gz", "images/case_12_img.nii.gz", "labels/case_01_seg.nii.gz", "labels/case_12_seg.nii.gz"],
        (("images/case_*_img.nii.gz",), "labels/case_*_seg.nii.gz"),
    ),
    "one folder": (["img1.nii", "img2.nii", "seg1.nii", "seg2.nii"], (("img*.nii",), "seg*.nii")),
    "a folder a person": (
        ["a/scan.nii", "b/scan.nii", "a/label.nii", "b/label.nii"], (("*/scan.nii",), "*/label.nii"),
    ),
    "channels": (
        [f"{p}/{p}_{c}.nii.gz" for p in ("p7", "q8") for c in ("t2", "flair", "seg")],
        (("*/*_flair.nii.gz", "*/*_t2.nii.gz"), "*/*_seg.nii.gz"),
    ),
    "equal names": (["scans/x.npy", "scans/y.npy", "masks/x.npy", "masks/y.npy"], (("scans/*.npy",), "masks/*.npy")),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_names_tell_images_from_labels(tmp_path, name):
    files, (images, labels) = LAYOUTS[name]
    found = pairing.guess(touch(tmp_path, *files), NIFTI)
    assert found[:2] == (images, labels)
    assert found.names == (("flair", "t2") if name == "channels" else ())


@pytest.mark.parametrize(
    "files",
    [
        ["a.nii", "b.nii"],  # no word tells which are labels
        ["images/a.nii", "images/b.nii", "labels/a.nii", "labels/c.nii"],  # not the same cases
        ["images/a.nii", "images/b.nii", "images/c.nii", "labels/a.nii", "labels/b.nii"],
        ["images/a.nii", "labels/deep/a.nii", "images/b.nii", "labels/b.nii"],
        [f"a_{c}.nii" for c in ("t1", "t2", "pd", "flair", "adc", "seg")],  # five channels
    ],
)
def test_what_names_do_not_tell_is_not_guessed(tmp_path, files):
    assert pairing.guess(touch(tmp_path, *files), NIFTI) is None


def test_volumes_are_found_by_the_guess_which_is_said(tmp_path, capsys):
    names = [f"{kind}/s{n}.nii" for kind in ("images", "labels") for n in range(10)]
    found = lits_matching.find(touch(tmp_path, *names))
    assert capsys.readouterr().out == f"{tmp_path}: images images/s*.nii and labels labels/s*.nii, by their names\n"
    assert {s: [p.id for p in pairs] for s, pairs in found.items()} == {
        "train": [f"s{n}" for n in range(7)], "val": ["s7"], "test": ["s8", "s9"],
    }  # fmt: skip
    few = lits_matching.find(touch(tmp_path / "few", "images/a.nii", "images/b.nii", "labels/a.nii", "labels/b.nii"))
    assert {s: len(pairs) for s, pairs in few.items()} == {"train": 1, "val": 1}


def test_shares_are_of_persons(tmp_path):
    source = touch(tmp_path, *(f"{kind}/{n}.nii" for kind in ("images", "labels") for n in range(8)))
    persons = {str(n): f"p{n // 2}" for n in range(8)}
    found = lits_matching.find(source, split={"val": 0.25, "test": 0.3}, persons=persons)
    assert {s: [p.id for p in pairs] for s, pairs in found.items()} == {
        "train": ["0", "1", "2", "3"], "val": ["4", "5"], "test": ["6", "7"],
    }  # fmt: skip
    with refused(where="^split$", found="0.25 for val of 4 persons: none is left"):
        lits_matching.find(source, split={"val": 0.25, "test": 0.9}, persons=persons)
    with refused(where="^split$", found="val: got 2.5", expected="a share above 0"):
        lits_matching.find(source, split={"val": 2.5}, persons=persons)


def test_patterns_may_name_several_channels(tmp_path):
    source = touch(tmp_path, *(f"{n}_{c}.nii" for n in "abc" for c in ("t1", "t2", "labels")))
    (found,) = lits_matching.find(source, ["*_t1.nii", "*_t2.nii"], "*_labels.nii", split={}).values()
    assert [[p.name for p, _ in pair.channels] for pair in found] == [[f"{n}_t1.nii", f"{n}_t2.nii"] for n in "abc"]
    (source / "b_t2.nii").unlink()
    with refused(where="b_t1.nii", found="no further channel belongs to it", expected=r"\*_t2.nii"):
        lits_matching.find(source, ["*_t1.nii", "*_t2.nii"], "*_labels.nii", split={})


def picture(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(value.astype(np.uint8)).save(path)


def pictures(folder, persons, slices, image="images/{p}_slice_{s}.png", mask="masks/{p}_slice_{s}_mask.png"):
    for p in persons:
        for s in range(slices):
            values = np.random.default_rng(s).integers(0, 255, (12, 10))
            picture(folder / image.format(p=p, s=s), values)
            picture(folder / mask.format(p=p, s=s), 255 * (values > 128))
    return folder


def test_images_and_masks_of_any_folders_are_divided_by_person(tmp_path, capsys):
    source = pictures(tmp_path / "in", [f"patient{n}" for n in range(5)], 3)
    lgg.prepare(source, tmp_path / "out", (16, 16))
    assert (
        "15 images images/patient*.png and masks masks/patient*_mask.png, of 5 persons by their names"
        in capsys.readouterr().out
    )
    content = read_set(tmp_path / "out")
    assert {s: len(who) for s, who in content["persons"].items()} == {"train": 3, "val": 1, "test": 1}
    assert not set(content["persons"]["train"]) & set(content["persons"]["test"])


def test_a_folder_is_a_person_and_a_lone_number_is_not(tmp_path):
    by_folder = lgg_matching.find(pictures(tmp_path / "a", ["p1", "p2"], 3, "{p}/{s}.png", "{p}/{s}_seg.png"))
    assert {pair.person for pair in by_folder} == {"p1", "p2"} and by_folder[0].name == "p1_0"
    by_image = lgg_matching.find(pictures(tmp_path / "b", [""], 4, "img/scan_{s}.png", "label/scan_{s}.png"))
    assert [pair.person for pair in by_image] == [f"scan_{n}" for n in range(4)]
    with refused(where="c$", found="neither TCGA_… folders nor train_image", hint="tells apart"):
        lgg_matching.find(touch(tmp_path / "c", "a.png", "b.png"))


def test_a_folder_that_is_a_split_or_a_kind_is_no_person(tmp_path):
    source = pictures(tmp_path / "splits", ["train", "val", "test"], 4, "{p}/images/{s}.png", "{p}/masks/{s}.png")
    found = lgg_matching.find(source)
    assert len({pair.person for pair in found}) == 12 and {pair.split for pair in found} == {"train", "val", "test"}
    assert lgg.split_persons(found, 0) == {pair.image: pair.split for pair in found}
    kinds = lgg_matching.find(
        pictures(tmp_path / "kinds", ["benign", "malignant"], 4, "{p}/{s}.png", "{p}/{s}_seg.jpg")
    )
    assert len({pair.person for pair in kinds}) == 8


def test_sessions_and_frames_of_a_person_stay_together(tmp_path, capsys):
    names = [f"sub-{n:02}/ses-{k}/t1{w}.nii.gz" for n in range(6) for k in (1, 2) for w in ("", "_seg")]
    found = lits_matching.find(touch(tmp_path / "a", *names))
    people = {split: {pair.person for pair in pairs} for split, pairs in found.items()}
    assert people == {"train": {f"sub-{n:02}" for n in range(4)}, "val": {"sub-04"}, "test": {"sub-05"}}
    assert "12 volumes of 6 persons, by their names" in capsys.readouterr().out
    names = [
        f"{kind}/patient{n:03}_frame{k:02}.nii" for kind in ("images", "labels") for n in range(4) for k in (1, 12)
    ]
    found = lits_matching.find(touch(tmp_path / "b", *names))
    whose = {pair.person for pairs in found.values() for pair in pairs}
    assert whose == {f"patient{n:03}" for n in range(4)}
