"""The residual channel attention network (Zhang et al., ECCV 2018), as the SNU fastMRI Challenge's third place has it."""

from typing import Literal

import torch
from torch import Tensor, nn

from lib import InputError
from lib.models.blocks import recomputed
from lib.models.registry import Count


class ChannelAttention(nn.Module):
    """Scales each channel by 0 … 1, computed from all channels' means."""

    def __init__(self, chans: int, reduction: int):
        super().__init__()
        squeezed = chans // reduction
        self.weigh = nn.Sequential(
            nn.Conv2d(chans, squeezed, 1), nn.ReLU(), nn.Conv2d(squeezed, chans, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weigh(x.mean((2, 3), keepdim=True))


class Block(nn.Module):
    """x + res_scale · attention(convolutions(x)).

    Parameters
    ----------
    chans, reduction, res_scale, activation, inplace : see RCAN
    bottleneck : squeezes to a quarter of the channels and back
    """

    def __init__(self, chans: int, reduction: int, res_scale: float, activation: str, inplace: bool, bottleneck: bool):
        super().__init__()

        def act() -> nn.Module:
            return nn.ReLU(inplace) if activation == "relu" else nn.PReLU()

        few = chans // 4
        squeezed = [nn.Conv2d(chans, few, 1), act(), nn.Conv2d(few, few, 3, padding=1), act(), nn.Conv2d(few, chans, 1)]
        plain = [nn.Conv2d(chans, chans, 3, padding=1), act(), nn.Conv2d(chans, chans, 3, padding=1)]
        self.body = nn.Sequential(*(squeezed if bottleneck else plain), ChannelAttention(chans, reduction))
        self.res_scale = res_scale

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(x, self.body(x), alpha=self.res_scale)


class Group(nn.Module):
    """Blocks and a convolution, with a skip around them."""

    def __init__(self, chans: int, n_resblocks: int, *block):
        super().__init__()
        blocks = [Block(chans, *block) for _ in range(n_resblocks)]
        self.body = nn.Sequential(*blocks, nn.Conv2d(chans, chans, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class RCAN(nn.Module):
    """Images (N, in_chans, H, W) of any size to one (N, 1, H, W): groups of residual blocks with channel attention.

    No batch norm. The published network has 4,007,721 parameters.

    Parameters
    ----------
    in_chans : channels of the input
    n_feats : channels throughout, divisible by 4 (the bottleneck's share) and by `reduction`
    n_resblocks : blocks per group
    n_resgroups : groups
    reduction : factor by which the attention squeezes the channels
    res_scale : of what a block adds to its input
    activation : "relu" or "prelu"
    inplace : a ReLU overwrites its input, as the source's does
    bottleneck : a block squeezes to a quarter of the channels and back; False: two 3×3 convolutions, as in the paper
    checkpoint_groups : groups keep only their input and are computed again in the backward pass; the result is the same

    Raises
    ------
    InputError
        For n_feats that isn't divisible.

    References
    ----------
    Zhang et al., ECCV 2018; the SNU fastMRI Challenge 2022's third place.
    """

    def __init__(
        self,
        in_chans: Count = 2,
        n_feats: Count = 160,
        n_resblocks: Count = 25,
        n_resgroups: Count = 4,
        reduction: Count = 16,
        res_scale: float = 0.125,
        activation: Literal["relu", "prelu"] = "relu",
        inplace: bool = True,
        bottleneck: bool = True,
        checkpoint_groups: bool = True,
    ):
        for name, divisor in (("4", 4), (f"reduction {reduction}", reduction)):
            if n_feats % divisor:
                raise InputError("RCAN", f"n_feats is {n_feats}", f"a number divisible by {name}")
        super().__init__()
        block = (reduction, res_scale, activation, inplace, bottleneck)
        self.head = nn.Conv2d(in_chans, n_feats, 3, padding=1)
        self.groups = nn.ModuleList(Group(n_feats, n_resblocks, *block) for _ in range(n_resgroups))
        self.tail = nn.Conv2d(n_feats, 1, 3, padding=1)
        self.checkpoint_groups = checkpoint_groups

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_chans, H, W) real to (N, 1, H, W)."""
        start = x = self.head(x)
        for group in self.groups:
            x = recomputed(group, x) if self.checkpoint_groups else group(x)
        return self.tail(x + start)
