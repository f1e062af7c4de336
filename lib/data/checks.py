"""Is a file what it should be? Checks of k-space files, and the index (set.json) of every prepared set."""

import hashlib
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from lib import InputError
from lib.files import checksum, read, write

TARGETS = ("reconstruction_rss", "reconstruction_esc", "image_label")
SPLITS = ("train", "val", "test")
_BLOCK, _WHOLE = 1 << 16, 1 << 26


class KspaceFile(NamedTuple):
    """What a k-space file holds; shape is (H, W), coils 1 for single-coil files, padding in columns on each side.

    grappa_path: SNU's image/ file, where that holds an `image_grappa`. spacing: mm (slice thickness, H, W), by the header.
    """

    path: Path
    layout: str
    slices: int
    coils: int
    shape: tuple[int, int]
    target: str | None
    target_path: Path | None
    target_shape: tuple[int, int]
    maximum: float | None
    mask: bool
    padding: tuple[int, int]
    person: str
    assumed: tuple[str, ...]
    grappa_path: Path | None = None
    spacing: tuple[float, float, float] | None = None


def source_files(source: Path) -> list[Path]:
    """The k-space files under a folder of fastMRI's or SNU's layout; InputError where there are none."""
    source = Path(source)
    if not source.is_dir():
        raise InputError(f"{source}: no such folder, expected one with fastMRI's or SNU's k-space files")
    paths = sorted(
        p for ending in ("*.h5", "*.hdf5") for p in source.rglob(ending) if p.parent.name not in ("image", "grappa")
    )
    if not paths:
        raise InputError(f"{source}: no .h5 files in it, expected fastMRI's or SNU's k-space files")
    return paths


def open_hdf5(path: Path) -> h5py.File:
    """The file opened to read; InputError where it is missing or isn't HDF5."""
    if not path.exists():
        raise InputError(f"{path}: no such file")
    try:
        return h5py.File(path, "r")
    except OSError:
        size = path.stat().st_size
        raise InputError(f"{path}: not a readable HDF5 file ({size} bytes; truncated, or another format)") from None


def kspace_file(path: Path, values: bool = False) -> KspaceFile:
    """Check one k-space file in fastMRI's or SNU's layout and say what it holds.

    `values` also reads every slice and refuses NaN, inf and all-zero k-space. Raises InputError with one line.
    """
    path = Path(path)
    with open_hdf5(path) as file:
        kspace = _kspace(path, file)
        slices, (height, width) = kspace.shape[0], kspace.shape[-2:]
        coils = kspace.shape[1] if kspace.ndim == 4 else 1
        if values:
            _check_values(path, kspace)
        if "mask" in file and file["mask"].shape != (width,):
            raise InputError(
                f"{path}: mask: shape {file['mask'].shape}, expected ({width},), one value a column of kspace"
            )
        assumed = []
        recon, padding, spacing = (height, width), (0, 0), None
        if "ismrmrd_header" in file:
            recon, padding, spacing = _header(path, file["ismrmrd_header"][()], width)
        else:
            assumed.append(f"no ismrmrd_header: all {width} columns measured, image not cropped")
        target, target_path, target_shape, maximum, layout = _target(path, file, slices)
        if target is None:
            target_shape = _input_shape(_twin(path), (height, width)) or (min(recon[0], height), min(recon[1], width))
            assumed.append("no target: it can be reconstructed, not trained on or scored")
        if "mask" not in file:
            assumed.append("no mask: taken as fully sampled, a mask is applied on reading")
        person = file.attrs.get("patient_id", path.stem)
        person = person.decode() if isinstance(person, bytes) else str(person)
        has_mask = "mask" in file
    grappa_path = _grappa(_twin(path), slices, target_shape)
    return KspaceFile(
        path, layout, slices, coils, (height, width), target, target_path, target_shape, maximum, has_mask, padding,
        person, tuple(assumed), grappa_path, spacing,
    )  # fmt: skip


