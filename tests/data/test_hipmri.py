"""HipMRI's layout with all its oddities, and the cases and batches made of it."""

import shutil

import h5py
import nibabel
import numpy as np
import pytest
import torch
from labeled import hipmri_layout
from refusals import refused

from lib import InputError
from lib.data import case_files, hipmri
from lib.data.case_files import CaseSlices, case_file, normalize, split_cases, write_case
from lib.data.index import read_set
from lib.data.slice_augment import augment_slice

LAYOUT = hipmri_layout


def test_odd_slices_are_padded_or_dropped(source, tmp_path, capsys):
    hipmri.prepare(source, tmp_path / "pad")
    content = read_set(tmp_path / "pad")
    assert content["counts"] == {"train": 8, "val": 2, "test": 2} and content["size"] == [256, 144]
    assert content["persons"] == {
        "train": ["person_001", "person_002", "person_003"],
        "val": ["person_004"],
        "test": ["person_005"],
    }
    assert content["classes"] == list(hipmri.CLASSES) and content["sizes"] == {"256×128": 10, "256×144": 2}
    hipmri.prepare(source, tmp_path / "drop", odd="drop")
    content = read_set(tmp_path / "drop")
    assert content["counts"]["train"] == 6 and content["size"] == [256, 128] and content["dropped"] == 2
    assert "10 slices of 256×128, 2 dropped" in capsys.readouterr().out


def test_cases_hold_what_the_files_hold(source, tmp_path):
    hipmri.prepare(source, tmp_path)
    with h5py.File(tmp_path / "train" / "person_003_week_0.h5") as file:
        image = nibabel.load(source / "keras_slices_train" / "case_035_week_0_slice_1.nii.gz").get_fdata()
        assert image.ndim == 3  # the trailing axis
        assert np.array_equal(file["image"][1][:, 8:-8], image[..., 0].astype(np.float32))
        assert (file["image"][1][:, :8] == file["image"][:].min()).all() and file["label"].dtype == np.uint8
        label = nibabel.load(source / "keras_slices_seg_train" / "seg_035_week_0_slice_1.nii.gz").get_fdata()
        assert np.array_equal(file["label"][1][:, 8:-8], label[..., 0])
        assert file.attrs["person"] == "person_003" and list(file.attrs["names"]) == ["0", "1"]


def _lost(kind):
    def spoil(folder):
        next((folder / f"keras_slices_{kind}train").glob("*019*slice_0*")).unlink()

    return spoil


def _rewrite(name, values):
    return lambda folder: nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), folder / name)


def _both_sides(folder):
    for kind, prefix in (("", "case"), ("seg_", "seg")):
        for s in range(2):
            old = folder / f"keras_slices_{kind}test" / f"{prefix}_040_week_3_slice_{s}.nii.gz"
            old.rename(old.with_name(f"{prefix}_004_week_3_slice_{s}.nii.gz"))


SEG = "keras_slices_seg_train/seg_004_week_0_slice_1.nii.gz"
SPOILT = {
    "no label": (_lost("seg_"), "case_019_week_2_slice_0.nii.gz: no label beside it in keras_slices_seg_train"),
    "no image": (_lost(""), "seg_019_week_2_slice_0.nii.gz: no image beside it in keras_slices_train"),
    "sizes": (_rewrite(SEG, np.zeros((250, 128))), r"seg_004_week_0_slice_1.nii.gz: \(250, 128\), its image is \(256, 128\)"),
    "classes": (_rewrite(SEG, np.full((256, 128), 7.0)), r"slice_1.nii.gz: holds label 7 \(32768 times\), expected 0 … 5 \(background"),
    "fractions": (_rewrite(SEG, np.full((256, 128), 0.5)), "slice_1.nii.gz: holds 0.5, expected class numbers"),
    "both sides": (_both_sides, "case_004_week_3_slice_0.nii.gz: its patient is in train, too: case_004_week_0_slice_0.nii.gz: split by patient"),
    "empty": (lambda f: [p.unlink() for p in (f / "keras_slices_train").iterdir()], "keras_slices_train: empty"),
    "truncated": (lambda f: (f / SEG).write_bytes((f / SEG).read_bytes()[:100]), "slice_1.nii.gz: can't be read as NIfTI"),
    "name": (lambda f: (f / SEG).rename(f / "keras_slices_seg_train" / "a.nii.gz"), "a.nii.gz: expected a name like seg_004"),
    "nothing": (shutil.rmtree, "no keras_slices_train, _validate or _test in it"),
}  # fmt: skip


