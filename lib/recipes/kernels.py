"""The kernels that notebooks of a recipe run in."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psutil

from lib import ROOT, locks, system
from lib.text import OUT_OF_MEMORY


def death(code: int | None) -> str:
    """Why a kernel ended, from its process's return code, in one line."""
    if code == -system.KILLED:
        return f"killed by signal 9, {OUT_OF_MEMORY}"
    if code and code < 0:
        return f"the kernel was killed by signal {-code} ({signal.Signals(-code).name}), kernel.log may say more"
    return f"the kernel ended with exit code {code}"


def one_line(error: str) -> str:
    """An error's message on one line, with what helps where memory ran out in a worker or on the GPU."""
    error = " ".join(error.split())
    return f"{error} ({OUT_OF_MEMORY})" if re.search("signal: Killed|CUDA out of memory", error) else error


class Kernels(list):
    """The kernels' processes, in the order of their start. Within `with`, Ctrl-C and SIGTERM kill them: `interrupted`.

    Raised as exceptions, they would come wherever Python happens to be: asyncio loses some and warns after others.
    """

    interrupted = False

    def __enter__(self) -> "Kernels":
        ours = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
        heeded = [s for s in ours if signal.getsignal(s) is not signal.SIG_IGN]
        self._before = {s: signal.signal(s, self._interrupt) for s in heeded}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _interrupt(self, *_: object) -> None:
        self.interrupted = True
        for process in self:
            _kill(process)

    def append(self, process: subprocess.Popen) -> None:
        super().append(process)
        if self.interrupted:
            _kill(process)


def _kill(process: subprocess.Popen) -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
            system.kill_group(process)  # it leads a group of its own: workers go with it


def manager(kernels: Kernels, output: Any, run: Path) -> type:
    """A kernel manager that starts this very Python, whatever kernel specifications the user has, with our lib first.

    Its kernels hold the lock of the folder `run` with this process, and when it is gone.
    """
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpec

    class Manager(AsyncKernelManager):
        @property
        def kernel_spec(self):
            fields = get_kernel_dict()  # its argv begins with sys.executable
            return KernelSpec(**{name: fields[name] for name in ("argv", "display_name", "language", "metadata")})

        async def start_kernel(self, **settings):
            path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
            environment = os.environ | {"PYTHONPATH": path, "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
            settings |= {"env": environment | locks.environment(run), "pass_fds": locks.inherited(run)}
            await super().start_kernel(stdout=output, stderr=output, **settings)
            kernels.append(self.provisioner.process)

    return Manager


class Terminal:
    """Standard output beside a progress bar."""

    def write(self, text: str) -> None:
        from tqdm import tqdm

        tqdm.write(text, end="")

    def flush(self) -> None:
        sys.stdout.flush()
