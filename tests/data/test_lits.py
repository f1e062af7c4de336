"""Volumes in LiTS's and other layouts, the cases and patches made of them, and labels back on the original grid."""

import itertools

import h5py
import nibabel
import numpy as np
import pytest
import torch
from nibabel.orientations import inv_ornt_aff
from refusals import refused
from scipy import ndimage
from scipy.spatial.transform import Rotation

from lib import InputError
from lib.data import lits, patches
from lib.data.case_files import case_file, split_cases, write_case
from lib.data.index import read_set
from lib.data.lits import attributes, middle, planes, prepare, save_nifti, to_original
from lib.data.lits_matching import find
from lib.data.patches import VolumePatches, augment_patch, dataloaders, grid
from lib.data.targets import target_of
from lib.parallel import mesh
from lib.phantoms import abdomen, labeled_scans

OBLIQUE = np.array([[0.8, 0.05, 0, -100], [-0.05, 0.8, 0, 20], [0, 0, 2.5, -900], [0, 0, 0, 1]])
LPS = np.array([[-0.7, 0, 0, 90.0], [0, -0.7, 0, 70], [0, 0, 3, -40], [0, 0, 0, 1]])


def save(path, values, affine=LPS):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, affine), path)


def blobs(shape, affine, scale=0.42):
    """Smooth labels 1 and 2 in mm space, and an image of HU."""
    at = nibabel.affines.apply_affine(affine, np.moveaxis(np.indices(shape), 0, -1))
    low, high = at.reshape(-1, 3).min(0), at.reshape(-1, 3).max(0)
    away = (at - (low + high) / 2) / ((high - low) * scale)
    label = (np.square(away).sum(-1) < 1).astype(np.uint8)
    label[np.square((away - (0.2, 0.1, 0.0)) / 0.6).sum(-1) < 1] = 2
    return (label * 60.0 - 100 + away[..., 0]).astype(np.float32), label


def lits_layout(folder, count=6, shape=(10, 12, 8)):
    """`count` volumes in two folders, .nii.gz and .nii."""
    for n in range(count):
        image, label = blobs(shape, LPS)
        place, ending = folder / f"batch {n % 2}", ".nii" if n % 3 else ".nii.gz"
        save(place / f"volume-{n}{ending}", image + n)
        save(place / f"segmentation-{n}{ending}", label)
    return folder


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return lits_layout(tmp_path_factory.mktemp("lits"))


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def ids(found):
    return {split: [pair.id for pair in pairs] for split, pairs in found.items()}


# Finding


def test_lits_is_100_to_31_in_the_order_of_its_numbers(tmp_path):
    for n in range(131):
        touch(tmp_path, f"Batch {1 + (n > 27)}/volume-{n}.nii", f"Batch {1 + (n > 27)}/segmentation-{n}.nii.gz")
    touch(tmp_path, "test-volume-3.nii", "readme.txt", "Batch 1/._volume-3.nii")
    found = find(tmp_path)
    assert ids(found) == {"train": [f"volume-{n}" for n in range(100)], "val": [f"volume-{n}" for n in range(100, 131)]}
    assert all(p.volume.stem.split("-")[1] == p.segmentation.stem.split("-")[1].split(".")[0] for p in found["val"])
    assert [p.person for p in found["val"]][:2] == ["volume-100", "volume-101"]


def test_other_layouts_by_their_patterns(tmp_path):
    msd = touch(tmp_path, *(f"Task03/{k}Tr/liver_{n}.nii.gz" for k in ("images", "labels") for n in (2, 10, 1)))
    for images, labels in (("Task03/imagesTr", "Task03/labelsTr"), ("*/imagesTr/*.nii.gz", "*/labelsTr/*.nii.gz")):
        found = find(msd, images, labels, {"val": 1})
        assert [p.segmentation.name for p in found["train"]] == ["liver_1.nii.gz", "liver_2.nii.gz"]
    assert ids(found) == {"train": ["Task03_liver_1", "Task03_liver_2"], "val": ["Task03_liver_10"]}
    touch(
        tmp_path, "nnunet/img/a_0000.nii.gz", "nnunet/img/b_0000.nii.gz", "nnunet/seg/a.nii.gz", "nnunet/seg/b.nii.gz"
    )
    found = find(tmp_path / "nnunet", "img/*_0000", "seg/*", {"test": ["a_0000"]}, {"a_0000": "p1", "b_0000": "p2"})
    assert ids(found) == {"train": ["b_0000"], "test": ["a_0000"]} and found["test"][0].person == "p1"
    touch(tmp_path, "kits/case_7/imaging.nii", "kits/case_7/segmentation.nii", "kits/case_8/imaging.nii")
    found = find(tmp_path / "kits", "case_*/imaging.nii", "case_*/segmentation.nii", {"test": ["case_8"]})
    assert ids(found) == {"train": ["case_7"], "test": ["case_8"]} and found["test"][0].segmentation is None


def test_each_split_may_have_a_pattern(tmp_path):
    names = ("train/volume-1", "train/volume-2", "train/segmentation-1", "train/segmentation-2", "test/test-volume-1")
    touch(tmp_path, *(f"{n}.npy" for n in names))
    images = {"train": "train/volume-*", "test": "test/test-volume-*"}
    found = find(tmp_path, images, {"train": "train/segmentation-*"}, {"val": 1, "test": 1})
    assert ids(found) == {"train": ["volume-1"], "val": ["volume-2"], "test": ["test-volume-1"]}
    counts = find(touch(tmp_path / "n", *(f"{k}-{n}.nii" for k in ("volume", "segmentation") for n in range(6))),
                  split={"val": 2, "test": 1})  # fmt: skip
    assert ids(counts) == {
        "train": [f"volume-{n}" for n in range(3)],
        "val": ["volume-3", "volume-4"],
        "test": ["volume-5"],
    }


