"""What finished runs say of themselves in metrics.json, and a table of it."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lib.files import read
from lib.models import own
from lib.runs.run import history
from lib.runs.status_file import status


def table(runs: Iterable[os.PathLike | str] | None = None):
    """A pandas table, one row per run that is sound (all of them by default): task, time, status, seconds, …, headline metrics, path."""
    import pandas as pd

    rows = []
    for path in history() if runs is None else [Path(r) for r in runs]:
        try:
            state, task = status(path), read(path / "task.json")
            row = {"task": path.parent.name, "time": path.name, "status": state["status"], "seconds": state["seconds"]}
            row |= {"notebook": task["notebook"], "network": own.shown(task["parameters"].get("network_type"))}
            main = headline(path).items()
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # damaged: lib.runs.listing shows it
        for name, value in main:
            row |= {f"{name} {k}": v for k, v in value.items()} if isinstance(value, dict) else {name: value}
        rows.append(row | {"path": str(path)})
    first = ["task", "time", "status", "seconds", "notebook", "network"]
    metrics = [k for row in rows for k in row if k not in first and k != "path"]
    return pd.DataFrame(rows, columns=[*first, *dict.fromkeys(metrics), "path"])


def metrics_of(path: Path) -> dict[str, Any]:
    """What `finish` was given of a run: its metrics.json; {} where it has none."""
    try:
        return read(path / "metrics.json")
    except OSError:
        return {}


def headline(path: Path) -> dict[str, Any]:
    """The main metrics of a run: metrics.json's `headline`, name → number or row → {name → number}."""
    return metrics_of(path).get("headline", {})
