"""Reconstruction without a trained network: what the networks are compared with, of k-space and of cine."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lib import InputError
from lib.data.fastmri import KspaceCase
from lib.kspace import calibrated, ifft2c, radial, rss
from lib.kspace.grappa import grappa
from lib.kspace.sense import cg_sense
from lib.runs.parameters import choose


def _stack(cases: list[KspaceCase], device: torch.device | str) -> tuple[Tensor, Tensor]:
    """Masked k-space (S, C, H, W), on the device, and mask (W,) or (H, W) of one file's slices."""
    sampled = cases[0].mask.sampled
    if any(not torch.equal(sampled, c.mask.sampled) for c in cases):
        raise InputError(cases[0].file, "its slices have different masks", "one per file")
    return torch.stack([c.masked_kspace for c in cases]).to(device), sampled


def zero_filled(cases: list[KspaceCase], device: torch.device | str = "cpu") -> Tensor:
    """RSS of the acquired lines alone.

    Parameters
    ----------
    cases : slices of one file, as for all methods here
    device : where it is computed

    Returns
    -------
    (S, H, W) on the CPU, in k-space's size.
    """
    return rss(ifft2c(_stack(cases, device)[0])).cpu()


def by_grappa(cases: list[KspaceCase], device: torch.device | str = "cpu") -> Tensor:
    """RSS of k-space filled by GRAPPA."""
    kspace, columns = _stack(cases, device)[0], cases[0].mask.columns
    return rss(ifft2c(grappa(kspace, columns))).cpu()


def by_cg_sense(cases: list[KspaceCase], device: torch.device | str = "cpu") -> Tensor:
    """CG-SENSE with maps by ESPIRiT."""
    kspace, sampled = _stack(cases, device)
    return torch.stack([calibrated.by_cg(calibrated.calibrated(k, sampled, fill=False)) for k in kspace]).cpu()


def by_tv(cases: list[KspaceCase], device: torch.device | str = "cpu") -> Tensor:
    """Compressed sensing: SENSE with maps by ESPIRiT and total variation, from GRAPPA's image on."""
    kspace, sampled = _stack(cases, device)
    return torch.stack([calibrated.by_tv(calibrated.calibrated(k, sampled)) for k in kspace]).cpu()


def by_oracle(cases: list[KspaceCase], device: torch.device | str = "cpu") -> Tensor:
    """CG-SENSE with the true maps of the simulation: an oracle that no scanner has."""
    if cases[0].sensitivity_maps is None:
        raise InputError(cases[0].file, "the true coil maps aren't known")
    kspace, columns = _stack(cases, device)
    return cg_sense(kspace, torch.stack([c.sensitivity_maps for c in cases]).to(device), columns).abs().cpu()


# One file's slices and a device → images on the CPU, in k-space's size.
BASELINES: dict[str, Callable[..., Tensor]] = {
    "zero-filled": zero_filled,
    "GRAPPA": by_grappa,
    "CG-SENSE": by_cg_sense,
    "TV-SENSE": by_tv,
    "CG-SENSE (oracle maps)": by_oracle,
}

SERIES_BASELINES: dict[str, Callable[[Tensor], Tensor]] = {
    "aliased": lambda series: series,
    "sliding window": radial.sliding_window,
    "temporal median": radial.temporal_median,
}


def chosen_baselines(names: Sequence[str] | None, cine: bool) -> list[str]:
    """The baselines of a notebook's parameter.

    Parameters
    ----------
    names : those that are wanted; None: all
    cine : of SERIES_BASELINES, else of BASELINES

    Raises
    ------
    InputError
        For a name that isn't one of them.
    """
    known = list(SERIES_BASELINES if cine else BASELINES)
    for name in names or ():
        if name not in known:
            raise InputError("baselines", f"{choose(name, known)}")
    return known if names is None else list(dict.fromkeys(names))
