import io
import sys

import nbformat
import numpy as np
import pytest
from matplotlib import colormaps
from nbformat.v4 import new_code_cell, new_notebook
from PIL import Image

pytestmark = pytest.mark.browser

MAKE = """import sys
import numpy as np
from lib.viewer import SliceViewer

truth = np.arange(10.0)[:, None, None] * np.ones((1, 64, 80))
print(sys.executable)"""
VIEW = """SliceViewer(
    {"zero-filled": truth / 2, "GRAPPA": "the mask is not a grid", "output": truth + 1, "truth": truth},
    window=(0, 10), gain=5, start=5, scores=lambda index: {"output": {"SSIM": 1 - index / 100}},
)"""
STATE = """() => {
    const box = item => { const r = item.getBoundingClientRect(); return [r.left, r.right, r.top, r.bottom]; };
    const cells = [...document.querySelectorAll('.slice-labels .widget-html-content > div > div')];
    const rgb = color => color.match(/[0-9.]+/g).slice(0, 3).map(Number);
    return {
        texts: cells.map(cell => cell.innerText.trim().split('\\n')),
        labels: cells.map(box),
        clipped: cells.filter(cell => cell.scrollWidth > cell.clientWidth).length,
        image: box(document.querySelector('img.slice-image')),
        readout: box(document.querySelector('.slice-slider .widget-readout')),
        slice: Number(document.querySelector('.slice-slider .widget-readout').textContent),
        output: box(document.querySelector('.slice-slider').closest('.jp-OutputArea-output')),
        ink: rgb(getComputedStyle(cells[0].firstChild).color),
        paper: rgb(getComputedStyle(document.querySelector('.jp-NotebookPanel-notebook')).backgroundColor),
    };
}"""
COLUMNS = [0.1, 0.3, 0.5, 0.7, 0.9]  # the middle of each of the five panels


def state(lab, page):
    return lab.do(page.evaluate(STATE))


