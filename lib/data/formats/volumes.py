"""Images that lie in one file or folder: NIfTI, NRRD, and stacks of TIFF or PNG."""

from pathlib import Path

import nibabel
import numpy as np

from lib import InputError
from lib.data.formats.record import ImageScan
from lib.data.image_files import ENDINGS, MOST_PIXELS
from lib.data.nifti import opened, read_radiological
from lib.files import check_claim, check_file, list_files
from lib.text import one_line, pluralize

SPACE_TO_RAS = {  # of NRRD: the signs that bring its axes to right, front, head
    "right-anterior-superior": (1, 1, 1), "left-anterior-superior": (-1, 1, 1), "left-posterior-superior": (-1, -1, 1),
    "RAS": (1, 1, 1), "LAS": (-1, 1, 1), "LPS": (-1, -1, 1),
}  # fmt: skip


def read_nifti(path: Path) -> ImageScan:
    """A NIfTI file: slices from the feet up, the front on top, the person's right on the left; InputError if it can't be read."""
    volume, spacing, affine, anatomical = read_radiological(path)
    times = volume.shape[0] if volume.ndim == 4 else 1
    flat = volume.reshape(-1, *volume.shape[-2:])
    header = opened(path).header
    known = any(header[f"{name}_code"] > 0 for name in ("sform", "qform"))
    told = list(pose(path))
    if not anatomical:
        told[-1] = "not axial slices, or over time: shown as they are stored"
    return ImageScan(
        path, "NIfTI", flat.shape, lambda i: np.asarray(flat[i]), tuple(told), tuple(spacing[-3:]) if len(spacing) >= 3 else None,
        affine if known else None, times,
    )  # fmt: skip


def pose(path: Path) -> tuple[str, str]:
    """How a NIfTI lies in space, by its header, and how it is shown, in words."""
    image = opened(path)
    if len(image.shape) < 2 or 0 in image.shape:
        raise InputError(path, f"an array {image.shape}", "at least two axes, none of them empty")
    axes = "".join(code or "?" for code in nibabel.aff2axcodes(image.affine))
    unit = image.header.get_xyzt_units()[0].replace("unknown", "mm (no unit given)")
    spacing = " × ".join(f"{zoom:.3g}" for zoom in image.header.get_zooms()[:3])
    rows = " ".join(f"[{' '.join(f'{value:.4g}' for value in row)}]" for row in image.affine[:3])
    named = [name for name in ("sform", "qform") if image.header[f"{name}_code"] > 0]
    where = f"by its {named[0]}" if named else "neither sform nor qform: where it lies isn't known"
    return (
        f"stored {image.shape}, axes {axes} (what each grows towards), {spacing} {unit}; affine {rows}, {where}",
        "shown as slices from the feet up, the front on top, the person's right on the left",
    )


def read_nrrd(path: Path) -> ImageScan:
    """An NRRD file of two or three axes; InputError if pynrrd isn't there, and for what can't be read."""
    check_file(path)
    try:
        import nrrd
    except ImportError:
        raise InputError(path, "NRRD needs pynrrd", hint="pip install pynrrd") from None
    try:
        header = nrrd.read_header(str(path))
        sizes = tuple(int(n) for n in header["sizes"])
        check_claim(path, f"an array {sizes}", int(np.prod(sizes, dtype=np.int64)) * 8, path.stat().st_size)
        values, header = nrrd.read(str(path))
    except InputError:
        raise
    except Exception as error:
        raise InputError(path, f"can't be read as NRRD ({one_line(error)[:120]})") from None
    if values.ndim not in (2, 3):
        raise InputError(path, f"an array {values.shape}", "two or three axes (x, y, z)")
    values = values.T if values.ndim == 3 else values.T[None]  # x runs fastest
    affine = _nrrd_affine(header)
    directions = None if affine is None else tuple(float(np.linalg.norm(affine[:3, i])) for i in range(3))
    told = () if affine is not None else ("no space directions: where it lies isn't known",)
    return ImageScan(path, "NRRD", values.shape, values.__getitem__, told, directions, affine)


def _nrrd_affine(header: dict) -> np.ndarray | None:
    """Of (slice, row, column, 1), if its header says how it lies."""
    directions, signs = header.get("space directions"), SPACE_TO_RAS.get(str(header.get("space")))
    if directions is None or signs is None or np.shape(directions) != (3, 3):
        return None
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(directions, float)[::-1].T
    affine[:3, 3] = np.asarray(header.get("space origin", (0, 0, 0)), float)
    return np.diag((*signs, 1.0)) @ affine


def read_stack(path: Path) -> ImageScan:
    """The gray images of a folder in the order of their names, or the pages of one TIFF.

    InputError for images of different sizes, colors, and files that can't be read.
    """
    from PIL import Image

    files = list_files(path, ENDINGS, deep=False) if path.is_dir() else [path]
    if not files:
        raise InputError(path, "no images in it", ", ".join(ENDINGS))
    places = []
    for file in files:
        check_file(file)
        try:
            with Image.open(file) as image:
                size, bands, pages = image.size[::-1], image.getbands(), getattr(image, "n_frames", 1)
        except Exception as error:
            raise InputError(file, f"can't be read as an image ({one_line(error)[:120]})") from None
        if size[0] * size[1] > MOST_PIXELS:
            raise InputError(file, f"an image of {size[0]} × {size[1]}", f"at most {MOST_PIXELS:,} pixels")
        if len(bands) != 1:
            raise InputError(file, f"colors ({', '.join(bands)})", "gray values")
        if places and size != places[0][2]:
            raise InputError(file, f"an image of {size}", f"{places[0][2]} as {places[0][0].name}")
        places += [(file, page, size) for page in range(pages)]

    def read(index: int) -> np.ndarray:
        file, page, _ = places[index]
        with Image.open(file) as image:
            image.seek(page)
            return np.array(image)

    told = (f"{pluralize(len(files), 'file')} in the order of their names: spacing and place aren't known",)
    return ImageScan(path, "images", (len(places), *places[0][2]), read, told)
