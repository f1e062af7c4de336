"""A scan of one's own, of whatever format, by every method."""

import numpy as np
import pytest
import torch
import written
from refusals import refused

from lib import models
from lib.evaluation.baselines import BASELINES
from lib.inference import own_scans
from lib.kspace import center_crop, ifft2c, rss

MASK = {"kind": "equispaced", "acceleration": 2, "num_low_frequencies": 12}


def test_a_folder_of_many_formats_is_read_and_what_cant_be_is_told(tmp_path, capsys):
    for name in ("ISMRMRD", "Siemens", "BART", "npz", "NRRD"):
        ending, write, _ = (written.KSPACE | written.IMAGES)[name]
        write(tmp_path / f"{name.lower()}{ending}")
    (tmp_path / "broken.npy").write_bytes(b"x")
    found = own_scans.scans(tmp_path)
    assert sorted(found) == ["bart", "ismrmrd", "npz", "nrrd", "siemens"]
    said = capsys.readouterr().out
    assert "left out: " in said and "broken.npy" in said and "Siemens · 3 slices" in said
    with refused(found="none of its 2 files"):
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "b.npy").write_bytes(b"x")
        (tmp_path / "other" / "c.npy").write_bytes(b"x")
        own_scans.scans(tmp_path / "other")


@pytest.mark.parametrize("name", ["Siemens", "ISMRMRD, 3-D"])
def test_every_method_gets_the_same_lines(tmp_path, name):
    ending, write, settings = written.KSPACE[name]
    (scan,) = own_scans.scans(write(tmp_path / f"scan{ending}"), **settings).values()
    torch.manual_seed(0)
    network = models.build("VarNet", num_cascades=1, chans=2, pools=2, sens_chans=2, sens_pools=2).eval()
    images = own_scans.reconstruct(
        scan, tmp_path / "set" / "a.h5", MASK, {"GRAPPA": BASELINES["GRAPPA"]}, {"VarNet": network}
    )
    assert list(images) == ["zero-filled", "GRAPPA", "VarNet", "truth"]
    truth = rss(ifft2c(torch.from_numpy(written.K)))
    np.testing.assert_allclose(images["truth"], truth, atol=1e-5 * truth.max())
    assert all(image.shape == (3, 40, 32) for image in images.values())
    errors = {method: float(np.square(images[method] - images["truth"]).mean()) for method in ("GRAPPA", "zero-filled")}
    assert errors["GRAPPA"] < 0.1 * errors["zero-filled"]


def test_points_say_which_methods_they_need_and_have_no_truth(tmp_path):
    points = np.random.default_rng(0).random((40, 32)) < 0.5
    points[14:26, 10:22] = True
    path = written.saved(written.K * points)(tmp_path / "a.npy")
    (scan,) = own_scans.scans(path, kind="kspace").values()
    methods = {name: BASELINES[name] for name in ("GRAPPA", "TV-SENSE")}
    images = own_scans.reconstruct(scan.middle(), tmp_path / "set" / "a.h5", MASK, methods, {})
    assert "truth" not in images and "whole columns" in images["GRAPPA"] and images["TV-SENSE"].shape == (1, 40, 32)


def test_images_are_what_they_are(tmp_path):
    (scan,) = own_scans.scans(written.dicom_folder(tmp_path / "series")).values()
    images = own_scans.reconstruct(scan, tmp_path / "set" / "a.h5", MASK, {}, {})
    assert np.array_equal(images["image"], written.VOLUME) and not (tmp_path / "set").exists()
    assert center_crop(torch.from_numpy(images["image"]), (8, 8)).shape == (3, 8, 8)


def test_scans_of_one_name_are_told_apart_by_their_folders(tmp_path):
    for n in range(3):
        (tmp_path / f"sub-{n}" / "kspace").mkdir(parents=True)
        written.fastmri(tmp_path / f"sub-{n}" / "kspace" / "scan.h5")
    found = own_scans.scans(tmp_path)
    assert list(found) == ["scan", "kspace_scan", "sub-2_kspace_scan"]
    assert [scan.path.parent.parent.name for scan in found.values()] == ["sub-0", "sub-1", "sub-2"]


def test_a_scan_is_never_written_over_itself(tmp_path):
    path = written.fastmri(tmp_path / "a.h5")
    path = tmp_path / "a.h5"
    before = path.read_bytes()
    (scan,) = own_scans.scans(path).values()
    with refused(where="a.h5", found="the file that is read"):
        own_scans.reconstruct(scan, path, MASK, {}, {})
    assert path.read_bytes() == before
