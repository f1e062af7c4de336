"""What does each method add to the one before it, for the people that were tested?

A paired block bootstrap over their slices answers it. Whether a run is better for other people, too, is another
question: `lib.evaluation.paired`.
"""

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
    return scores.groupby(by, sort=False, dropna=False)[numbers].mean().reset_index()


def check_ladder(steps: list[str], networks: Iterable[str], baselines: Iterable[str] = tuple(BASELINES)) -> None:
    """InputError for one of `steps` that is neither one of the baselines nor one of the networks."""
    known = [*baselines, *networks]
    for step in steps:
        if step not in known:
            raise InputError("ladder", f"{choose(step, known)}")


def ladder(scores: pd.DataFrame, steps: list[str]) -> pd.DataFrame:
    """What each method adds to the one before it.

    Parameters
    ----------
    scores : of `compare`: a row per file, method and acceleration
    steps : methods, each built on the one before it

    Returns
    -------
    A row per acceleration and step. gain: in SSIM, mean over people; low, high: its paired block-bootstrap interval
    over slices; people: for how many of them the step is better; helps: yes or no if the interval lies on one side of
    0, else unclear; n/a if one of the two couldn't be done.
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
    of_methods = [scores[scores.method == m].set_index(key) for m in methods]
    shared = of_methods[0].index.intersection(of_methods[1].index)
    return [_by_person(scores_of_one.loc[shared].reset_index()) for scores_of_one in of_methods]


def _by_person(scores: pd.DataFrame) -> pd.DataFrame:
    """One method's scores by person: the means over the person's files, and the slices of all of them."""
    numbers = scores.select_dtypes("number").columns
    people = scores.groupby("person", sort=False)
    slices = {person: np.concatenate([*of_files]) for person, of_files in people.ssim_slices}
    return people[list(numbers)].mean().assign(ssim_slices=pd.Series(slices, dtype=object))