def _kspace(path: Path, file: h5py.File) -> h5py.Dataset:
    if "kspace" not in file:
        raise InputError(f"{path}: no key 'kspace' (found {', '.join(sorted(file)) or 'nothing'})")
    kspace = file["kspace"]
    if isinstance(kspace, h5py.Group):
        shapes = sorted({str(v.shape) for v in kspace.values() if isinstance(v, h5py.Dataset)})
        kinds = "slices of different size" if len(shapes) > 1 else "a group"
        raise InputError(f"{path}: kspace: {kinds} {' and '.join(shapes)}; expected one array (slices, coils, H, W)")
    if kspace.ndim not in (3, 4):
        raise InputError(f"{path}: kspace: shape {kspace.shape}, expected (slices, coils, H, W) or (slices, H, W)")
    if kspace.dtype.kind != "c":
        raise InputError(f"{path}: kspace: type {kspace.dtype}, expected complex64")
    if 0 in kspace.shape:
        raise InputError(f"{path}: kspace: shape {kspace.shape} is empty")
    return kspace


def _check_values(path: Path, kspace: h5py.Dataset) -> None:
    nonzero = False
    for s in range(len(kspace)):
        values = kspace[s]
        if not np.isfinite(values).all():
            bad = int((~np.isfinite(values)).sum())
            raise InputError(f"{path}: kspace: slice {s} holds {bad} NaN or inf values, expected finite numbers")
        nonzero = nonzero or bool(values.any())
    if not nonzero:
        raise InputError(f"{path}: kspace: all {len(kspace)} slices are zero")


def _header(path: Path, text: bytes | str, width: int):
    """The reconstructed (H, W), the columns that the scanner left out on each side, and the spacing, None where it is 0."""
    from ismrmrd import xsd

    try:
        encoding = xsd.CreateFromDocument(text).encoding[0]
        limit, size = encoding.encodingLimits.kspace_encoding_step_1, encoding.encodedSpace.matrixSize
        recon, field = encoding.reconSpace.matrixSize, encoding.reconSpace.fieldOfView_mm
        spacing = field.z / max(recon.z, 1), field.x / recon.x, field.y / recon.y
        left = size.y // 2 - limit.center
        right = width - (left + limit.maximum + 1)
    except Exception as error:
        raise InputError(f"{path}: ismrmrd_header: not a valid ISMRMRD header ({type(error).__name__})") from None
    if left < 0 or right < 0 or left + right >= width:
        raise InputError(
            f"{path}: ismrmrd_header: encodes {size.y} lines with centre {limit.center} and last {limit.maximum}, "
            f"which do not fit into the {width} columns of kspace"
        )
    return (recon.x, recon.y), (left, right), spacing if min(spacing) > 0 else None


def _target(path: Path, file: h5py.File, slices: int):
    """(key, file, shape, maximum, layout) of the target: in the file itself, or in SNU's image/ beside kspace/."""
    layout, source = ("SNU", _twin(path)) if _twin(path) else ("fastMRI", path)
    opened = open_hdf5(source) if source != path else file
    try:
        key = next((k for k in TARGETS if k in opened), None)
        if key is None:
            return None, None, None, None, layout
        shape = opened[key].shape
        if len(shape) != 3 or shape[0] != slices:
            raise InputError(f"{source}: {key}: shape {shape}, expected ({slices}, H, W), one image a slice of kspace")
        _check_fits(source, key, shape[1:], file["kspace"].shape[-2:])
        maximum = float(opened.attrs["max"]) if "max" in opened.attrs else float(opened[key][:].max())
        return key, source, tuple(shape[1:]), maximum, layout
    finally:
        if source != path:
            opened.close()


def _twin(path: Path) -> Path | None:
    """SNU's file in image/ beside one in kspace/."""
    twin = path.parent.parent / "image" / path.name
    return twin if path.parent.name == "kspace" and twin.exists() else None


def _input_shape(twin: Path | None, kspace: tuple[int, int]) -> tuple[int, int] | None:
    """The size of SNU's image_input, which files without image_label have too."""
    if twin is None:
        return None
    with open_hdf5(twin) as file:
        if "image_input" not in file:
            return None
        _check_fits(twin, "image_input", file["image_input"].shape[-2:], kspace)
        return tuple(file["image_input"].shape[-2:])


