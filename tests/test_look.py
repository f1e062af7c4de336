"""`lib.data.look`: any file in one call."""

import h5py
import numpy as np
import pytest
import torch

import lib.data
from lib import InputError, models, runs
from lib.data import samples
from lib.viewer.sources import read


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    settings = {"num_cascades": 1, "chans": 2, "pools": 2, "sens_chans": 2, "sens_pools": 2}
    folder = tmp_path_factory.mktemp("weights")
    runs.save_model(folder, "VarNet", settings, models.build("VarNet", **settings))
    return folder / "model_weights"


def titles(figure):
    return [ax.get_title() for ax in figure.axes]


def test_nifti_lies_as_the_viewer_shows_it():
    path = "data/samples/abdomen_b_ct.nii.gz"
    image = lib.data.look(path).axes[1].images[0].get_array()
    assert np.array_equal(image, read("ct", path).volume[int(lib.data.look(path).axes[1].get_title().split()[1])])


def test_fastmri_file(tmp_path, weights, capsys):
    job = samples.plan()[-1]._replace(slices=range(5, 7))
    samples.write(tmp_path / "file1000001.h5", job, (72, 64), 6, 30.0, voxel=3.0)
    figure = lib.data.look(tmp_path / "file1000001.h5", weights=weights)
    assert titles(figure) == ["mask", "zero-filled", "GRAPPA", "VarNet", "truth"]
    said = capsys.readouterr().out
    assert "fastMRI layout · 2 slices · 6 coils · 72 readout × 64 phase encodes" in said
    assert "put on here" in said and "assumed: no mask" in said


def test_snu_file_with_its_own_mask(tmp_path, weights, capsys):
    mask = np.zeros(64)
    mask[::4] = mask[24:40] = 1
    (tmp_path / "kspace").mkdir(), (tmp_path / "image").mkdir()
    with h5py.File(tmp_path / "kspace" / "brain_1.h5", "w") as file:
        file["kspace"] = (np.random.default_rng(0).standard_normal((1, 4, 48, 64)) * mask).astype(np.complex64)
        file["mask"] = mask
    with h5py.File(tmp_path / "image" / "brain_1.h5", "w") as file:
        file["image_label"], file.attrs["max"] = np.ones((1, 32, 32), np.float32), 1.0
    figure = lib.data.look(tmp_path / "kspace" / "brain_1.h5", weights=weights)
    assert "SNU layout" in capsys.readouterr().out
    assert figure.axes[1].get_images()[0].get_array().shape == (32, 32)


@pytest.mark.parametrize("kind", [np.complex64, np.float32])
def test_plain_arrays(tmp_path, kind, capsys):
    np.save(tmp_path / "a.npy", np.ones((3, 4, 16, 12), kind))
    figure = lib.data.look(tmp_path / "a.npy")
    assert ("k-space" if kind is np.complex64 else "images") in capsys.readouterr().out and len(figure.axes) >= 1


def test_other_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        lib.data.look(tmp_path / "none.h5")
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(InputError, match=r"unknown kind of file, expected .h5"):
        lib.data.look(tmp_path / "a.txt")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["x"] = np.ones(3)
    with pytest.raises(InputError, match="no array of two axes"):
        lib.data.look(tmp_path / "b.h5")
