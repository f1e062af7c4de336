"""How much better a run is: hand-worked scores, differences and intervals, and what is refused."""

import math

import fake_runs
import h5py
import numpy as np
import pandas as pd
import pytest
from refusals import refused

from lib.evaluation import paired, run_comparison

TWO = {"good": fake_runs.volumes(0.1), "worse": fake_runs.volumes(0.3)}


def rows(values):
    """{person: [(run a's, run b's) of each case]} → a table of scores."""
    return pd.DataFrame(
        {"case": f"{p}_{i}", "person": p, "metric": "SSIM", "run": run, "value": v, "part": "", "simulated": False}
        for p, pairs in values.items()
        for i, pair in enumerate(pairs)
        for run, v in zip("ab", pair, strict=True)
    )


def test_paired_differences_by_hand():
    scored = rows({"x": [(0.80, 0.82), (0.70, 0.76)], "y": [(0.6, 0.62)], "z": [(0.9, 0.87)]})
    first, second = paired.differences(scored).to_dict("records")
    assert first["mean"] == pytest.approx((0.75 + 0.6 + 0.9) / 3) and math.isnan(first["difference"])
    # differences of the people .04, .02, −.03: mean .01, deviation √.0013, t of 2 degrees of freedom at 97.5 % 4.302653
    wide = 4.302653 * math.sqrt(0.0013 / 3)
    assert second["difference"] == pytest.approx(0.01)
    assert (second["low"], second["high"]) == pytest.approx((0.01 - wide, 0.01 + wide), rel=1e-5)
    assert (second["better"], second["people"]) == (2, 3)
    words = paired.in_words(paired.differences(scored)).values.tolist()
    assert words[1] == ["SSIM", "b", "0.760", "+0.0100", "−0.0796 to +0.0996", "2 of 3"]
    assert "n = 3" in paired.caption(scored) and "4 cases" in paired.caption(scored)


def test_one_person_has_no_interval():
    scored = rows({"x": [(0.80, 0.82), (0.70, 0.76)]})
    second = paired.differences(scored).iloc[1]
    assert second.difference == pytest.approx(0.04) and math.isnan(second.low) and math.isnan(second.high)
    assert paired.in_words(paired.differences(scored)).iloc[1].tolist()[-2:] == ["none: one person", "1 of 1"]
    assert "no interval" in paired.caption(scored)


def test_rounding_is_no_difference():
    words = paired.in_words(paired.differences(rows({"x": [(0.8, 0.8 + 1e-8)], "y": [(0.6, 0.6 - 1e-8)]})))
    assert words.iloc[1].tolist()[3:] == ["0", "0 to 0", "0 of 2"]


def test_less_nmse_is_better():
    scored = rows({"x": [(0.02, 0.01)], "y": [(0.02, 0.03)]}).assign(metric="NMSE")
    assert paired.differences(scored).iloc[1].better == 1


def test_scores_of_reconstructions(folder):
    given = {}
    for n, (name, noise) in enumerate({"a": 0.2, "b": 0.1}.items()):
        result = {"brain_1": fake_runs.volumes(noise, seed=1), "heart_2": fake_runs.volumes(noise, seed=2)}
        if name == "b":
            result["brain_3"] = fake_runs.volumes(noise, seed=3)  # in one run only
        given[name] = fake_runs.make(folder, name, n, result=result)
    compared = run_comparison.images(given)
    assert run_comparison.cases(compared) == ["brain_1", "heart_2"] and run_comparison.classes(compared) == []
    scored = paired.scores(compared)
    assert len(scored) == 2 * 3 * 2 and set(scored["person"]) == {"brain", "heart"}
    volume = fake_runs.volumes(0.2, seed=1)
    error = volume["output"].astype(np.float64) - volume["truth"]
    expected = (error**2).sum() / (volume["truth"].astype(np.float64) ** 2).sum()
    value = scored[(scored["metric"] == "NMSE") & (scored["case"] == "brain_1") & (scored["run"] == "a")][
        "value"
    ].item()
    assert value == pytest.approx(expected, rel=1e-6)
    pairs = paired.differences(scored).set_index(["metric", "run"])
    assert pairs.loc[("NMSE", "b"), "difference"] < 0 and pairs.loc[("NMSE", "b"), "better"] == 2


