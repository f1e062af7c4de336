"""What the overview notebook shows: the environment in one line each, the data there are, every notebook with its last run."""

import contextlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import textwrap
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from lib import ROOT, RUNS
from lib.files import list_files, read
from lib.markup import Html, tag
from lib.runs import listing
from lib.runs.data_sets import data_sets
from lib.runs.status_file import QUIET_WORDS
from lib.text import pluralize, short, value_or_error

DATA = ROOT / "data"
SAMPLES = DATA / "samples"
SHARES = (22, 25, 12, 13, 17, 11)  # the widths of the columns of `notebooks`
CODE = "font-size:0.9em;padding:0 2px"
BAD = ("failed", "killed", "skipped", "damaged")
GOAL = re.compile(
    r"(?P<goal>.+?) Reads (?P<reads>.+?)(?:, writes (?P<writes>.+?))?; (?P<time>.+?)\.(?P<more> .*)?", re.DOTALL
)


def environment() -> list[str]:
    """One line for each thing that a run depends on, with a word on what to do where something is missing."""
    import psutil
    import torch

    from lib import accelerators

    packages = ("torch", "fastai", "jupyterlab", "papermill", "h5py", "scikit-image")
    gpus = accelerators.names()
    free = shutil.disk_usage(ROOT).free
    memory = psutil.virtual_memory()
    return [
        f"Python {platform.python_version()} on {platform.system()} {platform.machine()}",
        " · ".join(map(_version, packages)),
        f"GPU: {', '.join(gpus) if gpus else 'none; everything runs on the CPU'}",
        f"CPU: {os.cpu_count()} cores, {torch.get_num_threads()} threads for torch",
        f"memory: {memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free",
        f"disk: {free / 2**30:.0f} GiB free{'' if free > 2 * 2**30 else ': too little, a demo needs about 1 GiB'}",
        f"runs: {len(listing.folders())} in {RUNS.name}/",
    ]


def _version(package: str) -> str:
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return f"{package} missing: install requirements.txt"


# Notebooks


class Goal(NamedTuple):
    """What the line under a notebook's title says: what it does, reads and writes, how long it takes."""

    goal: str
    reads: str
    writes: str
    time: str


