"""Recipes: read and refused, run with failures, kills and skips, resumed and reused."""

import json
import os
import re

import fake_runs
import pytest
import torch
import toys
from refusals import refused

from lib import ROOT, InputError, files, models, runs
from lib.recipes import execute, plan
from lib.recipes.task import KEYS
from lib.runs import parameters as tasks


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with notebooks/ and runs/, in which a recipe can be planned."""
    toys.write(tmp_path / "notebooks", "21_toy")
    toys.write(
        tmp_path / "notebooks",
        "10_make_toy",
        'run_dir = None  # type: path|None\ndata = "d"  # type: path|None',
        tags=("prepare",),
    )
    toys.write(
        tmp_path / "notebooks",
        "21_train_kspace",
        'run_dir = None  # type: path|None\nnetwork_type = "VarNet"  # type: str',
    )
    toys.write(tmp_path / "notebooks", "40_look", "epochs = 1  # type: int")
    monkeypatch.setenv("ECHOTRAIN_NOTEBOOKS", str(tmp_path / "notebooks"))
    monkeypatch.setattr("lib.runs.run.RUNS", tmp_path / "runs")
    return tmp_path


def planned(place, text, **settings):
    (place / "recipes").mkdir(exist_ok=True)
    (place / "recipes" / "r.yaml").write_text(text)
    return plan.plan(place / "recipes" / "r.yaml", **settings)


def test_a_plan_has_complete_parameters(place):
    text = """