PAIR = ("volume-1.nii", "segmentation-1.nii")
FINDING = {
    "no label": ((*PAIR, "volume-2.nii"), {"split": {}}, r"volume-2.nii: no segmentation belongs to it, expected \*\*/seg"),
    "no volume": ((*PAIR, "segmentation-2.nii"), {}, r"segmentation-2.nii: no volume belongs to it, expected \*\*/volume"),
    "twice": ((*PAIR, "b/volume-1.nii.gz"), {}, r"volume-1.nii: .*volume-1.nii.gz has the same name|volume-1.nii.gz: .*same"),
    "nothing": (("a.nii",), {}, r"nothing in it is named \*\*/volume-\* \(.nii.gz, .nii, .npy\)"),
    "too few": (PAIR, {}, "split: 0.1 for val of 1 person: none is left to train on"),
    "no id": (PAIR, {"split": {"val": ["volume-7"]}}, "split: val: no volume 'volume-7' is left, expected volume-1"),
    "all": (PAIR, {"split": {"val": ["volume-1"]}}, "split: all 1 volumes are in val: none is left"),
    "split": (PAIR, {"split": {"eval": 1}}, "split: got 'eval', expected some of train, val, test"),
    "person": (PAIR, {"split": {}, "persons": {"volume-9": "p"}}, "persons: no volume 'volume-9'"),
    "patterns": (PAIR, {"volume_files": {"train": "volume-*"}}, "segmentation_files: got '.*', expected as many as in"),
    "same id": (("a/v-1.nii", "b/v-1.nii", "s-1.nii"), {"volume_files": {"train": "a/v-*", "test": "b/v-*"},
                "segmentation_files": {"train": "s-*"}, "split": {}}, "b/v-1.nii: .*a/v-1.nii is v-1 too"),
}  # fmt: skip


@pytest.mark.parametrize("name", FINDING)
def test_what_does_not_match_is_named(tmp_path, name):
    files, settings, words = FINDING[name]
    with pytest.raises(InputError, match=words):
        find(touch(tmp_path, *files), **settings)
    with refused(where="gone", found="no such folder"):
        find(tmp_path / "gone")


# Preparing


def one(folder, image, label, affine, **settings):
    """The case made of one volume: (its path, image, label, attributes)."""
    save(folder / "in" / "volume-0.nii", image, affine)
    save(folder / "in" / "segmentation-0.nii", label, affine)
    prepare(folder / "in", folder / "out", split={}, **settings)
    path = folder / "out" / "train" / "volume-0.h5"
    with h5py.File(path) as file:
        return path, file["image"][:], file["label"][:], dict(file.attrs)


def test_every_voxel_keeps_its_place_in_the_world(tmp_path):
    values = np.arange(24, dtype=np.float32).reshape(
        2, 3, 4
    )  # a value a voxel: i, j, k = x from the left, front to back, down
    affine = np.array([[0, 0, -2.0, 10], [0.5, 0, 0, -3], [0, -4.0, 0, 7], [0, 0, 0, 1]])  # i: +y, j: −z, k: −x
    _, image, label, attrs = one(tmp_path, values, (values % 3).astype(np.uint8), affine, window=None)
    assert image.shape == (3, 2, 4) and attrs["spacing"].tolist() == [4.0, 0.5, 2.0]
    assert image[0, 0, 0] == values[0, 2, 3] and image[2, 1, 3] == values[1, 0, 0]
    for z, y, x in np.ndindex(image.shape):
        i, j, k = np.argwhere(values == image[z, y, x])[0]
        assert attrs["affine"] @ (z, y, x, 1) == pytest.approx(affine @ (i, j, k, 1))
        assert label[z, y, x] == values[i, j, k] % 3
    assert attrs["original_shape"].tolist() == [2, 3, 4] and np.allclose(attrs["original_affine"], affine)
    assert attrs["source"] == "volume-0.nii" and attrs["fill"] == 0.0 and attrs["person"] == "person_001"


def test_window_boxes_and_relabeling(tmp_path):
    image = np.array([-1000, -160, 40, 240, 3000, 140], np.int16).reshape(1, 2, 3)
    label = np.array([0, 3, 1, 2, 1, 5], np.uint8).reshape(1, 2, 3)
    path, stored, classes, attrs = one(tmp_path, image, label, np.eye(4), relabel={3: 0, 5: 2})
    assert stored[:, :, 0].T.tolist() == [pytest.approx([0, 0, 0.5]), pytest.approx([1, 1, 0.75])]
    assert classes[:, :, 0].T.tolist() == [[0, 0, 1], [2, 1, 2]]
    assert attrs["boxes"].tolist() == [[[0, 0]] * 3, [[1, 3], [0, 2], [0, 1]], [[0, 3], [1, 2], [0, 1]]]
    assert middle(attrs["boxes"][1:]).tolist() == [1, 0, 0] and middle(attrs["boxes"][:1]) is None
    content = read_set(path.parents[1])
    assert content["counts"] == {"train": 1, "val": 0, "test": 0} and content["files"][0]["voxels"] == [2, 2, 2]
    assert content["window"] == "auto" and content["relabel"] == {"3": 0, "5": 2}
    _, stored, _, attrs = one(tmp_path, image, label, np.eye(4), relabel={3: 0, 5: 2}, window=None)
    assert stored.min() == attrs["fill"] == -1000 and stored.max() == 3000


