"""When a goal is reached, half of the rows of a slice, and that all ways get the same time."""

import numpy as np
import pytest
import torch

from lib.kspace import fft2c, ifft2c, rss
from tools import time_to_quality as quality


def curve(*points):
    seconds, ssim = zip(*points, strict=True)
    return quality.Trained(list(seconds), list(ssim), 1, {})


def test_a_goal_is_reached_on_the_line_between_two_looks():
    found = curve((10, 0.5), (20, 0.7), (30, 0.6))
    assert quality.reached(found, 0.6) == pytest.approx(15)
    assert quality.reached(found, 0.5) == 10 and quality.reached(found, 0.71) is None


@pytest.mark.parametrize("height", [12, 8])
def test_half_of_the_rows_is_that_part_of_the_image(height):
    """The target may be smaller than the scanned image, which has its rows in the middle."""
    image = torch.randn(1, 2, 12, 10, dtype=torch.complex64)
    target = rss(image, 1)[:, (12 - height) // 2 : (12 + height) // 2]
    rng, seen = np.random.default_rng(0), set()
    for _ in range(20):
        kspace, kept = quality._rows(fft2c(image), target, rng)
        assert kspace.shape[-2] == kept.shape[-2] == 6
        torch.testing.assert_close(rss(ifft2c(kspace), 1), kept, rtol=1e-4, atol=1e-5)
        seen.add(float(kept[0, 0, 0]))
    assert len(seen) == height - 6 + 1  # every place comes


def test_steps_end_with_the_time_and_are_looked_at_on_the_way(monkeypatch):
    clock = iter(np.arange(0, 1000, 0.5))
    monkeypatch.setattr("time.process_time", lambda: next(clock))  # each step takes half a second
    shares, scores = [], iter([0.1, 0.2, 0.3, 0.4, 0.5])
    monkeypatch.setattr(quality, "_score", lambda *_: next(scores))
    found = quality._run(
        torch.nn.Linear(1, 1), lambda batch, share: shares.append(share), iter(range(99)), None, [], 4, 4
    )
    assert found.steps == 8 and shares == pytest.approx(np.arange(8) / 8)
    assert found.seconds == [1, 2, 3, 4] and found.ssim == [0.1, 0.2, 0.3, 0.4]
