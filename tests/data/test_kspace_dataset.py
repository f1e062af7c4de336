"""K-space slices as cases and batches: masks, normalisation, order and workers."""

import h5py
import numpy as np
import pytest
import torch

from lib import InputError
from lib.data import checks, samples
from lib.data.kspace import KspaceSlices, dataloaders, file_mask, split_files
from lib.kspace import center_crop, ifft2c, rss

MASK = {"kind": "equispaced", "acceleration": 4, "num_low_frequencies": 8}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kspace")
    jobs = [
        j._replace(slices=j.slices[:4])
        for j in samples.plan(acquisitions=1)
        if j.name in ("brain_a_00", "brain_a_slab")
    ]
    for job in jobs:
        samples.write(folder / job.split / f"{job.name}.h5", job, (40, 32), 3, 20.0, voxel=5.0)
    samples.write_index(folder, jobs)
    return folder


def test_validation_masks_belong_to_the_file_and_training_masks_are_fresh(folder):
    files = split_files(folder, "train")
    fixed, fresh = KspaceSlices(files, MASK), KspaceSlices(files, MASK, fresh=True)
    assert len({tuple(fixed.case(i, e).mask.columns.tolist()) for i in range(4) for e in range(3)}) == 1
    assert len({tuple(fresh.case(i, e).mask.columns.tolist()) for i in range(4) for e in range(3)}) > 1
    assert torch.equal(fresh.case(1, 5).mask.columns, fresh.case(1, 5).mask.columns)


def test_a_list_of_accelerations_is_drawn_from(folder):
    drawn = KspaceSlices(split_files(folder, "train"), {**MASK, "acceleration": [2, 4]}, fresh=True)
    assert {drawn.case(i, e).mask.acceleration for i in range(4) for e in range(6)} == {2, 4}


def test_kspace_item(folder):
    slices = KspaceSlices(split_files(folder, "val"), MASK)
    kspace, mask, target, maximum = slices[2]
    case = slices.case(2)
    assert kspace.shape == (3, 40, 32) and mask.shape == (1, 1, 32) and mask.dtype == torch.bool
    assert torch.equal(kspace, case.kspace * mask[0]) and not kspace[..., ~mask[0, 0]].any()
    assert torch.allclose(target, rss(ifft2c(case.kspace)), atol=1e-5) and maximum == case.maximum


def test_image_item_is_fastmris(folder):
    from fastmri.data.transforms import normalize_instance

    slices = KspaceSlices(split_files(folder, "val"), MASK, "image")
    image, target, _, mean, std = slices[1]
    expected, expected_mean, expected_std = normalize_instance(slices.case(1).zero_filled, eps=1e-11)
    assert torch.allclose(image[0], expected.clamp(-6, 6), atol=1e-6)
    assert mean == expected_mean and std == expected_std and target.shape == (40, 32)


def test_a_files_own_mask_goes_first_and_padding_stays_empty(tmp_path):
    kspace = np.random.default_rng(0).standard_normal((1, 2, 8, 16)).astype(np.complex64)
    mask = np.zeros(16)
    mask[[2, 6, 7, 8, 9, 10]] = 1
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["kspace"], file["mask"] = kspace * mask, mask
    slices = KspaceSlices([checks.kspace_file(tmp_path / "a.h5")], MASK)
    case = slices.case(0)
    assert case.mask.columns.int().tolist() == mask.astype(int).tolist() and case.mask.num_low_frequencies == 5
    assert case.target is None and len(slices[0]) == 3


def test_file_mask_counts_the_run_around_the_centre():
    assert file_mask(torch.tensor([0, 1, 0, 1, 1, 1, 0, 0]).bool()).num_low_frequencies == 3
    assert file_mask(torch.ones(6).bool()).num_low_frequencies == 6


def test_target_smaller_than_kspace_crops_the_input(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["kspace"] = np.ones((1, 2, 16, 12), np.complex64)
        file["reconstruction_rss"] = np.ones((1, 10, 8), np.float32)
    case = KspaceSlices([checks.kspace_file(tmp_path / "a.h5")], {**MASK, "num_low_frequencies": 4}).case(0)
    assert case.zero_filled.shape == (10, 8)
    assert torch.equal(case.zero_filled, center_crop(rss(ifft2c(case.masked_kspace)), (10, 8)))


def test_workers_read_the_same_batches(folder):
    def batches(workers):
        dls = dataloaders(folder, MASK, "kspace", batch_size=2, num_workers=workers)
        dls.train.batch_sampler.epoch = 4
        return list(dls.train)

    for alone, shared in zip(batches(0), batches(2), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(alone, shared, strict=True))


def test_missing_targets_and_mixed_sizes_are_refused(tmp_path):
    for name, width in (("a", 16), ("b", 12)):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["kspace"] = np.ones((1, 2, 16, width), np.complex64)
            file["reconstruction_rss"] = np.ones((1, 16, width), np.float32)
            file.attrs["patient_id"] = name
    entries = [{"split": s, "path": f"{n}.h5", "person": n} for n, s in (("a", "train"), ("b", "train"))]
    checks.write_set(tmp_path, "here", "k-space", [*entries])
    with pytest.raises(InputError, match="lists no files for val"):
        dataloaders(tmp_path, MASK)
    entries = [{"split": "train", "path": f"{n}.h5", "person": n} for n in "ab"]
    entries.append({"split": "val", "path": "a.h5", "person": "a"})
    checks.write_set(tmp_path, "here", "k-space", entries, shared_persons=["a"])
    with pytest.raises(InputError, match="use BucketSampler"):
        dataloaders(tmp_path, MASK, batch_size=2)
    with h5py.File(tmp_path / "a.h5", "a") as file:
        del file["reconstruction_rss"]
    checks.write_set(tmp_path, "here", "k-space", entries, shared_persons=["a"])
    with pytest.raises(InputError, match=r"a.h5: no target \(1 files of train\)"):
        dataloaders(tmp_path, MASK)