def test_scores_of_segmentations(folder):
    truth = np.zeros((2, 4, 4), np.uint8)
    truth[:, :2], truth[:, 2] = 1, 2
    good, half = truth.copy(), truth.copy()
    half[1, :2] = 0  # half of class 1 is missed: Dice 2 · 8 / (8 + 16)
    names = ["background", "liver", "spleen"]
    given = {
        n: fake_runs.make(folder, n, i, result={"x": {"input": truth, "output": output, "truth": truth}}, classes=names)
        for i, (n, output) in enumerate({"half": half, "good": good}.items())
    }
    scored = paired.scores(run_comparison.images(given))
    assert scored[["metric", "run", "value"]].values.tolist() == [
        ["Dice, liver", "half", pytest.approx(2 / 3)], ["Dice, spleen", "half", 1.0],
        ["Dice, liver", "good", 1.0], ["Dice, spleen", "good", 1.0],
    ]  # fmt: skip
    other = fake_runs.make(folder, "other", 3, result={"x": fake_runs.volumes(0.1)})
    with refused(where="half has background, liver, spleen; other has no classes"):
        paired.scores(run_comparison.images({"half": given["half"], "other": other}))


def test_different_data_are_not_compared(folder):
    a = fake_runs.make(folder, "a", 0, result={"x": fake_runs.volumes(0.1, seed=1)})
    b = fake_runs.make(folder, "b", 1, result={"x": fake_runs.volumes(0.1, seed=2)})
    with refused(where="x", found="the runs have different truths of it"):
        paired.scores(run_comparison.images({"a": a, "b": b}))


def test_cases_without_a_truth_are_left_out(folder):
    bare = {k: v for k, v in fake_runs.volumes(0.1, seed=2).items() if k != "truth"}
    a = fake_runs.make(folder, "a", 0, result={n: fake_runs.volumes(0.1, seed=i) for i, n in enumerate("wxy")})
    b = fake_runs.make(folder, "b", 1, result={"x": fake_runs.volumes(0.2, seed=1), "y": bare})
    compared = run_comparison.images({"a": a, "b": b})
    assert run_comparison.cases(compared) == ["x", "y"] and set(paired.scores(compared)["case"]) == {"x"}


def test_what_cannot_be_scored_is_told_with_its_place(folder):
    good, bad = (fake_runs.volumes(0.1) for _ in range(2))
    bad["output"][1, 2, 3] = np.nan
    a, b = (fake_runs.make(folder, n, i, result={"x": v}) for i, (n, v) in enumerate({"a": good, "b": bad}.items()))
    with refused(where=r"b/.*result\.h5: x: output or its truth holds values that are not finite"):
        paired.scores(run_comparison.images({"a": a, "b": b}))
    black = {name: volume * 0 for name, volume in good.items()}
    c, d = (fake_runs.make(folder, n, 2, result={"x": black}) for n in "cd")
    with refused(where=r"c/.*result\.h5: x: output", found="ssim: data range"):
        paired.scores(run_comparison.images({"c": c, "d": d}))


def test_infinite_values_give_no_difference_but_a_dash():
    found = paired.differences(rows({"p": [(math.inf, 30.0)], "q": [(31.0, 30.0)]}))
    assert paired.in_words(found)["difference"].tolist() == ["–", "–"]
    assert paired.in_words(found)["mean"].tolist() == ["–", "30.0"]
    same = paired.differences(rows({"p": [(math.inf, math.inf)], "q": [(31.0, 30.0)]}))
    assert same["difference"].iloc[1] == -0.5  # equal where both are infinite


def test_labels_of_another_type_are_the_same_data(folder):
    label = np.zeros((2, 8, 8), np.uint8)
    label[1, 2:5] = 1
    volumes = {"input": label * 1.0, "output": label, "truth": label}
    a = fake_runs.make(folder, "a", 0, result={"x": volumes}, classes=["none", "liver"])
    b = fake_runs.make(
        folder, "b", 1, result={"x": volumes | {"truth": label.astype(np.int64)}}, classes=["none", "liver"]
    )
    assert paired.scores(run_comparison.images({"a": a, "b": b}))["value"].tolist() == [1.0, 1.0]


