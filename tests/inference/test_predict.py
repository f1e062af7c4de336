"""result.h5: what it holds, and that it is never half there."""

import h5py
import numpy as np
import pytest
import torch

from lib import InputError, models
from lib.data.fastmri import KspaceSlices, split_files
from lib.data.index import read_set
from lib.inference import predict
from lib.phantoms import sample_scans

MASK = {"kind": "equispaced", "acceleration": 4, "num_low_frequencies": 8}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kspace")
    jobs = [j._replace(slices=j.slices[:3]) for j in sample_scans.plan() if j.name in ("brain_b", "tumour_b")]
    for job in jobs:
        sample_scans.write(folder / "test" / f"{job.name}.h5", job, (40, 32), 3, 20.0, voxel=5.0)
    sample_scans.write_index(folder, jobs)
    return folder


def _network(name):
    torch.manual_seed(0)
    small = {
        "VarNet": {"num_cascades": 1, "chans": 2, "pools": 2, "sens_chans": 2, "sens_pools": 2},
        "UNet": {"chans": 2},
    }
    return models.build(name, **small[name]).eval()


def test_batches_and_single_slices_agree_and_units_are_the_datas(folder):
    files = split_files(folder, "test")
    for name, kind in (("VarNet", "kspace"), ("UNet", "image")):
        model, slices = _network(name), KspaceSlices(files, MASK, kind)
        together = predict.outputs(model, slices, [0, 1, 2])
        alone = torch.cat([predict.outputs(model, slices, [i]) for i in range(3)])
        assert together.shape == (3, 40, 32) and torch.allclose(together, alone, atol=1e-5)
    identity = torch.nn.Identity()
    slices = KspaceSlices(files, MASK, "image")
    zero_filled = torch.stack([slices.case(i).zero_filled for i in range(3)])
    assert torch.allclose(predict.outputs(identity, slices, range(3)), zero_filled, atol=1e-4)  # un-normalised again


def test_result_has_a_group_a_file(folder, tmp_path):
    slices = KspaceSlices(split_files(folder, "test"), MASK)
    path = predict.reconstruct(_network("VarNet"), slices, tmp_path / "p" / "result.h5", batch_size=2)
    assert [p.name for p in path.parent.iterdir()] == ["result.h5"]
    volumes = predict.read_result(path)
    assert set(volumes) == {"brain_b", "tumour_b"} and set(volumes["brain_b"]) == {
        "input",
        "output",
        "truth",
        "noise_free",
    }
    with h5py.File(path) as file:
        group = file["tumour_b"]
        assert group.attrs["person"] == "tumour_b" and group["output"].shape == (3, 40, 32)
        assert group.attrs["spacing"].tolist() == [6.5, 5.0, 5.0]
        mask = group.attrs["mask"]
        assert group.attrs["acceleration_achieved"] == pytest.approx(32 / mask.sum())
        case = slices.case(3)
        assert np.allclose(group["input"][0], case.zero_filled) and np.allclose(group["truth"][0], case.target)


def test_a_failure_leaves_nothing_behind(folder, tmp_path):
    class Broken(torch.nn.Module):
        def forward(self, kspace, mask, count):
            raise RuntimeError("no")

    slices = KspaceSlices(split_files(folder, "test"), MASK)
    with pytest.raises(RuntimeError):
        predict.reconstruct(Broken(), slices, tmp_path / "result.h5")
    assert not list(tmp_path.iterdir())


def test_other_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        predict.read_result(tmp_path / "result.h5")
    (tmp_path / "a.h5").write_text("no")
    with pytest.raises(InputError, match="not a result.h5"):
        predict.read_result(tmp_path / "a.h5")


def test_set_is_checked_once_more_on_reading(folder):
    assert read_set(folder)["kind"].endswith("(sample data)")
