"""A first picture in a notebook that is running, until the whole one is there."""

import sys
from collections.abc import Callable

from matplotlib.figure import Figure

from lib.markup import Html


def preview(figure: Callable[[], Figure]) -> Callable[[], None]:
    """Shows a figure below the running cell until what is returned is called; outside of notebooks it isn't even drawn."""
    ipython = sys.modules.get("IPython")
    shell = ipython and ipython.get_ipython()
    if not hasattr(shell, "kernel"):
        return lambda: None
    shown = ipython.display.display(figure(), display_id=True)
    return lambda: shown.update(Html(""))
