"""A recipe: a YAML list of tasks, checked as a whole before anything starts, then run in order by papermill.

The cine source's training_config.yaml is a recipe too: `lib.cine_config` says what becomes of its keys.
"""

import contextlib
import logging
import os
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lib import ROOT, InputError, cine_config, kernels, notify, runs, tasks
from lib.data import checks, prepared

# Of an entry, besides its notebook's parameters:
KEYS = ("task_name", "notebook", "runs", "reuse", "notify", "output_data_dir")
OURS = ("run_dir", "inputs")  # parameters that the runner gives
UNCOMPARED = ("run_dir", "interactive")  # parameters that don't change the result


@dataclass
class Task:
    """One entry, checked: `values` are the parameters it gives, `parameters` all of them, `runs` what it reads."""

    name: str
    notebook: Path
    values: dict[str, Any]
    parameters: dict[str, Any]
    runs: list[str] = field(default_factory=list)
    reuse: bool = False
    notify: bool = False
    output: Path | None = None

    @property
    def prepares(self) -> bool:
        """Whether it makes its `data` (a 1x notebook) rather than reads it."""
        return self.notebook.stem.startswith("1")

    @property
    def data(self) -> Path | None:
        """The prepared set that it makes or reads."""
        return (ROOT / self.parameters["data"]).resolve() if self.parameters.get("data") else None

    def same(self, run: Path) -> bool:
        """Whether `run` is of this notebook with these parameters."""
        try:
            found = runs.read(run / "task.json")
        except (OSError, ValueError):
            return False
        mine, its = (
            {k: v for k, v in p.items() if k not in UNCOMPARED} for p in (self.parameters, found["parameters"])
        )
        return found["notebook"] == self.notebook.stem and its == mine


@dataclass
class Result:
    """How a task went: its run folder, ok | failed | skipped, the error's one line, and whether it ran just now."""

    name: str
    run: Path
    status: str
    error: str | None = None
    kept: bool = False


# Reading


class _Loader(yaml.SafeLoader):
    """YAML in which 1e-4 is a number (YAML 1.1 wants 1.0e-4) and a key may not stand twice."""

    def construct_mapping(self, node, deep=False):
        keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for number, key in enumerate(keys):
            if key.value in (k.value for k in keys[:number]):
                raise InputError(f"line {key.start_mark.line + 1}: key {key.value!r} stands twice")
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def read(path: Path) -> list[dict[str, Any]]:
    """The entries of a recipe as they stand there; InputError where it isn't a YAML list of mappings."""
    try:
        entries = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise InputError(f"recipe {path}: {error.strerror}") from None
    except InputError as error:
        raise InputError(f"recipe {path}: {error}") from None
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        words = getattr(error, "problem", None) or " ".join(str(error).split())
        raise InputError(f"recipe {path}: {where}not YAML: {words}") from None
    if not isinstance(entries, list) or not entries:
        found = "nothing" if not entries else f"a {type(entries).__name__}"
        raise InputError(f"recipe {path}: got {found}, expected a list of tasks (- task_name: …)")
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict):
            raise InputError(f"recipe {path}: entry {number}: got {entry!r}, expected a mapping with task_name")
    return entries


def plan(path: Path, only: Iterable[str] = (), quick: bool = False) -> list[Task]:
    """The tasks of a recipe, each checked against its notebook; one InputError with a line for every problem."""
    entries, planned, names, problems = read(path), [], [], []
    for number, entry in enumerate(entries, 1):
        with _noting(problems, f"recipe {path}: "):
            folder = path.resolve().parent
            entry = cine_config.translate(entry, folder) if cine_config.is_source(entry) else entry
            planned.append(_task(entry, number, folder, quick, names))
        names.append(entry.get("task_name"))
    for name in only:
        if name not in names:
            problems.append(f"recipe {path}: --only: {tasks.choose(name, map(str, names))}")
    planned = [task for task in planned if not only or task.name in only]
    for task in planned:
        earlier = [n for n in names[: names.index(task.name)] if not only or n in only]
        for name in task.runs:
            later = f"{name} stands later, and " if name in names and name not in earlier and not only else ""
            with _noting(problems, f"recipe {path}: task {task.name}: runs: {later}"):
                if name not in earlier:
                    runs.find(_found(name, path))
        with _noting(problems, f"recipe {path}: task {task.name}: "):
            _check_data(task, planned[: planned.index(task)])
    if not problems:  # only then what needs torch
        for task in planned:
            with _noting(problems, f"recipe {path}: "):
                tasks.check_names(task.parameters, task.name)
    if problems:
        raise InputError("\n".join(reversed(problems)))  # the first at the end, where one looks
    return planned


