"""Sampling patterns over both phase encodes of a 3-D scan: variable-density Poisson discs, and random points.

A Poisson disc keeps a distance between its samples, which spreads aliasing like noise but leaves no large holes (Cook, ACM
Trans Graph 1986; for MR: Lustig & Pauly, MRM 2010). The distance grows with that from the center.
"""

import numpy as np

SLOPE = 4.0  # the distance at the corners over that at the center, less 1
ATTEMPTS = 24  # of the bisection
NEAR = 0.01  # how near to the asked count it has to come, as a share


def poisson_disc(shape: tuple[int, int], wanted: int, center: int, rng: np.random.RandomState) -> np.ndarray:
    """(H, W) bool: samples at distances that grow outwards, and a full center.

    The radius at the center is found by bisection; all attempts go through the points in one random order, so that the
    pattern follows from `rng` alone.

    Parameters
    ----------
    shape : (H, W)
    wanted : about how many samples
    center : side of the full square about the center
    rng : of the order
    """
    order = rng.permutation(shape[0] * shape[1])
    low, high = 0.3, 0.5 * max(shape)
    for _ in range(ATTEMPTS):
        radius = (low * high) ** 0.5
        found = _throw(shape, radius, order)
        _fill(found, center)
        count = int(found.sum())
        if abs(count - wanted) <= NEAR * wanted:
            break
        low, high = (radius, high) if count > wanted else (low, radius)
    return found


def random_points(shape: tuple[int, int], wanted: int, center: int, rng: np.random.RandomState) -> np.ndarray:
    """(H, W) bool: a full center, and samples anywhere else with one probability.

    Parameters
    ----------
    shape : (H, W)
    wanted : how many samples, those of the center included
    center : side of the full square about the center
    rng : of the samples
    """
    found = np.zeros(shape, dtype=bool)
    _fill(found, center)
    outside = np.flatnonzero(~found)
    more = min(max(wanted - int(found.sum()), 0), len(outside))
    found.ravel()[rng.permutation(outside)[:more]] = True
    return found


def _fill(found: np.ndarray, center: int) -> None:
    top, left = ((n - center + 1) // 2 for n in found.shape)
    found[top : top + center, left : left + center] = True


def _throw(shape: tuple[int, int], radius: float, order: np.ndarray) -> np.ndarray:
    """Takes the points in their order and keeps those that no point kept before has within its distance."""
    height, width = shape
    y, x = (np.linspace(-1, 1, n) for n in shape)
    reach = radius * (1 + SLOPE * np.hypot(y[:, None], x[None]) / 2**0.5)
    free, found = np.ones(shape, dtype=bool), np.zeros(shape, dtype=bool)
    rows, columns = np.divmod(order, width)
    for r, c in zip(rows.tolist(), columns.tolist(), strict=True):
        if not free[r, c]:
            continue
        found[r, c] = True
        d = reach[r, c]
        n = int(d)
        top, bottom, left, right = max(r - n, 0), min(r + n + 1, height), max(c - n, 0), min(c + n + 1, width)
        near = np.arange(top - r, bottom - r)[:, None] ** 2 + np.arange(left - c, right - c)[None] ** 2 < d * d
        free[top:bottom, left:right] &= ~near
    return found
