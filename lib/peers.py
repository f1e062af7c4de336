"""The peers that benchmarks compare with; needs requirements-peers.txt."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from lib import models


class VarNetPair(NamedTuple):
    """Four calls on the same data and weights, and the relative difference of the two outputs."""

    infer: Callable[[], Any]
    peer_infer: Callable[[], Any]
    step: Callable[[], Any]
    peer_step: Callable[[], Any]
    difference: float


def varnet_pair(shape: tuple[int, int, int, int], settings: dict[str, int], seed: int = 0) -> VarNetPair:
    """fastMRI's VarNet and ours with its random weights; shape (N, C, H, W), every 4th line and 16 centre lines."""
    from fastmri.models import VarNet

    torch.manual_seed(seed)
    peer, ours = VarNet(**settings), models.build("VarNet", **settings)
    ours.load_state_dict(peer.state_dict(), strict=True)
    width = shape[-1]
    mask = torch.zeros(shape[0], 1, 1, width, dtype=torch.bool)
    mask[..., ::4] = True
    mask[..., width // 2 - 8 : width // 2 + 8] = True
    kspace = torch.randn(shape, dtype=torch.complex64) * mask
    arguments, peer_arguments = (kspace, mask), (torch.view_as_real(kspace), mask.unsqueeze(-1))

    def infer(network, given):
        with torch.no_grad():
            return network(*given)

    def step(network, given):
        network.zero_grad(set_to_none=True)
        network(*given).square().mean().backward()

    expected = infer(peer, peer_arguments)
    difference = float((infer(ours, arguments) - expected).norm() / expected.norm())
    return VarNetPair(
        lambda: infer(ours, arguments), lambda: infer(peer, peer_arguments), lambda: step(ours, arguments),
        lambda: step(peer, peer_arguments), difference,
    )  # fmt: skip