def _check_data(task: Task, earlier: list[Task]) -> None:
    """A prepared set must be there and unchanged, unless an earlier task makes it; a source must hold files."""
    if task.parameters.get("files"):
        from lib.data import cine

        cine.check_files(task.parameters["files"], task.parameters.get("task_type", ""))
    elif task.parameters.get("source"):
        _check_source(task.notebook.stem, ROOT / task.parameters["source"], task.parameters)
    elif task.parameters.get("images"):
        from lib.data import pairs

        folder = ROOT / task.parameters["images"]
        if not any(folder.is_relative_to(t.data) for t in earlier if t.prepares):
            pairs.images_in(folder)
    elif task.data and not task.prepares and task.data not in [t.data for t in earlier if t.prepares]:
        folder = prepared(task.data, task.parameters.get("quick", False))
        counts, kind = checks.read_set(folder)["counts"], task.parameters.get("task_type") or ""
        needed = ["train", "val"] * ("train" in kind) + ["test"] * ("predict" in kind)
        for split in needed:
            if not counts[split]:
                raise InputError(f"{folder}: its set.json lists no files for {split}: task_type {kind} needs them")


def _check_source(notebook: str, source: Path, parameters: dict[str, Any]) -> None:
    """The quick checks of a user's folder, by the notebook that reads it."""
    from lib.data import matching, pairs, slices

    if notebook == "13_prepare_volumes":
        matching.find(source, *(parameters[k] for k in ("volume_files", "segmentation_files", "split", "persons")))
        return
    if notebook in ("12_prepare_slices", "14_prepare_pairs"):
        (slices if notebook.startswith("12") else pairs).find(source)
        return
    for file in checks.source_files(source):
        checks.kspace_file(file)


@contextlib.contextmanager
def _noting(problems: list[str], where: str):
    try:
        yield
    except InputError as error:
        problems.append(f"{where}{error}")


def _found(name: str, recipe: Path) -> Path | str:
    """A task's name as it is, a path counted from the recipe."""
    return recipe.resolve().parent / name if "/" in name else name


def _task(entry: dict[str, Any], number: int, folder: Path, quick: bool, names: list[str]) -> Task:
    name = entry.get("task_name")
    if not isinstance(name, str) or not re.fullmatch(tasks.NAME, name) or name in runs.NOT_TASKS:
        what = "missing" if name is None else f"got {name!r}"
        raise InputError(f"entry {number}: task_name: {what}, expected a name of letters, digits, _ and -")
    if name in names:
        raise InputError(f"task {name}: the name stands twice, entries {names.index(name) + 1} and {number}")
    try:
        notebook = entry.get("notebook", tasks.IMPLIED.get(str(entry.get("network_type"))))
        if not isinstance(notebook, str):
            raise InputError(f"notebook: missing, and network_type implies one only for {', '.join(tasks.IMPLIED)}")
        notebook = tasks.notebook(notebook)
        known = tasks.parameters(notebook)
        read_by_default = known["inputs"].default if "inputs" in known else []
        wanted, flags = entry.get("runs", read_by_default) or [], [entry.get(k, False) for k in ("reuse", "notify")]
        if not isinstance(wanted, list) or not all(isinstance(w, str) for w in wanted):
            raise InputError(f"runs: got {wanted!r}, expected a list of tasks' names or run folders")
        for key, flag in zip(("reuse", "notify"), flags, strict=True):
            if not isinstance(flag, bool):
                raise InputError(f"{key}: got {flag!r}, expected true or false")
        output = entry.get("output_data_dir")
        if output is not None and (not isinstance(output, str) or not output):
            raise InputError(f"output_data_dir: got {output!r}, expected a path")
        if wanted and "inputs" not in known:
            raise InputError(f"runs: {notebook.stem} reads no runs")
        if "run_dir" not in known:
            raise InputError(f"notebook: {notebook.stem} has no parameter run_dir, so a recipe can't run it")
        taken = [k for k in KEYS if not (k == "reuse" and k in known)]  # a notebook may have a `reuse` of its own
        flags[0] = flags[0] and "reuse" in taken
        values = {k: v for k, v in entry.items() if k not in taken}
        for key in values:
            if key not in known or key in OURS:
                allowed = [*KEYS, *(k for k in known if k not in OURS)]
                raise InputError(f"{key}: no such parameter in {notebook.stem}: {tasks.choose(key, allowed)}")
    except InputError as error:
        raise InputError(f"task {name}: {error}") from None
    for key, value in values.items():
        if key == "saved_network_weights" and value in names:
            wanted = [*wanted, value]  # an earlier task's: found when its turn comes
        elif "path" in known[key].type.split("|") and isinstance(value, str) and value:
            values[key] = str((folder / value).resolve())
        elif key == "results" and isinstance(value, list):
            values[key] = [str((folder / str(p)).resolve()) for p in value]
        elif key == "files" and isinstance(value, dict):
            values[key] = {k: str((folder / str(v)).resolve()) if v else v for k, v in value.items()}
    ours = {"interactive": False, "task_name": name} | values | ({"quick": True} if quick else {})
    values = {k: v for k, v in ours.items() if k in known}
    parameters = tasks.check_values(notebook, values, name)
    return Task(name, notebook, values, parameters, wanted, *flags, output and (folder / output).resolve())


