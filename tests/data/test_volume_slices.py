"""Volumes in the Decathlon's folders cut into slices."""

import h5py
import nibabel
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform
from refusals import refused

from lib.data import volume_slices
from lib.data.case_files import CaseSlices, split_cases
from lib.data.index import read_set
from lib.phantoms import slices

CLASSES = ["background", "a", "b"]
SHAPES = [(5, 6, 7), (4, 8, 7), (5, 6, 4), (3, 3, 3)]


def folder(place, codes="RAS"):
    """Four volumes of other sizes, stored along the axes `codes`; a voxel's value says where it is."""
    for n, shape in enumerate(SHAPES):
        x, y, z = np.indices(shape)
        image, label = (100 * x + 10 * y + z).astype(np.int16), (x + 2 * y + z) % 3
        affine = np.diag([1.0, 2, 3, 1])
        affine[:3, 3] = 10, 20, 30
        turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
        for kind, values in (("imagesTr", image), ("labelsTr", label.astype(np.uint8))):
            path = place / kind / f"v_{n}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            turned = nibabel.orientations.apply_orientation(values, turn)
            nibabel.save(nibabel.Nifti1Image(turned, affine @ inv_ornt_aff(turn, shape)), path)
    return place


@pytest.mark.parametrize(("plane", "axis", "size", "spacing"), [
    ("axial", 2, [8, 5], [3, 2, 1]), ("coronal", 1, [7, 5], [2, 3, 1]), ("sagittal", 0, [7, 8], [1, 3, 2]),
])  # fmt: skip
@pytest.mark.parametrize("codes", ["RAS", "LPI", "SRA"])
def test_every_pixel_keeps_its_place_in_the_world(tmp_path, plane, axis, size, spacing, codes):
    volume_slices.prepare(
        folder(tmp_path / "in", codes), tmp_path / "out", plane, {"val": 1, "test": 1}, classes=CLASSES
    )
    content = read_set(tmp_path / "out")
    assert content["kind"] == "labeled slices" and content["size"] == size and content["plane"] == plane
    assert content["counts"] == {"train": sum(s[axis] for s in SHAPES[:2]), "val": SHAPES[2][axis], "test": 3}
    for entry, shape in zip(content["files"], SHAPES, strict=True):
        with h5py.File(tmp_path / "out" / entry["path"]) as file:
            image, label, affine = file["image"][:], file["label"][:], file.attrs["affine"]
            assert image.shape == (shape[axis], *size) and file.attrs["spacing"].tolist() == spacing
        at = np.moveaxis(np.indices(image.shape), 0, -1)
        mm = nibabel.affines.apply_affine(affine, at)
        x, y, z = np.moveaxis((mm - [10, 20, 30]) / [1, 2, 3], -1, 0).round(6)
        inside = (x >= 0) & (x < shape[0]) & (y >= 0) & (y < shape[1]) & (z >= 0) & (z < shape[2])
        assert inside.sum() == np.prod(shape)
        assert np.array_equal(image[inside], (100 * x + 10 * y + z)[inside]) and (image[~inside] == 0).all()
        assert np.array_equal(label[inside], ((x + 2 * y + z) % 3)[inside]) and not label[~inside].any()
    up = {"axial": y, "coronal": z, "sagittal": z}[plane]
    assert (np.diff(up, axis=1) < 0).all()  # the front or the head is on top
    across = y if plane == "sagittal" else x
    assert (np.diff(across, axis=2) < 0).all()  # the front, or the person's right, is on the left


def test_folders_of_both_kinds_are_found(tmp_path):
    found = volume_slices.find(folder(tmp_path), split={"val": 1})
    assert [p.id for p in found["train"]] == ["v_0", "v_1", "v_2"] and [p.id for p in found["val"]] == ["v_3"]
    (tmp_path / "empty").mkdir()
    with refused(found="no keras_slices_train"):
        volume_slices.find(tmp_path / "empty")


def test_what_is_refused(tmp_path):
    source = folder(tmp_path / "in")
    with refused(where="plane 'coronel'", found="did you mean 'coronal'", expected="axial, coronal, sagittal"):
        volume_slices.prepare(source, tmp_path / "out", "coronel", classes=CLASSES)
    with refused(where="classes", found="dataset.json"):
        volume_slices.prepare(source, tmp_path / "out")
    with refused(where="v_0.nii.gz", found="holds label 2"):
        volume_slices.prepare(source, tmp_path / "out", classes=CLASSES[:2])
    volume_slices.prepare(source, tmp_path / "out", classes=CLASSES[:2], ignore_index=2)


def test_the_samples_slices_are_split_by_volume(tmp_path):
    about = slices.write("hippocampus", tmp_path / "in", 1.0, (32, 32), quick=True)
    volume_slices.prepare(folder=tmp_path / "out", **about)
    assert [len(split_cases(tmp_path / "out", s)) for s in ("train", "val", "test")] == [3, 2, 2]
    found = CaseSlices(split_cases(tmp_path / "out", "test"))
    assert {int(v) for i in range(len(found)) for v in found.case(i).label.unique()} == {0, 1, 2}
    with refused(where="sample 'hipocampus'", found="did you mean 'hippocampus'"):
        slices.write("hipocampus", tmp_path, 1.0, (32, 32))
