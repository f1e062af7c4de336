"""K-space slices as cases and batches: masks, normalization, order and workers."""

from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch
from refusals import refused

from lib.data.fastmri import KspaceSlices, dataloaders, split_files
from lib.data.fastmri_file import kspace_file
from lib.data.fastmri_index import index
from lib.data.index import write_set
from lib.data.kspace_masks import file_mask
from lib.kspace import center_crop, ifft2c, rss
from lib.phantoms import sample_scans

MASK = {"kind": "equispaced", "acceleration": 4, "num_low_frequencies": 8}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kspace")
    jobs = [
        j._replace(slices=j.slices[:4])
        for j in sample_scans.plan(acquisitions=1)
        if j.name in ("brain_a_00", "brain_a_slab")
    ]
    for job in jobs:
        sample_scans.write(folder / job.split / f"{job.name}.h5", job, (40, 32), 3, 20.0, voxel=5.0)
    sample_scans.write_index(folder, jobs)
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
    kspace, mask, count, target, maximum = slices[2]
    case = slices.case(2)
    assert kspace.shape == (3, 40, 32) and mask.shape == (1, 1, 32) and mask.dtype == torch.bool
    assert count == 8 and torch.equal(kspace, case.kspace * mask[0]) and not kspace[..., ~mask[0, 0]].any()
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
    slices = KspaceSlices([kspace_file(tmp_path / "a.h5")], MASK)
    case = slices.case(0)
    assert case.mask.columns.int().tolist() == mask.astype(int).tolist() and case.mask.num_low_frequencies == 5
    assert case.target is None and len(slices[0]) == 4 and slices[0][2] == 0  # VarNet looks for them, as fastMRI's


@pytest.mark.parametrize("order", "<>")
def test_all_arrays_are_read_whatever_their_byte_order_and_precision(tmp_path, order):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["kspace"] = np.ones((1, 2, 16, 12), f"{order}c16")
        file["sensitivity_maps"] = np.ones((1, 2, 16, 12), f"{order}c16")
        file["reconstruction_rss"] = file["noise_free"] = np.ones((1, 16, 12), f"{order}f8")
    case = KspaceSlices([kspace_file(tmp_path / "a.h5")], {**MASK, "num_low_frequencies": 4}).case(0)
    assert case.kspace.dtype == case.sensitivity_maps.dtype == torch.complex64 and case.sensitivity_maps.real.min() == 1
    assert case.target.dtype == case.noise_free.dtype == torch.float32 and case.noise_free.min() == 1


def test_file_mask_counts_the_run_around_the_center():
    assert file_mask(torch.tensor([0, 1, 0, 1, 1, 1, 0, 0]).bool()).num_low_frequencies == 3
    assert file_mask(torch.ones(6).bool()).num_low_frequencies == 6


