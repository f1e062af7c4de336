"""What each method adds to the one before it, person by person."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from lib import InputError, metrics
from lib.evaluation.baselines import BASELINES
from lib.runs.parameters import choose


def per_person(scores: pd.DataFrame) -> pd.DataFrame:
    """`scores` with one row per person, method and acceleration: the means over the person's files."""
    by = ["person", "group", "acceleration", "method"]
    numbers = [c for c in scores.select_dtypes("number") if c not in by]
    return scores.groupby(by, sort=False)[numbers].mean().reset_index()


def check_ladder(steps: list[str], networks: Iterable[str], baselines: Iterable[str] = tuple(BASELINES)) -> None:
    """InputError for a step that is neither one of the baselines nor one of the networks."""
    known = [*baselines, *networks]
    for step in steps:
        if step not in known:
            raise InputError("ladder", f"{choose(step, known)}")


def ladder(scores: pd.DataFrame, steps: list[str]) -> pd.DataFrame:
    """What each method of `steps` adds to the one before it, a row an acceleration and step.

    `gain` is in SSIM, mean over people, `low` and `high` its paired block-bootstrap interval over slices; `people` says
    for how many of them the step is better. helps: yes or no where the interval lies on one side of 0, else unclear;
    n/a where one of the two couldn't be done.
    """
    rows = []
    for nominal, part in scores.groupby("acceleration", sort=False):
        for before, method in zip([None, *steps], steps, strict=False):
            mine = _by_person(part[part.method == method])
            if mine.empty:
                rows.append({"acceleration": nominal, "method": method, "helps": "n/a"})
                continue
            row = {"acceleration": nominal, "achieved": mine.achieved.mean(), "method": method}
            row |= mine[["ssim", "ssim_foreground", "psnr"]].mean().to_dict()
            if before:
                mine, base = _shared(part, method, before)
                if mine.empty:
                    rows.append(row | {"helps": "n/a"})
                    continue
                gain, low, high = metrics.paired_gain(mine.ssim_slices, base.ssim_slices)
                helps = "yes" if low > 0 else "no" if high < 0 else "unclear"
                row |= {"gain": gain, "low": low, "high": high, "helps": helps}
                row["people"] = f"{int((mine.ssim > base.ssim).sum())} of {len(mine)}"
            rows.append(row)
    return pd.DataFrame(rows)


def _shared(scores: pd.DataFrame, *methods: str) -> list[pd.DataFrame]:
    """Each method's scores by person, of the files that all have: one may be n/a for some of them."""
    key = ["person", "case"] if "case" in scores else ["person"]
    found = [scores[scores.method == m].set_index(key) for m in methods]
    shared = found[0].index.intersection(found[1].index)
    return [_by_person(its.loc[shared].reset_index()) for its in found]


def _by_person(scores: pd.DataFrame) -> pd.DataFrame:
    """One method's scores by person: the means over the person's files, and the slices of all of them."""
    numbers = scores.select_dtypes("number").columns
    people = scores.groupby("person", sort=False)
    slices = {person: np.concatenate([*its]) for person, its in people.ssim_slices}
    return people[list(numbers)].mean().assign(ssim_slices=pd.Series(slices, dtype=object))
