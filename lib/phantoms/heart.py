"""Beating hearts drawn from ellipses: series to train cine networks on, no two of them alike.

Everything is drawn in the unit square −1 … 1 of the field of view, about 180 mm wide, with one-pixel soft edges; blood
is bright and muscle dark, as in balanced SSFP.
"""

import math
from collections.abc import Callable

import numpy as np
from scipy.ndimage import gaussian_filter


def heart(size: int, frames: int, seed: int | tuple[int, ...]) -> np.ndarray:
    """One series (size, size, frames), float32 in 0 … 1; the seed decides the anatomy, the view and everything else.

    Anatomy, wall thickness, size of the beat, heart rate (0.8 to 1.8 beats in the series), its phase, breathing, tissue
    contrast, texture and brightness across the field of view all vary.
    """
    random = np.random.default_rng(seed)
    rows = np.linspace(-1, 1, size, endpoint=False) + 1 / size
    y, x = np.meshgrid(rows, rows, indexing="ij")
    body = _Body(random, x, y)
    chambers = (_short_axis, _long_axis)[int(random.integers(2))](random)
    beats, start = random.uniform(0.8, 1.8), random.uniform()
    breath, depth = random.uniform(0, 2 * math.pi), random.uniform(0.0, 0.05)
    moving = _texture(random, size, 0.02, 0.1)
    series = np.empty((size, size, frames), np.float32)
    for t in range(frames):
        lift = depth * math.sin(breath + 1.2 * t / frames)
        image = body.draw(lift)
        for shape, value in chambers(contraction((start + beats * t / frames) % 1)):
            alpha = _soft(shape(x, y - lift), size)
            image = image * (1 - alpha) + value * alpha * moving
        series[..., t] = image * body.shading
    return np.clip(series / series.max(), 0, 1)


def contraction(phase: float) -> float:
    """How far the ventricle has contracted, 0 … 1, at a phase 0 … 1 of the beat: systole, fast filling, rest."""
    if phase < 0.35:
        return math.sin(0.5 * math.pi * phase / 0.35) ** 2
    return math.cos(0.5 * math.pi * min((phase - 0.35) / 0.35, 1)) ** 2


