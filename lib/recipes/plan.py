"""A recipe, read and checked as a whole before anything starts: a YAML list of tasks.

The cine source's training_config.yaml is a recipe too: `lib.recipes.cine_config` says what becomes of its keys.
"""

import contextlib
import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib import ROOT, InputError, models, runs
from lib.data import prepared
from lib.files import check_writable
from lib.recipes import cine_config, needs
from lib.recipes.recipe_file import read
from lib.runs import parameters as tasks
from lib.runs import status_file
from lib.runs.data_sets import data_set
from lib.text import short

# Of an entry, besides its notebook's parameters:
KEYS = ("task_name", "notebook", "runs", "reuse", "notify", "output_data_dir")
OURS = ("run_dir", "inputs")  # parameters that the runner gives


@dataclass
class Task:
    """One entry, checked: `values` are the parameters it gives, `parameters` all of them, `runs` what it reads.

    weights: the task that saved_network_weights names, None where it is a path or nothing.
    """

    name: str
    notebook: Path
    values: dict[str, Any]
    parameters: dict[str, Any]
    runs: list[str] = field(default_factory=list)
    reuse: bool = False
    notify: bool = False
    output: Path | None = None
    weights: str | None = None

    @property
    def reads(self) -> list[str]:
        """The tasks, or runs by path, that it needs: `runs`, and the one whose weights it starts from."""
        return [*self.runs, *([self.weights] if self.weights else [])]

    @property
    def prepares(self) -> bool:
        """Whether it makes its `data` rather than reads it."""
        return self.role == "prepare"

    @functools.cached_property
    def role(self) -> str:
        """What its notebook is for."""
        return tasks.role(self.notebook)

    @property
    def scores_runs(self) -> bool:
        """Whether it scores what the runs have predicted, rather than a set."""
        return self.role == "evaluate" and "data" not in self.parameters

    @property
    def data(self) -> Path | None:
        """The prepared set that it makes or reads."""
        return (ROOT / self.parameters["data"]).resolve() if self.parameters.get("data") else None

    @property
    def description(self) -> dict[str, Any]:
        """Its run's task.json."""
        about = {"task": self.name, "notebook": self.notebook.stem, "role": self.role}
        return about | {"parameters": self.parameters}

    def same(self, run: Path) -> bool:
        """Whether `run` is of this notebook with these parameters, and begun after the runs that it reads."""
        found = status_file.begun(run)
        if not found or found["parameters"].keys() != self.parameters.keys() or self._outdated(run):
            return False
        return not status_file.differences(run, self.description) and not status_file.prolonged(run, self.description)

    def earlier(self) -> Path | None:
        """The newest run of this task that --resume keeps or goes on with: none of its `status_file.differences` matters."""
        fit = (p for p in self._begun() if not status_file.differences(p, self.description) and not self._outdated(p))
        return next(fit, None)

    def check_resume(self) -> None:
        """InputError if --resume would train it again from the start, since its runs were begun with other parameters.

        What it reads is left out, since its turn decides about that.
        """
        known = self.parameters.keys() - {"inputs", *(["saved_network_weights"] if self.weights else [])}
        mine = self.description | {"parameters": {k: self.parameters[k] for k in known}}
        if self.reuse and any(status_file.recorded(p)["status"] == "ok" and self.same(p) for p in runs.history()):
            return
        found = self._begun()
        tried = [p for p in found if (p / "checkpoints" / "last.pt").exists()]
        if tried and all(status_file.differences(p, mine) for p in found):
            raise InputError(
                "--resume",
                f"{short(tried[0])} was begun with {'; '.join(status_file.differences(tried[0], mine))}: give the "
                f"same to go on with it, or start again: without --resume, this task alone by --only {self.name}",
            )

    def begins_again(self) -> str:
        """Why --resume trains again from the start: what the task reads has changed; "" if it goes on or never trained."""
        tried = next((p for p in self._begun() if (p / "checkpoints" / "last.pt").exists()), None)
        if tried is None or self.earlier():
            return ""
        wrong = "; ".join(status_file.differences(tried, self.description))
        return f"begins again: {short(tried)} {f'was begun with {wrong}' if wrong else 'is older than what it reads'}"

    def _begun(self) -> list[Path]:
        """The runs of this task, notebook and `quick`, the newest first."""
        mine = self.notebook.stem, self.parameters.get("quick")
        found = [(p, status_file.begun(p)) for p in reversed(runs.history(self.name))]
        return [p for p, its in found if its and (its["notebook"], its["parameters"].get("quick")) == mine]

    def _outdated(self, run: Path) -> bool:
        """Whether a run that it reads was begun, or gone on with, after `run`; skipped ones have read nothing."""
        mine, given = status_file.recorded(run), [self.parameters.get("saved_network_weights")]
        given += self.parameters.get("inputs") or ()
        then = [status_file.recorded(ROOT / name).get("started", "") for name in given if name]
        return mine["status"] != "skipped" and any(mine["started"] < started for started in then)


