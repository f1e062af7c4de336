"""Residual U-Nets for the LGG system: with a ResNet-50 encoder, and the plain one of Zhang et al. (arXiv 1711.10684)."""

import socket
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib import ROOT, InputError
from lib.models.blocks import channels_last
from lib.models.registry import Count
from lib.models.state_dict import tensors, without_prefix

LEVEL_CHANNELS = (64, 128, 256, 512)


class ResidualUnit(nn.Module):
    """Normalize, activate, convolve, twice; a 1×1 convolution carries the input past it.

    Parameters
    ----------
    in_chans, chans : channels in and out
    stride : of the first convolution
    first : no normalization and activation ahead
    """

    def __init__(self, in_chans: int, chans: int, stride: int = 1, first: bool = False):
        super().__init__()
        ahead = [] if first else [nn.BatchNorm2d(in_chans), nn.ReLU(inplace=True)]
        self.body = nn.Sequential(
            *ahead, nn.Conv2d(in_chans, chans, 3, stride, 1), nn.BatchNorm2d(chans), nn.ReLU(inplace=True),
            nn.Conv2d(chans, chans, 3, 1, 1),
        )  # fmt: skip
        self.past = nn.Conv2d(in_chans, chans, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.past(x) + self.body(x)


class PlainResUNet(nn.Module):
    """Four levels of residual units, 64 to 512 channels; bilinear up-sampling on the way back (Zhang 2018, table 1)."""

    def __init__(self, in_chans: int, num_classes: int):
        super().__init__()
        self.down = nn.ModuleList(
            ResidualUnit(i, o, 1 if d == 0 else 2, first=d == 0)
            for d, (i, o) in enumerate(zip((in_chans, *LEVEL_CHANNELS), LEVEL_CHANNELS, strict=False))
        )
        self.up = nn.ModuleList(
            ResidualUnit(o + i, o) for i, o in zip(LEVEL_CHANNELS[:0:-1], LEVEL_CHANNELS[-2::-1], strict=True)
        )
        self.head = nn.Conv2d(LEVEL_CHANNELS[0], num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for unit in self.down:
            x = unit(x)
            skips.append(x)
        for unit, skip in zip(self.up, skips[-2::-1], strict=True):
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = unit(torch.cat((x, skip), 1))
        return self.head(x)


class ResUNet(nn.Module):
    """Images (N, in_chans, H, W) of any size to logits (N, num_classes, H, W); a sigmoid makes them 0 … 1.

    Sizes are padded with zeros inside. The attribute `loaded` says which weights the encoder has.

    Parameters
    ----------
    in_chans : channels of the input
    num_classes : channels of the output
    encoder : "resnet50", segmentation_models_pytorch's U-Net on a ResNet-50 (32,521,105 parameters), or "plain",
        Zhang's
    encoder_weights : for resnet50: None (random), "imagenet" (from the hub), or a file with a ResNet-50's weights
        .pt, .pth or .safetensors.

    Raises
    ------
    InputError
        For files that don't fit, weights for the plain network, and at once if the hub can't be reached.

    References
    ----------
    He et al., CVPR 2016; Zhang et al., arXiv 1711.10684, table 1.
    """

    def __init__(
        self,
        in_chans: Count = 3,
        num_classes: Count = 1,
        encoder: Literal["resnet50", "plain"] = "resnet50",
        encoder_weights: str | None = None,
    ):
        if encoder == "plain" and encoder_weights is not None:
            raise InputError("ResUNet", f"encoder_weights is {encoder_weights!r}, the plain network has none", "null")
        super().__init__()
        self.loaded = f"{encoder}, random weights"
        self.step = 32 if encoder == "resnet50" else 8
        if encoder == "plain":
            self.network: nn.Module = PlainResUNet(in_chans, num_classes)
        else:
            self.network = _resnet50(in_chans, num_classes, encoder_weights)
            self.loaded = f"resnet50, {encoder_weights or 'random weights'}"

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        x = F.pad(image, (0, -width % self.step, 0, -height % self.step))
        return self.network(channels_last(x))[..., :height, :width]


def _resnet50(in_chans: int, num_classes: int, weights: str | None) -> nn.Module:
    import segmentation_models_pytorch as smp

    if weights == "imagenet":
        weights = _from_hub(**smp.encoders.encoders["resnet50"]["pretrained_settings"]["imagenet"])
    network = smp.Unet("resnet50", encoder_weights=None, in_channels=3, classes=num_classes)
    if weights is not None:
        _load_encoder(network.encoder, ROOT / weights)
    network.encoder.set_in_channels(in_chans, pretrained=weights is not None)
    return network


def _from_hub(repo_id: str, revision: str, host: str = "huggingface.co", **about: Any) -> Path:
    """The hub's file of pretrained weights, from its cache if it is there; InputError within seconds if it can't be had."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    name = "model.safetensors"
    try:
        cached = try_to_load_from_cache(repo_id, name, revision=revision)
        if isinstance(cached, str):
            return Path(cached)
        socket.create_connection((host, 443), timeout=3).close()
        return Path(hf_hub_download(repo_id, name, revision=revision))
    except Exception as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(
            "ResUNet", f"encoder_weights imagenet: {host} can't be reached ({reason}): give a file's path or null"
        ) from None


def _load_encoder(encoder: nn.Module, path: Path) -> None:
    """A ResNet-50's weights from a file, torchvision's or smp's; InputError where they don't fit."""
    try:
        weights = without_prefix(tensors(path), encoder.state_dict(), path)
    except InputError as error:
        raise InputError("ResUNet", f"encoder_weights: {error}") from None
    try:
        if next(encoder.parameters()).is_meta:  # only a check: no memory, no values
            weights = {k: v.to("meta") for k, v in weights.items()}
        encoder.load_state_dict(weights)
    except Exception as error:
        reason = " ".join(str(error).split())[:150]
        raise InputError("ResUNet", f"encoder_weights: {path}: no weights of a ResNet-50 ({reason})") from None
