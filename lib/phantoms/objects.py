"""Magnitude images to simulate scans of: the sample scans of nobody who tests, photographs, and drawn shapes.

The photographs are those that scikit-image ships; they and the shapes keep a network from learning what heads look like
instead of what undersampling does.
"""

import functools

import nibabel
import numpy as np
import torch
import torch.nn.functional as F
from skimage import color, data
from torch import Tensor

from lib.data.hdf5 import open_hdf5
from lib.kspace import ifft2c
from lib.phantoms.sample_scans import FOLDER, scan_file

PHOTOGRAPHS = ("astronaut", "brick", "camera", "cat", "coffee", "coins", "grass", "gravel", "moon", "page", "rocket")
HEARTS = ("heart_sax_1", "heart_sax_2", "heart_sax_3")  # those that train, in cine, too
VOLUMES = 8  # of the hippocampus's, the first of its training volumes
SHARES = {"head": 0.45, "heart": 0.15, "trunk": 0.08, "crop": 0.04, "photograph": 0.13, "shapes": 0.15}
KNOTS = 5  # of a random curve of contrast


@functools.cache
def library() -> dict[str, list[np.ndarray]]:
    """Real images (H, W), float32, 0…1 by their 99.8th percentile (up to 1.3), by the kind of what they show.

    head: brain_a below the slab that validates, brain_g; heart: the hearts that train; trunk: two CT scans; crop: the
    hippocampus; photograph. Test persons (brain_b to brain_e, the tumors, the other hearts) have no part in it.
    """
    images = {"head": [*planes("brain_a_t1")[:58], _single_coil(FOLDER / "brain_g_raw_singlecoil.h5")]}
    images["heart"] = [plane for name in HEARTS for plane in planes(name)[::7]]
    images["trunk"] = [
        ((plane + 160) / 400).clip(0, 1) for name in ("abdomen_a_ct", "abdomen_b_ct") for plane in planes(name)[::3]
    ]
    names = [f"hippocampus/imagesTr/{path.name[:-7]}" for path in sorted(FOLDER.glob("hippocampus/imagesTr/*.nii.gz"))]
    images["crop"] = [plane for name in names[:VOLUMES] for plane in planes(name)[4:-4:3]]
    images["photograph"] = [_gray(getattr(data, name)()) for name in PHOTOGRAPHS]
    return {kind: [_scaled(image) for image in some if image.std() > 0] for kind, some in images.items()}


def planes(name: str) -> np.ndarray:
    """All planes (planes, H, W) of a sample scan, float32, rows from anterior to posterior; of a cine, of all frames."""
    values = np.asarray(nibabel.load(scan_file(name)).dataobj, dtype=np.float32).T
    return np.ascontiguousarray(values.reshape(-1, *values.shape[-2:])[:, ::-1])


def draw(shape: tuple[int, int], rng: np.random.Generator) -> Tensor:
    """A random object (H, W), float32, about 0…1: an image of the library or drawn shapes, in a random pose and contrast.

    An image is never enlarged: its pixels are at least as many as those that it covers.
    """
    kind = rng.choice(list(SHARES), p=np.array(list(SHARES.values())) / sum(SHARES.values()))
    if kind == "shapes":
        return _contrast(_shapes(shape, rng), rng)
    some = library()[kind]
    image = torch.from_numpy(some[rng.integers(len(some))])
    if kind == "crop":  # small: several side by side
        image = torch.cat([image, image.flip(1)], 1)
        image = torch.cat([image, image.flip(0)], 0)
    return _contrast(_posed(image, shape, rng), rng)


