"""Is one run better than another, for other people, too? Scores of cases that both have, paired by person.

Student's t interval of the mean difference over people answers it. What a step adds for the people that were tested,
however their slices had been chosen, is another question: `lib.evaluation.ladder`.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from math import isnan
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import t as student

from lib import InputError, metrics
from lib.evaluation import run_comparison
from lib.inference import results
from lib.metrics import segmentation
from lib.runs import listing
from lib.text import pluralize

NO_SCORES = pd.DataFrame(columns=["case", "person", "metric", "run", "value", "part", "simulated"])
ROUNDING = 1e-6  # of a value: a smaller difference is that of float32, and none


def scores(compared: Mapping[str, run_comparison.Images]) -> pd.DataFrame:
    """The scores of each case's whole volume, for the cases that all runs have.

    Reconstructions: the standard metrics, of each acceleration and each kind of series (simulated hearts, patients) by
    itself. Segmentations: Dice of each class but the background, 1 where a run rightly finds none of it; a class that
    neither a case's truth nor any run has is left out, as are cases without a truth. Runs that have a case at different
    accelerations are compared under both, and `caption` warns.

    Parameters
    ----------
    compared : each run's images, as `run_comparison.images` gives them

    Returns
    -------
    A row per case, metric and run: case, person, metric, run, value; part: what the run's images of the case are of,
    such as "at 4×"; simulated: whether a program has drawn what they show.

    Raises
    ------
    InputError
        If two runs have different truths of one case.
    """
    rows, parts, named_classes = [], {}, tuple(run_comparison.classes(compared))
    for case in run_comparison.cases(compared):
        scored_runs = {n: _scored(*s, case, named_classes, s.path.stat().st_mtime_ns) for n, s in compared.items()}
        if any(each.truth is None for each in scored_runs.values()):
            continue
        check_truths(case, (each.truth for each in scored_runs.values()))
        parts[case] = " and ".join(dict.fromkeys(each.part for each in scored_runs.values() if each.part))
        first, *others = (each.values for each in scored_runs.values())
        known = [m for m in first if not all(isnan(values[m]) for values in (first, *others))]
        for name, (person, _, values, part, simulated) in scored_runs.items():
            about = {"case": case, "person": person, "run": name, "part": part, "simulated": simulated}
            rows += [about | {"metric": m, "value": 1.0 if isnan(values[m]) else values[m]} for m in known]
    mixed = any(row["part"] != parts[row["case"]] for row in rows)
    for row in rows:
        row["metric"] += f" {parts[row['case']]}".rstrip() if mixed or len({*parts.values()}) > 1 else ""
    return pd.DataFrame(rows, columns=list(NO_SCORES))


def check_truths(case: str, truths: Iterable[int]) -> None:
    """InputError if two hashes of a case's truth differ."""
    if len(set(truths)) > 1:
        raise InputError(case, "the runs have different truths of it: they were made on different data")


def hash_of(truth: np.ndarray) -> int:
    """For `check_truths`."""
    return hash(truth.astype(np.float32).tobytes())


class _Scored(NamedTuple):
    """A case of a run. truth: its hash. values: NaN for a class that neither has.

    part: what sets its kind apart (`lib.inference.results.Case.kind`).
    """

    person: str
    truth: int | None
    values: dict[str, float]
    part: str
    simulated: bool


@lru_cache(maxsize=4096)
def _scored(path: Path, image: str, case: str, named_classes: tuple[str, ...], modified: int) -> _Scored:
    """`modified` lets a file that was written anew be read anew."""
    stored = results.case(path, case)
    if "truth" not in stored.images:
        return _Scored(stored.person, None, {}, stored.kind, stored.simulated)
    output, truth = stored[image], stored["truth"]
    where = f"{path}: {case}: {image}"
    if output.shape != truth.shape:
        raise InputError(f"{where} is {output.shape}, truth {truth.shape}")
    if not (np.isfinite(output).all() and np.isfinite(truth).all()):
        raise InputError(f"{where} or its truth holds values that are not finite")
    try:
        if named_classes:
            counts = segmentation.confusion(output, truth, len(named_classes), stored.ignore_index)
            dice = np.where(segmentation.both_empty(counts), np.nan, segmentation.dice_of(counts))[1:]
            values = {f"Dice, {c}": float(d) for c, d in zip(named_classes[1:], dice, strict=True)}
        else:
            values = {m.label: m(output, truth) for m in map(metrics.METRICS.get, metrics.standard())}
    except InputError as error:
        raise InputError(where, error) from None
    return _Scored(stored.person, hash_of(truth), values, stored.kind, stored.simulated)