def plan(path: Path, only: Iterable[str] = (), quick: bool = False, resume: bool = False) -> list[Task]:
    """The tasks of a recipe, each checked against its notebook and, with `resume`, against its runs.

    One InputError with a line for every problem.
    """
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
        for name in task.reads:
            later = f"{name} stands later, and " if name in names and name not in earlier and not only else ""
            with _noting(problems, f"recipe {path}: task {task.name}: runs: {later}"):
                if name not in earlier:
                    run = runs.find(located(name, path))
                    if task.scores_runs:
                        needs.check_run(run)
        with _noting(problems, f"recipe {path}: task {task.name}: "):
            _check_data(task, planned[: planned.index(task)])
            if resume:
                task.check_resume()
    for root in {task.output or runs.run.RUNS for task in planned}:
        with _noting(problems, f"recipe {path}: "):
            check_writable(root, runs.run.ELSEWHERE)
    if not problems:  # only then what needs torch
        for task in planned:
            with _noting(problems, f"recipe {path}: "):
                tasks.check_names(task.parameters, task.name, task.notebook.stem)
    if problems:
        raise InputError("\n".join(reversed(problems)))  # the first at the end, where one looks
    return planned


def _check_data(task: Task, earlier: list[Task]) -> None:
    """A prepared set must be there, unchanged and with what the task needs, unless an earlier task makes it; a source must hold files."""
    made = [t.data for t in earlier if t.prepares]
    if task.parameters.get("files"):
        from lib.data import cine

        cine.check_files(task.parameters["files"], task.parameters.get("task_type", ""))
    elif task.parameters.get("source"):
        data_set(task.notebook).check_source(ROOT / task.parameters["source"], task.parameters)
    elif task.parameters.get("images"):
        folder = ROOT / task.parameters["images"]
        if not any(folder.is_relative_to(t.data) for t in earlier if t.prepares):
            from lib.data import image_files

            image_files.images_in(folder)
    elif task.data and not task.prepares and task.data not in made:
        needs.check_data(task.notebook, task.parameters)
    for path in task.parameters.get("results") or ():
        needs.check_result(path)
    for other in earlier if task.scores_runs else ():
        if other.name in task.runs and other.data and other.data not in made:
            split = needs.predicted(other.notebook, other.parameters)
            needs.check_set(prepared(other.data, other.parameters.get("quick", False)), {split: True}, task.name)


@contextlib.contextmanager
def _noting(problems: list[str], where: str):
    try:
        yield
    except InputError as error:
        problems.append(f"{where}{error}")


def located(name: str, recipe: Path) -> Path | str:
    """A task's name as it is, a path counted from the recipe."""
    return recipe.resolve().parent / name if "/" in name else name


