"""Whole volumes by overlapping windows: MONAI's own result, slab by slab in little memory, and what is written."""

import h5py
import numpy as np
import pytest
import torch
from mixing import Mixer
from monai.inferers import sliding_window_inference
from refusals import refused
from torch import nn

from lib.data.case_files import case_file, write_case
from lib.evaluation import segmentation
from lib.inference import sliding_window
from lib.inference.segment import segment_volumes
from lib.losses.segmentation import probabilities


def volume(shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("overlap", [0.5, 0.3, 0])
@pytest.mark.parametrize("shape", [(37, 21, 30), (5, 40, 16), (12, 12, 12)])
def test_slabs_are_monais_result(shape, overlap):
    model, x = Mixer(), volume(shape)
    parts = [*sliding_window.slabs(model, x, (12, 16, 10), overlap, batch_size=3, outside=-1.0)]
    assert [first for first, _ in parts] == [*np.cumsum([0, *(p.shape[1] for _, p in parts)])[:-1]]
    with torch.no_grad():
        expected = sliding_window_inference(
            torch.from_numpy(x)[None, None], (12, 16, 10), 2, lambda x: probabilities(model(x)), overlap,
            mode="gaussian", cval=-1.0,
        )[0]  # fmt: skip
    assert torch.allclose(torch.cat([p for _, p in parts], 1), expected, atol=1e-6)


def test_only_a_window_of_planes_is_held():
    held = []
    for depth in (32, 256):
        from lib.memory import peak_memory

        held.append(
            peak_memory(
                lambda d=depth: [p.shape for _, p in sliding_window.slabs(Mixer(), volume((d, 24, 24)), (8, 24, 24))]
            )
        )
    assert held[1] < 1.05 * held[0]


def test_the_network_alone_runs_in_half_precision():
    model, ran = Mixer(), []
    model.conv.register_forward_hook(lambda module, given, output: ran.append(output.dtype))
    half, full = (
        torch.cat([p for _, p in sliding_window.slabs(model, volume((9, 12, 10)), (8, 8, 8), precision=kind)], 1)
        for kind in ("bf16", "fp32")
    )
    assert set(ran) == {torch.bfloat16, torch.float32} and half.dtype == torch.float32
    assert torch.allclose(half.sum(0), torch.ones(9, 12, 10)) and 0 < abs(half - full).max() < 0.02


def test_an_overlap_that_is_none():
    with refused(where="overlap", found="got 1", expected="a share"):
        next(sliding_window.slabs(Mixer(), volume((8, 8, 8)), (8, 8, 8), 1))


def test_a_case_is_written_and_scored_as_a_volume(tmp_path):
    x = volume((9, 14, 12))
    label = np.zeros(x.shape, np.uint8)
    label[2:6, 3:9, 3:9], label[6:8, 3:6, 3:6] = 1, 2
    about = {"person": "a", "classes": ["background", "liver", "spleen"], "names": [str(i) for i in range(9)]}
    write_case(tmp_path / "c.h5", x, label, **about, spacing=(3.0, 2.0, 1.0), chunks=(4, 4, 4), fill=0.0)

    class Right(nn.Module):
        def forward(self, x):
            return Right.logits

    found = torch.from_numpy(label.astype(np.int64))
    found[2, 3:9, 3:9] = 0  # one plane of the liver is missed
    Right.logits = 20 * nn.functional.one_hot(found, 3).movedim(-1, 0)[None].float()
    path = segment_volumes(Right(), [case_file(tmp_path / "c.h5")], tmp_path / "result.h5", x.shape)
    with h5py.File(path) as file:
        assert np.array_equal(file["c/output"][:], found) and np.allclose(file["c/input"][:], x)
        assert np.array_equal(file["c/truth"][:], label)
        share = float((found.numpy() == label).mean())
        assert file["c"].attrs["probability_of_truth"] == pytest.approx(share, abs=1e-6)
    (score,) = segmentation.score(path)
    assert score.dice[1] == pytest.approx(2 * 108 / (108 + 144)) and score.dice[2] == 1
    assert score.hausdorff95[0, 1] == pytest.approx(3.0)  # a plane is 3 mm thick
    table = segmentation.by_class([score])
    assert table.hausdorff95["liver"] == pytest.approx(3.0) and table.missed["liver"] == 0
    assert segmentation.of_volumes(path)