def test_zoom_is_scipys_between_the_outer_edges(tmp_path):
    image, label = blobs((17, 12, 9), OBLIQUE)
    _, stored, classes, attrs = one(tmp_path, image, label, OBLIQUE, window=None, size=[7, 16, 12])
    options = {"mode": "nearest", "grid_mode": True}
    factors = np.divide((7, 16, 12), (9, 12, 17))
    assert np.allclose(stored, ndimage.zoom(image.transpose(2, 1, 0), factors, order=3, **options), atol=1e-4)
    assert np.array_equal(classes, ndimage.zoom(label.transpose(2, 1, 0), factors, order=0, **options))
    for corner in itertools.product((0, 1), repeat=3):  # the outer corners of the first and last voxels stay
        now, then = (attrs["affine"], (7, 16, 12)), (OBLIQUE[:, [2, 1, 0, 3]], (9, 12, 17))
        first, second = (a @ (*np.multiply(corner, n) - 0.5, 1) for a, n in (now, then))
        assert first == pytest.approx(second)
    assert attrs["spacing"] == pytest.approx(np.array([2.5, *[0.8016] * 2]) / factors, rel=1e-3)
    _, stored, _, _ = one(tmp_path, image, label, OBLIQUE, window=(-100, 10), size=[7, 16, 12])
    assert stored.min() == 0 and stored.max() == 1  # overshoots are cut off
    image = np.where(label, 100, -1000).astype(np.float32)
    _, stored, _, attrs = one(tmp_path, image, label, OBLIQUE, window=None, size=[7, 16, 12])
    assert stored.min() < -1010 and attrs["fill"] == -1000  # and where they aren't, no background


def test_resampling_to_a_spacing_keeps_the_extent(tmp_path):
    image, label = blobs((20, 10, 8), LPS)
    path, stored, _, attrs = one(tmp_path, image, label, LPS, spacing=[2, 1.4, 2])
    assert stored.shape == (12, 5, 7) and attrs["spacing"] == pytest.approx([2, 1.4, 2])
    with h5py.File(path) as file:
        assert (
            file["image"].chunks == (12, 5, 7) and file["image"].dtype == np.float32 and file["label"].dtype == np.uint8
        )
    _, stored, _, attrs = one(tmp_path, image, label, LPS, spacing=[50, 0.7, 0.7])
    assert stored.shape == (1, 10, 20) and attrs["spacing"] == pytest.approx([24, 0.7, 0.7])


def test_npy_files_have_the_spacing_that_is_said_once(tmp_path, capsys):
    for n in range(3):
        image, label = blobs((6, 5, 4), np.eye(4))
        np.save(tmp_path / f"volume-{n}.npy", image.astype(np.float64))
        np.save(tmp_path / f"segmentation-{n}.npy", label.astype(np.float32))
    prepare(tmp_path, tmp_path / "out", split={"val": 1}, npy_voxel=[0.5, 1, 2], window=None)
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "no spacing" in line)
    assert line.startswith("3 files such as volume-0.npy") and line.endswith("with voxels of 0.5×1×2 mm")
    with h5py.File(tmp_path / "out" / "val" / "volume-2.h5") as file:
        assert np.array_equal(file["image"][:], image.transpose(2, 1, 0)) and file.attrs["spacing"].tolist() == [
            2,
            1,
            0.5,
        ]


def spoilt(change):
    """One of six volumes changed: `change` gets the (image, label, affine) that stands in the middle."""

    def spoil(folder):
        image, label = blobs((10, 12, 8), LPS)
        files = {"volume": (image, LPS), "segmentation": (label, LPS)} | change(image, label)
        for name, (values, affine) in files.items():
            (folder / "batch 0" / f"{name}-4.nii").unlink(missing_ok=True)
            save(folder / "batch 0" / f"{name}-4.nii", values, affine)

    return spoil  # fmt: skip


def cut(name, size):
    def spoil(folder):
        path = next(folder.rglob(name))
        path.write_bytes(path.read_bytes()[:size])

    return spoil


def _holed(image):
    image[3, 3, 3] = np.nan
    return image


def _other(affine):
    return affine + 0.01 * np.eye(4)[[0, 1, 2, 0]] * [[1], [0], [0], [0]]


BEFORE = {  # found before anything is written
    "shape": (spoilt(lambda i, m: {"segmentation": (m[:, :, 1:], LPS)}), r"segmentation-4.nii: \(10, 12, 7\), its image is \(10, 12, 8\) \(.*volume-4.nii\)"),
    "affine": (spoilt(lambda i, m: {"segmentation": (m, _other(LPS))}), r"segmentation-4.nii: its affine differs by up to 0.09 mm from its image's \(.*volume-4.nii\)"),
    "4-D": (spoilt(lambda i, m: {"volume": (i[..., None].repeat(2, 3), LPS)}), r"volume-4.nii: shape \(10, 12, 8, 2\), expected three"),
    "truncated": (cut("volume-4.nii", 2000), r"volume-4.nii: can't be read as NIfTI \(2000 bytes, expected 4192; truncated"),
    "no header": (cut("volume-3.nii.gz", 20), "volume-3.nii.gz: can't be read as NIfTI"),
    "affine's inverse": (spoilt(lambda i, m: dict.fromkeys(("volume",), (i, np.diag([1, 1e-12, 1, 1])))), "-4.nii: its affine .* has no inverse"),
}  # fmt: skip
READING = {
    "NaN": (spoilt(lambda i, m: {"volume": (_holed(i), LPS)}), "volume-4.nii: 1 of 960 values are NaN or inf"),
    "classes": (spoilt(lambda i, m: {"segmentation": (m * 4, LPS)}), r"segmentation-4.nii: holds label 4 \(\d+ times\), 8 \(\d+ times\), expected 0 … 2 \(back"),
    "fractions": (spoilt(lambda i, m: {"segmentation": (m / 2, LPS)}), "segmentation-4.nii: holds 0.5, expected class numbers"),
    "negative": (spoilt(lambda i, m: {"segmentation": (-m.astype(np.int16), LPS)}), "segmentation-4.nii: holds -1, expected class numbers"),
    "truncated gz": (cut("segmentation-3.nii.gz", 150), "segmentation-3.nii.gz: can't be read as NIfTI"),
}  # fmt: skip


@pytest.mark.parametrize("name", BEFORE | READING)
def test_what_is_wrong_is_named(tmp_path, name):
    spoil, words = (BEFORE | READING)[name]
    spoil(lits_layout(tmp_path / "in"))
    with pytest.raises(InputError, match=words) as error:
        prepare(tmp_path / "in", tmp_path / "out", split={"val": 2})
    assert len(str(error.value).splitlines()) == 1
    written = [p for p in (tmp_path / "out").rglob("*") if p.is_file()]
    assert all(p.suffix == ".h5" and not p.name.startswith(".") for p in written) and (name in READING or not written)


