"""Two runs or more side by side: what was set differently, how they learnt, which images of theirs are compared."""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from lib import InputError
from lib.evaluation import baselines
from lib.files import read
from lib.inference import results
from lib.runs import listing
from lib.text import value_or_error

WITHOUT_EFFECT = ("run_dir", "task_name", "interactive", "notify")  # parameters that change no result
ALL_BASELINES = (*baselines.BASELINES, *baselines.SERIES_BASELINES)
LOSS_PARAMETERS = re.compile(r"(loss|class_weights)(\.|$)")  # parameters that change what a loss's numbers mean


def named(paths: Iterable[os.PathLike | str]) -> dict[str, Path]:
    """Short and different names for run folders: the task, the time where a task has several, the whole path at last."""
    paths = list(dict.fromkeys(map(Path, paths)))
    names = distinct(paths, lambda path: path.parent.name, lambda path: f"{path.parent.name} {path.name}", str)
    return dict(zip(names, paths, strict=True))


def distinct(items: Sequence[Any], *namings: Callable[[Any], str]) -> list[str]:
    """A name for each item: by the first of `namings` if that is the only one of its kind, else by the next, and so on."""
    names = list(map(namings[0], items))
    for longer in namings[1:]:
        names = [name if names.count(name) == 1 else longer(item) for name, item in zip(names, items, strict=True)]
    return names


def newest(most: int = 2) -> list[Path]:
    """The newest `most` good runs of one notebook and data set, with a history or predictions, older first; else []."""
    alike_runs: dict[str, list[Path]] = {}
    for row in listing.rows():
        if row.status == "ok" and any((row.path / name).is_file() for name in ("history.csv", "predictions/result.h5")):
            alike = alike_runs.setdefault(f"{row.notebook} {_made_on(row.path) or row.path}", [])
            alike.append(row.path)
            if len(alike) == most:
                return alike[::-1]
    return []


def _made_on(path: Path) -> Any:
    """The checksums of the data that a run has recorded."""
    try:
        return read(path / "manifest.json").get("data")
    except (OSError, ValueError, AttributeError):
        return None


# What was set


def settings(given: Mapping[str, Path]) -> pd.DataFrame:
    """The parameters that differ; of runs of different notebooks, those that only some of them have are left out.

    Parameters
    ----------
    given : run folders by name

    Returns
    -------
    A row per dotted key such as optimizer.learning_rate, a column per run, "–" if it has none.
    """
    flat = {name: _parameters(path) for name, path in given.items()}
    keys = list(dict.fromkeys(key for values in flat.values() for key in values))
    groups = list(dict.fromkeys(key.partition(".")[0] for key in keys))
    if len({values["notebook"] for values in flat.values() if values}) > 1:
        every = [{key.partition(".")[0] for key in values} for values in flat.values() if values]
        keys = [key for key in keys if all(key.partition(".")[0] in groups_of_one for groups_of_one in every)]
    keys.sort(key=lambda key: groups.index(key.partition(".")[0]))
    rows = {k: {n: values.get(k, "–") for n, values in flat.items()} for k in keys}
    rows = {k: row for k, row in rows.items() if len(set(row.values())) > 1}
    table = pd.DataFrame([list(row.values()) for row in rows.values()], columns=list(given))
    table.insert(0, "setting", list(rows), allow_duplicates=True)  # a task may have that name
    return table


def _parameters(path: Path) -> dict[str, str]:
    try:
        task = read(path / "task.json")
        kept = {k: v for k, v in task["parameters"].items() if k not in WITHOUT_EFFECT}
        return {"notebook": task["notebook"]} | _flat(kept)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, str]:
    flat = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{before}{key}.")
        else:
            flat[f"{before}{key}"] = str(value)
    return flat


# How they learnt


def histories(given: Mapping[str, Path]) -> dict[str, pd.DataFrame]:
    """The history.csv of each run that has one with at least one epoch; epochs count from 1, as older runs' didn't."""
    read_histories = {}
    for name, path in given.items():
        try:
            history = pd.read_csv(path / "history.csv")
        except (OSError, ValueError):  # missing, empty or cut off
            continue
        if len(history) and "epoch" in history:
            read_histories[name] = history.assign(epoch=history["epoch"] + 1) if history["epoch"][0] == 0 else history
    return read_histories


