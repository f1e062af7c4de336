"""One small scan written in every format, by the formats' own libraries: `KSPACE` and `IMAGES` are the tables of writers."""

import struct

import h5py
import ismrmrd
import nibabel
import nrrd
import numpy as np
import tifffile
import torch
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, RLELossless, generate_uid
from scipy.io import savemat
from skimage.data import shepp_logan_phantom
from skimage.transform import resize

from lib.data.header import header_of
from lib.kspace import fft2c, fftc, ifftc

SLICES, COILS, ROWS, COLUMNS = 3, 4, 40, 32
SPACING = (3.0, 1.5, 1.25)
PERSON = "Quillfeather"


def kspace(seed=0):
    """complex64 (slices, coils, rows, columns) of a head in coils, whose energy lies in the middle."""
    rng = np.random.default_rng(seed)
    head = resize(shepp_logan_phantom(), (ROWS, COLUMNS), anti_aliasing=True)
    y, x = np.mgrid[-1 : 1 : ROWS * 1j, -1 : 1 : COLUMNS * 1j]
    places = rng.uniform(-1, 1, (COILS, 2))
    maps = np.stack([np.exp(-((y - a) ** 2) - (x - b) ** 2 + 1j * (a * y + b * x)) for a, b in places])
    images = np.stack([head * (1 - 0.2 * s) for s in range(SLICES)])[:, None] * maps
    return fft2c(torch.from_numpy(images.astype(np.complex64))).numpy()


K = kspace()
VOLUME = np.random.default_rng(1).integers(0, 900, (SLICES, ROWS, COLUMNS)).astype(np.int16)


def oversampled(lines):
    """Twice as many samples along the readout (axis −2), about an image that is as large: what a scanner records."""
    image = ifftc(torch.from_numpy(np.ascontiguousarray(lines)), (-2,))
    half = lines.shape[-2] // 2
    return fftc(torch.nn.functional.pad(image, (0, 0, half, lines.shape[-2] - half)), (-2,)).numpy()


def mrd_header(oversampling=2, partitions=1, trajectory="cartesian"):
    text = header_of((ROWS, COLUMNS), SPACING, COILS).decode()
    about = ismrmrd.xsd.CreateFromDocument(text)
    encoding = about.encoding[0]
    encoding.trajectory = ismrmrd.xsd.trajectoryType(trajectory)
    encoding.encodedSpace.matrixSize.x, encoding.encodedSpace.matrixSize.z = ROWS * oversampling, partitions
    encoding.reconSpace.matrixSize.x, encoding.reconSpace.matrixSize.z = ROWS, partitions
    field = ismrmrd.xsd.fieldOfViewMm(
        x=ROWS * SPACING[1] * oversampling, y=COLUMNS * SPACING[2], z=SPACING[0] * partitions
    )
    encoding.encodedSpace.fieldOfView_mm = field
    encoding.reconSpace.fieldOfView_mm = ismrmrd.xsd.fieldOfViewMm(x=ROWS * SPACING[1], y=field.y, z=field.z)
    about.subjectInformation = ismrmrd.xsd.subjectInformationType(patientName=PERSON, patientID=f"{PERSON}1")
    return ismrmrd.xsd.ToXML(about)


def acquisition(values, flags=(), **at):
    """values: (coils, samples)"""
    one = ismrmrd.Acquisition.from_array(np.ascontiguousarray(values, np.complex64))
    one.center_sample, one.sample_time_us = values.shape[1] // 2, 5.0
    for name, number in at.items():
        setattr(one.idx, name, number)
    for flag in flags:
        one.set_flag(getattr(ismrmrd, f"ACQ_{flag}"))
    return one


def mrd(path, acquisitions, text=None):
    with ismrmrd.Dataset(path, "dataset", create_if_needed=True) as file:
        file.write_xml_header(text or mrd_header())
        for one in acquisitions:
            file.append_acquisition(one)
    return path


def mrd_lines(volume=None, columns=range(COLUMNS), **more):
    lines = oversampled(K if volume is None else volume)
    return [
        acquisition(lines[s, :, :, i], slice=s, kspace_encode_step_1=i, **more)
        for s in range(len(lines))
        for i in columns
    ]


