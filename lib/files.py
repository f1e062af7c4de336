"""Files that are never half there: written under another name, then renamed. And the files that a folder holds."""

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lib import InputError, processes, progress

_BLOCK, _WHOLE_LIMIT = 1 << 16, 1 << 26
_MOST_BYTES = 180  # of a file's name: 255 are allowed, a temporary one is longer
_FULL = os.strerror(errno.ENOSPC)
SETTLED = 2  # seconds within which a change may leave a file's times as they were


class DiskFullError(InputError, OSError):
    """A file couldn't be written whole, since no space is left."""


def file_name(text: str) -> str:
    """A text, which data may have brought, as the name of a file: no path, nothing hidden, no more than a name may hold.

    A text of letters, digits, blanks and . _ + = , ( ) - stays as it is. Of others the rest becomes _, and a part of their
    checksum keeps two of them apart.
    """
    name = re.sub(r"^[. ]|[^\w .+=,()-]|\s$", "_", text) or "_"
    if name == text and len(os.fsencode(name)) <= _MOST_BYTES:
        return name
    stem, ending = re.fullmatch(r"(.*?)((?:\.\w{1,5}){0,2})", name, re.DOTALL).groups()
    return f"{stem[:50]}-{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}{ending}"


@contextlib.contextmanager
def replacing(path: os.PathLike | str) -> Iterator[Path]:
    """A temporary name beside `path` to write to; it becomes `path` at the end, or vanishes after an exception.

    What processes of this machine that were killed have left in the folder is deleted first. DiskFullError if it is.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    clear(path.parent)
    name = path.name if len(os.fsencode(path.name)) <= 100 else hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]
    temporary = path.with_name(f".{name}.{processes.signature()}.partial")
    try:
        yield temporary
        os.replace(temporary, path)
        if path.name != "status.json":  # a heartbeat
            progress.made()
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
    """Deletes temporary files and folders in a folder whose process, of this machine, is gone."""
    for name in os.listdir(folder):
        if name.endswith(".partial") and processes.has_left(name.removesuffix(".partial")):
            with contextlib.suppress(OSError):
                shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()


FREE_BYTES = 1 << 26  # what a file holds may take these 64 MiB, and
MOST_COMPRESSED = 1100  # so many bytes more for each that is stored: gzip reaches 1032


def check_claim(path: Path, what: str, claimed: int, stored: int) -> None:
    """InputError if something in a file would be far larger in memory than any compression can have made it.

    Parameters
    ----------
    path : of the file
    what : is in it
    claimed : bytes that it takes by what the file says of it
    stored : bytes of it that are there
    """
    if claimed > FREE_BYTES + MOST_COMPRESSED * stored:
        raise InputError(
            path, f"{what} takes {claimed:,} bytes, {stored:,} are stored", f"at most {MOST_COMPRESSED} to one"
        )


KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
KINDS |= {stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


def check_file(path: Path) -> None:
    """InputError unless a path, or the link there, leads to a regular file: not to a folder, a pipe or a device."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) in (errno.ENOENT, errno.ELOOP) and path.is_symlink():
            raise InputError(
                path, f"a link to {os.readlink(path)}, which isn't there: fetch the file it stands for"
            ) from None
        missing = getattr(error, "errno", None) in (errno.ENOENT, errno.ENOTDIR)
        words = "no such file" if missing else f"can't be opened: {getattr(error, 'strerror', '') or error}"
        raise InputError(path, words) from None
    if not stat.S_ISREG(mode):
        raise InputError(path, f"not a file but {KINDS.get(stat.S_IFMT(mode), 'something else')}", "a file")


def check_path(path: Path) -> None:
    """InputError for what can't be anything's path: too long, with a null character, or a link in a circle."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    except (OSError, ValueError) as error:
        name = str(path) if len(str(path)) < 300 else f"{str(path)[:200]}…{str(path)[-60:]}"
        raise InputError(name, f"no path: {getattr(error, 'strerror', None) or error}") from None


def check_no_pipe(path: Path) -> None:
    """InputError for a pipe, a socket or a device, whose reading might never end; what isn't there is for the reader to tell."""
    with contextlib.suppress(OSError):
        if path.exists() and not path.is_file() and not path.is_dir():
            check_file(path)


def list_files(folder: os.PathLike | str, endings: tuple[str, ...], deep: bool = True) -> list[Path]:
    """The files of a folder, with `deep` of its subfolders too, whose names end like this in any case, sorted.

    Links to files and folders are followed, a folder within itself is not entered again. Hidden files and folders (macOS
    writes `._` files beside others) and what isn't a file are skipped. InputError for a link that leads nowhere.
    """
    paths = sorted(_below(Path(folder), deep, ()))
    files = [path for path in paths if path.name.lower().endswith(endings) and not path.is_dir()]
    for path in files:
        if not path.exists():
            check_file(path)
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
        temporary.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "backslashreplace"))


def compact(content: Any) -> str:
    """JSON of plain values without a line's end, many times as fast as `write`'s, for what no person reads."""
    return json.dumps(content, separators=(",", ":"))


def check_writable(folder: Path, hint: str = "") -> None:
    """InputError, in the system's words and with a hint, where a folder can't be made or written; leaves no trace."""
    existing = next(p for p in (folder, *folder.parents) if os.path.lexists(p))
    if existing.is_symlink() and not existing.exists():
        raise InputError(existing, f"a link to {os.readlink(existing)}, which isn't there{hint}")
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
    """The content of a JSON file; InputError if it isn't JSON."""
    path = Path(path)
    check_no_pipe(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(path, f"can't be read as JSON: {' '.join(str(error).split())[:120]}") from None


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


def is_settled(known: list[int]) -> bool:
    """Whether a file of this state would show a change: one that was written within the last seconds may not."""
    return time.time() - max(known[1:]) / 1e9 > SETTLED


def remember(path: Path, seen: list[int], digest: str) -> None:
    """Takes the fingerprint that another process has found of a file in the state `seen`."""
    _known[(str(path), *seen)] = digest


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
