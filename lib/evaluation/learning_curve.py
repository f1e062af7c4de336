"""Dice against the number of training volumes, for runs that differ in nothing else."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lib import plots
from lib.evaluation import run_comparison
from lib.evaluation.segmentation import Score
from lib.files import read


def training_volumes(found: Mapping[str, Path]) -> dict[str, int]:
    """How many volumes each run was trained on, the fewest first; {} unless the runs differ in `train_cases` alone.

    Parameters
    ----------
    found : run folders of 24_train_volumes, by name
    """
    if set(run_comparison.settings(found)["setting"]) != {"train_cases"}:
        return {}
    counts = {name: read(path / "metrics.json")["train_cases"] for name, path in found.items()}
    return dict(sorted(counts.items(), key=lambda item: item[1]))


def figure(scores: Mapping[str, list[Score]], counts: Mapping[str, int]):
    """A figure of the Dice of each class but the background: the mean over the test volumes, and from the lowest to the highest.

    Parameters
    ----------
    scores : of the same cases, by run
    counts : training volumes, by run
    """
    first = next(iter(scores.values()))
    lines, bands = {}, {}
    for c, name in enumerate(first[0].classes[1:], 1):
        dice = np.array([[case.dice[c] for case in scores[run]] for run in counts])
        lines[name], bands[name] = (list(counts.values()), dice.mean(1)), (dice.min(1), dice.max(1))
    title = f"{len(first)} test volumes, lines: mean, bands: lowest to highest"
    return plots.curves(lines, bands=bands, xlabel="training volumes", ylabel="Dice", title=title)
