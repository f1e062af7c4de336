"""Small k-space with an object in it, and files in SNU's layout, for the tests of the challenge cascade."""

from pathlib import Path

import h5py
import numpy as np
import torch

from lib.kspace import center_crop, fft2c, ifft2c, rss


def smooth(coils: int = 4, height: int = 32, width: int = 24, seed: int = 0) -> torch.Tensor:
    """K-space (coils, height, width) of five random discs seen by smooth coils."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width] / np.array([height, width])[:, None, None]
    discs = (rng.uniform(0.25, 0.75, 2) for _ in range(5))
    image = sum(np.hypot(rows - y, columns - x) < rng.uniform(0.1, 0.3) for y, x in discs)
    angles = 2 * np.pi * np.arange(coils) / coils
    places = [(0.5 + 0.6 * np.sin(a), 0.5 + 0.6 * np.cos(a)) for a in angles]
    maps = [
        np.exp(1j * a - 2 * ((rows - y) ** 2 + (columns - x) ** 2)) for a, (y, x) in zip(angles, places, strict=True)
    ]
    return fft2c(torch.from_numpy(np.stack(maps) * image).to(torch.complex64))


def snu(
    folder: Path, name: str = "brain_acc4_1", coils: int = 4, shape: tuple[int, int] = (32, 24), slices: int = 1,
    size: tuple[int, int] = (20, 16), seed: int = 0, label: bool = True, grappa_of: int | None = None,
    grappa_size: tuple[int, int] | None = None,
) -> Path:  # fmt: skip
    """One file each in kspace/ and image/; the GRAPPA images of another object or size where asked for."""
    full = torch.stack([smooth(coils, *shape, seed=seed + s) for s in range(slices)])
    other = (
        full if grappa_of is None else torch.stack([smooth(coils, *shape, seed=grappa_of + s) for s in range(slices)])
    )
    width, center = shape[1], max(4, shape[1] // 24)
    mask = np.zeros(width, dtype=np.float32)
    mask[::2] = mask[width // 2 - center : width // 2 + center] = 1
    for part in ("kspace", "image"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    with h5py.File(folder / "kspace" / f"{name}.h5", "w") as file:
        file["kspace"], file["mask"] = (full * torch.from_numpy(mask)).numpy(), mask
    images = center_crop(rss(ifft2c(full)), size).numpy()
    with h5py.File(folder / "image" / f"{name}.h5", "w") as file:
        file["image_input"] = center_crop(rss(ifft2c(full * torch.from_numpy(mask))), size).numpy()
        file["image_grappa"] = center_crop(rss(ifft2c(other)), grappa_size or size).numpy()
        if label:
            file["image_label"] = images
        file.attrs["max"] = float(images.max())
    return folder / "kspace" / f"{name}.h5"
