"""Images written for other programs: NIfTI, and a derived DICOM series that says what it is not for."""

import gzip
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np

from lib.data.formats.record import LPS_TO_RAS, PERSON
from lib.files import replacing, write

WARNING = "not for diagnostic use"
STEPS = 4095  # of stored DICOM values


def affine_of(spacing: Sequence[float] | None) -> np.ndarray:
    """An affine of (slice, row, column, 1) where none is known: axial, feet up, the front on top, the right on the left."""
    slices, rows, columns = spacing or (1.0, 1.0, 1.0)
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = slices, -rows, -columns, 1
    return affine


def write_nifti(
    path: Path, volume: np.ndarray, affine: np.ndarray | None, spacing: Sequence[float] | None = None
) -> Path:
    """Write a volume as .nii or .nii.gz, columns first and rows from the bottom up, as dcm2niix does.

    Parameters
    ----------
    path : of the new file
    volume : (S, H, W), real
    affine : of (slice, row, column, 1) to mm (right, front, head); None: not known, and its header says so
    spacing : (slice, row, column) in mm, where there is no affine
    """
    turn = np.array([[0, 0, 1, 0], [0, -1, 0, volume.shape[1] - 1], [1, 0, 0, 0], [0, 0, 0, 1.0]])
    values = np.ascontiguousarray(volume.transpose(2, 1, 0)[:, ::-1])
    image = nibabel.Nifti1Image(values, None if affine is None else np.asarray(affine, float) @ turn)
    image.header.set_xyzt_units("mm")
    if affine is None:
        image.header.set_zooms([float(size) for size in reversed(tuple(spacing or (1, 1, 1)))])
    content = image.to_bytes()
    write(path, gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
    return path


def write_dicom(
    folder: Path,
    volume: np.ndarray,
    affine: np.ndarray | None,
    spacing: Sequence[float] | None = None,
    description: str = "",
) -> Path:
    """Write a volume as a series of its own, a file a slice, uncompressed, with new identifiers and a pseudonym.

    Parameters
    ----------
    folder : of the new files
    volume : (S, H, W), real
    affine : of (slice, row, column, 1) to mm (right, front, head), its axes at right angles; None: `affine_of` the spacing
    spacing : (slice, row, column) in mm, where there is no affine
    description : of the series; WARNING is added
    """
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

    lps = LPS_TO_RAS @ (affine_of(spacing) if affine is None else np.asarray(affine, float))
    sizes = np.linalg.norm(lps[:3, :3], axis=0)
    low, high = float(volume.min()), float(volume.max())
    slope = (high - low) / STEPS or 1.0
    study, series = generate_uid(), generate_uid()
    for s, image in enumerate(volume):
        one = Dataset()
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID = MRImageStorage
        one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID = generate_uid()
        one.StudyInstanceUID, one.SeriesInstanceUID, one.Modality = study, series, "MR"
        one.ImageType, one.SeriesNumber, one.InstanceNumber = ["DERIVED", "SECONDARY"], 1, s + 1
        one.PatientName = one.PatientID = PERSON
        one.SeriesDescription, one.ImageComments = f"{description}, {WARNING}"[:64], WARNING
        one.Rows, one.Columns, one.SamplesPerPixel, one.PhotometricInterpretation = *image.shape, 1, "MONOCHROME2"
        one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 12, 11, 0
        one.ImagePositionPatient = [f"{v:.9g}" for v in lps[:3, 3] + s * lps[:3, 0]]
        one.ImageOrientationPatient = [f"{v:.9g}" for v in (*(lps[:3, 2] / sizes[2]), *(lps[:3, 1] / sizes[1]))]
        one.PixelSpacing, one.SliceThickness = [f"{v:.9g}" for v in sizes[1:]], f"{sizes[0]:.9g}"
        one.RescaleSlope, one.RescaleIntercept = f"{slope:.9g}", f"{low:.9g}"
        one.PixelData = np.rint((image - low) / slope).astype("<u2").tobytes()
        with replacing(folder / f"slice_{s + 1:04d}.dcm") as made:
            one.save_as(made, enforce_file_format=True)
    return folder