def goal(path: Path) -> Goal:
    """Of "> Goal. Reads X, writes Y; time." its four parts; the whole line as the goal where it has another form."""
    first = "".join(json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"])
    line = next((line[2:].strip() for line in first.splitlines() if line.startswith("> ")), "")
    parts = GOAL.fullmatch(line)
    if not parts:
        return Goal(line, "", "", "")
    return Goal(parts["goal"] + (parts["more"] or ""), parts["reads"], parts["writes"] or "", parts["time"])


def notebooks(run_folder: Path) -> pd.DataFrame:
    """A row a notebook, in order: link, goal, reads, writes, time, its last run with status and seconds; in HTML.

    Links count from the folder of the notebook that shows the table: the kernel's, if notebooks lie there, else `run_folder`, where a
    recipe leaves the executed one. An executed notebook is linked where Lab can open it.
    """
    shown_in = Path.cwd() if any(Path.cwd().glob("[0-9][0-9]_*.ipynb")) else run_folder
    last: dict[str, listing.Row] = {}
    for row in reversed(listing.rows()):
        if row.notebook and row.path.is_dir():
            last[row.notebook] = row
    rows = []
    for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        parts = goal(path)
        beside = shown_in / path.name  # in a copy of the folder, the copy's
        row = {"notebook": _link(beside if beside.is_file() else path, path.stem, shown_in)}
        row |= {name: _code(text) for name, text in parts._asdict().items()}
        rows.append(row | {"last run": _last(last.get(path.stem), shown_in)})
    return pd.DataFrame(rows, dtype=object)


def _last(row: listing.Row | None, shown_in: Path) -> Html | str:
    """The last run as a status, when, how long, what went wrong, and a link to what it has executed."""
    if row is None:
        return "not run yet"
    quiet = f", {row.message}" if row.status == "running" and row.message.startswith(QUIET_WORDS) else ""
    words = [tag("b", f"{listing.state(row.status)}{quiet}"), listing.moment(row.started)]
    words += [listing.duration(row.seconds)] if row.seconds is not None else []
    words += [textwrap.shorten(row.message, 120, placeholder=" …")] if row.status in BAD else []
    executed = row.path / "notebook.ipynb"
    if executed.is_file() and executed.is_relative_to(lab_root()):
        words.append(_link(executed, "open it", shown_in))
    return Html("<br>").join(words)


def lab_root() -> Path:
    """The folder that the JupyterLab of this kernel serves; the repository where none does."""
    from jupyter_server.serverapp import list_running_servers

    with contextlib.suppress(OSError, ValueError):
        for server in list_running_servers():
            if server["pid"] == os.getppid():
                return Path(server["root_dir"]).resolve()
    return ROOT


def _link(path: Path, text: str, shown_in: Path) -> Html:
    return tag("a", text, href=Path(os.path.relpath(path, shown_in)).as_posix())


def _code(text: str) -> Html:
    """Backticks as code, which may break after a slash."""
    parts = re.split(r"`([^`]+)`", text)
    parts[1::2] = [tag("code", Html("/<wbr>").join(p.split("/")), style=CODE) for p in parts[1::2]]
    return Html("").join(parts)


# Data


def samples() -> pd.DataFrame:
    """A row a person of data/samples, as its README.md lists the scans: what there is of them, license, files missing."""
    people: dict[str, list[list[str]]] = {}
    for cells in _rows(SAMPLES / "README.md", 5):
        words = cells[0].rpartition("/")[2].split(",")[0].removesuffix(".h5").split("_")
        letter = next((i for i, word in enumerate(words) if len(word) == 1), 0)
        people.setdefault("_".join(words[: letter + 1]), []).append(cells)
    rows = []
    for person, lines in people.items():
        names = [name.strip() for cells in lines for name in cells[0].split(",")]
        missing = [name for name in names if not any(SAMPLES.glob(f"{name}*"))]
        license = ", ".join(dict.fromkeys(cells[4].partition(" (")[0] for cells in lines))
        row = {"person": person, "what it is": lines[0][1], "files": ", ".join(names), "license": license}
        rows.append(row | {"there": f"✗ {', '.join(missing)} missing: restore it from git" if missing else "✓ yes"})
    return pd.DataFrame(rows)


def _rows(readme: Path, columns: int) -> list[list[str]]:
    """The cells of a README's table rows that have so many columns, without head and markup."""
    lines = [line.strip() for line in readme.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    rows = [[re.sub(r"[`*]", "", cell).strip() for cell in line.strip("|").split("|")] for line in lines]
    heads = [i - 1 for i, row in enumerate(rows) if set("".join(row)) <= set("-: ")]
    return [row for i, row in enumerate(rows) if len(row) == columns and i not in heads and i - 1 not in heads]


def sets() -> pd.DataFrame:
    """A row a prepared set under data/: what it is, its persons and cases in each split; those missing with what makes them.

    Folders that hold other files, such as a user's own, are listed too.
    """
    prepared, makers = {p.parent.name: p for p in sorted(DATA.glob("*/set.json"))}, _makers()
    rows = [{"set": name} | _counts(path) for name, path in prepared.items() if not name.endswith("-quick")]
    for path in sorted(p for p in DATA.glob("*/") if p != SAMPLES and p.name not in (*prepared, *makers)):
        if files := value_or_error(list_files, path, ("",))[0]:
            rows.append({"set": path.name, "what it is": f"{pluralize(len(files), 'file')}, not prepared yet"})
    for name, maker in makers.items():
        if name not in prepared:
            rows.append({"set": name, "what it is": f"not there yet; {maker} makes it"})
    return pd.DataFrame(rows, columns=["set", "what it is", "train", "val", "test"], dtype=object).fillna("–")


def _makers() -> dict[str, str]:
    """The sets that data/README.md lists, with what it says of their making, and those of notebooks that it doesn't name."""
    listed = {
        name.strip().removesuffix("/"): maker.removeprefix("notebooks/").removesuffix(".ipynb")
        for names, maker, _ in _rows(DATA / "README.md", 3)
        for name in names.split(",")
    }
    makers = "\n".join(listed.values())
    return listed | {Path(s.folder).name: s.notebook.stem for s in data_sets() if s.notebook.stem not in makers}


def _counts(path: Path) -> dict[str, str]:
    try:
        content = read(path)
        counts = {"what it is": f"{content['kind']}, from {short(Path(content['source']))}"}
        for split in ("train", "val", "test"):
            cases = sum(file["split"] == split for file in content["files"])
            people = len(content.get("persons", {}).get(split, ()))
            counts[split] = f"{cases} case{'s' * (cases != 1)} of {people}" if cases else "–"
        return counts
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {"what it is": "set.json is unreadable: prepare the set anew"}
