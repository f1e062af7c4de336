"""Controls that all widgets are made of. All have labels and work by the keyboard."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets

from lib.viewer.html_box import HtmlBox
from lib.viewer.labels import status

STYLE = {"description_width": "initial"}


def message() -> HtmlBox:
    """A line for what the reader must know; `tell` fills it."""
    return HtmlBox(layout={"margin": "0"})


def tell(line: HtmlBox, text: str) -> None:
    """Shows a text in a `message` line."""
    line.value = status(text, "border-left:4px solid var(--jp-warn-color1,#E69F00);padding:4px 10px") if text else ""


def button(name: str, call: Callable[[Any], None], tooltip: str = "") -> ipywidgets.Button:
    """A button as wide as its name, which calls `call` with itself."""
    widget = ipywidgets.Button(description=name, tooltip=tooltip, layout={"width": "auto", "align_self": "flex-start"})
    widget.on_click(call)
    return widget


def choice(name: str, options: Sequence[Any] | Mapping[str, Any], value: Any) -> ipywidgets.ToggleButtons:
    """A button for each option, after a label; a dropdown's keys would be Lab's own shortcuts.

    Parameters
    ----------
    name : its label
    options : values, or {name: value}
    value : chosen at first
    """
    options = list(options.items()) if isinstance(options, Mapping) else [(str(option), option) for option in options]
    buttons = ipywidgets.ToggleButtons(
        description=name, options=options, value=value,
        layout={"width": "auto", "display": "flex", "flex_flow": "row wrap", "align_items": "center"},
        style=STYLE | {"button_width": "auto"}, tooltips=[f"{name}: {option}" for option, _ in options],
    )  # fmt: skip
    buttons.add_class("choice")
    return buttons


def bar(widgets: Sequence[ipywidgets.Widget]) -> ipywidgets.Box:
    """Controls in a line, which wraps where it is narrow."""
    return ipywidgets.Box(
        list(widgets), layout={"flex_flow": "row wrap", "align_items": "center", "grid_gap": "2px 8px"}
    )
