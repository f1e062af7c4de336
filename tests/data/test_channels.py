"""Images of several channels, from files of their own or one, as slices and volumes: read, cropped, segmented."""

import json

import h5py
import nibabel
import numpy as np
import pytest
import torch
from mixing import Mixer
from monai.inferers import sliding_window_inference
from refusals import refused
from torch import nn

from lib.data import lits, patches, volume_slices
from lib.data.case_files import CaseSlices, case_file, split_cases
from lib.data.index import number_of_channels, read_set
from lib.inference import sliding_window
from lib.inference.segment import segment_slices, segment_volumes
from lib.losses.segmentation import probabilities

SHAPE, CLASSES = (10, 12, 8), ["background", "a"]


def images(n):
    """Two channels (2, i, j, k) of case n, of very different values, and a label."""
    rng = np.random.default_rng(n)
    return np.stack([rng.uniform(0, 1000, SHAPE), rng.uniform(-5, 5, SHAPE)]).astype(np.float32), rng.integers(
        0, 2, SHAPE
    )


def save(path, values, affine=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([1.0, 2, 3, 1]) if affine is None else affine), path)


def decathlon(folder, axis=False, affine=None):
    """Five cases in imagesTr/: a file per channel, or one with a fourth axis."""
    for n in range(5):
        both, label = images(n)
        save(folder / "labelsTr" / f"v_{n}.nii.gz", label.astype(np.uint8))
        if axis:
            save(folder / "imagesTr" / f"v_{n}.nii.gz", np.moveaxis(both, 0, -1))
        else:
            for c in range(2):
                save(folder / "imagesTr" / f"v_{n}_000{c}.nii.gz", both[c], affine if c else None)
    about = {"modality": {"0": "T2", "1": "ADC"}, "labels": {"0": "background", "1": "a"}}
    (folder / "dataset.json").write_text(json.dumps(about))
    return folder


@pytest.mark.parametrize("axis", [False, True], ids=["files", "axis"])
def test_volumes_hold_each_channel_as_if_it_were_alone(tmp_path, axis):
    lits.prepare(decathlon(tmp_path / "in", axis), tmp_path / "out", window=None)
    content = read_set(tmp_path / "out")
    assert content["channels"] == ["T2", "ADC"] and number_of_channels(content) == 2
    with h5py.File(tmp_path / "out" / "train" / "v_1.h5") as file:
        image, label, fill = file["image"][:], file["label"][:], file.attrs["fill"]
    both, truth = images(1)
    assert image.shape == (8, 2, 12, 10) and np.array_equal(image, both.transpose(3, 0, 2, 1))
    assert np.array_equal(label, truth.transpose(2, 1, 0)) and np.allclose(fill, both.min((1, 2, 3)))


def test_each_channel_has_its_window_and_says_what_it_cuts_off(tmp_path, capsys):
    source = decathlon(tmp_path / "in")
    lits.prepare(source, tmp_path / "auto", window="auto")
    said = capsys.readouterr().out
    assert "T2: window (not CT by its values, 5 volumes)" in said and "ADC: window (not CT" in said
    lits.prepare(source, tmp_path / "given", window=[[0, 1000], [-5, 5]])
    both, _ = images(0)
    with h5py.File(tmp_path / "given" / "train" / "v_0.h5") as file:
        image, window = file["image"][:], file.attrs["window"]
    assert np.allclose(image[:, 1], ((both[1] + 5) / 10).transpose(2, 1, 0), atol=1e-6) and window.tolist() == [
        [0, 1000],
        [-5, 5],
    ]
    with refused(where="window", found="3 for 2 channels"):
        lits.prepare(source, tmp_path / "three", window=[[0, 1]] * 3)


def test_channels_lie_on_one_grid(tmp_path):
    source = decathlon(tmp_path / "in", affine=np.diag([1.0, 2, 4, 1]))
    with refused(where="v_0_0001.nii.gz", found="another grid than v_0_0000.nii.gz", expected="one shape and affine"):
        lits.prepare(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_slices_of_several_channels(tmp_path):
    volume_slices.prepare(decathlon(tmp_path / "in"), tmp_path / "out", "axial")
    slices = CaseSlices(split_cases(tmp_path / "out", "train"), "z_score", channels=2)
    both, truth = images(0)
    case = slices.case(3)
    expected = both[..., 3].transpose(0, 2, 1)[:, ::-1, ::-1]
    assert np.array_equal(case.raw, expected) and np.array_equal(case.label, truth[..., 3].T[::-1, ::-1])
    assert torch.allclose(case.image.mean((1, 2)), torch.zeros(2), atol=1e-5)  # each by itself
    with refused(where="v_0.h5", found="images of 2 channels, the network takes 1"):
        CaseSlices(split_cases(tmp_path / "out", "train"))
    path = segment_slices(nn.Conv2d(2, 2, 1), slices, tmp_path / "result.h5")
    with h5py.File(path) as file:
        assert np.array_equal(file["v_0/input"][3], expected[1])


def test_patches_hold_all_channels_each_with_its_fill_outside(tmp_path):
    lits.prepare(decathlon(tmp_path / "in"), tmp_path / "out", window=None)
    cases = [case_file(tmp_path / "out" / "train" / "v_0.h5")]
    found = patches.VolumePatches(cases, (4, 6, 16), "grid")
    patch = found.case(0)
    z, y, x = patch.origin
    both = images(0)[0].transpose(0, 3, 2, 1)
    assert patch.image.shape == (2, 4, 6, 16) and x == -3
    assert np.array_equal(patch.image[:, :, :, 3:13], both[:, z : z + 4, y : y + 6])
    for c in range(2):
        assert (patch.image[c, :, :, :3] == both[c].min()).all()
    found.augmentation = {"flips": [1, 0, 0], "rotate": 10, "scale": 0.1, "gamma": 0.2, "intensity": 0.1}
    image, label = found[0]
    assert image.shape == (2, 4, 6, 16) and label.shape == (4, 6, 16)


def test_windows_of_several_channels_are_monais_result(tmp_path):
    model, x = Mixer(channels=2), np.random.default_rng(0).normal(size=(21, 2, 15, 9)).astype(np.float32)
    parts = [p for _, p in sliding_window.slabs(model, x, (12, 8, 10), 0.5, 2, outside=[-1.0, -1.0])]
    with torch.no_grad():
        expected = sliding_window_inference(
            torch.from_numpy(x).transpose(0, 1)[None], (12, 8, 10), 2, lambda x: probabilities(model(x)), 0.5,
            mode="gaussian", cval=-1.0,
        )[0]  # fmt: skip
    assert torch.allclose(torch.cat(parts, 1), expected, atol=1e-6)
    lits.prepare(decathlon(tmp_path / "in"), tmp_path / "out", window=None)
    path = segment_volumes(model, split_cases(tmp_path / "out", "test"), tmp_path / "result.h5", (8, 8, 8))
    with h5py.File(path) as file:
        assert np.array_equal(file["v_4/input"][:], images(4)[0][1].transpose(2, 1, 0))
