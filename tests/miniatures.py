"""Miniatures of the public data sets: their folders, names, keys, types, attributes and quirks, at tiny sizes.

`scans.snu`, `labeled.hipmri_layout` and `labeled.kaggle_layout` make files; the functions here make whole sets of them.
"""

import json
from pathlib import Path

import h5py
import labeled
import nibabel
import numpy as np
import scans
import torch
from scans import smooth

from lib.kspace import center_crop, ifft2c, rss

HEADER = """<?xml version="1.0" encoding="utf-8"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
 <studyInformation><studyTime>12:00:00</studyTime></studyInformation>
 <measurementInformation><measurementID>41_99_1</measurementID><patientPosition>FFS</patientPosition>
  <protocolName>{acquisition}</protocolName></measurementInformation>
 <acquisitionSystemInformation><systemVendor>SIEMENS</systemVendor><systemModel>Aera</systemModel>
  <receiverChannels>{coils}</receiverChannels></acquisitionSystemInformation>
 <experimentalConditions><H1resonanceFrequency_Hz>63676250</H1resonanceFrequency_Hz></experimentalConditions>
 <encoding>
  <encodedSpace><matrixSize><x>{rows}</x><y>{width}</y><z>1</z></matrixSize>
   <fieldOfView_mm><x>280</x><y>162.8</y><z>4.5</z></fieldOfView_mm></encodedSpace>
  <reconSpace><matrixSize><x>{size}</x><y>{size}</y><z>1</z></matrixSize>
   <fieldOfView_mm><x>140</x><y>140</y><z>3</z></fieldOfView_mm></reconSpace>
  <trajectory>cartesian</trajectory>
  <encodingLimits><kspace_encoding_step_1><minimum>0</minimum><maximum>{last}</maximum><center>{center}</center>
   </kspace_encoding_step_1><slice><minimum>0</minimum><maximum>36</maximum><center>0</center></slice></encodingLimits>
 </encoding>
 <sequenceParameters><TR>2750</TR><TE>32</TE><TI>100</TI><flipAngle_deg>140</flipAngle_deg></sequenceParameters>
</ismrmrdHeader>"""


