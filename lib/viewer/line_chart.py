"""Lines over epochs as SVG text: drawn in a millisecond, in the theme's own ink."""

import math
from collections.abc import Mapping, Sequence

from lib import plots
from lib.markup import Html, tag

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 228, 160, 46, 8, 30, 24
INK, FAINT = "var(--jp-ui-font-color1,currentColor)", "var(--jp-border-color2,#bdbdbd)"


def charts(rows: Sequence[Mapping[str, float]], epochs: int) -> Html:
    """The losses in one chart and each metric in one of its own (validation and training together), side by side.

    Parameters
    ----------
    rows : of `training.History`, a dict per epoch
    epochs : how many there will be, the width of the charts
    """
    names = [name for name in (rows[0] if rows else ()) if name not in ("epoch", "learning_rate", "seconds")]
    groups: dict[str, list[str]] = {"loss": [name for name in names if name.endswith("_loss")]}
    for name in names:
        if name not in groups["loss"]:
            groups.setdefault(name.removeprefix("train_"), []).append(name)
    at = [row["epoch"] for row in rows]
    drawn = (chart(title, at, {n: [r[n] for r in rows] for n in group}, epochs) for title, group in groups.items())
    return tag("div", *drawn, style="display:flex;flex-wrap:wrap;gap:6px")


def chart(title: str, at: Sequence[float], lines: Mapping[str, Sequence[float]], epochs: int) -> Html:
    """One chart: a legend with the last values above, epochs along x; what isn't finite is left out.

    Parameters
    ----------
    title : above the chart
    at : the epochs, from 1
    lines : values at them, by name
    epochs : how many there will be
    """
    values = [v for line in lines.values() for v in line if math.isfinite(v)]
    ticks = nice_ticks(min(values), max(values)) if values else [0.0, 1.0]
    low, high = min([*values, ticks[0]]), max([*values, ticks[-1]])

    def place(epoch: float, value: float) -> str:
        x = LEFT + (WIDTH - LEFT - RIGHT) * (epoch - 1) / max(epochs - 1, 1)
        return f"{x:.1f},{TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low):.1f}"

    parts = []
    for tick in ticks:
        y = place(1, tick).split(",")[1]
        parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, stroke=FAINT))
        parts.append(_text(LEFT - 5, float(y) + 4, f"{tick:g}", "end"))
    for epoch in sorted({1, epochs}):
        parts.append(
            _text(float(place(epoch, low).split(",")[0]), HEIGHT - 8, f"{epoch}", "end" if epoch > 1 else "start")
        )
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, "epoch", "middle"))
    legend = []
    for i, (name, line) in enumerate(lines.items()):
        points = [place(e, v) for e, v in zip(at, line, strict=True) if math.isfinite(v)]
        look = {"stroke": plots.PALETTE[i], "stroke-width": 2, "stroke-dasharray": "6 3" if i else None}
        parts.append(tag("polyline", points=" ".join(points), fill="none", **look))
        if points:
            x, y = points[-1].split(",")
            parts.append(tag("circle", cx=x, cy=y, r=3.5, fill=plots.PALETTE[i]))
        short = f"{name.removesuffix('_loss' if title == 'loss' else '_slices')} {line[-1]:.4g}"
        legend.append(Html("{} {}").format(tag("tspan", "╌" if i else "─", fill=plots.PALETTE[i]), short))
    head = Html("  ").join([tag("tspan", title, font_weight="bold")] * (title not in lines) + legend)
    parts.append(tag("text", head, x=4, y=16, font_size=12, fill=INK, **{"xml:space": "preserve"}))
    size = {"width": WIDTH, "height": HEIGHT, "viewBox": f"0 0 {WIDTH} {HEIGHT}"}
    return tag("svg", *parts, **size, role="img", aria_label=f"{title} over epochs")


def nice_ticks(low: float, high: float) -> list[float]:
    """Two to five round numbers from `low` or just below to `high` or just above."""
    if not high > low:
        low, high = low - (abs(low) / 10 or 1), high + (abs(high) / 10 or 1)
    step = 10 ** math.floor(math.log10((high - low) / 2))
    step *= next(f for f in (1, 2, 5, 10) if (high - low) / (f * step) <= 3)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(n * step, 12) for n in range(first, last + 1)]


def _text(x: float, y: float, text: str, anchor: str) -> Html:
    return tag("text", text, x=f"{x:.1f}", y=f"{y:.1f}", font_size=11, text_anchor=anchor, fill=INK)