def mrd_shuffled(path):
    lines = mrd_lines()
    return mrd(path, [lines[i] for i in np.random.default_rng(2).permutation(len(lines))])


def mrd_averages(path):
    noise = np.random.default_rng(3).normal(size=K.shape) * abs(K).max() / 100
    return mrd(path, mrd_lines((K + noise).astype("c8"), average=0) + mrd_lines((K - noise).astype("c8"), average=1))


def mrd_partitions(path):
    lines = fftc(torch.from_numpy(oversampled(K)), (0,)).numpy()
    return mrd(path, [
        acquisition(lines[p, :, :, i], kspace_encode_step_2=p, kspace_encode_step_1=i)
        for p in range(SLICES) for i in range(COLUMNS)
    ], mrd_header(2, SLICES))  # fmt: skip


def mrd_navigators(path):
    junk = [acquisition(np.ones((COILS, 2 * ROWS)), [flag]) for flag in ("IS_NAVIGATION_DATA", "IS_PHASECORR_DATA")]
    return mrd(path, [*junk, *mrd_lines()])


def fastmri(path):
    with h5py.File(path, "w") as file:
        file["kspace"] = K
        file["ismrmrd_header"] = mrd_header(1)
        file.attrs["patient_id"] = PERSON
    return path


def compound(path):
    records = np.empty(K.shape, [("r", "f4"), ("i", "f4")])
    records["r"], records["i"] = K.real, K.imag
    with h5py.File(path, "w") as file:
        file["measured"] = records
    return path


def separate(path):
    with h5py.File(path, "w") as file:
        file["raw/kspace_real"], file["raw/kspace_imag"] = K.real, K.imag
    return path


def own_key(path):
    with h5py.File(path, "w") as file:
        file["other"], file["scan/echo"] = np.zeros((500, 500), np.complex64), K.transpose(2, 3, 1, 0)
    return path


def matlab_73(path):
    with h5py.File(path, "w", userblock_size=512) as file:
        records = np.empty(K.shape, [("real", "f8"), ("imag", "f8")])
        records["real"], records["imag"] = K.real, K.imag
        file["kspace"] = records  # (y, x, c, s) in MATLAB's order, which is the reverse
        file["about"] = np.arange(3.0)
    return path


def matlab_5(path):
    savemat(path, {"raw": K.transpose(2, 3, 1, 0), "note": PERSON, "voxel": np.array([1.0, 2.0])})
    return path


def bart(path):
    array = K.transpose(2, 3, 0, 1)  # (readout, phase encode, slice, coil)
    path.with_suffix(".hdr").write_text("# Dimensions\n" + " ".join(map(str, (*array.shape, 1, 1))) + " \n")
    array.astype(np.complex64).tofile(path) if array.flags.f_contiguous else array.flatten("F").tofile(path)
    return path


def twix(path, lines=None, flags=None, protocol=None, places=None):
    """Siemens' VD layout: a protocol, and a readout for each line; places: position and quaternion by slice."""
    from twixtools import write_twix
    from twixtools.mdb import Mdb_local
    from twixtools.mdh_def import Channel_header

    told = {
        "sKSpace.lBaseResolution": ROWS, "sKSpace.lPhaseEncodingLines": COLUMNS, "sKSpace.lPartitions": 1,
        "sKSpace.ucTrajectory": 1, "sSliceArray.asSlice[0].dThickness": SPACING[0],
        "sSliceArray.asSlice[0].dReadoutFOV": ROWS * SPACING[1], "sSliceArray.asSlice[0].dPhaseFOV": COLUMNS * SPACING[2],
        "tPatientName": f'"{PERSON}"',
    } | (protocol or {})  # fmt: skip
    text = "\n".join(
        ["### ASCCONV BEGIN ###", *(f"{k} = {v}" for k, v in told.items()), "### ASCCONV END ###\n"]
    ).encode()
    body = b"MeasYaps\0" + struct.pack("<I", len(text)) + text
    head = struct.pack("<II", 8 + len(body), 1) + body
    head += b"\0" * (-len(head) % 32)
    head = struct.pack("<I", len(head)) + head[4:]
    readouts = []
    for s, i, values in lines or [(s, i, oversampled(K)[s, :, :, i]) for s in range(SLICES) for i in range(COLUMNS)]:
        one = Mdb_local(np.ascontiguousarray(values))
        one.channel_hdr = [Channel_header() for _ in values]
        counter = one.mdh.Counter
        counter.Lin, counter.Sli = i, s
        one.mdh.CenterCol, one.mdh.CenterLin = values.shape[1] // 2, COLUMNS // 2
        position, one.mdh.SliceData.Quaternion[:] = (places or {}).get(s, ((0, 0, 0), (0, 0, 0, 0)))
        at = one.mdh.SliceData.SlicePos
        at.Sag, at.Cor, at.Tra = position
        for flag in (flags or {}).get((s, i), ()):
            one.set_flag(flag, True)
        readouts.append(one)
    write_twix({"hdr_str": np.frombuffer(head, np.uint8), "mdb": readouts}, str(path))
    return path


