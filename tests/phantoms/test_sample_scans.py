"""Simulated k-space from the sample scans: what is written, what it stands for, and who is in which split."""

import h5py
import numpy as np
import pytest
import torch
from refusals import refused

from lib.data.fastmri_file import kspace_file
from lib.data.index import fingerprint
from lib.kspace import ifft2c, rss
from lib.phantoms import labeled_scans, sample_scans


def test_checksums_cover_every_scan_and_hold():
    listed = {line.split()[1] for line in (sample_scans.FOLDER / "SHA256SUMS").read_text().splitlines()}
    folder = sample_scans.FOLDER
    there = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    there -= {"README.md", "LICENSES.md", "SHA256SUMS"}
    assert listed == there
    for line in (sample_scans.FOLDER / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split()
        assert fingerprint(sample_scans.FOLDER / name) == digest


def test_unknown_scan_is_refused():
    with refused(found="no such sample scan"):
        sample_scans.scan("brain_z")


def test_place_pads_and_crops_about_the_center():
    volume = np.zeros((1, 6, 6), np.float32)
    volume[0, 3, 3] = 1  # the center pixel, index size // 2
    placed = sample_scans.place(sample_scans.Scan(volume, (1.0, 1.0, 1.0)), (10.0, 4.0))
    assert placed.volume.shape == (1, 10, 4)
    assert np.argwhere(placed.volume[0]).tolist() == [[5, 2]]


def test_band_limit_keeps_what_fits_and_never_upsamples():
    y, x = torch.meshgrid(torch.arange(32) - 16, torch.arange(32) - 16, indexing="ij")
    smooth = torch.exp(-(y**2 + x**2) / 40.0)
    coarse = sample_scans.band_limit(smooth, torch.zeros(32, 32), (16, 16))
    assert torch.allclose(coarse.real, smooth[::2, ::2], atol=1e-3) and coarse.imag.abs().max() < 1e-3
    with pytest.raises(ValueError, match="does not fit"):
        sample_scans.band_limit(smooth, torch.zeros(32, 32), (64, 16))


def test_change_contrast_inverts_tissue_but_not_air():
    volume = np.array([[[0.0, 0.01, 0.3, 0.6, 1.0]]], np.float32)
    inverted = sample_scans.change_contrast(volume, 1.0, invert=True)[0, 0]
    assert inverted[0] == 0 and inverted[1] == 0
    assert inverted[2] > inverted[3] > inverted[4] > 0


def test_plan_splits_by_person_and_keeps_the_slab_apart():
    jobs = sample_scans.plan(acquisitions=3)
    train = {s for j in jobs if j.split == "train" for s in j.slices}
    slab = {s for j in jobs if j.split == "val" for s in j.slices}
    assert min(slab) - max(train) > 10  # slices of 1 mm: 10 mm lie between
    assert {j.person for j in jobs if j.split != "test"} == {"brain_a"}
    assert {j.person for j in jobs if j.split == "test"} == {"brain_b", "brain_c", "tumour_a", "tumour_b"}
    assert len({j.seed for j in jobs}) == len(jobs)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    job = sample_scans.plan()[-2]._replace(slices=range(6, 9))  # tumour_a
    sample_scans.write(folder / "test" / "tumour_a.h5", job, (48, 40), 4, snr=20.0, voxel=4.0)
    sample_scans.write_index(folder, [job], snr=20.0)
    return folder


def test_written_file_is_fastmris_layout(written):
    file = kspace_file(written / "test" / "tumour_a.h5", values=True)
    assert (file.slices, file.coils, file.shape, file.padding) == (3, 4, (48, 40), (0, 0))
    assert file.spacing == (6.5, 4.0, 4.0)  # slices 6.5 mm apart (data/samples/README.md), pixels of 4 mm
    assert file.target == "reconstruction_rss" and file.person == "tumour_a" and not file.mask
    with h5py.File(file.path) as data:
        assert file.maximum == pytest.approx(float(data["reconstruction_rss"][:].max()))
        image = rss(ifft2c(torch.from_numpy(data["kspace"][1])))
        assert np.allclose(image, data["reconstruction_rss"][1], atol=1e-5)
        maps = torch.from_numpy(data["sensitivity_maps"][1])
        combined = (ifft2c(torch.from_numpy(data["kspace"][1])) * maps.conj()).sum(0).abs()
        noise = (combined - torch.from_numpy(data["noise_free"][1]))[:4].std()  # air, where noise alone stands
        assert 0 < noise < 0.1
    assert not list(written.rglob("*.partial"))


def test_fastmri_reads_the_header(written):
    import xml.etree.ElementTree as etree

    from fastmri.data.mri_data import et_query

    with h5py.File(written / "test" / "tumour_a.h5") as data:
        root = etree.fromstring(data["ismrmrd_header"][()])
    assert int(et_query(root, ["encoding", "encodedSpace", "matrixSize", "y"])) == 40
    limits = ["encoding", "encodingLimits", "kspace_encoding_step_1"]
    assert int(et_query(root, [*limits, "center"])) == 20 and int(et_query(root, [*limits, "maximum"])) == 39


def test_an_oversampled_readout_holds_the_samples_of_the_plain_one_at_every_second_place():
    job = sample_scans.plan()[-1]._replace(slices=range(6, 7))
    (plain, image, maps), (fine, same, padded) = (
        next(iter(sample_scans.acquire(job, (48, 40), 3, 1e9, 4.0, oversampling))) for oversampling in (1, 2)
    )
    torch.testing.assert_close(fine[:, ::2] * 2**0.5, plain, rtol=1e-5, atol=1e-5)
    assert torch.equal(image, same) and torch.equal(padded[:, 24:72], maps) and not padded[:, :24].any()


def test_beyond_the_field_of_view_an_oversampled_readout_records_noise():
    job = sample_scans.plan()[-1]._replace(slices=range(6, 7))
    images = ifft2c(next(iter(sample_scans.acquire(job, (48, 40), 3, 20.0, 4.0, 2)))[0])
    assert images[:, :24].std().item() == pytest.approx(images[:, 72:].std().item(), rel=0.1)
    assert images[:, 24:72].std() > 3 * images[:, :24].std() > 0


def test_an_oversampled_file_is_fastmris_whose_target_is_the_middle(tmp_path):
    job = sample_scans.plan()[-2]._replace(slices=range(6, 8))
    sample_scans.write(tmp_path / "a.h5", job, (48, 40), 3, 20.0, 4.0, oversampling=2)
    file = kspace_file(tmp_path / "a.h5", values=True)
    assert (file.shape, file.target_shape, file.spacing, file.padding) == ((96, 40), (48, 40), (6.5, 4.0, 4.0), (0, 0))
    with h5py.File(file.path) as data:
        image = rss(ifft2c(torch.from_numpy(data["kspace"][1])))
        assert np.allclose(image[24:72], data["reconstruction_rss"][1], atol=1e-5)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("shape", (48,), "each at least 8"), ("shape", (48, 7), "each at least 8"), ("voxel", 0.5, "at least 1 mm"),
        ("num_coils", 0, "at least 1"), ("oversampling", 0, "at least 1"), ("oversampling", -1, "at least 1"),
        ("snr", 0.0, "above 0"), ("snr", float("nan"), "above 0"), ("acquisitions", 0, "at least 1"), ("every", -2, "at least 1"),
    ],
)  # fmt: skip
def test_what_nothing_can_be_simulated_with_is_refused_before_anything_is_written(tmp_path, name, value, expected):
    settings = {"shape": (48, 40), "voxel": 4.0, "num_coils": 3, "snr": 20.0} | {name: value}
    with refused(where=f"^{name}$", found="^got ", expected=expected):
        sample_scans.check_simulation(**settings)
    if name not in ("acquisitions", "every"):
        with refused(where=f"^{name}$", found="^got ", expected=expected):
            sample_scans.write(tmp_path / "new" / "a.h5", sample_scans.plan()[-1], **settings)
    assert not any(tmp_path.iterdir())


