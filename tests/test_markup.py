"""HTML is made in one place, which escapes: nothing from data becomes an element, whatever field carries it."""

import ast

import numpy as np
import pandas as pd
import pytest
from planted import NAME, Parsed, active
from sources import sources

from lib import markup
from lib.markup import Html, table, tag

SINKS = {"lib/markup.py", "lib/viewer/html_box.py"}
SHOWN = {"HTML", "HTMLMath", "Markdown", "Javascript", "SVG", "IFrame", "Latex", "Math", "display_html", "to_html"}
SHOWN |= {"publish_display_data", "display_markdown", "display_javascript", "display_svg", "_repr_html_"}


def around(source: str) -> list[str]:
    """What in a source shows HTML, or calls a text HTML, by another way than the sink's."""
    wrong = []
    for node in ast.walk(ast.parse(source)):
        name = getattr(node, "attr", getattr(node, "id", getattr(node, "name", "")))
        if isinstance(node, ast.Attribute | ast.Name | ast.FunctionDef | ast.alias) and name in SHOWN:
            wrong.append(f"line {node.lineno}: {name}")
        if isinstance(node, ast.Attribute) and node.attr in ("style", "Styler") and ast.unparse(node) != "plt.style":
            wrong.append(f"line {node.lineno}: {ast.unparse(node)}")
        if isinstance(node, ast.ImportFrom) and node.module in ("html", "markupsafe"):
            wrong.append(f"line {node.lineno}: {node.module}")
        if isinstance(node, ast.keyword) and node.arg in ("raw", "description_allow_html"):
            wrong.append(f"line {node.lineno}: {node.arg}")
        called = ast.unparse(node.func).rpartition(".")[2] if isinstance(node, ast.Call) else ""
        if called == "tag" and ".tag(sync=True" in ast.unparse(node):
            continue  # of a widget's trait
        if called in ("Html", "Markup", "tag") and not (node.args and isinstance(node.args[0], ast.Constant)):
            wrong.append(f"line {node.lineno}: {called} of what isn't a literal")
    return wrong


@pytest.mark.parametrize(("name", "source"), [item for item in sources().items() if item[0] not in SINKS])
def test_html_goes_through_the_sink(name, source):
    assert around(source) == []


@pytest.mark.parametrize(
    "source",
    [
        "display(frame.style)", "from IPython.display import HTML", "IPython.display.HTML(x)", "ipywidgets.HTML(x)",
        "Html(f'<b>{x}</b>')", "Html(x)", "tag(x, 'a')", "frame.to_html()", "from html import escape",
        "class A:\n    def _repr_html_(self): ...", "display(x, raw=True)",
    ],
)  # fmt: skip
def test_every_way_around_is_seen(source):
    assert around(source)


def test_a_table_escapes_heads_index_cells_and_caption():
    index = pd.MultiIndex.from_tuples([(NAME, NAME), (NAME, "b"), ("c", NAME)], names=[NAME, NAME])
    frame = pd.DataFrame({NAME: [NAME, None, "x"], "number": [1.0, np.nan, 3.0]}, index=index)
    frame.columns.name = NAME
    text = table(frame, NAME, 3, shade="Blues")
    assert not active(text) and Parsed(text).words.count(NAME) == 9  # two keys of the index are one cell
    assert not active(table(frame.T)) and not active(table(frame.reset_index(drop=True)))


def test_tables_round_align_and_color_as_asked():
    frame = pd.DataFrame({"name": ["<b>", "y"], "value": ["−0.12", "–"], "share": [0.5, 1.0], "count": [3, 4]})
    frame["link"] = pd.Series([tag("a", "there", href="x.ipynb"), ""], dtype=object)
    text = table(frame, digits=3, formats={"count": ",.1f"}, shade="Blues")
    assert '<a href="x.ipynb">there</a>' in text and "&lt;b&gt;" in text
    assert text.count("text-align:right") == 9  # heads and cells of the numbers
    assert "0.500" in text and "1.000" in text and "3.0" in text and "var(--jp-ui-font-color1" in text
    colors = [a["style"].partition("background-color:")[2] for t, a in Parsed(text).elements if t == "td"]
    assert colors[2].startswith("rgb(247,251,255)") and colors[7].startswith("rgb(8,48,107);color:#fff")
    assert not colors[0] and "none" in table(frame.iloc[:0])


def test_long_tables_show_their_ends():
    frame = pd.DataFrame(np.arange(30_000.0).reshape(300, 100), index=[f"row {i}" for i in range(300)])
    text = table(frame)
    assert Parsed(text).words.count("row ") == markup.MOST and "row 0" in text and "row 299" in text
    assert "300 rows" in text and len(text) < 1e6 and 'scope="col"' in text


def test_attributes_and_links_cannot_break_out():
    assert tag("b", "x", title=NAME).count("<") == 2 and not active(tag("b", "x", title=NAME))
    assert Parsed(tag("b", "x", title=NAME)).elements == [("b", {"title": NAME})]
    assert not active(tag("a", "x", href="javascript:alert(1)")) and 'href="./java' in tag("a", "x", href="javascript:")
    assert tag("b", "\ud800\0") == "<b>?\ufffd</b>"  # what a file can't hold


def test_what_a_notebook_shows_is_not_typeset():
    assert Html("<b>$x$</b>")._repr_html_() == '<div class="tex2jax_ignore mathjax_ignore"><b>$x$</b></div>'


def test_a_notebook_shows_frames_by_the_table():
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell()
    markup.show_frames_by_table(shell)
    data, _ = shell.display_formatter.format(pd.DataFrame({NAME: [NAME]}, index=pd.Index([NAME], name=NAME)))
    assert not active(data["text/html"]) and Parsed(data["text/html"]).words.count(NAME) == 4
    assert "tex2jax_ignore" in data["text/html"]
