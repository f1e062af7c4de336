"""Runs side by side: what differs, what is shared, and what is said where something is missing."""

import fake_runs
from refusals import refused

from lib import files
from lib.evaluation import paired, run_comparison

HISTORY = "epoch,train_loss,valid_loss,ssim_slices,learning_rate,seconds\n1,0.5,0.4,0.7,0.01,3\n2,0.3,0.35,0.8,0.01,3\n"


def test_names_are_short_and_different(folder):
    paths = [folder / "a" / "1", folder / "b" / "1", folder / "a" / "2", folder / "a" / "1"]
    assert list(run_comparison.named(paths)) == ["a 1", "b", "a 2"]
    assert list(run_comparison.named(paths[:2])) == ["a", "b"]


def test_only_settings_that_differ_are_listed(folder):
    common = {"seed": 0, "epochs": 3, "network_settings": {"chans": 8, "pools": 4}}
    a = fake_runs.make(folder, "a", 0, parameters=common | {"optimizer": {"type": "Adam", "learning_rate": 0.016}})
    b = fake_runs.make(folder, "b", 1, parameters=common | {"optimizer": {"type": "Adam", "learning_rate": 2e-3, "eps": 1e-7}, "epochs": 5, "seed": 1})  # fmt: skip
    found = run_comparison.settings(run_comparison.named([a, b]))
    assert found.values.tolist() == [
        ["seed", "0", "1"], ["epochs", "3", "5"], ["optimizer.learning_rate", "0.016", "0.002"], ["optimizer.eps", "–", "1e-07"],
    ]  # fmt: skip
    assert list(found) == ["setting", "a", "b"]
    assert run_comparison.settings({"a": a}).empty and run_comparison.settings({}).empty
    (b / "task.json").unlink()
    assert set(run_comparison.settings({"a": a, "b": b})["b"]) == {"–"}


def test_histories_on_one_axis(folder):
    a = fake_runs.make(folder, "a", 0, history=HISTORY)
    b = fake_runs.make(folder, "b", 1, history="epoch,train_loss,valid_loss\n0,1.5,1.25\n")
    c = fake_runs.make(folder, "c", 2, history="epoch,train_loss\n")
    found = run_comparison.histories({"a": a, "b": b, "c": c, "gone": folder / "gone"})
    assert list(found) == ["a", "b"]
    given = {"a": a, "b": b}
    assert list(run_comparison.columns(found, given)) == ["valid_loss", "train_loss", "ssim_slices", "learning_rate"]
    assert list(run_comparison.columns({"a": found["a"]}, given)) == [
        "valid_loss",
        "ssim_slices",
        "train_loss",
        "learning_rate",
    ]
    lines = run_comparison.curves(found, "valid_loss")
    assert {n: (x.tolist(), y.tolist()) for n, (x, y) in lines.items()} == {
        "a": ([1, 2], [0.4, 0.35]),
        "b": ([1], [1.25]),
    }
    assert list(run_comparison.curves(found, "ssim_slices")) == ["a"]


def test_losses_of_different_kinds_come_behind_the_metrics(folder):
    given = {
        n: fake_runs.make(folder, n, i, history=HISTORY, parameters={"loss": loss})
        for i, (n, loss) in enumerate({"a": "l1", "b": "ssim", "c": "l1"}.items())
    }
    found = run_comparison.histories(given)
    assert run_comparison.columns(found, given) == {
        "ssim_slices": "ssim_slices", "valid_loss": "valid_loss, of different losses",
        "train_loss": "train_loss, of different losses", "learning_rate": "learning_rate",
    }  # fmt: skip
    assert next(iter(run_comparison.columns(found, given))) == "ssim_slices"
    del found["b"]
    assert run_comparison.columns(found, given)["valid_loss"] == "valid_loss"


def test_of_an_evaluation_its_networks_are_compared(folder):
    volume = fake_runs.volumes(0.1)
    result = {
        "input": volume["input"],
        "GRAPPA": volume["output"],
        "VarNet": volume["output"],
        "truth": volume["truth"],
    }
    path = fake_runs.make(folder, "evaluate", result={"x": result})
    assert [(n, s.image) for n, s in run_comparison.images({"evaluate": path}).items()] == [
        ("evaluate: VarNet", "VarNet")
    ]
    del result["VarNet"]
    path = fake_runs.make(folder, "baselines", result={"x": result})
    assert list(run_comparison.images({"baselines": path})) == ["baselines: GRAPPA"]