def test_lesion_lies_where_the_scan_has_it():
    lesion = sample_scans.lesion("tumour_a", (112, 96))
    assert lesion.shape == (15, 112, 96)
    assert 5 <= lesion.any((1, 2)).sum() <= 7  # the mask is on 7 slices; specks may vanish on the coarse grid
    full = sample_scans.scan("tumour_a_mask").volume > 0
    area = full.sum() * 0.78125**2 / 4  # in pixels of 2 mm
    assert lesion.sum() == pytest.approx(area, rel=0.15)


def test_slabs_of_one_person_keep_their_distance():
    parts = labeled_scans.slabs(76, 1.0, 8, ("val", "test"), 38)
    assert [len(parts[s]) for s in ("val", "test")] == [8, 8] and min(parts["test"]) - max(parts["val"]) == 11
    held = parts["val"] + parts["test"]
    assert min(abs(t - h) for t in parts["train"] for h in held) == 11  # more than 10 mm
    assert 22 <= len(parts["train"]) < 40 and parts["train"][0] == 0 and parts["train"][-1] == 75


@pytest.mark.parametrize(("name", "classes"), [("brain_a", 3), ("abdomen_a", 4), ("abdomen_b", 3)])
def test_labeled_slices_have_their_scans_classes(name, classes):
    image, label = labeled_scans.resampled(name, 3.0, (128, 128))
    assert image.shape == label.shape and image.shape[1:] == (128, 128) and image.min() >= 0
    assert set(np.unique(label)) == set(range(classes))
    inside = label > 0
    assert image[inside].mean() > 1.5 * image.mean()  # the label lies on the body, not beside it
