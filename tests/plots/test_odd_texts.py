"""Texts from data in figures: dollars stay dollars, and nothing in a name breaks a picture, wherever it is drawn."""

import io

import matplotlib.text
import numpy as np
import pandas as pd
import pytest

from lib import plots
from lib.evaluation import segmentation_figures

IMAGE = np.random.default_rng(0).random((12, 10)).astype(np.float32)
NAMES = {
    "a formula": "$x_1$ and $\\frac{1}{2}$", "a broken formula": "$\\frac{$", "an unknown command": "$\\nonsense$ 5",
    "one dollar": "cost $5", "a backslash": r"a\_b^c", "TeX": r"\textbf{x} % comment & more",
}  # fmt: skip
CONTROL = {
    "null": "a\0b",
    "half": "a\ud800b",
    "escape": "\x1b[31mred",
    "tab": "a\tb",
    "break": "a\nb",
    "long": "n" * 300,
}


def figures(name):
    """Every kind of figure with a name wherever it takes a text."""
    label = (IMAGE > 0.5).astype(np.uint8)
    about = {"title": name, "notes": {name: name}, "errors": {f"e{name}": 2.0}, "classes": ["none", name]}
    about |= {"labels": {name: label}, "outlines": {name: {f"o{name}": label, name: label}}, "ignore_index": 9}
    yield plots.montage({name: IMAGE, f"e{name}": IMAGE, f"r{name}": name, "n/a": None}, **about)
    yield plots.curves(
        {name: (range(3), [1, 2, 3]), f"2{name}": (range(3), [3, 2, 1])}, title=name, xlabel=name, ylabel=name
    )
    yield plots.curves(pd.DataFrame({"epoch": [1, 2], name: [0.1, 0.2], f"loss{name}": [1, 10]}), log=True, title=name)
    rows = {"method": [name, name, "m", "m"], name: ["p", f"p{name}"] * 2, "value": [1.0, 2, 3, 4]}
    yield plots.boxes(rows, "value", person=name, xlabel=name, title=name)
    yield segmentation_figures.planes(
        np.random.rand(4, 6, 8), {name: np.ones((4, 6, 8), np.uint8)}, ["none", name], title=name
    )


def texts(figure):
    return [text for text in figure.findobj(matplotlib.text.Text) if text.get_text()]


@pytest.mark.parametrize("kind", NAMES)
def test_dollars_and_backslashes_are_drawn_as_they_are(kind):
    for figure in figures(NAMES[kind]):
        figure.savefig(io.BytesIO(), format="png")  # a formula that can't be read ended here
        drawn = texts(figure)
        assert not [t.get_text() for t in drawn if t.get_parse_math() and "$" in t.get_text()]
        joined = "".join("".join(t.get_text().split()) for t in drawn)
        assert "".join(NAMES[kind].split())[:20] in joined


@pytest.mark.parametrize("kind", CONTROL)
def test_characters_that_no_font_has_and_long_names(kind):
    for figure in figures(CONTROL[kind]):
        figure.savefig(io.BytesIO(), format="png")
        width, height = figure.get_size_inches()
        assert width < 20 and height < 30


def test_logarithmic_axes_have_numbers_and_no_formulas():
    figure = plots.curves({"a": ([1, 2, 3], [0.001, 1, 1000])}, log=True)
    figure.draw_without_rendering()
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert {"0.01", "1", "100"} <= set(labels) or {"0.001", "1", "1000"} <= set(labels), labels
    assert not any("$" in label for label in labels)