def _check_fits(path: Path, key: str, image: tuple[int, ...], kspace: tuple[int, ...]) -> None:
    if any(i > k for i, k in zip(image, kspace, strict=True)):
        raise InputError(f"{path}: {key}: images of {tuple(image)}, expected at most the k-space's {tuple(kspace)}")


def _grappa(path: Path | None, slices: int, shape: tuple[int, int]) -> Path | None:
    """SNU's image file, where it holds GRAPPA images; InputError where they are of another size."""
    if path is None:
        return None
    with open_hdf5(path) as file:
        if "image_grappa" not in file:
            return None
        found = file["image_grappa"].shape
        if found != (slices, *shape):
            raise InputError(f"{path}: image_grappa: shape {found}, expected {(slices, *shape)}, as its other images")
    return path


def fingerprint(path: Path) -> str:
    """SHA-256 of a file up to 64 MiB; of a larger one, of its size and 64 evenly spaced blocks of 64 KiB.

    A file that this process has read before, and whose size and time are the same, is not read again.
    """
    state = path.stat()
    return _fingerprint(path, state.st_size, state.st_mtime_ns)


def is_whole(path: Path) -> bool:
    """Whether `fingerprint` reads all of a file."""
    return path.stat().st_size <= _WHOLE


@cache
def _fingerprint(path: Path, size: int, time: int) -> str:
    if size <= _WHOLE:
        return checksum(path)
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for i in range(64):
            file.seek((size - _BLOCK) * i // 63)
            digest.update(file.read(_BLOCK))
    return digest.hexdigest()


def write_set(folder: Path, source: str, kind: str, files: list[dict[str, Any]], **about: Any) -> Path:
    """Write folder/set.json: where the set comes from, its files by split and person, their checksums.

    Every entry of `files` has `split`, `path` (relative to the folder, or absolute) and `person`; its size and
    checksum are added here. Persons that stand in two splits are refused, unless about["shared_persons"] lists them.
    """
    owner: dict[str, str] = {}
    for entry in files:
        first = owner.setdefault(entry["person"], entry["split"])
        if first != entry["split"] and entry["person"] not in about.get("shared_persons", ()):
            raise InputError(
                f"{folder}: person {entry['person']} is in both {first} and {entry['split']}: split by person"
            )
        path = folder / entry["path"]
        entry |= {"bytes": path.stat().st_size, "sha256": fingerprint(path)}
    counts = {s: sum(e.get("slices", 1) for e in files if e["split"] == s) for s in SPLITS}
    content = {
        "source": source, "kind": kind, "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "counts": counts, "persons": {s: sorted({e["person"] for e in files if e["split"] == s}) for s in SPLITS},
        **about, "files": files,
    }  # fmt: skip
    target = folder / "set.json"
    write(target, content)
    return target


def entries(folder: Path, split: str) -> list[dict[str, Any]]:
    """The checked entries of one split of a prepared set; InputError where there are none."""
    found = [entry for entry in read_set(folder)["files"] if entry["split"] == split]
    if not found:
        raise InputError(f"{folder}: its set.json lists no files for {split}")
    return found


def read_set(folder: Path) -> dict[str, Any]:
    """The checked set.json of a prepared set; InputError where it, or a file it lists, is missing or changed."""
    folder = Path(folder)
    path = folder / "set.json"
    if not path.exists():
        raise InputError(f"{folder}: no set.json here: prepare the data first, by the notebook 1x of this data set")
    try:
        content = read(path)
        files = content["files"]
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: not a valid index: prepare the set anew") from None
    for entry in files:
        file = folder / entry["path"]
        if not file.exists():
            raise InputError(f"{file}: listed in {path} but gone: restore it or prepare the set anew")
        if file.stat().st_size != entry["bytes"] or fingerprint(file) != entry["sha256"]:
            raise InputError(f"{file}: changed since {path} was written: prepare the set anew")
    return content
