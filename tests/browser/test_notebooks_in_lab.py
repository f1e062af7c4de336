"""The notebooks that people look at, in a real JupyterLab: they run without an error, and keys change the picture."""

import re

import h5py
import nbformat
import numpy as np
import pytest

from lib import ROOT, files, runs

pytestmark = pytest.mark.browser
LABELS = "[...document.querySelectorAll('figcaption')].map(x => x.textContent).join(' | ').replaceAll('\\u00a0', ' ')"
SRC = "[...document.querySelectorAll('canvas.sv-image')].map(canvas => canvas.toDataURL()).join()"
PICTURES = (
    "[...document.querySelectorAll('.jp-RenderedImage img')].filter(i => i.complete && i.naturalWidth > 200).length"
)


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


def errors(notebook):
    return [o for c in notebook.cells if c.cell_type == "code" for o in c.outputs if o.output_type == "error"]


def changed_by(lab, page, act):
    """Waits until the picture is another after `act`, and returns the panels' texts, whose scores come a little later."""
    before = lab.do(page.evaluate(SRC))
    act()
    lab.do(page.wait_for_function(f"before => {SRC} !== before", arg=before))
    return lab.do(page.evaluate(LABELS))


def key(lab, page, control, name):
    """Presses a key on a control that is found by its selector."""
    return lambda: lab.do(page.locator(control).first.press(name))


def scrolls(lab, page):
    """The picture changes by a key on the focused viewer; the panels' texts with the new slice's scores."""
    image = page.locator("canvas.sv-image").first
    lab.do(image.wait_for())
    lab.do(image.scroll_into_view_if_needed())
    lab.do(page.wait_for_timeout(500))
    before = lab.do(page.evaluate(LABELS))
    changed_by(lab, page, key(lab, page, ".slice-viewer", "ArrowRight"))
    lab.do(page.wait_for_function(f"before => {LABELS} !== before", arg=before))
    lab.do(page.wait_for_function(f"() => /\\d\\.\\d/.test({LABELS})"))  # scores come after the picture
    return lab.do(page.evaluate(LABELS))


def write_result(path, first_axis=None, **cases):
    """A good run with a result.h5 of {case: ({name: volume}, attributes)}."""
    with files.replacing(path / "predictions" / "result.h5") as partial, h5py.File(partial, "w") as file:
        if first_axis:
            file.attrs["first_axis"] = first_axis
        for case, (volumes, attributes) in cases.items():
            for name, volume in volumes.items():
                file[f"{case}/{name}"] = volume
            file[case].attrs.update(attributes)
    runs.mark(path, "ok", new=True)


def test_overview_shows_a_brain(lab, tmp_path):
    path = open_copy(lab, "00_overview", run_dir=str(tmp_path / "run"))
    with lab.notebook(path) as page:
        done = lab.run_all(page, path)
        assert not errors(done) and not lab.told
        lab.do(page.locator("canvas.sv-image").first.wait_for())
        lab.screenshot(page, "00_overview")
    text = "".join(
        o.data.get("text/html", "") for c in done.cells if c.cell_type == "code" for o in c.outputs if "data" in o
    )
    assert "21_train_kspace.ipynb" in text


def test_reconstructions_are_looked_at_by_keys(lab, tmp_path):
    ramp = np.linspace(0, 1, 6, dtype=np.float32)[:, None, None] * np.ones((1, 40, 32), np.float32)
    ramp[:, 10:20, 8:16] *= 0.5
    factors = {"input": 0.5, "zero-filled": 0.5, "GRAPPA": 0.8, "VarNet": 0.9, "truth": 1.0}
    write_result(tmp_path / "runs/evaluate/1", "time", heart=({n: ramp * f for n, f in factors.items()}, {}))
    source = str(tmp_path / "runs" / "evaluate" / "1")
    path = open_copy(lab, "40_view_reconstruction", run_dir=str(tmp_path / "run"), inputs=[source])
    with lab.notebook(path) as page:
        assert not errors(lab.run_all(page, path))
        assert "PSNR" in scrolls(lab, page)
        lab.screenshot(page, "40_view_reconstruction")
        key(lab, page, "button:has-text('Adjust')", "Enter")()
        changed_by(lab, page, key(lab, page, "button:has-text('worst')", "Enter"))  # a black frame has the best SSIM
        lab.do(page.get_by_label("rank by").first.select_option(label="VarNet: PSNR"))
        changed_by(lab, page, key(lab, page, "button:has-text('best')", "Enter"))
        changed_by(lab, page, key(lab, page, "button:has-text('x–t')", "Enter"))
        lab.do(page.wait_for_function(f"!{LABELS}.includes('SSIM')"))  # which are of frames alone
        for name in ("colors", "error ×"):
            lab.do(page.get_by_label(name).first.focus())
            changed_by(lab, page, lambda: lab.do(page.keyboard.press("ArrowDown")))
        lab.do(page.get_by_label("to", exact=True).first.fill("0.3"))
        changed_by(lab, page, lambda: lab.do(page.get_by_label("to", exact=True).first.press("Enter")))
        for name in ("+", "[", "0", "x"):
            changed_by(lab, page, key(lab, page, ".slice-viewer", name))
        lab.screenshot(page, "40_view_adjust")
        key(lab, page, "button:has-text('Save PNG')", "Enter")()
        said = page.locator(".slice-viewer [role=status]", has_text="saved ")
        lab.do(said.wait_for())
        assert lab.do(said.inner_text()).startswith(f"saved {tmp_path}")
        assert not lab.told
        saved = nbformat.read(lab.root / path, as_version=4)
    assert len(list((tmp_path / "run" / "figures").glob("*.png"))) == 5  # three frames, over time, what was saved
    saved.metadata["changed"] = True  # so that Lab doesn't trust it
    nbformat.write(saved, lab.root / "executed.ipynb")
    with lab.notebook("executed.ipynb") as page:
        lab.do(page.evaluate("window.panel.content.scrollToItem(window.panel.content.widgets.length - 1)"))
        lab.do(page.wait_for_function(f"{PICTURES} >= 2"))
        lab.screenshot(page, "40_executed")


def test_segmentations_are_looked_at_by_keys(lab, tmp_path):
    image = np.random.default_rng(0).random((4, 30, 40)).astype(np.float32)
    truth = np.zeros((4, 30, 40), np.uint8)
    truth[1:, 5:15, 5:20], truth[2:, 20:28, 25:35] = 1, 2
    attributes = {"classes": ["background", "liver", "spleen"], "spacing": [6.0, 1.0, 1.0], "volume": True}
    volumes = {"input": image, "output": np.roll(truth, 2, 1), "truth": truth}
    write_result(tmp_path / "runs/train/1", person=(volumes, attributes))
    source = str(tmp_path / "runs" / "train" / "1")
    path = open_copy(lab, "41_view_segmentation", run_dir=str(tmp_path / "run"), inputs=[source])
    with lab.notebook(path) as page:
        assert not errors(lab.run_all(page, path))
        assert "Dice liver 0.800" in scrolls(lab, page)  # 2 of 10 rows on either side are missed
        changed_by(lab, page, key(lab, page, "button:has-text('coronal')", "Enter"))
        lab.screenshot(page, "41_view_segmentation")
        assert not lab.told
