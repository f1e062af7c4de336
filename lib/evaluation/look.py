"""What is this file? Its kind in words, and images by TV-SENSE, a network and GRAPPA, zero-filled and the mask in one figure."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from lib import ROOT, InputError, models, plots
from lib.data.fastmri import KspaceCase, KspaceSlices, inputs_of
from lib.data.fastmri_file import OWN, KspaceFile, kspace_file
from lib.data.formats.arrays import FIELDS
from lib.data.formats.opening import is_kspace, open
from lib.data.formats.record import ImageScan, KspaceScan
from lib.data.formats.volumes import pose
from lib.data.formats.writing import write_fastmri
from lib.data.hdf5 import dataset, has, open_hdf5
from lib.data.header import acquisitions_of
from lib.data.nifti import load_npy, read_radiological
from lib.evaluation.baselines import by_grappa, by_tv
from lib.files import check_path
from lib.inference.reconstruct import by_network
from lib.kspace import center_crop, fftc, ifft2c, ifftc, rss
from lib.kspace.calibrated import shared
from lib.plots.panels import window_of
from lib.runs.weights import load, network_name
from lib.text import one_line, pluralize, value_or_error

KINDS = ("kspace", "image")
LARGEST_IMAGE = 1 << 25  # pixels of an image that is shown
HDF5 = (".h5", ".hdf5")
HERE = (*HDF5, ".npy", ".nii", ".nii.gz")  # of which the array itself is shown
COLOR_FIELDS = (("r", "g", "b"), ("r", "g", "b", "a"))


def look(
    path: str | Path, slice: int | None = None, weights: str | Path = "runs/weights/generalist",
    kind: str | None = None, **settings: Any,
) -> Figure:  # fmt: skip
    """Print what a file is and show one slice of it.

    A real array is images (…, H, W); a complex one, also as records of two numbers or along a last axis of 2, is images
    or k-space (H, W), (coils, H, W) or (slices, coils, H, W): what it is taken as is printed. K-space without a mask is
    fully sampled: an equispaced mask of every 4th line is put on it to show what the methods make of it.

    Parameters
    ----------
    path : of any format that `lib.data.formats.opening.open` knows; of other HDF5 the first array with numbers along
        two axes is shown; relative paths count from ROOT
    slice : its number; None: the middle one of k-space, four of images
    weights : a run or folder of a trained network for k-space, or a .pt file with fastMRI's published VarNet
    kind : "image" or "kspace", what a complex array is; None: guessed by its energy
    **settings : of `lib.data.formats.opening.open`, such as axes or key

    Returns
    -------
    The figure.

    Raises
    ------
    InputError
        If the file is none of these.
    """
    if kind not in (None, *KINDS):
        raise InputError("kind", f"got {kind!r}", f"one of {', '.join(KINDS)}, or None")
    path = ROOT / Path(path).expanduser()
    check_path(path)
    ismrmrd = False
    if path.suffix in HDF5:
        with open_hdf5(path) as file:
            layout, ismrmrd = has(file, "kspace"), acquisitions_of(file)  # a dangling link, too
        if layout and kind != "image" and not settings:
            return _look_at_kspace(path, slice, weights)
    if settings or ismrmrd or not path.name.endswith(HERE):
        return _look_at_scan(open(path, kind=kind, **settings), slice, weights)
    with _opened(path) as array:
        if kind == "kspace" and array.kind != "complex":
            raise InputError(path, "kind: got 'kspace'", f"complex numbers in it, found {array.kind} ones")
        print(f"{path.name}: {array.told}")
        complexes = array.kind == "complex" and (kind or _guess(path, array)) == "kspace"
        return _look_at_coils(path, array, slice) if complexes else _look_at_images(path, array, slice)


class _Array(NamedTuple):
    """An array (…, H, W) of "real", "complex" or "color" values, read where `values` asks; told: what it is."""

    path: Path
    stored: Any
    shape: tuple[int, ...]
    kind: str
    told: str

    def values(self, *at: int) -> np.ndarray:
        """The part of these leading indices, in numbers (colors along a last axis)."""
        try:
            part = np.asarray(self.stored[at])
        except Exception as error:  # a part that is damaged, or a compression that isn't known here
            raise InputError(self.path, f"can't be read ({one_line(error)[:120]})") from None
        fields = part.dtype.names
        if self.kind == "complex" and not np.iscomplexobj(part):
            real, imaginary = (part[f] for f in fields) if fields else np.moveaxis(part, -1, 0)
            return real + 1j * imaginary
        return np.stack([part[f] for f in fields[:3]], -1) if fields else part


@contextmanager
def _opened(path: Path) -> Iterator[_Array]:
    """The array of a file that is no k-space of a known layout; InputError if there is none."""
    if path.suffix in HDF5:
        with open_hdf5(path) as file:
            yield _first(path, file)
        return
    try:
        if path.suffix == ".npy":
            stored, told = load_npy(path), ""
        elif path.name.endswith((".nii", ".nii.gz")):
            told = "".join(f"\n{line}" for line in pose(path))
            stored = read_radiological(path).volume
        else:
            raise InputError(path, "unknown kind of file", ".h5, .hdf5, .npy, .nii or .nii.gz")
    except InputError:
        raise
    except Exception as error:  # readers fail in many ways with what isn't such a file
        raise InputError(path, f"can't be read ({one_line(error)[:120]})") from None
    array, why = _array(path, stored, "an array", told)
    if array is None:
        raise InputError(path, why)
    yield array


def _first(path: Path, file: h5py.File) -> _Array:
    """The first array of an HDF5 file that can be shown; what else is there is told."""
    names: list[str] = []
    file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    reasons = []
    for name in names:
        others = f"; {pluralize(len(names) - 1, 'other data set')} in the file" if len(names) > 1 else ""
        array, why = _array(path, file[name], f"its first array of numbers is {name!r},", others)
        if array is not None:
            dataset(file[name].parent, name.split("/")[-1], "fiubcV")  # all its parts are there
            return array
        reasons.append(f"{name}: {why}")
    more = f" … ({len(reasons)} in all)" if len(reasons) > 3 else ""
    raise InputError(
        path, f"holds no array of two axes or more with numbers ({'; '.join(reasons[:3]) or 'it is empty'}{more})"
    )


def _array(path: Path, stored: Any, named: str, more: str) -> tuple[_Array | None, str]:
    """(an array that can be shown, ""), or (None, the reason why it can't)."""
    shape, dtype = stored.shape, stored.dtype
    if shape is None or len(shape) < 2 or 0 in shape:
        return (
            None,
            "nothing in it" if shape is None else f"an array {shape}, expected at least two axes, none of them empty",
        )
    fields = tuple(map(str.lower, dtype.names or ()))
    about = f"{shape} of {'records of ' + ', '.join(dtype.names) if fields else dtype}"
    value = dtype[0] if fields else dtype
    kind, axis = "complex" if value.kind == "c" else "real", None
    if fields in COLOR_FIELDS or (not fields and len(shape) > 2 and shape[-1] == 3 and value == np.uint8):
        kind, axis = "color", "red, green and blue"
    elif fields in FIELDS or (not fields and len(shape) > 2 and shape[-1] == 2 and value.kind == "f"):
        kind, axis = "complex", "real and imaginary part"
    if value.kind not in "biufc" or (fields and not axis) or (kind == "color" and value != np.uint8):
        return None, f"{about}, expected numbers"
    if axis and not fields:
        shape, about = shape[:-1], f"{about}, the last axis taken as {axis}"
    if shape[-2] * shape[-1] > LARGEST_IMAGE:
        return None, f"{about}: images of {shape[-2]} × {shape[-1]} are too large to be shown"
    return _Array(path, stored, shape, kind, f"{named} {about}{', images' * (kind != 'complex')}{more}"), ""


def _guess(path: Path, array: _Array) -> str:
    """ "kspace" where the energy of a middle plane lies in fewer points than its Fourier transform's, else "image"."""
    kind = "kspace" if is_kspace(array.values(*(n // 2 for n in array.shape[:-2])).astype(np.complex64)) else "image"
    words = {"kspace": ("k-space", "lies in few points"), "image": ("an image and not as k-space", "is spread out")}[
        kind
    ]
    other = next(k for k in KINDS if k != kind)
    print(f"{path.name}: taken as {words[0]}, since its energy {words[1]}; kind={other!r} decides otherwise")
    return kind


def _look_at_coils(path: Path, array: _Array, index: int | None) -> Figure:
    """The RSS of a slice of k-space (H, W), (coils, H, W) or (slices, coils, H, W)."""
    if len(array.shape) > 4:
        raise InputError(
            path, f"complex, {array.shape}: expected (H, W), (coils, H, W) or (slices, coils, H, W) of k-space"
        )
    slices, coils, height, width = (1,) * (4 - len(array.shape)) + array.shape
    print(f"{pluralize(slices, 'slice')}, {pluralize(coils, 'coil')}, {height} readout × {width} phase encodes")
    index = _checked(path, index, slices)
    kspace = array.values(index) if len(array.shape) == 4 else array.values().reshape(coils, height, width)
    return plots.montage({"RSS of the inverse FFT": rss(ifft2c(torch.from_numpy(kspace.astype(np.complex64))))})


def _look_at_images(path: Path, array: _Array, index: int | None) -> Figure:
    """One image, or four evenly chosen ones; complex ones as magnitudes."""
    leading = array.shape[:-2]
    images = int(np.prod(leading))
    shown = np.linspace(0, images - 1, min(4, images)).astype(int)
    if index is not None:
        shown = [_checked(path, index, images)]
    return plots.montage({f"image {i}": array.values(*np.unravel_index(i, leading)) for i in shown})


def _checked(path: Path, index: int | None, slices: int) -> int:
    """The slice to show, the middle one where None."""
    if index is not None and not 0 <= index < slices:
        raise InputError(path, f"slice: got {index}", f"0 to {slices - 1}")
    return slices // 2 if index is None else index


def _look_at_scan(scan: KspaceScan | ImageScan, index: int | None, weights: str | Path) -> Figure:
    """Of any other format: k-space by way of a file in fastMRI's layout, of the slice alone."""
    print(scan)
    shown = _checked(scan.path, index, scan.shape[0])
    if scan.kind == "image":
        chosen = [shown] if index is not None else np.linspace(0, scan.shape[0] - 1, min(4, scan.shape[0])).astype(int)
        return plots.montage({f"image {i}": scan.slice(int(i)) for i in chosen})
    one = scan._replace(shape=(1, *scan.shape[1:]), read=lambda _: scan.slice(shown))
    with tempfile.TemporaryDirectory() as folder:
        return _look_at_kspace(write_fastmri(one, Path(folder) / f"{scan.path.stem}.h5"), 0, weights)


def _look_at_kspace(path: Path, index: int | None, weights: str | Path) -> Figure:
    file = kspace_file(path)
    height, width = file.shape
    center = max(round(0.08 * width), 16 if width >= 64 else 4)
    settings = {"kind": "equispaced", "acceleration": 4, "num_low_frequencies": center}
    slices = KspaceSlices([file], settings)
    index = _checked(path, index, file.slices)
    print(
        f"{path.name}: {file.layout} layout · {pluralize(file.slices, 'slice')} · {pluralize(file.coils, 'coil')} · "
        f"{height} readout × {width} phase "
        f"encodes · target {'none' if file.target in (None, OWN) else file.target}"
    )
    for assumption in file.assumed:
        print(f"assumed: {assumption}")
    case = slices.case(index)
    shape = tuple(case.zero_filled.shape)
    print(f"slice {case.slice} · mask: {'its own' if file.mask else 'put on here'}, {case.mask.achieved:.2f}× achieved")
    cut = case if file.points else case._replace(masked_kspace=_rows(case.masked_kspace, shape[0]))
    about = f" (on the {shape[0]} rows of {height} that are shown)" if shape[0] < height else ""
    network = value_or_error(network_name, weights)[0] or "network"
    methods = {  # the nearest one on raw validation scans first
        "TV-SENSE": lambda: by_tv([cut])[0],
        network: lambda: _by_network(weights, cut, file),
        "GRAPPA": lambda: by_grappa([cut])[0],
    }
    name = "fully sampled" if file.target == OWN else "truth"
    more = {} if case.target is None else {name: case.target}
    more["mask"] = case.mask.sampled.float().expand(file.shape) * float(case.zero_filled.max())

    def picture(images: dict[str, Any], hint: str = "") -> Figure:
        made = images | {"zero-filled": case.zero_filled}
        panels = dict(sorted(made.items(), key=lambda item: isinstance(item[1], str))) | more  # what failed comes last
        window = window_of(made if case.target is None else {"truth": case.target})
        return plots.montage(panels, window, columns=len(panels), title=f"{path.name}, slice {case.slice}{hint}")

    images: dict[str, Any] = {}
    finished = plots.preview(lambda: picture({}, f": {', '.join(methods)} will follow"))
    try:
        with shared():  # the network corrects TV-SENSE's image
            for method, call in methods.items():
                print(f"{method}{about} …", flush=True)
                images[method] = _try(lambda c=call: center_crop(c(), shape))
    finally:
        finished()
    return picture(images)


def _rows(kspace: Tensor, rows: int) -> Tensor:
    """K-space (C, H, W) of the central rows of the image alone: the readout is always sampled, so this is exact."""
    if rows == kspace.shape[-2]:
        return kspace
    return fftc(center_crop(ifftc(kspace, (-2,)), (rows, kspace.shape[-1])), (-2,))


def _try(method: Callable[[], Tensor]) -> Tensor | str:
    try:
        return method()
    except Exception as error:  # numbers that no method can make anything of: the reader sees why
        return one_line(error)


def _by_network(weights: str | Path, case: KspaceCase, file: KspaceFile) -> Tensor:
    name = network_name(weights)
    if models.entry(name).family != "kspace":
        raise InputError(name, "no network that gets k-space, or its zero-filled image, alone")
    model = load(weights, name).model
    return by_network(model, KspaceSlices([file], {}, **inputs_of(model)), [case])[0]
