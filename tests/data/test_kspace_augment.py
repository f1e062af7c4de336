"""Augmentation: the augmented k-space transforms to the augmented image; CutMix in a real training."""

import h5py
import numpy as np
import pytest
import torch
from fastai.basics import Callback, DataLoaders
from refusals import refused
from scans import smooth
from torch import nn
from torch.utils.data import DataLoader

from lib import training
from lib.data.bucket_sampler import BucketSampler
from lib.data.fastmri import KspaceSlices
from lib.data.fastmri_file import kspace_file
from lib.data.kspace_augment import SliceTransform, draw_move
from lib.kspace import center_crop, flip_kspace, ifft2c, rss, shift_kspace
from lib.kspace.grappa import grappa
from lib.training.cutmix import CutMix

MASK = {"kind": "equispaced", "acceleration": 2, "num_low_frequencies": 8}


def write(path, kspace, target, **more):
    with h5py.File(path, "w") as file:
        file["kspace"], file["reconstruction_rss"] = kspace[None].numpy(), target[None].numpy()
        for key, value in more.items():
            file[key] = value
    return kspace_file(path)


@pytest.mark.parametrize("shape", [(32, 24), (31, 24), (32, 25), (31, 25)])
@pytest.mark.parametrize("crop", [(20, 16), (19, 16), (20, 15), (19, 15)])
@pytest.mark.parametrize("axes", [(-2,), (-1,), (-2, -1)])
def test_flipped_kspace_transforms_to_the_flipped_crop(shape, crop, axes):
    kspace = torch.randn(2, *shape, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))
    flipped = flip_kspace(kspace, axes, crop)
    expected = center_crop(ifft2c(kspace), crop).flip(axes)
    assert torch.allclose(center_crop(ifft2c(flipped), crop), expected, atol=1e-12)