def test_target_smaller_than_kspace_crops_the_input(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["kspace"] = np.ones((1, 2, 16, 12), np.complex64)
        file["reconstruction_rss"] = np.ones((1, 10, 8), np.float32)
    case = KspaceSlices([kspace_file(tmp_path / "a.h5")], {**MASK, "num_low_frequencies": 4}).case(0)
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
    write_set(tmp_path, "here", "k-space", [*entries])
    with refused(found="lists no files for val"):
        dataloaders(tmp_path, MASK)
    entries = [{"split": "train", "path": f"{n}.h5", "person": n} for n in "ab"]
    entries.append({"split": "val", "path": "a.h5", "person": "a"})
    write_set(tmp_path, "here", "k-space", entries, shared_persons=["a"])
    with refused(found="use BucketSampler"):
        dataloaders(tmp_path, MASK, batch_size=2)
    with h5py.File(tmp_path / "a.h5", "a") as file:
        del file["reconstruction_rss"]
        file["mask"] = np.arange(16) % 2
    write_set(tmp_path, "here", "k-space", entries, shared_persons=["a"])
    with refused(where="a.h5", found=r"no target \(1 files of train\)"):
        dataloaders(tmp_path, MASK)


def test_fully_sampled_kspace_without_a_target_is_its_own_truth(tmp_path):
    """Target and maximum are the RSS of all lines, as scikit-image's and numpy's FFTs have it."""
    rng = np.random.default_rng(0)
    row, column = np.mgrid[-8:8, -8:8]
    kspace = (rng.normal(size=(3, 2, 16, 16)) + 1j * rng.normal(size=(3, 2, 16, 16))) * np.exp(
        -(row**2 + column**2) / 20
    )
    (tmp_path / "val").mkdir()
    with h5py.File(tmp_path / "val" / "a.h5", "w") as file:
        file["kspace"] = kspace.astype(np.complex64)
    index(tmp_path, tmp_path / "set")
    images = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(kspace, (-2, -1)), norm="ortho"), (-2, -1))
    truth = np.sqrt((np.abs(images) ** 2).sum(1))
    slices = KspaceSlices(split_files(tmp_path / "set", "val"), MASK)
    for s in range(3):
        case = slices.case(s)
        assert np.allclose(case.target, truth[s], atol=1e-5) and case.maximum == pytest.approx(truth.max(), rel=1e-5)


WIDE = {"kind": "equispaced_fraction", "acceleration": 4, "center_fraction": 0.08}


def _like_fastmri(file, s):
    """A slice as fastMRI's own validation makes it (single slices, so with a leading axis)."""
    from fastmri.data.subsample import EquispacedMaskFractionFunc
    from fastmri.data.transforms import VarNetDataTransform

    with h5py.File(file.path) as data:
        own = data["mask"][:] if "mask" in data else None
        kspace, target = data["kspace"][s], data["reconstruction_rss"][s]
    attributes = {"padding_left": 0, "padding_right": file.shape[1], "max": 1.0, "recon_size": (*file.target_shape, 1)}
    transform = VarNetDataTransform(None if own is not None else EquispacedMaskFractionFunc([0.08], [4]))
    sample = transform(kspace, own, target, attributes, file.path.name, s)
    return sample.masked_kspace[None], sample.mask[None].bool(), sample.num_low_frequencies


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """Files of fastMRI's brain width whose 29 center lines a look at the mask takes for 28 or 30; one has its own mask."""
    folder, rng, files = tmp_path_factory.mktemp("wide"), np.random.default_rng(3), []
    for name in ("file_a", "file_c", "file_own"):
        kspace = rng.standard_normal((1, 2, 24, 368)) + 1j * rng.standard_normal((1, 2, 24, 368))
        with h5py.File(folder / f"{name}.h5", "w") as file:
            if name == "file_own":
                file["mask"] = np.arange(368) % 4 == 0
                file["mask"][180:190] = True
                kspace = kspace * file["mask"][:]
            file["kspace"], file["reconstruction_rss"] = kspace.astype(np.complex64), np.ones((1, 24, 368), np.float32)
            file.attrs["max"] = 1.0
        files.append(kspace_file(folder / f"{name}.h5"))
    return files


@pytest.fixture(scope="module")
def networks():
    from fastmri.models import VarNet as Theirs

    from lib.models import build

    torch.manual_seed(0)
    theirs = Theirs(num_cascades=2, chans=2, pools=2, sens_chans=2, sens_pools=2).eval()
    ours = build("VarNet", num_cascades=2, chans=2, pools=2, sens_chans=2, sens_pools=2).eval()
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


