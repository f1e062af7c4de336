"""python -m lib --new KIND PATH: writes a recipe for data of one's own, with what was found and guessed as comments."""

import contextlib
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from lib import RUNS, InputError, runs
from lib.files import check_path, write
from lib.recipes import plan
from lib.recipes.guesses import Line, Task, cine, kspace, segmentation
from lib.text import one_of, short

KINDS = {"segmentation": segmentation, "kspace": kspace, "cine": cine}


def new(kind: str, paths: Sequence[Path]) -> Path:
    """Writes runs/<name>.yaml, checked as `python -m lib` checks it, and prints what to do with it.

    Parameters
    ----------
    kind : one of KINDS
    paths : a folder, or a file; of cine the files of inputs and truths

    Returns
    -------
    The recipe's path.

    Raises
    ------
    InputError
        For another kind, data that nothing can be made of, and a recipe of that name.
    """
    if kind not in KINDS:
        raise InputError(f"--new {kind}", *one_of(kind, KINDS))
    if not paths:
        raise InputError(f"--new {kind}", "no path", "the files of inputs and truths" if kind == "cine" else "a folder")
    for path in paths:
        check_path(path)
        if not path.exists():
            raise InputError(path, "no such file or folder", "your data")
    name = re.sub(r"[^A-Za-z0-9]+", "_", paths[0].resolve().name.split(".")[0]).strip("_")[:60] or "mine"
    name = f"{name}_{kind}" if kind == "cine" or name in runs.RESERVED_NAMES else name
    target = RUNS / f"{name}.yaml"
    if target.exists():
        raise InputError(short(target), "there already", "another folder name, or delete it")
    head, tasks = KINDS[kind]([path.resolve() for path in paths], _free(name, paths))
    write(target, _text(f"python -m lib --new {kind} {' '.join(path.name for path in paths)}", head, tasks).encode())
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it says what was said
            plan.plan(target)
    except BaseException:
        target.unlink()
        raise
    print("\n".join([f"{short(target)}: {', '.join(task.name for task in tasks)}", *head]))
    print(f"Read its comments, change what you know better, then: .venv/bin/python -m lib {short(target)}")
    return target


def _free(name: str, paths: Sequence[Path]) -> str:
    """A name under which a prepared set can lie in data/: nothing is there, and it is no folder of the files themselves."""
    folder = (RUNS.parent / "data" / name).resolve()
    taken = folder.exists() or any(folder.is_relative_to(path.resolve()) for path in paths)
    return _free(f"{name}_prepared", paths) if taken else name


def _text(command: str, head: Sequence[str], tasks: Sequence[Task]) -> str:
    """A recipe's text: what was found, then the tasks, a comment behind each guess."""
    first = f"Written by {command}. What is guessed has a comment: change what you know better."
    lines = [_comment(first), *map(_comment, head)]
    for task in tasks:
        lines += ["", *map(_comment, task.notes), f"- task_name: {task.name}"]
        lines += [_line(line) for line in task.lines]
    return "\n".join(lines) + "\n"


def _line(line: Line) -> str:
    comment = f"  {_comment(line.why)}" if line.why else ""
    return f"  {line.key}: {_yaml(line.value)}{comment}"


def _comment(text: str) -> str:
    """One line, whatever names in the data say."""
    return "# " + " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _yaml(value: Any) -> str:
    """A value as YAML on one line: plain words without quotes."""
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_yaml(k)}: {_yaml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_yaml, value)) + "]"
    if isinstance(value, str) and re.fullmatch(r"[\w./][\w ./-]*", value) and yaml.safe_load(value) == value:
        return value
    return json.dumps(value, ensure_ascii=False)