- {task_name: a, notebook: 10_make_toy.ipynb, data: ../sets/a}
- {task_name: b, notebook: 21_toy, data: ../sets/a, epochs: 3, runs: [a], interactive: true}
"""
    first, second = planned(place, text, quick=True)
    assert first.notebook == place / "notebooks" / "10_make_toy.ipynb"
    assert first.values == {"data": str(place / "sets" / "a")}  # it has no quick and no interactive
    assert second.runs == ["a"] and not second.reuse
    assert second.values == {"quick": True, "interactive": True, "data": str(place / "sets" / "a"), "epochs": 3}
    assert second.parameters["optimizer"]["learning_rate"] == 1e-3 and second.parameters["epochs"] == 3
    assert [t.name for t in planned(place, text, only=["a"])] == ["a"]


@pytest.mark.parametrize("number", ["1e-4", "1E+2", "-3e5", "1.e-3", ".5e1", "+2.5e-1", "0.25", "3"])
def test_numbers_with_an_exponent_are_numbers(place, number):
    (task,) = planned(place, f"- {{task_name: a, notebook: 21_toy, factor: {number}}}")
    assert task.values["factor"] == float(number)


def test_texts_stay_texts(place):
    (task,) = planned(place, "- {task_name: a, notebook: 21_toy, code: 1e-4x}\n")
    assert task.values["code"] == "1e-4x"


def test_a_notebook_reads_its_own_inputs_unless_told(place):
    inputs = '\ninputs = ["a"]  # type: list'
    toys.write(place / "notebooks", "30_judge", f"run_dir = None  # type: path|None{inputs}")
    text = "- {task_name: a, notebook: 21_toy}\n- {task_name: c, notebook: 30_judge}"
    assert planned(place, text)[1].runs == ["a"]
    assert planned(place, f"{text[:-1]}, runs: []}}")[1].runs == []
    with refused(where="task c: runs: run a: got 'a'"):
        planned(place, text, only=["c"])


def test_a_network_implies_its_notebook(place, monkeypatch):
    monkeypatch.setattr(tasks, "check_names", lambda *_: None)
    (task,) = planned(place, "- {task_name: a, network_type: VarNet}")
    assert task.notebook.stem == "21_train_kspace"


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "got nothing, expected a list of tasks"),
        ("[]", "got nothing, expected a list of tasks"),
        ("a: 1", "got a dict, expected a list of tasks"),
        ("- a", "entry 1: got 'a', expected a mapping with task_name"),
        ("- [", "line 1: not YAML: expected the node content, but found '<stream end>'"),
        ("- {task_name: a, notebook: 21_toy, epochs: 1, epochs: 2}", "line 1: key 'epochs' stands twice"),
        (
            "- {task_name: a, notebook: 21_toy, code: !!python/name:os.system }",
            "line 1: not YAML: could not determine a constructor",
        ),
        ("- {notebook: 21_toy}", "entry 1: task_name: missing, expected a name"),
        ("- {task_name: a/b, notebook: 21_toy}", "entry 1: task_name: got 'a/b', expected a name of letters"),
        ("- {task_name: logs, notebook: 21_toy}", "entry 1: task_name: got 'logs', expected a name"),
        (
            "- {task_name: a, notebook: 21_toy}\n- {task_name: a, notebook: 21_toy}",
            "task a: the name stands twice, entries 1 and 2",
        ),
        ("- {task_name: a}", "task a: notebook: missing, and network_type implies one only for UNet3D, UNet2D1D"),
        ("- {task_name: a, network_type: [x]}", "task a: notebook: missing"),
        ("- {task_name: a, notebook: 21_tyo}", "task a: notebook: got '21_tyo', did you mean '21_toy'?"),
        ("- {task_name: a, notebook: 40_look}", "task a: notebook: 40_look has no parameter run_dir"),
        (
            "- {task_name: a, notebook: 21_toy, epoch: 3}",
            "task a: epoch: no such parameter in 21_toy: got 'epoch', did you mean 'epochs'?",
        ),
        ("- {task_name: a, notebook: 21_toy, run_dir: x}", "task a: run_dir: no such parameter"),
        ("- {task_name: a, notebook: 21_toy, inputs: [x]}", "task a: inputs: a recipe calls them runs"),
        ("- {task_name: a, notebook: 21_toy, epochs: -3}", "task a: epochs: got -3, expected an integer of at least 1"),
        (
            "- {task_name: a, notebook: 21_toy, epochs: ten}",
            "task a: epochs: got 'ten', expected an integer of at least 1",
        ),
        (
            "- {task_name: a, notebook: 21_toy, optimizer: {type: Adm, learning_rate: 1e-4}}",
            "task a: optimizer.type: got 'Adm'",
        ),
        ("- {task_name: a, notebook: 21_toy, runs: b}", "task a: runs: got 'b', expected a list of tasks' names"),
        ("- {task_name: a, notebook: 10_make_toy, runs: [b]}", "task a: runs: 10_make_toy reads no runs"),
        ("- {task_name: a, notebook: 21_toy, reuse: 1}", "task a: reuse: got 1, expected true or false"),
        ("- {task_name: a, notebook: 21_toy, runs: [b]}", "task a: runs: run b: got 'b', expected one of: none"),
        (
            "- {task_name: a, notebook: 21_toy, runs: [b]}\n- {task_name: b, notebook: 21_toy}",
            "task a: runs: b stands later, and run b",
        ),
        ("- {task_name: a, notebook: 21_toy, runs: [../none]}", "task a: runs: run "),
    ],
)
def test_a_recipe_is_refused_in_one_line(place, text, words):
    with pytest.raises(InputError) as error:
        planned(place, text)
    assert str(error.value).startswith(f"recipe {place / 'recipes' / 'r.yaml'}: {words}")
    assert "\n" not in str(error.value)
    assert not (place / "runs").exists()


LAUGHS = "{start}x0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n" + "".join(
    "{start}" + f"x{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9)
)
TOY = "- task_name: a\n  notebook: 21_toy\n"
HARM = {
    "laughs": (TOY + "  optimizer:\n" + LAUGHS.replace("{start}", "    "), r"line 8: 66,430 values on 6 levels"),
    "laughs as a value": (TOY + LAUGHS.replace("{start}", "  ") + "  epochs: *a8\n", "with what its aliases stand for"),
    "laughs as entries": ("".join(f"- &a{i} [{', '.join([f'*a{i - 1}' if i else 'x'] * 9)}]\n" for i in range(9)), "values on"),
    "laughs by merging": (
        "- &a0 {x: 1, y: 2}\n" + "".join(f"- &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 9)), "values on"
    ),
    "itself": (TOY + "  optimizer: &a [*a]\n", "line 3: an alias stands within what it stands for"),
    "deep": ("- " + "[" * 3000 + "]" * 3000, "lists and mappings within each other, expected 20 levels"),
    "deep mappings": ("- " + "{a: " * 3000 + "1" + "}" * 3000, "20 levels"),
    "deep by indentation": ("".join(" " * i + "-\n" for i in range(400)), "20 levels"),
    "long": (TOY + "# " + "x" * (1 << 20), "bytes, expected at most 1,048,576"),
    "many": (TOY + "  optimizer: [" + "1, " * 20_000 + "]", "values on 2 levels"),
    "bool": (TOY + "  epochs: !!bool maybe", "line 3: 'maybe' is no bool"),
    "int": (TOY + "  epochs: !!int ''", "line 3: '' is no int"),
    "float": (TOY + "  factor: !!float x", "line 3: 'x' is no float"),
    "time": (TOY + "  epochs: !!timestamp foo", "line 3: 'foo' is no timestamp"),
    "date": (TOY + "  epochs: 2020-02-31", "line 3: '2020-02-31' is no timestamp"),
    "huge": (TOY + f"  epochs: {'9' * 5000}", "line 3: '9{40}' is no int"),
    "large": (TOY + f"  epochs: {'9' * 400}", "9{20} …: a whole number of more than 64 bits"),
    "binary": (TOY + "  code: !!binary '§'", "not YAML"),
    "a list as a key": (TOY + "  ? [a]\n  : 1", "not YAML"),
    "numbers as keys": (TOY + "  1: x", "1: no such parameter"),
    "nothing as a key": (TOY + "  ~: x", "None: no such parameter"),
    "half a character": (TOY + '  data: "a\\ud800"', "a text with characters that no file can hold"),
    "null": (TOY + '  data: "a\\0b"', "a text with characters that no file can hold"),
    "null in a key": (TOY + '  "a\\0b": 1', "a text with characters that no file can hold"),
    "a long name": (f"- task_name: {'a' * 300}\n  notebook: 21_toy", "task_name: got 'a{20}"),
    "a long notebook": (f"- task_name: a\n  notebook: {'a' * 300}", "File name too long|notebook: got 'a{20}"),
    "a long path": (TOY + f"  data: {'a' * 300}", ""),
    "a long run": (TOY + f"  runs: [{'b/' * 3000}]", "runs: .*File name too long"),
    "a path as a notebook": ("- task_name: a\n  notebook: ../../tmp/x", "notebook: got '../../tmp/x'"),
    "a set": (TOY + "  optimizer: !!set {a, b}", "optimizer"),
    "pairs": (TOY + "  optimizer: !!pairs [a: 1]", "optimizer"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HARM)
def test_a_recipe_that_does_harm_is_refused_in_one_line(place, kind):
    """By the command line, whose last line says why and whose exit code is 2; nothing is left, nothing hangs."""
    text, words = HARM[kind]
    try:
        planned(place, text)
    except InputError as error:
        assert "\n" not in str(error) and len(str(error)) < 1000
        assert re.search(words, str(error)), error
        str(error).encode()
    else:
        assert not words
    assert not (place / "runs").exists()


def test_a_recipe_of_links_in_circles_and_pipes(place):
    (place / "loop").symlink_to("loop")
    os.mkfifo(place / "pipe.yaml")
    with refused(where="pipe.yaml", found="not a file but a pipe"):
        plan.plan(place / "pipe.yaml")
    with refused(where="loop", found="Too many levels of symbolic links"):
        plan.plan(place / "loop")
    for key in ("data", "runs"):
        value = "../loop/x" if key == "data" else "[../loop/x]"
        with pytest.raises(InputError) as error:
            planned(place, f"{TOY}  {key}: {value}")
        assert "\n" not in str(error.value)


def test_aliases_and_merges_of_a_usual_size_are_read(place):
    text = """
