"""The notebooks that people open first, in a real JupyterLab: they run, and their slider scrolls."""

import re

import h5py
import nbformat
import numpy as np
import pytest

from lib import ROOT, files, runs

pytestmark = pytest.mark.browser


def open_copy(lab, name, **parameters):
    """A copy of a notebook in Lab's folder, with other values in its parameters cell."""
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    cell = notebook.cells[1]
    for key, value in parameters.items():
        cell.source, count = re.subn(
            rf"^{key} = .*?(?=  # type)", lambda _, k=key, v=value: f"{k} = {v!r}", cell.source, flags=re.M
        )
        assert count == 1, key
    nbformat.write(notebook, lab.root / f"{name}.ipynb")
    return f"{name}.ipynb"


def scrolls(lab, page):
    """The picture changes when the focused slider is moved by a key."""
    image = page.locator("img.slice-image").first
    lab.do(image.wait_for())
    lab.do(image.scroll_into_view_if_needed())
    before = lab.do(image.get_attribute("src"))
    handle = page.locator(".slice-slider .noUi-handle").first
    lab.do(handle.press("ArrowRight"))
    lab.do(page.wait_for_function("before => document.querySelector('img.slice-image').src !== before", arg=before))


def errors(notebook):
    return [o for c in notebook.cells if c.cell_type == "code" for o in c.outputs if o.output_type == "error"]


def test_overview_shows_a_brain_and_scrolls(lab, tmp_path):
    path = open_copy(lab, "00_overview", run_dir=str(tmp_path / "run"))
    with lab.notebook(path) as page:
        done = lab.run_all(page, path)
        assert not errors(done)
        scrolls(lab, page)
        lab.screenshot(page, "00_overview")
    text = "".join(
        o.data.get("text/html", "") for c in done.cells if c.cell_type == "code" for o in c.outputs if "data" in o
    )
    assert "21_train_kspace.ipynb" in text


def test_view_scrolls_through_a_result(lab, tmp_path):
    source = tmp_path / "runs" / "evaluate" / "1"
    with files.replacing(source / "predictions" / "result.h5") as partial, h5py.File(partial, "w") as file:
        ramp = np.linspace(0, 1, 6, dtype=np.float32)[:, None, None] * np.ones((1, 40, 32), np.float32)
        for name, factor in {"input": 0.5, "zero-filled": 0.5, "GRAPPA": 0.8, "VarNet": 0.9, "truth": 1.0}.items():
            file[f"brain/{name}"] = ramp * factor
    runs.mark(source, "ok", new=True)
    path = open_copy(lab, "40_view_reconstruction", run_dir=str(tmp_path / "run"), inputs=[str(source)])
    with lab.notebook(path) as page:
        assert not errors(lab.run_all(page, path))
        scrolls(lab, page)
        lab.screenshot(page, "40_view_reconstruction")
    assert len(list((tmp_path / "run" / "figures").glob("*.png"))) == 3