# Running


def run(path: Path, only: Iterable[str] = (), quick: bool = False, resume: bool = False) -> list[Result]:
    """Runs a recipe's tasks in order, each in a kernel of its own, and says what each cell does.

    A task that fails doesn't stop the others, except those that read its run or, after a preparing notebook
    (1x), its data: they are skipped. `resume` keeps what is done and continues what isn't in its old folder.
    """
    planned, results, bad_data = plan(path, only, quick), {}, {}
    tell = notify.Notifier(any(task.notify for task in planned))
    tell.send(f"{path.name} has started: {len(planned)} tasks", "\n".join(task.name for task in planned))
    try:
        for number, task in enumerate(planned, 1):
            title = f"[{number}/{len(planned)}] {task.name}"
            ours = {name: results[name] for name in task.runs if name in results}
            cause = next((r for r in ours.values() if r.status != "ok"), bad_data.get(task.data))
            _use(task, ours, path)
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


def _use(task: Task, ours: dict[str, Result], path: Path) -> None:
    """Puts the run folders that a task reads into its parameters: this execution's, else the newest good ones."""
    if "inputs" in task.parameters:
        found = [ours[n].run if n in ours else runs.find(_found(n, path)) for n in task.runs]
        task.values["inputs"] = task.parameters["inputs"] = [str(p) for p in found]
    weights = task.parameters.get("saved_network_weights")
    if weights in ours:
        task.values["saved_network_weights"] = task.parameters["saved_network_weights"] = str(ours[weights].run)


def _run_or_keep(task: Task, title: str, resume: bool, cause: Result | None) -> Result:
    old = next((p for p in reversed(runs.history(task.name)) if task.same(p)), None) if resume else None
    state = runs.status(old) if old else {"status": None}
    if not cause:
        done = [old] if state["status"] == "ok" else reversed(runs.history()) if task.reuse else []
        for run in done:
            if runs.status(run)["status"] == "ok" and task.same(run):
                return Result(task.name, run, "ok", kept=True)
    if state["status"] == "running":
        return Result(task.name, old, "failed", f"still running as process {state['pid']}: wait for it or stop it")
    run = runs.create(task.name, task.output) if state["status"] in (None, "ok") else old
    description = {"task": task.name, "notebook": task.notebook.stem, "parameters": task.parameters}
    runs.write(run / "task.json", description)
    if cause:
        error = f"task {cause.name} {cause.status}"
        runs.mark(run, "skipped", error, new=True)
        return Result(task.name, run, "skipped", error)
    print(f"{title} · {task.notebook.name} → {run}", flush=True)
    runs.mark(run, "running", new=True)
    try:
        error = _execute(task, run, title)
    except KeyboardInterrupt:
        if runs.status(run)["status"] != "ok":
            runs.mark(run, "failed", "interrupted")
        raise
    if error:
        runs.mark(run, "failed", error)
    return Result(task.name, run, "failed" if error else "ok", error)


def _execute(task: Task, run: Path, title: str) -> str | None:
    """Runs a task's notebook into run/notebook.ipynb; the error's one line, or None where it went well."""
    import papermill
    from nbclient.exceptions import DeadKernelError

    logging.getLogger("papermill").setLevel(logging.CRITICAL)
    cells = [c for c in runs.read(task.notebook)["cells"] if c["cell_type"] == "code" and "".join(c["source"]).strip()]
    hidden, log, terminal = run / ".notebook.ipynb", run / "kernel.log", sys.stdout.isatty()
    processes, begun, error, broke = kernels.Kernels(), 0, None, True

    def tell(cell: Any, cell_index: int) -> None:
        nonlocal begun
        begun += 1
        os.replace(hidden, run / "notebook.ipynb")  # as it is now: a half-run notebook can be read
        if not terminal:
            print(f"{title} · cell {begun}/{len(cells) + 1}", flush=True)

    for _ in range(2):  # a kernel that fails to start is tried once more
        try:
            with open(log, "wb") as output, processes:
                papermill.execute_notebook(
                    _braces(task.notebook), _braces(hidden), task.values | {"run_dir": str(run)},
                    kernel_name="python3", language="python", kernel_manager_class=kernels.manager(processes, output),
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
            error = f"{type(failure).__name__}: {failure} (kernel.log may say more)"
        finally:
            if hidden.exists():
                os.replace(hidden, run / "notebook.ipynb")
        if begun or processes.interrupted:
            break
    if error is None and runs.status(run)["status"] != "ok":
        code = processes[-1].returncode or 0
        error = kernels.death(code) if code < 0 else "the notebook ended without runs.finish"
    if not broke or processes.interrupted or not log.stat().st_size:
        log.unlink()  # it is of use only where the kernel itself broke
    if processes.interrupted:
        raise KeyboardInterrupt
    return error and kernels.one_line(error)


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
