"""Scores of the segmentations in a result.h5: by class, by case, slice by slice."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from lib import InputError
from lib.inference import results
from lib.metrics import bootstrap, segmentation


class Score(NamedTuple):
    """One case's counts and distances.

    Parameters
    ----------
    case : its name
    person : whose it is
    counts : (S, C, C), the confusion of each slice
    hausdorff95 : (S, C) of each slice, of a volume (1, C), in space; in mm, or in pixels if their size isn't known
    classes : names, the background first
    """

    case: str
    person: str
    counts: np.ndarray
    hausdorff95: np.ndarray
    classes: tuple[str, ...]

    @property
    def dice(self) -> np.ndarray:
        """(C,), over all slices together."""
        return segmentation.dice_of(self.counts.sum(0))

    @property
    def units(self) -> np.ndarray:
        """Confusion counts of what each row of hausdorff95 is of: the slices, or the volume."""
        return self.counts if len(self.hausdorff95) == len(self.counts) else self.counts.sum(0, keepdims=True)


def cases_of(path: Path) -> dict[str, results.Case]:
    """The cases of a result.h5 of segmentations; InputError if it can't be read, or holds reconstructions."""
    cases = results.cases(path)
    for name, case in cases.items():
        if not case.classes:
            raise InputError(path, "no segmentations in it", hint=f"{name} has no classes")
    return cases


def score(path: Path) -> list[Score]:
    """Every case of a result.h5 that has a truth, its labeled pixels; [] if there are none. InputError as in `cases_of`."""
    scores = []
    for name, case in cases_of(path).items():
        if "truth" not in case.images:
            continue
        output, truth, count, ignored = case["output"], case["truth"], len(case.classes), case.ignore_index
        counts = np.stack([segmentation.confusion(o, t, count, ignored) for o, t in zip(output, truth, strict=True)])
        if not counts.any():
            continue
        if case.is_volume:
            distance = [segmentation.hausdorff95(output, truth, count, case.spacing, ignored)]
        else:
            slices = zip(output, truth, strict=True)
            distance = [segmentation.hausdorff95(o, t, count, case.spacing[1:], ignored) for o, t in slices]
        scores.append(Score(name, case.person, counts, np.stack(distance), case.classes))
    return scores


def labeled(path: Path) -> list[Score]:
    """`score`; InputError if no case has a truth."""
    scores = score(path)
    if not scores:
        raise InputError(path, "no truths in it", hint="nothing to score")
    return scores


def by_class(scores: list[Score]) -> pd.DataFrame:
    """The scores of each class, over all cases.

    Parameters
    ----------
    scores : of cases of the same classes

    Returns
    -------
    A row per class; empty if there are no scores. dice: of all slices of a person together, the mean over people; low,
    high: its block-bootstrap interval over slices; hausdorff95: mean over the slices (of volumes, the volumes) in which
    both have the class; missed: those in which only one has it; both empty: the share in which neither has. Slices of
    which nothing is labeled aren't counted.
    """
    if not scores:
        return pd.DataFrame(columns=["dice", "low", "high", "hausdorff95", "missed", "both empty"])
    classes = scores[0].classes
    units = np.concatenate([s.units for s in scores])
    labeled = units.any((1, 2))
    units, distance = units[labeled], np.concatenate([s.hausdorff95 for s in scores])[labeled]
    people = [
        np.concatenate([s.counts[s.counts.any((1, 2))] for s in scores if s.person == p])
        for p in dict.fromkeys(s.person for s in scores)
    ]
    dice, intervals = (
        np.mean([segmentation.dice_of(p.sum(0)) for p in people], axis=0),
        bootstrap.dice_interval(people),
    )
    empty = segmentation.both_empty(units)
    rows = {}
    for c, name in enumerate(classes):
        finite = np.isfinite(distance[:, c]) & ~empty[:, c]
        rows[name] = {
            "dice": float(dice[c]), "low": intervals[c, 0], "high": intervals[c, 1],
            "hausdorff95": float(distance[finite, c].mean()) if finite.any() else float("nan"),
            "missed": int(np.isinf(distance[:, c]).sum()), "both empty": float(empty[:, c].mean()),
        }  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index")


def by_case(scores: list[Score]) -> pd.DataFrame:
    """A row per case and class (but the background): its Dice."""
    return pd.DataFrame(
        [
            {"person": s.person, "case": s.case, "class": n, "dice": s.dice[c]}
            for s in scores
            for c, n in enumerate(s.classes)
            if c
        ]
    )


def by_person(scores: Mapping[str, list[Score]]) -> pd.DataFrame:
    """The Dice of each person, if several runs of the same classes test different people, as in a leave-one-out.

    Parameters
    ----------
    scores : of each run's cases

    Returns
    -------
    A row per person with a column per class but the background, all slices of the person together; then their mean and
    standard deviation (n − 1). Empty for one run, different classes, and people that two runs test.
    """
    people = [{s.person for s in cases} for cases in scores.values()]
    every = [s for cases in scores.values() for s in cases]
    if len(people) < 2 or len({s.classes for s in every}) > 1 or len(set.union(*people)) < sum(map(len, people)):
        return pd.DataFrame()
    counts = {p: sum(s.counts.sum(0) for s in every if s.person == p) for p in sorted(set.union(*people))}
    rows = {person: segmentation.dice_of(total)[1:] for person, total in counts.items()}
    table = pd.DataFrame.from_dict(rows, orient="index", columns=list(every[0].classes[1:]))
    return pd.concat([table, pd.DataFrame({"mean": table.mean(), "standard deviation": table.std()}).T])


def confusion(scores: list[Score]) -> pd.DataFrame:
    """Shares of each true class (rows) that were given each class (columns), all slices together."""
    counts = sum(s.counts.sum(0) for s in scores)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    return pd.DataFrame(shares, index=scores[0].classes, columns=scores[0].classes)


def pooled(path: Path) -> dict[str, float]:
    """`dice` (soft, all classes at once) and `accuracy` over all labeled pixels of a result.h5, as the HipMRI source's."""
    right, probability, count = 0.0, 0.0, 0
    for case in cases_of(path).values():
        if "truth" in case.images:
            truth = case["truth"]
            if labeled := int((truth != case.ignore_index).sum()):
                right += float((truth == case["output"]).sum())
                probability += case.about["probability_of_truth"] * labeled
                count += labeled
    nothing = float("nan")
    return {"dice": probability / count if count else nothing, "accuracy": right / count if count else nothing}


def slices_by_dice(scores: list[Score]) -> list[tuple[float, str, int]]:
    """(mean Dice over the classes that are there but the background, case, slice), worst first; slices without any left out."""
    rows = []
    for s in scores:
        dice, present = segmentation.dice_of(s.counts)[:, 1:], ~segmentation.both_empty(s.counts)[:, 1:]
        rows += [(float(d[t].mean()), s.case, i) for i, (d, t) in enumerate(zip(dice, present, strict=True)) if t.any()]
    return sorted(rows)


def worst(scores: list[Score], count: int = 3) -> list[Score]:
    """The cases with the lowest mean Dice over the classes but the background, worst first."""
    return sorted(scores, key=lambda score: score.dice[1:].mean())[:count]


def of_volumes(path: Path) -> bool:
    """Whether a result.h5 holds segmented volumes, not slices."""
    return all(case.is_volume for case in cases_of(path).values())
