"""`python -m lib --again RUN`: what it refuses, what it says differs, and which metrics it finds to agree."""

import json
import re
import shutil

import pytest
import toys

from lib import ROOT
from lib.recipes.again import compare

METRICS = """
finish = runs.finish
text = (runs.roots()[0].parent / "file").read_text()
runs.finish = lambda run, _: finish(run, {"headline": {"net": {"ssim": len(text) / 3}}, "cases": [1.5, len(text), None]})
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A toy notebook whose metrics come of a file, and one good run of it."""
    made = tmp_path_factory.mktemp("made")
    (made / "file").write_text("abcd")
    toys.write(made / "notebooks", "21_toy", body=METRICS)
    (made / "r.yaml").write_text("- {task_name: a, notebook: 21_toy, epochs: 7}")
    assert toys.run(made, made / "r.yaml").returncode == 0
    return made


@pytest.fixture
def place(made, tmp_path):
    return shutil.copytree(made, tmp_path / "place")


def runs_of(place, task="a"):
    return sorted(
        (place / "runs" / task).iterdir(), key=lambda p: json.loads((p / "status.json").read_text())["started"]
    )


def changed(path, **values):
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | values))


def test_a_rerun_has_its_parameters_and_says_that_all_agrees(place):
    (old,) = runs_of(place)
    for given in (old, "a"):  # by its folder, and by its task
        done = toys.run(place, "--again", given)
        assert done.returncode == 0 and not done.stderr, done.stderr
        lines = done.stdout.splitlines()
        assert lines[-2:] == ["headline.net.ssim: 1.3333333333333333 agrees", "4 of 4 values agree to the digit"]
        assert "21_toy.ipynb, seed none" in lines[0]
    assert len(runs_of(place)) == 3
    new = runs_of(place)[-1]
    assert json.loads((new / "task.json").read_text())["parameters"]["epochs"] == 7
    assert (new / "metrics.json").read_bytes() == (old / "metrics.json").read_bytes()


def test_what_differs_is_said_before_and_metrics_by_how_much(place):
    (old,) = runs_of(place)
    versions = json.loads((old / "manifest.json").read_text())["versions"]
    source = place / "weights.safetensors"
    source.write_text("x")
    inputs = [{"path": str(source), "sha256": {source.name: "0"}}]
    changed(old / "manifest.json", versions=versions | {"torch": "1.0"}, inputs=inputs, data={str(place / "file"): "0"})
    (place / "file").write_text("abcdef")
    done = toys.run(place, "--again", old)
    assert done.returncode == 1 and not done.stderr
    before, after = done.stdout.split("compared with")
    assert f"differs: torch 1.0 → {versions['torch']}" in before
    assert f"differs: {source}: {source.name} has changed" in before
    assert f"differs: data: {place / 'file'} has changed" in before and before.index("differs: torch") < before.index(
        "cell 1/"
    )
    assert "headline.net.ssim: 1.3333333333333333 → 2.0 (by +0.667, 0.5 of it)" in after
    assert after.splitlines()[-2:] == ["cases.1: 4 → 6 (by +2, 0.5 of it)", "2 of 4 values agree to the digit"]


def test_a_copy_from_elsewhere_is_rerun_among_ones_own_runs(place):
    copy = shutil.copytree(runs_of(place)[0], place / "from a colleague" / "20260101-000000")
    assert toys.run(place, "--again", copy).returncode == 0
    assert len(runs_of(place, "toy")) == 1 and not (place / "runs" / ".elsewhere").exists()


def gone(name):
    return lambda run: (run / name).unlink()


