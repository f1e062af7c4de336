"""What `50_benchmark` measures besides networks and GRAPPA: our part and a peer's at equal results, each a pair of calls."""

import copy
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import torch
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from lib import ROOT, InputError, files, losses, metrics, models
from lib.data.fastmri import dataloaders
from lib.data.index import VERIFIED, write_set
from lib.data.kspace_headers import KEPT
from lib.inference.sliding_window import slabs
from lib.kspace.espirit import espirit
from lib.memory import peak_memory, training_bytes
from lib.metrics import segmentation
from tools.benchmark import quiet, step

HEADER = """<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><encoding>
<encodedSpace><matrixSize><x>{rows}</x><y>{columns}</y><z>1</z></matrixSize></encodedSpace>
<reconSpace><matrixSize><x>{side}</x><y>{side}</y><z>1</z></matrixSize></reconSpace>
<encodingLimits><kspace_encoding_step_1><minimum>0</minimum><maximum>{last}</maximum><center>{center}</center>
</kspace_encoding_step_1></encodingLimits></encoding></ismrmrdHeader>"""
MASK = {"kind": "equispaced", "acceleration": 4, "center_fraction": 0.08}


class Row(NamedTuple):
    """Ours and the peer's call, how far their results are apart (relative), and the ratio that is asked for."""

    ours: Callable[[], Any]
    theirs: Callable[[], Any]
    difference: float
    asked: float


