"""Files that are never half there: written under another name, then renamed. And the files that a folder holds."""

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from lib import InputError

_BLOCK, _WHOLE_LIMIT = 1 << 16, 1 << 26
_FULL = os.strerror(errno.ENOSPC)


class DiskFullError(InputError, OSError):
    """A file couldn't be written whole, since no space is left."""


@contextlib.contextmanager
def replacing(path: os.PathLike | str) -> Iterator[Path]:
    """A temporary name beside `path` to write to; it becomes `path` at the end, or vanishes after an exception.

    What processes of this machine that were killed have left in the folder is deleted first. DiskFullError if it is.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    clear(path.parent)
    temporary = path.with_name(f".{path.name}.{_place()}.{os.getpid()}-{threading.get_ident()}.partial")
    try:
        yield temporary
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        if _is_of_full_disk(error, path.parent):
            raise DiskFullError(path, _FULL.lower()) from None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _is_of_full_disk(error: Exception, folder: Path) -> bool:
    """HDF5 has the system's words among its own; torch's say nothing of it."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC or _FULL in str(error):
        return True
    return isinstance(error, RuntimeError) and shutil.disk_usage(folder).free < 1 << 20


def clear(folder: Path) -> None:
    """Deletes temporary files in a folder whose process, of this machine, is gone."""
    for name in os.listdir(folder):
        match = re.fullmatch(rf"\..+\.{re.escape(_place())}\.(\d+)-\d+\.partial", name)
        if match and not _alive(int(match[1])):
            with contextlib.suppress(OSError):
                (folder / name).unlink()


@cache
def _place() -> str:
    """This machine, and where a container numbers its processes apart, this container."""
    space = os.readlink("/proc/self/ns/pid") if os.path.exists("/proc/self/ns/pid") else ""
    return f"{socket.gethostname()}{re.sub('[^0-9]+', '-', space).rstrip('-')}"


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True  # another user's, or no number of a process
    return True


def list_files(folder: os.PathLike | str, endings: tuple[str, ...], deep: bool = True) -> list[Path]:
    """The files of a folder, with `deep` of its subfolders too, whose names end like this in any case, sorted.

    Links to files and folders are followed, a folder within itself is not entered again. Hidden files and folders (macOS
    writes `._` files beside others) and what isn't a file are skipped. InputError for a link that leads nowhere.
    """
    paths = sorted(_below(Path(folder), deep, ()))
    files = [path for path in paths if path.name.lower().endswith(endings) and not path.is_dir()]
    for path in files:
        if not path.exists():
            raise InputError(path, f"a link to {os.readlink(path)}, which isn't there: fetch the file it stands for")
    return [path for path in files if path.is_file()]


def _below(folder: Path, deep: bool, above: tuple[Path, ...]) -> Iterator[Path]:
    above = (*above, folder.resolve())
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        yield path
        if deep and path.is_dir() and path.resolve() not in above:
            yield from _below(path, deep, above)


def write(path: os.PathLike | str, content: Any) -> None:
    """Writes bytes, a text, or anything else as strict JSON (NaN and infinities as null), in one step."""
    if not isinstance(content, bytes | str):
        content = json.dumps(_plain(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    with replacing(path) as temporary:
        temporary.write_bytes(content if isinstance(content, bytes) else content.encode())


def check_writable(folder: Path, hint: str = "") -> None:
    """InputError, in the system's words and with a hint, where a folder can't be made or written; leaves no trace."""
    existing = next(p for p in (folder, *folder.parents) if os.path.lexists(p))
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise InputError(folder, f"can't be written ({error.strerror}){hint}") from None


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):  # numpy and torch
        return _plain(value.tolist())
    return value


def read(path: os.PathLike | str) -> Any:
    """The content of a JSON file."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def checksum(path: os.PathLike | str) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(path: Path) -> str:
    """SHA-256 of a file up to 64 MiB; of a larger one, of its size and 64 evenly spaced blocks of 64 KiB.

    A file that this process has read before, or knows the fingerprint of, and whose size and times are the same, is not
    read again.
    """
    key = (str(path), *state(path))
    if key not in _known:
        _known[key] = _digest(path, key[1])
    return _known[key]


_known: dict[tuple[Any, ...], str] = {}  # (path, size, times): fingerprint


def state(path: Path) -> list[int]:
    """A file's size, and the times of its last writing and last change in ns."""
    about = path.stat()
    return [about.st_size, about.st_mtime_ns, about.st_ctime_ns]


def remember(path: Path, digest: str) -> None:
    """Takes the fingerprint that another process has found of a file as it is."""
    _known[(str(path), *state(path))] = digest


def is_whole(path: Path) -> bool:
    """Whether `fingerprint` reads all of a file."""
    return path.stat().st_size <= _WHOLE_LIMIT


def _digest(path: Path, size: int) -> str:
    if size <= _WHOLE_LIMIT:
        return checksum(path)
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for i in range(64):
            file.seek((size - _BLOCK) * i // 63)
            digest.update(file.read(_BLOCK))
    return digest.hexdigest()
