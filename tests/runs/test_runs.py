"""The run folder's life: started, recorded, finished, killed, found again, and its network rebuilt."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import torch
import toys
from refusals import refused

import lib
from lib import files, runs
from lib.recipes import execute
from lib.runs import listing, overview, status_file


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A runs folder and one notebook, 21_toy; runs that a test leaves open are closed."""
    toys.write(tmp_path / "notebooks", "21_toy")
    toys.write(tmp_path / "notebooks", "22_seeded", toys.PARAMETERS + "seed = 7  # type: int\n")
    monkeypatch.setenv("ECHOTRAIN_NOTEBOOKS", str(tmp_path / "notebooks"))
    monkeypatch.setattr("lib.runs.run.RUNS", tmp_path / "runs")
    yield tmp_path / "runs"
    runs.run._close()


def ended(status, task="toy", **values):
    run = runs.start("21_toy", values)
    path = runs.create(task)
    shutil.rmtree(path)
    run = run.path.rename(path)
    runs.mark(run, status)
    return run


def test_a_run_from_start_to_finish(folder, capsys):
    run = runs.start("21_toy", {"epochs": 2, "something_else": 1})
    assert run.path.parent == folder / "toy" and re.fullmatch(r"\d{8}-\d{6}", run.path.name)
    assert run.parameters["epochs"] == 2 and "something_else" not in run.parameters
    assert run.status()["status"] == "running" and run.status()["pid"] == os.getpid()
    task = json.loads((run / "task.json").read_text())
    assert task == {"task": "toy", "notebook": "21_toy", "role": "", "parameters": run.parameters}
    run.record(data="checked", precision="bf16")
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["data"] == "checked" and manifest["precision"] == "bf16"
    assert torch.__version__.startswith(manifest["versions"]["torch"])
    assert {"versions", "platform", "device", "threads", "seed", "commit", "dirty", "inputs"} <= manifest.keys()
    runs.finish(run, {"mean": np.float32(0.1), "case": [float("nan"), 1 / 3]})
    assert (run / "metrics.json").read_text() == json.dumps(
        {"mean": float(np.float32(0.1)), "case": [None, 1 / 3]}, indent=1
    ) + "\n"  # fmt: skip
    assert run.status()["status"] == "ok" and run.status()["seconds"] >= 0
    assert str(run.path) in capsys.readouterr().out
    assert runs.find("toy") == runs.find(run) == runs.find(str(run.path)) == run.path


def test_a_wrong_parameter_leaves_no_folder(folder):
    with refused(where="21_toy", found="epochs: got -1"):
        runs.start("21_toy", {"epochs": -1})
    assert not folder.exists()


def test_run_dir_is_used_and_kept(folder):
    old = runs.create("trained")
    (old / "checkpoint").touch()
    run = runs.start("21_toy", {"run_dir": str(old)})
    assert run.path == old and (old / "checkpoint").exists()
    assert json.loads((old / "task.json").read_text())["task"] == "trained"


def test_starts_within_one_second_get_folders_of_their_own(folder):
    paths = []
    threads = [threading.Thread(target=lambda: paths.append(runs.create("toy"))) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(paths)) == 12 and all(p.is_dir() for p in paths)


@pytest.mark.parametrize("steps", range(3))
def test_a_run_that_is_killed_early_has_a_status_or_no_folder(folder, monkeypatch, steps):
    left = iter(range(steps))

    def step(call):
        def stopping(*given, **settings):
            if next(left, None) is None:
                os._exit(9)  # as a kill: nothing is tidied up
            return call(*given, **settings)

        return stopping

    child = os.fork()
    if not child:
        for name in ("replace", "rename", "mkdir"):
            setattr(os, name, step(getattr(os, name)))
        for _ in range(2):
            runs.create("toy")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert all((run / "status.json").exists() for run in listing.folders())
    path = runs.create("toy")
    assert runs.status(path)["status"] == "running" and runs.history()[-1] == path
    assert not [p for p in folder.glob("*/.*")]  # what the killed one had left


def test_a_rerun_cell_closes_the_run_before(folder):
    first, second = runs.start("21_toy", {}), runs.start("21_toy", {})
    assert first.status()["status"] == "failed" and "superseded" in first.status()["error"]
    runs.finish(second)
    runs.start("21_toy", {})
    assert second.status()["status"] == "ok" and not (second / "metrics.json").exists()


