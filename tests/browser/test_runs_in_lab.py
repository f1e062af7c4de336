"""Runs in a real JupyterLab: picked by keys alone and compared, the overview's links, an executed notebook's pictures."""

import os
import shutil
import subprocess
import sys

import fake_runs
import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell
from test_notebooks_in_lab import errors, open_copy, scrolls

from lib import ROOT, files

pytestmark = pytest.mark.browser

HISTORY = "epoch,train_loss,valid_loss\n1,0.5,0.4\n2,0.3,0.35\n3,0.2,0.3\n"
TEXT = "() => document.querySelector('.run-comparison').textContent"
ROWS = """() => [...document.querySelectorAll('.run-picker .run-line:not(.run-head)')]
    .filter(line => line.offsetParent).map(line => line.querySelector('.widget-label-basic').textContent.trim())"""
CLIPPED = """() => {
    const page = document.querySelector('.jp-NotebookPanel-notebook').getBoundingClientRect();
    return [...document.querySelectorAll('.jp-OutputArea-output table, .run-line, .run-head button, .run-cells > div')]
        .filter(e => e.getBoundingClientRect().right > page.right || e.scrollWidth > e.clientWidth + 1)
        .map(e => e.textContent.slice(0, 40));
}"""


@pytest.fixture
def made(tmp_path):
    """A folder of runs: three good ones, one that failed, an empty one."""
    folder = tmp_path / "runs"
    for n, name in enumerate(("first", "second", "third")):
        result = {f"p{p}_x": fake_runs.volumes(0.3 / (n + 1), (4, 48, 40), seed=p) for p in (1, 2)}
        headline = {"test": {"ssim": 0.7 + n / 10, "psnr": 30.0 + n, "nmse": 0.02}}
        settings = {"epochs": n + 2, "optimizer": {"type": "Adam", "learning_rate": 0.01}}
        run = fake_runs.make(folder, name, n, history=HISTORY, result=result, headline=headline, parameters=settings)
        files.write(run / "manifest.json", {"data": {"train.h5": "1"}})  # of the same data
    fake_runs.make(folder, "broken", 3, status="failed", error="InputError: no data there")
    (folder / "nothing" / "20260301-000000").mkdir(parents=True)
    return folder


def opened(lab, name, folder, **parameters):
    """A copy of a notebook whose kernel finds its runs in `folder`."""
    path = open_copy(lab, name, **parameters)
    notebook = nbformat.read(lab.root / path, as_version=4)
    notebook.cells.insert(0, new_code_cell(f"import os\nos.environ['ECHOTRAIN_RUNS'] = {str(folder)!r}"))
    nbformat.write(notebook, lab.root / path)
    return path


def wait_for(lab, page, text):
    lab.do(page.wait_for_function(f"text => ({TEXT})().includes(text)", arg=text))


def test_picking_two_runs_by_keys_shows_both(lab, made, tmp_path):
    path = opened(lab, "42_compare_runs", made, run_dir=str(tmp_path / "run"))
    with lab.notebook(path) as page:
        assert not errors(lab.run_all(page, path))
        lab.do(page.locator(".run-comparison canvas.sv-image").first.wait_for())
        assert lab.do(page.evaluate(ROWS)) == ["broken", "third", "second", "first", "nothing"]
        lab.do(page.locator(".run-picker").first.scroll_into_view_if_needed())
        lab.screenshot(page, "42_picker")
        assert lab.do(page.evaluate(CLIPPED)) == []

        lab.do(page.get_by_role("button", name="Clear choice").press("Enter"))
        wait_for(lab, page, "no run chosen")
        for name in ("first", "third"):
            lab.do(page.get_by_role("checkbox", name=name).press("Space"))
        wait_for(lab, page, "|first − truth|")
        text = lab.do(page.evaluate(TEXT))
        for part in ("Settings that differ", "epochs", "valid_loss", "n = 2", "2 of 2", "|third − truth|"):
            assert part in text
        assert "second" not in text
        before = lab.do(page.locator(".run-comparison img").first.get_attribute("src"))
        lab.do(page.locator(".choice", has_text="curve").locator("button").nth(1).press("Enter"))
        lab.do(page.wait_for_function("b => document.querySelector('.run-comparison img').src !== b", arg=before))
        scrolls(lab, page)

        lab.do(page.get_by_role("button", name="SSIM", exact=True).press("Enter"))
        lab.do(page.wait_for_function(f"() => ({ROWS})().slice(0, 3).join() === 'third,second,first'"))
        assert lab.do(page.evaluate(CLIPPED)) == []
        lab.do(page.get_by_label("find").fill("no data"))
        lab.do(page.wait_for_function(f"() => ({ROWS})().join() === 'broken'"))
        lab.theme(page, "Dark")
        lab.do(page.get_by_label("find").fill(""))
        lab.do(page.wait_for_function(f"() => ({ROWS})().length === 5"))
        lab.screenshot(page, "42_picker_dark")
        ink = "getComputedStyle(document.querySelector('.run-cells')).color.match(/[0-9]+/g).slice(0, 3).map(Number)"
        assert min(lab.do(page.evaluate(ink))) > 180
        lab.theme(page, "Light")
        assert not lab.told


