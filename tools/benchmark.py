"""Paired timing in one process: A B A B …, the ratio pair by pair."""

import statistics
import time
from collections.abc import Callable
from typing import Any


def pair(ours: Callable[[], Any], theirs: Callable[[], Any], pairs: int = 5) -> dict[str, float]:
    """Time two calls in turn, after one warm-up of each.

    Parameters
    ----------
    ours, theirs : what is timed
    pairs : how often

    Returns
    -------
    Median seconds of both, and of the ratio theirs / ours: above 1 ours is faster. The ratio's least and greatest pair
    show how quiet the machine was.
    """
    ours(), theirs()
    rows = [(_seconds(ours), _seconds(theirs)) for _ in range(pairs)]
    ratios = sorted(b / a for a, b in rows)
    return {
        "ours_seconds": statistics.median(a for a, _ in rows), "theirs_seconds": statistics.median(b for _, b in rows),
        "ratio": statistics.median(ratios), "ratio_min": ratios[0], "ratio_max": ratios[-1], "pairs": pairs,
    }  # fmt: skip


def _seconds(call: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun
