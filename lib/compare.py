"""Two runs or more side by side: what was set differently, how they learnt, how much better one is, case by case."""

import os
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pandas as pd
from scipy.stats import t as student

from lib import InputError, attempt, baselines, count, listing, metrics, overlap
from lib.data.checks import open_hdf5
from lib.files import read
from lib.scores import FALLING

IGNORED = ("run_dir", "task_name", "interactive", "notify")  # parameters that change no result
SCORES = ("ssim", "psnr", "nmse")
BASELINES = (*baselines.BASELINES, *baselines.SERIES_BASELINES)
NOT_OUTPUTS = ("input", "truth", "noise_free", "probability")
TITLES = {**listing.METRICS, "psnr": "PSNR, dB"}
NO_SCORES = pd.DataFrame(columns=["case", "person", "metric", "run", "value"])
LOSS = re.compile(r"(loss|class_weights)(\.|$)")  # parameters that change what a loss's numbers mean
ROUNDING = 1e-6  # of a value: a smaller difference is that of float32, and none


def named(paths: Iterable[os.PathLike | str]) -> dict[str, Path]:
    """Short and different names for run folders: the task, the time where a task has several, the whole path at last."""
    paths = list(dict.fromkeys(map(Path, paths)))
    names = [p.parent.name for p in paths]
    for longer in (lambda p: f"{p.parent.name} {p.name}", str):
        names = [n if names.count(n) == 1 else longer(p) for n, p in zip(names, paths, strict=True)]
    return dict(zip(names, paths, strict=True))


def newest(count: int = 2) -> list[Path]:
    """The newest `count` good runs of the same notebook and data with a history or predictions, older first; else []."""
    found: dict[str, list[Path]] = {}
    for row in listing.rows():
        if row.status == "ok" and any((row.path / name).is_file() for name in ("history.csv", "predictions/result.h5")):
            alike = found.setdefault(f"{row.notebook} {_made_on(row.path) or row.path}", [])
            alike.append(row.path)
            if len(alike) == count:
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
    """The parameters that differ: a row a dotted key such as optimizer.learning_rate, a column a run, "–" where it has none.

    Parameters that only some of the notebooks have are left out.
    """
    flat = {name: _parameters(path) for name, path in given.items()}
    keys = list(dict.fromkeys(key for values in flat.values() for key in values))
    groups = list(dict.fromkeys(key.partition(".")[0] for key in keys))
    every = [{key.partition(".")[0] for key in values} for values in flat.values() if values]
    keys = [key for key in keys if all(key.partition(".")[0] in its for its in every)]
    keys.sort(key=lambda key: groups.index(key.partition(".")[0]))
    rows = {k: {n: values.get(k, "–") for n, values in flat.items()} for k in keys}
    rows = {k: row for k, row in rows.items() if len(set(row.values())) > 1}
    table = pd.DataFrame([list(row.values()) for row in rows.values()], columns=list(given))
    table.insert(0, "setting", list(rows), allow_duplicates=True)  # a task may have that name
    return table


def _parameters(path: Path) -> dict[str, str]:
    try:
        task = read(path / "task.json")
        kept = {k: v for k, v in task["parameters"].items() if k not in IGNORED}
        return {"notebook": task["notebook"]} | _flat(kept)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, str]:
    found = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            found |= _flat(value, f"{before}{key}.")
        else:
            found[f"{before}{key}"] = f"{value:g}" if isinstance(value, float) else str(value)
    return found


# How they learnt


def histories(given: Mapping[str, Path]) -> dict[str, pd.DataFrame]:
    """The history.csv of each run that has one with at least one epoch."""
    found = {}
    for name, path in given.items():
        try:
            history = pd.read_csv(path / "history.csv")
        except (OSError, ValueError):  # missing, empty or cut off
            continue
        if len(history) and "epoch" in history:
            found[name] = history
    return found


def columns(found: Mapping[str, pd.DataFrame], given: Mapping[str, Path]) -> dict[str, str]:
    """{column: its name on an axis} of the curves there are, first those that all runs have, of the validation.

    Losses come after the metrics, and say so, where the runs of `given` were trained with different ones.
    """
    every = dict.fromkeys(c for h in found.values() for c in h.select_dtypes("number") if c not in ("epoch", "seconds"))
    settings = [_parameters(given[name]) for name in found]
    apart = len({tuple((k, v) for k, v in its.items() if LOSS.match(k)) for its in settings}) > 1
    names = {c: f"{c}, of different losses" if apart and c.endswith("loss") else c for c in every}

    def rank(column: str) -> tuple[bool, ...]:
        lacking = any(column not in h for h in found.values())
        return (
            column == "learning_rate",
            lacking,
            names[column] != column,
            column == "train_loss",
            column != "valid_loss",
        )

    return {column: names[column] for column in sorted(every, key=rank)}


