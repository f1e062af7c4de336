"""Aliased and true series of beating hearts: simulated ones, and a real patient's."""

import numpy as np
import torch
from torch import Tensor

from lib import InputError
from lib.kspace import coils, radial
from lib.phantoms import sample_scans
from lib.phantoms.heart import heart


def acquire(fine: Tensor, seed: int, sampled: radial.Sampling, num_coils: int, snr: float, pixel: float):
    """An aliased series and its truth, both (T, n, n), of a fine one; object phase, coils and noise are simulated.

    Both are divided by one number that the data give without the truth: the 99.9th percentile of the mean over time,
    in which the spokes of all frames together sample k-space fully.

    Parameters
    ----------
    fine : (T, 2n, 2n)
    seed : of coils, phase and noise
    sampled : of `lib.kspace.radial.sampling`
    num_coils : at least 1
    snr : mean signal of the brighter half over the noise of one real or imaginary part, fully sampled
    pixel : mm of the fine series
    """
    shape = (1, *fine.shape[1:])
    maps = coils.simulate(shape, num_coils, seed, voxel=(8.0, pixel, pixel))[0]
    phase = coils.smooth_phase(shape, seed)[0]
    truth = radial.fully_sampled(fine)
    noise = float(truth[truth > truth.median()].mean()) / snr
    seen = radial.aliased(fine * torch.polar(torch.ones_like(phase), phase), maps, sampled, noise, seed)
    scale = float(np.percentile(seen.mean(0).numpy(), 99.9))
    return seen / scale, truth / scale


def real_heart(size: int, frames: int) -> tuple[Tensor, float]:
    """The real patient's first frames (T, 2·size, 2·size), cut out around the heart, in 0 … 1, and its pixel in mm.

    It has 16 frames of 256×256: T may be less than `frames`, and a larger size is an InputError.
    """
    scan = sample_scans.scan("heart_cine")
    series = torch.from_numpy(scan.volume[:frames, ::-1].copy())
    if 2 * size > min(series.shape[1:]):
        raise InputError(f"size {size}", f"the real heart has {series.shape[1]} pixels", "at most half as many")
    middle = (156, 127)  # the heart, by eye
    first = [min(max(m - size, 0), s - 2 * size) for m, s in zip(middle, series.shape[1:], strict=True)]
    series = series[:, first[0] : first[0] + 2 * size, first[1] : first[1] + 2 * size]
    return series / series.max(), scan.spacing[1]


def check_simulation(size: int, frames: int, cases: list[int], num_coils: int, snr: float) -> None:
    """InputError for settings that no set can be simulated with.

    Parameters
    ----------
    size : pixels along each axis, even, 12 to 128
    frames : at least 2
    cases : how many to train, validate and test on, each at least 1
    num_coils : at least 1
    snr : above 0
    """
    if size % 2 or not 12 <= size <= 128:
        raise InputError("size", f"got {size}", "an even number from 12 to 128")
    if frames < 2 or num_coils < 1 or not snr > 0:
        raise InputError(f"frames {frames}, num_coils {num_coils}, snr {snr:g}", "", "at least 2, at least 1, above 0")
    if len(cases) != 3 or not all(isinstance(n, int) and n > 0 for n in cases):
        raise InputError("cases", f"got {cases}", "how many to train, validate and test on")


def simulated(split: int, count: int, size: int, frames: int, trajectory: str, acceleration: float, **settings):
    """Simulated hearts, acquired one by one: yields (aliased, truth).

    Parameters
    ----------
    split : 0, 1 or 2, to train, validate and test on
    count : hearts
    size : pixels of the image
    frames, trajectory, acceleration : see `lib.kspace.radial.sampling`
    **settings : seed, num_coils, snr
    """
    for n in range(count):
        anatomy, spokes, scanner = np.random.SeedSequence((settings["seed"], split, n)).generate_state(3)
        fine = torch.from_numpy(heart(2 * size, frames, int(anatomy))).permute(2, 0, 1)
        sampled = radial.sampling(trajectory, size, frames, acceleration, int(spokes))
        yield acquire(fine, int(scanner), sampled, settings["num_coils"], settings["snr"], 180 / (2 * size))
