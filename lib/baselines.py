"""Reconstruction without a trained network: what the networks are compared with, of k-space and of cine."""

from collections.abc import Callable

import torch
from torch import Tensor

from lib import InputError, realtime
from lib.data.kspace import Case
from lib.grappa import grappa
from lib.kspace import ifft2c, rss
from lib.sense import cg_sense, estimate_maps, tv_sense


def _stack(cases: list[Case], maps: bool = False) -> tuple[Tensor, Tensor, Tensor | None]:
    """Masked k-space (S, C, H, W), mask (W,) and, if asked for, the true maps of one file's slices."""
    columns = cases[0].mask.columns
    if any(not torch.equal(columns, c.mask.columns) for c in cases):
        raise InputError(f"{cases[0].file}: its slices have different masks, expected one a file")
    if maps and cases[0].sensitivity_maps is None:
        raise InputError("the true coil maps are not known")
    known = torch.stack([c.sensitivity_maps for c in cases]) if maps else None
    return torch.stack([c.masked_kspace for c in cases]), columns, known


def zero_filled(cases: list[Case]) -> Tensor:
    """RSS of the acquired lines alone, (S, h, w)."""
    return torch.stack([c.zero_filled for c in cases])


def by_grappa(cases: list[Case]) -> Tensor:
    """RSS of k-space filled by GRAPPA; 7 readout points by 4 lines did best on the validation slab."""
    kspace, columns, _ = _stack(cases)
    return rss(ifft2c(grappa(kspace, columns, kernel_size=(7, 4))))


def by_cg_sense(cases: list[Case]) -> Tensor:
    """CG-SENSE with the true maps of the simulation: an oracle that no scanner has."""
    kspace, columns, maps = _stack(cases, maps=True)
    return cg_sense(kspace, maps, columns).abs()


def by_tv(cases: list[Case]) -> Tensor:
    """Compressed sensing: SENSE with total variation, maps estimated from the centre lines."""
    kspace, columns, _ = _stack(cases)
    return tv_sense(kspace, estimate_maps(kspace, columns), columns).abs()


BASELINES: dict[str, Callable[[list[Case]], Tensor]] = {
    "zero-filled": zero_filled,
    "GRAPPA": by_grappa,
    "TV-SENSE": by_tv,
    "CG-SENSE (oracle maps)": by_cg_sense,
}

SERIES_BASELINES: dict[str, Callable[[Tensor], Tensor]] = {
    "aliased": lambda series: series,
    "sliding window": realtime.sliding_window,
    "temporal median": realtime.temporal_median,
}
