"""One validation case as pictures while a network trains: what goes in, what comes out, what is true.

Each function takes a batch of one, (inputs, output, targets) as `Learner` has them, and gives panels by name: an image
(H, W), 0 black to 1 white, and the classes (H, W) to lay over it or None.
"""

import numpy as np
from torch import Tensor

from lib.kspace import center_crop, ifft2c, rss
from lib.losses import unnormalise
from lib.plots.panels import magnitude

Panels = dict[str, tuple[np.ndarray, np.ndarray | None]]
ERROR = "|output − truth|"


def reconstruction(inputs: tuple[Tensor, ...], output: Tensor, targets: tuple[Tensor, ...]) -> Panels:
    """Of k-space or normalised images: targets are target (1, h, w), maximum and, of images, mean and std."""
    target, _, *scale = targets
    image = rss(ifft2c(inputs[0])) if inputs[0].is_complex() else inputs[0]
    image, output = (unnormalise(x, *scale) if scale else x for x in (image, output))
    size = tuple(target.shape[-2:])
    return _compared(*(center_crop(x, size).reshape(size) for x in (image, output, target)))


def series(inputs: tuple[Tensor, ...], output: Tensor, targets: tuple[Tensor, ...]) -> Panels:
    """Of a cine (1, H, W, T): its middle frame."""
    return _compared(*(x[0, ..., x.shape[-1] // 2] for x in (inputs[0], output, targets[0])))


def labels(inputs: tuple[Tensor, ...], output: Tensor, targets: tuple[Tensor, ...]) -> Panels:
    """Of segmentation: image (1, C, …, H, W), logits (1, classes, …), label as index or one-hot; of a volume one plane.

    It is the plane that holds most of the label; of three channels the middle one is shown.
    """
    image, score, label = inputs[0][0], output[0], targets[0][0]
    found = score[0] > 0 if len(score) == 1 else score.argmax(0)
    if label.ndim == score.ndim:
        label = label[0] if len(label) == 1 else label.argmax(0)
    image, found, label = (magnitude(x) for x in (image[len(image) // 2], found, label))
    if label.ndim == 3:
        plane = int((label > 0).sum((1, 2)).argmax())
        image, found, label = image[plane], found[plane], label[plane]
    low, high = np.percentile(image, (0, 99.5))
    image = (image - low) / max(high - low, 1e-12)
    return {"input": (image, None), "output": (image, found.astype(int)), "truth": (image, label.astype(int))}


def _compared(image: Tensor, output: Tensor, truth: Tensor) -> Panels:
    """Three images in the truth's window, and their error."""
    images = {"input": magnitude(image), "output": magnitude(output), "truth": magnitude(truth)}
    top = max(float(np.percentile(images["truth"], 99.5)), 1e-12)
    images |= {ERROR: abs(images["output"] - images["truth"])}
    return {name: (x / top, None) for name, x in images.items()}