def test_seed_sets_every_generator(folder):
    import random

    def draw():
        runs.start("22_seeded", {})
        return random.random(), np.random.rand(), torch.rand(1).item()

    assert draw() == draw()


def script(folder, *lines):
    code = [
        "from lib import runs",
        "runs.run.BEAT = 0.05",
        "run = runs.start('21_toy', {})",
        "print(run.path, flush=True)",
    ]
    return subprocess.Popen(
        [sys.executable, "-c", "\n".join([*code, *lines])], env=toys.environment(folder.parent),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_a_killed_run_reads_as_killed_and_a_left_one_as_failed(folder):
    with script(folder, "input()") as killed, script(folder) as left:
        path, other = (folder / process.stdout.readline().strip() for process in (killed, left))
        before, deadline = runs.status(path), time.monotonic() + 20
        while runs.status(path)["heartbeat"] == before["heartbeat"] and time.monotonic() < deadline:
            time.sleep(0.01)
        assert runs.status(path)["heartbeat"] > before["heartbeat"] and runs.status(path)["status"] == "running"
        killed.send_signal(signal.SIGKILL)
    assert json.loads((path / "status.json").read_text())["status"] == "running"  # nobody could write it
    assert runs.status(path)["status"] == "killed"
    assert runs.status(other)["status"] == "failed" and runs.status(other)["error"] == "stopped before the end"


def test_a_later_process_with_the_same_number_is_not_the_run(folder):
    run = runs.start("21_toy", {})
    fields = json.loads((run / "status.json").read_text())
    files.write(run / "status.json", fields | {"process": f"{fields['process']}0"})
    assert run.status()["status"] == "killed"


def test_a_run_on_another_machine_lives_by_its_heartbeat(folder):
    run = runs.start("21_toy", {})
    fields = json.loads((run / "status.json").read_text()) | {"host": f"not-{socket.gethostname()}"}
    files.write(run / "status.json", fields)
    assert run.status()["status"] == "running"
    old = datetime.now(UTC) - timedelta(seconds=status_file.STALE + 5)
    files.write(run / "status.json", fields | {"heartbeat": old.isoformat()})
    assert run.status()["status"] == "killed"


def test_a_run_without_progress_says_so(folder, tmp_path, capsys, monkeypatch):
    run = runs.start("21_toy", {})
    assert run.status()["note"] == ""
    monkeypatch.setattr("lib.progress._last", time.monotonic() - 12.2 * 60)
    runs.mark(run.path, "running")  # a heartbeat is none
    assert run.status()["status"] == "running" and run.status()["note"] == "no progress for 12 min"
    assert [(row.status, row.message) for row in listing.rows()] == [("running", "no progress for 12 min")]
    monkeypatch.setattr(overview, "ROOT", tmp_path)
    (shown,) = overview.notebooks(tmp_path)["last run"][:1]
    assert "● running, no progress for 12 min" in str(shown)
    monkeypatch.setattr(execute, "WATCH", 0.01)
    ended = threading.Event()
    watch = threading.Thread(target=execute._watch, args=(run.path, "[1/2] toy", ended))
    watch.start()
    deadline = time.monotonic() + 20
    while not (said := capsys.readouterr().out) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    ended.set(), watch.join()
    assert said + capsys.readouterr().out == "[1/2] toy · running, no progress for 12 min\n"
    files.write(tmp_path / "x", "y")
    runs.mark(run.path, "running")
    assert run.status()["note"] == "" and run.status()["idle"] < 60
    fields = json.loads((run / "status.json").read_text())
    silent = datetime.now(UTC) - timedelta(minutes=11)  # a heartbeat that has stopped counts likewise
    files.write(run / "status.json", fields | {"heartbeat": silent.isoformat()})
    assert run.status()["note"] == "no progress for 11 min"


def test_the_minutes_without_progress_are_a_setting(folder):
    code = "from lib.runs import status_file; print(status_file.QUIET)"
    for minutes, found in (("2.5", "150.0"), ("0", "got '0'"), ("long", "got 'long'")):
        done = subprocess.run(
            [sys.executable, "-c", code], env=toys.environment(folder) | {"ECHOTRAIN_QUIET_MINUTES": minutes},
            capture_output=True, text=True,
        )  # fmt: skip
        assert found in (done.stdout + done.stderr).splitlines()[-1]


def test_find_takes_the_newest_good_run(folder):
    ended("ok")
    newest = ended("ok")
    failed = ended("failed")
    assert runs.find("toy") == newest
    with refused(found="failed", expected="one that ended ok"):
        runs.find(failed)
    ended("skipped", task="other")
    with refused(where="run other", found=r"none has ended ok \(\d{8}-\d{6} skipped\)"):
        runs.find("other")
    with refused(where="run tou", found="got 'tou', did you mean 'toy'[?] expected one of: toy"):
        runs.find("tou")


def test_find_says_what_makes_a_missing_run(folder, tmp_path, monkeypatch):
    for module in (lib.text, runs.run):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    with refused(found="notebooks/21_toy.ipynb makes it"):
        runs.find("toy")
    folder.mkdir()
    (folder / "demo.yaml").write_text("- task_name: toy  # here\n  notebook: 21_toy\n")
    with refused(found="`python -m lib runs/demo.yaml --only toy` makes it"):
        runs.find("toy")


def test_inputs_are_resolved_and_summed(folder):
    source = ended("ok", task="source")
    (source / "metrics.json").write_text("{}\n")
    run = runs.start("21_toy", {"inputs": ["source"]})
    (entry,) = json.loads((run / "manifest.json").read_text())["inputs"]
    assert entry["path"] == str(source)
    assert entry["sha256"] == {"metrics.json": "ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356"}
    with refused(where="run missing"):
        runs.start("21_toy", {"inputs": ["missing"]})


def test_table_has_a_row_a_run(folder):
    run = runs.start("21_toy", {})
    runs.finish(run, {"headline": {"VarNet": {"ssim": 0.9}, "psnr": 30.0}})
    failed = ended("failed")
    table = runs.table()
    assert list(table.columns) == [
        "task", "time", "status", "seconds", "notebook", "network", "VarNet ssim", "psnr", "path",
    ]  # fmt: skip
    assert table.status.tolist() == ["ok", "failed"] and table["VarNet ssim"][0] == 0.9
    assert runs.table([failed]).path.tolist() == [str(failed)]


@pytest.mark.parametrize("content, stored", [(b"\x00\xff", b"\x00\xff"), ("ä\n", "ä\n".encode()), ({"a": (1,)}, None)])
def test_write_replaces_in_one_step(tmp_path, content, stored):
    path = tmp_path / "deep" / "file"
    files.write(path, "before")
    files.write(path, content)
    assert path.read_bytes() == (stored or b'{\n "a": [\n  1\n ]\n}\n')
    with pytest.raises(TypeError):
        files.write(path, {"a": object()})
    with pytest.raises(RuntimeError), files.replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_bytes() == (stored or b'{\n "a": [\n  1\n ]\n}\n')
    assert os.listdir(path.parent) == ["file"]


class TestWeights:
    @pytest.fixture(autouse=True)
    def networks(self, monkeypatch):
        from lib import models

        def toy(width):
            return torch.nn.Sequential(torch.nn.Linear(2, width), torch.nn.BatchNorm1d(width))

        monkeypatch.setitem(models.MODELS, "Toy", toy)
        self.build = toy

    def test_a_network_comes_back_from_its_run_alone(self, folder):
        run, model = runs.start("21_toy", {}), self.build(width=3)
        model[1].running_mean += 1
        runs.save_model(run, "Toy", {"width": 3}, model)
        again = runs.load_model(run)  # while the run is still going on
        assert not again.training and all(torch.equal(v, model.state_dict()[k]) for k, v in again.state_dict().items())
        runs.finish(run)
        for where in ("toy", run.path, run / "model_weights"):
            assert torch.equal(runs.load_model(where)[1].running_mean, model[1].running_mean)
        assert runs.find(run / "model_weights") == run / "model_weights"

    def test_weights_that_do_not_fit_are_named(self, folder):
        run = runs.start("21_toy", {})
        runs.finish(run)
        with refused(hint="trained no network"):
            runs.load_model(run)
        runs.save_model(run, "Toy", {"width": 3}, self.build(width=4))
        with refused(found=r"0.weight is \(4, 2\), expected \(3, 2\), .* and 3 more$"):
            runs.load_model(run)
        runs.save_model(run, "Toy", {"width": 3}, torch.nn.Linear(2, 2))
        with refused(found=r"don't fit \w+: 0.weight, 0.bias, 1.weight and 4 more missing; bias, weight too many$"):
            runs.load_model(run)