def test_a_person_stands_in_one_split_and_settings_are_checked_first(source, tmp_path):
    persons = {"volume-1": "p", "volume-5": "p"}
    with refused(where="volume-5.nii", found="in val, volume-1.nii of the same person in train: split by person"):
        prepare(source, tmp_path, split={"val": 1}, persons=persons)
    prepare(source, tmp_path / "shared", split={"val": 1}, persons=persons, shared_persons=["p"])
    assert read_set(tmp_path / "shared")["persons"]["val"] == ["person_001"]
    for settings, words in {
        "both": ({"size": [1, 1, 1], "spacing": [1, 1, 1]}, "give one of them"),
        "window": ({"window": [240, -160]}, r"window: got \[240, -160\], expected \[low, high\]"),
        "size": ({"size": [4, 4]}, r"size: got \[4, 4\], expected three whole numbers"),
        "whole": ({"size": [4.5, 4, 4]}, r"size: got \[4.5, 4, 4\], expected three whole numbers"),
        "word": ({"window": "CT"}, r"window: got CT, expected \[low, high\], auto or None"),
        "one": ({"window": [100]}, r"window: got \[100\], expected \[low, high\]"),
        "class": ({"relabel": {3: "background"}}, "relabel: 3: background, expected labels 0 … 255"),
        "name": ({"relabel": {"kidney": 0}}, "relabel: kidney: 0, expected labels 0 … 255"),
        "share": ({"split": {"val": 1.5}}, "split: val: got 1.5, expected a share above 0 and below 1"),
        "kind": ({"split": {"val": "all"}}, "split: val: got 'all', expected a number of volumes, a share or a list"),
        "relabel": ({"relabel": {3: 7}}, "relabel: 3: 7, expected labels 0 … 255 and classes 0 … 2"),
    }.values():
        with pytest.raises(InputError, match=words):
            prepare(source, tmp_path / "b", **({"split": {"val": 1}} | settings))
    assert not (tmp_path / "b").exists()


def pairs(folder, count=3, image=None, affine=LPS, label=None, its_affine=None):
    """Volumes of 10×12×8 and their segmentations, all alike but for what is given."""
    a, b = blobs((10, 12, 8), LPS)
    for n in range(count):
        save(folder / f"volume-{n}.nii.gz", a if image is None else image, affine)
        save(
            folder / f"segmentation-{n}.nii.gz",
            b if label is None else label,
            affine if its_affine is None else its_affine,
        )
    return folder


def stored(folder, name="train/volume-0"):
    with h5py.File(folder / f"{name}.h5") as file:
        return file["image"][:], file["label"][:], dict(file.attrs)


def test_a_label_stored_from_the_other_side_lies_where_it_should(tmp_path):
    _, label = blobs((10, 12, 8), LPS)
    turned = nibabel.Nifti1Image(label, LPS).as_reoriented([[0, -1], [2, 1], [1, -1]])
    pairs(tmp_path / "a")
    pairs(tmp_path / "b", label=np.asarray(turned.dataobj), its_affine=turned.affine)
    for name in "ab":
        prepare(tmp_path / name, tmp_path / name / "out", split={"val": 1})
    assert np.array_equal(stored(tmp_path / "a" / "out")[1], stored(tmp_path / "b" / "out")[1])


def test_lost_affines_are_refused_until_somebody_says_what_they_are(tmp_path, capsys):
    pairs(tmp_path)
    image, label = blobs((10, 12, 8), LPS)
    for name, values in (("volume-1", image), ("segmentation-1", label)):  # as LiTS's 28 to 47
        save(tmp_path / f"{name}.nii.gz", values, np.eye(4))
    with refused(
        where="volume-1.nii.gz", found="the identity as affine.*1 of 3.*unlike .*volume-0.nii.gz.*identity_voxel"
    ):
        prepare(tmp_path, tmp_path / "out", split={"val": 1})
    assert not (tmp_path / "out").exists()
    for voxel in ([0.7, 0.8, 3], {"volume-1": [0.7, 0.8, 3]}):
        prepare(tmp_path, tmp_path / "out", split={"val": 1}, identity_voxel=voxel)
        assert stored(tmp_path / "out", "train/volume-1")[2]["spacing"].tolist() == pytest.approx([3, 0.8, 0.7])
        assert stored(tmp_path / "out")[2]["spacing"].tolist() == pytest.approx([3, 0.7, 0.7])
    with refused(where="identity_voxel", found="volume-1: got None", expected="mm along x, y, z"):
        prepare(tmp_path, tmp_path / "out", split={"val": 1}, identity_voxel={"volume-2": [1, 1, 1]})
    save(tmp_path / "segmentation-0.nii.gz", label, np.eye(4))  # and one that lost it alone
    with refused(where="segmentation-0.nii.gz", found="its affine differs .*volume-0.nii.gz"):
        prepare(tmp_path, tmp_path / "out", split={"val": 1}, identity_voxel=[1, 1, 1])
    prepare(tmp_path, tmp_path / "out", split={"val": 1}, identity_voxel=[1, 1, 1], affine_from="image")
    assert np.array_equal(stored(tmp_path / "out")[1], stored(tmp_path / "out", "val/volume-2")[1])
    capsys.readouterr()
    prepare(pairs(tmp_path / "all", affine=np.eye(4)), tmp_path / "told", split={"val": 1})
    assert (
        "volume-0.nii.gz: the identity as affine, which says no voxel size (3 of 3 volumes): taken as 1×1×1 mm"
        in capsys.readouterr().out
    )