def test_comparing_says_what_is_missing(lab, made, tmp_path):
    path = opened(lab, "42_compare_runs", made, run_dir=str(tmp_path / "run"))
    with lab.notebook(path) as page:
        assert not errors(lab.run_all(page, path))
        lab.do(page.get_by_role("checkbox", name="nothing").press("Space"))
        wait_for(lab, page, "nothing: damaged (an empty folder, no run in it)")
        assert lab.do(page.locator(".jp-RenderedText[data-mime-type*=error]").count()) == 0


def test_overview_links_open_notebooks_in_lab(lab, made, tmp_path):
    folder = lab.root / "runs"
    shutil.copytree(made, folder)
    run = folder / "first" / "20260305-140000"
    shutil.copy(ROOT / "notebooks" / "21_train_kspace.ipynb", run / "notebook.ipynb")
    shutil.copy(ROOT / "notebooks" / "10_prepare_kspace.ipynb", lab.root)
    for name in ("second", "third", "broken"):
        shutil.rmtree(folder / name)
    path = opened(lab, "00_overview", folder, run_dir=str(tmp_path / "run"))
    with lab.notebook(path) as page:
        assert not errors(lab.run_all(page, path))
        assert lab.do(page.evaluate(CLIPPED)) == []
        for link, opens in (
            ("10_prepare_kspace", "10_prepare_kspace.ipynb"),
            ("open it", "runs/first/20260305-140000/notebook.ipynb"),
        ):
            lab.do(page.evaluate("path => { window.jupyterapp.commands.execute('docmanager:open', {path}); }", path))
            lab.do(page.get_by_role("link", name=link, exact=True).first.click())
            current = "window.jupyterapp.shell.currentWidget?.context?.path"
            lab.do(page.wait_for_function(f"path => {current} === path", arg=opens))
    (lab.root / "10_prepare_kspace.ipynb").unlink()
    shutil.rmtree(folder)


def test_an_executed_notebook_shows_its_pictures_without_running(lab, made, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    inputs = [str(path) for name in ("first", "third") for path in (made / name).iterdir()]
    recipe.write_text(yaml.safe_dump([{"task_name": "compare_runs", "notebook": "42_compare_runs", "runs": inputs}]))
    command, environment = [sys.executable, "-m", "lib", str(recipe)], os.environ | {"ECHOTRAIN_RUNS": str(made)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (run,) = (made / "compare_runs").iterdir()
    assert sorted(p.name for p in (run / "figures").iterdir()) == ["curves.png", "p1_x.png"]
    record = files.read(run / "metrics.json")
    assert {row["run"] for row in record["paired"]} == {"first", "third"}
    assert (run / "notebook.ipynb").stat().st_size < 5e6
    shutil.copy(run / "notebook.ipynb", lab.root / "executed.ipynb")
    with lab.notebook("executed.ipynb") as page:
        seen = "[...document.querySelectorAll('.jp-RenderedImage img')].filter(i => i.naturalWidth > 300).length"
        lab.do(page.wait_for_function(f"() => {seen} >= 2"))
        assert lab.do(page.evaluate("document.querySelectorAll('.jp-OutputArea-output table').length")) == 4
        assert lab.do(page.evaluate(CLIPPED)) == []
        lab.screenshot(page, "42_executed")