@torch.no_grad()
def test_every_way_gives_varnet_the_center_lines_that_fastmri_gives(wide, networks, tmp_path, monkeypatch):
    from lib.evaluation import look, reconstruction
    from lib.inference import reconstruct
    from lib.models.varnet import center_lines

    ours, theirs = networks
    slices, expected = KspaceSlices(wide, WIDE), []
    for file in wide:
        kspace, mask, count = _like_fastmri(file, 0)
        expected.append(theirs(kspace, mask, torch.tensor([count]) if count else None)[0])
    counts = [slices[i][2].item() for i in range(3)]
    assert counts == [29, 29, 0] and int(center_lines(slices[0][1][None]).sum()) == 28  # by the mask alone

    def same(images):
        return all((a - b).norm() < 1e-5 * b.norm() for a, b in zip(images, expected, strict=True))

    *inputs, _, _ = (torch.stack(x) for x in zip(*(slices[i] for i in range(3)), strict=True))
    assert same(ours(*inputs))  # one batch of masks of different counts
    with h5py.File(reconstruct.reconstruct(ours, slices, tmp_path / "a.h5", batch_size=3)) as result:
        assert same([torch.from_numpy(group["output"][0]) for group in result.values()])
    settings = {k: v for k, v in WIDE.items() if k != "acceleration"}
    reconstruction.compare(wide, settings, [4], {"VarNet": ours}, tmp_path / "b.h5")
    with h5py.File(tmp_path / "b.h5") as result:
        assert same([torch.from_numpy(group["VarNet"][0]) for group in result.values()])
    monkeypatch.setattr(look, "network_name", lambda *_: "VarNet")
    monkeypatch.setattr(look, "load", lambda *_: SimpleNamespace(model=ours))
    assert same([look._by_network("anywhere", slices.case(i), slices.index[i][0]) for i in range(3)])
    for fresh in (False, True):
        epoch = [KspaceSlices(wide, WIDE, fresh=fresh)[(3, i)] for i in range(3)]
        assert [x[2].item() for x in epoch] == [29, 29, 0] and all(x[2].dtype == torch.int64 for x in epoch)


@torch.no_grad()
def test_a_cascades_varnet_gets_them_too_also_where_inputs_are_flipped(wide, networks):
    from lib.models.varnet_rcan import SelfEnsemble, VarNetRCAN

    ours, _ = networks
    small = {"num_cascades": 2, "chans": 2, "pools": 2, "sens_chans": 2, "sens_pools": 2}
    rcan = {"n_feats": 4, "n_resblocks": 1, "n_resgroups": 1, "reduction": 2}
    model = VarNetRCAN(small, rcan, use_grappa=False, residual=True).eval()
    model.varnet.load_state_dict(ours.state_dict())
    kspace, mask, beside, count, *_ = (x[None] for x in KspaceSlices(wide, WIDE, "cascade")[0])
    assert torch.equal(model(kspace, mask, beside, count), ours(kspace, mask, count))
    assert torch.equal(
        SelfEnsemble(model, ["identity"], "kspace")(kspace, mask, beside, count), ours(kspace, mask, count)
    )
    seen = []
    model.varnet.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[1:]))
    even = torch.zeros(1, 1, 1, 40, dtype=torch.bool)
    even[..., 16:24] = True  # 8 lines at (40 − 8 + 1) // 2
    for turn, expected in (("identity", 8), ("flip_h", 8), ("flip_w", 7), ("turn_180", 7)):
        SelfEnsemble(model, [turn], "kspace")(torch.ones(1, 2, 24, 40) * even + 0j, even, torch.ones(1, 24, 40), 8)
        mask, count = seen.pop()
        start = (40 - count + 1) // 2
        assert count == expected and mask[..., start : start + count].all()


def test_a_varnets_items_hold_no_image_that_it_does_not_get(wide, monkeypatch):
    def refuse(*_):
        raise AssertionError("an image was made that nobody reads")

    with_images = KspaceSlices(wide, WIDE, "image")[0]
    monkeypatch.setattr("lib.data.fastmri.ifft2c", refuse)
    assert len(KspaceSlices(wide, WIDE)[0]) == 5 and len(with_images) == 5
    assert len(KspaceSlices(wide, WIDE, augmentation={"flip": 1.0})[0]) == 5
    with pytest.raises(AssertionError, match="nobody reads"):
        KspaceSlices(wide, WIDE, "image")[0]