@pytest.mark.parametrize(("axis", "pixels"), [(-2, 3), (-1, -2), (-1, 5)])
def test_shifted_kspace_transforms_to_the_rolled_image(axis, pixels):
    kspace = torch.randn(2, 12, 9, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(ifft2c(shift_kspace(kspace, axis, pixels)), ifft2c(kspace).roll(pixels, axis), atol=1e-12)


@pytest.mark.parametrize(
    "move",
    [
        SliceTransform(),
        SliceTransform(False, (-2,)),
        SliceTransform(False, (-1,), (1, -3)),
        SliceTransform(False, (-2, -1), (0, 2)),
        SliceTransform(True, (-1,), (2, 1)),
    ],
)
def test_a_moved_slice_is_consistent_in_all_its_parts(tmp_path, monkeypatch, move):
    kspace = smooth(width=32 if move.quarter_turn else 24)
    file = write(tmp_path / "a.h5", kspace, rss(ifft2c(kspace)))
    slices = KspaceSlices([file], MASK, "cascade", grappa={"kernel_size": [5, 4], "regularization": 1e-6})
    slices.augmentation = {"flip": 0.5, "quarter_turn": 0.0}
    plain = slices.case(0)
    monkeypatch.setattr("lib.data.fastmri.draw_move", lambda *_, **__: move)
    masked, mask, filled, count, target, _ = slices[0]
    start = (mask.shape[-1] - count + 1) // 2
    assert count == (7 if -1 in move.axes and not move.quarter_turn else 8) and mask[0, 0, start : start + count].all()
    full = move.kspace(kspace, tuple(plain.target.shape))
    assert torch.allclose(masked, full * mask[0], atol=1e-5)  # the mask moved with the k-space
    assert torch.allclose(rss(ifft2c(full)), target, atol=1e-5) and torch.equal(target, move.image(plain.target))
    again = rss(ifft2c(grappa(masked, mask[0, 0], (5, 4), 1e-6)))
    assert (filled - again).norm() < (0.02 if move.axes else 1e-4) * again.norm()  # an even kernel isn't symmetric


@pytest.mark.parametrize(("size", "kept"), [(33, 20), (32, 19), (33, 19), (32, 20)])
def test_a_quarter_turn_keeps_the_crop(size, kept):
    kspace = smooth(height=size, width=size).to(torch.complex128)
    image = center_crop(rss(ifft2c(kspace)), (kept, kept))
    for move in (SliceTransform(True), SliceTransform(True, (-1,)), SliceTransform(True, (-2, -1))):
        moved = center_crop(rss(ifft2c(move.kspace(kspace, (kept, kept)))), (kept, kept))
        assert torch.allclose(moved, move.image(image), atol=1e-9)


def test_there_is_no_shift_where_the_target_is_a_crop(tmp_path, monkeypatch):
    kspace = smooth(height=40, width=24)
    target = center_crop(rss(ifft2c(kspace)), (32, 24))
    slices = KspaceSlices([write(tmp_path / "a.h5", kspace, target)], MASK, augmentation={"shift": 3})
    monkeypatch.setattr("lib.data.fastmri.draw_move", lambda *_, **__: SliceTransform(shift=(3, 2)))
    masked, mask, _, moved, _ = slices[0]
    assert torch.equal(moved, target.roll(2, -1))
    full = shift_kspace(kspace, -1, 2)
    assert torch.allclose(masked, full * mask[0], atol=1e-5)
    assert torch.allclose(center_crop(rss(ifft2c(full)), (32, 24)), moved, atol=1e-5)


def test_the_mask_moves_only_along_the_phase_encode():
    columns = torch.tensor([1, 1, 0, 0, 1, 0]).bool()
    assert SliceTransform(axes=(-2,)).mask(columns).equal(columns)
    assert SliceTransform(axes=(-1,)).mask(columns).int().tolist() == [1, 0, 1, 0, 0, 1]  # zero frequency at 3 stays


def test_draws_follow_seed_epoch_and_index_and_reach_everything():
    settings = {"flip": 0.5, "half_turn": 0.3, "quarter_turn": 0.5, "shift": 2}
    moves = {draw_move((0, e, i), **settings) for e in range(40) for i in range(20)}
    assert {m.axes for m in moves} == {(), (-2,), (-1,), (-2, -1)} and {m.quarter_turn for m in moves} == {True, False}
    assert {m.shift for m in moves} == {(a, b) for a in range(-2, 3) for b in range(-2, 3)}
    assert draw_move((1, 2, 3), **settings) == draw_move((1, 2, 3), **settings)
    assert draw_move((0, 0, 0)) == SliceTransform()


def test_a_quarter_turn_is_refused_where_the_phase_encode_cannot_move(tmp_path):
    kspace = smooth(width=32)
    write(tmp_path / "own.h5", kspace, rss(ifft2c(kspace)), mask=np.ones(32))
    with refused(where="own.h5", found="augmentation: quarter_turn needs fully sampled k-space"):
        KspaceSlices([kspace_file(tmp_path / "own.h5")], MASK, augmentation={"quarter_turn": 0.5})
    kspace = smooth(width=24)
    file = write(tmp_path / "long.h5", kspace, rss(ifft2c(kspace)))
    with refused(found=r"quarter_turn needs square k-space, this is \(32, 24\)"):
        KspaceSlices([file], MASK, augmentation={"quarter_turn": 0.5})


class Plain(nn.Module):
    """Doubles its input in a part called refine, and remembers what that part saw."""

    def __init__(self):
        super().__init__()
        self.refine, self.seen = nn.Conv2d(1, 1, 1), []

    def forward(self, x):
        return self.refine(x.unsqueeze(1)).squeeze(1)


def fit(probability, batch_size=4, interrupt=False):
    data = [(torch.full((8, 8), float(n)), torch.full((8, 8), 10.0 * n)) for n in range(8)]

    class Rows(torch.utils.data.Dataset):
        def __len__(self):
            return 8

        def __getitem__(self, key):
            return data[key[1] if isinstance(key, tuple) else key]

    order = BucketSampler([0] * 8, batch_size)
    dls = DataLoaders(DataLoader(Rows(), batch_sampler=order), DataLoader(Rows(), 8), device=torch.device("cpu"))
    model, seen = Plain(), []
    model.refine.register_forward_hook(lambda _, inputs, output: seen.append(inputs[0].squeeze(1).clone()))
    targets = []

    def loss(output, target):
        targets.append(target.clone())
        return (output - target).square().mean()

    learn = training.Learner(
        dls, model, loss, opt_func=training.optimizer("SGD", 1e-6), cbs=[training.SetSamplerEpoch()]
    )
    mix = CutMix(probability)
    with learn.no_bar(), learn.no_logging():
        if interrupt:
            with pytest.raises(KeyboardInterrupt):
                learn.fit(1, cbs=[mix, Stop()])
            model.eval()(data[0][0][None].repeat(4, 1, 1) + torch.arange(4)[:, None, None])
            return seen, targets
        learn.fit(1, cbs=[mix])
    return seen, targets


class Stop(Callback):
    order = 90

    def after_batch(self):
        raise KeyboardInterrupt


def test_cutmix_puts_the_same_box_into_input_and_target():
    seen, targets = fit(1.0)
    mixed = 0
    for x, y in zip(seen, targets, strict=True):
        assert torch.equal(10 * x, y)  # input and target stay a pair at every pixel
        mixed += sum(len(sample.unique()) == 2 for sample in x)
    assert mixed >= 4
    assert all(len(sample.unique()) == 1 for sample in seen[-1])  # validation is left alone
    assert all(len(sample.unique()) == 1 for x in fit(0.0)[0] for sample in x)


def test_an_interrupted_fit_leaves_no_mixing_behind():
    torch.manual_seed(0)
    seen, _ = fit(1.0, interrupt=True)
    assert all(len(sample.unique()) == 1 for sample in seen[-1])


def test_cutmix_needs_two_samples_in_a_batch():
    with refused(found="cutmix mixes samples of a batch: set batch_size to 2 at least"):
        fit(0.5, batch_size=1)
