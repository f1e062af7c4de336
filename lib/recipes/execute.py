"""Runs the tasks of a recipe in order, each by papermill in a kernel of its own, and says how they went."""

import errno
import logging
import os
import sys
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib import InputError, locks, runs
from lib.files import read
from lib.recipes import kernels, notify
from lib.recipes.plan import plan, resolve_run
from lib.recipes.task import Task
from lib.runs.status_file import is_good, prolonged, recorded, take, writer
from lib.text import short, value_or_error

WATCH = 10.0  # seconds from one look at a run's progress to the next


@dataclass
class Result:
    """How a task went: its run folder, ok | failed | skipped, the error's one line, and whether it ran just now."""

    name: str
    run: Path
    status: str
    error: str | None = None
    kept: bool = False


def run(path: Path, only: Iterable[str] = (), quick: bool = False, resume: bool = False) -> list[Result]:
    """Runs a recipe's tasks in order, each in a kernel of its own, and says what each cell does.

    A task that fails doesn't stop the others, except those that read its run or, after one that prepares,
    its data: they are skipped. `resume` keeps what is done and continues, in its old folder, what isn't or is to
    train longer. InputError, and nothing is started, where a task's runs were begun with other parameters.
    """
    planned, results, bad_data = plan(path, only, quick, resume), {}, {}
    tell = notify.Notifier(any(task.notify for task in planned))
    tell.send(f"{path.name} has started: {len(planned)} tasks", "\n".join(task.name for task in planned))
    try:
        for number, task in enumerate(planned, 1):
            title = f"[{number}/{len(planned)}] {task.name}"
            read = (results[name] for name in task.reads if name in results)
            cause = next((result for result in read if result.status != "ok"), bad_data.get(task.data))
            link_inputs(task, results, path)
            if task.notify and not cause:
                tell.send(f"{title} has started")
            result = results[task.name] = _run_or_keep(task, title, resume, cause)
            if result.status != "ok" and task.prepares:
                bad_data[task.data] = result
            print(f"{title} · {result.status}{' already' if result.kept else ''}{_behind(result.error)}", flush=True)
            if result.status == "failed":
                tell.send(f"{title} failed", f"{result.error}\n\n{notify.last_lines(result.run / 'notebook.ipynb')}")
            elif task.notify:
                tell.send(f"{title}: {result.status}", str(result.run))
    except BaseException as error:
        tell.send(f"{path.name} has stopped", f"{type(error).__name__}: {error}")
        raise
    ended = [f"{result.name}: {result.status}{_behind(result.error)}" for result in results.values()]
    tell.send(f"{path.name} has ended", "\n".join(ended))
    return list(results.values())


def link_inputs(task: Task, results: dict[str, Result], path: Path) -> None:
    """Gives a task the run folders that it reads: those of this execution's `results`, else the newest good ones."""
    if "inputs" in task.parameters:
        folders = [results[n].run if n in results else resolve_run(n, path) for n in task.runs]
        task.give(inputs=[str(folder) for folder in folders])
    if task.weights:
        folder = results[task.weights].run if task.weights in results else runs.find(task.weights)
        task.give(saved_network_weights=str(folder))


def _run_or_keep(task: Task, title: str, resume: bool, cause: Result | None) -> Result:
    old = task.earlier() if resume else None
    if kept := _kept(task, old, cause):
        return kept
    try:
        if old and not (locks.hold(old) and runs.status(old)["status"] != "running"):
            return Result(task.name, old, "failed", f"still running as {writer(old)}: wait for it or stop it")
        return _kept(task, old, cause) or _run(task, title, old, resume, cause)  # another may have ended it meanwhile
    finally:
        if old:
            locks.release(old)


def _kept(task: Task, old: Path | None, cause: Result | None) -> Result | None:
    """The result of a good run that a task keeps: its `old` one or, by `reuse`, any of the same parameters."""
    if not cause and not task.unprepared():
        for run in [*([old] if old else []), *(reversed(runs.history()) if task.reuse else ())]:
            if is_good(run) and task.same(run):
                return Result(task.name, run, "ok", kept=True)
    return None


def _run(task: Task, title: str, old: Path | None, resume: bool, cause: Result | None) -> Result:
    state = runs.status(old) if old else {"status": None}
    longer = prolonged(old, task.description) if old else ""
    again = old and (state["status"] != "ok" or longer and not cause)  # what is done stays so if it can't go on now
    from_start = task.begins_again() if resume else ""  # said of the runs there were before
    if old and state["status"] == "ok" and (problem := task.unprepared()):
        from_start = f"prepares again: {problem}"
    run = old if again else runs.create(task.name, task.output)
    try:
        take(run, task.description, decided=True)
    except InputError as problem:  # another --resume was quicker
        return Result(task.name, run, "failed", str(problem))
    if cause:
        error = f"task {cause.name} {cause.status}"
        runs.mark(run, "skipped", error, new=True)
        return Result(task.name, run, "skipped", error)
    print(f"{title} · {task.notebook.name} → {run}", flush=True)
    if told := f"continuing {short(run)} {longer}" if again and longer else from_start:
        print(f"{title} · {told}", flush=True)
    return run_in(task, run, title)


