"""Images and masks in Kaggle's LGG layout and the ResUNet source's; splits; lesions drawn into brains."""

import shutil
import struct
import zlib

import h5py
import numpy as np
import pytest
import torch
from labeled import kaggle_layout, source_layout
from PIL import Image
from refusals import refused

from lib import InputError
from lib.data import image_files, lgg
from lib.data.index import read_set
from lib.inference import segment
from lib.phantoms import lesions

LAYOUT = kaggle_layout


def test_kaggles_folders_split_by_patient(source, tmp_path):
    lgg.prepare(source, tmp_path, (64, 64))
    content = read_set(tmp_path)
    persons = content["persons"]
    assert {k: len(v) for k, v in persons.items()} == {"train": 8, "val": 1, "test": 1}
    assert not set(persons["train"]) & set(persons["test"]) and content["counts"]["train"] == 24
    assert sorted(sum(persons.values(), [])) == [f"person_{n:03d}" for n in range(1, 11)]


def test_split_by_image_puts_patients_on_both_sides_and_says_so(source, tmp_path):
    lgg.prepare(source, tmp_path, (32, 32), split_by="image", val=0)
    content = read_set(tmp_path)
    assert content["counts"] == {"train": 27, "val": 3, "test": 3}  # the test split validates, as in the source
    both = set(content["persons"]["train"]) & set(content["persons"]["test"])
    assert both and both <= set(content["shared_persons"])


def test_cases_hold_resized_images_and_masks_of_0_and_1(source, tmp_path):
    lgg.prepare(source, tmp_path, (128, 96), real_ids=True)
    path = next((tmp_path / "train").glob("*.h5"))
    with h5py.File(path) as file:
        assert file["image"].shape == (3, 3, 128, 96) and file["image"].dtype == np.uint8
        assert set(np.unique(file["label"][:])) == {0, 1} and not file["label"][0].any()
        name = file.attrs["names"][2]
        folder = next(source.glob(f"{name.rsplit('_', 1)[0]}"))
        mask = Image.open(folder / f"{name}_mask.tif").resize((96, 128), Image.Resampling.NEAREST)
        assert np.array_equal(file["label"][2], np.asarray(mask) > 0)
        assert list(file.attrs["names"]) == [f"{folder.name}_{s}" for s in (1, 2, 3)]


def test_the_sources_layout_with_gray_images_and_other_files(tmp_path):
    source_layout(tmp_path / "in")
    lgg.prepare(tmp_path / "in", tmp_path / "out", (40, 40))
    content = read_set(tmp_path / "out")
    assert content["counts"]["test"] == 2 and content["counts"]["train"] + content["counts"]["val"] == 6
    with h5py.File(tmp_path / "out" / content["files"][0]["path"]) as file:
        assert np.array_equal(file["image"][0, 0], file["image"][0, 2])  # one gray, three channels
    for part in ("image", "mask"):  # one patient's slices on both sides, as the source delivers them
        for split in ("train", "test"):
            old = tmp_path / "in" / f"{split}_{part}" / f"{split}_0.png"
            old.rename(old.with_name(f"TCGA_CS_4941_19960909_{len(split)}.png"))
    with refused(
        where="TCGA_CS_4941_19960909_4.png", found="its patient is among the training images too: set split_by"
    ):
        lgg.prepare(tmp_path / "in", tmp_path / "again", (40, 40))
    lgg.prepare(tmp_path / "in", tmp_path / "again", (40, 40), split_by="image")
    assert read_set(tmp_path / "again")["shared_persons"] == ["person_001"]


def test_too_few_patients_to_train_on(tmp_path):
    with refused(where="2 patients are too few", found="none is left to train on"):
        lgg.prepare(kaggle_layout(tmp_path / "in", patients=2, slices=1, size=32), tmp_path / "out", (32, 32))
    with refused(where="val", found="got 1.5"):
        lgg.prepare(tmp_path / "in", tmp_path / "out", (32, 32), val=1.5)


