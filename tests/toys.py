"""Tiny notebooks and recipes for the tests of runs, tasks, recipes and the command line."""

import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import nbformat
import pytest

from lib import InputError
from lib.recipes import plan

PARAMETERS = """
quick = False  # type: bool  the same code at tiny sizes
interactive = True  # type: bool  live widgets
run_dir = None  # type: path|None  where to write; None: a new folder
inputs = []  # type: list  runs to read
data = None  # type: path|None  the data set
epochs = 20  # type: int  passes over the training slices
steps_per_epoch = None  # type: int|None  batches an epoch; None: all
factor = 0.5  # type: float|None  a number # with a hash
code = ""  # type: str  what the body executes
optimizer = {  # type: dict  torch's optimizers
    "type": "Adam",  # a comment of its own
    "learning_rate": 1e-3,
}
"""


def write(folder: Path, name: str, parameters: str = PARAMETERS, body: str = "exec(code)", tags: tuple = ()) -> Path:
    """A notebook NAME.ipynb in `folder`: parameters, start, body, finish; tags: those of its parameters cell besides."""
    code, text = nbformat.v4.new_code_cell, nbformat.v4.new_markdown_cell
    cells = [
        text("# Toy"),
        code(parameters.strip(), metadata={"tags": ["parameters", *tags]}),
        code(f"from lib import runs\nrun = runs.start({name!r}, globals())"),
        code("print('body of', run.path.parent.name)"),
        code(body),
        code("runs.finish(run, {'headline': {'loss': 1 / 3, 'ssim': float('nan')}})"),
    ]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def environment(folder: Path) -> dict[str, str]:
    """The environment in which notebooks and runs lie in `folder`."""
    ours = {"ECHOTRAIN_NOTEBOOKS": folder / "notebooks", "ECHOTRAIN_RUNS": folder / "runs", "OMP_NUM_THREADS": "1"}
    return os.environ | {k: str(v) for k, v in ours.items()}


def run(folder: Path, *words: object, **extra: str) -> subprocess.CompletedProcess:
    """`python -m lib` with `words`, in that environment, output and errors apart."""
    command = [sys.executable, "-m", "lib", *map(str, words)]
    return subprocess.run(command, env=environment(folder) | extra, capture_output=True, text=True, timeout=280)


def recipe(place: Path, text: str, *words: str) -> subprocess.CompletedProcess:
    """`python -m lib` on a recipe of this text with `words`; `place` holds recipe and runs, the notebooks are the real ones."""
    (place / "recipe.yaml").write_text(text)
    command = [sys.executable, "-m", "lib", str(place / "recipe.yaml"), *words]
    environment = os.environ | {"ECHOTRAIN_RUNS": str(place / "runs")}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=580, cwd=place)


def refusals(place: Path, text: str, **settings: object) -> list[str]:
    """The lines with which a recipe of this text is refused in this process, the first problem first; nothing is left."""
    path, before = place / "recipe.yaml", sorted(p for p in place.rglob("*") if p.name != "recipe.yaml")
    path.write_text(text)
    with mock.patch("lib.runs.run.RUNS", place / "runs"), pytest.raises(InputError) as error:
        plan.plan(path, **settings)
    assert sorted(p for p in place.rglob("*") if p.name != "recipe.yaml") == before
    return str(error.value).splitlines()[::-1]


def refusal(place: Path, text: str, **settings: object) -> str:
    """The first of `refusals`, which the command line writes last."""
    return refusals(place, text, **settings)[0]