def run_in(task: Task, run: Path, title: str) -> Result:
    """Runs a task's notebook in a run folder that was taken for it, and marks how it went."""
    try:
        error = _execute(task, run, title)
    except KeyboardInterrupt:
        if runs.status(run)["status"] != "ok":
            runs.mark(run, "failed", "interrupted")
        raise
    finally:
        locks.release(run)
    if error:
        runs.mark(run, "failed", error)
    return Result(task.name, run, "failed" if error else "ok", error)


def _execute(task: Task, run: Path, title: str) -> str | None:
    """Runs a task's notebook into run/notebook.ipynb; the error's one line, or None where it went well."""
    import papermill
    from nbclient.exceptions import DeadKernelError

    logging.getLogger("papermill").setLevel(logging.CRITICAL)
    cells = [c for c in read(task.notebook)["cells"] if c["cell_type"] == "code" and "".join(c["source"]).strip()]
    hidden, log, terminal = run / ".notebook.ipynb", run / "kernel.log", sys.stdout.isatty()
    processes, begun, error, broke = kernels.Kernels(), 0, None, True

    def tell(cell: Any, cell_index: int) -> None:
        nonlocal begun
        begun += 1
        _publish(hidden)  # as it is now: a half-run notebook can be read
        if not terminal:
            print(f"{title} · cell {begun}/{len(cells) + 1}", flush=True)

    threading.Thread(target=_watch, args=(run, title, ended := threading.Event()), daemon=True).start()
    for _ in range(2):  # a kernel that fails to start is tried once more
        try:
            with open(log, "wb") as output, processes:
                papermill.execute_notebook(
                    _braces(task.notebook), _braces(hidden), task.values | {"run_dir": str(run)},
                    kernel_name="python3", language="python", kernel_manager_class=kernels.manager(processes, output, run),
                    on_cell_execute=tell, start_timeout=120, iopub_timeout=60,
                    stdout_file=kernels.Terminal() if terminal else sys.stdout,
                    progress_bar={"desc": title, "mininterval": 0} if terminal else False,
                )  # fmt: skip
            error, broke = None, False
        except papermill.PapermillExecutionError as failure:
            broke = False
            error = failure.evalue if failure.ename == "InputError" else f"{failure.ename}: {failure.evalue}"
        except DeadKernelError:
            error = kernels.death(processes[-1].returncode)
        except Exception as failure:  # the kernel's start, or the machine's
            full = isinstance(failure, OSError) and failure.errno == errno.ENOSPC
            words = f"{type(failure).__name__}: {failure} (kernel.log may say more)"
            error = f"{short(run)}: {failure.strerror.lower()}" if full else words
        finally:
            _publish(hidden)
        if begun or processes.interrupted:
            break
    ended.set()
    if error is None and (state := runs.status(run))["status"] != "ok":
        code, said = processes[-1].returncode or 0, state["error"] if recorded(run)["status"] == "ok" else ""
        error = kernels.death(code) if code < 0 else said or "the notebook ended without runs.finish"
    if not broke or processes.interrupted or not log.stat().st_size:
        log.unlink()  # it is of use only where the kernel itself broke
    if processes.interrupted:
        raise KeyboardInterrupt
    return error and kernels.one_line(error)


def _watch(run: Path, title: str, ended: threading.Event) -> None:
    """Prints once, until there is some again, that a run makes no progress."""
    said = False
    while not ended.wait(WATCH):
        state, _ = value_or_error(runs.status, run)
        note = state.get("note", "") if state else ""
        if note and not said:
            print(f"{title} · running, {note}", flush=True)
        said = bool(note)


def _publish(hidden: Path) -> None:
    """Renames the notebook that papermill has written to notebook.ipynb, if it is whole: a full disk cuts it off."""
    if hidden.exists() and value_or_error(read, hidden)[0]:
        os.replace(hidden, hidden.with_name("notebook.ipynb"))
    hidden.unlink(missing_ok=True)


def _braces(path: Path) -> str:
    return str(path).replace("{", "{{").replace("}", "}}")  # papermill formats its paths


def _behind(error: str | None) -> str:
    return f" · {error}" if error else ""


def report(results: list[Result]) -> None:
    """Prints a table of tasks with seconds and main metrics, then where notebooks and figures lie, then what failed."""
    width = max(len(r.name) for r in results)
    print(f"\n{'task':{width}}  status   seconds")
    for result in results:
        seconds = f"{runs.status(result.run)['seconds']:7.1f}"
        print(f"{result.name:{width}}  {result.status:7}  {seconds}  {result.error or ''}".rstrip())
        for name, value in runs.headline(result.run).items():
            numbers = value.items() if isinstance(value, dict) else [("", value)]
            print(f"{'':{width}}  {name}: {' · '.join(f'{k} {_number(v)}'.strip() for k, v in numbers)}")
    print()
    for result in results:
        for path in [result.run / "notebook.ipynb", *sorted((result.run / "figures").glob("*.png"))]:
            if path.exists():
                print(path)
    sys.stdout.flush()
    failed = next((r for r in results if r.status == "failed"), None)
    if failed:
        print(f"task {failed.name} failed: {failed.error}", file=sys.stderr, flush=True)


def _number(value: Any) -> str:
    return "n/a" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
