"""SliceViewer in a real JupyterLab: drawn, focused, moved by keys that Lab doesn't take, linked, in both themes."""

import base64

import nbformat
import numpy as np
import pytest
from canvas import PIXELS
from matplotlib import colormaps
from nbformat.v4 import new_code_cell, new_notebook

pytestmark = pytest.mark.browser

VIEW = """import numpy as np
from lib.viewer import SliceViewer, link

truth = np.arange(10.0)[:, None, None] * np.ones((1, 64, 80))
viewer = SliceViewer(
    {"zero-filled": truth / 2, "GRAPPA": "the mask is not a grid", "output": truth + 1, "truth": truth},
    window=(0, 10), gain=5, start=5, scores=lambda index: {"output": {"SSIM": 1 - index / 100}}, save_to="saved",
)
viewer"""
LINKED = """other = SliceViewer(truth[:8])
links = link(viewer, other)
other"""
READ = "print(viewer.state['at'], other.state['at'])"
BOXES = """() => [...document.querySelectorAll('.slice-viewer')[0].querySelectorAll('.sv-tile')].map(tile => {
    const [stage, caption] = ['.sv-stage', 'figcaption'].map(name => tile.querySelector(name).getBoundingClientRect());
    return [stage.left, stage.right, stage.top, caption.left, caption.right, caption.bottom];
})"""
# What the element with the focus is called.
FOCUSED = """() => {
    const element = document.activeElement;
    return element.getAttribute('aria-label') || (element.closest('label') ?? element).textContent.trim();
}"""


def color(lab, page, number):
    """The color in the middle of a panel of the first viewer."""
    height, width, text = lab.do(page.evaluate(PIXELS, [number, "image"]))
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)[height // 2, width // 2].tolist()


def at(lab, page, number, text):
    """Waits until a viewer says where it is."""
    test = "([n, text]) => document.querySelectorAll('.slice-viewer')[n]?.querySelector('.sv-at')?.textContent === text"
    lab.do(page.wait_for_function(test, arg=[number, text]))


def save(lab, name, *sources):
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    cells = [new_code_cell(source) for source in sources]
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), lab.root / name)
    return name


def test_keys_colors_links_and_themes(lab):
    path = save(lab, "viewer.ipynb", VIEW, LINKED)
    with lab.notebook(path) as page:
        saved = lab.run_all(page, path)
        assert [o.output_type for cell in saved.cells for o in cell.outputs] == ["execute_result"] * 2
        at(lab, page, 0, "slice 6 of 10")
        lab.do(page.wait_for_function("document.querySelectorAll('.sv-note')[2].textContent === 'SSIM\\u00a00.950'"))
        lab.screenshot(page, "viewer_light")
        names = lab.do(page.locator(".slice-viewer").first.locator("figcaption b").all_inner_texts())
        assert [name.replace("\u00a0", " ") for name in names] == [
            "zero-filled", "GRAPPA", "output", "truth", "|output − truth| ×5",
        ]  # fmt: skip
        assert lab.do(page.locator(".sv-reason").nth(1).inner_text()) == "n/a: the mask is not a grid"
        boxes = lab.do(page.evaluate(BOXES))
        assert all(a <= c + 1 and d <= b + 1 and bottom <= top + 1 for a, b, top, c, d, bottom in boxes)

        def expected(index):  # window 0 to 10, ten slices whose value is their number
            grays = [int(255 * min(level, 10) / 10 + 0.5) for level in (index / 2, index + 1, index)]
            return [[gray] * 3 + [255] for gray in grays]

        magma = list(map(int, colormaps["magma"](128, bytes=True)))  # 1 · 5 / 10
        lab.do(page.locator(".slice-viewer").first.focus())
        for key, index in {"ArrowRight": 6, "ArrowUp": 7, "ArrowLeft": 6, "End": 9, "PageDown": 8, "Home": 0}.items():
            lab.do(page.keyboard.press(key))
            at(lab, page, 0, f"slice {index + 1} of 10")
            at(lab, page, 1, f"slice {min(index, 7) + 1} of 8")  # the linked one, as far as it goes
            assert [color(lab, page, number) for number in (0, 2, 3)] == expected(index)
            assert color(lab, page, 4) == magma
        for key in "bbwwxdd00m":  # what Lab would take for a new cell, cut, delete, restart …
            lab.do(page.keyboard.press(key))
        assert lab.do(page.evaluate("window.panel.content.widgets.length")) == 2
        assert lab.do(page.evaluate("document.querySelector('.jp-Dialog') === null"))
        lab.do(
            page.evaluate(
                "async code => await window.panel.sessionContext.session.kernel.requestExecute({code}).done", READ
            )
        )
        lab.theme(page, "Dark")
        lab.do(page.set_viewport_size({"width": 900, "height": 900}))
        lab.do(page.wait_for_timeout(500))
        lab.screenshot(page, "viewer_dark_narrow")
        rgb = "name => getComputedStyle(document.querySelector('.slice-viewer'))[name].match(/[0-9.]+/g).slice(0, 3).map(Number)"
        ink, paper = (np.mean(lab.do(page.evaluate(rgb, name))) for name in ("color", "backgroundColor"))
        assert ink - paper > 150
        lab.theme(page, "Light")
        assert lab.told == []


def test_all_controls_are_reached_by_tab(lab):
    path = save(lab, "keys.ipynb", VIEW)
    with lab.notebook(path) as page:
        lab.run_all(page, path)
        at(lab, page, 0, "slice 6 of 10")
        lab.do(page.locator(".slice-viewer").first.focus())
        seen = []

        def reach(name):
            for _ in range(60):
                lab.do(page.keyboard.press("Tab"))
                seen.append(lab.do(page.evaluate(FOCUSED)))
                if seen[-1].startswith(name):
                    return
            raise AssertionError(f"Tab doesn't lead to {name!r}, but to {seen}")

        reach("slice")
        lab.do(page.keyboard.press("ArrowRight"))
        at(lab, page, 0, "slice 7 of 10")
        reach("row")
        lab.do(page.keyboard.press("Enter"))
        at(lab, page, 0, "row 33 of 64")
        reach("spectrum")
        lab.do(page.keyboard.press("Space"))
        lab.do(page.locator(".sv-caption", has_text="spectrum · window −80 to 0 dB").wait_for())
        lab.do(page.keyboard.press("Shift+Tab"))
        lab.do(page.keyboard.press("Enter"))
        reach("Adjust")
        lab.do(page.keyboard.press("Space"))
        reach("Save PNG")
        lab.do(page.keyboard.press("Enter"))
        lab.do(page.get_by_text("saved ").first.wait_for())
        reach("window")
        for name in ("Control+A", "2", "Enter"):
            lab.do(page.keyboard.press(name))
        lab.do(page.locator(".sv-caption", has_text="window 2 to 10").wait_for())
        for name in ("error ×", "with sign", "colors", "smooth", "error of", "pair", "blink", "zero-filled"):
            reach(name)
        reach("rectangle")
        reach("rank by")
        reach("worst")
        lab.do(page.keyboard.press("Enter"))
        at(lab, page, 0, "slice 10 of 10")
        assert len(list((lab.root / "saved").glob("*.png"))) == 1 and lab.told == []
