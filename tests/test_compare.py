"""Runs side by side: hand-worked differences and intervals, and what is said where something is missing."""

import math

import fake_runs
import h5py
import numpy as np
import pandas as pd
import pytest

from lib import InputError, compare, files

HISTORY = "epoch,train_loss,valid_loss,ssim_slices,learning_rate,seconds\n0,0.5,0.4,0.7,0.01,3\n1,0.3,0.35,0.8,0.01,3\n"


def test_names_are_short_and_different(folder):
    paths = [folder / "a" / "1", folder / "b" / "1", folder / "a" / "2", folder / "a" / "1"]
    assert list(compare.named(paths)) == ["a 1", "b", "a 2"]
    assert list(compare.named(paths[:2])) == ["a", "b"]


def test_only_settings_that_differ_are_listed(folder):
    common = {"seed": 0, "epochs": 3, "network_settings": {"chans": 8, "pools": 4}}
    a = fake_runs.make(folder, "a", 0, parameters=common | {"optimizer": {"type": "Adam", "learning_rate": 0.016}})
    b = fake_runs.make(folder, "b", 1, parameters=common | {"optimizer": {"type": "Adam", "learning_rate": 2e-3, "eps": 1e-7}, "epochs": 5, "seed": 1})  # fmt: skip
    found = compare.settings(compare.named([a, b]))
    assert found.values.tolist() == [
        ["seed", "0", "1"], ["epochs", "3", "5"], ["optimizer.learning_rate", "0.016", "0.002"], ["optimizer.eps", "–", "1e-07"],
    ]  # fmt: skip
    assert list(found) == ["setting", "a", "b"]
    assert compare.settings({"a": a}).empty and compare.settings({}).empty
    (b / "task.json").unlink()
    assert set(compare.settings({"a": a, "b": b})["b"]) == {"–"}


def test_histories_on_one_axis(folder):
    a = fake_runs.make(folder, "a", 0, history=HISTORY)
    b = fake_runs.make(folder, "b", 1, history="epoch,train_loss,valid_loss\n0,1.5,1.25\n")
    c = fake_runs.make(folder, "c", 2, history="epoch,train_loss\n")
    found = compare.histories({"a": a, "b": b, "c": c, "gone": folder / "gone"})
    assert list(found) == ["a", "b"]
    given = {"a": a, "b": b}
    assert list(compare.columns(found, given)) == ["valid_loss", "train_loss", "ssim_slices", "learning_rate"]
    assert list(compare.columns({"a": found["a"]}, given)) == [
        "valid_loss",
        "ssim_slices",
        "train_loss",
        "learning_rate",
    ]
    lines = compare.curves(found, "valid_loss")
    assert {n: (x.tolist(), y.tolist()) for n, (x, y) in lines.items()} == {
        "a": ([1, 2], [0.4, 0.35]),
        "b": ([1], [1.25]),
    }
    assert list(compare.curves(found, "ssim_slices")) == ["a"]


def test_losses_of_different_kinds_come_behind_the_metrics(folder):
    given = {
        n: fake_runs.make(folder, n, i, history=HISTORY, parameters={"loss": loss})
        for i, (n, loss) in enumerate({"a": "l1", "b": "ssim", "c": "l1"}.items())
    }
    found = compare.histories(given)
    assert compare.columns(found, given) == {
        "ssim_slices": "ssim_slices", "valid_loss": "valid_loss, of different losses",
        "train_loss": "train_loss, of different losses", "learning_rate": "learning_rate",
    }  # fmt: skip
    assert next(iter(compare.columns(found, given))) == "ssim_slices"
    del found["b"]
    assert compare.columns(found, given)["valid_loss"] == "valid_loss"


TWO = {"good": fake_runs.volumes(0.1), "worse": fake_runs.volumes(0.3)}


def rows(values):
    """{person: [(run a's, run b's) of each case]} → a table of scores."""
    return pd.DataFrame(
        {"case": f"{p}_{i}", "person": p, "metric": "SSIM", "run": run, "value": v}
        for p, pairs in values.items()
        for i, pair in enumerate(pairs)
        for run, v in zip("ab", pair, strict=True)
    )