def test_a_class_that_nobody_has_is_left_out(folder):
    truth = np.zeros((2, 4, 4), np.uint8)
    truth[:, :2] = 1
    found = truth.copy()
    found[0, 3, 3] = 3  # one run finds a kidney that isn't there
    names = ["background", "liver", "spleen", "kidney"]
    given = {
        n: fake_runs.make(folder, n, i, result={"x": {"input": truth, "output": output, "truth": truth}}, classes=names)
        for i, (n, output) in enumerate({"a": truth, "b": found}.items())
    }
    scored = paired.scores(run_comparison.images(given)).set_index(["metric", "run"])["value"]
    assert scored.to_dict() == {
        ("Dice, liver", "a"): 1.0, ("Dice, liver", "b"): 1.0, ("Dice, kidney", "a"): 1.0, ("Dice, kidney", "b"): 0.0,
    }  # fmt: skip


def test_runs_of_different_accelerations_are_compared_with_a_caution(folder):
    made = [fake_runs.make(folder, n, i, result={"x": V}) for i, (n, V) in enumerate(TWO.items())]
    for path, rate in zip(made, (4.0, 8.0), strict=True):
        with h5py.File(path / "predictions" / "result.h5", "a") as file:
            file["x"].attrs["acceleration"] = rate
    scored = paired.scores(run_comparison.images(run_comparison.named(made)))
    assert set(scored["metric"]) == {f"{m} at 4× and at 8×" for m in ("SSIM", "PSNR, dB", "NMSE")}
    assert paired.caption(scored).startswith("Caution: good at 4×, worse at 8×: the differences are those of the acc")
    worse = paired.differences(scored).set_index(["metric", "run"]).loc[("NMSE at 4× and at 8×", "worse")]
    truth = TWO["good"]["truth"].astype(np.float64)
    nmse = [((v["output"] - truth) ** 2).sum() / (truth**2).sum() for v in TWO.values()]
    assert worse["mean"] == pytest.approx(nmse[1]) and worse["difference"] == pytest.approx(nmse[1] - nmse[0])
    with h5py.File(made[1] / "predictions" / "result.h5", "a") as file:
        file["x"].attrs["acceleration"] = 4.0
    scored = paired.scores(run_comparison.images(run_comparison.named(made)))
    assert {"SSIM"} < set(scored["metric"]) and paired.caption(scored).startswith("Means over")


def test_simulated_hearts_and_patients_are_compared_apart(folder):
    made = [fake_runs.make(folder, n, i, result={"h_1": V, "p_1": V}) for i, (n, V) in enumerate(TWO.items())]
    for path in made:
        with h5py.File(path / "predictions" / "result.h5", "a") as file:
            file["h_1"].attrs["kind"], file["p_1"].attrs["kind"] = "simulated hearts, test", "real"
            file["h_1"].attrs["simulated"] = True
    scored = paired.scores(run_comparison.images(run_comparison.named(made)))
    assert {"SSIM of real", "SSIM of simulated hearts, test"} <= set(scored["metric"])
    assert paired.caption(scored).startswith("Means over 2 people, simulated ones too (2 cases")


def test_accelerations_are_compared_each_by_itself(folder):
    made = [fake_runs.make(folder, n, i, result={"p1 2x": V, "p1 4x": V}) for i, (n, V) in enumerate(TWO.items())]
    for path in made:
        with h5py.File(path / "predictions" / "result.h5", "a") as file:
            for case in file:
                file[case].attrs["acceleration"] = float(case[-2])
    scored = paired.scores(run_comparison.images(run_comparison.named(made)))
    assert set(scored["metric"]) == {f"{m} at {r}×" for m in ("SSIM", "PSNR, dB", "NMSE") for r in (2, 4)}
    table = paired.differences(scored).query("run == 'worse'")
    assert (table.set_index("metric").loc[["SSIM at 2×", "NMSE at 4×"], "better"] == 0).all()
