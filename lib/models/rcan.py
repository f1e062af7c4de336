"""The residual channel attention network (Zhang et al., ECCV 2018), as the SNU fastMRI Challenge's third place has it."""

import torch
from torch import Tensor, nn

from lib import InputError
from lib.models.blocks import check_counts, check_flags, recomputed


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
    """x + res_scale · attention(convolutions(x)); the bottleneck squeezes to a quarter of the channels and back."""

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
    """Images (N, in_chans, H, W) of any size to one image (N, 1, H, W): n_resgroups groups of n_resblocks blocks.

    n_feats: channels throughout, divisible by 4 (the bottleneck's share) and by `reduction` (the attention's).
    activation: relu (`inplace`: it overwrites its input, as the source's does) or prelu. bottleneck False: two 3×3 convolutions a block, as in the paper. checkpoint_groups: groups keep only their
    input and are computed again in the backward pass; output and gradients stay the same. No batch norm.
    Raises InputError for settings that no network can be built with. The published network has 4,007,721 parameters.
    """

    def __init__(
        self,
        in_chans: int = 2,
        n_feats: int = 160,
        n_resblocks: int = 25,
        n_resgroups: int = 4,
        reduction: int = 16,
        res_scale: float = 0.125,
        activation: str = "relu",
        inplace: bool = True,
        bottleneck: bool = True,
        checkpoint_groups: bool = True,
    ):
        check_counts("RCAN", in_chans=in_chans, n_feats=n_feats, n_resblocks=n_resblocks, n_resgroups=n_resgroups)
        check_counts("RCAN", reduction=reduction)
        for name, divisor in (("4", 4), (f"reduction {reduction}", reduction)):
            if n_feats % divisor:
                raise InputError("RCAN", f"n_feats is {n_feats}", f"a number divisible by {name}")
        check_flags("RCAN", inplace=inplace, bottleneck=bottleneck, checkpoint_groups=checkpoint_groups)
        if isinstance(res_scale, bool) or not isinstance(res_scale, int | float):
            raise InputError("RCAN", f"res_scale is {res_scale!r}", "a number")
        if activation not in ("relu", "prelu"):
            raise InputError("RCAN", f"activation is {activation!r}", "relu or prelu")
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