- &first {task_name: a, notebook: 21_toy, optimizer: &opt {type: SGD, learning_rate: 0.1}}
- {<<: *first, task_name: b}
- {task_name: c, notebook: 21_toy, optimizer: *opt}
"""
    tasks = planned(place, text)
    assert [t.parameters["optimizer"]["type"] for t in tasks] == ["SGD"] * 3


def test_every_problem_has_its_line_and_the_first_stands_last(place):
    text = """
- {task_name: a, notebook: 21_toy, epochs: 0}
- {task_name: b, notebook: 21_toy, factor: x, runs: [a]}
- {task_name: c, notebook: 21_toy, runs: [a]}
"""
    with pytest.raises(InputError) as error:
        planned(place, text, only=["a", "d"])
    lines = str(error.value).splitlines()
    assert [re.search(r"task .: \w+|--only: got 'd'", line)[0] for line in lines] == [
        "--only: got 'd'", "task b: factor", "task a: epochs",
    ]  # fmt: skip


def test_without_only_an_earlier_task_needs_a_good_run(place):
    text = "- {task_name: a, notebook: 21_toy}\n- {task_name: b, notebook: 21_toy, runs: [a]}"
    planned(place, text)
    with refused(where="task b: runs: run a: got 'a'"):
        planned(place, text, only=["b"])
    runs.mark(runs.create("a"), "ok")
    planned(place, text, only=["b"])


def test_a_recipe_that_cannot_be_read(place):
    with refused(where="none.yaml", found="No such file"):
        plan.plan(place / "none.yaml")
    with refused(found="Is a directory"):
        plan.plan(place)
    (place / "x.yaml").write_bytes(b"- \xff\xfe")
    with refused(found="not YAML"):
        plan.plan(place / "x.yaml")


RECIPE = """
- task_name: prepare
  notebook: 10_make_toy
  data: sets/a
  code: |
    import pathlib
    if not (pathlib.Path(data).parent / "fixed").exists():
        raise lib.InputError("source: got none, expected a scan")