REFUSED = {
    "no such run": (None, "run none: got 'none', expected one of: a"),
    "failed": (lambda run: changed(run / "status.json", status="failed"), "failed, expected one that ended ok"),
    "no task.json": (gone("task.json"), "task.json: isn't there, expected the one that the run wrote"),
    "no manifest": (gone("manifest.json"), "manifest.json: isn't there, expected the one that the run wrote"),
    "torn": (lambda run: (run / "task.json").write_text('{"a'), "task.json: damaged, expected the one that the run wrote"),
    "odd": (lambda run: changed(run / "task.json", parameters=[1]), "task.json: damaged, expected notebook and parameters"),
    "no metrics": (lambda run: (run / "metrics.json").write_text("{}"), "no numbers in it: there is nothing to compare"),
    "notebook": (lambda run: changed(run / "task.json", notebook="21_tyo"), "did you mean '21_toy'? expected one of: 21_toy"),
    "a path": (lambda run: changed(run / "task.json", notebook="../21_toy"), "notebook: got '../21_toy', "),
    "parameter": (lambda run: changed(run / "task.json", parameters={"epoch": 3}), "did you mean 'epochs'? expected one of: "),
    "value": (lambda run: changed(run / "task.json", parameters={"epochs": "x"}), "epochs: got 'x', expected an integer"),
    "input": (
        lambda run: changed(run / "manifest.json", inputs=[{"path": "/no/run", "sha256": {}}]),
        "/no/run: gone, and the run has read it",
    ),
    "inputs": (lambda run: changed(run / "manifest.json", inputs=[3]), "manifest.json: damaged, expected inputs with path"),
    "fewer": (
        lambda run: changed(run / "task.json", parameters={"inputs": ["a", "b"]}),
        "manifest.json: inputs: 0, expected all that task.json names",
    ),
    "versions": (lambda run: changed(run / "manifest.json", versions=[1]), "versions is damaged, expected a mapping"),
    "data": (lambda run: changed(run / "manifest.json", data={"/no/file": "0"}), "/no/file: gone, and the run has read it"),
    "no set": (
        lambda run: changed(run / "task.json", parameters={"data": str(run / "set")}) or changed(run / "manifest.json", data={"a": "0"}),
        "no set.json here: prepare the data first",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cant_be_rerun_is_refused_in_a_line_and_nothing_is_written(place, name):
    spoil, words = REFUSED[name]
    (old,) = runs_of(place)
    if spoil:
        spoil(old)
    before = sorted(place.rglob("*"))
    done = toys.run(place, "--again", old if spoil else "none")
    assert done.returncode == 2 and done.stdout == "" and len(done.stderr.splitlines()) == 1
    assert words in done.stderr and sorted(place.rglob("*")) == before


def test_a_preparation_isnt_rerun_since_it_would_replace_its_set(place):
    toys.write(place / "notebooks", "10_toy", tags=("prepare",))
    (old,) = runs_of(place)
    changed(old / "task.json", notebook="10_toy", parameters={"data": "data/x"})
    done = toys.run(place, "--again", old)
    assert (
        done.returncode == 2 and "10_toy: would replace the set data/x: run the notebook or its recipe" in done.stderr
    )


def test_a_rerun_that_fails_says_so(place):
    (place / "file").unlink()
    done = toys.run(place, "--again", "a")
    assert done.returncode == 1 and "failed: FileNotFoundError" in done.stderr.splitlines()[-1]
    assert [json.loads((run / "status.json").read_text())["status"] for run in runs_of(place)] == ["ok", "failed"]


@pytest.mark.parametrize(
    "words", [(), ("r.yaml", "--again", "a"), ("--again", "a", "--quick"), ("--again", "a", "--only", "b")]
)
def test_options_that_dont_go_together_are_refused(tmp_path, words):
    done = toys.run(tmp_path, *words)
    assert done.returncode == 2 and "--again" in done.stderr.splitlines()[-1] and not [*tmp_path.iterdir()]


def test_metrics_are_compared_wherever_they_stand():
    old = {"headline": {"a": 1.0, "b": None}, "cases": [{"x": 0}, {"x": True}], "note": "n"}
    assert compare(old, json.loads(json.dumps(old)))[1]
    new = {"headline": {"a": 1.0000001, "b": 2}, "cases": [{"x": 0}], "note": "m", "more": 3}
    lines, agree = compare(old, new)
    assert not agree and lines == [
        "headline.a: 1.0 → 1.0000001 (by +1e-07, 1e-07 of it)", "headline.b: None → 2", "cases.1.x: True → None",
        "note: n → m", "more: None → 3", "1 of 6 values agree to the digit",
    ]  # fmt: skip
    many = compare({"v": list(range(30))}, {"v": list(range(1, 31))})[0]
    assert len(many) == 22 and many[-2:] == ["… and 10 more", "0 of 30 values agree to the digit"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_training_and_its_evaluation_are_rerun_to_the_digit(tmp_path):
    recipe = """
- {task_name: prepare, notebook: 10_prepare_kspace, data: set}
- {task_name: train, network_type: UNet, data: set, network_settings: {chans: 2, num_pool_layers: 2}}
- {task_name: evaluate, notebook: 30_evaluate_kspace, data: set, runs: [train]}
"""
    done = toys.recipe(tmp_path, recipe, "--quick")
    assert done.returncode == 0, done.stderr[-2000:]
    notebooks = {"ECHOTRAIN_NOTEBOOKS": str(ROOT / "notebooks")}
    for task in ("train", "evaluate"):
        done = toys.run(tmp_path, "--again", task, **notebooks)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr
        agreeing, total = re.fullmatch(
            r"(\d+) of (\d+) values agree to the digit", done.stdout.splitlines()[-1]
        ).groups()
        assert agreeing == total and int(total) > 3 and ("weights: the same" in done.stdout) == (task == "train")
    done = toys.run(tmp_path, "--again", "prepare", **notebooks)
    assert done.returncode == 2 and "would replace the set" in done.stderr
