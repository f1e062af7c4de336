"""docs/extending.md does what it says: its own code, in a copy of the repository, adds a network, a metric and a data set."""

import json
import os
import re
import shutil
import subprocess
import sys

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch

from lib import ROOT
from lib.kspace import fft2c

pytestmark = [pytest.mark.whole, pytest.mark.timeout(1200)]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"```(?:python|yaml)\n# (?P<path>[\w/.]+)(?:, in (?P<table>\w+))?:?\n(?P<text>.*?)```", re.DOTALL)


def put(place, path, table, text):
    """A block of the page where its first line says: a new file, more of a file, or a line of a table in it."""
    target = place / path
    if path.endswith(".ipynb"):
        nbformat.write(notebook(text), target)
    elif table:
        before, start, rest = re.split(rf"(^{table}\b.*\{{\n)", target.read_text(), maxsplit=1, flags=re.MULTILINE)
        inside, end, after = re.split(r"(^\}.*\n)", rest, maxsplit=1, flags=re.MULTILINE)
        target.write_text("".join((before, start, inside, text, end, after)))
    else:
        target.write_text(f"{target.read_text()}\n\n{text}" if target.exists() else text)


def notebook(text):
    """Cells divided by `# %%`; words behind it are tags, [markdown] makes text of comments."""
    cells = []
    for part in re.split(r"^# %%", text, flags=re.MULTILINE)[1:]:
        head, _, body = part.partition("\n")
        if "[markdown]" in head:
            cells.append(nbformat.v4.new_markdown_cell(re.sub("^# ?", "", body.strip(), flags=re.MULTILINE)))
        else:
            cells.append(nbformat.v4.new_code_cell(body.strip(), metadata={"tags": head.split()}))
    return nbformat.v4.new_notebook(cells=cells)


def python(place, *words):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ECHOTRAIN_")} | {"PYTHONPATH": str(place)}
    return subprocess.run(
        [sys.executable, *words], cwd=place, env=environment, capture_output=True, text=True, timeout=1000
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A copy of the repository with the page's code in it, and k-space of three persons in NumPy files."""
    place = tmp_path_factory.mktemp("copy")
    for name in ("lib", "notebooks", "tools"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    (place / "runs").mkdir()
    (place / "data" / "my_scans").mkdir(parents=True)
    for file in ("README.md", "samples"):
        os.symlink(ROOT / "data" / file, place / "data" / file)
    random = np.random.default_rng(0)
    for person in "abc":
        images = random.random((3, 2, 64, 64)) + np.outer(np.hanning(64), np.hanning(64))
        kspace = fft2c(torch.from_numpy(images).to(torch.complex64))
        np.save(place / "data" / "my_scans" / f"{person}.npy", kspace.numpy())
    blocks = list(BLOCK.finditer(PAGE))
    assert len(blocks) == PAGE.count("```python") + PAGE.count("```yaml")
    for block in blocks:
        put(place, block["path"], block["table"], block["text"])
    return place


def test_one_file_and_one_line_each(place):
    """Besides them the page changes nothing."""
    table = [b["path"] for b in BLOCK.finditer(PAGE) if b["table"]]
    assert table == ["lib/models/registry.py", "lib/metrics/registry.py"]
    for path in table:
        changed = (place / path).read_text().splitlines()
        assert len(changed) == len((ROOT / path).read_text().splitlines()) + 1


@pytest.mark.slow
def test_they_train_are_evaluated_compared_and_viewed(place):
    done = python(place, "-m", "lib", "runs/extending.yaml", "--quick")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]

    def run(task):
        return next((place / "runs" / task).glob("2*"))

    def metrics(task):
        return json.loads((run(task) / "metrics.json").read_text())

    assert json.loads((run("train_dncnn") / "model_weights" / "model.json").read_text())["name"] == "DnCNN"
    history = pd.read_csv(run("train_dncnn") / "history.csv")
    assert {"ssim_slices", "mae_slices"} <= set(history) and history.mae_slices.gt(0).all()
    evaluated = metrics("evaluate")
    assert {row["method"] for row in evaluated["persons"]} == {"zero-filled", "DnCNN"}
    assert all(0 < row["mae"] < 1 for row in evaluated["persons"])
    assert all("mae" in row for row in evaluated["headline"].values()) and "mae" in evaluated["definitions"]
    assert {row["metric"] for row in metrics("compare")["paired"]} == {"SSIM", "PSNR, dB", "NMSE", "MAE"}
    executed = (run("view") / "notebook.ipynb").read_text()
    assert "shown: zero-filled, DnCNN, truth" in executed


@pytest.mark.slow
def test_networks_outside_of_lib_train(place):
    done = python(place, "-m", "lib", "runs/own_networks.yaml", "--quick")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    for task, name in (
        ("train_plain", "my_networks:Plain:volumes"),
        ("train_basic_unet", "monai.networks.nets:BasicUNet:volumes"),
    ):
        (run,) = (place / "runs" / task).glob("2*")
        assert json.loads((run / "model_weights" / "model.json").read_text())["name"] == name


def test_tables_viewers_planning_and_the_overview_know_them(place):
    code = """
from pathlib import Path
from lib import InputError, losses, metrics
import numpy as np
from lib.evaluation import slice_scores
from lib.recipes.plan import plan
from lib.runs import listing, overview
image = np.random.default_rng(0).random((2, 16, 16))
scores = slice_scores.reconstruction_scores({"output": image / 2, "truth": image})  # what viewers show above an image
assert list(scores(0)["output"]) == ["SSIM", "PSNR", "NMSE", "MAE"]
assert slice_scores.ranked(scores, 2, "output", "MAE")[0] == max((0, 1), key=lambda i: scores(i)["output"]["MAE"])
assert metrics.lower_is_better("MAE") and not losses.rises("mae_slices")
assert [task.notebook.stem for task in plan(Path("runs/own_networks.yaml"))][1:] == ["24_train_volumes"] * 2
assert listing.METRICS["mae"] == "MAE" and "npy" in set(overview.sets()["set"])
from pathlib import Path
Path("data/none").mkdir()
Path("runs/none.yaml").write_text("- {task_name: p, notebook: 16_prepare_npy, source: ../data/none}")
try:
    plan(Path("runs/none.yaml"))
except InputError as error:
    assert "no .npy files" in str(error), error
else:
    raise AssertionError("nothing was refused")
"""
    done = python(place, "-c", code)
    assert done.returncode == 0, done.stderr[-3000:]