def columns(histories: Mapping[str, pd.DataFrame], given: Mapping[str, Path]) -> dict[str, str]:
    """The curves there are, first those that all runs have, of the validation.

    Losses come after the metrics, and say so, if the runs were trained with different ones.

    Parameters
    ----------
    histories : by run
    given : the run folders

    Returns
    -------
    {column: its name on an axis}
    """
    numbers = (column for history in histories.values() for column in history.select_dtypes("number"))
    every = dict.fromkeys(column for column in numbers if column not in ("epoch", "seconds"))
    settings = [_parameters(given[name]) for name in histories]
    losses = {tuple((k, v) for k, v in values.items() if LOSS_PARAMETERS.match(k)) for values in settings}
    names = {c: f"{c}, of different losses" if len(losses) > 1 and c.endswith("loss") else c for c in every}

    def rank(column: str) -> tuple[bool, ...]:
        lacking = any(column not in h for h in histories.values())
        return (
            column == "learning_rate",
            lacking,
            names[column] != column,
            column == "train_loss",
            column != "valid_loss",
        )

    return {column: names[column] for column in sorted(every, key=rank)}


def curves(histories: Mapping[str, pd.DataFrame], column: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{run: (epochs, values)} of the runs that have the column, for `plots.curves`."""
    # A damaged file holds texts
    numbers = {name: history.select_dtypes("number") for name, history in histories.items()}
    return {n: (h["epoch"].to_numpy(), h[column].to_numpy()) for n, h in numbers.items() if {column, "epoch"} <= set(h)}


# What they made


class Images(NamedTuple):
    """One network's images in a run: the result.h5 and which of its images they are."""

    path: Path
    image: str


def images(given: Mapping[str, Path]) -> dict[str, Images]:
    """What is compared: each run's `output`; of an evaluation each network's images (without networks, each method's)."""
    compared = {}
    for name, path in given.items():
        result = path / "predictions" / "result.h5"
        try:
            outputs = results.case(result).outputs
        except InputError:
            continue
        if "output" in outputs:
            compared[name] = Images(result, "output")
        else:
            networks = [k for k in outputs if k not in ALL_BASELINES] or outputs
            compared |= {f"{name}: {image}": Images(result, image) for image in networks}
    return compared


def cases(compared: Mapping[str, Images]) -> list[str]:
    """The cases that all of them have, in the first one's order."""
    every = []
    for source in compared.values():
        every.append([name for name, case in results.cases(source.path).items() if source.image in case.images])
    return [case for case in (every[0] if every else []) if all(case in names for names in every)]


def case_of(compared: Mapping[str, Images], wanted: str | None) -> str | None:
    """The case that is wanted, else the first that all have, None if there is none; InputError if some lack it."""
    shared = cases(compared)
    if wanted is not None and wanted not in shared:
        raise InputError(f"case {wanted}", f"not one that all these runs have; those are {', '.join(shared) or 'none'}")
    return wanted or next(iter(shared), None)


def classes(compared: Mapping[str, Images]) -> list[str]:
    """The classes of segmentations; [] of reconstructions. InputError if both, or different classes, are compared."""
    by_run = {name: list(results.case(source.path).classes) for name, source in compared.items()}
    first = next(iter(by_run), "")
    for name, names in by_run.items():
        if names != by_run[first]:
            said = [", ".join(c) or "no classes (a reconstruction)" for c in (by_run[first], names)]
            raise InputError(f"{first} has {said[0]}; {name} has {said[1]}", "", "runs of one kind")
    return by_run.get(first, [])


def remarks(given: Mapping[str, Path], learnt: Mapping[str, Any], shown: Mapping[str, Images]) -> list[str]:
    """A line for each thing that a run lacks, and why.

    Parameters
    ----------
    given : the run folders, by name
    learnt : their `histories`
    shown : their `images`
    """
    lines = []
    for name, path in given.items():
        row = listing.row(path)
        if row.status != "ok":
            lines.append(
                f"{name}: {row.status}{f' ({row.message})' if row.message else ''}: what it has so far is shown"
            )
        if name not in learnt and (path / "history.csv").exists():
            lines.append(f"{name}: its history.csv holds no epochs yet")
        elif name in learnt and not columns({name: learnt[name]}, given):
            lines.append(f"{name}: its history.csv holds no numbers")
        if not any(source.path.is_relative_to(path) for source in shown.values()):
            result = path / "predictions" / "result.h5"
            why = "can't be read, or holds no cases" if result.exists() else "is missing"
            lines.append(f"{name}: predictions/result.h5 {why}, so there are no images and no metrics by case")
    if len(shown) > 1:
        named_classes, why = value_or_error(classes, shown)
        if why or not cases(shown):
            lines.append(why or "they have no case in common, so none is shown or scored")
    return lines
