"""SliceViewer's canvas in a real browser without JupyterLab: the page's model speaks with a viewer in this process."""

import asyncio
import base64
import json
import time
from typing import Any

import numpy as np
from playwright.async_api import async_playwright

from lib.viewer import SliceViewer

TRAITS = ("about", "place", "look", "shapes", "measured", "message")
PAGE = """<!doctype html><meta charset="utf-8"><style>body {{ margin: 0; font: 13px sans-serif; }} {css}</style><div id="a"></div>"""
MODEL = """async ([esm, traits, colors]) => {
    const bytes = text => new DataView(Uint8Array.from(atob(text), c => c.charCodeAt(0)).buffer);
    const calls = {}, values = {...traits, colors: bytes(colors)}, dirty = new Set();
    const fire = (name, ...given) => (calls[name] ?? []).forEach(call => call(...given));
    window.told = [];
    addEventListener('error', event => told.push(event.message));
    addEventListener('unhandledrejection', event => told.push(String(event.reason)));
    window.model = {
        get: name => values[name],
        set(name, value) { values[name] = value; dirty.add(name); fire(`change:${name}`); },
        save_changes() { window.saved(JSON.stringify(Object.fromEntries([...dirty].map(n => [n, values[n]])))); dirty.clear(); },
        on(name, call) { (calls[name] ??= []).push(call); },
        off(name, call) { calls[name] = (calls[name] ?? []).filter(other => other !== call); },
        send(content, _, buffers = []) {
            const sent = buffers.map(b => btoa(Array.from(new Uint8Array(b), c => String.fromCharCode(c)).join('')));
            window.asked(JSON.stringify(content), sent);
        },
        receive(content, buffers) { fire('msg:custom', content, buffers.map(bytes)); },
        change(name, value) { values[name] = value; fire(`change:${name}`); },
    };
    const watched = esm.replace('new Viewer(model, el)', 'window.view = new Viewer(model, el)');
    const url = URL.createObjectURL(new Blob([watched], {type: 'text/javascript'}));
    window.end = (await import(url)).default.render({model, el: document.getElementById('a')});
    window.settled = () => !view.about.panels || view.playing || (view.resting && !view.frame && !view.telling && !view.store.asked.size);
}"""
PIXELS = """([number, kind]) => {
    const canvas = document.querySelectorAll(`.sv-${kind}`)[number];
    const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    let text = ''; for (const value of data) text += String.fromCharCode(value);
    return [canvas.height, canvas.width, btoa(text)];
}"""


class Canvas:
    """A viewer shown in a page: `do` awaits a call on `page`; the kernel sleeps while `awake` isn't set.

    Parameters
    ----------
    viewer : a SliceViewer
    chromium : its path
    width, height : of the page
    """

    def __init__(
        self, viewer: SliceViewer, chromium: str, width: int = 1000, height: int = 1400, ratio: float = 1, awake=True
    ):  # fmt: skip
        self.viewer, self.asked, self.hold, self.answering, self.wrong = viewer, [], set(), set(), []
        self.awake = asyncio.Event()
        if awake:
            self.awake.set()
        self.loop = asyncio.new_event_loop()
        self.loop.run_until_complete(self._open(chromium, width, height, ratio))

    async def _open(self, chromium: str, width: int, height: int, ratio: float) -> None:
        self.playwright = await async_playwright().start()
        self.browser = await self.playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        size = {"width": width, "height": height}
        self.page = await self.browser.new_page(viewport=size, device_scale_factor=ratio)
        await self.page.expose_function("asked", self._asked)
        await self.page.expose_function("saved", self._saved)
        await self.page.set_content(PAGE.format(css=self.viewer._css))
        self.viewer.send = self._send
        self.viewer.observe(self._changed, TRAITS)
        traits = {name: getattr(self.viewer, name) for name in TRAITS}
        await self.page.evaluate(MODEL, [self.viewer._esm, traits, base64.b64encode(self.viewer.colors).decode()])
        await self._settled(0.4)

    async def _asked(self, content: str, buffers: list[str]) -> None:
        self.asked.append(json.loads(content))
        await self.awake.wait()
        self.viewer._receive(None, json.loads(content), [base64.b64decode(b) for b in buffers])

    async def _settled(self, seconds: float) -> None:
        """Waits some seconds and, of an awake kernel, until the page has all that it asked for, as exactly as it will come."""
        await asyncio.sleep(seconds)
        end, calm = time.monotonic() + 20, 0
        assert not self.wrong, self.wrong[0]
        while self.awake.is_set() and calm < 2:
            assert time.monotonic() < end, "the page never came to rest"
            calm = calm + 1 if await self.page.evaluate("Boolean(settled())") and not self.answering else 0
            await asyncio.sleep(0.02)

    def _tell(self, script: str, given: list[Any]) -> None:
        answer = self.loop.create_task(self.page.evaluate(script, given))
        self.answering.add(answer)
        answer.add_done_callback(self._answered)

    def _answered(self, answer: asyncio.Task) -> None:
        self.answering.discard(answer)
        if not answer.cancelled() and answer.exception():
            self.wrong.append(answer.exception())

    def _saved(self, changes: str) -> None:
        for name, value in json.loads(changes).items():
            self.hold.add(name)
            setattr(self.viewer, name, value)
            self.hold.discard(name)

    def _send(self, content: dict[str, Any], buffers: Any = ()) -> None:
        sent = [base64.b64encode(b).decode() for b in buffers or ()]
        self._tell("([content, buffers]) => model.receive(content, buffers)", [content, sent])

    def _changed(self, change: Any) -> None:
        if change.name not in self.hold:
            self._tell("([name, value]) => model.change(name, value)", [change.name, change.new])

    def do(self, call: Any) -> Any:
        return self.loop.run_until_complete(call)

    def wait(self, seconds: float = 0.3) -> None:
        self.do(self._settled(seconds))

    def until(self, test: Any, seconds: float = 10) -> None:
        """Waits until `test()` is true."""
        end = time.monotonic() + seconds
        while not test():
            assert time.monotonic() < end, "it didn't become true"
            self.do(asyncio.sleep(0.02))

    def text(self, selector: str) -> str:
        return self.do(self.page.locator(selector).first.inner_text()).replace("\u00a0", " ").strip()

    def press(self, *keys: str) -> None:
        self.do(self.page.locator(".slice-viewer").focus())
        for key in keys:
            self.do(self.page.keyboard.press(key))
        self.wait()

    def center(self, number: int = 0) -> tuple[float, float]:
        """The page's coordinates of the middle of a panel."""
        box = self.do(self.page.locator(".sv-marks").nth(number).bounding_box())
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def drag(self, x0: float, y0: float, x1: float, y1: float, button: str = "left") -> None:
        mouse = self.page.mouse
        self.do(mouse.move(x0, y0))
        self.do(mouse.down(button=button))
        self.do(mouse.move(x1, y1, steps=4))
        self.do(mouse.up(button=button))
        self.wait()

    def pixels(self, number: int = 0, kind: str = "image") -> np.ndarray:
        """uint8 (height, width, 4) of a panel's canvas."""
        height, width, text = self.do(self.page.evaluate(PIXELS, [number, kind]))
        return np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)

    def close(self) -> list[str]:
        """What went wrong in the page."""
        told = self.do(self.page.evaluate("told"))
        self.do(self.browser.close())
        self.do(self.playwright.stop())
        self.loop.close()
        return told
