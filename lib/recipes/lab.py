"""python -m lib.recipes.lab: JupyterLab on copies of the notebooks, so that what is run and changed there never hinders a git pull."""

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from lib import ROOT, InputError
from lib.files import check_writable, read, write
from lib.runs import parameters
from lib.text import short


def follow(originals: Path = ROOT / "notebooks", copies: Path = parameters.MINE) -> list[str]:
    """Copies notebooks that have no copy, or whose copy's cells are as they were copied; a line for each that isn't plain.

    A copy whose cells the user has changed is never touched. One with outputs is kept in earlier/ before it is replaced.
    """
    check_writable(copies)
    notes, state = copies / ".copied.json", {}
    if notes.is_file():
        state = read(notes)
    lines, paths = [], {path.name: path for path in sorted(originals.glob("*.ipynb"))}
    for name, original in paths.items():
        now, mine = _cells(original), copies / name
        copied = _cells(mine) if mine.exists() else None
        if copied == now or (copied is not None and state.get(name) == now):
            state[name] = now if copied == now else state[name]
            continue
        if copied is not None and copied != state.get(name):
            lines.append(
                f"{short(mine)} is kept: you have changed it, and {short(original)} has changed since you have it; "
                "rename yours to get the new one"
            )
            continue
        if copied is not None:
            lines.append(f"{short(mine)} is the new one now{_kept(mine)}")
        write(mine, original.read_bytes())
        state[name] = now
    lines += [f"{short(copies / name)}: its original is gone from {short(originals)}" for name in state.keys() - paths]
    write(notes, {name: state[name] for name in sorted(state.keys() & paths)})
    return lines


def _cells(path: Path) -> str:
    """A checksum of what a person writes in a notebook: kinds, tags and sources of its cells; of damaged ones, the bytes'."""
    content = path.read_bytes()
    try:
        cells = json.loads(content)["cells"]
        words = [[c["cell_type"], c["metadata"].get("tags", []), "".join(c["source"])] for c in cells]
        content = json.dumps(words).encode()
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    return hashlib.sha256(content).hexdigest()


def _kept(mine: Path) -> str:
    """Moves a copy with outputs into earlier/, and says so."""
    if not any(cell.get("outputs") for cell in read(mine)["cells"]):
        return ""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(mine.stat().st_mtime))
    kept = mine.parent / "earlier" / f"{mine.stem}-{stamp}.ipynb"
    kept.parent.mkdir(exist_ok=True)
    os.replace(mine, kept)
    return f"; the old one with its outputs is {short(kept)}"


def main() -> None:
    """Brings the copies up to date and becomes JupyterLab on the first of them."""
    try:
        for line in follow():
            print(line, flush=True)
    except InputError as error:
        sys.exit(str(error))
    first = min((ROOT / "notebooks").glob("*.ipynb")).name
    page = f"--LabApp.default_url=/lab/tree/{first}"  # the address that is printed leads there, too
    command = [sys.executable, "-m", "jupyter", "lab", str(parameters.MINE), page, *sys.argv[1:]]
    os.chdir(ROOT)
    if os.name == "posix":
        os.execv(sys.executable, command)
    sys.exit(subprocess.call(command))


if __name__ == "__main__":
    main()