def test_axes_of_one_go_and_one_hot_labels_are_refused(tmp_path):
    image, label = blobs((10, 12, 8), LPS)
    prepare(
        pairs(tmp_path / "a", image=image[..., None], label=label[..., None, None]),
        tmp_path / "a" / "out",
        split={"val": 1},
    )
    assert stored(tmp_path / "a" / "out")[2]["original_shape"].tolist() == [10, 12, 8]
    pairs(tmp_path / "b", label=np.eye(3, dtype=np.uint8)[label])
    with refused(where="segmentation-0.nii.gz", found=r"shape \(10, 12, 8, 3\)", expected="three axes"):
        prepare(tmp_path / "b", tmp_path / "b" / "out", split={"val": 1})


def test_labels_near_whole_numbers_are_rounded(tmp_path):
    _, label = blobs((10, 12, 8), LPS)
    near = np.where(label == 1, 0.9999999, label)
    scaled = nibabel.Nifti1Image(label.astype(np.float64), LPS)
    scaled.set_data_dtype(np.uint8)  # nibabel then scales them: off by up to .004
    pairs(tmp_path, label=near)
    nibabel.save(scaled, tmp_path / "segmentation-1.nii.gz")
    assert 0 < abs(np.asarray(nibabel.load(tmp_path / "segmentation-1.nii.gz").dataobj) - label).max() < 0.005
    prepare(tmp_path, tmp_path / "out", split={"val": 1})
    for name in ("volume-0", "volume-1"):
        assert np.array_equal(
            to_original(stored(tmp_path / "out", f"train/{name}")[1], stored(tmp_path / "out")[2]), label
        )


def test_the_window_is_the_modality_s_and_what_it_cuts_off_is_said(tmp_path, capsys):
    values = np.linspace(0, 1000, 960, dtype=np.float32).reshape(10, 12, 8)  # MR
    prepare(pairs(tmp_path / "mr", image=values), tmp_path / "auto", split={"val": 1})
    out = capsys.readouterr().out
    assert "window (not CT by its values, 3 volumes): 0 … 999; 0.0% of the voxels lie below it and 0.1% above" in out
    image, _, attrs = stored(tmp_path / "auto")
    assert (image == 1).sum() == 1 and image.min() == 0 and "warning" not in out
    assert attrs["window"].tolist() == pytest.approx([0, 999], abs=0.01) and attrs["fill"] == 0
    prepare(tmp_path / "mr", tmp_path / "ct", split={"val": 1}, window=[-160, 240])
    out = capsys.readouterr().out
    (line,) = (line for line in out.splitlines() if "warning" in line)
    assert (
        "warning: volume-0.nii.gz: window -160 … 240 cuts off 75.9%: 0.0% of the voxels lie below it and 75.9% above; its"
        in line
    )
    assert "don't look like HU" in line and "window (as given, 3 volumes): -160 … 240" in out
    hu = np.where(values < 500, -1000, values - 700)  # half air, 10 % bone
    prepare(pairs(tmp_path / "hu", image=hu), tmp_path / "hu" / "out", split={"val": 1})
    out = capsys.readouterr().out
    assert "window (CT by its values, 3 volumes): -160 … 240; 54.0% of the voxels lie below it and 6.0% above" in out
    assert stored(tmp_path / "hu" / "out")[2]["window"].tolist() == [-160, 240] and "warning" not in out


# Back to the original grid


def test_without_resampling_labels_come_back_exactly_from_every_orientation(tmp_path):
    label = np.random.default_rng(0).integers(0, 3, (4, 5, 6)).astype(np.uint8)
    for axes, flips in itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)):
        turn = np.stack([axes, flips], 1)
        affine = OBLIQUE @ inv_ornt_aff(turn, label.shape)
        path, _, stored, attrs = one(tmp_path, label.astype(np.float32), label, affine)
        assert np.array_equal(to_original(stored, attributes(path)), label), (axes, flips)
        with h5py.File(path) as file:
            assert np.array_equal(to_original(file["label"], attrs), label)
    assert not np.array_equal(stored, label)


def dice(a, b):
    return [2 * ((a == c) & (b == c)).sum() / ((a == c).sum() + (b == c).sum()) for c in (1, 2)]


@pytest.mark.parametrize(("shape", "affine", "settings"), [
    ((96, 84, 40), LPS, {"spacing": [2.5, 0.9, 0.8]}),
    ((96, 84, 40), LPS, {"size": [72, 72, 72]}),
    ((40, 90, 70), OBLIQUE[:, [2, 0, 1, 3]], {"size": [64, 64, 64]}),
])  # fmt: skip
def test_resampled_labels_come_back_where_they_were(tmp_path, monkeypatch, shape, affine, settings):
    image, label = blobs(shape, affine)
    _, _, stored, attrs = one(tmp_path, image, label, affine, **settings)
    back = to_original(stored, attrs)
    assert min(dice(back, label)) > 0.98
    assert min(dice(np.roll(back, 1, 0), label)) < min(dice(back, label))  # not shifted by a voxel
    assert min(dice(np.roll(back, -1, 0), label)) < min(dice(back, label))
    monkeypatch.setattr(lits, "SLAB_VOXELS", 3 * shape[0] * shape[1])
    assert np.array_equal(to_original(stored, attrs), back)
    with refused(where="volume-0.nii", found="labels of .*, its prepared case is"):
        to_original(stored[1:], attrs)


def test_linear_shares_by_hand():
    case = {"affine": np.diag([1.0, 1, 1, 1])[:, [2, 1, 0, 3]], "original_shape": (5, 1, 1), "source": "x"}
    case["original_affine"] = np.diag([0.6, 1, 1, 1.0])  # voxels at 0, .6, 1.2, 1.8, 2.4: inside 0 … 2
    labels = np.array([1, 2, 0], np.uint8).reshape(1, 1, 3)
    assert to_original(labels, case).ravel().tolist() == [1, 2, 2, 0, 0]
    case |= {"original_affine": np.diag([0.5, 1, 1, 1.0]), "original_shape": (6, 1, 1)}  # half way the lower class wins
    assert to_original(labels, case).ravel().tolist() == [1, 1, 2, 0, 0, 0]