def saved(array):
    def write(path):
        np.save(path, array)
        return path

    return write


def zipped(path):
    np.savez_compressed(path, kspace=K, trajectory=np.zeros((2, 2)))
    return path


KSPACE = {  # name → (ending, writer, settings of open)
    "fastMRI": (".h5", fastmri, {}),
    "ISMRMRD": (".h5", lambda path: mrd(path, mrd_lines()), {}),
    "ISMRMRD, .mrd, shuffled": (".mrd", mrd_shuffled, {}),
    "ISMRMRD, averages": (".h5", mrd_averages, {}),
    "ISMRMRD, 3-D": (".h5", mrd_partitions, {}),
    "ISMRMRD, navigators": (".h5", mrd_navigators, {}),
    "Siemens": (".dat", twix, {}),
    "BART": (".cfl", bart, {"axes": "y x s c"}),
    "BART by its header": (
        ".hdr",
        lambda path: bart(path.with_suffix(".cfl")).with_suffix(".hdr"),
        {"axes": "y x s c"},
    ),
    "npy": (".npy", saved(K), {}),
    "npy, coils last": (".npy", saved(np.ascontiguousarray(K.transpose(0, 2, 3, 1))), {"axes": "s y x c"}),
    "npy, real and imaginary": (".npy", saved(np.stack([K.real, K.imag], -1)), {}),
    "npz": (".npz", zipped, {}),
    "MATLAB 5": (".mat", matlab_5, {}),
    "MATLAB 7.3": (".mat", matlab_73, {}),
    "HDF5, records": (".h5", compound, {}),
    "HDF5, two arrays": (".h5", separate, {}),
    "HDF5, a key": (".h5", own_key, {"key": "scan/echo", "axes": "y x c s"}),
}

TILT = np.array([[1, 0, 0], [0, np.cos(0.2), -np.sin(0.2)], [0, np.sin(0.2), np.cos(0.2)]])
AFFINE = np.eye(4)  # of (slice, row, column, 1) to mm (right, front, head): feet up, the front on top, tilted
AFFINE[:3] = np.c_[TILT @ [[0, 0, -1.25], [0, -1.5, 0], [3.0, 0, 0]], [20, 30, -40]]


def dicom_head(number=1, series=1, **more):
    about = Dataset()
    about.file_meta = FileMetaDataset()
    about.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    about.file_meta.MediaStorageSOPClassUID = about.SOPClassUID = MRImageStorage
    about.file_meta.MediaStorageSOPInstanceUID = about.SOPInstanceUID = generate_uid()
    about.StudyInstanceUID, about.SeriesInstanceUID = "1.2.3", f"1.2.3.{series}"
    about.PatientName, about.PatientID, about.PatientBirthDate = f"{PERSON}^Ada", f"{PERSON}7", "19570312"
    about.Modality, about.SeriesNumber, about.InstanceNumber = "MR", series, number
    about.RepetitionTime, about.EchoTime, about.SliceThickness = 2000, 30, SPACING[0]
    about.Rows, about.Columns, about.SamplesPerPixel, about.PhotometricInterpretation = ROWS, COLUMNS, 1, "MONOCHROME2"
    about.BitsAllocated = about.BitsStored = 16
    about.HighBit, about.PixelRepresentation = 15, 1
    for name, value in more.items():
        setattr(about, name, value)
    return about


