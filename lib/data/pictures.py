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
from lib.plots.panels import magnitude

Panels = dict[str, tuple[np.ndarray, np.ndarray | None]]
Item = tuple[str, Sequence[Tensor], Tensor | None]
ERROR, GAIN = "|output − truth|", 5.0
DECADES = 4  # of k-space that are shown


def reconstruction(inputs: tuple[Tensor, ...], targets: tuple[Tensor, ...], output: Tensor | None = None) -> Panels:
    """Of k-space or normalized images: targets are target (1, h, w), maximum and, of images, mean and std.

    Without an output the k-space that was sampled (root sum of squares over coils, on a logarithmic scale) comes first.
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
    """Of a cine (1, H, W, T): its middle frame; without an output also its middle row over time (to the right)."""
    both = {"input": inputs[0], "truth": targets[0]}
    images = both if output is None else {"input": inputs[0], "output": output, "truth": targets[0]}
    frames = {k: x[0, ..., x.shape[-1] // 2] for k, x in images.items()}
    rows = {f"{k}, a row over time": radial.line_over_time(x[0].movedim(-1, 0)) for k, x in both.items()}
    return _compared(frames | (rows if output is None else {}))


def labels(inputs: tuple[Tensor, ...], targets: tuple[Tensor, ...], output: Tensor | None = None) -> Panels:
    """Of segmentation: image (1, C, …, H, W), label as index or one-hot, logits (1, classes, …); of a volume one plane.

    It is the plane that holds most of the label; of three channels the middle one is shown.
    """
    image, label = inputs[0][0], targets[0][0]
    if label.ndim == image.ndim:
        label = label[0] if len(label) == 1 else label.argmax(0)
    shown: dict[str, Any] = {"truth": label}
    if output is not None:
        shown = {"output": output[0][0] > 0 if len(output[0]) == 1 else output[0].argmax(0), **shown}
    image, *found = (magnitude(x) for x in (image[len(image) // 2], *shown.values()))
    if image.ndim == 3:
        plane = int((found[-1] > 0).sum((1, 2)).argmax())
        image, *found = (x[plane] for x in (image, *found))
    low, high = np.percentile(image, (0, 99.5))
    image = (image - low) / max(high - low, 1e-12)
    return {"input": (image, None)} | {k: (image, x.astype(int)) for k, x in zip(shown, found, strict=True)}


def _compared(images: dict[str, Tensor]) -> Panels:
    """Images in the truth's window and, if there is an output, its error."""
    found = {name: magnitude(x) for name, x in images.items()}
    top = max(float(np.percentile(found["truth"], 99.5)), 1e-12)
    if "output" in found:
        found[ERROR] = abs(found["output"] - found["truth"])
    return {name: (x / top, None) for name, x in found.items()}


def log_kspace(kspace: Tensor) -> np.ndarray:
    """The magnitude of k-space (H, W) on a logarithmic scale: 1 at its maximum, 0 from DECADES below."""
    seen = magnitude(kspace)
    return (1 + np.log10(np.maximum(seen / max(float(seen.max()), 1e-30), 10.0**-DECADES)) / DECADES).clip(0, 1)


def montage(panels: Any, items: Iterable[Item], n_inp: int, classes: Sequence[str] = ()) -> Figure:
    """A figure with one row per item, drawn by the data set's function `panels`.

    items: (what stands before the row's titles, a batch of one whose first n_inp tensors are inputs, output or None).
    classes: the names of the labels' classes, the background first.
    """
    images, over, errors = {}, {}, {}
    for name, batch, output in items:
        row = panels(tuple(batch[:n_inp]), tuple(batch[n_inp:]), output)
        for what, (image, label) in row.items():
            title = f"{name}: {what}"
            images[title] = image
            over |= {} if label is None else {title: label}
            errors |= {title: GAIN} if what == ERROR else {}
    return plots.montage(images, (0, 1), len(row), labels=over, errors=errors, classes=classes if over else ())
