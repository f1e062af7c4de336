"""The SNU fastMRI Challenge 2022's third place: a trained VarNet, its image beside GRAPPA's, and an RCAN on both."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lib import InputError
from lib.kspace import center_crop, flip_count, flip_kspace, flip_mask
from lib.kspace.grappa import KERNEL
from lib.models.rcan import RCAN
from lib.models.registry import build

TURNS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {  # an image turned, and turned back
    "identity": (lambda x: x, lambda x: x),
    "flip_h": (lambda x: x.flip(-2), lambda x: x.flip(-2)),
    "flip_w": (lambda x: x.flip(-1), lambda x: x.flip(-1)),
    "turn_180": (lambda x: x.flip(-2, -1), lambda x: x.flip(-2, -1)),
    "turn_90": (lambda x: x.rot90(1, (-2, -1)), lambda x: x.rot90(-1, (-2, -1))),
    "turn_270": (lambda x: x.rot90(-1, (-2, -1)), lambda x: x.rot90(1, (-2, -1))),
}
REVERSED_AXES = {"identity": (), "flip_h": (-2,), "flip_w": (-1,), "turn_180": (-2, -1)}  # that a turn reverses


class Refine(nn.Module):
    """Normalizes each channel of images (N, C, H, W), applies the RCAN, and puts its image (N, H, W) into their units.

    An image that is the same everywhere has no scale and is only shifted.

    Parameters
    ----------
    rcan : of C input channels
    statistics : whose mean and deviation the image gets: "joint", all channels' together (the source's), or
        "channel", the first's, which it corrects
    residual : what the RCAN makes is added to the first channel, at the start of training nothing
    """

    def __init__(self, rcan: RCAN, statistics: str, residual: bool):
        super().__init__()
        self.rcan, self.joint, self.residual = rcan, statistics == "joint", residual
        if residual:
            nn.init.zeros_(rcan.tail.weight)
            nn.init.zeros_(rcan.tail.bias)

    def forward(self, images: Tensor) -> Tensor:
        std, mean = torch.std_mean(images, (2, 3), keepdim=True)
        x = (images - mean) / torch.where(std > 0, std, 1)
        image = self.rcan(x).squeeze(1).float()
        if self.joint:
            std, mean = torch.std_mean(images, (1, 2, 3), keepdim=True)
        return image * std[:, 0] + (images[:, 0] if self.residual else mean[:, 0])


class VarNetRCAN(nn.Module):
    """Undersampled k-space and its GRAPPA image to an image: VarNet, then an RCAN on VarNet's and GRAPPA's images.

    The published network has the defaults.

    Parameters
    ----------
    varnet : settings of the VarNet
    rcan : settings of the RCAN, without in_chans (2, or 1 without GRAPPA)
    freeze : VarNet isn't trained, and its part runs without gradients
    use_grappa : False: the RCAN sees VarNet's image alone
    statistics, residual : see `Refine`
    grappa_kernel : readout points and lines with which `lib.kspace.grappa` makes the GRAPPA image, for data sets
    grappa_regularization : likewise

    Raises
    ------
    InputError
        For settings that no network can be built with.

    References
    ----------
    The SNU fastMRI Challenge 2022's third place.
    """

    def __init__(
        self,
        varnet: dict[str, Any] | None = None,
        rcan: dict[str, Any] | None = None,
        freeze: bool = True,
        use_grappa: bool = True,
        statistics: Literal["joint", "channel"] = "joint",
        residual: bool = False,
        grappa_kernel: Sequence[int] = KERNEL,
        grappa_regularization: float | None = None,
    ):
        if len(grappa_kernel) != 2 or not all(isinstance(n, int) for n in grappa_kernel):
            raise InputError("VarNetRCAN", f"grappa_kernel is {grappa_kernel!r}", "readout points and lines")
        if "in_chans" in (rcan or {}):
            raise InputError("VarNetRCAN", "rcan: in_chans follows from use_grappa: leave it out")
        super().__init__()
        self.varnet = build("VarNet", **(varnet or {})).requires_grad_(not freeze)
        self.refine = Refine(build("RCAN", in_chans=2 if use_grappa else 1, **(rcan or {})), statistics, residual)
        self.freeze, self.use_grappa = freeze, use_grappa
        self.grappa = {"kernel_size": list(grappa_kernel), "regularization": grappa_regularization}

    @property
    def label(self) -> str:
        """What tables call it."""
        return "VarNet + RCAN + GRAPPA" if self.use_grappa else "VarNet + RCAN"

    def forward(
        self, masked_kspace: Tensor, mask: Tensor, grappa: Tensor, num_low_frequencies: int | Tensor | None = None
    ) -> Tensor:
        """K-space to an image in the data's units; VarNet's is cropped to the GRAPPA image's size.

        Parameters
        ----------
        masked_kspace, mask : as VarNet takes them
        grappa : real (N, h, w)
        num_low_frequencies : as VarNet takes it

        Returns
        -------
        Real (N, h, w).
        """
        return self.refine(self.images(masked_kspace, mask, grappa, num_low_frequencies))

    def images(
        self, masked_kspace: Tensor, mask: Tensor, grappa: Tensor, num_low_frequencies: int | Tensor | None = None
    ) -> Tensor:
        """The RCAN's images before they are normalized: VarNet's, then GRAPPA's, (N, 2 or 1, h, w)."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze):
            image = center_crop(self.varnet(masked_kspace, mask, num_low_frequencies), tuple(grappa.shape[-2:]))
        return torch.stack((image, grappa), 1) if self.use_grappa else image.unsqueeze(1)