def at(slice_index):
    """Where a slice of AFFINE lies, in DICOM's words: position, directions and spacing."""
    lps = np.diag([-1, -1, 1, 1]) @ AFFINE
    rows, columns = lps[:3, 1], lps[:3, 2]
    spacing = [np.linalg.norm(rows), np.linalg.norm(columns)]
    position = lps[:3, 3] + slice_index * lps[:3, 0]
    directions = [*(columns / spacing[1]), *(rows / spacing[0])]
    return {
        "ImagePositionPatient": [f"{v:.9g}" for v in position], "PixelSpacing": [f"{v:.9g}" for v in spacing],
        "ImageOrientationPatient": [f"{v:.9g}" for v in directions],
    }  # fmt: skip


def dicom_folder(path, times=1, compress=False, series=1, slope=1.0):
    path.mkdir(exist_ok=True)
    for t in range(times):
        for s in np.random.default_rng(0).permutation(SLICES):
            one = dicom_head(1 + t * SLICES + int(s), series, TriggerTime=40 * t, **at(s))
            if slope != 1:
                one.RescaleSlope, one.RescaleIntercept = slope, 10
            one.PixelData = (VOLUME[s] + t).astype("<i2").tobytes()
            if compress:
                one.compress(RLELossless)
            one.save_as(path / f"i{series}_{s * 7 % 5}{s}_{t}", enforce_file_format=True)
    (path / "readme").write_text("no image")
    return path


def dicom_enhanced(path):
    one = dicom_head(NumberOfFrames=SLICES)
    one.PerFrameFunctionalGroupsSequence = []
    for s in range(SLICES):
        place, group = at(s), Dataset()
        for sequence, tags in (("PlanePositionSequence", ["ImagePositionPatient"]), ("PlaneOrientationSequence", ["ImageOrientationPatient"]),
                               ("PixelMeasuresSequence", ["PixelSpacing"])):  # fmt: skip
            item = Dataset()
            for tag in tags:
                setattr(item, tag, place[tag])
            setattr(group, sequence, [item])
        one.PerFrameFunctionalGroupsSequence.append(group)
    one.PixelData = VOLUME.astype("<i2").tobytes()
    one.save_as(path, enforce_file_format=True)
    return path


def dicom_one(path):
    one = dicom_head(**at(0))
    one.PixelData = VOLUME[0].astype("<i2").tobytes()
    one.save_as(path, enforce_file_format=True)
    return path


def nifti(path):
    nibabel.save(nibabel.Nifti1Image(VOLUME.transpose(2, 1, 0)[::-1, ::-1], np.diag([1.25, 1.5, 3.0, 1])), path)
    return path


def nrrd_file(path):
    lps = np.diag([-1, -1, 1, 1]) @ AFFINE
    about = {"space": "left-posterior-superior", "space directions": lps[:3, :3].T[::-1], "space origin": lps[:3, 3]}
    nrrd.write(str(path), np.ascontiguousarray(VOLUME.transpose(2, 1, 0)), about)
    return path


def stack(path, ending=".tif"):
    path.mkdir()
    for s in range(SLICES):
        if ending == ".png":
            Image.fromarray(VOLUME[s].astype(np.uint16)).save(path / f"slice_{s:03d}.png")
        else:
            tifffile.imwrite(path / f"slice_{s:03d}.tif", VOLUME[s])
    return path


def pages(path):
    tifffile.imwrite(path, VOLUME, photometric="minisblack")
    return path


def matlab_image(path):
    savemat(path, {"image": VOLUME.astype(float)})
    return path


IMAGES = {  # name → (ending, writer, settings of open)
    "NIfTI": (".nii", nifti, {}),
    "NIfTI, gzipped": (".nii.gz", nifti, {}),
    "NRRD": (".nrrd", nrrd_file, {}),
    "DICOM folder": ("", dicom_folder, {}),
    "DICOM folder, RLE": ("", lambda path: dicom_folder(path, compress=True), {}),
    "DICOM enhanced": (".dcm", dicom_enhanced, {}),
    "TIFF stack": ("", stack, {}),
    "PNG stack": ("", lambda path: stack(path, ".png"), {}),
    "TIFF pages": (".tif", pages, {}),
    "npy image": (".npy", saved(VOLUME), {}),
    "MATLAB image": (".mat", matlab_image, {}),
}
