"""Aliased and true series of beating hearts, real ones and drawn ones; the acquisition is always simulated."""

import numpy as np
import torch
from torch import Tensor

from lib import InputError
from lib.kspace import coils, radial
from lib.phantoms import real_hearts
from lib.phantoms.heart import heart
from lib.text import one_of

KINDS = ("real", "drawn", "both")  # of hearts that networks train on


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


def check_simulation(
    hearts: str, size: int, frames: int, cases: list[int], copies: int, num_coils: int, snr: float
) -> None:
    """InputError for settings that no set can be simulated with.

    Parameters
    ----------
    hearts : one of KINDS
    size : pixels along each axis, even, 12 to 128, at most half of those of the real hearts that train
    frames : at least 2
    cases : how many drawn hearts to train, validate and test on, each at least 1
    copies : series of each real slice that trains, at least 1
    num_coils : at least 1
    snr : above 0
    """
    if hearts not in KINDS:
        raise InputError(f"hearts {hearts!r}", *one_of(hearts, KINDS))
    if size % 2 or not 12 <= size <= 128:
        raise InputError("size", f"got {size}", "an even number from 12 to 128")
    if frames < 2 or num_coils < 1 or not snr > 0:
        raise InputError(f"frames {frames}, num_coils {num_coils}, snr {snr:g}", "", "at least 2, at least 1, above 0")
    if len(cases) != 3 or not all(isinstance(n, int) and n > 0 for n in cases):
        raise InputError("cases", f"got {cases}", "how many drawn hearts to train, validate and test on")
    if copies < 1:
        raise InputError("copies", f"got {copies}", "at least 1")
    if hearts != "drawn":
        real_hearts.check_size(size)


def drawn(split: int, count: int, size: int, frames: int, trajectory: str, acceleration: float, **settings):
    """Drawn hearts, acquired one by one: yields (aliased, truth).

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


def real(name: str, copies: int, size: int, frames: int, trajectory: str, acceleration: float, **settings):
    """A real person's heart, acquired slice by slice: yields (aliased, truth).

    Parameters
    ----------
    name : one of `lib.phantoms.real_hearts.HEARTS`
    copies : of each slice, each in another pose, contrast and tempo; 0: one of each, as it was recorded
    size : pixels of the image
    frames, trajectory, acceleration : see `lib.kspace.radial.sampling`
    **settings : seed, num_coils, snr; middle_only: the middle slice alone
    """
    person, heart = list(real_hearts.HEARTS).index(name), real_hearts.HEARTS[name]
    series, pixel = real_hearts.recorded(name, *((heart.extent // 2,) if copies else (size, frames)))
    for s, copy in real_hearts.planes(name, copies, settings["middle_only"]).values():
        pose, spokes, scanner = np.random.SeedSequence((settings["seed"], 3 + person, s, copy)).generate_state(3)
        fine = real_hearts.varied(series[s], size, frames, np.random.default_rng(pose)) if copies else series[s]
        sampled = radial.sampling(trajectory, size, len(fine), acceleration, int(spokes))
        yield acquire(fine, int(scanner), sampled, settings["num_coils"], settings["snr"], pixel)