def _posed(image: Tensor, shape: tuple[int, int], rng: np.random.Generator) -> Tensor:
    """The image flipped, turned, made smaller, and put somewhere near the middle of `shape`, partly outside at times."""
    if rng.random() < 0.5:
        image = image.T
    image = image.flip([axis for axis in (0, 1) if rng.random() < 0.5])
    fit = min(shape[0] / image.shape[0], shape[1] / image.shape[1])
    zoom = min(fit * rng.uniform(0.7, 1.0) if rng.random() < 0.8 else fit * rng.uniform(1.0, 1.8), 0.95)
    stretch = rng.uniform(0.92, 1.05)
    size = [max(8, round(n * zoom * s)) for n, s in zip(image.shape, (stretch, 1), strict=True)]
    image = F.interpolate(image[None, None], size=size, mode="bilinear", antialias=True, align_corners=False)
    canvas = torch.zeros(shape)
    ends = []
    for have, want in zip(size, shape, strict=True):
        start = (want - have) // 2 + int(rng.integers(-want // 20, want // 20 + 1))
        ends.append((max(start, 0), min(start + have, want), max(-start, 0)))
    (top, bottom, row), (left, right, column) = ends
    canvas[top:bottom, left:right] = image[0, 0, row : row + bottom - top, column : column + right - left]
    angle = np.deg2rad(rng.uniform(-25, 25)) if rng.random() < 0.5 else 0.0
    if not angle:
        return canvas
    ratio = shape[1] / shape[0]
    matrix = [[np.cos(angle), np.sin(angle) / ratio, 0], [-np.sin(angle) * ratio, np.cos(angle), 0]]
    grid = F.affine_grid(torch.tensor([matrix], dtype=torch.float32), (1, 1, *shape), align_corners=False)
    return F.grid_sample(canvas[None, None], grid, mode="bicubic", align_corners=False)[0, 0].clamp_min(0)


def _contrast(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Intensities through a power, an inversion of what is not background, or a random curve through a few points."""
    x = image.clamp(0, 1.3)
    kind = rng.choice(["gamma", "inverted", "curve"], p=[0.5, 0.2, 0.3])
    if kind == "inverted":
        x = (1.15 - x.clamp_max(1.1)) * ((x - 0.03) / 0.08).clamp(0, 1)
    if kind == "curve":
        heights = np.concatenate([[0.0], rng.uniform(0.1, 1.0, KNOTS)])
        x = torch.from_numpy(np.interp(x.numpy(), np.linspace(0, 1.1, KNOTS + 1), heights).astype(np.float32))
    return x ** float(rng.uniform(0.6, 1.7))


def _shapes(shape: tuple[int, int], rng: np.random.Generator) -> Tensor:
    """Overlapping ellipses with smooth textures and hard or soft edges on an empty or a smooth background."""
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in shape), indexing="ij")
    image = _smooth_field(shape, rng, 3) * 0.3 if rng.random() < 0.3 else torch.zeros(shape)
    count = int(rng.integers(3, 40))
    for i in range(count):
        turn, size = rng.uniform(0, np.pi), 0.9 * rng.uniform(0.2, 1.0) ** (1 + 2 * i / count)
        cy, cx = rng.uniform(-1, 1, 2) * (0.9 - size)
        u = (x - cx) * np.cos(turn) + (y - cy) * np.sin(turn)
        v = (y - cy) * np.cos(turn) - (x - cx) * np.sin(turn)
        distance = (u / size).square() + (v / (size * rng.uniform(0.3, 1.0))).square()
        inside = ((1 - distance) * rng.uniform(5, 60)).clamp(0, 1)
        image = torch.lerp(image, torch.full_like(image, rng.uniform(0, 1)), inside * rng.uniform(0.5, 1.0))
    if rng.random() < 0.7:
        image = image * (1 + rng.uniform(0, 0.6) * _smooth_field(shape, rng, int(rng.integers(3, 24))))
    return image.clamp(0, 1.3)


def _smooth_field(shape: tuple[int, int], rng: np.random.Generator, waves: int) -> Tensor:
    """A random field (H, W) in −1…1 that varies about `waves` times across."""
    coarse = torch.from_numpy(rng.uniform(-1, 1, (1, 1, waves + 3, waves + 3)).astype(np.float32))
    return F.interpolate(coarse, size=shape, mode="bicubic", align_corners=True)[0, 0].clamp(-1, 1)


def _scaled(image: np.ndarray) -> np.ndarray:
    return np.clip(image / np.percentile(image, 99.8), 0, 1.3).astype(np.float32)


def _gray(image: np.ndarray) -> np.ndarray:
    return (color.rgb2gray(image) if image.ndim == 3 else image).astype(np.float32)


def _single_coil(path) -> np.ndarray:
    with open_hdf5(path) as file:
        return ifft2c(torch.from_numpy(file["kspace"][0])).abs().numpy()