def curves(found: Mapping[str, pd.DataFrame], column: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{run: (epochs from 1 on, values)} of the runs that have the column, for `plots.curves`."""
    numbers = {name: history.select_dtypes("number") for name, history in found.items()}  # a damaged file holds texts
    return {
        n: (h["epoch"].to_numpy() + 1, h[column].to_numpy()) for n, h in numbers.items() if {column, "epoch"} <= set(h)
    }


# How good they are


class Images(NamedTuple):
    """One network's images in a run: the result.h5 and which of its images they are."""

    path: Path
    image: str


def images(given: Mapping[str, Path]) -> dict[str, Images]:
    """What is compared: each run's `output`; of an evaluation each network's images (without networks, each method's)."""
    found = {}
    for name, path in given.items():
        result = path / "predictions" / "result.h5"
        try:
            with open_hdf5(result) as file:
                group = next(iter(file.values()), None)
                there = [k for k in group if k not in NOT_OUTPUTS] if isinstance(group, h5py.Group) else []
        except InputError:
            continue
        if "output" in there:
            found[name] = Images(result, "output")
        else:
            networks = [k for k in there if k not in BASELINES] or there
            found |= {f"{name}: {image}": Images(result, image) for image in networks}
    return found


def cases(compared: Mapping[str, Images]) -> list[str]:
    """The cases that all of them have, in the first one's order."""
    every = []
    for source in compared.values():
        with open_hdf5(source.path) as file:
            every.append([case for case, group in file.items() if source.image in group])
    return [case for case in (every[0] if every else []) if all(case in its for its in every)]


def case_of(compared: Mapping[str, Images], wanted: str | None) -> str | None:
    """The case that is wanted, else the first that all have, None where there is none; InputError where some lack it."""
    there = cases(compared)
    if wanted is not None and wanted not in there:
        raise InputError(f"case {wanted}: not one that all these runs have; those are {', '.join(there) or 'none'}")
    return wanted or next(iter(there), None)


def classes(compared: Mapping[str, Images]) -> list[str]:
    """The classes of segmentations; [] of reconstructions. InputError where both, or different classes, are compared."""
    found = {}
    for name, source in compared.items():
        with open_hdf5(source.path) as file:
            found[name] = [str(c) for c in next(iter(file.values())).attrs.get("classes", ())]
    first = next(iter(found), "")
    for name, its in found.items():
        if its != found[first]:
            said = [", ".join(c) or "no classes (a reconstruction)" for c in (found[first], its)]
            raise InputError(f"{first} has {said[0]}; {name} has {said[1]}: expected runs of one kind")
    return found.get(first, [])


def scores(compared: Mapping[str, Images]) -> pd.DataFrame:
    """A row a case that all have, metric and run: case, person, metric, run, value; each case's whole volume.

    Reconstructions: SSIM, PSNR, NMSE by fastMRI's definitions, of each acceleration by itself; segmentations: Dice of each
    class but the background. Cases without a truth are left out. InputError where two runs have different truths of one case.
    """
    rows, named_classes = [], tuple(classes(compared))
    for case in cases(compared):
        found = {n: _scored(*s, case, named_classes, s.path.stat().st_mtime_ns) for n, s in compared.items()}
        if any(each.truth is None for each in found.values()):
            continue
        check_truths(case, (each.truth for each in found.values()))
        at = next(iter(found.values())).acceleration
        for name, (person, _, values, _) in found.items():
            about = {"case": case, "person": person, "run": name, "at": at}
            rows += [about | {"metric": m, "value": v} for m, v in values.items()]
    several = len({row["at"] for row in rows}) > 1
    for row in rows:
        at = row.pop("at")
        row["metric"] += f" at {at:g}×" if several and at else ""
    return pd.DataFrame(rows, columns=list(NO_SCORES))


def check_truths(case: str, truths: Iterable[int]) -> None:
    """InputError where two hashes of a case's truth differ."""
    if len(set(truths)) > 1:
        raise InputError(f"{case}: the runs have different truths of it: they were made on different data")


def hash_of(truth: np.ndarray) -> int:
    """For `check_truths`."""
    return hash(truth.astype(np.float32).tobytes())


class _Scored(NamedTuple):
    """A case of a run. truth: its hash. acceleration: nominal; None where the file brought its mask, or of no k-space."""

    person: str
    truth: int | None
    values: dict[str, float]
    acceleration: float | None


@lru_cache(maxsize=4096)
def _scored(path: Path, image: str, case: str, named_classes: tuple[str, ...], modified: int) -> _Scored:
    """`modified` lets a file that was written anew be read anew."""
    with open_hdf5(path) as file:
        group = file[case]
        person = str(group.attrs.get("person", case))
        own = group.attrs.get("mask_kind") == "file" or "acceleration" not in group.attrs
        acceleration = None if own else float(group.attrs["acceleration"])
        if "truth" not in group:
            return _Scored(person, None, {}, acceleration)
        output, truth = group[image][:], group["truth"][:]
    where = f"{path}: {case}: {image}"
    if output.shape != truth.shape:
        raise InputError(f"{where} is {output.shape}, truth {truth.shape}")
    if not (np.isfinite(output).all() and np.isfinite(truth).all()):
        raise InputError(f"{where} or its truth holds values that are not finite")
    try:
        if named_classes:
            dice = overlap.dice(output, truth, len(named_classes))[1:]
            values = {f"Dice, {c}": float(d) for c, d in zip(named_classes[1:], dice, strict=True)}
        else:
            values = {TITLES[m]: metrics.METRICS[m](output, truth) for m in SCORES}
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    return _Scored(person, hash_of(truth), values, acceleration)


def paired(scored: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """A row a metric and run: the mean over people, and against the first run the mean of the paired differences.

    People count alike: a person's cases are averaged first. low, high: Student's t interval of the mean difference over
    people, NaN for one person and where a value is infinite (PSNR of equal images). better: people for whom the run is
    better than the first.
    """
    rows = []
    for metric, part in scored.groupby("metric", sort=False):
        people = part.groupby(["person", "run"], sort=False)["value"].mean().unstack()
        first = part["run"].iloc[0]
        for name in part["run"].unique():
            row = {"metric": metric, "run": name, "mean": people[name].mean(), "people": len(people)}
            if name != first:
                same = np.isclose(people[name], people[first], rtol=ROUNDING, atol=0)
                with np.errstate(invalid="ignore"):  # infinite PSNRs
                    difference = (people[name] - people[first]).mask(same, 0.0)
                    error = difference.sem() if len(people) > 1 else np.nan
                wide = student.ppf((1 + level) / 2, len(people) - 1) * error
                mean, better = difference.mean(), (difference < 0 if metric.startswith(FALLING) else difference > 0)
                row |= {"difference": mean, "low": mean - wide, "high": mean + wide, "better": int(better.sum())}
            rows.append(row)
    return pd.DataFrame(rows, columns=["metric", "run", "mean", "people", "difference", "low", "high", "better"])


def in_words(pairs: pd.DataFrame) -> pd.DataFrame:
    """`paired` as texts, three digits."""

    def signed(value: float) -> str:
        return f"{'−' if value < 0 else '+' if value else ''}{listing.number(abs(value))}"

    lines = []
    for row in pairs.itertuples():
        line = {"metric": row.metric, "run": row.run, "mean": listing.number(row.mean)}
        line |= dict.fromkeys(("difference", "95 % interval", "better for"), "–")
        if np.isfinite(row.difference):
            line["difference"], line["better for"] = signed(row.difference), f"{int(row.better)} of {row.people} people"
            one = not np.isfinite(row.low)
            line["95 % interval"] = "none: one person" if one else f"{signed(row.low)} to {signed(row.high)}"
        lines.append(line)
    return pd.DataFrame(lines, columns=["metric", "run", "mean", "difference", "95 % interval", "better for"])


def caption(scored: pd.DataFrame) -> str:
    """What the numbers of `paired` mean, in a sentence or two."""
    if not len(scored):
        return "No case with a truth that two of the runs have, so there is nothing to score."
    people, shared = scored["person"].nunique(), scored["case"].nunique()
    each = set(scored.groupby("metric")["person"].nunique())
    first = scored["run"].iloc[0]
    said = f"Means over {count(people, 'person', 'people')} ({count(shared, 'case')} that all runs share)"
    if people < 2:
        return f"{said}; differences from {first}. One person says nothing of others, so there is no interval."
    n = f"n = {people}" if each == {people} else "n the number of people in the last column"
    return f"{said}; differences from {first}, paired by person; Student's t interval of their mean, {n}."


def remarks(given: Mapping[str, Path], learnt: Mapping[str, Any], shown: Mapping[str, Images]) -> list[str]:
    """A line for each thing that a run lacks, and why; learnt: its `histories`, shown: its `images`."""
    found = []
    for name, path in given.items():
        row = listing.row(path)
        if row.status != "ok":
            found.append(
                f"{name}: {row.status}{f' ({row.message})' if row.message else ''}: what it has so far is shown"
            )
        if name not in learnt and (path / "history.csv").exists():
            found.append(f"{name}: its history.csv holds no epochs yet")
        if not any(source.path.is_relative_to(path) for source in shown.values()):
            result = path / "predictions" / "result.h5"
            why = "can't be read, or holds no cases" if result.exists() else "is missing"
            found.append(f"{name}: predictions/result.h5 {why}, so there are no images and no metrics by case")
    if len(shown) > 1:
        named_classes, why = attempt(classes, shown)
        if why or not cases(shown):
            found.append(why or "they have no case in common, so none is shown or scored")
    return found
