"""Images and masks in Kaggle's LGG layout and the ResUNet source's; splits; lesions drawn into brains."""

import shutil

import h5py
import numpy as np
import pytest
from labelled import lgg, source_layout
from PIL import Image

from lib import InputError
from lib.data import lesions, pairs
from lib.data.checks import read_set


@pytest.fixture(scope="module")
def kaggle(tmp_path_factory):
    return lgg(tmp_path_factory.mktemp("kaggle"))


@pytest.fixture
def copy(kaggle, tmp_path):
    return shutil.copytree(kaggle, tmp_path / "kaggle")


def test_kaggles_folders_split_by_patient(kaggle, tmp_path):
    pairs.prepare(kaggle, tmp_path, (64, 64))
    content = read_set(tmp_path)
    persons = content["persons"]
    assert {k: len(v) for k, v in persons.items()} == {"train": 8, "val": 1, "test": 1}
    assert not set(persons["train"]) & set(persons["test"]) and content["counts"]["train"] == 24
    assert all(p.startswith("TCGA_CS_") and p.count("_") == 2 for p in persons["train"])


def test_split_by_image_puts_patients_on_both_sides_and_says_so(kaggle, tmp_path):
    pairs.prepare(kaggle, tmp_path, (32, 32), split_by="image", val=0)
    content = read_set(tmp_path)
    assert content["counts"] == {"train": 27, "val": 3, "test": 3}  # the test split validates, as in the source
    both = set(content["persons"]["train"]) & set(content["persons"]["test"])
    assert both and both <= set(content["shared_persons"])


def test_cases_hold_resized_images_and_masks_of_0_and_1(kaggle, tmp_path):
    pairs.prepare(kaggle, tmp_path, (128, 96))
    path = next((tmp_path / "train").glob("*.h5"))
    with h5py.File(path) as file:
        assert file["image"].shape == (3, 3, 128, 96) and file["image"].dtype == np.uint8
        assert set(np.unique(file["label"][:])) == {0, 1} and not file["label"][0].any()
        name = file.attrs["names"][2]
        folder = next(kaggle.glob(f"{name.rsplit('_', 1)[0]}"))
        mask = Image.open(folder / f"{name}_mask.tif").resize((96, 128), Image.Resampling.NEAREST)
        assert np.array_equal(file["label"][2], np.asarray(mask) > 0)
        assert list(file.attrs["names"]) == [f"{folder.name}_{s}" for s in (1, 2, 3)]


def test_the_sources_layout_with_grey_images_and_other_files(tmp_path):
    source_layout(tmp_path / "in")
    pairs.prepare(tmp_path / "in", tmp_path / "out", (40, 40))
    content = read_set(tmp_path / "out")
    assert content["counts"]["test"] == 2 and content["counts"]["train"] + content["counts"]["val"] == 6
    with h5py.File(tmp_path / "out" / content["files"][0]["path"]) as file:
        assert np.array_equal(file["image"][0, 0], file["image"][0, 2])  # one grey, three channels
    for part in ("image", "mask"):  # one patient's slices on both sides, as the source delivers them
        for split in ("train", "test"):
            old = tmp_path / "in" / f"{split}_{part}" / f"{split}_0.png"
            old.rename(old.with_name(f"TCGA_CS_4941_19960909_{len(split)}.png"))
    with pytest.raises(
        InputError, match="patient TCGA_CS_4941 is among the training images too: set split_by to image"
    ):
        pairs.prepare(tmp_path / "in", tmp_path / "again", (40, 40))
    pairs.prepare(tmp_path / "in", tmp_path / "again", (40, 40), split_by="image")
    assert "TCGA_CS_4941" in read_set(tmp_path / "again")["shared_persons"]


def test_too_few_patients_to_train_on(tmp_path):
    with pytest.raises(InputError, match="2 patients are too few: none is left to train on"):
        pairs.prepare(lgg(tmp_path / "in", patients=2, slices=1, size=32), tmp_path / "out", (32, 32))
    with pytest.raises(InputError, match="val: got 1.5"):
        pairs.prepare(tmp_path / "in", tmp_path / "out", (32, 32), val=1.5)


NAME = "TCGA_CS_4943_19960912"
SPOILT = {
    "no mask": (lambda f: (f / NAME / f"{NAME}_2_mask.tif").unlink(), f"{NAME}_2.tif: no mask belongs to it"),
    "no image": (lambda f: (f / NAME / f"{NAME}_2.tif").unlink(), f"{NAME}_2_mask.tif: no image belongs to it"),
    "sizes": (
        lambda f: Image.new("L", (100, 256)).save(f / NAME / f"{NAME}_2_mask.tif"),
        rf"{NAME}_2_mask.tif: \(256, 100\), its image is \(256, 256\)",
    ),
    "colours": (
        lambda f: Image.new("RGB", (256, 256)).save(f / NAME / f"{NAME}_2_mask.tif"),
        rf"{NAME}_2_mask.tif: a mask of 3 channels \(RGB\), expected a grey one",
    ),
    "truncated": (
        lambda f: (f / NAME / f"{NAME}_1.tif").write_bytes((f / NAME / f"{NAME}_1.tif").read_bytes()[:500]),
        f"{NAME}_1.tif: not a readable image",
    ),
    "empty": (lambda f: [p.unlink() for p in (f / NAME).iterdir()], f"{NAME}: no images in it"),
    "nothing": (shutil.rmtree, "neither TCGA_… folders nor train_image and train_mask in it"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_what_is_wrong_is_named(copy, tmp_path, name):
    spoil, words = SPOILT[name]
    spoil(copy)
    with pytest.raises(InputError, match=words):
        pairs.prepare(copy, tmp_path / "out", (32, 32))
    assert not (tmp_path / "out" / "set.json").exists()


def test_drawn_lesions_have_exact_masks_inside_the_tissue():
    rng = np.random.default_rng(0)
    image, tissue = np.full((100, 100), 100.0), np.zeros((100, 100), bool)
    tissue[20:80, 20:80] = True
    seen = set()
    for _ in range(30):
        made, mask = lesions.draw_lesion(image, tissue, rng)
        changed = abs(made - image) > 0.2 * abs(made - image).max()
        assert 20 < mask.sum() < 1000 and tissue[mask].mean() > 0.9
        assert (mask & changed).sum() > 0.9 * mask.sum() and (changed & ~mask).sum() < 0.6 * mask.sum() + 40
        seen.add(np.sign((made - image)[mask].mean()))
    assert seen == {-1, 1}
    assert not lesions.draw_lesion(image, tissue & (np.indices((100, 100))[0] < 22), rng)[1].any()  # no room


def test_the_samples_are_split_by_person_and_the_real_tumours_are_real(tmp_path):
    counts = lesions.write_kaggle(tmp_path / "in", 0, count=6)
    assert counts["TCGA_REAL_TUMOURB"] == 3 and set(counts) == set(lesions.SPLITS)
    pairs.prepare(tmp_path / "in", tmp_path / "out", (64, 64), place=lesions.SPLITS)
    content = read_set(tmp_path / "out")
    assert content["persons"]["test"] == ["TCGA_DRAWN_BRAINB", "TCGA_REAL_TUMOURB"]
    assert len(pairs.write_sample(tmp_path / "out")) == 4