def test_what_is_missing_is_said(folder):
    good = fake_runs.make(folder, "good", 0, history=HISTORY, result={"x": fake_runs.volumes(0.1)})
    bare = fake_runs.make(folder, "bare", 1, status="running", history="epoch,train_loss\n")
    broken = fake_runs.make(folder, "broken", 2)
    (broken / "predictions").mkdir()
    (broken / "predictions" / "result.h5").write_bytes(b"no")
    empty = folder / "empty" / "20260101-000000"
    empty.mkdir(parents=True)
    given = run_comparison.named([good, bare, broken, empty])
    assert run_comparison.remarks(given, run_comparison.histories(given), run_comparison.images(given)) == [
        "bare: running (still running): what it has so far is shown",
        "bare: its history.csv holds no epochs yet",
        "bare: predictions/result.h5 is missing, so there are no images and no metrics by case",
        "broken: predictions/result.h5 can't be read, or holds no cases, so there are no images and no metrics by case",
        "empty: damaged (an empty folder, no run in it): what it has so far is shown",
        "empty: predictions/result.h5 is missing, so there are no images and no metrics by case",
    ]
    assert list(run_comparison.images(given)) == ["good"]
    (bare / "history.csv").write_text("epoch,valid_loss\n1,abc\n")
    told = run_comparison.remarks(given, run_comparison.histories(given), run_comparison.images(given))
    assert "bare: its history.csv holds no numbers" in told
    other = {"y": fake_runs.make(folder, "y", 3, result={"y": fake_runs.volumes(0.1)})}
    shown = run_comparison.images(other | {"good": good})
    assert run_comparison.remarks(other, {}, shown) == ["they have no case in common, so none is shown or scored"]
    assert run_comparison.case_of(shown, None) is None
    with refused(where="case x", found="not one that all these runs have; those are none"):
        run_comparison.case_of(shown, "x")
    assert run_comparison.case_of(run_comparison.images({"good": good}), "x") == run_comparison.case_of(
        run_comparison.images({"good": good}), None
    )
    assert paired.scores({}).empty and paired.differences(paired.scores({})).empty and run_comparison.cases({}) == []


def test_the_newest_two_of_one_notebook(folder):
    assert run_comparison.newest() == []
    first, second = (fake_runs.make(folder, f"t{n}", n, history=HISTORY) for n in (0, 1))
    others = [
        fake_runs.make(folder, "other", 2, notebook="20_train_cine", history=HISTORY),
        fake_runs.make(folder, "failed", 3, status="failed", history=HISTORY),
        fake_runs.make(folder, "bare", 4),
    ]
    for path in (first, second, *others):
        files.write(path / "manifest.json", {"data": {"train.h5": "1"}})
    fake_runs.make(folder, "of what", 5, history=HISTORY)  # of unknown data: it may have nothing in common
    assert run_comparison.newest() == [first, second]


def test_of_different_notebooks_only_shared_settings_are_listed(folder):
    a = fake_runs.make(
        folder, "a", 0, parameters={"epochs": 2, "network_settings": {"chans": 8}, "mask": {"kind": "random"}}
    )
    b = fake_runs.make(folder, "b", 1, parameters={"epochs": 2, "network_settings": {"depth": 4}, "patch": [1, 2]})
    found = run_comparison.settings({"a": a, "b": b}).values.tolist()
    assert found[:2] == [["network_settings.chans", "8", "–"], ["network_settings.depth", "–", "4"]]
    assert found[2:] == [["mask.kind", "random", "–"], ["patch", "–", "[1, 2]"]]  # of one notebook all are listed
    task = files.read(b / "task.json")
    files.write(b / "task.json", task | {"notebook": "24_train_volumes"})
    assert run_comparison.settings({"a": a, "b": b}).values.tolist() == [
        ["notebook", "21_train_kspace", "24_train_volumes"], *found[:2],
    ]  # fmt: skip
    assert run_comparison.settings({"setting": a, "b": b}).columns.tolist() == ["setting", "setting", "b"]


def test_runs_of_one_name_keep_apart(folder):
    paths = [folder / "a" / "1", folder.parent / "elsewhere" / "a" / "1"]
    assert list(run_comparison.named(paths).values()) == paths


def test_the_newest_two_are_of_the_same_data(folder):
    made = [fake_runs.make(folder, name, n, history=HISTORY) for n, name in enumerate("abc")]
    for path, data in zip(made, ("old", "new", "old"), strict=True):
        files.write(path / "manifest.json", {"data": {"train.h5": data}})
    assert run_comparison.newest() == [made[0], made[2]]
