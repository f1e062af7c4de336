"""Every notebook runs from top to bottom at tiny sizes, as the recipes run them."""

import json
import os
import subprocess
import sys

import nbformat
import pytest
import yaml

from lib import ROOT

# What the demo doesn't run; of a system's recipe one network is enough.
CINE = ("prepare_cine", "train_unet2d1d", "evaluate_cine", "view_cine")
OTHERS = [{"task_name": "overview", "notebook": "00_overview"}, {"task_name": "benchmark", "notebook": "50_benchmark"}]
NAMES = subprocess.run(
    ["git", "ls-files", "--cached", "--others", "--exclude-standard", "notebooks/*.ipynb"],
    cwd=ROOT, capture_output=True, text=True, check=True,
).stdout.split()  # fmt: skip


@pytest.fixture(scope="session")
def done(tmp_path_factory):
    """The demo and the other notebooks, run quickly by the command line in a folder of their own."""
    place = tmp_path_factory.mktemp("quick")
    (place / "runs").mkdir()
    recipe = yaml.safe_load((ROOT / "runs" / "demo.yaml").read_text()) + OTHERS
    cine = [t for t in yaml.safe_load((ROOT / "runs" / "cine.yaml").read_text()) if t["task_name"] in CINE]
    cine[2]["runs"] = ["train_unet2d1d"]
    recipe += cine
    (place / "runs" / "all.yaml").write_text(yaml.safe_dump(recipe))
    environment = os.environ | {"ECHOTRAIN_RUNS": str(place / "runs")}
    command = [sys.executable, "-m", "lib", str(place / "runs" / "all.yaml"), "--quick"]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=280, env=environment)
    runs = {}
    for path in (place / "runs").glob("*/*/task.json"):
        runs.setdefault(json.loads(path.read_text())["notebook"], []).append(path.parent)
    return finished, runs


@pytest.mark.parametrize("name", NAMES)
def test_notebook_runs(done, name):
    finished, runs = done
    stem = os.path.basename(name).removesuffix(".ipynb")
    assert stem in runs, f"no recipe here runs {stem}: {finished.stderr[-2000:]}"
    for run in runs[stem]:
        status = json.loads((run / "status.json").read_text())
        assert status["status"] == "ok", status["error"]
        notebook = nbformat.read(run / "notebook.ipynb", as_version=4)
        assert (run / "notebook.ipynb").stat().st_size < 5e6
        kinds = {o.output_type for c in notebook.cells if c.cell_type == "code" for o in c.outputs}
        assert "error" not in kinds
        stderr = [
            o.text for c in notebook.cells if c.cell_type == "code" for o in c.outputs if o.get("name") == "stderr"
        ]
        assert not [t for t in stderr if "Warning" in t], stderr


def test_the_demo_ends_with_its_table_and_paths(done):
    finished, _ = done
    assert finished.returncode == 0, finished.stderr[-2000:]
    assert "VarNet, " in finished.stdout and "zero-filled, " in finished.stdout
    assert (
        "notebook.ipynb" in finished.stdout.rstrip().splitlines()[-1]
        or ".png" in finished.stdout.rstrip().splitlines()[-1]
    )


def test_training_leaves_the_whole_run_folder(done):
    _, runs = done
    for run in runs["21_train_kspace"]:
        there = {str(p.relative_to(run)) for p in run.rglob("*") if p.is_file()}
        assert {
            "status.json", "task.json", "manifest.json", "metrics.json", "notebook.ipynb", "history.csv",
            "checkpoints/last.pt", "model_weights/model.safetensors", "model_weights/model.json",
            "predictions/result.h5", "figures/history.png", "figures/reconstruction.png",
        } <= there  # fmt: skip
        assert any(p.startswith("logs/events") for p in there) and not [p for p in there if p.endswith(".partial")]
