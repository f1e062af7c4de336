"""What a notebook's cell shows of an InputError or an interrupt in place of a traceback, and what becomes of its run."""

import ast
import contextlib
import sys
import textwrap
from types import TracebackType
from typing import Any

from lib import markup, progress
from lib.runs import status_file
from lib.text import one_line, short

WIDTH = 100
busy = False  # whether a cell of this kernel is running


def box(title: str, text: str) -> list[str]:
    """Lines for IPython: the title, the text, and how to go on with the run that is open."""
    parts = [*text.splitlines(), *_going_on()]
    lines = [line for part in parts for line in _wrapped(part)]
    rule = "─" * WIDTH
    return [rule, f"\x1b[1;31m{title}\x1b[0m", *lines, rule]


def _wrapped(text: str) -> list[str]:
    if not text or text.startswith(" "):  # code, to be copied
        return [text]
    return textwrap.wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False)


def _going_on() -> list[str]:
    runs = sys.modules.get("lib.runs")  # imported, if there is a run
    run = runs and runs.opened()
    if not run:
        return []
    checkpoint = (run / "checkpoints" / "last.pt").is_file()
    again = "training goes on after its last checkpoint" if checkpoint else "it begins again in that folder"
    return [
        "", "The run is kept as failed. To go on with it, set in the parameters",
        f"    run_dir = {short(run.path)!r}", f"and run all cells: {again}.",
    ]  # fmt: skip


def watch() -> None:
    """In a notebook's kernel: a cell's error ends up in the open run's status.json, an interrupt in a box, a frame in a table."""
    ipython = sys.modules.get("IPython")
    shell = ipython and ipython.get_ipython()
    if shell is None or _after in shell.events.callbacks["post_run_cell"]:
        return
    shell.events.register("pre_run_cell", _before)
    shell.events.register("post_run_cell", _after)
    shell.set_custom_exc((KeyboardInterrupt,), _interrupted)
    markup.show_frames_by_table(shell)


def _before(cell: Any) -> None:
    global busy
    busy = _is_code(cell.raw_cell)  # else a heartbeat would take a run that has failed for one that goes on
    progress.made()


def _is_code(text: str) -> bool:
    """Whether a cell can be run at all."""
    try:
        ast.parse(sys.modules["IPython"].get_ipython().transform_cell(text))
    except SyntaxError:
        return False
    return True


def _after(result: Any) -> None:
    global busy
    busy, error = False, result.error_in_exec
    run = sys.modules["lib.runs"].opened()
    if error is not None and run:
        with contextlib.suppress(OSError):  # a full or absent disk
            status_file.mark(
                run.path, "failed", "interrupted" if isinstance(error, KeyboardInterrupt) else one_line(error)
            )


def _interrupted(
    shell: Any, kind: type, error: BaseException, trace: TracebackType | None, tb_offset: int | None = None
) -> list[str]:
    lines = box("Interrupted", "The cell was stopped before its end.")
    shell._showtraceback(kind, error, lines)
    return lines
