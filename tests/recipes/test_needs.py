"""What an evaluation will need is looked for before anything starts, in set.json and in the results of earlier runs."""

import json
import shutil

import h5py
import pytest
from labeled import hipmri_layout

from lib import InputError, runs
from lib.data import hipmri
from lib.recipes import needs
from lib.recipes import plan as planning


def entry(split, name, **more):
    return {"split": split, "path": f"{split}/{name}.h5", "person": name, "bytes": 0, "sha256": needs_sha, **more}


needs_sha = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # of nothing


def make(folder, kind, files):
    for file in files:
        (folder / file["path"]).parent.mkdir(parents=True, exist_ok=True)
        (folder / file["path"]).touch()
    counts = {s: sum(f["split"] == s for f in files) for s in ("train", "val", "test")}
    (folder / "set.json").write_text(json.dumps({"kind": kind, "counts": counts, "files": files}))


@pytest.fixture
def sets(tmp_path, monkeypatch):
    """Sets whose test files have no truths, and a place for recipes beside them."""
    monkeypatch.setattr("lib.runs.run.RUNS", tmp_path / "runs")
    (tmp_path / "runs").mkdir()
    rss = {"target": "reconstruction_rss"}
    make(tmp_path / "kspace", "measured k-space", [
        entry("train", "a", **rss), entry("val", "b", **rss), entry("test", "c", target=None),
    ])  # fmt: skip
    make(tmp_path / "cine", "cine", [
        entry("train", "x_a", side="x"), entry("train", "y_a", side="y", person="x_a"), entry("val", "x_b", side="x"),
        entry("val", "y_b", side="y", person="x_b"), entry("test", "x_c", side="x"),
    ])  # fmt: skip
    make(tmp_path / "slices", "labeled slices", [
        entry("train", "a", label=True), entry("val", "b", label=True), entry("test", "c", label=False),
    ])  # fmt: skip
    make(tmp_path / "volumes", "labeled volumes", [
        entry("train", "a", voxels=[1, 2]), entry("val", "b", voxels=[1, 2]), entry("test", "c", voxels=None),
    ])  # fmt: skip
    return tmp_path


def plan(place, *entries):
    (place / "recipe.yaml").write_text(json.dumps(entries))
    return planning.plan(place / "recipe.yaml")


def train(data, network, **more):
    return {"task_name": "train", "network_type": network, "data": data, **more}


def score(**more):
    return {"task_name": "score", **more}


KSPACE = score(notebook="30_evaluate_kspace", data="kspace")
CINE = score(notebook="31_evaluate_cine", data="cine")
LABELS = score(notebook="32_evaluate_segmentation", runs=["train"])
REFUSED = {
    "targets": ([train("kspace", "VarNet"), KSPACE | {"runs": ["train"]}], "kspace/test/c.h5: no target or label"),
    "series": (
        [train("cine", "UNet3D"), CINE | {"runs": ["train"]}], "cine/test/x_c.h5: no target or label",
    ),
    "cine's own evaluation": (
        [train("cine", "UNet3D", task_type="evaluate", saved_network_weights="w.pt")], "task_type evaluate needs it",
    ),
    "labels of slices": ([train("slices", "UNet2D"), LABELS], "slices/test/c.h5: no target or label (1 files of test): score"),
    "labels of volumes": ([train("volumes", "VolumeUNet"), LABELS], "volumes/test/c.h5: no target or label"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_split_without_truths_is_refused_before_training(sets, name):
    entries, words = REFUSED[name]
    with pytest.raises(InputError) as error:
        plan(sets, *entries)
    assert words in str(error.value) and "complete: train, val" in str(error.value) and "\n" not in str(error.value)
    assert not list((sets / "runs").iterdir())


def test_the_validation_split_will_do(sets):
    plan(sets, train("kspace", "VarNet"), KSPACE | {"runs": ["train"], "split": "val"})
    plan(sets, train("kspace", "VarNet"))  # a prediction needs no targets
    for data, network in (("slices", "UNet2D"), ("volumes", "VolumeUNet")):
        plan(sets, train(data, network, task_type="train"), LABELS)


def test_a_split_without_files_is_refused(sets):
    files = [entry("train", "a", target="reconstruction_rss"), entry("val", "b", target="reconstruction_rss")]
    make(sets / "kspace", "measured k-space", files)
    with pytest.raises(InputError, match="no files for test: 30_evaluate_kspace needs them"):
        plan(sets, train("kspace", "VarNet", task_type="train"), KSPACE | {"runs": ["train"]})


def test_what_a_preparing_task_will_make_is_not_asked_for(sets):
    plan(sets, {"task_name": "prepare", "notebook": "12_prepare_slices", "data": "new"}, train("new", "UNet2D"), LABELS)


def test_results_of_earlier_runs_must_have_truths(sets):
    run = runs.create("train")
    runs.mark(run, "ok", new=True)
    with pytest.raises(InputError, match=r"result\.h5: no such file"):
        plan(sets, LABELS)
    (run / "predictions").mkdir()
    with h5py.File(run / "predictions" / "result.h5", "w") as file:
        file["a/output"] = [1]
    for task in (LABELS, KSPACE | {"split": "val", "runs": [], "results": ["runs/train/result.h5"]}):
        (sets / "runs" / "train" / "result.h5").unlink(missing_ok=True)
        (sets / "runs" / "train" / "result.h5").symlink_to(run / "predictions" / "result.h5")
        with pytest.raises(InputError, match=r"result\.h5: no truths in it: nothing to score"):
            plan(sets, task)
    with h5py.File(run / "predictions" / "result.h5", "a") as file:
        file["a/truth"] = [1]
    plan(sets, LABELS)


RECIPE = "- {task_name: t, network_type: VolumeUNet, data: volumes, devices: %s, partition: [1, 16, 1, 1, 1], num_workers: 4}"


@pytest.mark.parametrize("devices, expected", [("8", "auto"), ("[0, 1]", "auto"), ("[cpu, cpu]", ["cpu", "cpu"])])
def test_a_quick_run_is_on_one_device(sets, devices, expected):
    make(sets / "volumes-quick", "labeled volumes", [entry(s, s, voxels=[1]) for s in ("train", "val", "test")])
    (sets / "recipe.yaml").write_text(RECIPE.replace("16", "1" if "cpu" in devices else "16") % devices)
    (task,) = planning.plan(sets / "recipe.yaml", quick=True)
    assert task.values["devices"] == task.parameters["devices"] == expected
    assert task.values["num_workers"] == task.parameters["num_workers"] == 0
    if expected == "auto":
        assert task.values["partition"] == {"D": 1, "H": 1, "W": 1}


def test_preparing_slices_says_which_have_labels(tmp_path):
    hipmri_layout(tmp_path / "source", size=(96, 96), odd=False)
    shutil.rmtree(tmp_path / "source" / "keras_slices_seg_test")
    hipmri.prepare(tmp_path / "source", tmp_path / "set")
    needs.check_set(tmp_path / "set", {"train": True, "val": True, "test": False}, "this")
    with pytest.raises(InputError, match=r"case_040_week_3\.h5: no target or label \(1 files of test\): this needs it"):
        needs.check_set(tmp_path / "set", {"test": True}, "this")
