"""Slices of k-space simulated as they are asked for: a training set that is never stored and never repeats."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from lib import InputError
from lib.data.fastmri import INPUT_COUNTS, KspaceCase, KspaceSlices
from lib.kspace import ifft2c, rss
from lib.kspace.sampling import make_mask
from lib.phantoms import objects
from lib.phantoms.simulation import draw_physics, record, target
from lib.text import one_of

SHAPES = (
    (96, 96), (112, 96), (128, 128), (128, 160), (160, 128), (160, 160), (144, 192), (192, 144), (192, 192), (176, 224),
    (256, 192), (256, 256), (320, 168),
)  # fmt: skip
POINTS = 600_000  # of k-space at most, all coils, so that no step takes much longer than the others
COILS = (1, 2, 4, 4, 6, 8, 8, 8, 12, 16, 16, 24, 32)
MASKS = {  # what make_mask is given is drawn from these; grids are GRAPPA's
    "kind": ("equispaced", "equispaced", "equispaced", "equispaced_fraction", "random", "magic"),
    "acceleration": (2, 3, 4, 4, 5, 6, 8),
    "num_low_frequencies": (8, 12, 16, 20, 24, 32),
}
COUNT = 20_000  # sizes and coils that an epoch may draw from


def training_slices(kspace: str, kind: str, seed: int) -> "SimulatedSlices | None":
    """What a notebook's parameter `kspace` asks to train on, "prepared" (None: the set's slices) or "simulated"."""
    if kspace not in ("prepared", "simulated"):
        raise InputError(f"kspace {kspace!r}", *one_of(kspace, ("prepared", "simulated")))
    return SimulatedSlices(kind=kind, seed=seed) if kspace == "simulated" else None


class SimulatedSlices(KspaceSlices):
    """`count` slices of simulated multi-coil k-space, undersampled, as `KspaceSlices` gives them.

    Size and coils follow from (seed, index), so that slices of one size can share a batch; all else is drawn from (seed,
    epoch, index).

    Parameters
    ----------
    count : slices of an epoch
    kind : "kspace" or "image", as a network is fed
    seed : of everything
    mask : make_mask's settings; those that are lists or tuples are drawn from
    target_noise : how much of the noise the target has; 1: it is what was recorded, 0: noise-free
    """

    def __init__(
        self,
        count: int = COUNT,
        kind: str = "kspace",
        seed: int = 0,
        mask: dict[str, Any] = MASKS,
        target_noise: float = 1.0,
    ):
        if kind not in INPUT_COUNTS or kind == "cascade":
            raise InputError("kind", f"{kind!r}: simulated k-space has no GRAPPA images", "kspace or image")
        if not 0 <= target_noise <= 1:
            raise InputError("target_noise", target_noise, "0 (noise-free) to 1 (as recorded)")
        self.mask, self.kind, self.seed, self.target_noise = mask, kind, seed, target_noise
        self.grappa, self.augmentation = None, {}
        self.sizes = [_size(np.random.default_rng((seed, i, 7))) for i in range(count)]

    def __len__(self) -> int:
        return len(self.sizes)

    def _read(
        self, i: int, epoch: int, extras: dict[str, type], zero_filled: bool, whole: bool = True
    ) -> KspaceCase:  # fmt: skip
        """The i-th slice of an epoch, whose file is none; what only a look at a case needs isn't made for an item."""
        coils, height, width = self.sizes[i]
        rng = np.random.default_rng((self.seed, epoch, i, 11))
        physics = draw_physics(coils, (height, width), rng)
        extent = round(width * physics.wrap / 2) * 2
        physics = physics._replace(wrap=extent / width)
        image = objects.draw((height, extent), rng)
        noisy, clean = record(image, physics, rng)
        settings = {k: v[rng.integers(len(v))] if isinstance(v, list | tuple) else v for k, v in self.mask.items()}
        padding = physics.columns
        lines = settings.get("num_low_frequencies")
        if lines is not None:  # a center that fits between the margins, and leaves something to be filled
            room = 2 * (width // 2 - max(padding) - 1)
            settings["num_low_frequencies"] = int(min(lines, width // 3, room))
        mask = make_mask(width=width, padding=padding, seed=int(rng.integers(1 << 31)), **settings)
        masked, truth = noisy * mask.columns, target(noisy, clean, self.target_noise)
        seen = rss(ifft2c(masked)) if zero_filled else None
        noise_free = target(noisy, clean, 0.0) if "noise_free" in extras else None
        return KspaceCase(
            noisy, mask, masked, None, seen, truth, noise_free, None, float(truth.max()),
            f"simulated_{i}", 0, "simulated", Path("simulated"), None,
        )  # fmt: skip


def _size(rng: np.random.Generator) -> tuple[int, int, int]:
    """Coils, H, W: more coils go with smaller images."""
    coils = int(rng.choice(COILS))
    shapes = [shape for shape in SHAPES if math.prod(shape) * coils <= POINTS]
    return (coils, *shapes[rng.integers(len(shapes))])