- {task_name: good, notebook: 21_toy, code: "import sys; print('loud', file=sys.stderr)", epochs: 2}
- task_name: killed
  notebook: 21_toy
  code: |
    import os, pathlib
    marker = run / "checkpoint"
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), 9)
    print("continued from", marker.name)
- {task_name: reads_killed, notebook: 21_toy, runs: [good, killed]}
- {task_name: reads_skipped, notebook: 21_toy, runs: [reads_killed]}
- {task_name: same_data, notebook: 21_toy, data: sets/a}
- {task_name: reads_good, notebook: 21_toy, runs: [good], code: "assert inputs == [str(runs.find('good'))]"}
- {task_name: unfinished, notebook: 23_unfinished}
"""


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """One recipe run twice, the second time with --resume after a fix: folder, both outputs, the statuses between."""
    folder = tmp_path_factory.mktemp("a {braced} folder")
    toys.write(folder / "notebooks", "21_toy")
    toys.write(folder / "notebooks", "10_make_toy", body="import lib\nexec(code)", tags=("prepare",))
    unfinished = toys.write(folder / "notebooks", "23_unfinished")
    content = json.loads(unfinished.read_text())
    unfinished.write_text(json.dumps(content | {"cells": content["cells"][:-1]}))
    (folder / "kernels" / "python3").mkdir(parents=True)  # another interpreter's kernel by the usual name
    (folder / "kernels" / "python3" / "kernel.json").write_text(
        '{"argv": ["false"], "display_name": "x", "language": "x"}'
    )
    (folder / "r.yaml").write_text(RECIPE)
    first = toys.run(folder, folder / "r.yaml", JUPYTER_PATH=str(folder))
    between = {p.parent.parent.name: json.loads(p.read_text()) for p in folder.glob("runs/*/*/status.json")}
    (folder / "sets").mkdir()
    (folder / "sets" / "fixed").touch()
    return folder, first, between, toys.run(
        folder, folder / "r.yaml", "--resume", "--only", "prepare", "good", "killed", "reads_killed"
    )  # fmt: skip


@pytest.mark.whole
def test_what_fails_does_not_stop_the_rest(executed):
    _, first, between, _ = executed
    assert first.returncode == 1
    assert {name: state["status"] for name, state in between.items()} == {
        "prepare": "failed", "good": "ok", "killed": "failed", "reads_killed": "skipped", "reads_skipped": "skipped",
        "same_data": "skipped", "reads_good": "ok", "unfinished": "failed",
    }  # fmt: skip
    assert between["prepare"]["error"] == "source: got none, expected a scan"
    assert between["killed"]["error"].startswith("killed by signal 9, probably out of memory: lower batch_size")
    assert between["reads_killed"]["error"] == "task killed failed"
    assert between["reads_skipped"]["error"] == "task reads_killed skipped"
    assert between["same_data"]["error"] == "task prepare failed"
    assert between["unfinished"]["error"] == "the notebook ended without runs.finish"


@pytest.mark.whole
def test_the_output_says_what_goes_on_and_ends_with_the_error(executed):
    folder, first, _, _ = executed
    assert first.stderr == "task prepare failed: source: got none, expected a scan\n"
    lines = first.stdout.splitlines()
    assert [line for line in lines if "] good · cell" in line] == [f"[2/8] good · cell {n}/6" for n in range(1, 7)]
    assert lines.index("[2/8] good · cell 4/6") < lines.index("body of good") < lines.index("[2/8] good · cell 5/6")
    assert "Traceback" not in first.stdout and "loud" not in first.stdout
    assert re.search(r"^good +ok +\d+\.\d$", first.stdout, re.M) and "loss: 0.3333" in first.stdout
    (good,) = (folder / "runs" / "good").iterdir()
    assert str(good / "notebook.ipynb") in lines


@pytest.mark.whole
def test_a_run_folder_holds_the_executed_notebook(executed):
    folder, *_ = executed
    (good,) = (folder / "runs" / "good").iterdir()
    assert sorted(p.name for p in good.iterdir()) == [
        "manifest.json", "metrics.json", "notebook.ipynb", "status.json", "task.json",
    ]  # fmt: skip
    task = json.loads((good / "task.json").read_text())
    assert task["notebook"] == "21_toy" and task["parameters"]["epochs"] == 2
    assert task["parameters"]["interactive"] is False and task["parameters"]["run_dir"] == str(good)
    outputs = [
        o for cell in json.loads((good / "notebook.ipynb").read_text())["cells"] for o in cell.get("outputs", ())
    ]
    assert "".join(outputs[0]["text"]) == "body of good\n" and "".join(outputs[1]["text"]) == "loud\n"
    (reads,) = (folder / "runs" / "reads_good").iterdir()
    assert json.loads((reads / "manifest.json").read_text())["inputs"][0]["path"] == str(good)


@pytest.mark.whole
def test_resume_goes_on_in_the_same_folders(executed):
    folder, _, between, second = executed
    assert second.returncode == 0 and second.stderr == ""
    states = {p.parent.parent.name: json.loads(p.read_text()) for p in folder.glob("runs/*/*/status.json")}
    assert len(list(folder.glob("runs/*/*/status.json"))) == 8  # none was added
    assert {name for name in states if states[name] != between[name]} == {"prepare", "killed", "reads_killed"}
    assert all(states[name]["status"] == "ok" for name in ("prepare", "killed", "reads_killed"))
    assert "[2/4] good · ok already" in second.stdout and "continued from checkpoint" in second.stdout


def test_resume_says_why_a_trained_task_begins_again(folder, tmp_path, monkeypatch):
    toys.write(tmp_path / "notebooks", "21_toy")
    monkeypatch.setenv("ECHOTRAIN_NOTEBOOKS", str(tmp_path / "notebooks"))
    (tmp_path / "r.yaml").write_text("- {task_name: trained, notebook: 21_toy}\n")
    (task,) = plan.plan(tmp_path / "r.yaml")
    assert task.begins_again() == ""
    given = task.parameters | {"inputs": ["a"]}
    run = fake_runs.make(folder, "trained", notebook="21_toy", status="failed", parameters=given)
    files.write(run / "checkpoints" / "last.pt", b"")
    task.parameters["inputs"] = ["b"]
    assert task.begins_again().endswith("was begun with inputs ['a'], not ['b']")
    task.parameters["inputs"] = ["a"]
    assert task.begins_again() == ""


def test_a_notebook_that_a_full_disk_has_cut_off_does_not_replace_a_whole_one(tmp_path):
    hidden, shown = tmp_path / ".notebook.ipynb", tmp_path / "notebook.ipynb"
    whole = toys.write(tmp_path / "a", "21_toy").read_bytes()
    for content, expected in ((whole, whole), (whole[:-100], whole), (b"", whole), (None, whole)):
        if content is not None:
            hidden.write_bytes(content)
        execute._publish(hidden)
        assert shown.read_bytes() == expected and not hidden.exists()


TRAINING = """
- task_name: trained
  notebook: 20_toy
  epochs: 5
  code: |
    import torch
    from fastai.data.core import DataLoaders
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset
    from lib import training
    torch.manual_seed(0)
    rows = TensorDataset(torch.randn(8, 4), torch.randn(8, 1))
    dls = DataLoaders(DataLoader(rows, 2, shuffle=True), DataLoader(rows, 4), device=torch.device("cpu"))
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.3), nn.Linear(4, 1))
    learn = training.Learner(dls, model, loss_func=nn.functional.mse_loss, opt_func=training.optimizer("Adam", 1e-2))
    with learn.no_bar(), learn.no_logging():
        constant = training.schedule("constant", learning_rate=1e-2, epochs=epochs)
        learn.fit(epochs, cbs=[constant, training.History(run.path, tensorboard=False), training.Checkpoint(run.path)])
    torch.save(model.state_dict(), run / "weights.pt")