def test_paired_differences_by_hand():
    scored = rows({"x": [(0.80, 0.82), (0.70, 0.76)], "y": [(0.6, 0.62)], "z": [(0.9, 0.87)]})
    first, second = compare.paired(scored).to_dict("records")
    assert first["mean"] == pytest.approx((0.75 + 0.6 + 0.9) / 3) and math.isnan(first["difference"])
    # differences of the people .04, .02, −.03: mean .01, deviation √.0013, t of 2 degrees of freedom at 97.5 % 4.302653
    wide = 4.302653 * math.sqrt(0.0013 / 3)
    assert second["difference"] == pytest.approx(0.01)
    assert (second["low"], second["high"]) == pytest.approx((0.01 - wide, 0.01 + wide), rel=1e-5)
    assert (second["better"], second["people"]) == (2, 3)
    words = compare.in_words(compare.paired(scored)).values.tolist()
    assert words[1] == ["SSIM", "b", "0.760", "+0.0100", "−0.0796 to +0.0996", "2 of 3 people"]
    assert "n = 3" in compare.caption(scored) and "4 cases" in compare.caption(scored)


def test_one_person_has_no_interval():
    scored = rows({"x": [(0.80, 0.82), (0.70, 0.76)]})
    second = compare.paired(scored).iloc[1]
    assert second.difference == pytest.approx(0.04) and math.isnan(second.low) and math.isnan(second.high)
    assert compare.in_words(compare.paired(scored)).iloc[1].tolist()[-2:] == ["none: one person", "1 of 1 people"]
    assert "no interval" in compare.caption(scored)


def test_rounding_is_no_difference():
    words = compare.in_words(compare.paired(rows({"x": [(0.8, 0.8 + 1e-8)], "y": [(0.6, 0.6 - 1e-8)]})))
    assert words.iloc[1].tolist()[3:] == ["0", "0 to 0", "0 of 2 people"]


def test_less_nmse_is_better():
    scored = rows({"x": [(0.02, 0.01)], "y": [(0.02, 0.03)]}).assign(metric="NMSE")
    assert compare.paired(scored).iloc[1].better == 1


def test_scores_of_reconstructions(folder):
    given = {}
    for n, (name, noise) in enumerate({"a": 0.2, "b": 0.1}.items()):
        result = {"brain_1": fake_runs.volumes(noise, seed=1), "heart_2": fake_runs.volumes(noise, seed=2)}
        if name == "b":
            result["brain_3"] = fake_runs.volumes(noise, seed=3)  # in one run only
        given[name] = fake_runs.make(folder, name, n, result=result)
    compared = compare.images(given)
    assert compare.cases(compared) == ["brain_1", "heart_2"] and compare.classes(compared) == []
    scored = compare.scores(compared)
    assert len(scored) == 2 * 3 * 2 and set(scored["person"]) == {"brain", "heart"}
    volume = fake_runs.volumes(0.2, seed=1)
    error = volume["output"].astype(np.float64) - volume["truth"]
    expected = (error**2).sum() / (volume["truth"].astype(np.float64) ** 2).sum()
    value = scored[(scored["metric"] == "NMSE") & (scored["case"] == "brain_1") & (scored["run"] == "a")][
        "value"
    ].item()
    assert value == pytest.approx(expected, rel=1e-6)
    pairs = compare.paired(scored).set_index(["metric", "run"])
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
    scored = compare.scores(compare.images(given))
    assert scored[["metric", "run", "value"]].values.tolist() == [
        ["Dice, liver", "half", pytest.approx(2 / 3)], ["Dice, spleen", "half", 1.0],
        ["Dice, liver", "good", 1.0], ["Dice, spleen", "good", 1.0],
    ]  # fmt: skip
    other = fake_runs.make(folder, "other", 3, result={"x": fake_runs.volumes(0.1)})
    with pytest.raises(InputError, match="half has background, liver, spleen; other has no classes"):
        compare.scores(compare.images({"half": given["half"], "other": other}))


