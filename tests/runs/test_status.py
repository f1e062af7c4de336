"""Who may write into a run folder: never beside a living process, and only with what the run was begun with."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time

import pytest
import toys
from refusals import refused

from lib import InputError, files, locks, processes, runs
from lib.data import index
from lib.recipes import execute, plan
from lib.runs import listing, overview, status_file


@pytest.fixture
def folder(tmp_path, monkeypatch):
    toys.write(tmp_path / "notebooks", "21_toy")
    toys.write(tmp_path / "notebooks", "22_other")
    monkeypatch.setenv("ECHOTRAIN_NOTEBOOKS", str(tmp_path / "notebooks"))
    monkeypatch.setattr("lib.runs.run.RUNS", tmp_path / "runs")
    yield tmp_path / "runs"
    runs.run._close()


def records(path):
    return {p.name: p.read_bytes() for p in path.iterdir()}


def killed(folder, **values):
    """A run that its process has left in the middle."""
    run = runs.start("21_toy", values)
    fields = json.loads((run / "status.json").read_text())
    files.write(run / "status.json", fields | {"process": fields["process"][:-1] + "x"})
    locks.release(run.path)
    runs.run._current = None
    return run.path


def test_a_living_process_keeps_its_folder(folder):
    path = killed(folder)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        fields = json.loads((path / "status.json").read_text())
        files.write(path / "status.json", fields | {"pid": other.pid, "process": processes.identity(other.pid)})
        before = records(path)
        mine = runs.start("22_other", {})
        for values in ({}, {"epochs": 30}):
            with pytest.raises(InputError, match=rf"run_dir: .*is being written by process {other.pid} on "):
                runs.start("21_toy", {"run_dir": str(path), **values})
        with refused(found="is being written by"):
            status_file.take(path, {}, decided=True)
        assert records(path) == before and mine.status()["status"] == "running"
        other.communicate(b"\n")
    assert runs.start("21_toy", {"run_dir": str(path)}).status()["pid"] == os.getpid()


def test_other_parameters_do_not_go_on_with_a_run_and_are_named(folder):
    path = killed(folder, epochs=5)
    before = records(path)
    for notebook, values, words in (
        ("21_toy", {"epochs": 4}, "epochs 5, not 4"),
        ("21_toy", {"epochs": 5, "factor": 0.25}, r"factor 0\.5, not 0\.25: give the same .* or leave run_dir out"),
        ("21_toy", {"optimizer": {"type": "SGD", "learning_rate": 1e-3}}, "optimizer "),
        ("22_other", {"epochs": 5}, "notebook 21_toy, not 22_other"),
    ):
        with pytest.raises(InputError, match=f"was begun with .*{words}"):
            runs.start(notebook, {"run_dir": str(path), **values})
    assert records(path) == before
    again = runs.start("21_toy", {"run_dir": str(path), "epochs": 6, "interactive": False})  # longer, elsewhere
    assert json.loads((again / "task.json").read_text())["parameters"]["epochs"] == 6
    runs.start("21_toy", {"run_dir": str(path), "epochs": 6})  # its cells once more, in the same kernel
    files.write(path / "task.json", "{")
    with refused(found="task.json that is unreadable"):
        runs.start("21_toy", {"run_dir": str(path), "epochs": 6})


def test_a_recipe_hands_its_folder_to_its_own_kernel(folder):
    path = killed(folder, epochs=5)
    code = "import sys; from lib import runs; print(runs.start('21_toy', {'run_dir': sys.argv[1]}).status()['pid'])"
    status_file.mark(path, "running", new=True)  # as the recipe does, whose task.json says what it has decided
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], env=toys.environment(folder.parent), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) != os.getpid()


def test_of_two_that_start_at_once_one_gets_the_folder(folder, monkeypatch):
    path, taken = killed(folder), []
    task = json.loads((path / "task.json").read_text())
    monkeypatch.setattr(status_file, "_by", lambda fields, pid: False)  # as if each thread were a process of its own
    slow = status_file.write
    monkeypatch.setattr(status_file, "write", lambda *given: (time.sleep(0.05), slow(*given)))

    def take():
        try:
            taken.append(status_file.take(path, task))
        except InputError as error:
            taken.append(str(error))

    threads = [threading.Thread(target=take) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert taken.count(None) == 1 and len(taken) == 4


GOOD = {
    "status": "ok", "started": "2026-01-01T00:00:00+00:00", "seconds": 1.0, "error": None, "pid": 1,
    "process": "b n 1", "host": socket.gethostname(), "heartbeat": "2026-01-01T00:00:00+00:00",
}  # fmt: skip
PIPE = "a pipe"
BAD = [
    "", "[]", "null", "{", '{"status": "ok"}', *({k: v for k, v in GOOD.items() if k != key} for key in GOOD if key != "error"),
    GOOD | {"started": 5}, GOOD | {"started": [1]}, GOOD | {"status": ["ok"]}, GOOD | {"seconds": float("nan")},
    GOOD | {"status": "running", "pid": "x"}, GOOD | {"heartbeat": "2026-01-01T00:00:00"},
    GOOD | {"status": "running", "host": "other", "heartbeat": None},
    GOOD | {"status": "fine"}, GOOD | {"status": ""}, GOOD | {"seconds": -1}, GOOD | {"seconds": 1e300}, GOOD | {"pid": True},
    GOOD | {"error": ["x"]}, GOOD | {"started": "0001-01-01T00:00:00+14:00"}, GOOD | {"process": ["x"]}, "[" * 100_000,
    json.dumps(GOOD | {"seconds": float("nan")}), json.dumps(GOOD | {"seconds": float("inf")}),
    json.dumps(GOOD | {"error": "\ud800"}), json.dumps(GOOD).replace("1.0", "1" * 5000), b"\xff\xfe", PIPE, "/dev/zero",
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: str(bad)[:60])
def test_a_damaged_status_hides_no_other_run(folder, bad):
    (folder.parent / "r.yaml").write_text("- {task_name: again, notebook: 21_toy, reuse: true}\n")
    (task,) = plan.plan(folder.parent / "r.yaml")
    for name, content in (("good", GOOD), ("bad", bad)):
        files.write(folder / name / "20260101-000000" / "task.json", task.description)
        path = folder / name / "20260101-000000" / "status.json"
        if content == PIPE:
            os.mkfifo(path)
        elif content == "/dev/zero":
            path.symlink_to(content)
        else:
            files.write(path, content)
    assert execute._kept(task, None, None).run == folder / "good" / "20260101-000000"
    assert not overview.notebooks(folder).empty
    assert runs.find("good") == folder / "good" / "20260101-000000" and len(runs.history()) == 1
    assert runs.table().task.tolist() == ["good"]
    assert sorted((row.task, row.status) for row in listing.rows()) == [("bad", "damaged"), ("good", "ok")]
    with refused(found="no run folder, status.json is missing or unreadable"):
        runs.status(folder / "bad" / "20260101-000000")


def test_an_odd_task_is_no_matter_for_others(folder):
    (folder.parent / "r.yaml").write_text("- {task_name: again, notebook: 21_toy, reuse: true}\n")
    (task,) = plan.plan(folder.parent / "r.yaml")
    odd = [{"early_stopping": "soon"}, {"epochs": "many"}, {"optimizer": [1]}, {"quick": {}}]
    about = [task.description | {"parameters": task.parameters | values} for values in odd]
    for number, content in enumerate([*about, "[" * 100_000, {"notebook": ["21_toy"], "parameters": [["a", 1]]}], 2):
        path = folder / "again" / f"202601{number:02d}-000000"
        files.write(path / "task.json", content)
        files.write(path / "status.json", GOOD | {"started": f"2026-01-{number:02d}T00:00:00+00:00"})
    assert execute._kept(task, task.earlier(), None) is None
    assert len(listing.rows()) == 6 and len(runs.table()) <= 6


def test_a_set_that_is_gone_or_changed_is_prepared_again(folder, tmp_path, monkeypatch, capsys):
    toys.write(tmp_path / "notebooks", "10_toy", tags=("prepare",))
    (tmp_path / "r.yaml").write_text("- {task_name: prepare, notebook: 10_toy, data: set, reuse: true}\n")
    (tmp_path / "set").mkdir()
    case, listed = tmp_path / "set" / "a.h5", [{"split": "train", "path": "a.h5", "person": "a"}]
    run, entered = folder / "prepare" / "20260101-000000", []

    def execute_it(task, run, title):
        entered.append(run)
        runs.mark(run, "ok")

    monkeypatch.setattr(execute, "_execute", execute_it)
    for resume in (True, False):
        case.write_bytes(b"as it was")
        index.write_set(tmp_path / "set", "here", "k-space", listed)
        (task,) = plan.plan(tmp_path / "r.yaml", resume=resume)
        if not run.exists():
            files.write(run / "task.json", task.description)
            files.write(run / "status.json", GOOD)
        result = execute._run_or_keep(task, "t", resume, None)
        assert result.kept and not entered
        for damage, words in ((lambda: case.write_bytes(b"as it is"), "changed since"), (case.unlink, "but gone")):
            damage()
            result = execute._run_or_keep(task, "t", resume, None)
            assert not result.kept and result.status == "ok" and entered.pop() == result.run
            told = capsys.readouterr().out
            assert ("t · prepares again: " in told and words in told) == resume
        for path in folder.glob("prepare/*"):
            if path != run:
                shutil.rmtree(path)


def test_a_link_that_leads_nowhere_is_a_line(folder, tmp_path):
    folder.mkdir()
    (folder / "dangling").symlink_to("/nowhere/at/all")
    (folder / "file").write_text("")
    with refused(where=f"{folder}/dangling", found="a link to /nowhere/at/all, which isn't there"):
        runs.create("dangling")
    for name, words in (("dangling", "a link to /nowhere"), ("file", "can't be written")):
        said = toys.refusal(tmp_path, f"- {{task_name: {name}, notebook: 21_toy}}\n")
        assert f"{folder}/{name}: {words}" in said


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("column", ["train_loss", "valid_loss"])
def test_a_run_that_trained_to_no_number_is_not_good(folder, value, column):
    good, bad = (folder / "a" / f"2026010{day}-000000" for day in (1, 2))
    for path, losses in ((good, {}), (bad, {column: value})):
        files.write(path / "status.json", GOOD | {"started": f"2026-01-0{1 + (path == bad)}T00:00:00+00:00"})
        files.write(path / "task.json", {"task": "a", "notebook": "21_toy", "parameters": {}})
        row = {"epoch": 2, "train_loss": 0.5, "valid_loss": 0.5} | losses
        files.write(path / "history.csv", f"{','.join(row)}\n1,0.5,0.5\n{','.join(map(str, row.values()))}\n")
    assert runs.find("a") == good and [row.status for row in listing.rows()] == ["failed", "ok"]
    with refused(where=f"run {bad}", found=rf"failed \(its {column} is {value} in epoch 2", expected="ended ok"):
        runs.find(bad)


@pytest.mark.parametrize("pid", [-1, 0, 10**20])
def test_a_process_that_can_not_be_is_gone(folder, pid):
    files.write(folder / "a" / "20260101-000000" / "status.json", GOOD | {"status": "running", "pid": pid})
    assert runs.status(folder / "a" / "20260101-000000")["status"] == "killed"


def test_a_damaged_task_or_metrics_is_no_row_of_the_table(folder):
    for name, task, metrics in (("a", "[]", "{}"), ("b", "{", "{}"), ("c", None, "[]"), ("d", None, "{")):
        path = folder / name / "20260101-000000"
        files.write(path / "status.json", GOOD)
        files.write(path / "task.json", task or {"task": name, "notebook": "21_toy", "parameters": {}})
        files.write(path / "metrics.json", metrics)
    assert runs.table().empty and len(listing.rows()) == 4


def test_where_nothing_can_be_written_one_line_says_so(folder, monkeypatch):
    (folder.parent / "file").write_text("")
    (folder.parent / "gone").symlink_to("/nowhere/at/all")
    for place, words in (("file", "Not a directory"), ("/proc/1/runs", "")):
        monkeypatch.setattr("lib.runs.run.RUNS", folder.parent / place)
        with pytest.raises(InputError, match=rf"can't be written \({words}.*ECHOTRAIN_RUNS"):
            runs.start("21_toy", {})
    monkeypatch.setattr("lib.runs.run.RUNS", folder.parent / "gone")
    with refused(where="gone", found="a link to /nowhere/at/all, which isn't there.*ECHOTRAIN_RUNS"):
        runs.start("21_toy", {})
    monkeypatch.setattr("lib.runs.run.RUNS", folder)
    with refused(where="/proc/1/run", found="can't be written"):
        runs.start("21_toy", {"run_dir": "/proc/1/run"})
    toys.write(folder.parent / "notebooks", "10_toy", tags=("prepare",))
    with refused(where="/proc/1/set", found=r"can't be written \([^)]+\)$"):
        runs.start("10_toy", {"data": "/proc/1/set"})
    assert not folder.exists()
