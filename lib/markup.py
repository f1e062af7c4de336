"""The one way to HTML: whatever isn't `Html` already is escaped on its way in, so that text from data stays text."""

import math
import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from numbers import Real
from typing import Any

import markupsafe
import pandas as pd

MOST = 60  # rows and columns of a table that are shown; of more, the first and last half
INK = "var(--jp-ui-font-color1,inherit)"
LINE = "border-bottom:1px solid var(--jp-border-color2,#ccc)"
CELL = "padding:6px 10px;vertical-align:top;max-width:30em;line-height:1.4"
NUMBER = re.compile(r"[-−+]?[\d.,]*(e[-+]?\d+)?|–|n/a|inf|-inf|×|…")


class Html(markupsafe.Markup):
    """Text that is HTML: a literal, or made of `tag`, `table` and its own methods, which escape what they are given.

    A notebook shows it as HTML. Dollars in it aren't typeset as formulas.
    """

    __slots__ = ()

    @classmethod
    def escape(cls, text: Any) -> "Html":
        """A text without its markup; halves of characters, which no file or browser takes, become a question mark."""
        if isinstance(text, markupsafe.Markup):
            return cls(text)
        return cls(markupsafe.escape(str(text).encode("utf-8", "replace").decode().replace("\0", "\ufffd")))

    def _repr_html_(self) -> str:
        return f'<div class="tex2jax_ignore mathjax_ignore">{str(self)}</div>'

    def __repr__(self) -> str:
        return f"Html of {len(self)} characters"


def tag(name: str, *content: Any, **attributes: Any) -> Html:
    """An element of HTML with its content and attributes, which are escaped; those that are None are left out.

    In the names of attributes _ stands for -, and one at the end is dropped: class_. Links lead to files only.
    """
    words = [name]
    for key, value in attributes.items():
        if value is None:
            continue
        key = key.rstrip("_").replace("_", "-")
        if key in ("href", "src") and ":" in str(value).partition("/")[0]:
            value = f"./{value}"  # no javascript:
        words.append(Html('{}="{}"').format(Html(key), value))
    return Html("<{}>{}</{}>").format(Html(" ").join(map(Html, words)), Html("").join(content), Html(name))


def table(
    frame: pd.DataFrame, caption: str = "", digits: int | None = None, *, formats: Mapping[str, str] | None = None,
    shade: str = "", shares: Iterable[float] = (),
) -> Html:  # fmt: skip
    """A table of texts that wraps rather than being cut off, in the colors of Lab's theme, light or dark.

    Columns of numbers and dashes alone are right-aligned; the index is shown if it isn't rows' numbers. Without rows "none".

    Parameters
    ----------
    frame : cells that are Html stay so
    caption : above it
    digits : behind the decimal point; None: six that count
    formats : of columns, as `format` takes them
    shade : the name of a color map; each column's cells are colored from its least value to its largest
    shares : the columns' widths, of a table as wide as the page
    """
    if not len(frame):
        return tag("div", "none", style=f"color:{INK}")
    shares, rows = list(shares), len(frame)
    frame = _ends(_ends(frame).T).T if len(frame.columns) > MOST else _ends(frame)
    named = not isinstance(frame.index, pd.RangeIndex)
    levels = (
        list(zip(*(key if isinstance(key, tuple) else (key,) for key in frame.index), strict=True)) if named else []
    )
    columns = [frame.iloc[:, i] for i in range(len(frame.columns))]
    texts = [[_text(v, (formats or {}).get(c.name), digits) for v in c] for c in columns]
    sides = ["right" if all(NUMBER.fullmatch(text) for text in column) else "left" for column in texts]
    colors = [_colors(column, shade) for column in columns]
    widths = [f"width:{100 * share / sum(shares):.1f}%;" for share in shares] or [""] * len(columns)
    heads = [_head(_joined(name), "", "left") for name in (frame.index.names if named else ())]
    heads += [_head(_joined(c.name), w, side) for c, w, side in zip(columns, widths, sides, strict=True)]
    spans = [_spans(levels[:depth]) for depth in range(1, len(levels))] + [[1] * len(frame)]
    body = []
    for i in range(len(frame)):
        keys = [
            tag("th", _text(level[i]), scope="row", rowspan=span[i], style=f"{CELL};{LINE};text-align:left")
            for level, span in zip(levels, spans, strict=bool(levels))
            if span[i]
        ]
        cells = (
            tag("td", text[i], style=f"{CELL};{LINE};text-align:{side}{color[i]}")
            for text, side, color in zip(texts, sides, colors, strict=True)
        )
        body.append(tag("tr", *keys, *cells, style="background:transparent"))
    above = []
    if frame.columns.name is not None:
        name = tag("th", frame.columns.name, colspan=len(columns), style=f"{CELL};text-align:center;font-weight:400")
        above = [tag("tr", *([tag("td", colspan=len(levels))] if levels else []), name, style="background:transparent")]
    title = [tag("caption", caption, style=f"text-align:left;padding:4px 10px;color:{INK};font-weight:600")]
    style = "border-collapse:collapse;margin:4px 0;font-variant-numeric:tabular-nums;overflow-wrap:break-word"
    style += f";color:{INK};font-size:var(--jp-ui-font-size1,13px){';table-layout:fixed;width:100%' if shares else ''}"
    parts = [*(title if caption else ()), tag("thead", *above, tag("tr", *heads)), tag("tbody", *body)]
    more = [tag("div", f"{rows} rows", style=f"color:{INK}")] if rows > MOST else []
    return tag("div", tag("table", *parts, style=style), *more, style="overflow-x:auto")