- {task_name: other, notebook: 21_toy}
- {task_name: reads, notebook: 21_toy, runs: [trained]}
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_resume_trains_longer_and_refuses_what_else_differs(tmp_path, monkeypatch):
    """Weights and epochs of 5, then 6, equal those of 6 at once; what reads the run is done again, the rest is kept."""
    longer, weights = TRAINING.replace("epochs: 5", "epochs: 6"), []
    for name, texts in (("twice", (TRAINING, longer)), ("once", (longer,))):
        place = tmp_path / name
        toys.write(place / "notebooks", "20_toy")
        toys.write(place / "notebooks", "21_toy")
        for text in texts:
            (place / "r.yaml").write_text(text)
            done = toys.run(place, place / "r.yaml", "--resume")
            assert done.returncode == 0, done.stdout + done.stderr
        (run,) = (place / "runs" / "trained").iterdir()
        assert len((run / "history.csv").read_text().splitlines()) == 7
        assert json.loads((run / "task.json").read_text())["parameters"]["epochs"] == 6
        weights.append(torch.load(run / "weights.pt"))
        if name == "twice":
            assert re.search(r"trained · continuing \S+ for 6 epochs instead of 5$", done.stdout, re.M)
            assert "continuing after epoch 5 of 6" in done.stdout and "other · ok already" in done.stdout
            assert len(list((place / "runs" / "reads").iterdir())) == 2
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])

    before = {p: p.read_bytes() for p in place.glob("runs/*/*/*.json")}
    monkeypatch.setenv("ECHOTRAIN_NOTEBOOKS", str(place / "notebooks"))
    for old, new, words in (
        ("epochs: 6", "epochs: 4", "epochs 6, not 4"),
        ("epochs: 6", "epochs: 7\n  factor: 0.25", "factor 0.5, not 0.25"),
    ):
        said = toys.refusal(place, longer.replace(old, new), resume=True)
        assert "task trained: --resume: " in said and words in said and "--only trained" in said
    assert before == {p: p.read_bytes() for p in place.glob("runs/*/*/*.json")}


