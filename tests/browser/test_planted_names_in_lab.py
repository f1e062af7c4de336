"""Markup planted in names of data runs no script, in a real JupyterLab and in nbconvert's page of the executed notebook."""

import subprocess
import sys

import nbformat
import numpy as np
import pytest
import toys
from nbformat.v4 import new_code_cell, new_notebook
from planted import NAME, SCRIPT
from test_errors_in_lab import START
from test_notebooks_in_lab import errors, open_copy, write_result

pytestmark = pytest.mark.browser
OWNED = "window.owned === 1"
TABLES = """import pandas as pd
from lib import markup
name = %r
frame = pd.DataFrame({name: [name, 'x'], 'n': [1.5, 2]}, index=pd.Index([name, 'y'], name=name))
display(frame, markup.table(frame, name, 2, shade='Blues'))"""
WIDGETS = """import numpy as np
from lib import viewer
from lib.viewer import controls
line = controls.message()
controls.tell(line, name)
image = np.random.rand(3, 16, 16)
about = {'classes': ['background', name], 'title': name, 'overlays': {name: image > 0.5}}
display(line, viewer.SliceViewer({name: image, 'b': f'n/a: {name}'}, error_of=None, **about), viewer.RunPicker([name]))"""
RAISES = "raise ValueError(name)"
RAW = f"from IPython.display import HTML\nHTML('<img src=x onerror={SCRIPT}>')"  # what the sink keeps out


def save(lab, name, *sources):
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}}
    cells = [new_code_cell(source) for source in sources]
    nbformat.write(new_notebook(cells=cells, metadata=metadata), lab.root / name)
    return name


def scripts_in_html(lab, path):
    """Whether a script of a name runs in nbconvert's page; the page stays open for a second after it is loaded."""
    command = [sys.executable, "-m", "nbconvert", "--to", "html", str(path), "--output", f"{path.stem}.html"]
    subprocess.run(command, check=True, capture_output=True, cwd=path.parent)
    page = lab.do(lab.browser.new_page())
    try:
        lab.do(page.goto(path.with_suffix(".html").as_uri(), wait_until="domcontentloaded"))
        lab.do(page.wait_for_timeout(1000))
        assert lab.do(page.evaluate("document.body.textContent.length")) > 100
        return lab.do(page.evaluate(OWNED))
    finally:
        lab.do(page.close())


def test_a_script_would_be_seen(lab):
    path = save(lab, "raw.ipynb", RAW)
    with lab.notebook(path) as page:
        lab.run_all(page, path)
        lab.do(page.wait_for_function(OWNED))
    assert scripts_in_html(lab, lab.root / path)


def test_tables_widgets_and_errors(lab, tmp_path):
    toys.write(tmp_path / "notebooks", "21_toy")
    start = START % (str(tmp_path / "notebooks"), str(tmp_path / "runs"))
    path = save(lab, "planted.ipynb", start, TABLES % NAME, WIDGETS, RAISES)
    with lab.notebook(path) as page:
        lab.run_all(page, path)
        for place in (
            "table >> nth=0",
            ".sv-caption >> nth=0",
            "figcaption >> nth=0",
            ".run-picker [role=status] >> nth=0",
        ):
            text = page.locator(place)
            lab.do(text.wait_for(state="attached"))
            assert "<img src=x" in lab.do(text.text_content()), place
        lab.do(page.wait_for_timeout(500))
        lab.screenshot(page, "planted")
        assert not lab.do(page.evaluate(OWNED))
    assert not scripts_in_html(lab, lab.root / path)


def test_an_evaluation_of_planted_cases_and_classes(lab, tmp_path):
    truth = np.zeros((4, 30, 40), np.uint8)
    truth[1:, 5:15, 5:20] = 1
    attributes = {
        "classes": ["background", NAME],
        "spacing": [6.0, 1.0, 1.0],
        "volume": True,
        "person": NAME,
        "probability_of_truth": 0.9,
    }
    volumes = {"input": truth / 2.0, "output": np.roll(truth, 2, 1), "truth": truth}
    write_result(tmp_path / "runs" / NAME / "1", **{NAME: (volumes, attributes | {"names": [NAME] * 4})})
    source = str(tmp_path / "runs" / NAME / "1")
    path = open_copy(lab, "32_evaluate_segmentation", run_dir=str(tmp_path / "run"), inputs=[source])
    with lab.notebook(path) as page:
        done = lab.run_all(page, path, 200)
        assert not errors(done)
        lab.screenshot(page, "planted_32")
        assert not lab.do(page.evaluate(OWNED))
    shown = [
        o.data["text/html"]
        for c in done.cells
        if c.cell_type == "code"
        for o in c.outputs
        if "text/html" in o.get("data", ())
    ]
    assert sum("&lt;img src=x" in text for text in shown) >= 4
    assert not scripts_in_html(lab, lab.root / path)