def colors(lab, page):
    """The colors that the browser paints in the middle of each panel."""
    shot = Image.open(io.BytesIO(lab.do(page.locator("img.slice-image").first.screenshot()))).convert("RGB")
    return [shot.getpixel((int(x * shot.width), shot.height // 2)) for x in COLUMNS]


def press(lab, page, key):
    """Press a key on the slider's handle and wait until another picture is painted; the slider's value and colors."""
    image = "document.querySelector('img.slice-image')"
    before = lab.do(page.evaluate(f"{image}.src"))
    lab.do(page.locator(".slice-slider .noUi-handle").press(key))
    lab.do(page.wait_for_function(f"src => {image}.src !== src", arg=before))
    lab.do(page.evaluate(f"{image}.decode()"))
    return state(lab, page)["slice"], colors(lab, page)


def check_layout(seen):
    """Every label stands over its own panel, nothing is cut off or sticks out, and the text can be read."""
    left, right, top, _ = seen["image"]
    middles = [(a + b) / 2 for a, b, *_ in seen["labels"]]
    np.testing.assert_allclose(middles, [left + x * (right - left) for x in COLUMNS], atol=3)
    assert all(top - 12 < bottom <= top for *_, bottom in seen["labels"])
    assert seen["clipped"] == 0
    assert max(right, seen["readout"][1]) <= seen["output"][1] + 1
    assert abs(np.mean(seen["ink"]) - np.mean(seen["paper"])) > 150


def test_slice_viewer_follows_the_keys(lab):
    cells = [new_code_cell(source) for source in (MAKE, VIEW)]
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), lab.root / "viewer.ipynb")
    with lab.notebook("viewer.ipynb") as page:
        saved = lab.run_all(page, "viewer.ipynb")
        outputs = [output for cell in saved.cells for output in cell.outputs]
        assert [output.output_type for output in outputs] == ["stream", "execute_result"]
        assert outputs[0].text.strip() == sys.executable
        lab.do(page.locator("img.slice-image").first.wait_for())
        lab.screenshot(page, "viewer_light")

        seen = state(lab, page)
        names = ["zero-filled", "GRAPPA", "output", "truth", "|output −\u00a0truth|\u00a0×5"]
        assert [text[0] for text in seen["texts"]] == names
        assert [text[1:] for text in seen["texts"]] == [
            [],
            ["n/a: the mask is not a grid"],
            ["SSIM\u00a00.950"],
            [],
            [],
        ]
        check_layout(seen)

        def expected(index):  # window 0 to 10, ten slices whose value is their number
            grays = [round(255 * min(level, 10) / 10) for level in (index / 2, index + 1, index)]
            return [(gray,) * 3 for gray in grays]

        paper, error = tuple(seen["paper"]), tuple(map(int, colormaps["magma"](128, bytes=True)[:3]))  # 1 · 5 / 10
        painted = {5: colors(lab, page)}
        for key, index in {"ArrowRight": 6, "ArrowLeft": 5, "PageUp": 9, "Home": 0, "End": 9, "PageDown": 4}.items():
            value, painted[index] = press(lab, page, key)
            assert value == index
        for index, (zero_filled, grappa, output, truth, difference) in painted.items():
            assert [zero_filled, output, truth] == expected(index)
            assert (grappa, difference) == (paper, error)
        scored = "document.querySelector('.slice-labels').textContent.includes('SSIM\\u00a00.960')"
        lab.do(page.wait_for_function(scored))  # a little after the picture
        assert state(lab, page)["texts"][2] == ["output", "SSIM\u00a00.960"]

        lab.theme(page, "Dark")
        lab.do(page.set_viewport_size({"width": 900, "height": 900}))
        lab.do(page.wait_for_function("document.querySelector('img.slice-image').width < 600"))
        seen = state(lab, page)
        check_layout(seen)
        assert np.mean(seen["paper"]) < 50
        lab.screenshot(page, "viewer_dark_narrow")


SCAN = """import numpy as np
from lib.viewer import SliceViewer

label = np.zeros((6, 40, 30), int)
label[1:5, 10:30, 5:20] = 1
found = np.roll(label, 3, 1) * (np.arange(6) != 4)[:, None, None]  # slice 4 is missed
image = label + np.random.default_rng(0).random(label.shape)
overlays = {"prediction": found, "label": label}
SliceViewer(dict.fromkeys(overlays, image), overlays=overlays, classes=["none", "liver"], save_to="saved")"""
CINE = (
    """SliceViewer({"heart": np.random.default_rng(1).random((9, 30, 20))}, unit="frame", start=4, window=(0.2, 0.7))"""
)
# What the element with the focus is called: its own words, or those of the control that it belongs to.
FOCUSED = """() => {
    const element = document.activeElement, control = element.closest('.widget-inline-hbox, .widget-checkbox');
    const label = control && (control.matches('.widget-checkbox') ? control : control.querySelector('.widget-label'));
    if (element.closest('.widget-play')) return 'play';
    return element.title || (label ? label.textContent.replaceAll('\\u200b', '').trim() : element.textContent.trim());
}"""


def reach(lab, page, name, most=40):
    """Press Tab until the focus is on what has this name."""
    seen = []
    for _ in range(most):
        lab.do(page.keyboard.press("Tab"))
        seen.append(lab.do(page.evaluate(FOCUSED)))
        if seen[-1] == name:
            return
    raise AssertionError(f"Tab doesn't lead to {name!r}, but to {seen}")


def test_the_whole_viewer_works_by_keys(lab):
    cells = [new_code_cell(source) for source in (SCAN, CINE)]
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), lab.root / "keys.ipynb")
    with lab.notebook("keys.ipynb") as page:
        lab.run_all(page, "keys.ipynb")
        scan = page.locator(".slice-viewer").first
        lab.do(scan.locator("img.slice-image").first.wait_for())
        source = "document.querySelector('img.slice-image').src"

        def changed(name, *keys):
            """Go to a control by Tab, press keys there, wait for another picture; what the caption says."""
            reach(lab, page, name)
            before = lab.do(page.evaluate(source))
            for key in keys:
                lab.do(page.keyboard.press(key))
            lab.do(page.wait_for_function(f"before => {source} !== before", arg=before))
            return lab.do(scan.locator(".slice-caption").inner_text())

        lab.do(scan.locator(".slice-slider .noUi-handle").focus())
        assert changed("plane: column", "Enter").startswith("column 15")
        assert "spectrum" in changed("show: spectrum", "Space")
        reach(lab, page, "Write what is shown now as a picture")
        lab.do(page.keyboard.press("Enter"))
        lab.do(scan.get_by_text("saved ").wait_for())
        assert changed("Go to the worst slice", "Enter").startswith("slice 4")  # which the prediction misses
        lab.do(scan.locator(".slice-slider .noUi-handle").focus())
        assert "spectrum" not in changed("show: image", "Enter")
        reach(lab, page, "Window, colors, zoom, panels")
        lab.do(page.keyboard.press("Space"))
        lab.do(scan.get_by_text("label opacity").wait_for())
        for name in ("window", "colors", "label opacity"):
            changed(name, "ArrowRight", "ArrowRight")
        changed("contours only", "Space")
        changed("zoom rows", "ArrowRight", "ArrowRight")
        changed("Window, colors, zoom and panels as at first", "Enter")
        changed("size ×", "ArrowRight")
        changed("prediction", "Space")  # its panel goes
        assert len(list((lab.root / "saved").glob("*.png"))) == 1 and lab.told == []

        heart = page.locator(".slice-viewer").nth(1)
        assert lab.do(heart.locator(".slice-caption").inner_text()) == "frame 4 · window 0.2 to 0.7"  # as asked for
        lab.do(heart.locator(".slice-slider .noUi-handle").focus())
        reach(lab, page, "play")
        lab.do(page.keyboard.press("Enter"))
        lab.do(heart.get_by_text("frame 6").wait_for())
        lab.screenshot(page, "viewer_keys")
