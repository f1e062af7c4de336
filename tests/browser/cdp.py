"""A tab of Chromium spoken to by the DevTools protocol alone, with nothing listening to what it loads.

Playwright has every message of a web socket copied to itself, which takes longer than the viewer that is to be measured.
"""

import asyncio
import itertools
import json
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

from tornado.websocket import WebSocketClientConnection, websocket_connect

FLAGS = (
    "--headless", "--no-sandbox", "--remote-debugging-port=0", "--window-size=1400,1000", "--no-first-run",
    "--disable-background-networking", "about:blank",
)  # fmt: skip


class Tab:
    def __init__(self, socket: WebSocketClientConnection):
        self.socket, self.numbers = socket, itertools.count(1)

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """A command's result; events are passed over."""
        number = next(self.numbers)
        await self.socket.write_message(json.dumps({"id": number, "method": method, "params": params}))
        while (answer := json.loads(await self.socket.read_message())).get("id") != number:
            pass
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    async def evaluate(self, script: str) -> Any:
        """The value of an expression, awaited if it is a promise."""
        answer = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["exception"].get("description", script))
        return answer["result"].get("value")

    async def until(self, script: str, seconds: float = 30) -> None:
        """Waits until an expression is true."""
        end = time.monotonic() + seconds
        while not await self.evaluate(f"Boolean({script})"):
            if time.monotonic() > end:
                raise TimeoutError(script)
            await asyncio.sleep(0.02)

    async def press(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            await self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key)


@asynccontextmanager
async def open_tab(chromium: str) -> AsyncIterator[tuple[Tab, str]]:
    """A tab of a Chromium of its own, and the browser's name and version."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        told, port = subprocess.DEVNULL, Path(home) / "DevToolsActivePort"
        browser = subprocess.Popen([chromium, f"--user-data-dir={home}", *FLAGS], stdout=told, stderr=told)
        try:
            while not (port.exists() and port.read_text().count("\n")):
                await asyncio.sleep(0.05)
            local, url = build_opener(ProxyHandler({})), f"http://127.0.0.1:{port.read_text().split()[0]}/json"
            about = json.load(local.open(f"{url}/version"))["Browser"]
            (page,) = (tab for tab in json.load(local.open(url)) if tab["type"] == "page")
            socket = await websocket_connect(page["webSocketDebuggerUrl"], max_message_size=1 << 30)
            tab = Tab(socket)
            await tab.call(
                "Emulation.setFocusEmulationEnabled", enabled=True
            )  # Lab opens nothing in a page without focus
            yield tab, about
            socket.close()
        finally:
            browser.terminate()
            browser.wait(10)