@pytest.mark.parametrize("name", ["p.nii", "p.nii.gz"])
def test_predictions_have_the_originals_affine(tmp_path, name):
    image, label = blobs((9, 8, 7), OBLIQUE)
    _, _, stored, attrs = one(tmp_path, image, label, OBLIQUE)
    save_nifti(tmp_path / name, to_original(stored, attrs), attrs)
    written = nibabel.load(tmp_path / name)
    assert np.allclose(written.affine, OBLIQUE, atol=1e-6) and written.get_data_dtype() == np.uint8
    assert np.array_equal(np.asarray(written.dataobj), label) and written.header.get_xyzt_units()[0] == "mm"
    with refused(where="p.nii.*", found=r"labels of \(7, 8, 9\), volume-0.nii is \(9, 8, 7\)"):
        save_nifti(tmp_path / name, stored, attrs)


def test_planes_are_seen_as_radiologists_do():
    volume = np.zeros((2, 3, 4))
    volume[1, 2, 3] = 1  # head, front, right: above and on the left
    found = planes(volume, (2.0, 1.0, 1.0), (1, 2, 3))
    assert {name: plane.shape for name, plane in found.items()} == {
        "axial": (3, 4),
        "coronal": (4, 4),
        "sagittal": (4, 3),
    }
    assert [np.argwhere(found[n]).tolist() for n in found] == [[[0, 0]], [[0, 0], [1, 0]], [[0, 0], [1, 0]]]
    assert not planes(volume, (2.0, 1.0, 1.0), (0, 1, 1))["axial"].any()
    assert planes(volume, (2.0, 1.0, 1.0))["axial"].any()  # through the middle, 1, 1, 2


# Patches


