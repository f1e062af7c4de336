"""Reconstruction with a network: units, batches, and what result.h5 holds of it."""

import numpy as np
import pytest
import torch

from lib import models
from lib.data import cine, cine_files
from lib.data.fastmri import KspaceSlices, split_files
from lib.data.index import read_set, write_set
from lib.inference import results
from lib.inference.reconstruct import by_network, reconstruct, reconstruct_series
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
        with torch.no_grad():
            together = by_network(model, slices, [slices.case(i) for i in range(3)])
            alone = torch.cat([by_network(model, slices, [slices.case(i)]) for i in range(3)])
        assert together.shape == (3, 40, 32) and torch.allclose(together, alone, atol=1e-5)
    identity = torch.nn.Identity()
    slices = KspaceSlices(files, MASK, "image")
    zero_filled = torch.stack([slices.case(i).zero_filled for i in range(3)])
    output = by_network(identity, slices, [slices.case(i) for i in range(3)])
    assert torch.allclose(output, zero_filled, atol=1e-4)  # un-normalized again


def test_result_has_a_group_a_file(folder, tmp_path):
    slices = KspaceSlices(split_files(folder, "test"), MASK)
    path = reconstruct(_network("VarNet"), slices, tmp_path / "p" / "result.h5", batch_size=2)
    assert [p.name for p in path.parent.iterdir()] == ["result.h5"]
    volumes = results.read(path)
    assert set(volumes) == {"brain_b", "tumour_b"} and set(volumes["brain_b"]) == {
        "input",
        "output",
        "truth",
        "noise_free",
    }
    found, case = results.case(path, "tumour_b"), slices.case(3)
    assert found.person == "tumour_b" and found["output"].shape == (3, 40, 32) and found.file == case.file
    assert found.spacing == (6.5, 5.0, 5.0) and found.outputs == ["output"]
    assert found.achieved == pytest.approx(32 / found.mask.sum()) and found.kind == "at 4×"
    assert np.allclose(found.part("input", 0), case.zero_filled) and np.allclose(found.part("truth", 0), case.target)


def test_a_failure_leaves_nothing_behind(folder, tmp_path):
    class Broken(torch.nn.Module):
        def forward(self, kspace, mask, count):
            raise RuntimeError("no")

    slices = KspaceSlices(split_files(folder, "test"), MASK)
    with pytest.raises(RuntimeError):
        reconstruct(Broken(), slices, tmp_path / "result.h5")
    assert not list(tmp_path.iterdir())


def test_set_is_checked_once_more_on_reading(folder):
    assert read_set(folder)["kind"].endswith("(sample data)")


def test_a_series_says_whether_it_is_simulated(tmp_path):
    pairs = [(torch.rand(3, 8, 8), torch.rand(3, 8, 8))]
    entries = cine_files.write_pair(tmp_path, "test", "drawn", "simulated hearts", ["a"], pairs, simulated=True)
    entries += cine_files.write_pair(tmp_path, "test", "real", "real patient", ["b"], pairs)
    write_set(tmp_path, "here", "cine", entries)
    series = cine.CineSeries(cine.split_pairs(tmp_path, "test"))
    cases = results.cases(reconstruct_series(torch.nn.Identity(), series, tmp_path / "result.h5"))
    known = {name: (case.kind, case.simulated) for name, case in cases.items()}
    assert known == {"a": ("of simulated hearts", True), "b": ("of real patient", False)}
