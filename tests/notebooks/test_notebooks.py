"""Every notebook runs from top to bottom at tiny sizes, as the recipes run them."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import h5py
import nbformat
import numpy as np
import pytest
import yaml

from lib import ROOT

pytestmark = pytest.mark.timeout(1800)  # the first test waits for all of them

# What the demo doesn't run; of a system's recipe one network is enough.
CINE = ("prepare_cine", "train_unet2d1d", "evaluate_cine", "view_cine")
CASCADE = ("train_cascade", "evaluate_cascade")
OTHERS = [
    {"task_name": "play_kspace", "notebook": "43_play_kspace"},
    {"task_name": "bring_your_data", "notebook": "15_bring_your_data", "data": "../data/mine"},
    {"task_name": "benchmark", "notebook": "50_benchmark"},
    {"task_name": "benchmark_growth", "notebook": "53_benchmark_growth"},
    {"task_name": "time_to_quality", "notebook": "54_time_to_quality", "data": "../data/kspace"},
    {"task_name": "benchmark_cascade", "notebook": "51_benchmark_cascade", "data": "../data/kspace"},
]
VOLUMES = {"task_name": "benchmark_volumes", "notebook": "52_benchmark_volumes", "data": "../data/hippocampus"}
NAMES = subprocess.run(
    ["git", "ls-files", "--cached", "--others", "--exclude-standard", "notebooks/*.ipynb"],
    cwd=ROOT, capture_output=True, text=True, check=True,
).stdout.split()  # fmt: skip


def committed(name):
    """The tasks of a committed recipe, by their names."""
    return {task["task_name"]: task for task in yaml.safe_load((ROOT / "runs" / f"{name}.yaml").read_text())}


def of_kspace():
    """The demo, a cascade, and what else is about k-space."""
    cascade = committed("cascade")
    train, evaluate = (cascade[name] for name in CASCADE)
    train["runs"], evaluate["runs"] = ["train_varnet"], ["train_varnet", "train_cascade"]
    train["augmentation"] = {"flip": 0.5, "shift": 2, "cutmix": 0.5}
    evaluate["ladder"].remove("VarNet + RCAN")
    return [*committed("demo").values(), *OTHERS, train, evaluate]


def of_the_rest():
    """Cine, slices, image pairs and volumes; one cine network is enough."""
    cine = committed("cine")
    cine["evaluate_cine"]["runs"] = ["train_unet2d1d"]
    cine["view_cine"]["methods"] = ["aliased", "sliding window", "UNet2D1D"]
    flat = committed("segmentation2d")
    return [*committed("segmentation3d").values(), VOLUMES, *(cine[name] for name in CINE), *flat.values()]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """How the two parts ended, and {notebook: its runs}: both run quickly, side by side, in one folder."""
    place = tmp_path_factory.mktemp("quick")
    (place / "runs").mkdir()
    (place / "runs" / "weights").symlink_to(ROOT / "runs" / "weights")
    environment = os.environ | {"ECHOTRAIN_RUNS": str(place / "runs")}

    def run(tasks):
        recipe = place / "runs" / f"{tasks[0]['task_name']}.yaml"
        recipe.write_text(yaml.safe_dump(tasks))
        command = [sys.executable, "-m", "lib", str(recipe), "--quick"]
        return subprocess.run(command, capture_output=True, text=True, timeout=1500, env=environment)

    with ThreadPoolExecutor(2) as pool:
        finished = list(pool.map(run, (of_kspace(), of_the_rest())))
    runs = {}
    for path in (place / "runs").glob("*/2*/task.json"):  # those of weights aren't runs
        runs.setdefault(json.loads(path.read_text())["notebook"], []).append(path.parent)
    return finished, runs


@pytest.mark.parametrize("name", NAMES)
def test_notebook_runs(done, name):
    finished, runs = done
    stem = os.path.basename(name).removesuffix(".ipynb")
    assert stem in runs, f"no recipe here runs {stem}: {[part.stderr[-2000:] for part in finished]}"
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


def test_comparing_two_runs_leaves_tables_and_pictures(done):
    _, runs = done
    (run,) = runs["42_compare_runs"]
    assert len(list((run / "figures").glob("*.png"))) == 2
    found = json.loads((run / "metrics.json").read_text())["paired"]
    assert {(row["metric"], row["run"]) for row in found} >= {("SSIM", "train_varnet"), ("SSIM", "train_unet")}
    text = (run / "notebook.ipynb").read_text()
    assert text.count("<table") == 4 and text.count('"image/png"') == 2


@pytest.mark.whole
def test_comparing_where_there_are_no_runs_yet(tmp_path):
    (tmp_path / "r.yaml").write_text(yaml.safe_dump([{"task_name": "compare", "notebook": "42_compare_runs"}]))
    environment = os.environ | {"ECHOTRAIN_RUNS": str(tmp_path / "runs")}
    command = [sys.executable, "-m", "lib", str(tmp_path / "r.yaml")]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert finished.returncode == 0, finished.stderr
    assert "no two good runs of one notebook yet" in finished.stdout


def test_the_demo_ends_with_its_table_and_paths(done):
    (finished, rest), _ = done
    assert finished.returncode == rest.returncode == 0, finished.stderr[-2000:] + rest.stderr[-2000:]
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


def test_a_cine_run_leaves_the_sources_outputs_too(done):
    _, runs = done
    (run,) = runs["20_train_cine"]
    there = {str(p.relative_to(run)) for p in run.rglob("*") if p.is_file()}
    assert {"serving/UNet2D1D/1/model.onnx", "serving/UNet2D1D/config.pbtxt", "predictions/result_cine.h5"} <= there
    with (
        h5py.File(run / "predictions" / "result_cine.h5") as layout,
        h5py.File(run / "predictions" / "result.h5") as cases,
    ):
        assert layout["input"].shape == layout["result"].shape == layout["truth"].shape == (4, 32, 32, 8)
        for n, group in enumerate(cases.values()):
            assert np.array_equal(layout["result"][n], np.moveaxis(group["output"][:], 0, -1))
        inputs = run.parents[2] / "data" / "cine-quick"
        for n, stem in enumerate(("heart_sax_5", "heart_cine", "heart_long_axis_b", "test")):  # the set's order
            with h5py.File(inputs / f"x_{stem}.h5") as series:
                assert np.array_equal(layout["input"][n], series["imagesRecon"][0])


def test_prediction_alone_needs_inputs_and_weights(done, tmp_path):
    _, runs = done
    (trained,) = runs["20_train_cine"]
    inputs = trained.parents[2] / "data" / "cine-quick" / "x_test.h5"
    settings = json.loads((trained / "model_weights" / "model.json").read_text())["settings"]
    task = {"task_name": "predict", "notebook": "26_predict", "files": {"x_test": str(inputs)}}
    task |= {
        "network_settings": {"head": "relu"},
        "saved_network_weights": str(trained),
    }  # not its own: as it was trained
    (tmp_path / "p.yaml").write_text(yaml.safe_dump([task]))
    command = [sys.executable, "-m", "lib", str(tmp_path / "p.yaml")]
    environment = os.environ | {"ECHOTRAIN_RUNS": str(tmp_path / "runs")}
    finished = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert finished.returncode == 0, finished.stderr
    assert f"head: {settings['head']!r} as in the run of the weights, not 'relu'" in finished.stdout
    assert "no truths for test: the series are reconstructed, metrics are left out" in finished.stdout
    (run,) = (tmp_path / "runs" / "predict").iterdir()
    with h5py.File(run / "predictions" / "result.h5") as mine, h5py.File(trained / "predictions" / "result.h5") as its:
        name = next(name for name in mine if name.endswith("000"))  # of one's own files: by file and number
        assert set(mine[name]) == {"input", "output"}
        assert np.array_equal(mine[name]["output"], its["heart_test_000/output"])
