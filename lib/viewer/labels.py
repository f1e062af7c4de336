"""Lines of text in widgets: names over panels, and what screen readers announce."""

from collections.abc import Mapping

from lib.markup import Html, tag
from lib.viewer.pixels import GAP

TEXT = "line-height:1.35;overflow-wrap:anywhere;color:var(--jp-ui-font-color1,inherit)"


def labels_of(cells: Mapping[str, str], count: int, width: int) -> Html:
    """Labels over a line of panels.

    Parameters
    ----------
    cells : {name: note}
    count : panels in a line
    width : of the picture beneath, pixels
    """
    grid = f"display:grid;grid-template-columns:repeat({count},minmax(0,1fr));column-gap:{100 * GAP / width}%"
    texts = (
        tag("div", tag("b", _unbroken(name)), Html("<br>"), tag("small", *_pieces(note)))
        for name, note in cells.items()
    )
    return tag("div", *texts, style=f"{grid};{TEXT};text-align:center;margin-top:8px")


def _unbroken(name: str) -> str:
    """A name that breaks, if it must, before the sign of a difference and not behind it."""
    return name.replace(" ×", "\u00a0×").replace("− ", "−\u00a0")


def _pieces(note: str) -> list[Html]:
    """The parts of a note, each kept together where it fits, without a dot at the end of a line."""
    return [tag("span", part, style="display:inline-block;margin:0 .5em") for part in note.split(" · ") if note]


def status(text: str, style: str = "") -> Html:
    """A line that screen readers announce."""
    return tag("div", text, role="status", style=f"{TEXT};{style}")
