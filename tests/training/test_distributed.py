"""Training in several processes, as a user starts it: the same numbers as one process, its errors, its resume."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
import torch
import toys
import yaml
from refusals import refused
from safetensors.torch import load_file

from lib.parallel import mesh
from lib.runs import parameters
from lib.training import distributed

pytestmark = pytest.mark.timeout(600)
PREPARE = {"task_name": "prepare", "notebook": "13_prepare_volumes", "data": "data/volumes", "phantom_count": 4}
PREPARE |= {"phantom_size": [32, 32, 32]}
TRAIN = {
    "network_type": "VolumeUNet", "data": "data/volumes", "network_settings": {"base_filters": 4, "depth": 3},
    "patch": [11, 32, 32], "batch_size": 2, "eval_batch_size": 2, "epochs": 2, "steps_per_epoch": 3, "num_workers": 0,
    "optimizer": {"type": "SGD", "learning_rate": 0.1}, "predict_split": "val", "devices": "cpu",
}  # fmt: skip
TOGETHER = {
    "one": {},
    "four": {"devices": ["cpu"] * 4, "partition": {"D": 1, "H": 2, "W": 1}},
}
WRONG = {
    "extent": {"devices": ["cpu"] * 2, "partition": {"H": 2}, "patch": [11, 12, 32]},
    "batch": {"devices": ["cpu"] * 2, "batch_size": 3},
}


def write(place, tasks):
    (place / "recipe.yaml").write_text(yaml.safe_dump(tasks))


def environment(place):
    return os.environ | {"ECHOTRAIN_RUNS": str(place / "runs")}


def lib(place, *words):
    command = [sys.executable, "-m", "lib", str(place / "recipe.yaml"), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=280, env=environment(place), cwd=place)


def run_of(place, task):
    return sorted((place / "runs" / task).iterdir())[-1]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    place = tmp_path_factory.mktemp("together")
    write(place, [PREPARE, *({"task_name": name} | TRAIN | extra for name, extra in (TOGETHER | WRONG).items())])
    return place, lib(place)


def error_of(place, task):
    return json.loads((run_of(place, task) / "status.json").read_text())["error"]


def agrees_with_one(place, name, processes):
    """The run `name`, of several processes, against the run `one`."""
    rows = []
    for task in (name, "one"):
        with open(run_of(place, task) / "history.csv") as file:
            rows.append(list(csv.DictReader(file)))
    for mine, its in zip(*rows, strict=True):
        for key in ("train_loss", "valid_loss", "dice", "accuracy", "learning_rate"):
            assert float(mine[key]) == pytest.approx(float(its[key]), abs=2e-5), key
    mine, its = (load_file(run_of(place, task) / "model_weights" / "model.safetensors") for task in (name, "one"))
    for key, value in its.items():
        assert torch.allclose(mine[key].float(), value.float(), atol=2e-4), key
    manifest = json.loads((run_of(place, name) / "manifest.json").read_text())
    assert manifest["processes"] == processes and manifest["precision_ran"] == "float32"
    assert not (run_of(place, name) / "torchrun.log").exists()


@pytest.mark.whole
def test_two_processes_train_as_one(tmp_path):
    short = TRAIN | {"epochs": 1, "steps_per_epoch": 2}
    two = {"task_name": "two"} | short | {"devices": ["cpu", "cpu"]}
    write(tmp_path, [PREPARE, {"task_name": "one"} | short, two])
    finished = lib(tmp_path)
    assert finished.returncode == 0, finished.stderr
    agrees_with_one(tmp_path, "two", 2)


@pytest.mark.slow
def test_several_processes_train_as_one(done):
    place, finished = done
    assert finished.returncode == 1, finished.stderr  # the WRONG ones
    agrees_with_one(place, "four", 4)


@pytest.mark.slow
def test_what_does_not_fit_is_said_in_one_line(done):
    place, finished = done
    extent = "partition: H: extent 12 isn't divisible by 2 parts × 4; 8 and 16 are"
    assert error_of(place, "extent") == extent and f"task extent failed: {extent}" in finished.stderr
    batch = error_of(place, "batch")  # torchrun may end the second before it has said the same
    assert re.fullmatch("(on all ranks|rank [01]): batch_size: 3 can't be shared by 2 processes evenly", batch), batch


@pytest.mark.slow
def test_the_weights_are_the_plain_networks(done):
    place, _ = done
    from lib.runs import load_model

    model = load_model(run_of(place, "four"))
    assert model(torch.zeros(1, 1, 16, 16, 16)).shape == (1, 3, 16, 16, 16)


REFUSED = {
    "mixed": ({"devices": ["cpu", 0]}, "devices: got ['cpu', 0], expected auto, cpu, a count"),
    "world": ({"devices": ["cpu"] * 3, "partition": {"H": 2}}, "partition: H: 2 needs 2 processes or a multiple"),
    "letter": ({"devices": ["cpu"] * 2, "partition": {"X": 2}}, "partition: got X: 2, expected D, H and W"),
    "numbers": (
        {"devices": ["cpu"] * 2, "partition": [2, 1, 1, 1, 1]},
        "partition: got [2, 1, 1, 1, 1], expected five",
    ),
    "gpus": ({"devices": 64}, "devices: got 64, this machine has"),
}


def test_recipes_that_do_not_fit_are_refused_before_they_start(tmp_path):
    first, *others = ([PREPARE, {"task_name": name} | TRAIN | extra] for name, (extra, _) in REFUSED.items())
    assert f"task mixed: {REFUSED['mixed'][1]}" in toys.refusal(tmp_path, yaml.safe_dump(first))
    lines = toys.refusals(tmp_path, yaml.safe_dump([PREPARE, *(task for _, task in others)]))
    for line, name in zip(lines, [*REFUSED][1:], strict=True):
        assert f"task {name}: {REFUSED[name][1]}" in line


BREAKS = """
import time
from lib.parallel import mesh
from lib.training import distributed
if "RANK" not in __import__("os").environ:
    distributed.launch(run.path, devices)