def test_of_an_evaluation_its_networks_are_compared(folder):
    volume = fake_runs.volumes(0.1)
    result = {
        "input": volume["input"],
        "GRAPPA": volume["output"],
        "VarNet": volume["output"],
        "truth": volume["truth"],
    }
    path = fake_runs.make(folder, "evaluate", result={"x": result})
    assert [(n, s.image) for n, s in compare.images({"evaluate": path}).items()] == [("evaluate: VarNet", "VarNet")]
    del result["VarNet"]
    path = fake_runs.make(folder, "baselines", result={"x": result})
    assert list(compare.images({"baselines": path})) == ["baselines: GRAPPA"]


def test_different_data_are_not_compared(folder):
    a = fake_runs.make(folder, "a", 0, result={"x": fake_runs.volumes(0.1, seed=1)})
    b = fake_runs.make(folder, "b", 1, result={"x": fake_runs.volumes(0.1, seed=2)})
    with pytest.raises(InputError, match="x: the runs have different truths of it"):
        compare.scores(compare.images({"a": a, "b": b}))


def test_cases_without_a_truth_are_left_out(folder):
    bare = {k: v for k, v in fake_runs.volumes(0.1, seed=2).items() if k != "truth"}
    a = fake_runs.make(folder, "a", 0, result={n: fake_runs.volumes(0.1, seed=i) for i, n in enumerate("wxy")})
    b = fake_runs.make(folder, "b", 1, result={"x": fake_runs.volumes(0.2, seed=1), "y": bare})
    compared = compare.images({"a": a, "b": b})
    assert compare.cases(compared) == ["x", "y"] and set(compare.scores(compared)["case"]) == {"x"}


def test_what_is_missing_is_said(folder):
    good = fake_runs.make(folder, "good", 0, history=HISTORY, result={"x": fake_runs.volumes(0.1)})
    bare = fake_runs.make(folder, "bare", 1, status="running", history="epoch,train_loss\n")
    broken = fake_runs.make(folder, "broken", 2)
    (broken / "predictions").mkdir()
    (broken / "predictions" / "result.h5").write_bytes(b"no")
    empty = folder / "empty" / "20260101-000000"
    empty.mkdir(parents=True)
    given = compare.named([good, bare, broken, empty])
    assert compare.remarks(given, compare.histories(given), compare.images(given)) == [
        "bare: running (still running): what it has so far is shown",
        "bare: its history.csv holds no epochs yet",
        "bare: predictions/result.h5 is missing, so there are no images and no metrics by case",
        "broken: predictions/result.h5 can't be read, or holds no cases, so there are no images and no metrics by case",
        "empty: damaged (an empty folder, no run in it): what it has so far is shown",
        "empty: predictions/result.h5 is missing, so there are no images and no metrics by case",
    ]
    assert list(compare.images(given)) == ["good"]
    other = {"y": fake_runs.make(folder, "y", 3, result={"y": fake_runs.volumes(0.1)})}
    shown = compare.images(other | {"good": good})
    assert compare.remarks(other, {}, shown) == ["they have no case in common, so none is shown or scored"]
    assert compare.case_of(shown, None) is None
    with pytest.raises(InputError, match="case x: not one that all these runs have; those are none"):
        compare.case_of(shown, "x")
    assert compare.case_of(compare.images({"good": good}), "x") == compare.case_of(compare.images({"good": good}), None)
    assert compare.scores({}).empty and compare.paired(compare.scores({})).empty and compare.cases({}) == []


def test_the_newest_two_of_one_notebook(folder):
    assert compare.newest() == []
    first, second = (fake_runs.make(folder, f"t{n}", n, history=HISTORY) for n in (0, 1))
    others = [
        fake_runs.make(folder, "other", 2, notebook="20_train_cine", history=HISTORY),
        fake_runs.make(folder, "failed", 3, status="failed", history=HISTORY),
        fake_runs.make(folder, "bare", 4),
    ]
    for path in (first, second, *others):
        files.write(path / "manifest.json", {"data": {"train.h5": "1"}})
    fake_runs.make(folder, "of what", 5, history=HISTORY)  # of unknown data: it may have nothing in common
    assert compare.newest() == [first, second]