class SelfEnsemble(nn.Module):
    """A VarNetRCAN's mean over flipped and turned inputs, each output turned back.

    Parameters
    ----------
    model : trained; one of the user's own without `images` and `refine` is turned as a whole, as of "kspace"
    turns : names of TURNS
    of : "image" turns what goes into the RCAN, "kspace" what goes into the whole cascade
        90° turns need square images, and k-space can't take them: they would move the phase encode to the other axis.

    Raises
    ------
    InputError
        For other names.

    References
    ----------
    Lim et al., CVPR workshops 2017.
    """

    def __init__(self, model: VarNetRCAN, turns: Iterable[str] = ("identity", "flip_w"), of: str = "image"):
        super().__init__()
        known = {"image": TURNS, "kspace": REVERSED_AXES}
        if of not in known:
            raise InputError("self_ensemble", f"of is {of!r}", "image or kspace")
        self.model, self.turns = model, list(turns)
        self.of = of if hasattr(model, "refine") else "kspace"
        for turn in self.turns or [""]:
            if turn not in known[of]:
                raise InputError("self_ensemble", f"turns of {of}: {turn!r}", f"some of {', '.join(known[of])}")

    def check(self, size: tuple[int, int]) -> None:
        """InputError for a 90° turn of images of that size, if they aren't square."""
        if size[0] != size[1] and any(t not in REVERSED_AXES for t in self.turns):
            raise InputError("self_ensemble", f"90° turns of {tuple(size)} images, which aren't square")

    def forward(
        self, masked_kspace: Tensor, mask: Tensor, grappa: Tensor, num_low_frequencies: int | Tensor = 0
    ) -> Tensor:
        """As `VarNetRCAN.forward`; InputError for a 90° turn of images that aren't square."""
        self.check(grappa.shape[-2:])
        if self.of == "image":
            images = self.model.images(masked_kspace, mask, grappa, num_low_frequencies)
            parts = [TURNS[turn][1](self.model.refine(TURNS[turn][0](images))) for turn in self.turns]
        else:
            size = tuple(grappa.shape[-2:])
            parts = []
            for turn in self.turns:
                (forth, back), axes = TURNS[turn], REVERSED_AXES[turn]
                kspace, columns = flip_kspace(masked_kspace, axes, size), flip_mask(mask, axes)
                image = self.model(kspace, columns, forth(grappa), flip_count(num_low_frequencies, axes))
                parts.append(back(image))
        return torch.stack(parts).mean(0)
