"""What a prediction is worth: the scores of a result.h5 in the way of its network's family."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lib import losses, metrics, models
from lib.evaluation import scoring, segmentation
from lib.inference import results


def score(
    result: Path, network: str, split: str, training_metrics: Sequence[str] = ()
) -> tuple[pd.DataFrame, dict[str, Any] | None]:
    """(a table, what `lib.runs.finish` is given of it); an empty table and None if no truths are known.

    The table has a row per case, of segmentations per class.

    Parameters
    ----------
    result : a result.h5; of another file, such as masks.h5, no truths are known
    network : whose outputs it holds
    split : names the row of the headline
    training_metrics : of cine, those that are computed
    """
    family = models.FAMILIES[models.family_of(network)]
    by_losses = {"keras": _series, "reconstruction": _volumes, "segmentation": _classes}
    known = result.name == "result.h5" and any("truth" in case.images for case in results.cases(result).values())
    if not known:
        return pd.DataFrame(), None
    table, headline, record = by_losses[family.losses](result, training_metrics)
    return table, {"headline": {split: headline}} | record


def _series(result: Path, names: Sequence[str]) -> tuple[pd.DataFrame, dict[str, float], dict[str, Any]]:
    table = scoring.training_scores(result, {name: losses.training_metric(name, "cine") for name in names})
    about = {"note": "Gaussian SSIM, range 1", "series": table.to_dict("index")}
    return table, scoring.over_people(table, result), about


def _volumes(result: Path, _: Sequence[str]) -> tuple[pd.DataFrame, dict[str, float], dict[str, Any]]:
    """Volume values, as fastMRI's; the headline is the mean over people."""
    table = scoring.score_result(result).set_index("case")[metrics.standard()]
    return table, scoring.over_people(table, result), {"cases": table.to_dict("index")}


def _classes(result: Path, _: Sequence[str]) -> tuple[pd.DataFrame, dict[str, float], dict[str, Any]]:
    """Dice by class; of slices pooled, too, as the HipMRI source reports them."""
    table = segmentation.by_class(segmentation.score(result))
    if segmentation.of_volumes(result):
        return table, table.dice.to_dict(), {"by_class": "dice"}
    pooled = segmentation.pooled(result)
    print(f"Dice Coefficient: {pooled['dice']:.4f}\nAccuracy: {pooled['accuracy']:.4f}")
    return table, table.dice.to_dict() | {"pooled dice": pooled["dice"]}, {"by_class": "dice", "pooled": pooled}
