"""Which process a number stands for: told by when it began, in the kernel's own count, which no step of a clock changes."""

import os
import re
import socket
import threading
from functools import cache
from pathlib import Path


def identity(pid: int) -> str | None:
    """What tells a process from all others of its number: boot, name space and start; None of one that is gone."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return None if words[0] in "ZX" else f"{_boot()} {words[19]}"  # state and start: fields 3 and 22
    except (OSError, IndexError):
        return None if os.path.exists("/proc/self/stat") else _elsewhere(pid)


def is_alive(pid: int, known: str) -> bool | None:
    """Whether the process of an `identity` still runs; None of one that can't be seen from here, as in another container."""
    boot, _, _ = known.rpartition(" ")
    if boot != _boot():
        return None if boot.split()[:1] == _boot().split()[:1] else False  # another container's, or before a reboot
    return identity(pid) == known


def place() -> str:
    """This machine, and where a container numbers its processes apart, this container, as a part of a file's name."""
    return f"{socket.gethostname()}{re.sub('[^0-9]+', '-', _space()).rstrip('-')}"


def signature() -> str:
    """The end of a name that this thread alone uses: its place, its process by number and start, and its own number."""
    start = (identity(os.getpid()) or "0").rpartition(" ")[2]
    return f"{place()}.{os.getpid()}-{start}-{threading.get_ident()}"


def has_left(name: str) -> bool:
    """Whether a name ends with the `signature` of a process of this place that is gone."""
    match = re.fullmatch(rf"\..+\.{re.escape(place())}\.(\d+)-(?:([\d.]+)-)?\d+", name)
    known = match and identity(int(match[1]))  # older versions gave no start
    return bool(match) and not (known and match[2] in (None, known.rpartition(" ")[2]))


@cache
def _space() -> str:
    return os.readlink("/proc/self/ns/pid") if os.path.exists("/proc/self/ns/pid") else ""


@cache
def _boot() -> str:
    """This boot of the machine and this name space of its processes."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    return f"{boot.read_text().strip() if boot.exists() else socket.gethostname()} {_space() or '-'}"


def _elsewhere(pid: int) -> str | None:
    """`identity` on systems without /proc, which keep the time at which a process began."""
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{_boot()} {process.create_time()}"
    except (psutil.Error, OverflowError, ValueError):
        return None
