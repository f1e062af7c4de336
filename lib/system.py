"""What Linux, macOS and Windows do differently: locks of files, limits and marks of memory, the end of a group of processes."""

import os
import signal
import sys
from typing import TYPE_CHECKING

try:
    import fcntl
    import resource
except ImportError:  # Windows
    fcntl = resource = None

if TYPE_CHECKING:
    import subprocess

KILLED = int(getattr(signal, "SIGKILL", 9))


def lock(handle: int) -> None:
    """Locks an open file for this process, at once; BlockingIOError where another has it, another OSError without locks."""
    if fcntl:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    import msvcrt

    try:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
    except PermissionError as error:  # Windows' word for a lock that another has
        raise BlockingIOError(error.errno, error.strerror) from None


def can_hand_files() -> bool:
    """Whether a process may be started with open files of this one."""
    return os.name == "posix"


def most_memory() -> int:
    """The most bytes that this process has held in RAM."""
    if resource:  # macOS counts bytes, others KiB
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    import psutil

    return psutil.Process().memory_info().peak_wset


def memory_limit() -> int | None:
    """The bytes that `ulimit -v` allows this process; None without a limit."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0] if resource else None
    return None if limit is None or limit == resource.RLIM_INFINITY else limit


def kill_group(process: "subprocess.Popen") -> None:
    """Ends a process that leads a group, and all that it has started."""
    if hasattr(os, "killpg"):
        os.killpg(process.pid, KILLED)
        return
    import psutil

    leader = psutil.Process(process.pid)
    for each in [*leader.children(recursive=True), leader]:
        each.kill()
