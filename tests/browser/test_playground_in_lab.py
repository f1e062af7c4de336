"""The k-space playground in a real JupyterLab: it runs without an error, and controls change its pictures."""

import re

import pytest
from test_notebooks_in_lab import errors, open_copy

from lib.viewer.playground import METHODS

pytestmark = pytest.mark.browser
LINE = "document.querySelector('.playground-line').textContent"
PICTURES = "[...document.querySelectorAll('canvas.sv-image')].map(canvas => canvas.toDataURL())"


def says(lab, page, text):
    lab.do(page.wait_for_function(f"text => {LINE}.includes(text)", arg=text))


def press(lab, page, control, text, *keys):
    """Keys on a slider, and wait for what it says and for other pictures: image, error, k-space and point spread."""
    before = lab.do(page.evaluate(PICTURES))
    for key in keys:
        lab.do(page.locator(f".playground-{control} .noUi-handle").press(key))
    says(lab, page, text)
    test = f"before => {PICTURES}.filter((picture, i) => picture !== before[i]).length >= 2"
    lab.do(page.wait_for_function(test, arg=before))


def choose(lab, page, name, text):
    lab.do(page.get_by_role("button", name=name, exact=True).click())
    says(lab, page, text)


def test_controls_change_the_pictures(lab, tmp_path):
    path = open_copy(lab, "43_play_kspace", run_dir=str(tmp_path / "run"))
    with lab.notebook(path) as page:
        done = lab.run_all(page, path)
        assert not errors(done)
        lab.do(page.evaluate("window.panel.content.scrollToItem(4, 'start')"))
        lab.do(page.locator("canvas.sv-image").first.wait_for())
        says(lab, page, "zero-filled · equispaced 4×, 24 center lines, SNR 50")
        lab.do(page.wait_for_timeout(500))
        lab.screenshot(page, "43_play_kspace_light")
        names = lab.do(page.locator(".slice-viewer figcaption b").all_inner_texts())
        assert names[:2] == ["image", "truth"]  # first, where they are seen at once
        press(lab, page, "acceleration", "equispaced 5×", "ArrowRight")
        press(lab, page, "num-low-frequencies", "equispaced 5×, 25 center lines, SNR 50", "ArrowRight")
        press(lab, page, "num-coils", "zero-filled", "ArrowRight")
        choose(lab, page, "GRAPPA", "GRAPPA · equispaced 5×")
        press(lab, page, "acceleration", "GRAPPA · equispaced 2×", *["ArrowLeft"] * 3)
        choose(lab, page, "random", "GRAPPA: mask is not a GRAPPA grid: lines")
        lab.screenshot(page, "43_play_kspace_no_grid")
        choose(lab, page, "network", "network · random 2×")
        choose(
            lab, page, "aliasing", "zero-filled · equispaced 4×, 0 center lines, no noise · Each of the point spread"
        )
        lab.theme(page, "Dark")
        lab.do(page.wait_for_timeout(500))
        lab.screenshot(page, "43_play_kspace_dark")
        ink = lab.do(page.evaluate("getComputedStyle(document.querySelector('.playground-line div')).color"))
        assert min(map(int, re.findall(r"\d+", ink)[:3])) > 150  # light on dark
        lab.theme(page, "Light")
        assert not lab.told
    assert {p.stem for p in (tmp_path / "run" / "figures").glob("*.png")} == set(METHODS)
