"""A real JupyterLab and a real Chromium for tests, both with temporary settings and both gone afterwards."""

import asyncio
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

import nbformat
import psutil
from playwright.async_api import Browser, Page, async_playwright

READY = """async () => {
    const until = async test => {
        while (!test()) {
            const dialog = document.querySelector('.jp-Dialog-content');
            if (dialog) throw new Error('a dialog stands in the way: ' + dialog.innerText);
            await new Promise(done => setTimeout(done, 50));
        }
    };
    await until(() => window.jupyterapp);
    await window.jupyterapp.restored;
    await until(() => window.jupyterapp.shell.currentWidget?.sessionContext);
    const panel = window.panel = window.jupyterapp.shell.currentWidget;
    await panel.context.ready;
    await until(() => panel.sessionContext.isReady && panel.sessionContext.session?.kernel);
    await panel.sessionContext.session.kernel.info;
    await until(() => panel.sessionContext.session.kernel.status === 'idle');
}"""
RUN = """async () => {
    await window.jupyterapp.commands.execute('notebook:run-all-cells');
    await window.panel.context.save();
}"""


def find_chromium() -> str | None:
    """The path of an installed Chromium or Chrome, if there is one."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Lab:
    """An open Lab: `root` is its folder of notebooks, `do(call)` awaits one of Playwright's calls on a page.

    `told`: the errors that the page of the last notebook has written to its console.

    Playwright's own synchronous interface keeps an event loop running in which no other test could use asyncio.run.
    """

    def __init__(self, root: Path, url: str, token: str, browser: Browser, loop: asyncio.AbstractEventLoop):
        self.root, self.url, self.token, self.browser, self.loop = root, url, token, browser, loop
        self.told: list[str] = []

    def do(self, call: Coroutine[Any, Any, Any], timeout: float = 60) -> Any:
        return self.loop.run_until_complete(asyncio.wait_for(call, timeout))

    @contextmanager
    def notebook(self, path: str) -> Iterator[Page]:
        """The notebook at `path` under `root`, open in a page with an idle kernel; both are closed at the end."""
        page = self.do(self.browser.new_page(viewport={"width": 1400, "height": 1000}))
        self.told = told = []
        page.on("pageerror", lambda error: told.append(str(error)))
        page.on("console", lambda message: told.append(message.text) if message.type == "error" else None)
        try:
            self.do(page.goto(f"{self.url}/lab/tree/{path}?token={self.token}&reset"))
            self.do(page.evaluate(READY))
            yield page
            self.do(page.evaluate("window.panel.sessionContext.shutdown()"))
        except Exception as error:
            error.add_note(f"the page: {self.screenshot(page, f'{Path(path).stem}_failed')}")
            raise
        finally:
            self.do(page.close())

    def run_all(self, page: Page, path: str, timeout: float = 120) -> nbformat.NotebookNode:
        """Run every cell of the notebook open in `page`, save it, and return it with its outputs."""
        self.do(page.evaluate(RUN), timeout)
        return nbformat.read(self.root / path, as_version=4)

    def theme(self, page: Page, name: str) -> None:
        """Lab's theme, Light or Dark, which later pages keep."""
        change = f"window.jupyterapp.commands.execute('apputils:change-theme', {{theme: 'JupyterLab {name}'}})"
        self.do(page.evaluate(change))
        self.do(page.wait_for_function(f"document.body.dataset.jpThemeLight === '{str(name == 'Light').lower()}'"))
        self.do(page.locator("#jupyterlab-splash").wait_for(state="detached"))

    def screenshot(self, page: Page, name: str) -> Path:
        """The page as PNG, in the folder $ECHOTRAIN_SHOTS if that is set, else under the notebooks."""
        path = Path(os.environ.get("ECHOTRAIN_SHOTS", self.root)) / f"{name}.png"
        self.do(page.screenshot(path=path))
        return path


@contextmanager
def open_lab(chromium: str, root: Path, home: Path) -> Iterator[Lab]:
    """JupyterLab on `root` with this Python as its kernel and its settings under `home`, and a browser."""
    with serve(root, home) as (url, token):
        loop = asyncio.new_event_loop()
        playwright = loop.run_until_complete(async_playwright().start())
        try:
            launch = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            browser = loop.run_until_complete(launch)
            yield Lab(root, url, token, browser, loop)
            loop.run_until_complete(browser.close())
        finally:
            loop.run_until_complete(playwright.stop())
            loop.close()


@contextmanager
def serve(root: Path, home: Path, timeout: float = 60) -> Iterator[tuple[str, str]]:
    """JupyterLab on `root` and a free port of the loopback: yields (url, token), and ends it with its kernels."""
    token, log = secrets.token_hex(16), home / "jupyterlab.log"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    names = ["JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"]
    names += ["JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR"]
    page_config = home / "JUPYTER_CONFIG_DIR/labconfig/page_config.json"
    page_config.parent.mkdir(parents=True)
    page_config.write_text(json.dumps({"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}))
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"]
    command += ["--ServerApp.port_retries=0", f"--ServerApp.root_dir={root}", f"--IdentityProvider.token={token}"]
    command += ["--LabApp.expose_app_in_browser=True"]
    environment = os.environ | {name: str(home / name) for name in names}
    with log.open("wb") as out:
        lab = psutil.Popen(command, env=environment, cwd=root, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        local, end = build_opener(ProxyHandler({})), time.monotonic() + timeout
        while True:
            with suppress(OSError):
                local.open(f"{url}/api/status?token={token}", timeout=5).close()
                break
            if lab.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-3000:]}")
            time.sleep(0.1)
        yield url, token
    finally:
        family = lab.children(recursive=True) if lab.poll() is None else []
        lab.terminate()  # it ends its kernels itself, which takes a second
        for process in psutil.wait_procs([lab, *family], timeout=10)[1]:
            process.kill()
        lab.wait(10)