def differences(scored: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """Means over people, and the paired differences from the first run.

    People count alike: a person's cases are averaged first.

    Parameters
    ----------
    scored : as `scores` gives it
    level : of the interval, 0 to 1

    Returns
    -------
    A row per metric and run. mean: over people. difference: mean of the paired differences from the first run. low,
    high: Student's t interval of that mean, NaN for one person and if a value is infinite (PSNR of equal images).
    better: people for whom the run is better than the first.
    """
    rows = []
    for metric, part in scored.groupby("metric", sort=False):
        people = part.groupby(["person", "run"], sort=False)["value"].mean().unstack().dropna()
        first = part["run"].iloc[0]
        for name in part["run"].unique():
            row = {"metric": metric, "run": name, "mean": people[name].mean(), "people": len(people)}
            if name != first:
                same = np.isclose(people[name], people[first], rtol=ROUNDING, atol=0)
                with np.errstate(invalid="ignore"):  # infinite PSNRs
                    difference = (people[name] - people[first]).mask(same, 0.0)
                    error = difference.sem() if len(people) > 1 else np.nan
                wide = student.ppf((1 + level) / 2, len(people) - 1) * error
                mean, better = difference.mean(), difference < 0 if metrics.lower_is_better(metric) else difference > 0
                row |= {"difference": mean, "low": mean - wide, "high": mean + wide, "better": int(better.sum())}
            rows.append(row)
    return pd.DataFrame(rows, columns=["metric", "run", "mean", "people", "difference", "low", "high", "better"])


def in_words(pairs: pd.DataFrame) -> pd.DataFrame:
    """`differences` as texts, three digits."""

    def signed(value: float) -> str:
        return f"{'−' if value < 0 else '+' if value else ''}{listing.number(abs(value))}"

    lines = []
    for row in pairs.itertuples():
        line = {"metric": row.metric, "run": row.run, "mean": listing.number(row.mean) or "–"}
        line |= dict.fromkeys(("difference", "95 % interval", "better for"), "–")
        if np.isfinite(row.difference):
            line["difference"], line["better for"] = signed(row.difference), f"{int(row.better)} of {row.people}"
            one = not np.isfinite(row.low)
            line["95 % interval"] = "none: one person" if one else f"{signed(row.low)} to {signed(row.high)}"
        lines.append(line)
    return pd.DataFrame(lines, columns=["metric", "run", "mean", "difference", "95 % interval", "better for"])


def caption(scored: pd.DataFrame) -> str:
    """What the numbers of `differences` mean, in a sentence or two."""
    if not len(scored):
        return "No case with a truth that two of the runs have, so there is nothing to score."
    people, shared = scored["person"].nunique(), scored["case"].nunique()
    simulated = ", simulated ones too" * bool(scored["simulated"].any())
    each = set(scored.groupby("metric")["person"].nunique())
    first = scored["run"].iloc[0]
    means = f"Means over {pluralize(people, 'person', 'people')}{simulated}"
    said = f"{_caution(scored)}{means} ({pluralize(shared, 'case')} that all runs share)"
    if people < 2:
        return f"{said}; differences from {first}. One person says nothing of others, so there is no interval."
    n = f"n = {people}" if each == {people} else "n the number of people in the last column"
    return f"{said}; differences from {first}, paired by person; Student's t interval of their mean, {n}."


def _caution(scored: pd.DataFrame) -> str:
    """A sentence where runs have a case at different accelerations, else nothing."""
    mixed = scored[scored.groupby("case")["part"].transform("nunique") > 1]
    each = mixed.groupby("run", sort=False)["part"].unique()
    said = ", ".join(f"{run} {' and '.join(p or 'by its own mask' for p in parts)}" for run, parts in each.items())
    return f"Caution: {said}: the differences are those of the accelerations, too. " if said else ""