def _task(entry: dict[str, Any], number: int, folder: Path, quick: bool, names: list[str]) -> Task:
    name = entry.get("task_name")
    if not isinstance(name, str) or not re.fullmatch(tasks.NAME, name) or name in runs.NOT_TASKS:
        what = "missing" if name is None else f"got {name!r}"
        raise InputError(f"entry {number}", f"task_name: {what}", "a name of letters, digits, _ and -")
    if name in names:
        raise InputError(f"task {name}", f"the name stands twice, entries {names.index(name) + 1} and {number}")
    try:
        notebook = entry.get("notebook", models.notebook_of(str(entry.get("network_type"))))
        if not isinstance(notebook, str):
            known = (name for name in models.MODELS if models.notebook_of(name))
            raise InputError("notebook", f"missing, and network_type implies one only for {', '.join(known)}")
        notebook = tasks.notebook(notebook)
        known = tasks.parameters(notebook)
        read_by_default = known["inputs"].default if "inputs" in known else []
        wanted, flags = entry.get("runs", read_by_default) or [], [entry.get(k, False) for k in ("reuse", "notify")]
        if not isinstance(wanted, list) or not all(isinstance(w, str) for w in wanted):
            raise InputError("runs", f"got {wanted!r}", "a list of tasks' names or run folders")
        for key, flag in zip(("reuse", "notify"), flags, strict=True):
            if not isinstance(flag, bool):
                raise InputError(key, f"got {flag!r}", "true or false")
        output = entry.get("output_data_dir")
        if output is not None and (not isinstance(output, str) or not output):
            raise InputError("output_data_dir", f"got {output!r}", "a path")
        if wanted and "inputs" not in known:
            raise InputError("runs", f"{notebook.stem} reads no runs")
        if "run_dir" not in known:
            raise InputError("notebook", f"{notebook.stem} has no parameter run_dir, so a recipe can't run it")
        values = {k: v for k, v in entry.items() if k not in KEYS}
        for key in values:
            if key == "inputs":
                raise InputError("inputs", "a recipe calls them runs: names of tasks, or paths of run folders")
            if key not in known or key in OURS:
                allowed = dict.fromkeys([*KEYS, *(k for k in known if k not in OURS)])
                raise InputError(key, f"no such parameter in {notebook.stem}: {tasks.choose(key, allowed)}")
    except InputError as error:
        raise InputError(f"task {name}", error) from None
    weights = None
    for key, value in values.items():
        if key == "saved_network_weights" and isinstance(value, str) and _is_task(value, names, folder):
            weights = value  # found when its turn comes
        elif "path" in known[key].type.split("|") and isinstance(value, str) and value:
            values[key] = str((folder / value).resolve())
        elif key == "results" and isinstance(value, list):
            values[key] = [str((folder / str(p)).resolve()) for p in value]
        elif key == "files" and isinstance(value, dict):
            values[key] = {k: str((folder / str(v)).resolve()) if v else v for k, v in value.items()}
    ours = {"interactive": False, "task_name": name} | values | ({"quick": True} if quick else {})
    values = {k: v for k, v in ours.items() if k in known}
    parameters = tasks.check_values(notebook, values, name)
    if parameters.get("quick"):
        alone = {"num_workers": 0} if "num_workers" in known else {}  # starting them takes longer than quick training
        if _several(parameters.get("devices")):  # quick batches are too small to be shared
            alone |= {key: known[key].default for key in ("devices", "partition") if key in known}
        values, parameters = values | alone, parameters | alone
    return Task(name, notebook, values, parameters, wanted, *flags, output and (folder / output).resolve(), weights)


def _several(devices: Any) -> bool:
    """Whether devices are more than one GPU, by count or ids."""
    return devices > 1 if isinstance(devices, int) else isinstance(devices, list) and len(set(devices)) > 1


def _is_task(name: str, names: list[str], folder: Path) -> bool:
    """Whether saved_network_weights names a task, of this recipe or run before, rather than a file or folder."""
    there = (folder / name).is_file() or runs.has_weights(folder / name)
    return name in names or bool(re.fullmatch(tasks.NAME, name) and not name.endswith(runs.WEIGHTS) and not there)