def test_of_different_notebooks_only_shared_settings_are_listed(folder):
    a = fake_runs.make(
        folder, "a", 0, parameters={"epochs": 2, "network_settings": {"chans": 8}, "mask": {"kind": "random"}}
    )
    b = fake_runs.make(folder, "b", 1, parameters={"epochs": 2, "network_settings": {"depth": 4}, "patch": [1, 2]})
    found = compare.settings({"a": a, "b": b})
    assert found.values.tolist() == [["network_settings.chans", "8", "–"], ["network_settings.depth", "–", "4"]]
    assert compare.settings({"setting": a, "b": b}).columns.tolist() == ["setting", "setting", "b"]


def test_runs_of_one_name_keep_apart(folder):
    paths = [folder / "a" / "1", folder.parent / "elsewhere" / "a" / "1"]
    assert list(compare.named(paths).values()) == paths


def test_what_cannot_be_scored_is_told_with_its_place(folder):
    good, bad = (fake_runs.volumes(0.1) for _ in range(2))
    bad["output"][1, 2, 3] = np.nan
    a, b = (fake_runs.make(folder, n, i, result={"x": v}) for i, (n, v) in enumerate({"a": good, "b": bad}.items()))
    with pytest.raises(InputError, match=r"b/.*result\.h5: x: output or its truth holds values that are not finite"):
        compare.scores(compare.images({"a": a, "b": b}))
    black = {name: volume * 0 for name, volume in good.items()}
    c, d = (fake_runs.make(folder, n, 2, result={"x": black}) for n in "cd")
    with pytest.raises(InputError, match=r"c/.*result\.h5: x: output: ssim: data range"):
        compare.scores(compare.images({"c": c, "d": d}))


def test_infinite_values_give_no_difference_but_a_dash():
    found = compare.paired(rows({"p": [(math.inf, 30.0)], "q": [(31.0, 30.0)]}))
    assert compare.in_words(found)["difference"].tolist() == ["–", "–"]
    same = compare.paired(rows({"p": [(math.inf, math.inf)], "q": [(31.0, 30.0)]}))
    assert same["difference"].iloc[1] == -0.5  # equal where both are infinite


def test_labels_of_another_type_are_the_same_data(folder):
    label = np.zeros((2, 8, 8), np.uint8)
    label[1, 2:5] = 1
    volumes = {"input": label * 1.0, "output": label, "truth": label}
    a = fake_runs.make(folder, "a", 0, result={"x": volumes}, classes=["none", "liver"])
    b = fake_runs.make(
        folder, "b", 1, result={"x": volumes | {"truth": label.astype(np.int64)}}, classes=["none", "liver"]
    )
    assert compare.scores(compare.images({"a": a, "b": b}))["value"].tolist() == [1.0, 1.0]


def test_the_newest_two_are_of_the_same_data(folder):
    made = [fake_runs.make(folder, name, n, history=HISTORY) for n, name in enumerate("abc")]
    for path, data in zip(made, ("old", "new", "old"), strict=True):
        files.write(path / "manifest.json", {"data": {"train.h5": data}})
    assert compare.newest() == [made[0], made[2]]


def test_accelerations_are_compared_each_by_itself(folder):
    made = [fake_runs.make(folder, n, i, result={"p1 2x": V, "p1 4x": V}) for i, (n, V) in enumerate(TWO.items())]
    for path in made:
        with h5py.File(path / "predictions" / "result.h5", "a") as file:
            for case in file:
                file[case].attrs["acceleration"] = float(case[-2])
    scored = compare.scores(compare.images(compare.named(made)))
    assert set(scored["metric"]) == {f"{m} at {r}×" for m in ("SSIM", "PSNR, dB", "NMSE") for r in (2, 4)}
    table = compare.paired(scored).query("run == 'worse'")
    assert (table.set_index("metric").loc[["SSIM at 2×", "NMSE at 4×"], "better"] == 0).all()
