"""Images and binary masks as image files of many kinds: read, or refused in one line."""

import re
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from lib import InputError
from lib.files import check_no_pipe, check_path, list_files
from lib.text import pluralize

ENDINGS = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp")
MOST_PIXELS = 1 << 26  # of an image
FIRST_GRAY = 16  # whole numbers below it are classes, from it on shades of gray


def images_in(folder: Path) -> list[Path]:
    """The image files of a folder, sorted; other files are skipped. InputError if there are none."""
    check_path(Path(folder))
    if not Path(folder).is_dir():
        raise InputError(folder, "no such folder", f"one with images ({', '.join(ENDINGS)})")
    paths = list_files(folder, ENDINGS, deep=False)
    if not paths:
        raise InputError(folder, "no images in it", f"{', '.join(ENDINGS)}")
    for first, second in zip(paths, paths[1:], strict=False):
        if first.stem == second.stem:
            raise InputError(second, f"{first.name} has the same name: predictions go by it")
    return paths


def read_image(path: Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """Read an image.

    Parameters
    ----------
    path : of the file
    size : (h, w) to resize to, by bilinear interpolation; None: as it is

    Returns
    -------
    uint8 (3, h, w); gray ones are repeated.
    """
    image = _open(path)
    image = image.convert("RGBA").convert("RGB") if "transparency" in image.info else image.convert("RGB")
    if size and image.size != size[::-1]:
        image = image.resize(size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(image).transpose(2, 0, 1)


def check_image(path: Path) -> tuple[int, int]:
    """An image's (H, W); InputError if `read_image` would refuse it."""
    return _open(path).size[::-1]


def read_mask(path: Path, size: tuple[int, int] | None = None, top: float | None = None) -> np.ndarray:
    """Read a mask. A palette counts by its colors: grays, or black and one color, which is 1.

    Parameters
    ----------
    path : of the file
    size : (h, w) to resize to, by the nearest pixel; None: as it is
    top : the maximum that counts for a mask of more than two values; None: its own

    Returns
    -------
    uint8 (h, w), 1 where it is brighter than half of its maximum.

    Raises
    ------
    InputError
        For several channels or colors, classes, negative values and NaN.
    """
    values = mask_values(path)
    half = half_of(path, top or float(values.max())) if is_graded(values) else values.max() / 2
    mask = Image.fromarray((values > half).astype(np.uint8))
    if size and mask.size != size[::-1]:
        mask = mask.resize(size[::-1], Image.Resampling.NEAREST)
    return np.asarray(mask)


def mask_values(path: Path) -> np.ndarray:
    """What a mask's pixels say (H, W): 0 is background, the highest value a lesion."""
    image = _open(path, mask=True)
    if image.mode != "P":
        values = np.asarray(image)
        if (wrong := ~(np.isfinite(values) & (values >= 0))).any():
            raise InputError(path, f"the mask holds {values[wrong][0]:g}", "0 for background, more for lesion")
        return values
    *colors, alpha = np.moveaxis(np.asarray(image.convert("RGBA")), -1, 0)
    if (alpha < 255).any():
        raise InputError(path, "a palette with transparent colors", "opaque ones")
    if all((color == colors[0]).all() for color in colors):
        return colors[0]
    used = np.unique(np.stack(colors, -1).reshape(-1, 3), axis=0)
    if len(used) > 2 or used[0].any():
        raise InputError(path, f"a palette of {pluralize(len(used), 'color')}", "grays, or black and one color")
    return np.any(colors, axis=0)


def is_graded(values: np.ndarray) -> bool:
    """Whether there are more than two values, as a JPEG's or a smooth edge's."""
    return bool(((values > values.min()) & (values < values.max())).any())


def half_of(path: Path, top: float) -> float:
    """Half of the maximum of masks of more than two values; InputError if it is a class's number."""
    if top in range(2, FIRST_GRAY):
        raise InputError(path, f"a mask of more than two values up to {top:g}: classes? ", "lesion or none")
    return top / 2


def _open(path: Path, mask: bool = False) -> Image.Image:
    """An image file; InputError if it isn't one image of a type that is read."""
    check_no_pipe(path)
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(file)
            if image.width * image.height > MOST_PIXELS:
                raise InputError(path, f"an image of {image.width} × {image.height} pixels", f"at most {MOST_PIXELS:,}")
            frames, stored = getattr(image, "n_frames", 1), str(image.tile)
            image.load()
    except InputError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        count = re.search(r"\d+", str(error))
        raise InputError(
            path, f"an image of {int(count[0]):,} pixels" if count else "too large", f"at most {MOST_PIXELS:,}"
        ) from None
    except Exception as error:  # Pillow fails in many ways with what isn't an image
        why = getattr(error, "strerror", None) or f"{type(error).__name__}; truncated, or pixels of a rare type?"
        raise InputError(path, f"not a readable image ({why})") from None
    if frames > 1:
        raise InputError(path, f"{frames} images in one file", "one")
    mode, gray = image.mode, image.mode.startswith(("I", "F"))
    if mask and not (gray or mode in ("1", "L", "P")):
        raise InputError(path, f"a mask of {Image.getmodebands(mode)} channels ({mode})", "a gray one")
    if not mask and (gray or re.search(r"(RGB[AX]?|LA);16", stored)):
        raise InputError(path, f"{mode} pixels of more than 8 bits", "8-bit gray or color")
    return image
