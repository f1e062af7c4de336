"""How quick the viewer is, as a table of what tests/browser/latency.py has measured."""

from typing import Any

from tools.tables import table

ROWS = (  # what; where it stands in the result; what is asked
    ("cell run → first picture", ("first_picture_ms",), 500),
    ("key → pixels, slices at hand (median)", ("at hand", "median_ms"), 20),
    ("key → pixels, slices fetched from the kernel (median)", ("fetched", "median_ms"), 60),
    ("key held at 30 Hz: last press → its picture (worst of five)", ("held_lag_ms",), 50),
)


def quickness(result: dict[str, Any]) -> str:
    """A row per gesture: milliseconds measured and asked for, and the machine below."""
    rows = []
    for what, place, asked in ROWS:
        value = result
        for key in place:
            value = value[key]
        rows.append([what, f"{value}", f"{asked}"])
    return f"{table(['what', 'found, ms', 'asked, ms'], rows)}\n\n{result['machine']}, JupyterLab, {result['date']}."
