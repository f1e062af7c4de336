"""How soon a VarNet is good: ways of training it, each with the same time, for `54_time_to_quality`.

Time is what a way's steps compute, as the process's clock counts it, reading included, validation not. Other processes' time isn't
counted, though they share the machine's caches and memory.
"""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lib import InputError, losses, metrics, models, training
from lib.data.fastmri import dataloaders
from lib.kspace import center_crop, fftc, ifftc
from lib.phantoms.simulated_kspace import training_slices
from lib.plots.style import MUTED, WIDTH, look, styled
from tools.benchmark import DEMO
from tools.peer_rows import their_loader


class Way(NamedTuple):
    """A way of training a VarNet.

    Parameters
    ----------
    learning_rate : of Adam
    betas : of Adam
    schedule : a kind of `lib.training.schedule`, over the whole time
    loss : a name of `lib.losses`
    batch_size : slices
    average : decay of a running mean of the weights, which is what is validated; 0: none
    short : share of the time in which only half of the rows are trained on, at a random place
    start : weights to begin with
    """

    learning_rate: float = 3e-4
    betas: tuple[float, float] = (0.9, 0.999)
    schedule: str = "constant"
    loss: str = "ssim"
    batch_size: int = 1
    average: float = 0.0
    short: float = 0.0
    start: Mapping[str, Tensor] | None = None


class Trained(NamedTuple):
    """Validation SSIM after so many seconds of training, the steps that were made, and the weights at the end."""

    seconds: list[float]
    ssim: list[float]
    steps: int
    weights: Mapping[str, Tensor]


def fastmri_recipe(folder: Path, mask: Mapping[str, Any], seconds: float, looks: int, seed: int = 0) -> Trained:
    """fastMRI's own classes as its VarNet example puts them together: data set, transform, network, SSIM loss, Adam 3e-4.

    Its schedule lowers the rate after 40 epochs, which are not reached.

    Parameters
    ----------
    folder : of a prepared set
    mask : settings of `make_mask`, of kind equispaced_fraction, which is fastMRI's, with a center_fraction
    seconds : of training
    looks : how often it is validated
    seed : of the weights and the order

    Raises
    ------
    InputError
        For a mask of another kind.
    """
    if mask.get("kind") != "equispaced_fraction" or "center_fraction" not in mask:
        raise InputError(
            f"mask {dict(mask)}", "fastMRI's own loader can't draw it", "equispaced_fraction with center_fraction"
        )
    from fastmri.data.transforms import center_crop_to_smallest
    from fastmri.losses import SSIMLoss
    from fastmri.models import VarNet

    torch.manual_seed(seed)
    network, loss = VarNet(**DEMO), SSIMLoss()
    optimizer = torch.optim.Adam(network.parameters(), 3e-4)

    def step(batch: Any, _: float) -> None:
        output = network(batch.masked_kspace, batch.mask, batch.num_low_frequencies)
        target, output = center_crop_to_smallest(batch.target, output)
        value = loss(output.unsqueeze(1), target.unsqueeze(1), data_range=batch.max_value)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()

    def reconstruct(kspace: Tensor, columns: Tensor, number: Tensor) -> Tensor:
        return network(torch.view_as_real(kspace), columns.unsqueeze(-1), int(number[0]))

    loader = their_loader(folder, acceleration=mask["acceleration"], center=mask["center_fraction"])
    return _run(network, step, _endless(loader), reconstruct, _held_out(folder, mask), seconds, looks)


