"""NIfTI and DICOM that other programs read as they were meant."""

import subprocess

import dcm2niix
import nibabel
import numpy as np
import pydicom
import pytest
import written

from lib.data.formats.export import WARNING, write_dicom, write_nifti
from lib.data.formats.opening import open

FLOATS = written.VOLUME * 0.37 - 20.0


@pytest.mark.parametrize("write", [written.dicom_folder, lambda p: write_dicom(p, written.VOLUME, written.AFFINE)])
def test_a_niftis_affine_is_dcm2niixs(tmp_path, write):
    """Of DICOM files made by pydicom, and of our own."""
    folder = write(tmp_path / "series")
    command = [dcm2niix.bin, "-f", "theirs", "-o", str(tmp_path), str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    theirs = nibabel.load(tmp_path / "theirs.nii")
    scan = open(folder)
    volume = np.stack([scan.slice(s) for s in range(len(written.VOLUME))])
    ours = nibabel.load(write_nifti(tmp_path / "ours.nii.gz", volume, scan.affine))
    np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-4)
    np.testing.assert_allclose(np.asarray(ours.dataobj), np.asarray(theirs.dataobj), atol=0.2)


def test_a_series_is_derived_anonymous_and_says_what_it_is_not_for(tmp_path):
    folder = write_dicom(tmp_path / "series", FLOATS, written.AFFINE, description="scan GRAPPA")
    heads = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
    assert len({head.SOPInstanceUID for head in heads}) == 3 and len({head.SeriesInstanceUID for head in heads}) == 1
    first = heads[0]
    assert list(first.ImageType)[:2] == ["DERIVED", "SECONDARY"] and not first.file_meta.TransferSyntaxUID.is_compressed
    assert first.SeriesDescription == f"scan GRAPPA, {WARNING}" and first.ImageComments == WARNING
    assert str(first.PatientName) == first.PatientID == "person_001" and "PatientBirthDate" not in first
    back = open(folder)
    np.testing.assert_allclose(back.affine, written.AFFINE, atol=1e-6)
    found = np.stack([back.slice(s) for s in range(3)])
    assert abs(found - FLOATS).max() <= np.ptp(FLOATS) / 4095 * 0.51


def test_without_a_place_the_header_says_so(tmp_path):
    image = nibabel.load(write_nifti(tmp_path / "a.nii", FLOATS, None, (3.0, 1.5, 1.25)))
    assert image.header["sform_code"] == image.header["qform_code"] == 0
    assert image.header.get_zooms() == (1.25, 1.5, 3.0)
    scan = open(tmp_path / "a.nii")
    assert scan.affine is None and scan.spacing == pytest.approx((3.0, 1.5, 1.25))
    np.testing.assert_allclose(np.stack([scan.slice(s) for s in range(3)]), FLOATS)
