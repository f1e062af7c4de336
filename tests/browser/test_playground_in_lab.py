"""The k-space playground in a real JupyterLab: it runs without an error, and keys change its pictures."""

import re

import pytest
from test_notebooks_in_lab import errors, open_copy

pytestmark = pytest.mark.browser
IMAGE = "document.querySelector('img.playground-{}').src"
LINE = "document.querySelector('.playground-line').textContent"


def source(lab, page, name):
    return lab.do(page.evaluate(IMAGE.format(name)))


def press(lab, page, control, key, times=1, waits=("acquired", "result")):
    """Keys on a control, and wait until the pictures are others."""
    before = {name: source(lab, page, name) for name in waits}
    for _ in range(times):
        lab.do(page.locator(f".playground-{control} .noUi-handle").press(key))
    for name, old in before.items():
        lab.do(page.wait_for_function(f"old => {IMAGE.format(name)} !== old", arg=old))


def says(lab, page, text):
    lab.do(page.wait_for_function(f"text => {LINE}.includes(text)", arg=text))


def choose(lab, page, control, key, times, text):
    press(lab, page, control, key, times, ())
    says(lab, page, text)


def test_sliders_change_the_pictures(lab, tmp_path):
    path = open_copy(lab, "43_play_kspace", run_dir=str(tmp_path / "run"))
    with lab.notebook(path) as page:
        done = lab.run_all(page, path)
        assert not errors(done)
        lab.do(page.evaluate("window.panel.content.scrollToItem(4, 'start')"))
        lab.do(page.locator("img.playground-result").wait_for())
        says(lab, page, "zero-filled · equispaced 4×, 24 center lines, SNR 50")
        lab.screenshot(page, "43_play_kspace_light")

        for control in ("acceleration", "num-low-frequencies", "snr", "num-coils"):
            press(lab, page, control, "ArrowRight")
        says(lab, page, "zero-filled · equispaced 5×, 25 center lines, SNR 100")
        names = lab.do(page.evaluate("[...document.querySelectorAll('.widget-label')].map(x => x.textContent)"))
        assert {"image", "mask", "acceleration", "center lines", "noise (SNR)", "coils"} <= set(names)

        choose(lab, page, "shown", "ArrowRight", 1, "GRAPPA · equispaced 5×")
        choose(lab, page, "acceleration", "ArrowLeft", 3, "GRAPPA · equispaced 2×")
        choose(lab, page, "kind", "Home", 1, "GRAPPA: mask is not a GRAPPA grid: lines")
        lab.screenshot(page, "43_play_kspace_no_grid")
        choose(lab, page, "shown", "End", 1, "VarNet · random 2×")

        lab.theme(page, "Dark")
        lab.screenshot(page, "43_play_kspace_dark")
        ink = lab.do(page.evaluate("getComputedStyle(document.querySelector('.playground-line div')).color"))
        assert min(map(int, re.findall(r"\d+", ink)[:3])) > 150  # light on dark
        assert not lab.told
    assert {p.stem for p in (tmp_path / "run" / "figures").glob("*.png")} == {"zero-filled", "GRAPPA", "VarNet"}
