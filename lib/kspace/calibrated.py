"""A slice made ready for SENSE by what its center lines tell, and the images that follow: GRAPPA's, CG-SENSE's, TV-SENSE's.

Few virtual coils take the place of many (Buehrer et al., MRM 2007); maps are ESPIRiT's, two sets of them; the noise is
estimated; where the mask is a grid, GRAPPA fills k-space, and its image is where iterations start.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lib import InputError
from lib.kspace.espirit import center_of, espirit
from lib.kspace.fourier import ifft2c
from lib.kspace.grappa import Report, estimate_noise, grappa
from lib.kspace.grappa_grid import center_block
from lib.kspace.sense import cg_sense, tv_sense

# Chosen on the validation slab, two raw brains and simulated slices:
COILS = 12  # virtual ones at most
CROP = (0.0, 0.9)  # least eigenvalue of a pixel, in ESPIRiT's two sets of maps: air stays in the first
CG_WEIGHT = 0.03  # λ of CG-SENSE
TV_WEIGHT = 0.2  # λ of TV-SENSE over the deviation of a sample's noise
LEAST_TV = 1e-4  # λ over the image's maximum, at least
TV_STEPS = 40  # of TV-SENSE from GRAPPA's image, which is near: more go on smoothing nearly noise-free scans
TV_STEPS_FROM_ZERO = 160


class Calibrated(NamedTuple):
    """One slice.

    Parameters
    ----------
    kspace : (V, H, W), zero where not sampled, of virtual coils
    sampled : (W,) or (H, W), on the CPU
    maps : (sets, V, H, W)
    coils : the real ones' number
    noise : deviation of a complex sample's noise
    filled : coil images (C, H, W) of all coils by GRAPPA; None where the mask is no grid, or the center too small
    start : what they are combined to by the maps, (sets, H, W); None without them
    report : of GRAPPA; None without it
    """

    kspace: Tensor
    sampled: Tensor
    maps: Tensor
    coils: int
    noise: float
    filled: Tensor | None
    start: Tensor | None
    report: Report | None


_shared: dict[str, tuple[tuple[Tensor, ...], Any]] | None = None  # by function: what it was given, and what it gave


@contextlib.contextmanager
def shared() -> Iterator[None]:
    """Within, a slice that several methods work on is made ready once, and TV-SENSE's images are made once."""
    global _shared
    before, _shared = _shared, {}
    try:
        yield
    finally:
        _shared = before


def _once(name: str, given: tuple[Tensor, ...], call: Callable[[], Any]) -> Any:
    """What the call gives; within `shared` that of the last call, if it was given the same."""
    if _shared is None:
        return call()
    last, result = _shared.get(name, ((), None))
    if len(last) != len(given) or not all(a is b or torch.equal(a, b) for a, b in zip(last, given, strict=True)):
        result = call()
        _shared[name] = given, result
    return result


@torch.no_grad()
def calibrated(kspace: Tensor, sampled: Tensor, fill: bool = True) -> Calibrated:
    """A slice's k-space (C, H, W), zero where `sampled`, (W,) or (H, W), is False. InputError: the center is too small.

    fill: whether GRAPPA is made, where it can be.
    """
    sampled = sampled.cpu()
    return _once(f"calibrated {fill}", (kspace, sampled), lambda: _calibrated(kspace, sampled, fill))


def _calibrated(kspace: Tensor, sampled: Tensor, fill: bool) -> Calibrated:
    center = center_of(kspace, sampled)
    compress = _virtual_coils(center)
    virtual = torch.einsum("vc,chw->vhw", compress, kspace)
    maps = espirit(torch.einsum("vc,chw->vhw", compress, center), kspace.shape[-2:], crop=CROP).to(kspace)
    filled, start, report = None, None, None
    if sampled.ndim == 1:
        center = kspace[..., slice(*center_block(sampled))]
    if sampled.ndim == 1 and fill:
        try:
            filled, report = grappa(kspace, sampled, return_report=True)
            filled = ifft2c(filled)
            start = torch.linalg.vecdot(maps, torch.einsum("vc,chw->vhw", compress, filled), dim=-3)
        except InputError:
            pass
    return Calibrated(virtual, sampled, maps, len(kspace), estimate_noise(center), filled, start, report)


def by_cg(scan: Calibrated) -> Tensor:
    """CG-SENSE's image (H, W): see `as_rss`."""
    return as_rss(cg_sense(scan.kspace, scan.maps, scan.sampled, regularization=CG_WEIGHT), scan)


def by_tv(scan: Calibrated) -> Tensor:
    """TV-SENSE's image (H, W): see `as_rss`."""
    return as_rss(tv_images(scan), scan)


def tv_images(scan: Calibrated) -> Tensor:
    """TV-SENSE's complex images (sets, H, W), smoother the more noise there is."""
    given = (scan.kspace, scan.maps, scan.sampled, *(() if scan.start is None else (scan.start,)))
    return _once("tv", given, lambda: _tv_images(scan))


def _tv_images(scan: Calibrated) -> Tensor:
    peak = float(torch.linalg.vecdot(scan.maps, ifft2c(scan.kspace), dim=-3).abs().max()) or 1.0
    steps = TV_STEPS_FROM_ZERO if scan.start is None else TV_STEPS
    weight = max(TV_WEIGHT * scan.noise / peak, LEAST_TV)
    return tv_sense(scan.kspace, scan.maps, scan.sampled, steps, weight, scan.start)


def as_rss(images: Tensor, scan: Calibrated) -> Tensor:
    """Complex images (sets, H, W) as the root of their squares' sum and of the noise that an RSS of all coils would hold.

    SENSE removes that noise, whose energy is σ² a coil. Put back, air is as bright as in a fully sampled RSS, and the two can
    be compared.
    """
    return (images.abs().square().sum(0) + scan.coils * scan.noise**2).sqrt()


def _virtual_coils(center: Tensor) -> Tensor:
    """(V, C): the COILS combinations of coils with the most energy at the center, or all coils as they are."""
    coils = len(center)
    if coils <= COILS:
        return torch.eye(coils).to(center)
    vectors = torch.linalg.eigh(torch.einsum("chw,dhw->cd", center, center.conj()))[1]
    return vectors[:, -COILS:].mH
