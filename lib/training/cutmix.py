"""CutMix between a frozen network and the one behind it."""

import numpy as np
from fastai.basics import Callback
from torch import Tensor

from lib.data.kspace_augment import check_cutmix


class CutMix(Callback):
    """Pastes a box of another sample of the batch into the input of `model.refine` and into the target.

    The input is what a frozen network made, in the data's units; the box covers 1 − λ of the image, λ uniform.

    Parameters
    ----------
    probability : share of the batches that is mixed
    seed : of the boxes

    Raises
    ------
    InputError
        For batches of one sample.

    References
    ----------
    Yun et al., ICCV 2019.
    """

    def __init__(self, probability: float, seed: int = 0):
        self.probability, self.seed, self.hook, self.box = probability, seed, None, None

    def before_fit(self):
        self.after_fit()  # an interrupted fit leaves its hook behind
        check_cutmix(self.probability, self.dls.train.batch_sampler.batch_size)
        self.hook = self.model.refine.register_forward_pre_hook(
            lambda module, inputs: (self._mixed(inputs[0]) if module.training else inputs[0],)
        )

    def before_batch(self):
        rng = np.random.default_rng((self.seed, self.epoch, self.iter, 2))
        self.box = None
        if self.training and len(self.yb[0]) > 1 and rng.uniform() < self.probability:
            share = (1 - rng.uniform()) ** 0.5
            height, width = self.yb[0].shape[-2:]
            rows, columns = (_interval(rng, size, share) for size in (height, width))
            self.box = (..., rows, columns)
            self.learn.yb = (self._mixed(self.yb[0]), *self.yb[1:])

    def _mixed(self, x: Tensor) -> Tensor:
        if self.box is None:
            return x
        x = x.clone()
        x[self.box] = x.roll(1, 0)[self.box]
        return x

    def after_fit(self):
        self.box = None
        if self.hook:
            self.hook.remove()


def _interval(rng: np.random.Generator, size: int, share: float) -> slice:
    length = round(size * share)
    start = int(rng.integers(0, size - length + 1))
    return slice(start, start + length)
