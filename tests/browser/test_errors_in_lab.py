"""An error, an interrupt and a training's first minutes as they are seen in a real JupyterLab."""

import json

import nbformat
import pytest
import toys
from nbformat.v4 import new_code_cell, new_notebook

pytestmark = pytest.mark.browser
START = """import os
os.environ |= {"ECHOTRAIN_NOTEBOOKS": %r, "ECHOTRAIN_RUNS": %r}
from lib import InputError, runs
run = runs.start("21_toy", {})"""
CHART = """from types import SimpleNamespace
import torch
from lib.viewer import LiveChart
chart = LiveChart(True)
chart.learn = SimpleNamespace(history=True, model=torch.nn.Linear(1, 1))
chart.before_fit()"""
SLOW = "import time; time.sleep(600)"
BROKEN = "[...document.querySelectorAll('img')].filter(i => i.offsetParent && i.complete && !i.naturalWidth).length"
BOX = "[...document.querySelectorAll('.jp-OutputArea-output')].map(x => x.textContent).join('\\n')"


def save(lab, *sources):
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}}
    cells = [new_code_cell(source) for source in sources]
    nbformat.write(new_notebook(cells=cells, metadata=metadata), lab.root / "errors.ipynb")
    return "errors.ipynb"


def state(place):
    (path,) = place.glob("runs/toy/*/status.json")
    return json.loads(path.read_text())


def test_an_error_is_a_box_with_the_way_on(lab, tmp_path):
    toys.write(tmp_path / "notebooks", "21_toy")
    path = save(
        lab, START % (str(tmp_path / "notebooks"), str(tmp_path / "runs")), "raise InputError('scan.h5: cut off')"
    )
    with lab.notebook(path) as page:
        lab.run_all(page, path)
        lab.do(page.wait_for_function(f"() => {BOX}.includes('scan.h5')"))
        lab.screenshot(page, "error")
        text = lab.do(page.evaluate(BOX))
    assert "InputError" in text and "run_dir = '" in text and "Traceback" not in text and text.count("\n") < 15
    assert (state(tmp_path)["status"], state(tmp_path)["error"]) == ("failed", "scan.h5: cut off")


def test_an_interrupt_is_a_box_and_until_the_first_picture_nothing_is_broken(lab, tmp_path):
    toys.write(tmp_path / "notebooks", "21_toy")
    path = save(lab, START % (str(tmp_path / "notebooks"), str(tmp_path / "runs")), CHART, SLOW)
    with lab.notebook(path) as page:
        lab.do(page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }"))
        lab.do(page.locator(".live-placeholder").wait_for(timeout=110_000), 120)
        assert lab.do(page.evaluate(BROKEN)) == 0
        lab.do(page.evaluate("window.panel.sessionContext.session.kernel.interrupt()"))
        lab.do(page.wait_for_function(f"() => {BOX}.includes('Interrupted')"))
        lab.screenshot(page, "interrupted")
        text = lab.do(page.evaluate(BOX))
    assert "run_dir = '" in text and "Traceback" not in text
    assert (state(tmp_path)["status"], state(tmp_path)["error"]) == ("failed", "interrupted")
