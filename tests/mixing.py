"""A network whose windows all count, for tests of what puts windows together."""

import torch
from torch import nn


class Mixer(nn.Module):
    """Logits of 3 classes that depend on all channels and on a voxel's place in its window."""

    def __init__(self, channels=1):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv3d(channels, 3, 3, padding=1)

    def forward(self, x):
        return self.conv(x) + torch.linspace(-1, 1, x.shape[2]).view(1, 1, -1, 1, 1)
