"""A recipe, read and checked as a whole before anything starts: a YAML list of tasks.

The cine source's training_config.yaml is a recipe too: `lib.recipes.cine_config` says what becomes of its keys.
"""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from lib import ROOT, InputError, runs
from lib.data import prepared
from lib.files import check_writable
from lib.recipes import cine_config, needs
from lib.recipes.recipe_file import read
from lib.recipes.task import Task, task_of
from lib.runs import parameters
from lib.runs.data_sets import data_set
from lib.text import one_line


def plan(path: Path, only: Iterable[str] = (), quick: bool = False, resume: bool = False) -> list[Task]:
    """The tasks of a recipe, each checked against its notebook and, with `resume`, against its runs.

    One InputError with a line for every problem.
    """
    entries, planned, names, problems = read(path), [], [], []
    folder = path.resolve().parent
    for number, entry in enumerate(entries, 1):
        with collect_errors(problems, f"recipe {path}: "):
            entry = cine_config.translate(entry, folder) if cine_config.is_source(entry) else entry
            planned.append(task_of(entry, number, folder, quick, names))
        names.append(entry.get("task_name"))
    for name in only:
        if name not in names:
            problems.append(f"recipe {path}: --only: {parameters.choose(name, map(str, names))}")
    planned = [task for task in planned if not only or task.name in only]
    for task in planned:
        earlier = [n for n in names[: names.index(task.name)] if not only or n in only]
        before = len(problems)
        for name in (name for name in task.reads if name not in earlier):
            later = f"{name} stands later, and " if name in names and not only else ""
            with collect_errors(problems, f"recipe {path}: task {task.name}: runs: {later}"):
                run = resolve_run(name, path)
                if task.scores_runs:
                    needs.check_run(run)
        refused = task.weights in earlier and task.weights not in [other.name for other in planned]
        if len(problems) > before or refused:
            continue
        with collect_errors(problems, f"recipe {path}: task {task.name}: "):
            _check_data(task, planned[: planned.index(task)])
            if resume:
                task.check_resume()
    for root in {task.output or runs.run.RUNS for task in planned}:
        with collect_errors(problems, f"recipe {path}: "):
            check_writable(root, runs.run.ELSEWHERE)
            for task in (task for task in planned if (task.output or runs.run.RUNS) == root):
                check_writable(root / task.name, runs.run.ELSEWHERE)
    for task in planned if not problems else ():  # only then what needs torch
        with collect_errors(problems, f"recipe {path}: "):
            parameters.check_names(task.parameters, task.name, task.notebook.stem)
    if problems:
        raise InputError("\n".join(reversed(problems)))  # the first at the end, where one looks
    return planned


@contextlib.contextmanager
def collect_errors(problems: list[str], where: str) -> Iterator[None]:
    """Adds the line of an InputError, with `where` before it, to the problems."""
    try:
        yield
    except InputError as error:
        problems.append(f"{where}{error}")
    except (OSError, RuntimeError) as error:  # names that are too long, links in circles
        name = f"{str(getattr(error, 'filename', '') or '')[:80]}: ".removeprefix(": ")
        problems.append(f"{where}{name}{getattr(error, 'strerror', '') or one_line(error)}")


def resolve_run(name: str, recipe: Path) -> Path:
    """The newest good run of the task `name`, or the run at that path, counted from the recipe; InputError if there is none."""
    return runs.find(recipe.resolve().parent / name if "/" in name else name)


def _check_data(task: Task, earlier: list[Task]) -> None:
    """What the task reads must be there, unchanged and with what the task needs, unless an earlier task makes it.

    A prediction gets the network and data that it leaves to the training.
    """
    given, prepared_here = task.parameters, [t.data for t in earlier if t.prepares]
    if task.role == "predict":
        trained = next((t.parameters for t in earlier if t.name == task.weights), None)
        task.give(**needs.check_prediction(given, trained))
    elif given.get("saved_network_weights") and not task.weights:
        runs.find(given["saved_network_weights"])
    given = task.parameters
    if given.get("images"):
        folder = ROOT / given["images"]
        if not any(folder.is_relative_to(data) for data in prepared_here):
            from lib.data import image_files

            image_files.images_in(folder)
    elif given.get("files"):
        from lib.data import cine_files

        cine_files.check_files(given["files"], needs.splits(task.role, given))
    elif given.get("source"):
        data_set(task.notebook).check_source(ROOT / given["source"], given)
    elif task.data and not task.prepares and task.data not in prepared_here:
        needs.check_data(task.notebook, task.role, given)
    for path in given.get("results") or ():
        needs.check_result(path)
    for other in earlier if task.scores_runs else ():
        if other.name in task.runs and other.data and other.data not in prepared_here:
            split = needs.predicted(other.role, other.parameters)
            needs.check_set(prepared(other.data, other.parameters.get("quick", False)), {split: True}, task.name)