@pytest.mark.parametrize("name", SPOILT)
def test_what_is_wrong_is_named(copy, tmp_path, name):
    spoil, words = SPOILT[name]
    spoil(copy)
    with pytest.raises(InputError, match=words):
        hipmri.prepare(copy, tmp_path / "out")
    assert not (tmp_path / "out" / "set.json").exists()


def _saved(folder, image, label, affine=None, its_affine=None):
    for split, patient in (("train", "004"), ("validate", "005")):
        for kind, prefix, values, its in (("", "case", image, affine), ("seg_", "seg", label, its_affine)):
            path = folder / f"keras_slices_{kind}{split}" / f"{prefix}_{patient}_week_0_slice_0.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(values, its), path)
    return folder


def test_axes_of_one_go_wherever_they_stand(tmp_path, capsys):
    rng = np.random.default_rng(0)
    image, label = rng.uniform(0, 100, (24, 16)).astype(np.float32), rng.integers(0, 6, (24, 16)).astype(np.uint8)
    affine = np.diag([1.5, 2.0, 3.0, 1.0])
    for axis, spacing in ((0, [1, 2, 3]), (1, [1, 1.5, 3]), (2, [1, 1.5, 2])):
        _saved(tmp_path / f"{axis}", np.expand_dims(image, axis), np.expand_dims(label, axis), affine, affine)
        hipmri.prepare(tmp_path / f"{axis}", tmp_path / f"{axis}" / "out")
        with h5py.File(tmp_path / f"{axis}" / "out" / "train" / "person_001_week_0.h5") as file:
            assert np.array_equal(file["image"][0], image) and np.array_equal(file["label"][0], label)
            assert file.attrs["spacing"].tolist() == spacing and file.attrs["affine"].shape == (4, 4)
    assert "identity" not in capsys.readouterr().out
    hipmri.prepare(_saved(tmp_path / "lost", image, label), tmp_path / "lost" / "out")
    assert "the identity as affine (2 of 2 slices): pixels taken as 1×1 mm" in capsys.readouterr().out