def fastmri_file(
    path: Path, patient: str, acquisition: str = "CORPD_FBK", width: int = 36, padding: int = 0, seed: int = 0,
    coils: int = 4, slices: int = 2, rows: int = 64, size: int = 32, test: bool = False, single: bool = False,
) -> Path:  # fmt: skip
    """One file as the scanner's: readout oversampled twice, `padding` empty columns on each side, 32² images for 320².

    test: undersampled, with a mask that is set in the padding too, and without target. single: one coil's k-space, with
    the RSS of all coils beside its own target.
    """
    inner = width - 2 * padding
    kspace = torch.stack([smooth(coils, rows, inner, seed=seed + s) for s in range(slices)]) * 1e-4
    kspace = torch.nn.functional.pad(kspace, (padding, padding))
    images = ifft2c(kspace)
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        about = {"acquisition": acquisition, "coils": coils, "rows": rows, "width": width, "size": size}
        file["ismrmrd_header"] = HEADER.format(**about, last=inner - 1, center=width // 2 - padding).encode()
        file.attrs["acquisition"], file.attrs["patient_id"] = acquisition, patient
        if test:
            mask = np.zeros(width, bool)
            mask[::4] = mask[width // 2 - 2 : width // 2 + 2] = mask[:padding] = mask[width - padding :] = True
            file["mask"], kspace = mask, kspace * torch.from_numpy(mask)
            file.attrs["acceleration"], file.attrs["num_low_frequency"] = 4, 4
        file["kspace"] = (kspace[:, 0] if single else kspace).numpy()
        if not test:
            file["reconstruction_rss"] = _padded(rss(images), size)
            if single:
                file["reconstruction_esc"] = _padded(images[:, 0].abs(), size)
            target = file["reconstruction_esc" if single else "reconstruction_rss"][:]
            file.attrs["max"], file.attrs["norm"] = target.max(), np.linalg.norm(target)
    return path


def _padded(images: torch.Tensor, size: int) -> np.ndarray:
    """Images of `size`²; where k-space is narrower (brain FLAIR 203), with zeros beside them."""
    images = center_crop(images, (size, min(size, images.shape[-1])))
    margin = size - images.shape[-1]
    return torch.nn.functional.pad(images, (margin // 2, margin - margin // 2)).numpy()


def knee(folder: Path, coils: str = "multicoil") -> Path:
    """fastMRI's knees: a PD and a PDFS file of each patient, k-space of two widths, test files without targets."""
    common = {"single": coils == "singlecoil"}
    for n, split in enumerate(("train", "val")):
        for k, (acquisition, width, padding) in enumerate((("CORPD_FBK", 36, 0), ("CORPDFS_FBK", 38, 1))):
            path = folder / f"{coils}_{split}" / f"file100000{2 * n + k + 1}.h5"
            fastmri_file(path, f"patient_{split}", acquisition, width, padding, seed=10 * n + 2 * k, **common)
    path = folder / f"{coils}_test" / "file1000005.h5"
    fastmri_file(path, "patient_test", width=38, padding=1, seed=40, test=True, **common)
    return folder


def brain(folder: Path) -> Path:
    """fastMRI's brains: other coils, and a FLAIR whose k-space has 20 columns for images of 32 (there 203 for 320)."""
    for n, split in enumerate(("train", "val", "test")):
        test = {"test": split == "test"}
        for kind, width, coils in (("AXT2_200", 40, 5), ("AXFLAIR_203", 20, 4)):
            path = folder / f"multicoil_{split}" / f"file_brain_{kind}_600000{n}.h5"
            fastmri_file(path, f"{kind}_{split}", kind.split("_")[0], width, seed=n, coils=coils, **test)
    return folder


def snu(folder: Path) -> Path:
    """The SNU challenge's folders: coils and widths vary, and its leaderboard has one name in acc4/ and acc8/."""
    common = {"size": (24, 24), "slices": 2}
    scans.snu(folder / "train", "brain_acc4_1", coils=4, shape=(48, 26), **common)
    scans.snu(folder / "train", "brain_acc8_2", coils=20, shape=(48, 28), seed=2, **common)
    scans.snu(folder / "val", "brain_acc4_3", coils=5, shape=(48, 26), seed=4, **common)
    for n, part in enumerate(("acc4", "acc8")):
        where = folder / "leaderboard" / part
        scans.snu(where, "brain_test1", coils=6, shape=(48, 28), seed=6 + 2 * n, label=False, **common)
    return folder


def lits(folder: Path, numbers: tuple[int, ...] = (0, 26, 27, 28, 47, 48, 129, 130)) -> Path:
    """Some of LiTS's volumes in its two folders; of 28 to 47 neither file has voxels nor orientation in its affine."""
    rng = np.random.default_rng(0)
    for n in numbers:
        where = folder / f"Training Batch {1 if n < 28 else 2}"
        where.mkdir(parents=True, exist_ok=True)
        label = np.zeros((24, 24, 10), np.uint8)
        label[6:18, 5:15, 2:9] = 1
        label[9:12, 8:11, 4 : 5 + n % 3] = 2
        image = (label * 60 + rng.integers(-40, 40, label.shape) - 1000 * (label == 0)).astype(np.int16)
        affine = np.eye(4) if 28 <= n <= 47 else np.diag([-0.7, -0.7, 1.5, 1])
        nibabel.save(nibabel.Nifti1Image(image, affine), where / f"volume-{n}.nii")
        nibabel.save(nibabel.Nifti1Image(label, affine), where / f"segmentation-{n}.nii")
    return folder


def decathlon(folder: Path, count: int = 5) -> Path:
    """Task 4 as it unpacks: images, labels and dataset.json, with macOS's `._` files; the first affine is the identity."""
    rng, names = np.random.default_rng(0), [f"hippocampus_{n:03d}.nii.gz" for n in range(1, count + 1)]
    for n, name in enumerate(names):
        label = np.zeros((16, 24, 16), np.uint8)
        label[4:12, 4:12, 4:12], label[4:12, 12:20, 4:12] = 1, 2
        image = (label * 60 + rng.integers(0, 40, label.shape)).astype(np.float32)
        for kind, values in (("imagesTr", image), ("labelsTr", label)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(values, np.eye(4) + (n > 0) * np.eye(4, k=3)), folder / kind / name)
            (folder / kind / f"._{name}").write_bytes(b"\x00\x05\x16\x07")
    training = [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names]
    labels = {"0": "background", "1": "Anterior", "2": "Posterior"}
    (folder / "dataset.json").write_text(json.dumps({"labels": labels, "modality": {"0": "MRI"}, "training": training}))
    return folder


def hipmri(folder: Path) -> Path:
    """HipMRI's six folders; one week is of 256×144 slices, one patient's files have a trailing axis."""
    return labeled.hipmri_layout(folder)


def lgg(folder: Path) -> Path:
    """Kaggle's archive as it unpacks: the patients' folders in kaggle_3m/, and all once more below."""
    labeled.kaggle_layout(folder / "kaggle_3m", size=64)
    labeled.kaggle_layout(folder / "lgg-mri-segmentation" / "kaggle_3m", size=64)
    return folder


def cine(folder: Path, names: str = "{side}_{split}.h5") -> Path:
    """The cine source's files: `imagesRecon` and `imagesTrue` (series, axis 1, axis 2, time), float32 in 0 … 1."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for n, split in enumerate(("train", "val", "test")):
        rows, columns, frames = np.mgrid[0:16, 0:16, 0:8] / np.array([16, 16, 8])[:, None, None, None]
        ring = np.hypot(rows - 0.5, columns - 0.5) < 0.25 + 0.1 * np.sin(2 * np.pi * (frames + n / 3))
        truth = np.stack([0.2 + 0.6 * ring, 0.1 + 0.7 * ring]).astype(np.float32)
        aliased = (truth + rng.uniform(-0.1, 0.1, truth.shape)).astype(np.float32)
        for side, key, series in (("x", "imagesRecon", aliased), ("y", "imagesTrue", truth)):
            with h5py.File(folder / names.format(side=side, split=split), "w") as file:
                file[key] = series
    return folder