elif mesh.current().rank == 1:
    raise ValueError("the second one fails")
else:
    time.sleep(600)  # nothing but torchrun ends it
"""


@pytest.mark.whole
def test_a_rank_that_fails_ends_the_others(tmp_path):
    toys.write(
        tmp_path / "notebooks", "90_break", toys.PARAMETERS + 'devices = ["cpu", "cpu"]  # type: list  two', BREAKS
    )
    write(tmp_path, [{"task_name": "breaks", "notebook": "90_break"}])
    begun = time.monotonic()
    finished = toys.run(tmp_path, tmp_path / "recipe.yaml")
    assert time.monotonic() - begun < 60  # imports, and at most 30 s until the others are gone
    assert finished.returncode == 1
    assert "rank 1: ValueError: the second one fails" in finished.stderr.strip().splitlines()[-1]


LISTENS = """
import os, psutil, torch, torch.distributed as dist
from lib.parallel import mesh
place = mesh.init(["cpu", "cpu"], {})
total = torch.ones(1)
dist.all_reduce(total)
mine = [psutil.Process(), *([psutil.Process(os.getppid())] if not place.rank else [])]
at = [c.laddr.ip for p in mine for c in p.net_connections("inet") if c.status == psutil.CONN_LISTEN]
os.write(1, f"rank {place.rank}: {total.item():g} {sorted(set(at))}\\n".encode())  # in one piece
mesh.shutdown()
"""


@pytest.mark.whole
def test_processes_of_one_machine_listen_on_loopback_alone_and_leave_nothing_behind(tmp_path, monkeypatch, capsys):
    (tmp_path / "listens.py").write_text(LISTENS)
    start, temporary = subprocess.Popen, tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(
        subprocess, "Popen", lambda command, **given: start([*command[:-3], str(tmp_path / "listens.py")], **given)
    )
    distributed.launch(tmp_path, ["cpu", "cpu"])
    lines = sorted(line for line in capsys.readouterr().out.splitlines() if line.startswith("rank"))
    assert lines == ["rank 0: 2 ['127.0.0.1']", "rank 1: 2 ['127.0.0.1']"]
    assert not list(temporary.glob("torchelastic*")) and not (tmp_path / ".torchrun").exists()


@pytest.mark.slow
def test_a_killed_partitioned_run_resumes_to_the_same_weights(done, tmp_path):
    place, _ = done
    task = {"task_name": "four"} | TRAIN | TOGETHER["four"] | {"data": str(place / "data" / "volumes")}
    write(tmp_path, [task | {"epochs": 6}])
    command = [sys.executable, "-m", "lib", str(tmp_path / "recipe.yaml")]
    process = subprocess.Popen(command, env=environment(tmp_path), cwd=tmp_path, stdout=subprocess.DEVNULL)
    while not list(tmp_path.glob("runs/four/*/checkpoints/last.pt")):
        time.sleep(0.2)
        assert process.poll() is None
    kernel = json.loads((run_of(tmp_path, "four") / "status.json").read_text())["pid"]
    os.kill(kernel, signal.SIGKILL)
    process.wait()
    with open(run_of(tmp_path, "four") / "history.csv") as file:
        assert len(list(csv.DictReader(file))) < 6
    time.sleep(5)  # its processes notice that it is gone
    finished = lib(tmp_path, "--resume")
    assert finished.returncode == 0 and "continuing after epoch" in finished.stdout
    write(tmp_path, [task | {"epochs": 6, "task_name": "whole"}])
    assert lib(tmp_path).returncode == 0
    mine, whole = (load_file(run_of(tmp_path, n) / "model_weights" / "model.safetensors") for n in ("four", "whole"))
    assert all(torch.equal(mine[key], whole[key]) for key in whole)


def test_what_a_rank_says_that_lost_another_is_not_the_cause(tmp_path):
    lost = "RuntimeError: [gloo/transport/tcp/pair.cc] Connection closed by peer"
    assert distributed._cause({"0": lost, "1": "ValueError: x"}, 2, tmp_path / "log") == "rank 1: ValueError: x"
    (tmp_path / "log").write_text("exitcode : -9")
    assert "killed by signal 9" in distributed._cause({"0": lost}, 2, tmp_path / "log")


def test_processes_that_see_their_own_gpus_only_are_not_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)  # of four, two are visible
    with refused(found=r"devices: got \[0, 2\], this machine has 2 GPUs"):
        parameters._check_devices([0, 2], None, "x")
    monkeypatch.setenv("RANK", "1")
    parameters._check_devices([0, 2], None, "x")


def test_gpus_by_number_are_the_only_ones_that_are_seen():
    assert mesh.visible([0, 2], None) == "0,2" and mesh.visible([2, 0], "") == "2,0"
    assert mesh.visible([0, 2], "4,5,7") == "4,7" and mesh.visible([1], "GPU-a, GPU-b") == "GPU-b"


def test_partitions_as_they_may_be_written():
    assert mesh.partition_of({"D": 1, "H": 16, "W": 1}) == {3: 16} == mesh.partition_of([1, 1, 16, 1, 1])
    assert mesh.partition_of({"W": 2, "D": 4}) == {2: 4, 4: 2} and mesh.partition_of(None) == {}
    assert mesh.data_world_size(["cpu"] * 8, {3: 4}) == 2 and mesh.count("auto") == 1
    mesh.check_size((16, 64, 16), {3: 4}, 8)
    with refused(found="H: extent 40 isn't divisible by 4 parts × 8; 32 and 64 are"):
        mesh.check_size((16, 40, 16), {3: 4}, 8)
