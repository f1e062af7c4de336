"""The pictures of JupyterLab in README and docs: `python tests/browser/screens.py [NAME …]` after `make demo`.

`cine` needs a run of 31_evaluate_cine named evaluate_cine_filters, with `runs: []`, too. Nothing is drawn: each notebook runs in a real Lab, and a part of
the page is photographed.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

from lab import Lab, find_chromium, open_lab
from PIL import Image, ImageChops
from test_lab import save
from test_notebooks_in_lab import errors, open_copy

from lib import ROOT

PICTURES = ROOT / "docs" / "pictures"
LABELED = """from lib import viewer

ct, organs = "data/samples/abdomen_b_ct.nii.gz", "data/samples/abdomen_b_organs.nii.gz"
about = {"overlays": {"organs": organs}, "classes": ["none", "liver", "spleen"], "window": (-100, 250)}
viewer.SliceViewer({"CT": ct, "organs": ct}, title="abdomen_b", **about)"""
SCREENS = {  # notebook or a cell, the notebook's parameters, the part of the page, and a button pressed before
    "overview": ("00_overview", {}, ".jp-OutputArea-output:has(table) >> nth=-1"),
    "viewer": ("40_view_reconstruction", {}, ".slice-viewer"),
    "cine": ("40_view_reconstruction", {"inputs": ["evaluate_cine_filters"]}, ".slice-viewer", "x–t"),
    "segmentation": (LABELED, {}, ".slice-viewer"),
    "compare": ("42_compare_runs", {"inputs": ["train_varnet", "train_unet"]}, ".jp-OutputArea:has(> * .run-picker)"),
    "playground": ("43_play_kspace", {"shown": "network"}, ".jp-OutputArea-output:has(.playground-line)"),
    "training": ("21_train_kspace", {"epochs": 6, "steps_per_epoch": 25}, ".jp-OutputArea-output:has(.live-chart)"),
}


async def photograph(page, selector: str, path: Path, button: str = "") -> None:
    part = page.locator(selector).first
    await part.wait_for()
    if button:
        await part.locator("button", has_text=button).click()
    await part.scroll_into_view_if_needed()
    await asyncio.sleep(1)
    await part.screenshot(path=path)
    trim(path)


def trim(path: Path, margin: int = 8) -> None:
    """Cuts off the white to the right of a picture and below it."""
    picture = Image.open(path).convert("RGB")
    box = ImageChops.invert(picture).getbbox()
    picture.crop((0, 0, min(box[2] + margin, picture.width), min(box[3] + margin, picture.height))).save(
        path, optimize=True
    )


def shoot(lab: Lab, name: str, folder: Path) -> None:
    notebook, parameters, selector, *button = SCREENS[name]
    if notebook is LABELED:
        path = save(lab, "labeled.ipynb", LABELED)
    else:
        path = open_copy(lab, notebook, run_dir=str(folder / name), **parameters)
    with lab.notebook(path) as page:
        lab.do(page.set_viewport_size({"width": 1440, "height": 3800}))
        lab.do(page.evaluate("window.jupyterapp.commands.execute('application:toggle-left-area')"))
        found = errors(lab.run_all(page, path, 600))
        if found:
            raise SystemExit(f"{name}: {found[0].ename}: {found[0].evalue}")
        if name == "overview":  # its table of notebooks, at the end
            lab.do(page.evaluate("window.panel.content.scrollToItem(window.panel.content.widgets.length - 1)"))
        lab.do(photograph(page, selector, PICTURES / f"screen_{name}.png", *button))
        print(f"screen_{name}.png, errors in the console: {len(lab.told)}")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root, home = Path(folder) / "notebooks", Path(folder) / "home"
        root.mkdir()
        home.mkdir()
        with open_lab(find_chromium(), root, home) as lab:
            for name in sys.argv[1:] or SCREENS:
                shoot(lab, name, Path(folder))


if __name__ == "__main__":
    main()
