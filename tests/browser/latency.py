"""How quickly the viewer follows a hand in a real JupyterLab: `python tests/browser/latency.py [FILE]` prints it, and writes it.

Four volumes of 512 × 512 float32, three of them scored in each slice, 300 slices. Key to pixels: from the browser's keydown
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
from cdp import Tab, open_tab
from lab import READY, find_chromium, serve
from nbformat.v4 import new_code_cell, new_notebook

from lib import files

CELLS = (
    """import numpy as np
from lib.viewer import SliceViewer

truth = np.random.default_rng(0).random((300, 512, 512), dtype=np.float32)
volumes = {"zero-filled": truth * 0.8, "GRAPPA": truth * 0.9, "VarNet": truth * 0.95, "truth": truth}
None""",
    "SliceViewer(volumes, start=0, error_of=None)",
)
WATCH = """(() => {
    const at = document.querySelector('.sv-at');
    window.pressed = []; window.shown = [];
    addEventListener('keydown', () => window.pressed.push(performance.now()), true);
    new MutationObserver(() => {
        const slice = Number(at.textContent.match(/slice ([0-9]+)/)[1]);
        requestAnimationFrame(() => window.shown.push([performance.now(), slice]));
    }).observe(at, {childList: true, characterData: true, subtree: true});
})()"""
FIRST = """(async () => {
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
})()"""


async def at(tab: Tab) -> int:
    """The slice that is seen, from 1 on."""
    return int((await tab.evaluate("document.querySelector('.sv-at').textContent")).split()[1])


async def go(tab: Tab, index: int) -> None:
    """To a slice by way of the first one, and a rest."""
    for key in ("Home", *["ArrowRight"] * index):
        await tab.press(key)
        await asyncio.sleep(0.1)
    await asyncio.sleep(2)


async def single(tab: Tab, key: str, count: int, step: int = 1, pause: float = 0.4) -> list[float]:
    """Milliseconds from a key, which goes `step` slices further, to its pixels, pressed again and again."""
    found = []
    for _ in range(count):
        goal = await at(tab) + step
        await tab.evaluate("pressed.length = shown.length = 0")
        await tab.press(key)
        await tab.until(f"shown.at(-1)?.[1] === {goal}")
        found.append(await tab.evaluate("shown.at(-1)[0] - pressed[0]"))
        await asyncio.sleep(pause)
    return found


async def held(tab: Tab, count: int = 30, every: float = 0.033) -> tuple[float, int]:
    """Milliseconds from the last of `count` presses to its pixels, and how many pictures were seen on the way."""
    await tab.evaluate("pressed.length = shown.length = 0")
    goal = await at(tab) + count
    clock = asyncio.get_running_loop().time
    begun = clock()
    for i in range(count):
        await asyncio.sleep(max(0, begun + i * every - clock()))
        await tab.press("ArrowRight")
    await tab.until(f"shown.at(-1)?.[1] === {goal}")
    return await tab.evaluate("[shown.at(-1)[0] - pressed.at(-1), shown.length]")


async def measure(url: str) -> dict[str, object]:
    async with open_tab(find_chromium()) as (tab, browser):
        await tab.call("Page.navigate", url=url)
        await tab.until("window.jupyterapp")
        await tab.evaluate(f"({READY})()")
        machine = f"{os.cpu_count()} cores, headless {browser.replace('/', ' ')}, four panels of 512 × 512"
        print(machine)
        await tab.evaluate("panel.content.activeCellIndex = 0; jupyterapp.commands.execute('notebook:run-cell')")
        first = await tab.evaluate(FIRST)
        print(f"first picture: {first:.0f} ms after the cell was run")
        await tab.evaluate("document.querySelector('.slice-viewer').focus()")
        await tab.evaluate(WATCH)
        await asyncio.sleep(3)
        await single(tab, "ArrowRight", 3)
        times = {"at hand": await single(tab, "ArrowRight", 36)}
        times["fetched"] = []
        for first_place in (0, 10, 20):  # to places that no neighbor was asked for
            await go(tab, first_place)
            times["fetched"] += await single(tab, "PageUp", 9, 30)
        result: dict[str, object] = {"first_picture_ms": round(first)}
        for name, found in times.items():
            spread = f"{min(found):.0f} to {max(found):.0f}"
            print(f"key to pixels, {name}: median {statistics.median(found):.0f} ms ({spread}, n = {len(found)})")
            result[name] = {"median_ms": round(statistics.median(found)), "worst_ms": round(max(found))}
        await go(tab, 0)
        lags = []
        for _ in range(5):
            lag, seen = await held(tab)
            print(f"30 presses at 33 ms: {lag:.0f} ms from the last to its picture, {seen} pictures seen")
            lags.append((lag, seen))
            await asyncio.sleep(2)
    result |= {"held_lag_ms": round(max(lag for lag, _ in lags)), "held_seen": min(seen for _, seen in lags)}
    return {"machine": machine, "date": f"{datetime.date.today()}"} | result


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root, home = Path(folder) / "notebooks", Path(folder) / "home"
        root.mkdir()
        home.mkdir()
        metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}}
        cells = [new_code_cell(cell) for cell in CELLS]
        nbformat.write(new_notebook(cells=cells, metadata=metadata), root / "latency.ipynb")
        with serve(root, home) as (url, token):
            found = asyncio.run(measure(f"{url}/lab/tree/latency.ipynb?token={token}&reset"))
        if sys.argv[1:]:
            files.write(Path(sys.argv[1]), found)


if __name__ == "__main__":
    main()
