"""How quickly a key moves the picture in a real JupyterLab: `python tests/browser/latency.py` prints it; nothing is asserted.

Four volumes of 320 × 320, three of them scored (SSIM, PSNR, NMSE) in each slice. Key to pixels: from the browser's keydown to the first frame after the new picture
is decoded. Lag: 30 presses, one every 33 ms, then the time from the last to the frame that shows its slice.
"""

import asyncio
import os
import statistics
import tempfile
from pathlib import Path

import nbformat
from lab import find_chromium, open_lab
from nbformat.v4 import new_code_cell, new_notebook
from playwright.async_api import Page

CELL = """import numpy as np
from lib.viewer import SliceViewer

truth = np.random.default_rng(0).random((100, 320, 320), dtype=np.float32)
volumes = {"zero-filled": truth * 0.8, "GRAPPA": truth * 0.9, "VarNet": truth * 0.95, "truth": truth}
SliceViewer(volumes, start=0)"""
WATCH = """() => {
    const image = document.querySelector('img.slice-image'), caption = document.querySelector('.slice-caption');
    window.pressed = []; window.shown = [];
    addEventListener('keydown', () => window.pressed.push(performance.now()), true);
    new MutationObserver(async () => {
        const slice = Number(caption.textContent.match(/slice ([0-9]+)/)[1]);
        await image.decode().catch(() => null);
        requestAnimationFrame(() => window.shown.push([performance.now(), slice]));
    }).observe(image, {attributes: true, attributeFilter: ['src']});
}"""


async def single(page: Page, count: int = 40) -> list[float]:
    """Milliseconds from a key to its pixels, pressed one by one."""
    found = []
    for _ in range(count):
        await page.evaluate("() => { pressed.length = shown.length = 0; }")
        await page.keyboard.press("ArrowRight")
        await page.wait_for_function("() => shown.length > 0")
        found.append(await page.evaluate("() => shown[0][0] - pressed[0]"))
        await asyncio.sleep(0.15)
    return found


async def held(page: Page, count: int = 30, every: float = 0.033) -> tuple[float, int]:
    """Milliseconds from the last of `count` presses to its pixels, and how many pictures were seen on the way."""
    await page.evaluate("() => { pressed.length = shown.length = 0; }")
    first = int(await page.locator(".slice-slider .widget-readout").inner_text())
    clock = asyncio.get_running_loop().time
    begun = clock()
    for i in range(count):
        await asyncio.sleep(max(0, begun + i * every - clock()))
        await page.keyboard.down("ArrowRight")
    await page.keyboard.up("ArrowRight")
    await page.wait_for_function(f"() => shown.length && shown.at(-1)[1] === {first + count}")
    return await page.evaluate("() => [shown.at(-1)[0] - pressed.at(-1), shown.length]")


async def measure(page: Page) -> None:
    handle = page.locator(".slice-slider .noUi-handle")
    await page.locator("img.slice-image").first.wait_for()
    await handle.focus()
    await page.evaluate(WATCH)
    await single(page, 5)
    times = sorted(await single(page))
    spread = f"{times[0]:.0f} to {times[-1]:.0f}"
    print(f"key to pixels: median {statistics.median(times):.0f} ms ({spread}, n = {len(times)})")
    await handle.press("Home")
    await asyncio.sleep(1)
    for _ in range(3):
        lag, seen = await held(page)
        print(f"30 presses at 33 ms: {lag:.0f} ms from the last to its picture, {seen} pictures seen")
        await asyncio.sleep(1)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root, home = Path(folder) / "notebooks", Path(folder) / "home"
        root.mkdir()
        home.mkdir()
        metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}}
        nbformat.write(new_notebook(cells=[new_code_cell(CELL)], metadata=metadata), root / "latency.ipynb")
        with open_lab(find_chromium(), root, home) as lab, lab.notebook("latency.ipynb") as page:
            print(f"{os.cpu_count()} cores, headless Chromium {lab.browser.version}, four panels of 320 × 320")
            lab.run_all(page, "latency.ipynb")
            lab.do(measure(page), 120)


if __name__ == "__main__":
    main()
