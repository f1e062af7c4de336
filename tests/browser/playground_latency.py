"""How long from a key on the playground's slider to other pixels: python tests/browser/playground_latency.py

256 × 256, 8 coils, acceleration, in a real JupyterLab and headless Chromium: 100 presses, each after the picture has come
to rest, for zero-filled and for GRAPPA. Nothing else should run on the machine meanwhile.
"""

import statistics
import tempfile
from pathlib import Path

from lab import find_chromium, open_lab
from test_notebooks_in_lab import errors, open_copy

PRESSES, LIMITS = 100, {"zero-filled": 100, "GRAPPA": 1000}  # milliseconds asked for
# Milliseconds from the key event in the page to the next frame that holds another picture.
TIMED = """async key => {
    const canvas = document.querySelector('canvas.sv-image');
    const handle = document.querySelector('.playground-acceleration .noUi-handle');
    const row = () => canvas.getContext('2d').getImageData(0, canvas.height / 2, canvas.width, 1).data.join();
    const before = row(), begun = performance.now();
    handle.focus();
    handle.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true, cancelable: true}));
    while (row() === before) await new Promise(requestAnimationFrame);
    await new Promise(requestAnimationFrame);
    return performance.now() - begun;
}"""
SETTLED = "text => document.querySelector('.playground-line').textContent.startsWith(text)"


def measure(lab, page, shown: str) -> list[float]:
    times = []
    for press in range(PRESSES + 2):
        key = "ArrowRight" if press % 2 else "ArrowLeft"
        times.append(lab.do(page.evaluate(TIMED, key)))
        lab.do(page.wait_for_function(SETTLED, arg=f"{shown} · "))
    return times[2:]  # without the first ones, which warm up


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        root, home = Path(place, "root"), Path(place, "home")
        root.mkdir(), home.mkdir()
        with open_lab(find_chromium(), root, home) as lab:
            for shown, limit in LIMITS.items():
                path = open_copy(lab, "43_play_kspace", shown=shown, run_dir=str(Path(place, "run", shown)))
                with lab.notebook(path) as page:
                    assert not errors(lab.run_all(page, path))
                    lab.do(page.evaluate("window.panel.content.scrollToItem(6, 'start')"))
                    lab.do(page.locator("canvas.sv-image >> nth=0").wait_for())
                    times = sorted(measure(lab, page, shown))
                    within = sum(time <= limit for time in times)
                    spread = f"{times[0]:.0f} to {times[-1]:.0f}, n = {PRESSES}"
                    print(f"{shown}: median {statistics.median(times):.0f} ms ({spread}), {within} within {limit} ms")


if __name__ == "__main__":
    main()
