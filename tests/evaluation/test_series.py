"""Scores of cine series: a person's slices count as one, real hearts before drawn ones."""

import pandas as pd
import pytest
import torch

from lib.data import cine, cine_files
from lib.data.index import write_set
from lib.evaluation import predictions, reconstruction
from lib.inference.reconstruct import reconstruct_series
from lib.runs.weights import Trained


def written(folder):
    """The truth is 1, the input another constant: p's two slices have errors of .1 and .3, q's one .4, the drawn heart's .5."""

    def pairs(*values):
        return [(torch.full((8, 12, 12), 1 + v), torch.ones(8, 12, 12)) for v in values]

    entries = cine_files.write_pair(
        folder, "test", "real", "patients", ["p0", "p1", "q0"], pairs(0.1, 0.3, 0.4), persons=["p", "p", "q"]
    )
    entries += cine_files.write_pair(folder, "test", "drawn", "drawn hearts", ["d0"], pairs(0.5), simulated=True)
    write_set(folder, "here", "cine", entries)
    return cine.split_pairs(folder, "test")


def test_a_comparison_says_whose_and_of_what_each_series_is(tmp_path):
    scores = reconstruction.compare_series(
        written(tmp_path), {}, tmp_path / "r.h5", (2.0, 2.0), baselines=["aliased"]
    ).scores
    assert scores.person.tolist() == ["p", "p", "q", "d0"] and scores.simulated.tolist() == [False] * 3 + [True]
    people = reconstruction.per_person(scores)
    assert people.person.tolist() == ["p", "q", "d0"] and people.group.tolist() == ["patients"] * 2 + ["drawn hearts"]
    assert reconstruction.of_real_people(scores).case.tolist() == ["p0", "p1", "q0"]
    assert len(reconstruction.of_real_people(scores[scores.simulated])) == 1  # none is real: all


def test_an_unknown_acceleration_loses_nobody(tmp_path):
    nan = float("nan")
    scores = reconstruction.compare_series(written(tmp_path), {}, tmp_path / "r.h5", (nan, nan), baselines=["aliased"])
    assert reconstruction.per_person(scores.scores).person.tolist() == ["p", "q", "d0"]


def test_a_predictions_headline_is_the_mean_over_people(tmp_path):
    series = cine.CineSeries(written(tmp_path))
    result = reconstruct_series(torch.nn.Identity(), series, tmp_path / "result.h5")
    table, found = predictions.score(result, "UNet3D", "test", ["mean_absolute_error"])
    assert table["mean_absolute_error"].tolist() == pytest.approx([0.1, 0.3, 0.4, 0.5])
    assert found["headline"]["test"]["mean_absolute_error"] == pytest.approx((0.2 + 0.4 + 0.5) / 3)


def test_networks_are_ranked_by_real_people():
    rows = [("p", False, 0.9, 0.2), ("p", False, 0.7, 0.2), ("q", False, 0.2, 0.6), ("d", True, 0.0, 1.0)]
    scores = pd.DataFrame(
        {"method": m, "person": p, "group": "g", "acceleration": 2.0, "simulated": s, "ssim": values[n], "psnr": 1.0, "ssim3d": 1.0, "nrmse": 1.0}
        for n, m in enumerate("ab") for p, s, *values in rows
    )  # fmt: skip
    trained = {m: Trained(m, {}, torch.nn.Linear(2, 1), None, (), {}) for m in "ab"}
    ranked = reconstruction.ranking(scores, trained)
    assert ranked.index.tolist() == ["a", "b"]
    assert ranked.ssim.tolist() == pytest.approx([(0.8 + 0.2) / 2, (0.2 + 0.6) / 2]) and ranked.parameters.tolist() == [
        3,
        3,
    ]