Shape = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _ellipse(cx: float, cy: float, a: float, b: float, angle: float = 0.0) -> Shape:
    """Signed distance to the ellipse's edge, about right near it, positive inside."""
    c, s = math.cos(angle), math.sin(angle)

    def distance(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        u, v = (c * (x - cx) + s * (y - cy)) / a, (-s * (x - cx) + c * (y - cy)) / b
        r = np.sqrt(u * u + v * v) + 1e-9
        return (1 - r) * r / np.sqrt((u / a) ** 2 + (v / b) ** 2 + 1e-9)

    return distance


def _without(inside: Shape, outside: Shape) -> Shape:
    return lambda x, y: np.minimum(inside(x, y), -outside(x, y))


def _above(shape: Shape, cx: float, cy: float, angle: float) -> Shape:
    """The part of a shape on one side of a line through (cx, cy)."""
    nx, ny = math.cos(angle), math.sin(angle)
    return lambda x, y: np.minimum(shape(x, y), nx * (x - cx) + ny * (y - cy))


def _soft(distance: np.ndarray, size: int) -> np.ndarray:
    return np.clip(distance * size / 2 + 0.5, 0, 1)


def _texture(random: np.random.Generator, size: int, fine: float, coarse: float) -> np.ndarray:
    """A smooth field around 1."""
    field = np.ones((size, size))
    for strength, width in ((fine, size / 64), (coarse, size / 6)):
        noise = gaussian_filter(random.standard_normal((size, size)), width, mode="wrap")
        field += strength * noise / noise.std()
    return field.clip(0.5, 1.5)


class _Body:
    """What surrounds the heart: chest wall, lungs, spine, aorta, liver and small vessels."""

    def __init__(self, random: np.random.Generator, x: np.ndarray, y: np.ndarray):
        self.x, self.y, self.size = x, y, len(x)
        r = random.uniform
        tilt = r(-0.2, 0.2)
        self.still = [(_ellipse(0, 0.05, r(1.05, 1.3), r(0.95, 1.15), tilt), r(0.25, 0.45))]
        self.still += [(_ellipse(0, 0.05, r(0.98, 1.02), r(0.86, 0.92), tilt), r(0.12, 0.22))]
        self.moving = [
            (_ellipse(side * r(0.62, 0.75), r(-0.15, 0.1), r(0.26, 0.36), r(0.5, 0.7)), r(0.02, 0.06))
            for side in (-1, 1)
        ]
        self.moving += [(_ellipse(r(-0.75, -0.35), r(0.72, 0.9), r(0.45, 0.65), r(0.25, 0.4)), r(0.25, 0.4))]
        self.moving += [
            (_ellipse(r(-0.9, 0.9), r(-0.5, 0.95), size, size), r(0.35, 0.8))
            for size in random.uniform(0.012, 0.035, 14)
        ]
        self.still += [(_ellipse(r(-0.1, 0.1), r(0.72, 0.85), r(0.14, 0.2), r(0.12, 0.18)), r(0.2, 0.35))]
        self.still += [(_ellipse(r(0.15, 0.3), r(0.6, 0.75), r(0.07, 0.1), r(0.07, 0.1)), r(0.6, 0.9))]
        self.texture = _texture(random, self.size, 0.05, 0.08)
        self.shading = np.exp(-((x - r(-0.8, 0.8)) ** 2 + (y - r(-0.8, 0.8)) ** 2) * r(0.02, 0.15))

    def draw(self, lift: float) -> np.ndarray:
        image = np.zeros_like(self.x)
        for group, shift in ((self.still, 0.0), (self.moving, lift)):
            for shape, value in group:
                alpha = _soft(shape(self.x, self.y - shift), self.size)
                image = image * (1 - alpha) + value * alpha
        return image * self.texture


def _short_axis(random: np.random.Generator) -> Callable[[float], list[tuple[Shape, float]]]:
    """A round left ventricle with papillary muscles, and the crescent of the right one beside it."""
    r = random.uniform
    cx, cy, turn = r(-0.05, 0.2), r(-0.1, 0.15), r(-0.5, 0.5)
    radius, wall, ratio, ejected = r(0.19, 0.28), r(0.07, 0.11), r(0.9, 1.1), r(0.25, 0.5)
    blood, muscle, fat = r(0.75, 1.0), r(0.22, 0.4), r(0.35, 0.6)
    right, size = r(math.pi - 0.5, math.pi + 0.5), r(0.9, 1.15)
    papillary = [(math.pi * r(0.1, 0.35), r(0.2, 0.3)), (math.pi * r(0.65, 0.9), r(0.2, 0.3))]
    trabeculae = [(angle, r(0.08, 0.13)) for angle in random.uniform(0, 2 * math.pi, 5)]

    def draw(c: float) -> list[tuple[Shape, float]]:
        inner = radius * math.sqrt(1 - ejected * c)
        outer = math.sqrt(inner**2 + (radius + wall) ** 2 - radius**2)  # the muscle keeps its area: it thickens
        ox, oy = cx + 0.02 * c, cy - 0.02 * c
        left = _ellipse(ox, oy, outer, outer * ratio, turn)
        rx, ry = ox + 1.1 * outer * math.cos(right), oy + 1.1 * outer * math.sin(right)
        beside = (1 - 0.3 * ejected * c) * size * (radius + wall)
        shapes = [(_ellipse(ox - 0.1, oy, 2.05 * outer, 1.55 * outer, turn), fat)]
        shapes += [(_ellipse(rx, ry, beside * 1.12, beside * 1.25, right), muscle)]
        shapes += [(_ellipse(rx, ry, beside, beside * 1.12, right), blood * 0.95)]
        shapes += [(left, muscle), (_ellipse(ox, oy, inner, inner * ratio, turn), blood)]
        for angle, width in (*papillary, *trabeculae):
            far = inner * (0.66 if width > 0.15 else 0.97)
            w = width * radius
            shapes += [(_ellipse(ox + far * math.cos(angle), oy + far * math.sin(angle), w, 0.8 * w, angle), muscle)]
        return shapes

    return draw


def _long_axis(random: np.random.Generator) -> Callable[[float], list[tuple[Shape, float]]]:
    """A long left ventricle with its atrium behind the mitral valve, which fills while the ventricle empties."""
    r = random.uniform
    cx, cy, angle = r(-0.1, 0.15), r(-0.1, 0.1), r(0.3, 1.2)
    length, width, wall, ejected = r(0.42, 0.55), r(0.18, 0.24), r(0.07, 0.1), r(0.25, 0.45)
    blood, muscle, fat = r(0.75, 1.0), r(0.22, 0.4), r(0.35, 0.6)
    atrium, plane = r(0.17, 0.25), r(-0.12, 0.0)
    dx, dy = math.cos(angle), math.sin(angle)

    def draw(c: float) -> list[tuple[Shape, float]]:
        a, b = length * (1 - 0.35 * ejected * c), width * math.sqrt(1 - 0.9 * ejected * c)
        outer = math.sqrt(b**2 + (width + wall) ** 2 - width**2)
        base = plane * length + 0.14 * ejected * c  # the valve's plane descends in systole
        bx, by = cx + base * dx, cy + base * dy
        fill = atrium * math.sqrt(0.75 + 0.5 * c * ejected)
        shapes = [(_ellipse(cx, cy, 1.45 * length, 2.3 * outer, angle), fat)]
        beside = cx + 1.5 * outer * dy, cy - 1.5 * outer * dx
        shapes += [(_above(_ellipse(*beside, 0.85 * a, 0.85 * outer, angle), bx, by, angle), muscle)]
        shapes += [(_above(_ellipse(*beside, 0.78 * a, 0.72 * outer, angle), bx, by, angle), 0.95 * blood)]
        shapes += [(_ellipse(bx - 0.95 * fill * dx, by - 0.95 * fill * dy, fill * 1.12, fill * 1.2, angle), muscle)]
        shapes += [(_ellipse(bx - 0.95 * fill * dx, by - 0.95 * fill * dy, fill, fill * 1.08, angle), 0.95 * blood)]
        shapes += [(_above(_ellipse(cx, cy, a + wall, outer, angle), bx, by, angle), muscle)]
        shapes += [(_above(_ellipse(cx, cy, a, b, angle), bx, by, angle), blood)]
        opening = b * (0.25 + 0.5 * (1 - c))
        valve = _without(_ellipse(bx, by, 0.03, b, angle), _ellipse(bx, by, 0.05, opening, angle))
        shapes += [(valve, muscle)]
        for side in (-0.55, 0.55):
            px, py = cx + 0.3 * a * dx - side * b * dy, cy + 0.3 * a * dy + side * b * dx
            shapes += [(_ellipse(px, py, 0.28 * a, 0.12 * b, angle), muscle)]
        return shapes

    return draw