def show_frames_by_table(shell: Any) -> None:
    """The cells of IPython's shell show every DataFrame by `table`."""
    shell.display_formatter.formatters["text/html"].for_type(pd.DataFrame, lambda frame: table(frame)._repr_html_())


def _ends(frame: pd.DataFrame) -> pd.DataFrame:
    """The first and last rows of a long table, with a row of dots between them."""
    if len(frame) <= MOST:
        return frame
    first, last = frame.iloc[: MOST // 2].astype(object), frame.iloc[-(MOST // 2) :].astype(object)
    gap = pd.DataFrame([["…"] * len(frame.columns)], columns=frame.columns, dtype=object)
    if isinstance(frame.index, pd.MultiIndex):
        gap.index = pd.MultiIndex.from_tuples([("…",) * frame.index.nlevels], names=frame.index.names)
    else:
        gap.index = pd.Index(["…"], name=frame.index.name)
    return pd.concat([first, gap, last])


def _head(text: str, width: str, side: str) -> Html:
    return tag("th", text, scope="col", style=f"{width}{CELL};{LINE};text-align:{side};font-weight:600")


def _joined(name: Any) -> str:
    parts = name if isinstance(name, tuple) else (name,)
    return " · ".join(str(part) for part in parts if part is not None)


def _text(value: Any, how: str | None = None, digits: int | None = None) -> Html:
    """A cell's text; a dash for what is missing."""
    if isinstance(value, str):
        return Html.escape(value)
    if value is None or value is pd.NA or value is pd.NaT or isinstance(value, Real) and math.isnan(value):
        return Html("–")
    if isinstance(value, bool | int) and not how or not isinstance(value, Real):
        return Html.escape(value)
    whole = not how and not isinstance(value, float) and float(value).is_integer()  # numpy's integers
    return Html.escape(int(value) if whole else format(value, how or (".6g" if digits is None else f".{digits}f")))


def _spans(levels: list[tuple[Any, ...]]) -> list[int | None]:
    """Over how many rows each key goes; None for one that the row above it covers."""
    keys = list(zip(*levels, strict=True))
    starts = [0, *(i + 1 for i, (a, b) in enumerate(pairwise(keys)) if a != b), len(keys)]
    spans: list[int | None] = [None] * len(keys)
    for start, end in pairwise(starts):
        spans[start] = end - start
    return spans


def _colors(column: pd.Series, shade: str) -> list[str]:
    """The style of each cell of a column whose values are colored; "" for those that aren't numbers."""
    if not shade:
        return [""] * len(column)
    import matplotlib

    values = pd.to_numeric(column, errors="coerce").astype(float)
    scaled = (values - values.min()) / ((values.max() - values.min()) or 1)
    styles = []
    for value in scaled:
        red, green, blue, _ = matplotlib.colormaps[shade](value if math.isfinite(value) else 0.0, bytes=True)
        ink = "#fff" if 0.299 * red + 0.587 * green + 0.114 * blue < 128 else "#000"
        color = f";background-color:rgb({red},{green},{blue});color:{ink}"
        styles.append(color if math.isfinite(value) else "")
    return styles
