"""Data sets go to worker processes that weren't forked, as macOS, Windows and Python 3.14 start them."""

import pickle

import nibabel
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from lib import ROOT
from lib.data import case_files, cine, cine_files, fastmri, fastmri_index, lits, patches, volume_slices
from lib.data.bucket_sampler import BucketSampler
from lib.data.index import write_set
from lib.data.targets import target_of
from lib.phantoms.simulated_kspace import SimulatedSlices

MASK = {"kind": "equispaced", "acceleration": 4, "num_low_frequencies": 8}
AUGMENTATION = {"flip": 0.5, "rotate": 5.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("sets")
    for n in range(3):
        rng = np.random.default_rng(n)
        for kind, values in (("images", rng.uniform(size=(8, 9, 10))), ("labels", rng.integers(0, 2, (8, 9, 10)))):
            (place / "in" / kind).mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(values.astype(np.float32), np.eye(4)), place / "in" / kind / f"{n}.nii")
    lits.prepare(place / "in", place / "volumes", classes=["background", "a"])
    volume_slices.prepare(place / "in", place / "slices", classes=["background", "a"])
    fastmri_index.index(ROOT / "data" / "samples" / "phantom_raw_kspace.h5", place / "kspace")
    pair = [(torch.rand(8, 8, 4), torch.rand(8, 8, 4))]
    entries = [
        e for s in ("train", "val") for e in cine_files.write_pair(place / "cine", s, s, s, [f"heart {s}"], pair)
    ]
    write_set(place / "cine", "made", "cine", entries)
    return place


def sets(folder):
    """A data set of every family, as training notebooks make them."""
    slices, volumes = (case_files.split_cases(folder / name, "train") for name in ("slices", "volumes"))
    files = fastmri.split_files(folder / "kspace", "test", need_target=False)
    yield case_files.CaseSlices(slices, "z_score", target_of("one_hot", 2), augmentation=AUGMENTATION)
    yield case_files.CaseSlices(slices, "unit", channels=3)
    yield patches.VolumePatches(volumes, (4, 4, 4), "uniform", target_of("index", 2), augmentation={"rotate": 5})
    yield fastmri.KspaceSlices(files, MASK, "kspace")
    yield fastmri.KspaceSlices(files, MASK, "image")
    yield SimulatedSlices(count=2)
    yield cine.CineSeries(cine.split_pairs(folder / "cine", "train"))


def test_every_data_set_can_be_sent(folder):
    for data in sets(folder):
        again = pickle.loads(pickle.dumps(data))
        first, second = data[0], again[0]
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True)), type(data)


def test_a_spawned_worker_reads_what_this_process_reads(folder):
    data = case_files.CaseSlices(case_files.split_cases(folder / "slices", "train"), augmentation=AUGMENTATION)
    how = {"batch_sampler": BucketSampler(data.sizes, 2), "num_workers": 1, "multiprocessing_context": "spawn"}
    batch, (image, label) = next(iter(DataLoader(data, **how))), data[next(iter(BucketSampler(data.sizes, 2)))[0]]
    assert torch.equal(batch[0][0], image) and torch.equal(batch[1][0], label)
