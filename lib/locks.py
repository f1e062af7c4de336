"""One process at a time writes a folder: by the system's own locks (`lib.system.lock`), which end with the process, however it ends.

The folder itself is locked; on a file system that can't do that (NFS), the file .lock in it. Where there are no locks at
all, a line says so. Processes that are forked from the holder don't hold the lock; one that it starts with `inherited`
and `environment` does, and keeps it when the holder is gone.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from lib import InputError, system
from lib.text import short

HANDED = "ECHOTRAIN_LOCK"  # the number of an open file that the process was started with


class _Lock(NamedTuple):
    """handle: the open file that holds it, None without locks; owner: with whom it is released; made: folders, to be undone."""

    handle: int | None
    owner: Path
    made: list[Path]


_held: dict[Path, _Lock] = {}


def hold(folder: Path, owner: Path | None = None) -> bool:
    """Locks a folder, which is made if it isn't there, for this process until `release`; False if another has it.

    owner: a folder whose release is this one's, too.
    """
    folder = Path(folder).resolve()
    if folder in _held:
        _held[folder] = _held[folder]._replace(owner=(owner or folder).resolve())
        return True
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    if os.environ.get(HANDED) == str(folder):
        del os.environ[HANDED]
        _held[folder] = _Lock(None, (owner or folder).resolve(), [])
        return True
    handle = _handed(folder)
    while handle is None:
        folder.mkdir(parents=True, exist_ok=True)
        handle = _locked(folder)
        if handle is None:
            return False
        if isinstance(handle, int) and not _is_of(handle, folder):  # it was removed meanwhile, and made again
            os.close(handle)
            handle = None
    if isinstance(handle, str):
        print(f"{short(folder)}: no locks here ({handle}): see to it that one process at a time writes", flush=True)
    _held[folder] = _Lock(handle if isinstance(handle, int) else None, (owner or folder).resolve(), made)
    return True


def holds(folder: Path) -> bool:
    """Whether this process holds a folder's lock."""
    return Path(folder).resolve() in _held


def release(folder: Path) -> None:
    """Gives up the lock of a folder and those that it owns; a folder that was made for the lock and is empty goes."""
    for held in [path for path, lock in _held.items() if Path(folder).resolve() in (path, lock.owner)]:
        lock = _held.pop(held)
        with contextlib.suppress(OSError):  # what holds something stays
            for path in lock.made:
                path.rmdir()
        if lock.handle is not None:
            os.close(lock.handle)


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """This process alone writes the folder meanwhile; InputError where another does, naming it."""
    if holds(folder):
        yield
        return
    claim(folder)
    try:
        yield
    finally:
        release(folder)


def claim(folder: Path) -> None:
    """`hold`, or an InputError that says who else writes there."""
    try:
        free = hold(folder)
    except OSError as error:
        raise InputError(folder, f"can't be written ({error.strerror})") from None
    if not free:
        raise InputError(
            short(Path(folder)), f"{holder(folder)} writes here", hint="wait until it has ended, or give another folder"
        )


def holder(folder: Path) -> str:
    """Which process holds a folder's lock, as far as the system tells."""
    with contextlib.suppress(OSError, IndexError):
        inodes = [str(path.stat().st_ino) for path in (folder, folder / ".lock") if path.exists()]
        for line in Path("/proc/locks").read_text().splitlines():
            words = line.split()
            if words[1] == "FLOCK" and words[5].rpartition(":")[2] in inodes and int(words[4]) > 0:
                return f"process {words[4]}"
    return "another process"


def inherited(folder: Path) -> tuple[int, ...]:
    """The open files that a process needs to hold a folder's lock with this one (Popen's pass_fds)."""
    lock = _held.get(Path(folder).resolve())
    return () if lock is None or lock.handle is None or not system.can_hand_files() else (lock.handle,)


def environment(folder: Path) -> dict[str, str]:
    """What tells such a process that it does."""
    handles = inherited(folder)
    if not handles and holds(folder):  # where open files can't be handed on, its word has to do
        return {HANDED: str(Path(folder).resolve())}
    return {HANDED: str(handles[0])} if handles else {}


def _handed(folder: Path) -> int | None:
    """The open file of this folder that the process was started with."""
    with contextlib.suppress(OSError, ValueError):
        handle = int(os.environ.get(HANDED, ""))
        if _is_of(handle, folder):
            del os.environ[HANDED]
            os.set_inheritable(handle, False)
            return handle
    return None


def _is_of(handle: int, folder: Path) -> bool:
    """Whether an open file is a folder, or the file .lock in it."""
    with contextlib.suppress(OSError):
        return any(os.path.samestat(os.fstat(handle), p.stat()) for p in (folder, folder / ".lock") if p.exists())
    return False


def _locked(folder: Path) -> int | str | None:
    """The open file that holds the lock, why there are no locks here, or None where another process holds it."""
    problem = ""
    for path, flags in ((folder, os.O_RDONLY), (folder / ".lock", os.O_RDWR | os.O_CREAT)):
        try:
            handle = os.open(path, flags, 0o666)
        except OSError as error:
            problem = problem or error.strerror
            continue
        try:
            system.lock(handle)
            return handle
        except OSError as error:
            os.close(handle)
            if isinstance(error, BlockingIOError):
                return None
            problem = error.strerror
    return problem


def _forget() -> None:
    """A forked process holds nothing."""
    for lock in _held.values():
        if lock.handle is not None:
            os.close(lock.handle)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
