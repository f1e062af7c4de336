"""What an evaluation will need is looked for before anything starts, in set.json and in the results of earlier runs."""

import json
import shutil

import h5py
import pytest
from labeled import hipmri_layout
from refusals import refused

from lib import InputError, runs
from lib.data import hipmri
from lib.files import write
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


# Predictions


@pytest.fixture
def trained(sets):
    """A good run of a VarNet on the k-space set, and a file of weights that doesn't say whose they are."""
    run = runs.create("trained")
    write(run / "model_weights" / "model.json", {"name": "VarNet", "settings": {}})
    about = {"data": str(sets / "kspace"), "network_type": "VarNet", "predict_split": "test"}
    write(run / "task.json", {"notebook": "21_train_kspace", "role": "train", "parameters": about})
    runs.mark(run, "ok", new=True)
    (sets / "w.pt").touch()
    return sets


def predict(weights="trained", **more):
    return {"task_name": "predict", "notebook": "26_predict", "saved_network_weights": weights, **more}


NOT_PREDICTED = {
    "no such file": (predict("gone.pt"), "gone.pt: no such file of weights"),
    "no such run": (predict("nobody"), "run nobody: got 'nobody', expected one of: trained"),
    "no weights": (predict(None), "saved_network_weights: got null, expected a path"),
    "unnamed weights": (predict("w.pt"), "network_type: missing: "),
    "unknown network": (predict("w.pt", network_type="VarNett"), "did you mean 'VarNet'?"),
    "network that no notebook trains": (predict("w.pt", network_type="RCAN"), "RCAN: no notebook trains it"),
    "other network": (predict(network_type="UNet2D"), "weights of VarNet, expected UNet2D"),
    "other family's data": (predict(data="slices"), "a set of labeled slices, expected k-space for VarNet"),
    "other family's setting": (predict(normalize="unit"), "normalize: VarNet has no such setting, expected some of mask"),
    "data": (predict("w.pt", network_type="VarNet"), "data: missing: the weights don't say on which data VarNet was"),
    "split": (predict(split="tset"), "split: got 'tset', did you mean 'test'? expected one of: test, train, val"),
    "truths": (predict(evaluate=True), "kspace/test/c.h5: no target or label (1 files of test): 26_predict needs it"),
    "parameter of training": (predict(epochs=3), "epochs: no such parameter in 26_predict"),
    "images of another kind": (predict(images="."), "images: VarNet has no such setting"),
}  # fmt: skip


@pytest.mark.parametrize("name", NOT_PREDICTED)
def test_what_cannot_be_predicted_is_refused_before_anything_starts(trained, name):
    entry, words = NOT_PREDICTED[name]
    with pytest.raises(InputError) as error:
        plan(trained, entry)
    assert words in str(error.value) and "\n" not in str(error.value)
    assert not list((trained / "runs").glob("predict"))


def test_a_prediction_follows_its_networks_training(trained):
    (task,) = plan(trained, predict())
    assert task.parameters["data"] == str(trained / "kspace") and task.parameters["network_type"] == "VarNet"
    assert task.weights == "trained" and task.values["data"] == task.parameters["data"]
    plan(trained, predict(split="val", evaluate=True))
    assert plan(trained, predict("w.pt", network_type="VarNet", data="kspace"))[0].weights is None


def test_a_prediction_follows_an_earlier_task_of_its_recipe(sets):
    *_, task = plan(sets, train("slices", "UNet2D"), predict("train"), predict("train", task_name="val", split="val"))
    assert task.parameters["data"] == str(sets / "slices") and task.parameters["network_type"] == "UNet2D"
    prepare = {"task_name": "prepare", "notebook": "12_prepare_slices", "data": "new"}
    plan(sets, prepare, train("new", "UNet2D"), predict("train"))
    with refused(where="saved_network_weights: task prepare trains no network"):
        plan(sets, prepare, predict("prepare"))
    with refused(where="task train: trains UNet2D, expected VarNet"):
        plan(sets, train("slices", "UNet2D"), predict("train", network_type="VarNet"))


# Scores


def test_the_validation_split_will_do(sets):
    plan(sets, train("kspace", "VarNet"), KSPACE | {"runs": ["train"], "split": "val"})
    plan(sets, train("kspace", "VarNet"))  # a prediction needs no targets
    for data, network in (("slices", "UNet2D"), ("volumes", "VolumeUNet")):
        plan(sets, train(data, network, predict_split="val"), LABELS)


def test_a_split_without_files_is_refused(sets):
    files = [entry("train", "a", target="reconstruction_rss"), entry("val", "b", target="reconstruction_rss")]
    make(sets / "kspace", "measured k-space", files)
    with refused(where="no files for test: 30_evaluate_kspace needs them"):
        plan(sets, train("kspace", "VarNet", predict_split="val"), KSPACE | {"runs": ["train"]})


def test_what_a_preparing_task_will_make_is_not_asked_for(sets):
    plan(sets, {"task_name": "prepare", "notebook": "12_prepare_slices", "data": "new"}, train("new", "UNet2D"), LABELS)


def test_results_of_earlier_runs_must_have_truths(sets):
    run = runs.create("train")
    runs.mark(run, "ok", new=True)
    with refused(where=r"result\.h5: no such file"):
        plan(sets, LABELS)
    (run / "predictions").mkdir()
    with h5py.File(run / "predictions" / "result.h5", "w") as file:
        file["a/output"] = [1]
    for task in (LABELS, KSPACE | {"split": "val", "runs": [], "results": ["runs/train/result.h5"]}):
        (sets / "runs" / "train" / "result.h5").unlink(missing_ok=True)
        (sets / "runs" / "train" / "result.h5").symlink_to(run / "predictions" / "result.h5")
        with refused(where=r"result\.h5: no truths in it: nothing to score"):
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
    with refused(where=r"person_005_week_3\.h5", found=r"no target or label \(1 files of test\): this needs it"):
        needs.check_set(tmp_path / "set", {"test": True}, "this")
