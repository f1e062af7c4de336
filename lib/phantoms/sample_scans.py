"""The committed sample scans, and fastMRI-style k-space simulated from them.

What is real: the anatomy, contrast and artifacts of each scan. What is simulated: coils, object phase and noise.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import h5py
import nibabel
import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from lib import ROOT, InputError
from lib.data.header import header_of
from lib.data.index import write_set
from lib.files import checksum, replacing
from lib.kspace import center_crop, coils, fft2c, ifft2c

FOLDER = ROOT / "data" / "samples"


class Scan(NamedTuple):
    """A volume (slices, H, W), rows from anterior to posterior, and its spacing in mm along the same axes."""

    volume: np.ndarray
    spacing: tuple[float, float, float]


def scan_file(name: str) -> Path:
    """The file of a sample scan by its path in the folder without ending; its checksum is verified."""
    path = FOLDER / f"{name}.nii.gz"
    sums = dict(line.split()[::-1] for line in (FOLDER / "SHA256SUMS").read_text().splitlines())
    if f"{name}.nii.gz" not in sums or not path.exists():
        raise InputError(path, f"no such sample scan; there are {', '.join(sorted(sums))}")
    digest, listed = checksum(path), sums[f"{name}.nii.gz"]
    if digest != listed:
        raise InputError(path, f"checksum {digest[:12]}… is not the {listed[:12]}… of SHA256SUMS: fetch it again")
    return path


def scan(name: str) -> Scan:
    """A sample scan by its file name without ending, float32; hearts: see `lib.phantoms.real_hearts`."""
    image = nibabel.load(scan_file(name))
    volume, spacing = np.asarray(image.dataobj, dtype=np.float32), [float(v) for v in image.header.get_zooms()]
    volume = volume.transpose(2, 1, 0)[:, ::-1]
    x, y, z = spacing
    return Scan(np.ascontiguousarray(volume), (z, y, x))


def place(scan: Scan, field_of_view: tuple[float, float]) -> Scan:
    """The scan padded with zeros or cropped about its center to field_of_view (mm along H, W); even sizes."""
    volume = scan.volume
    for axis, extent in ((1, field_of_view[0]), (2, field_of_view[1])):
        size, wanted = volume.shape[axis], 2 * round(extent / scan.spacing[axis] / 2)
        before, after = wanted // 2 - size // 2, (wanted - wanted // 2) - (size - size // 2)
        widths = [(0, 0)] * 3
        widths[axis] = (max(before, 0), max(after, 0))
        volume = np.pad(volume, widths)
        start = max(-before, 0)
        volume = np.take(volume, range(start, start + wanted), axis=axis)
    return Scan(volume, scan.spacing)


def vary(image: np.ndarray, angle: float, shift: tuple[float, float], scale: float) -> np.ndarray:
    """One slice in another pose, by cubic splines.

    Parameters
    ----------
    image : (H, W)
    angle : degrees
    shift : (rows, columns) in pixels
    scale : above 1 enlarges
    """
    turn = np.deg2rad(angle)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) / scale
    middle = np.array(image.shape) // 2
    moved = ndimage.affine_transform(image, matrix, middle - matrix @ (middle + np.array(shift)), order=3)
    return moved.clip(0, None)


def change_contrast(volume: np.ndarray, gamma: float, invert: bool) -> np.ndarray:
    """Intensities 0…1 (by the volume's 99.8th percentile) to the power gamma; inverted: bright becomes dark.

    Inversion acts on what is not background (above .08), smoothly faded, so air stays dark.
    """
    x = np.clip(volume / np.percentile(volume, 99.8), 0, 1.5)
    if invert:
        x = (1.15 - np.clip(x, 0, 1.1)) * np.clip((x - 0.04) / 0.08, 0, 1)
    return (x**gamma).astype(np.float32)


def band_limit(image: Tensor, phase: Tensor, shape: tuple[int, int]) -> Tensor:
    """Complex image (H, W) of magnitude `image` and `phase`, as k-space cropped to `shape` shows it; never upsampled."""
    cropped = center_crop(fft2c(image * torch.exp(1j * phase)), shape)
    return ifft2c(cropped) * (cropped.numel() / image.numel()) ** 0.5


class Acquisition(NamedTuple):
    """How one file is simulated.

    Parameters
    ----------
    name : of the file
    scan : of the sample scan
    person : the patient_id
    split : train, val or test
    slices : of the scan
    seed : of coils, phase and noise
    gamma, invert : see `change_contrast`
    angle, shift, scale : see `vary`
    """

    name: str
    scan: str
    person: str
    split: str
    slices: range
    seed: int
    gamma: float = 1.0
    invert: bool = False
    angle: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)
    scale: float = 1.0


def plan(
    acquisitions: int = 24, every: int = 4, slab: int = 8, gap_mm: float = 10.0, seed: int = 0
) -> list[Acquisition]:
    """The sample set: brain_a trains (a slab at its top validates), four other people test.

    Those of one person share patient_id.

    Parameters
    ----------
    acquisitions : files simulated from brain_a
        Each has its own coils, phase, noise, pose and contrast (every second one inverted) and every sixth of the
        training slices.
    every : one slice in so many of brain_b
    slab : validation slices, in three contrasts
    gap_mm : between them and the training slices, at least
    seed : of all
    """
    rng = np.random.default_rng(seed)
    last = 76 - slab - int(np.ceil(gap_mm))
    files = [
        Acquisition(
            f"brain_a_{i:02d}", "brain_a_t1", "brain_a", "train", range(i % 6, last, 6), 100 * seed + i,
            gamma=float(0.5 * 5 ** rng.uniform()), invert=i % 2 == 1, angle=float(rng.uniform(-12, 12)),
            shift=(float(rng.uniform(-6, 6)), float(rng.uniform(-6, 6))), scale=float(rng.uniform(0.88, 1.08)),
        )
        for i in range(acquisitions)
    ]  # fmt: skip
    contrasts = {"slab": (1.0, False, 1), "slab_inverted": (1.0, True, 2), "slab_dark": (2.2, False, 2)}
    files += [
        Acquisition(
            f"brain_a_{n}",
            "brain_a_t1",
            "brain_a",
            "val",
            range(76 - slab, 76, step),
            100 * seed + 50 + i,
            gamma,
            invert,
        )
        for i, (n, (gamma, invert, step)) in enumerate(contrasts.items())
    ]
    others = {
        "brain_b_t1": range(0, 80, every),
        "brain_c_pd": range(11),
        "tumour_a_t1c": range(15),
        "tumour_b_t1c": range(11),
    }
    for i, (name, slices) in enumerate(others.items()):
        person = name.rsplit("_", 1)[0]
        files.append(Acquisition(person, name, person, "test", slices, 100 * seed + 60 + i))
    return files


def check_simulation(
    shape: Sequence[int], voxel: float, num_coils: int, snr: float, oversampling: int = 1, acquisitions: int = 1, every: int = 1
) -> None:  # fmt: skip
    """InputError for settings of `plan` and `acquire` that nothing can be simulated with.

    Parameters
    ----------
    shape : two sizes, of at least 8
    voxel : at least 1 mm, the coarsest scan's own
    num_coils : at least 1
    snr : above 0
    oversampling, acquisitions, every : at least 1
    """
    if len(shape) != 2 or not all(isinstance(n, int) and n >= 8 for n in shape):
        raise InputError("shape", f"got {list(shape)}", "readout and phase-encode points, each at least 8")
    if not 1 <= voxel < math.inf:
        raise InputError("voxel", f"got {voxel:g}", "at least 1 mm, which is the coarsest scan's own")
    counts = {"num_coils": num_coils, "oversampling": oversampling, "acquisitions": acquisitions, "every": every}
    for name, value in counts.items():
        if value < 1:
            raise InputError(name, f"got {value}", "at least 1")
    if not 0 < snr < math.inf:
        raise InputError("snr", f"got {snr:g}", "a number above 0")


def acquire(
    job: Acquisition, shape: tuple[int, int], num_coils: int, snr: float, voxel: float = 2.0, oversampling: int = 1
):
    """Simulate one acquisition slice by slice: yields (k-space (C, R, W), noise-free image (H, W), maps (C, R, W)).

    The scan is placed in the field of view, changed in pose and contrast, given a smooth phase, cropped in k-space,
    seen by the coils, and complex noise is added. R = H · oversampling; what is beyond the H rows is empty but for noise.

    Parameters
    ----------
    job : of `plan`
    shape : (H, W)
    num_coils : at least 1
    snr : mean foreground intensity over the standard deviation of the noise's real and imaginary part, above 0
    voxel : mm along H and W
    oversampling : of the readout: how many times the field of view along H is sampled, about its center
    """
    placed = place(scan(job.scan), (shape[0] * voxel, shape[1] * voxel))
    volume = change_contrast(placed.volume, job.gamma, job.invert)[job.slices.start : job.slices.stop : job.slices.step]
    noise_std = float(volume[volume > 0.1].mean()) / snr
    step = placed.spacing[0] * job.slices.step
    maps = coils.simulate((len(volume), *shape), num_coils, job.seed, voxel=(step, voxel, voxel))
    phase = coils.smooth_phase(volume.shape, job.seed)
    spare = shape[0] * (oversampling - 1)
    margins = (0, 0, spare // 2, spare - spare // 2)
    maps = F.pad(maps, margins)
    for s, image in enumerate(volume):
        if (job.angle, job.shift, job.scale) != (0.0, (0.0, 0.0), 1.0):
            image = vary(image, job.angle, job.shift, job.scale)
        image = band_limit(torch.from_numpy(image), phase[s], shape)
        kspace = coils.acquire(F.pad(image, margins), maps[s], noise_std, None, seed=job.seed * 1000 + s)
        yield kspace, image.abs(), maps[s]


def write(
    path: Path, job: Acquisition, shape: tuple[int, int], num_coils: int, snr: float, voxel: float = 2.0,
    oversampling: int = 1,
) -> None:  # fmt: skip
    """Write one simulated acquisition in fastMRI's layout, slice by slice.

    Beside fastMRI's `kspace`, `reconstruction_rss`, `ismrmrd_header` and attributes it holds `noise_free` (the truth
    without noise), `sensitivity_maps` and, of a scan with a tumor, `lesion`: its mask (S, H, W) bool.

    Parameters
    ----------
    path : of the file
    job, shape, num_coils, snr, voxel, oversampling : see `acquire`

    Raises
    ------
    InputError
        By `check_simulation`, before anything is written.
    """
    check_simulation(shape, voxel, num_coils, snr, oversampling)
    sampled = (shape[0] * oversampling, shape[1])
    count, size = len(job.slices), (num_coils, *sampled)
    with replacing(path) as partial, h5py.File(partial, "w") as file:
        kspace = file.create_dataset("kspace", (count, *size), np.complex64, chunks=(1, *size))
        maps = file.create_dataset("sensitivity_maps", (count, *size), np.complex64, chunks=(1, *size))
        target = file.create_dataset("reconstruction_rss", (count, *shape), np.float32)
        truth = file.create_dataset("noise_free", (count, *shape), np.float32)
        for s, (k, image, m) in enumerate(acquire(job, shape, num_coils, snr, voxel, oversampling)):
            kspace[s], maps[s], truth[s] = k, m, image
            target[s] = center_crop(torch.linalg.vector_norm(ifft2c(k), dim=0), shape)
        if (FOLDER / f"{job.person}_mask.nii.gz").exists():
            file["lesion"] = lesion(job.person, shape, voxel)[list(job.slices)]
        spacing = (scan(job.scan).spacing[0] * job.slices.step, voxel, voxel)
        file["ismrmrd_header"] = header_of(sampled, spacing, num_coils, shape)
        file.attrs["max"] = float(target[:].max())
        file.attrs["norm"] = float(np.linalg.norm(target[:]))
        file.attrs["acquisition"] = f"simulated from {job.scan}"
        file.attrs["patient_id"] = job.person
        file.attrs["slices"] = list(job.slices)
        file.attrs["snr"] = snr


def lesion(name: str, shape: tuple[int, int], voxel: float = 2.0) -> np.ndarray:
    """The lesion of a sample scan (`tumour_a`, `tumour_b`) on the simulated grid: (slices, H, W) bool.

    A pixel belongs to it where at least half of its area does.
    """
    placed = place(scan(f"{name}_mask"), (shape[0] * voxel, shape[1] * voxel))
    share = torch.nn.functional.interpolate(torch.from_numpy(placed.volume > 0).float()[None], shape, mode="area")
    return (share[0] >= 0.5).numpy()


def write_index(folder: Path, jobs: list[Acquisition], **parameters) -> Path:
    """The set.json of a simulated set: the validation slab is the training person's, and the index says so."""
    files = [
        j._asdict() | {"path": f"{j.split}/{j.name}.h5", "slices": len(j.slices), "source_slices": list(j.slices)}
        for j in jobs
    ]
    return write_set(
        folder, "data/samples", "simulated k-space (sample data)", files,
        shared_persons=["brain_a"], note="val is a slab of the training person, at least 10 mm from the training slices",
        parameters=parameters,
    )  # fmt: skip
