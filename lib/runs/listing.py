"""Runs as a person wants to see them listed: newest first, times and durations in words, a run that is damaged as a line too."""

import math
import re
from collections.abc import Iterable
from datetime import datetime
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from lib import InputError, metrics, runs
from lib.files import read
from lib.models import own

SYMBOLS = {"ok": "✓", "running": "●", "failed": "✗", "killed": "■", "skipped": "–", "damaged": "?"}
METRICS = {name: metrics.METRICS[name].title for name in [*metrics.standard(), *metrics.scored("labels")]}
STAMP = re.compile(r"(\d{8}-\d{6})(-\d+)?")


class Row(NamedTuple):
    """One run. started: local time; seconds: so far, of one that runs; scores: by `METRICS`' keys; of: what they are of.

    message: what is wrong, in one line, or "".
    """

    path: Path
    task: str
    notebook: str
    role: str
    network: str
    started: datetime | None
    status: str
    seconds: float | None
    scores: dict[str, float]
    of: str
    message: str


def folders() -> list[Path]:
    """Every run folder, those too in which nothing can be read."""
    paths = {
        path
        for root in runs.roots()
        for path in root.glob("*/*")
        if path.parent.name not in runs.RESERVED_NAMES and is_run(path)
    }
    return sorted(paths)


def is_run(path: Path) -> bool:
    """Whether a folder is a run's, be it a damaged or empty one."""
    named = STAMP.fullmatch(path.name) or not path.name.startswith(".") and (path / "status.json").exists()
    return path.is_dir() and bool(named)


def rows(paths: Iterable[PathLike | str] | None = None, views: bool = True) -> list[Row]:
    """A row for each of `paths`, in their order; of all runs, newest first, where None. Never raises for a bad folder.

    views: with the runs of notebooks that only look at what there is.
    """
    if paths is not None:
        return [row(Path(path)) for path in paths]
    every = [r for r in map(row, folders()) if views or r.role != "view"]
    return sorted(every, key=lambda r: (r.started or datetime.min, r.path.name), reverse=True)


def row(path: Path) -> Row:
    """One run's row."""
    try:
        state = runs.status(path)
        started = datetime.fromisoformat(state["started"]).astimezone().replace(tzinfo=None)
        status, seconds = str(state["status"]), float(state["seconds"])
        message = str(state.get("error") or state.get("note") or "")
    except (InputError, KeyError, TypeError, ValueError, AttributeError):
        message = "an empty folder, no run in it" if _empty(path) else "status.json is missing or unreadable"
        started, status, seconds = _stamped(path.name), "damaged", None
    try:
        task = read(path / "task.json")
        notebook, network = str(task["notebook"]), own.shown(str(task["parameters"].get("network_type") or ""))
        role = str(task.get("role") or "")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        notebook, role, network, message = "", "", "", message or "task.json is missing or unreadable"
    if status == "running":
        seconds, message = (datetime.now() - started).total_seconds(), message or "still running"
    try:
        written = runs.metrics_of(path)
        scores, of = main_metrics(written.get("headline", {}), written.get("by_class", ""))
        of += f", {written['note']}" if scores and written.get("note") else ""
    except (ValueError, TypeError, AttributeError):
        scores, of, message = {}, "", message or "metrics.json is unreadable"
    return Row(
        path, path.parent.name, notebook, role, network, started, status, seconds, scores, of, " ".join(message.split())
    )


def _empty(path: Path) -> bool:
    try:
        return not any(path.iterdir())
    except OSError:
        return not path.exists()


def _stamped(name: str) -> datetime | None:
    try:
        return datetime.strptime(STAMP.fullmatch(name)[1], "%Y%m%d-%H%M%S")
    except (TypeError, ValueError):
        return None


def main_metrics(headline: dict[str, Any], by_class: str = "") -> tuple[dict[str, float], str]:
    """(scores by METRICS' keys, what they are of): of a headline's rows the one that is best by the first of METRICS.

    `ssim_slices` and the like, a trainer's means over single slices, stand for `ssim` where there is no other. by_class:
    the metric, if each row gives it by class; its score is the mean over the classes after the first, the background.
    """
    best: tuple[dict[str, float], str] = {}, ""
    for name, values in headline.items():
        if not isinstance(values, dict):
            continue
        if by_class:
            classes = [v for k, v in list(values.items())[1:] if k != "pooled dice" and v is not None]
            scores, of = ({by_class: sum(classes) / len(classes)} if classes else {}), name
        else:
            whole = {k: values[k] for k in METRICS if _number(values.get(k))}
            scores = whole or {k: values[f"{k}_slices"] for k in METRICS if _number(values.get(f"{k}_slices"))}
            of = name if whole else f"{name} slices"
        if scores and _rank(scores) > _rank(best[0]):
            best = {k: float(v) for k, v in scores.items()}, of
    return best


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _rank(scores: dict[str, float]) -> tuple[float, float]:
    for number, name in enumerate(METRICS):
        if name in scores:
            return -number, -scores[name] if metrics.METRICS[name].lower_is_better else scores[name]
    return -math.inf, 0.0


# In words


def duration(seconds: float | None) -> str:
    """ "48 s", "3 min 12 s", "2 h 05 min"; "" for None."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def moment(time: datetime | None, now: datetime | None = None) -> str:
    """ "today 14:03", "yesterday 09:30", "21 Nov 14:03" this year, "21 Nov 2025" before; "" for None."""
    if time is None:
        return ""
    now = now or datetime.now()
    days, clock = (now.date() - time.date()).days, time.strftime("%H:%M")
    if days in (0, 1):
        return f"{('today', 'yesterday')[days]} {clock}"
    return f"{time.day} {time:%b} {clock}" if time.year == now.year else f"{time.day} {time:%b %Y}"


def state(status: str) -> str:
    """A status as symbol and word, told apart without colors: "✓ ok"."""
    return f"{SYMBOLS.get(status, '?')} {status}"


def number(value: float | None) -> str:
    """Three digits, "" for None: 0.886, 32.2, 0.0184."""
    if value is None or not math.isfinite(value):
        return ""
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}" if 1e-4 <= abs(value) < 1e3 else f"{value:.3g}"


def table(paths: Iterable[PathLike | str] | None = None, views: bool = True) -> pd.DataFrame:
    """`rows` in words: run, network, time, status, duration, the metrics that any of them has, what they are of."""
    listed = rows(paths, views)
    scored = [key for key in METRICS if any(key in r.scores for r in listed)]
    lines = [
        {"run": r.task, "network": r.network, "time": moment(r.started), "status": state(r.status)}
        | {"duration": duration(r.seconds)}
        | {METRICS[key]: number(r.scores.get(key)) for key in scored}
        | {"measured on": r.of, "note": r.message}
        for r in listed
    ]
    frame = pd.DataFrame(lines, columns=None if lines else ["run", "network", "time", "status", "duration"])
    return frame.drop(columns=[c for c in ("network", "note") if c in frame and not any(frame[c])])