def ours(
    way: Way, folder: Path, mask: Mapping[str, Any], seconds: float, looks: int, seed: int = 0, kspace: str = "prepared"
) -> Trained:  # fmt: skip
    """A way of training our VarNet; see `fastmri_recipe`. kspace: prepared, or simulated anew in each step."""
    torch.manual_seed(seed)
    network = models.build("VarNet", **DEMO)
    if way.start:
        network.load_state_dict(way.start)
    drawn, settings = training_slices(kspace, "kspace", seed), {"batch_size": way.batch_size, "bucket_sampling": True}
    loader = dataloaders(folder, mask, **settings, seed=seed, train=drawn)
    optimizer = torch.optim.Adam(network.parameters(), way.learning_rate, way.betas)
    rate = training.schedule(way.schedule, way.learning_rate).scheds["lr"]
    loss, places = losses.by_name(way.loss), np.random.default_rng(seed)
    mean = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(way.average)) if way.average else None

    def step(batch: Sequence[Tensor], share: float) -> None:
        given, (target, peak) = list(batch[:3]), batch[3:5]
        if share < way.short:
            given[0], target = _rows(given[0], target, places)
        optimizer.param_groups[0]["lr"] = rate(share)
        optimizer.zero_grad()
        output = network(*given)
        loss(center_crop(output, tuple(target.shape[-2:])), target, peak).backward()
        optimizer.step()
        if mean:
            mean.update_parameters(network)

    shown = mean or network
    return _run(shown, step, _endless(loader.train), shown, _held_out(folder, mask), seconds, looks)


def _rows(kspace: Tensor, target: Tensor, places: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Half of the rows, which are fully sampled, at a random place: exact, by way of the image along them."""
    (height, shown), rows = (kspace.shape[-2], target.shape[-2]), kspace.shape[-2] // 2
    first = int(places.integers(max(1, shown - rows + 1)))  # of the target, which has the middle rows of the image
    row = (height - shown) // 2 + first
    cut = fftc(ifftc(kspace, (-2,))[..., row : row + rows, :], (-2,))
    return cut, target[..., first : first + rows, :]


def _held_out(folder: Path, mask: Mapping[str, Any]) -> list[Any]:
    return list(dataloaders(folder, mask, batch_size=1).valid)


def _endless(loader: Any) -> Iterator[Any]:
    for epoch in itertools.count():
        loader.batch_sampler.epoch = epoch  # ours draws by it, torch's takes no notice
        yield from loader


def _run(
    network: nn.Module, step: Callable[[Any, float], None], batches: Iterator[Any], reconstruct: Callable[..., Tensor],
    held_out: Sequence[Any], seconds: float, looks: int,
) -> Trained:  # fmt: skip
    """Steps until the time is over, validated at the same times for all."""
    network.train()
    used, steps, at, scores = 0.0, 0, [], []
    while used < seconds:
        begun = time.process_time()
        step(next(batches), used / seconds)
        used, steps = used + time.process_time() - begun, steps + 1
        if used >= seconds * (len(at) + 1) / looks or used >= seconds:
            at.append(used)
            scores.append(_score(network, reconstruct, held_out))
    weights = {key.removeprefix("module."): value for key, value in network.state_dict().items() if key != "n_averaged"}
    return Trained(at, scores, steps, weights)


@torch.no_grad()
def _score(network: nn.Module, reconstruct: Callable[..., Tensor], held_out: Sequence[Any]) -> float:
    """Mean SSIM of the validation slices, each with its file's maximum as data range."""
    network.eval()
    found = []
    for kspace, columns, number, target, peak, *_ in held_out:
        image = center_crop(reconstruct(kspace, columns, number), tuple(target.shape[-2:]))
        found.append(metrics.ssim(image, target, float(peak[0])))
    network.train()
    return float(np.mean(found))


def reached(found: Trained, goal: float) -> float | None:
    """The seconds after which an SSIM was reached, between looks by a straight line; None: never."""
    first = next((i for i, score in enumerate(found.ssim) if score >= goal), None)
    if not first:  # never, or at the first look
        return None if first is None else found.seconds[0]
    between = slice(first - 1, first + 1)
    return float(np.interp(goal, found.ssim[between], found.seconds[between]))


@styled
def chart(found: Mapping[str, Trained], goal: float) -> Figure:
    """SSIM of validation slices over the minutes of training; the line is the goal."""
    fig, ax = plt.subplots(figsize=(WIDTH, 4.6), layout="constrained")
    for i, (name, trained) in enumerate(found.items()):
        ax.plot(np.array(trained.seconds) / 60, trained.ssim, label=name, **look(i))
    ax.axhline(goal, color=MUTED, linestyle="--", linewidth=1)
    ax.set(xlabel="minutes of training (one core)", ylabel="SSIM, validation slices", xlim=(0, None))
    fig.legend(loc="outside right upper")
    return fig