@pytest.mark.parametrize(("shapes", "words"), [
    (((24, 16, 30), (24, 16, 30)), r"case_004_week_0_slice_0.nii.gz: shape \(24, 16, 30\), expected one slice \(H, W\)"),
    (((24, 16), (24, 16, 6)), r"seg_004_week_0_slice_0.nii.gz: shape \(24, 16, 6\), expected one slice"),
    (((24, 16, 1, 2), (24, 16)), r"case_004_week_0_slice_0.nii.gz: shape \(24, 16, 1, 2\), expected one slice"),
])  # fmt: skip
def test_volumes_and_one_hot_labels_are_refused_before_anything_is_written(tmp_path, shapes, words):
    _saved(tmp_path / "in", *(np.zeros(shape, np.uint8) for shape in shapes))
    with pytest.raises(InputError, match=words):
        hipmri.prepare(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_label_with_another_affine_is_refused_or_set(tmp_path):
    affine = np.diag([-0.8, -0.8, 3, 1])
    image = np.eye(24, dtype=np.float32)
    _saved(tmp_path / "in", image, image.astype(np.uint8), affine, np.eye(4))
    with refused(where="seg_004_week_0_slice_0.nii.gz", found="its affine differs .*case_004_week_0_slice_0.nii.gz"):
        hipmri.prepare(tmp_path / "in", tmp_path / "out")
    for whose, spacing in (("image", [1, 0.8, 0.8]), ("label", [1, 1, 1])):
        hipmri.prepare(tmp_path / "in", tmp_path / whose, affine_from=whose)
        assert split_cases(tmp_path / whose, "train")[0].spacing == pytest.approx(spacing)


def test_labels_near_whole_numbers_are_rounded(tmp_path):
    label = np.tile(np.float32([0, 0.9999999, 2.004, 5]), (4, 1))
    hipmri.prepare(_saved(tmp_path / "in", label, label), tmp_path / "out")
    with h5py.File(tmp_path / "out" / "train" / "person_001_week_0.h5") as file:
        assert file["label"][0, 0].tolist() == [0, 1, 2, 5]


def test_a_test_folder_without_labels_is_for_prediction(copy, tmp_path):
    shutil.rmtree(copy / "keras_slices_seg_test")
    hipmri.prepare(copy, tmp_path / "out")
    assert len(CaseSlices(split_cases(tmp_path / "out", "test", need_label=False))[0]) == 1
    with refused(where="person_005_week_3.h5", found=r"no label \(1 files of test\)"):
        split_cases(tmp_path / "out", "test")


def test_normalizations_worked_by_hand():
    x = torch.arange(101.0).reshape(1, 1, 101)
    z = normalize(x, "z_score")
    assert z.mean().abs() < 1e-6 and z.std() == pytest.approx(1, abs=1e-6)
    assert normalize(x, "percentile")[0, 0, [0, 1, 50, 99, 100]].tolist() == pytest.approx([0, 0, 0.5, 1, 1])
    assert torch.equal(normalize(x, "none"), x) and normalize(x, "unit").max() == pytest.approx(100 / 255)
    assert not normalize(torch.full((1, 4, 4), 7.0), "z_score").any()


def test_augmentation_moves_image_and_label_together():
    label = torch.zeros(24, 20, dtype=torch.int64)
    label[4:10, 3:15] = 2
    moved = set()
    for i in range(20):
        image, after = augment_slice(label[None].float(), label, (0, 0, i), flip=0.5, rotate=20.0, crop=[16, 16])
        assert after.shape == (16, 16) and after.dtype == torch.int64 and set(after.unique().tolist()) <= {0, 2}
        assert (image[0].round().long() == after).float().mean() > 0.9
        moved.add(tuple(after.flatten().tolist()))
    assert len(moved) == 20
    image, after = augment_slice(label[None].float(), label, (0, 0, 0), rotate=1e-9)
    assert torch.equal(after, label)


def test_a_turn_keeps_its_angle_on_oblong_images():
    label = torch.zeros(60, 30, dtype=torch.int64)
    label[28:32, 5:25] = 1
    for i in range(5):
        _, after = augment_slice(label[None].float(), label, (1, 0, i), rotate=30.0)
        points = np.argwhere(after.numpy())
        extent = np.linalg.eigvalsh(np.cov(points.T))
        assert extent[0] == pytest.approx(1.3, abs=0.5) and extent[1] == pytest.approx(33.3, rel=0.15)  # still 4×20


def test_what_a_turn_brings_in_is_the_case_s_own_background(tmp_path):
    """Air is −1000 HU, also where a slice shows none of it; 0 would be water, and brighter than the least tissue here."""
    air, fat = np.full((40, 40), -1000.0), np.full((40, 40), -100.0)
    about = {"person": "a", "classes": ("x", "y"), "names": ("0", "1")}
    write_case(tmp_path / "a.h5", np.stack([air, fat]), np.ones((2, 40, 40), np.uint8), **about)
    rgb = np.stack([air, fat, fat + 7])[None]
    write_case(tmp_path / "rgb.h5", rgb, np.ones((1, 40, 40), np.uint8), **about | {"names": "0"})
    found = CaseSlices([case_file(tmp_path / "a.h5")], augmentation={"rotate": 40.0})
    for epoch in range(5):
        (image, _), (other, label) = found[epoch, 0], found[epoch, 1]
        assert (image == -1000).all() and label.min() == 0
        assert other.min() == -1000 and other.max() == pytest.approx(-100, abs=1e-3)
    image, label = CaseSlices([case_file(tmp_path / "rgb.h5")], channels=3, augmentation={"rotate": 40.0})[0]
    assert label.min() == 0 and image.amin((1, 2)).tolist() == image.amax((1, 2)).tolist() == [-1000, -100, -93]
    turned, _ = augment_slice(torch.full((1, 40, 40), -1000.0), torch.ones(40, 40), (0, 0, 3), rotate=15.0)
    assert (turned == -1000).all()


def test_odd_slices_of_ct_are_padded_with_air(tmp_path):
    for s, width in enumerate((32, 24)):
        for kind, values in (("", np.full((32, width), -1000 + s, np.int16)), ("seg_", np.ones((32, width), np.uint8))):
            path = (
                tmp_path / "in" / f"keras_slices_{kind}train" / f"{'seg' if kind else 'case'}_001_week_0_slice_{s}.nii"
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
    hipmri.prepare(tmp_path / "in", tmp_path / "out")
    with h5py.File(tmp_path / "out" / "train" / "person_001_week_0.h5") as file:
        assert (file["image"][1][:, :4] == -1000).all() and (file["image"][1][:, 4:-4] == -999).all()
        assert not file["label"][1][:, :4].any() and file.attrs["fill"] == -1000


def test_preloaded_items_are_the_same(source, tmp_path):
    hipmri.prepare(source, tmp_path)
    found = split_cases(tmp_path, "train")
    streamed, kept = (CaseSlices(found, "z_score", preload=p) for p in (False, True))
    assert all(torch.equal(a, b) for i in range(len(kept)) for a, b in zip(streamed[i], kept[i], strict=True))


def test_settings_that_are_refused(source, tmp_path):
    hipmri.prepare(source, tmp_path)
    found = split_cases(tmp_path, "train")
    with refused(where="normalize", found="got 'minmax'", expected="one of none, z_score"):
        CaseSlices(found, "minmax")
    with refused(found=r"augmentation: crop \[300, 100\] is larger than its \(256, 144\)"):
        CaseSlices(found, augmentation={"crop": [300, 100]})
    with refused(where="odd", found="got 'keep'"):
        hipmri.prepare(source, tmp_path / "b", odd="keep")
    with refused(found="no prepared case"):
        path = tmp_path / "x.h5"
        with h5py.File(path, "w") as file:
            file["kspace"] = [1]
        case_files.case_file(path)


def test_a_new_pose_is_as_large_and_as_far_away_as_was_asked_for():
    label = torch.zeros(64, 64, dtype=torch.int64)
    label[24:40, 24:40] = 1
    areas, middles = [], []
    for i in range(40):
        image, after = augment_slice(label[None].float(), label, (2, 0, i), scale=0.25, shift=8)
        assert (image[0].round().long() == after).float().mean() > 0.95
        areas.append(int(after.sum()) / 256)
        middles.append(np.argwhere(after.numpy()).mean(0) - 31.5)
    low, high = min(areas), max(areas)
    assert 0.7**2 < low < 0.9**2 and 1.1**2 < high < 1.3**2
    away = np.abs(middles)
    assert 5 < away.max() < 8 * 1.25 + 1 and abs(np.mean(middles)) < 2.5


def test_a_new_contrast_changes_no_border_of_its_range_and_no_label():
    ramp = torch.linspace(-5, 20, 64).reshape(1, 8, 8)
    label = (ramp[0] > 3).long()
    powers = set()
    for i in range(20):
        image, after = augment_slice(ramp, label, (3, 0, i), gamma=0.3)
        assert torch.equal(after, label) and image.min() == -5 and image.max() == pytest.approx(20)
        assert (image.flatten().diff() > 0).all()  # what was brighter is
        power = float(((image[0, 4, 0] + 5) / 25).log() / ((ramp[0, 4, 0] + 5) / 25).log())
        assert np.exp(-0.6) - 1e-4 <= power <= np.exp(0.6) + 1e-4
        powers.add(round(power, 4))
    assert len(powers) > 15 and min(powers) < 1 < max(powers)
