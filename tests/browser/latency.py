"""How quickly the viewer follows a hand in a real JupyterLab: `python tests/browser/latency.py [FILE]` prints it, and writes it.

Four volumes of 512 × 512 float32, three of them scored in each slice, 200 slices. Key to pixels: from the browser's keydown
to the first frame after the slice is drawn; "fetched" are slices that had to come from the kernel. Lag: 30 presses, one
every 33 ms, then the time from the last to the frame that shows its slice. Nothing else should run meanwhile.
"""

import asyncio
import datetime
import os
import statistics
import sys
import tempfile
from pathlib import Path

import nbformat
from lab import find_chromium, open_lab
from nbformat.v4 import new_code_cell, new_notebook
from playwright.async_api import Page

from lib import files

CELLS = (
    """import numpy as np
from lib.viewer import SliceViewer

truth = np.random.default_rng(0).random((200, 512, 512), dtype=np.float32)
volumes = {"zero-filled": truth * 0.8, "GRAPPA": truth * 0.9, "VarNet": truth * 0.95, "truth": truth}
None""",
    "SliceViewer(volumes, start=0, error_of=None)",
)
WATCH = """() => {
    const at = document.querySelector('.sv-at');
    window.pressed = []; window.shown = [];
    addEventListener('keydown', () => window.pressed.push(performance.now()), true);
    new MutationObserver(() => {
        const slice = Number(at.textContent.match(/slice ([0-9]+)/)[1]);
        requestAnimationFrame(() => window.shown.push([performance.now(), slice]));
    }).observe(at, {childList: true, characterData: true, subtree: true});
}"""
FIRST = """async () => {
    const panel = window.panel, begun = performance.now();
    panel.content.activeCellIndex = 1;
    window.jupyterapp.commands.execute('notebook:run-cell');
    while (!document.querySelector('.sv-at')?.textContent) await new Promise(requestAnimationFrame);
    while (!document.querySelector('.sv-note')?.isConnected) await new Promise(requestAnimationFrame);
    const drawn = () => [...document.querySelectorAll('canvas.sv-image')].every(canvas =>
        canvas.width > 300 && canvas.getContext('2d').getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data[3]);
    while (!document.querySelector('canvas.sv-image') || !drawn()) await new Promise(requestAnimationFrame);
    await new Promise(requestAnimationFrame);
    return performance.now() - begun;
}"""


async def single(page: Page, keys: str, count: int = 40, pause: float = 0.4) -> list[float]:
    """Milliseconds from a key to its pixels, pressed one by one, the keys in turn."""
    found = []
    for i in range(count):
        await page.evaluate("() => { pressed.length = shown.length = 0; }")
        await page.keyboard.press(keys.split()[i % len(keys.split())])
        await page.wait_for_function("() => shown.length > 0")
        found.append(await page.evaluate("() => shown.at(-1)[0] - pressed[0]"))
        await asyncio.sleep(pause)
    return found


async def held(page: Page, count: int = 30, every: float = 0.033) -> tuple[float, int]:
    """Milliseconds from the last of `count` presses to its pixels, and how many pictures were seen on the way."""
    await page.evaluate("() => { pressed.length = shown.length = 0; }")
    first = int((await page.locator(".sv-at").inner_text()).split()[1])
    clock = asyncio.get_running_loop().time
    begun = clock()
    for i in range(count):
        await asyncio.sleep(max(0, begun + i * every - clock()))
        await page.keyboard.down("ArrowRight")
    await page.keyboard.up("ArrowRight")
    await page.wait_for_function(f"() => shown.length && shown.at(-1)[1] === {first + count}")
    return await page.evaluate("() => [shown.at(-1)[0] - pressed.at(-1), shown.length]")


async def measure(page: Page) -> dict[str, object]:
    first = await page.evaluate(FIRST)
    print(f"first picture: {first:.0f} ms after the cell was run")
    await page.locator(".slice-viewer").focus()
    await page.evaluate(WATCH)
    await asyncio.sleep(2)
    result: dict[str, object] = {"first_picture_ms": round(first)}
    for name, keys in (
        ("at hand", "ArrowRight"),
        ("fetched", "PageUp PageUp PageUp PageUp PageUp PageUp PageUp PageUp Home"),
    ):
        await single(page, keys, 3)
        times = sorted(await single(page, keys, 36))
        spread = f"{times[0]:.0f} to {times[-1]:.0f}"
        print(f"key to pixels, {name}: median {statistics.median(times):.0f} ms ({spread}, n = {len(times)})")
        result[name] = {"median_ms": round(statistics.median(times)), "worst_ms": round(times[-1])}
        await page.keyboard.press("Home")
        await asyncio.sleep(2)
    lags = []
    for _ in range(5):
        lag, seen = await held(page)
        print(f"30 presses at 33 ms: {lag:.0f} ms from the last to its picture, {seen} pictures seen")
        lags.append((lag, seen))
        await asyncio.sleep(2)
    return result | {"held_lag_ms": round(max(lag for lag, _ in lags)), "held_seen": min(seen for _, seen in lags)}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root, home = Path(folder) / "notebooks", Path(folder) / "home"
        root.mkdir()
        home.mkdir()
        metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}}
        cells = [new_code_cell(cell) for cell in CELLS]
        nbformat.write(new_notebook(cells=cells, metadata=metadata), root / "latency.ipynb")
        with open_lab(find_chromium(), root, home) as lab, lab.notebook("latency.ipynb") as page:
            machine = f"{os.cpu_count()} cores, headless Chromium {lab.browser.version}, four panels of 512 × 512"
            print(machine)
            run_first = "async () => { window.panel.content.activeCellIndex = 0; await window.jupyterapp.commands.execute('notebook:run-cell'); }"
            lab.do(page.evaluate(run_first))
            found = lab.do(measure(page), 300)
        if sys.argv[1:]:
            files.write(Path(sys.argv[1]), {"machine": machine, "date": f"{datetime.date.today()}"} | found)


if __name__ == "__main__":
    main()