def two_pages(path):
    page = Image.new("L", (256, 256))
    page.save(path, save_all=True, append_images=[page])


NAME = "TCGA_CS_4943_19960912"
SPOILT = {
    "no mask": (lambda f: (f / NAME / f"{NAME}_2_mask.tif").unlink(), f"{NAME}_2.tif: no mask belongs to it"),
    "no image": (lambda f: (f / NAME / f"{NAME}_2.tif").unlink(), f"{NAME}_2_mask.tif: no image belongs to it"),
    "sizes": (
        lambda f: Image.new("L", (100, 256)).save(f / NAME / f"{NAME}_2_mask.tif"),
        rf"{NAME}_2_mask.tif: \(256, 100\), its image is \(256, 256\)",
    ),
    "colors": (
        lambda f: Image.new("RGB", (256, 256)).save(f / NAME / f"{NAME}_2_mask.tif"),
        rf"{NAME}_2_mask.tif: a mask of 3 channels \(RGB\), expected a gray one",
    ),
    "image of 16 bits": (
        lambda f: Image.new("I;16", (256, 256), 4000).save(f / "TCGA_CS_4950_19960919" / "TCGA_CS_4950_19960919_3.tif"),
        r"TCGA_CS_4950_19960919_3.tif: I;16 pixels of more than 8 bits, expected 8-bit gray or color",
    ),
    "two images": (
        lambda f: two_pages(f / NAME / f"{NAME}_2_mask.tif"),
        f"{NAME}_2_mask.tif: 2 images in one file, expected one",
    ),
    "classes": (
        lambda f: Image.fromarray(np.arange(256 * 256, dtype=np.uint32).astype(np.uint8).reshape(256, 256) % 4).save(
            f / NAME / f"{NAME}_2_mask.tif"
        ),
        rf"{NAME}_2_mask.tif: a mask of more than two values up to 3: classes\? expected lesion or none",
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
        lgg.prepare(copy, tmp_path / "out", (32, 32))
    assert not list((tmp_path / "out").rglob("*.h5")) and not (tmp_path / "out" / "set.json").exists()


LESION = np.zeros((64, 64), np.uint8)
LESION[20:45, 18:50], LESION[20:24, 18:22] = 1, 0  # a box without its corner
FINE = np.roll(LESION.repeat(4, 0).repeat(4, 1), 1, (0, 1))  # a quarter of a pixel aside: edges of 1/4 and 3/4


def palette(index, *colors, **settings):
    image = Image.fromarray(index)
    image.putpalette([value for color in colors for value in color])
    image.info |= settings
    return image


BLACK, WHITE, RED = (0, 0, 0), (255, 255, 255), (128, 0, 0)
MASKS = {
    "jpeg.jpg": Image.fromarray(255 * LESION),
    "smooth.png": Image.fromarray(255 * FINE).resize((64, 64), Image.Resampling.BOX),
    "bits.png": Image.fromarray(LESION > 0),
    "bits.tif": Image.fromarray(LESION > 0),
    "ones.png": Image.fromarray(LESION),
    "one and two.tif": Image.fromarray(1 + LESION),
    "deep.png": Image.fromarray(LESION * np.uint16(65535)),
    "deep.tif": Image.fromarray(LESION * np.uint16(300)),
    "big-endian.tif": Image.frombytes("I;16B", (64, 64), (LESION * np.uint16(300)).astype(">u2").tobytes()),
    "whole.tif": Image.fromarray(LESION * np.int32(70000)),
    "float.tif": Image.fromarray(LESION.astype(np.float32)),
    "probability.tif": Image.fromarray(np.where(LESION, 0.9, 0.2).astype(np.float32) + np.eye(64, dtype="f4") / 10),
    "black is 0.png": palette(LESION, BLACK, WHITE),
    "white is 0.png": palette(1 - LESION, WHITE, BLACK),
    "red is 1.png": palette(LESION, BLACK, RED),
    "red is 0.png": palette(1 - LESION, RED, BLACK),
    "grays.png": palette(3 * LESION + np.eye(64, dtype="u1"), BLACK, (9, 9, 9), BLACK, WHITE, (250, 250, 250)),
}


@pytest.mark.parametrize("name", MASKS)
def test_masks_are_read_by_what_they_show(name, tmp_path):
    MASKS[name].save(tmp_path / name)
    assert np.array_equal(image_files.read_mask(tmp_path / name), LESION)
    half = image_files.read_mask(tmp_path / name, (32, 32))
    assert half.dtype == np.uint8 and np.array_equal(half, LESION[1::2, 1::2])


REFUSED = {
    "a.png": (palette(LESION, WHITE, RED), "a palette of 2 colors, expected grays, or black and one color"),
    "c.png": (palette(LESION + np.eye(64, dtype="u1"), BLACK, RED, (0, 0, 128)), "a palette of 3 colors"),
    "d.png": (palette(LESION, WHITE, BLACK, transparency=0), "transparent colors"),
    "e.tif": (Image.fromarray(np.where(LESION, np.nan, 0).astype(np.float32)), "holds nan, expected 0 for background"),
    "f.tif": (Image.fromarray(LESION.astype(np.float32) - 1), "holds -1, expected 0 for background"),
    "g.png": (Image.fromarray(LESION * np.uint8(2) + np.eye(64, dtype="u1")), "more than two values up to 3: classes"),
    "h.png": (Image.fromarray(255 * LESION).convert("LA"), r"a mask of 2 channels \(LA\), expected a gray one"),
    "i.png": (Image.fromarray(255 * LESION).convert("RGBA"), r"a mask of 4 channels \(RGBA\), expected a gray one"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_masks_that_may_mean_several_things_are_refused(name, tmp_path):
    image, words = REFUSED[name]
    image.save(tmp_path / name)
    with pytest.raises(InputError, match=rf"{name}: .*{words}"):
        image_files.read_mask(tmp_path / name)


def test_masks_of_a_set_have_one_threshold_that_is_said_once(tmp_path, capsys):
    source_layout(tmp_path / "in")
    for part in ("train", "test"):
        for mask in (tmp_path / "in" / f"{part}_mask").iterdir():
            Image.open(mask).save(mask.with_suffix(".jpg"), quality=75)
            mask.unlink()
    faint = np.zeros((40, 40), np.uint8)
    faint[4:9, 4:9], faint[4, 4] = 60, 30  # beside masks up to 255, less than half a pixel of lesion
    Image.fromarray(faint).save(tmp_path / "in" / "train_mask" / "train_3.png")
    (tmp_path / "in" / "train_mask" / "train_3.jpg").unlink()
    lgg.prepare(tmp_path / "in", tmp_path / "out", (40, 40), real_ids=True)
    said = [line for line in capsys.readouterr().out.splitlines() if "more than two values" in line]
    assert len(said) == 1 and said[0].startswith("8 of 8 masks have more than two values, such as train_0.jpg")
    content = read_set(tmp_path / "out")
    assert 126 < content["mask_threshold"] < 128
    for n in range(6):
        [path] = (tmp_path / "out").rglob(f"train_{n}.h5")
        with h5py.File(path) as file:
            assert file["label"][0].sum() == (0 if n == 3 else (15 + n) * 22)


def test_images_of_more_than_8_bits_are_refused_before_any_is_predicted(tmp_path):
    deep = zlib.compress(bytes(2 * (1 + 6 * 2)))  # two rows of two pixels, each row after its filter
    chunks = {b"IHDR": struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0), b"IDAT": deep, b"IEND": b""}
    packed = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks.items()
    )
    (tmp_path / "z.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(packed))
    Image.new("L", (2, 2)).save(tmp_path / "a.png")
    with refused(where="z.png", found="RGB pixels of more than 8 bits"):
        image_files.read_image(tmp_path / "z.png")
    with refused(where="z.png", found="RGB pixels of more than 8 bits"):
        segment.segment_images(torch.nn.Conv2d(3, 1, 1), tmp_path, tmp_path / "masks.h5", "unit", (2, 2))
    assert not (tmp_path / "masks.h5").exists()


def test_images_of_palettes_show_their_colors(tmp_path):
    palette(LESION, WHITE, RED, transparency=bytes([0, 255])).save(tmp_path / "a.png")
    image = image_files.read_image(tmp_path / "a.png")
    assert np.array_equal(image.transpose(1, 2, 0), np.array([WHITE, RED])[LESION])


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
    assert counts["TCGA_REAL_TUMOURB"] == 3 and len(counts) == 5
    lgg.prepare(
        tmp_path / "in", tmp_path / "out", (64, 64), val_patients=lesions.VAL, test_patients=lesions.TEST, real_ids=True
    )
    content = read_set(tmp_path / "out")
    assert content["persons"]["test"] == ["TCGA_DRAWN_BRAINB", "TCGA_REAL_TUMOURB"]
    assert len(lgg.write_sample(tmp_path / "out")) == 4


def test_kaggles_archive_is_read_as_it_unpacks(tmp_path):
    kaggle_layout(tmp_path / "kaggle_3m", size=16)
    kaggle_layout(tmp_path / "lgg-mri-segmentation" / "kaggle_3m", size=16)  # the same once more
    found = lgg.find(tmp_path)
    assert found == lgg.find(tmp_path / "kaggle_3m") and len(found) == 30
    assert len(lgg.find(tmp_path / "lgg-mri-segmentation" / "kaggle_3m")) == 30


def test_patients_named_for_a_split_are_in_it_and_others_train(source, tmp_path):
    names = [f"TCGA_CS_{number}" for number in range(4941, 4951)]
    lgg.prepare(source, tmp_path, (16, 16), val_patients=names[:2], test_patients=["person_006"])
    persons, called = read_set(tmp_path)["persons"], [f"person_{n:03d}" for n in range(1, 11)]
    assert persons == {"train": [*called[2:5], *called[6:]], "val": called[:2], "test": called[5:6]}
    wrong = {
        "val_patients 'TCGA_CS_494'": (["TCGA_CS_494"], names[:1], ""),
        "val_patients": (names[:2], names[1:2], "person_002 is among test_patients"),
        "test_patients": (names[:2], None, "names no patient"),
        "val_patients, test_patients": (names[:5], names[5:], "name all patients"),
    }
    for where, (val, test, found) in wrong.items():
        with refused(where=where, found=found) as error:
            lgg.prepare(source, tmp_path / "no", (16, 16), val_patients=val, test_patients=test)
        assert "TCGA" not in f"{error.value.found}{error.value.expected}"
    with refused(where="classes", found="'a', 'b', 'c'"):
        lgg.prepare(source, tmp_path / "no", (16, 16), classes=("a", "b", "c"))


def test_folders_of_other_names_are_patients_if_there_are_masks_in_them(tmp_path):
    kaggle_layout(tmp_path / "in", patients=1, slices=2, size=16)
    (folder,) = (p for p in (tmp_path / "in").iterdir() if p.is_dir())
    (tmp_path / "in" / "no_patient").mkdir()
    folder.rename(folder.with_name("anna"))
    assert {(pair.person, pair.image.name) for pair in lgg.find(tmp_path / "in")} == {
        ("anna", f"{folder.name}_{n}.tif") for n in (1, 2)
    }


def test_images_of_one_name_are_refused_before_any_is_predicted(tmp_path):
    for name in ("a.png", "a.jpg"):
        Image.new("RGB", (2, 2)).save(tmp_path / name)
    with refused(where="a.png", found="a.jpg has the same name: predictions go by it"):
        segment.segment_images(torch.nn.Conv2d(3, 1, 1), tmp_path, tmp_path / "masks.h5", "unit", (2, 2))
    assert not (tmp_path / "masks.h5").exists()
