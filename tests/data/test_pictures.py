"""How batches are drawn: panels against values by hand, and a figure of each kind of batch."""

import numpy as np
import pytest
import torch
from refusals import refused

from lib.data import pictures
from lib.data.loaders import loaders


def test_panels_by_hand():
    truth = torch.tensor([[[0.0, 1.0], [2.0, 4.0]]])
    mean, std = torch.tensor([1.0]), torch.tensor([2.0])
    normal = (truth - 1) / 2
    panels = pictures.reconstruction((normal[:, None],), (truth, torch.tensor([4.0]), mean, std), normal[:, None] + 0.5)
    top = np.percentile(truth, 99.5)
    np.testing.assert_allclose(panels["input"][0], truth[0] / top, rtol=1e-5)
    np.testing.assert_allclose(panels[pictures.ERROR][0], np.full((2, 2), 1 / top), rtol=1e-5)  # .5 · std
    cine = torch.arange(2 * 2 * 3.0).reshape(1, 2, 2, 3)
    shown = pictures.series((cine,), (cine,), cine * 2)
    np.testing.assert_allclose(shown["output"][0] / shown["truth"][0], [[2, 2], [2, 2]])
    assert shown["truth"][0][1, 1] / shown["truth"][0][0, 0] == pytest.approx(10)  # frame 1: 1, 4, 7, 10

    label = torch.zeros(1, 3, 2, 2, dtype=torch.long)
    label[0, 2] = torch.tensor([[0, 1], [2, 2]])
    score = torch.nn.functional.one_hot(label, 3).movedim(-1, 1).float()
    image = torch.arange(12.0).reshape(1, 1, 3, 2, 2)
    for target in (label, score):  # as index and one-hot
        found = pictures.labels((image,), (target,), -score)
        assert found["truth"][1].tolist() == [[0, 1], [2, 2]]
        assert found["output"][1].tolist() == [[1, 0], [0, 0]]  # the first of the highest of −one-hot
        assert (np.diff(found["input"][0].ravel()) > 0).all() and found["input"][1] is None
    pair = pictures.labels(
        (torch.rand(1, 3, 2, 2),), (torch.ones(1, 1, 2, 2),), torch.tensor([[[[1.0, -1.0], [0.0, 3.0]]]])
    )
    assert pair["output"][1].tolist() == [[1, 0], [0, 1]] and pair["truth"][1].tolist() == [[1, 1], [1, 1]]


def test_a_batch_alone_shows_what_was_measured():
    kspace = torch.zeros(1, 2, 4, 4, dtype=torch.complex64)
    kspace[..., 2, 2] = 1
    truth = torch.ones(1, 4, 4)
    panels = pictures.reconstruction((kspace, kspace.abs() > 0, torch.tensor([1])), (truth, torch.ones(1)))
    assert list(panels) == ["sampled k-space, log", "input", "truth"]
    seen = panels["sampled k-space, log"][0]
    assert seen[2, 2] == 1 and seen.sum() == 1  # everything else is not sampled
    np.testing.assert_allclose(panels["input"][0], 2**0.5 / 4, rtol=1e-5)  # two coils, an even image of 1 / 4
    series = torch.rand(1, 6, 6, 3)
    assert pictures.series((series,), (series,))["truth, a row over time"][0].shape == (6, 6)


class Items(torch.utils.data.Dataset):
    """Items by index or (epoch, index), drawn by `panels`, if any."""

    def __init__(self, *items, panels=None):
        self.items, self.sizes, self.classes = items, [0] * len(items), ("background", "a", "b")
        if panels:
            self.panels = panels

    def __len__(self):
        return len(self.items)

    def __getitem__(self, key):
        return self.items[key[1] if isinstance(key, tuple) else key]


def batches(item, inputs, panels):
    data = Items(*[item] * 4, panels=panels)
    return loaders(data, data, inputs, "here", batch_size=2)


KINDS = {
    "k-space": ((torch.rand(3, 8, 8) * (1 + 1j), torch.ones(1, 1, 8) > 0, torch.tensor(4)), (torch.rand(6, 6), torch.tensor(1.0)), 3),
    "cine": ((torch.rand(8, 8, 4),), (torch.rand(8, 8, 4),), 4),
    "volumes": ((torch.rand(1, 4, 8, 8),), (torch.randint(0, 3, (4, 8, 8)),), 2),
    "slices": ((torch.rand(1, 8, 8),), (torch.nn.functional.one_hot(torch.randint(0, 3, (8, 8))).movedim(-1, 0),), 2),
}  # fmt: skip
DRAWN = {"k-space": pictures.reconstruction, "cine": pictures.series} | dict.fromkeys(
    ("volumes", "slices"), pictures.labels
)


@pytest.mark.parametrize("kind", KINDS)
def test_show_batch(kind):
    inputs, targets, columns = KINDS[kind]
    dls = batches((*inputs, *targets), len(inputs), DRAWN[kind])
    batch = dls.one_batch()
    assert len(batch) == len(inputs) + len(targets) and len(batch[0]) == 2
    axes = dls.show_batch(batch, max_n=1).axes
    assert len(axes) == columns
    assert len(dls.show_batch().axes) == 2 * columns
    assert axes[0].get_title().startswith("1: ") and not axes[0].get_title().endswith("truth")


def test_a_data_set_without_panels_says_what_to_do():
    dls = batches((torch.rand(1, 4, 4), torch.rand(4, 4)), 1, None)
    with refused(where="Items has no `panels`"):
        dls.show_batch()