@pytest.fixture(scope="module")
def prepared(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("volumes")
    prepare(source, folder, split={"val": 1, "test": 1})
    return folder


def arrays(case):
    with h5py.File(case.path) as file:
        return file["image"][:], file["label"][:]


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A case of 96×80×72 with its organ's box at 40 … 50 along each axis."""
    folder = tmp_path_factory.mktemp("wide")
    label = np.zeros((72, 80, 96), np.uint8)  # x, y, z
    label[40:51, 40:51, 40:51] = 1
    label[45, 45, 45] = 2
    path, *_ = one(folder, np.random.default_rng(0).normal(0, 90, label.shape).astype(np.float32), label, np.eye(4))
    return split_cases(path.parents[1], "train")


def test_crops_spread_about_the_organ_as_in_the_source(wide):
    found = VolumePatches(wide, (24, 24, 12), count=1500)
    away = np.array([found.case(i).origin for i in range(len(found))]) + (12, 12, 6) - 45
    assert abs(away).max(0).tolist() == [6, 6, 3]  # cut off at a quarter of the size
    exact = (np.random.default_rng(1).standard_normal((200000, 1)) * (4, 2)).clip((-6, -3), (6, 3))
    for axis, column in enumerate((0, 0, 1)):
        whole = np.floor(exact[:, column])
        assert away[:, axis].mean() == pytest.approx(whole.mean(), abs=0.25)
        assert away[:, axis].std() == pytest.approx(whole.std(), rel=0.05)
        assert (away[:, axis] == abs(away[:, axis]).max()).mean() == pytest.approx(0.0668, abs=0.02)  # 1.5 σ and beyond
    assert abs(np.corrcoef(away.T)[np.triu_indices(3, 1)]).max() < 0.1
    assert len(VolumePatches(wide, (8, 8, 8))) == 54


def test_crops_stay_in_the_volume_and_follow_the_organ(wide, tmp_path):
    origins = [VolumePatches(wide, (60, 60, 60), count=200).case(i).origin for i in range(200)]
    assert np.min(origins) == 0 and np.max(origins, 0).tolist() == [30, 20, 12]  # 45 − 30 ± 15, in the volume
    tumor = VolumePatches(wide, (2, 2, 2), organ="tumor", count=40)
    assert all(abs(np.subtract(tumor.case(i).origin, 44)).max() <= 1 for i in range(40))
    with refused(where="organ", found="got 'spleen', .*volume-0.h5 has liver, tumor"):
        VolumePatches(wide, (2, 2, 2), organ="spleen")
    empty = np.zeros((6, 6, 6), np.uint8)
    path, *_ = one(tmp_path, empty.astype(np.float32), empty, np.eye(4))
    cases = split_cases(path.parents[1], "train")
    with refused(where="volume-0.h5", found="no voxel of any class to crop around: use crops grid or uniform"):
        VolumePatches(cases, (2, 2, 2))
    assert len(VolumePatches(cases, (2, 2, 2), "uniform", count=3)) == 3


def test_uniform_crops_are_anywhere(wide):
    found = VolumePatches(wide, (90, 78, 70), "uniform", count=150)
    origins = np.array([found._origin(i, found._rng(i, 0)) for i in range(150)])
    assert [sorted(set(o.tolist())) for o in origins.T] == [list(range(7)), [0, 1, 2], [0, 1, 2]]


def test_patches_are_what_stands_in_the_file(wide):
    image, label = arrays(wide[0])
    found = VolumePatches(wide, (20, 33, 40), "uniform", seed=3)
    for i in range(5):
        case = found.case(i)
        where = tuple(slice(o, o + s) for o, s in zip(case.origin, found.size, strict=True))
        assert (
            case.image.shape == (1, 20, 33, 40)
            and case.label.dtype == torch.int64
            and case.image.dtype == torch.float32
        )
        assert np.array_equal(case.image[0], image[where]) and np.array_equal(case.label, label[where])
        assert torch.equal(found[i][0], case.image) and torch.equal(found[0, i][1], case.label)
        assert (case.id, case.person, case.file) == ("volume-0", "person_001", wide[0].path)


def test_draws_depend_on_seed_epoch_and_index_alone(wide):
    def origins(epoch, **settings):
        found = VolumePatches(wide, (24, 24, 24), count=6, **settings)
        return [found.case(i, epoch).origin for i in range(6)]

    assert origins(0) == origins(0) != origins(1) and origins(0) != origins(0, seed=1)
    assert len(set(origins(0))) == 6
    assert origins(0, fresh=False) == origins(5, fresh=False) == origins(0)
    items = VolumePatches(wide, (24, 24, 24), count=6, augmentation={"flips": [0.5] * 3, "intensity": 0.05})
    assert torch.equal(items[2, 3][0], items[2, 3][0]) and not torch.equal(items[2, 3][0], items[1, 3][0])


def test_a_patch_larger_than_the_volume_is_padded_and_said_once(tmp_path, capsys):
    image, label = blobs((4, 5, 3), np.eye(4))
    path, stored, classes, attrs = one(tmp_path, image, label, np.eye(4), window=None)
    capsys.readouterr()
    for crops in ("around", "uniform", "grid"):
        found = VolumePatches(split_cases(path.parents[1], "train"), (6, 5, 2), crops)
        (line,) = capsys.readouterr().out.splitlines()
        assert line.endswith(
            "train: 1 of 1 volumes, such as volume-0.h5 of 3×5×4, are smaller than a patch of 6×5×2: padded"
        )
        case = found.case(0)
        z, y, x = case.origin
        assert (z, y) == (-2, 0) and 0 <= x <= 2 and case.image.shape == (1, 6, 5, 2)
        assert np.array_equal(case.image[0, 2:5], stored[..., x : x + 2]) and np.array_equal(
            case.label[2:5], classes[..., x : x + 2]
        )
        assert (case.image[0, [0, 1, 5]] == stored.min()).all() and not case.label[[0, 1, 5]].any()


def test_a_grid_covers_every_voxel():
    assert len(grid((192,) * 3, (128,) * 3, 0.75)) == 27 and len(grid((192,) * 3, (128,) * 3)) == 8
    assert {o[0] for o in grid((192,) * 3, (128,) * 3, 0.75)} == {0, 32, 64}  # the source's
    for shape, size, overlap in (
        ((10, 7, 4), (4, 4, 4), 0.0),
        ((11, 9, 5), (4, 3, 2), 0.5),
        ((5, 6, 7), (1, 1, 9), 0.9),
    ):
        seen = np.zeros(shape, int)
        for origin in grid(shape, size, overlap):
            assert all(o + s <= n or n < s for o, s, n in zip(origin, size, shape, strict=True))
            seen[tuple(slice(max(o, 0), o + s) for o, s in zip(origin, size, strict=True))] += 1
        assert seen.min() > 0
        starts = sorted({o[0] for o in grid(shape, size, overlap)})
        assert max(np.diff([*starts, starts[-1]])) <= max(size[0] * (1 - overlap), 1) + 1e-9


def test_augmentation_scales_within_a_tenth_and_flips_both():
    image, label = torch.ones(1, 4, 5, 6), torch.arange(120).reshape(4, 5, 6)
    factors = []
    for i in range(400):
        moved, same = augment_patch(image, label, np.random.default_rng((0, i)), intensity=0.05)
        assert torch.equal(same, label) and moved.unique().numel() == 1
        factors.append(float(moved[0, 0, 0, 0]))
    assert min(factors) == pytest.approx(0.9) and max(factors) == pytest.approx(1.1)
    assert np.mean(factors) == pytest.approx(1, abs=0.01) and np.std(factors) == pytest.approx(0.048, abs=0.005)
    moved, turned = augment_patch(label[None].float(), label, np.random.default_rng(0), flips=(1, 0, 1))
    assert torch.equal(turned, label.flip(0, 2)) and torch.equal(moved[0], turned.float())
    flipped = [
        augment_patch(image, label, np.random.default_rng(i), flips=(0, 0.5, 0))[1][0, 0, 0] > 0 for i in range(200)
    ]
    assert 70 < sum(flipped) < 130


def test_a_quarter_turn_of_a_patch_is_exact():
    image, label = torch.randn(1, 8, 8, 8), torch.randint(0, 3, (8, 8, 8))
    quarter = Rotation.from_euler("z", 90, degrees=True).as_matrix()  # in the plane of W and H
    turned, same = patches._posed(image, label, quarter)
    assert torch.allclose(turned, torch.rot90(image, 1, (-2, -1)), atol=1e-5)
    assert torch.equal(same, torch.rot90(label, 1, (-2, -1)))


def test_a_larger_patch_shows_its_middle_and_poses_stay_within_their_limits():
    image = torch.zeros(1, 32, 32, 32)
    image[:, 12:20, 12:20, 12:20] = 1
    label = image[0].long()
    for i in range(20):
        posed, same = augment_patch(image, label, np.random.default_rng((0, i)), rotate=20, scale=0.2)
        grown = float(same.sum()) / float(label.sum())
        assert 0.4 < grown < 1.9 and abs(float(posed.sum()) / float(same.sum()) - 1) < 0.2
        assert set(same.unique().tolist()) == {0, 1}
    power, _ = augment_patch(torch.rand(1, 8, 8, 8), label[:8, :8, :8], np.random.default_rng(1), gamma=0.3)
    assert float(power.min()) >= 0 and float(power.max()) <= 1.4  # .1 of intensity isn't asked for


def test_batches_of_a_prepared_set(prepared, capsys):
    settings = {"count": 5, "batch_size": 4, "eval_batch_size": 2, "augmentation": {"flips": [1, 0, 0]}}
    dls = dataloaders(prepared, (6, 8, 6), target_of("one_hot", 3), **settings, num_workers=2)
    image, target = next(iter(dls.train))
    assert image.shape == (4, 1, 6, 8, 6) and target.shape == (4, 3, 6, 8, 6) and (target.sum(1) == 1).all()
    assert len(dls.train) == 5 and dls.n_inp == 1 and dls.device.type == "cpu" and 0 <= image.min() < image.max() <= 1
    found = VolumePatches(split_cases(prepared, "val"), (6, 8, 6), "grid")
    image, target = next(iter(dls.valid))
    assert len(found) == 8 and len(dls.valid) == 4 and torch.equal(image[1], found.case(1).image)
    assert "padded" not in capsys.readouterr().out


def test_training_on_the_first_volumes_alone(prepared):
    names = [case.id for case in split_cases(prepared, "train")]
    common = {"count": 1, "batch_size": 1}
    dls = dataloaders(prepared, (6, 8, 6), train_cases=1, **common)
    assert [case.id for case in dls.train.dataset.cases] == names[:1] and len(dls.train.dataset) == 1
    assert [case.id for case in dls.valid.dataset.cases] == [case.id for case in split_cases(prepared, "val")]
    assert len(dataloaders(prepared, (6, 8, 6), **common).train.dataset) == len(names)
    with refused(where="train_cases", found=f"got {len(names) + 1}", expected=f"1 … {len(names)}"):
        dataloaders(prepared, (6, 8, 6), train_cases=len(names) + 1, **common)


def test_workers_that_are_not_forked_read_the_same(prepared, monkeypatch):
    """Such a worker gets its data set pickled, and knows nothing of this process: not which part of a volume is its."""
    monkeypatch.setattr(mesh, "_mesh", mesh.Mesh(1, 2, 0, 1, {3: (1, 2, "a process group")}))
    dls = dataloaders(prepared, (6, 8, 6), target_of("one_hot", 3), batch_size=2, num_workers=1)
    dls.train.multiprocessing_context = "spawn"
    image, target = next(iter(dls.train))
    assert image.shape == (2, 1, 6, 4, 6) and target.shape == (2, 3, 6, 4, 6)
    whole = torch.stack([dls.train.dataset[key][0] for key in next(iter(dls.train.batch_sampler))])
    assert torch.equal(image, whole[:, :, :, 4:])


def test_what_patches_refuse(prepared, tmp_path):
    cases = split_cases(prepared, "train")
    with refused(where="crops", found="got 'center'", expected="one of around, grid, uniform"):
        VolumePatches(cases, (4, 4, 4), "center")
    with refused(where=r"patch of \[4, 4\], overlap 0.0", expected="three sizes"):
        VolumePatches(cases, (4, 4))
    write_case(tmp_path / "a.h5", np.zeros((2, 4, 4)), None, person="a", classes=("x", "y"), names=("0", "1"))
    with refused(where="a.h5", found="no prepared volume", expected="one that `prepare` wrote"):
        VolumePatches([case_file(tmp_path / "a.h5")], (1, 1, 1))


def test_a_test_case_without_label_is_for_prediction(tmp_path):
    lits_layout(tmp_path / "in", 3)
    next((tmp_path / "in").rglob("segmentation-2.nii")).unlink()
    prepare(tmp_path / "in", tmp_path / "out", split={"val": 1, "test": 1})
    found = VolumePatches(split_cases(tmp_path / "out", "test", need_label=False), (4, 4, 4), "grid")
    assert len(found[0]) == 1 and found.case(0).label is None
    assert read_set(tmp_path / "out")["files"][-1]["voxels"] is None


# Sample data


def test_the_sample_slab_keeps_its_distance_and_every_split_has_both_organs(tmp_path):
    about = labeled_scans.write_lits(tmp_path / "in")
    prepare(tmp_path / "in", tmp_path / "out", **about)
    content = read_set(tmp_path / "out")
    assert content["persons"] == {"train": ["person_001"], "val": ["person_001"], "test": ["person_002"]}
    assert content["classes"] == ["background", "liver", "spleen"] and "a slab of it validates" in content["note"]
    for split in ("train", "val", "test"):
        voxels = [e["voxels"] for e in content["files"] if e["split"] == split]
        assert min(np.sum(voxels, 0)[1:]) > 1000
        assert all(v[1] > 0 for v in voxels)  # there is something to crop around
    spans = {}
    for entry in content["files"]:
        attrs = attributes(tmp_path / "out" / entry["path"])
        low = attrs["affine"] @ (-0.5, 0, 0, 1)
        spans[attrs["id"].removeprefix("volume-")] = (low[2], low[2] + entry["shape"][0] * attrs["spacing"][0])
    (bottom, top), (_, below), (above, _) = (spans[f"abdomen_a_{n}"] for n in ("slab", "lower", "upper"))
    assert bottom - below >= 10 and above - top >= 10
    _, kidneys = labeled_scans.resampled("abdomen_a", 3.0, (128, 128))
    assert (kidneys == 3).any() and sum(sum(e["voxels"][1:]) for e in content["files"][:3]) < (
        kidneys[:, :, :] > 0
    ).sum()


def test_phantoms_are_drawn_by_their_seed_and_can_be_told_apart(tmp_path):
    image, label = abdomen.phantom((30, 40, 36), (0, 1))
    again, other = abdomen.phantom((30, 40, 36), (0, 1)), abdomen.phantom((30, 40, 36), (0, 2))
    assert np.array_equal(image, again[0]) and np.array_equal(label, again[1]) and not np.array_equal(label, other[1])
    for i in range(8):
        image, label = abdomen.phantom((30, 40, 36), (3, i))
        inside, lesion = image[label == 1], image[label == 2]
        assert inside.size > 800 and lesion.size > 10 and inside.mean() - lesion.mean() > 25
        assert 10 < inside.std() < 20 and image[0, 0, 0] < -900
    about = abdomen.write_lits(tmp_path / "in", 5, (12, 20, 24), spacing=(3, 2, 1), seed=3)
    prepare(tmp_path / "in", tmp_path / "out", window=None, **about)
    assert read_set(tmp_path / "out")["counts"] == {"train": 3, "val": 1, "test": 1}
    with h5py.File(tmp_path / "out" / "train" / "volume-1.h5") as file:
        image, label = abdomen.phantom((12, 20, 24), (3, 1))
        assert np.array_equal(file["image"][:], image) and np.array_equal(file["label"][:], label)
        assert file.attrs["spacing"].tolist() == [3, 2, 1]