@pytest.mark.whole
def test_reuse_takes_a_good_run_with_the_same_parameters(executed):
    folder, *_ = executed
    entry = "- {task_name: again, notebook: 21_toy, reuse: true, epochs: 2, code: \"import sys; print('loud', file=sys.stderr)\"}"
    (folder / "reuse.yaml").write_text(entry)
    done = toys.run(folder, folder / "reuse.yaml")
    assert done.returncode == 0 and "[1/1] again · ok already" in done.stdout
    assert not (folder / "runs" / "again").exists()


@pytest.mark.parametrize("path", sorted((ROOT / "runs").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_committed_recipe_gives_only_what_its_notebooks_know(path):
    for entry in plan.read(path):
        notebook = tasks.notebook(entry.get("notebook") or models.notebook_of(entry["network_type"]))
        known = tasks.parameters(notebook)
        given = {k: v for k, v in entry.items() if k not in KEYS or k in known}
        tasks.check_values(notebook, given, entry["task_name"])


def test_weights_may_be_those_of_a_task_that_ran_before(place, monkeypatch):
    entry = "- {task_name: b, notebook: 20_weights, saved_network_weights: earlier}"
    parameters = toys.PARAMETERS + "saved_network_weights = None  # type: path|None  whose"
    toys.write(place / "notebooks", "20_weights", parameters)
    with refused(where="run earlier: got 'earlier', expected one of: none"):
        planned(place, entry)
    run = runs.create("earlier")
    runs.mark(run, "ok", new=True)
    (task,) = planned(place, entry)
    assert task.weights == "earlier" and task.runs == [] and task.reads == ["earlier"]
    (place / "runs" / "r.yaml").write_text(entry)  # beside the task's own folder
    assert plan.plan(place / "runs" / "r.yaml")[0].weights == "earlier"
    with refused(where="w.safetensors: no such file of weights"):
        planned(place, entry.replace("earlier", "w.safetensors"))
    (place / "recipes" / "w.safetensors").touch()
    (task,) = planned(place, entry.replace("earlier", "w.safetensors"))
    assert task.weights is None and task.values["saved_network_weights"].endswith("recipes/w.safetensors")
    with refused(where="saved_network_weights: got 5, expected a path or null"):
        planned(place, entry.replace("earlier", "5"))


WHOLE, LITS = (
    {"train": 9, "val": 3, "test": 3},
    {"train": 100, "val": 31, "test": 0},
)  # data/README.md's commands make these
SETS = {"fastmri_knee": WHOLE, "snu_index": WHOLE, "hipmri": WHOLE, "lgg": WHOLE, "lits": LITS, "lits_256": LITS}


@pytest.mark.parametrize("recipe", sorted((ROOT / "runs").glob("*_published.yaml")), ids=lambda path: path.stem)
def test_published_recipes_are_accepted_with_the_data_that_they_ask_for(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    for name, counts in SETS.items():
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "set.json").write_text(json.dumps({"counts": counts, "files": []}))
    (tmp_path / "runs" / "weights").mkdir(parents=True)
    (tmp_path / "runs" / "weights" / "brain_leaderboard_state_dict.pt").touch()
    path = tmp_path / "runs" / recipe.name
    path.write_text(
        recipe.read_text().replace("encoder_weights: imagenet", "encoder_weights: null")
    )  # needs the network
    monkeypatch.setenv("PET_NNODES", "2")  # as its comment says of partitions in 16
    assert plan.plan(path)
