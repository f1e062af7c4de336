"""How a batch is drawn: each data set names one of these functions as its `panels`.

Each takes a batch of one, (inputs, targets, output), output being the network's, or None to draw the batch alone. It
gives panels by name: an image (H, W), 0 black to 1 white, and the classes (H, W) to lay over it, or None.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from lib import plots
from lib.kspace import center_crop, ifft2c, radial, rss
from lib.losses import unnormalize
from lib.plots.panels import magnitude, white_point, window_of

Panels = dict[str, tuple[np.ndarray, np.ndarray | None]]
Item = tuple[str, Sequence[Tensor], Tensor | None]
ERROR, GAIN = "|output − truth|", 5.0
DECADES = 4  # of k-space that are shown


def reconstruction(inputs: tuple[Tensor, ...], targets: tuple[Tensor, ...], output: Tensor | None = None) -> Panels:
    """Panels of k-space or normalized images.

    Without an output the k-space that was sampled (root sum of squares over coils, on a logarithmic scale) comes first.

    Parameters
    ----------
    inputs : the network's, see `lib.data.fastmri.dataloaders`
    targets : target (1, h, w), maximum and, of images, mean and std
    output : the network's, or None
    """
    target, _, *scale = targets
    size, raw = tuple(target.shape[-2:]), inputs[0].is_complex()
    images = {"input": rss(ifft2c(inputs[0])) if raw else inputs[0], "output": output}
    images = {k: unnormalize(x, *scale) if scale else x for k, x in images.items() if x is not None}
    panels = _compared({k: center_crop(x, size).reshape(size) for k, x in images.items()} | {"truth": target[0]})
    return (
        {"sampled k-space, log": (log_kspace(rss(inputs[0])[0]), None), **panels} if raw and output is None else panels
    )


def series(inputs: tuple[Tensor, ...], targets: tuple[Tensor, ...], output: Tensor | None = None) -> Panels:
    """Panels of a cine: its middle frame; without an output also its middle row over time (to the right).

    Parameters
    ----------
    inputs, targets : aliased and true series (1, H, W, T), one each
    output : the network's, likewise, or None
    """
    both = {"input": inputs[0], "truth": targets[0]}
    images = both if output is None else {"input": inputs[0], "output": output, "truth": targets[0]}
    frames = {k: x[0, ..., x.shape[-1] // 2] for k, x in images.items()}
    rows = {f"{k}, a row over time": radial.line_over_time(x[0].movedim(-1, 0)) for k, x in both.items()}
    return _compared(frames | (rows if output is None else {}))


def labels(
    inputs: tuple[Tensor, ...], targets: tuple[Tensor, ...], output: Tensor | None = None, ignore_index: int | None = None
) -> Panels:  # fmt: skip
    """Panels of a segmentation; of a volume the plane that holds most of the label, of three channels the middle one.

    Parameters
    ----------
    inputs : image (1, C, …, H, W)
    targets : label (1, …, H, W) as index, or one-hot
    output : logits (1, classes, …, H, W), or None
    ignore_index : the label of pixels that aren't labeled; None: all are
    """
    image, label = inputs[0][0], targets[0][0]
    if label.ndim == image.ndim:
        hot, label = label, label[0] if len(label) == 1 else label.argmax(0)
        label = label if ignore_index is None else label.masked_fill(hot[0] == ignore_index, ignore_index)
    shown: dict[str, Any] = {"truth": label}
    if output is not None:
        shown = {"output": output[0][0] > 0 if len(output[0]) == 1 else output[0].argmax(0), **shown}
    image, *labels_shown = (magnitude(x) for x in (image[len(image) // 2], *shown.values()))
    if image.ndim == 3:
        plane = int(((labels_shown[-1] > 0) & (labels_shown[-1] != ignore_index)).sum((1, 2)).argmax())
        image, *labels_shown = (x[plane] for x in (image, *labels_shown))
    low, high = window_of({"image": image})
    image = (image - low) / (high - low)
    return {"input": (image, None)} | {k: (image, x.astype(int)) for k, x in zip(shown, labels_shown, strict=True)}


def _compared(images: dict[str, Tensor]) -> Panels:
    """Images in the truth's window and, if there is an output, its error."""
    magnitudes = {name: magnitude(x) for name, x in images.items()}
    top = white_point(magnitudes["truth"])
    if "output" in magnitudes:
        magnitudes[ERROR] = abs(magnitudes["output"] - magnitudes["truth"])
    return {name: (x / top, None) for name, x in magnitudes.items()}


def log_kspace(kspace: Tensor) -> np.ndarray:
    """The magnitude of k-space (H, W) on a logarithmic scale: 1 at its maximum, 0 from DECADES below."""
    seen = magnitude(kspace)
    return (1 + np.log10(np.maximum(seen / max(float(seen.max()), 1e-30), 10.0**-DECADES)) / DECADES).clip(0, 1)


def montage(
    panels: Any, items: Iterable[Item], n_inp: int, classes: Sequence[str] = (), ignore_index: int | None = None
) -> Figure:  # fmt: skip
    """A figure with one row per item.

    Parameters
    ----------
    panels : the data set's function, such as `reconstruction`
    items : (what stands before the row's titles, a batch of one, output or None)
    n_inp : how many tensors of a batch are inputs
    classes : names of the labels' classes, the background first
    ignore_index : the label of pixels that aren't labeled; None: all are
    """
    images, over, errors = {}, {}, {}
    for name, batch, output in items:
        row = panels(tuple(batch[:n_inp]), tuple(batch[n_inp:]), output)
        for what, (image, label) in row.items():
            title = f"{name}: {what}"
            images[title] = image
            over |= {} if label is None else {title: label}
            errors |= {title: GAIN} if what == ERROR else {}
    about = {"classes": classes, "ignore_index": ignore_index} if over else {}
    return plots.montage(images, (0, 1), len(row), labels=over, errors=errors, **about)