def write_volumes(folder: Path, volumes: int, slices: int, shape: tuple[int, int, int], seed: int = 0) -> None:
    """A set of k-space volumes of noise in fastMRI's layout below `folder`/train and val, with its set.json."""
    rng, (_, rows, columns) = np.random.default_rng(seed), shape
    side = min(rows, columns, 320)
    header = HEADER.format(rows=rows, columns=columns, side=side, last=columns - 1, center=columns // 2)
    entries = []
    for split, count in (("train", volumes), ("val", 1)):
        (folder / split).mkdir(parents=True)
        for i in range(count):
            path = folder / split / f"file{i:05d}.h5"
            with h5py.File(path, "w") as file:
                noise = rng.standard_normal((slices, *shape, 2), np.float32)
                file["kspace"] = noise.view(np.complex64)[..., 0]
                file["reconstruction_rss"] = rng.random((slices, side, side), np.float32)
                file["ismrmrd_header"] = header
                file.attrs["max"], file.attrs["patient_id"] = 1.0, str(i)
            entries.append({"split": split, "path": f"{split}/{path.name}", "person": f"{split}{i}", "slices": slices})
    write_set(folder, "noise", "k-space", entries)


def their_loader(
    folder: Path, workers: int = 0, cache: Path | None = None, acceleration: int = 4, center: float = 0.08
) -> DataLoader:  # fmt: skip
    """fastMRI's data set and transform, as its own VarNet example feeds it; masks of that acceleration and share of center lines."""
    from fastmri.data.mri_data import SliceDataset
    from fastmri.data.subsample import EquispacedMaskFractionFunc
    from fastmri.data.transforms import VarNetDataTransform

    transform = VarNetDataTransform(EquispacedMaskFractionFunc([center], [acceleration]), use_seed=False)
    kept = {"use_dataset_cache": True, "dataset_cache_file": cache} if cache else {}
    slices = SliceDataset(folder / "train", "multicoil", transform, **kept)
    many = {"persistent_workers": True, "multiprocessing_context": "fork"} if workers else {}  # it can't be pickled
    return DataLoader(slices, batch_size=1, num_workers=workers, shuffle=True, **many)


def our_loader(folder: Path, workers: int = 0) -> Any:
    """Ours, as `21_train_kspace` feeds VarNet."""
    return dataloaders(folder, MASK, num_workers=workers).train


def reading(folder: Path, workers: int) -> Row:
    """One pass over a set: masks, targets and batches of one slice."""
    ours, theirs = our_loader(folder, workers), their_loader(folder, workers)
    (kspace, mask, *_), batch = next(iter(ours)), next(iter(theirs))
    shapes = tuple(kspace.shape) == tuple(batch.masked_kspace.shape[:-1])
    right = shapes and not kspace[..., ~mask[0, 0, 0]].any()
    if not right:
        raise InputError("reading", "other shapes, or values where nothing is sampled")
    return Row(lambda: _drain(ours), lambda: _drain(theirs), np.nan, 3)


def _drain(loader: Any) -> float:
    """A batch after the other, each looked at, as a network would."""
    return sum(float(batch[0].flatten()[0].abs()) for batch in loader)


def first_batch(folder: Path, warm: bool) -> Row:
    """From nothing to the first batch of a large set; warm: with what a former start has left beside it."""
    cache = folder / "their_cache.pkl"

    def ours() -> None:
        if not warm:
            files._known.clear()  # nor does this process know a checksum
            for name in (KEPT, VERIFIED):
                (folder / name).unlink(missing_ok=True)
        next(iter(our_loader(folder)))

    def theirs() -> None:
        if not warm:
            cache.unlink(missing_ok=True)
        next(iter(their_loader(folder, cache=cache)))

    return Row(ours, theirs, np.nan, 5)


def similarity(shape: tuple[int, int, int], seed: int = 0) -> Row:
    """SSIM of a volume (S, H, W) against scikit-image's, slice by slice, with the volume's data range."""
    from skimage.metrics import structural_similarity

    rng = np.random.default_rng(seed)
    truth = rng.random(shape)
    output, peak = truth + 0.1 * rng.standard_normal(shape), float(truth.max())

    def theirs() -> float:
        pairs = zip(output, truth, strict=True)
        return float(np.mean([structural_similarity(a, b, data_range=peak) for a, b in pairs]))

    return Row(lambda: metrics.ssim(output, truth), theirs, abs(metrics.ssim(output, truth) / theirs() - 1), 3)


def similarity_losses(shape: tuple[int, int, int], seed: int = 0) -> dict[str, Row]:
    """1 − SSIM with its gradient of images (N, H, W): fastMRI's loss, and pytorch-msssim's with its own Gaussian window."""
    from fastmri.losses import SSIMLoss as TheirLoss
    from pytorch_msssim import ssim as gaussian_ssim

    draw = torch.Generator().manual_seed(seed)
    target = torch.rand(shape, generator=draw)
    output = (target + 0.1 * torch.randn(shape, generator=draw)).requires_grad_()
    peak, fastmri_loss, our_loss = target.amax((1, 2)), TheirLoss(), losses.SSIMLoss()

    def step(loss: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
        return lambda: torch.autograd.grad(loss(), output)[0]

    ours = step(lambda: our_loss(output, target, peak))
    theirs = step(lambda: fastmri_loss(output[:, None], target[:, None], data_range=peak))
    other = step(lambda: 1 - gaussian_ssim(output[:, None], target[:, None], data_range=1.0, win_size=7))
    apart = float((ours() - theirs()).norm() / theirs().norm())
    return {"fastmri.losses.SSIMLoss": Row(ours, theirs, apart, 6), "pytorch-msssim": Row(ours, other, np.nan, 6)}


def surfaces(side: int, classes: int = 3, seed: int = 0) -> dict[str, Row]:
    """Dice, and the 95th percentile of the Hausdorff distance, of two labels of balls in a cube, against MONAI's."""
    from monai.metrics import compute_dice, compute_hausdorff_distance

    rng, grid = np.random.default_rng(seed), np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"))
    label, output = np.zeros((side,) * 3, np.uint8), np.zeros((side,) * 3, np.uint8)
    for c in range(1, classes):
        center, radius = rng.uniform(0.35, 0.65, 3) * side, side * 0.5 / (c + 1)
        for volume, off in ((label, 0), (output, side / 64)):
            volume[((grid - center[:, None, None, None] - off) ** 2).sum(0) < radius**2] = c

    def hot(x: np.ndarray) -> torch.Tensor:
        return torch.stack([torch.from_numpy(x == c) for c in range(classes)])[None].float()

    def their_dice() -> np.ndarray:
        return compute_dice(hot(output), hot(label), include_background=True)[0].numpy()

    def their_distance() -> np.ndarray:
        return compute_hausdorff_distance(hot(output), hot(label), percentile=95)[0].numpy()

    rows = {}
    for name, ours, theirs, first, asked in (
        ("Dice", segmentation.dice, quiet(their_dice), 0, 1),
        ("Hausdorff 95", segmentation.hausdorff95, quiet(their_distance), 1, 3),
    ):  # fmt: skip
        call = partial(ours, output, label, classes)
        rows[name] = Row(call, theirs, float(np.abs(call()[first:] / theirs() - 1).max()), asked)
    return rows


def sensitivities(kspace: torch.Tensor) -> Row:
    """ESPIRiT's maps of k-space (C, H, W) from its center of 24 × 24, against sigpy's, compared where both have signal."""
    from sigpy.mri.app import EspiritCalib

    (_, height, width), half = kspace.shape, 12
    center = kspace[:, height // 2 - half : height // 2 + half, width // 2 - half : width // 2 + half]
    ours = partial(espirit, center, (height, width))

    def theirs() -> np.ndarray:
        return EspiritCalib(
            kspace.numpy(), calib_width=24, thresh=0.02, kernel_width=6, crop=0.95, show_pbar=False
        ).run()

    a, b = ours().numpy(), theirs()
    both = (abs(a).sum(0) > 0) & (abs(b).sum(0) > 0)
    return Row(ours, quiet(theirs), float(np.linalg.norm((a - b)[:, both]) / np.linalg.norm(b[:, both])), 2)


def sliding_window(shape: tuple[int, int, int], patch: int, seed: int = 0) -> tuple[Row, dict[str, int]]:
    """Three classes of a volume by a 1×1×1 convolution in overlapping windows, against MONAI's; and the bytes that both hold."""
    from monai.inferers import sliding_window_inference

    torch.manual_seed(seed)
    volume, network = np.random.default_rng(seed).random(shape, np.float32), torch.nn.Conv3d(1, 3, 1).eval()

    def ours() -> list[torch.Tensor]:
        return [slab[:, 0, 0, 0].clone() for _, slab in slabs(network, volume, (patch,) * 3)]

    @torch.no_grad()
    def theirs() -> torch.Tensor:
        image = torch.from_numpy(volume)[None, None]
        return sliding_window_inference(image, (patch,) * 3, 1, lambda x: network(x).softmax(1), 0.5, mode="gaussian")

    expected, apart = theirs()[0], 0.0
    for first, slab in slabs(network, volume, (patch,) * 3):
        apart = max(apart, float((slab - expected[:, first : first + slab.shape[1]]).abs().max()))
    del expected
    return Row(ours, theirs, apart, 1 / 1.1), {"ours": peak_memory(ours), "theirs": peak_memory(theirs)}


def network_steps(quick: bool = False, seed: int = 0) -> tuple[dict[str, Row], dict[str, float]]:
    """Training steps of our 3-D networks at published size against MONAI's DynUNet with as many parameters (within 4 %).

    Its down-sampling convolutions take the place of our pooling. A UNet3D has no normalization, so MONAI's loses its own. They
    are other networks: the second result is what MONAI's computes, of ours, in FLOPs of the forward pass.
    """
    from monai.networks.nets import DynUNet

    torch.manual_seed(seed)
    flat, few, how = (2, 2, 1), 4 if quick else 1, {"norm_name": "batch", "act_name": "relu"}
    cine, wide = ([n // few for n in widths] for widths in ((32, 64, 128, 256, 512), (59, 118, 236, 472)))
    theirs = {
        "UNet3D": partial(DynUNet, 3, 1, 1, [3] * 5, [1, *[flat] * 4], [flat] * 4, cine, **how),
        "VolumeUNet": partial(DynUNet, 3, 1, 3, [3] * 4, [1, 2, 2, 2], [2] * 3, wide, **how),
    }
    given = {
        "UNet3D": torch.rand(1, *((16, 16, 4) if quick else (128, 128, 20))),
        "VolumeUNet": torch.randn(1, 1, *[16 if quick else 128] * 3),
    }
    rows, shares = {}, {}
    for name, make in theirs.items():
        ours, peer, x = models.build(name, base_filters=32 // few).train(), quiet(make)().train(), given[name]
        if name == "UNet3D":
            _without_norms(peer)
        seen = x[:, None] if name == "UNet3D" else x
        parameters = [sum(p.numel() for p in network.parameters()) for network in (peer, ours)]
        if not quick and abs(parameters[0] / parameters[1] - 1) > 0.04:
            raise InputError(name, f"MONAI's has {parameters[0]:,} parameters", f"about {parameters[1]:,}")
        rows[name] = Row(partial(step, ours, x), partial(step, peer, seen), np.nan, 1.3 if name == "UNet3D" else 1.2)
        shares[name] = _flops(peer, seen) / _flops(ours, x)
    return rows, shares


def _flops(network: torch.nn.Module, given: torch.Tensor) -> int:
    with FlopCounterMode(display=False) as counter:
        copy.deepcopy(network).to("meta")(given.to("meta"))
    return counter.get_total_flops()


def rcan_step(quick: bool = False, seed: int = 0) -> tuple[Row, float]:
    """A training step of RCAN at published depth against the same without gradient checkpointing, and its share of the memory."""
    settings = models.tiny("VarNetRCAN", {})["rcan"] if quick else {}
    given = torch.randn(1, 2, *[32 if quick else 64] * 2)
    networks, held = [], []
    for kept_small in (True, False):
        torch.manual_seed(seed)
        how = settings | {"checkpoint_groups": kept_small}
        networks.append(models.build("RCAN", **how).train())
        held.append(training_bytes(partial(models.build, "RCAN", **how), given)["activations"])
    gradients = []
    for network in networks:
        step(network, given)
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters()]))
    apart = float((gradients[0] - gradients[1]).norm() / gradients[1].norm())
    ours, plain = (partial(step, network, given) for network in networks)
    return Row(ours, plain, apart, 1 / 1.4), held[0] / held[1]


def _without_norms(network: torch.nn.Module) -> None:
    for block in list(network.modules()):
        for name, part in block.named_children():
            if isinstance(part, torch.nn.BatchNorm3d):
                setattr(block, name, torch.nn.Identity())


def import_seconds() -> float:
    """How much longer a process takes that imports lib, than one that imports nothing: the median of five."""
    times = []
    for _ in range(5):
        begun = [time.perf_counter()]
        for code in ("pass", "import lib"):
            subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
            begun.append(time.perf_counter())
        times.append(begun[2] - 2 * begun[1] + begun[0])
    return statistics.median(times)
