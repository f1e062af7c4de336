"""A task: one entry of a recipe, checked against its notebook, and what its earlier runs have to do with it."""

import functools
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field

from lib import ROOT, InputError, models, runs
from lib.data.index import prepared, read_set
from lib.files import checksum, read
from lib.models import own
from lib.runs import parameters, status_file
from lib.runs.schema import Schema
from lib.text import errors_at, short, value_or_error

GIVEN_BY_RUNNER = ("run_dir", "inputs")  # parameters that an entry may not give


class Entry(Schema):
    """What the runner reads of an entry, besides its name and notebook."""

    runs: list[str] | None = Field(None, description="a list of tasks' names or run folders")
    reuse: bool = Field(False, description="true or false")
    notify: bool = Field(False, description="true or false")
    output_data_dir: str | None = Field(None, min_length=1, description="a path")


KEYS = ("task_name", "notebook", *Entry.model_fields)  # of an entry; all others are its notebook's parameters


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

    def give(self, **values: Any) -> None:
        """Sets parameters, as if the entry gave them."""
        self.values, self.parameters = self.values | values, self.parameters | values

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
        return parameters.role(self.notebook)

    @property
    def scores_runs(self) -> bool:
        """Whether it scores what the runs have predicted, rather than a set."""
        return self.role == "evaluate" and "data" not in self.parameters

    @property
    def data(self) -> Path | None:
        """The prepared set that it makes or reads."""
        return (ROOT / self.parameters["data"]).resolve() if self.parameters.get("data") else None

    def unprepared(self) -> str:
        """Why the set that it has prepared has to be prepared again: gone or changed; "" if it is whole, or it prepares none."""
        if not (self.prepares and self.data):
            return ""
        return value_or_error(read_set, prepared(self.data, self.parameters.get("quick", False)))[1]

    @property
    def description(self) -> dict[str, Any]:
        """Its run's task.json."""
        about = {"task": self.name, "notebook": self.notebook.stem, "role": self.role}
        return about | {"parameters": self.parameters}

    def same(self, run: Path) -> bool:
        """Whether `run` is of this notebook with these parameters, and begun after the runs that it reads."""
        begun = status_file.begun(run)
        if not begun or begun["parameters"].keys() != self.parameters.keys() or self._outdated(run):
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
        compared = self.parameters.keys() - {"inputs", *(["saved_network_weights"] if self.weights else [])}
        description = self.description | {"parameters": {k: self.parameters[k] for k in compared}}
        if self.reuse and any(status_file.is_good(p) and self.same(p) for p in runs.history()):
            return
        begun = self._begun()
        trained = [p for p in begun if (p / "checkpoints" / "last.pt").exists()]
        if trained and all(status_file.differences(p, description) for p in begun):
            raise InputError(
                "--resume",
                f"{short(trained[0])} was begun with {'; '.join(status_file.differences(trained[0], description))}: give "
                f"the same to go on with it, or start again: without --resume, this task alone by --only {self.name}",
            )

    def begins_again(self) -> str:
        """Why --resume trains again from the start: what the task reads has changed; "" if it goes on or never trained."""
        trained = next((p for p in self._begun() if (p / "checkpoints" / "last.pt").exists()), None)
        if trained is None or self.earlier():
            return ""
        wrong = "; ".join(status_file.differences(trained, self.description))
        return f"begins again: {short(trained)} {f'was begun with {wrong}' if wrong else 'is older than what it reads'}"

    def _begun(self) -> list[Path]:
        """The runs of this task, notebook and `quick`, the newest first."""
        wanted = self.notebook.stem, self.parameters.get("quick")
        begun = [(p, status_file.begun(p)) for p in reversed(runs.history(self.name))]
        return [p for p, task in begun if task and (task["notebook"], task["parameters"].get("quick")) == wanted]

    def _outdated(self, run: Path) -> bool:
        """Whether a run that it reads was begun, or gone on with, after `run`; skipped ones have read nothing."""
        state, given = status_file.recorded(run), [self.parameters.get("saved_network_weights")]
        given += self.parameters.get("inputs") or ()
        started = [status_file.recorded(ROOT / name).get("started", "") for name in given if name]
        older = any(state["started"] < other for other in started)
        return state["status"] != "skipped" and (older or self._recoded(run))

    def _recoded(self, run: Path) -> bool:
        """Whether the file of the user's own network has changed since `run`."""
        files = own.files(self.parameters.get("network_type"))
        if not files:
            return False
        try:
            inputs = read(run / "manifest.json")["inputs"]
            then = {name: total for each in inputs for name, total in each["sha256"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return True  # damaged, or killed before it was written
        return any(then.get(path.name) != checksum(path) for path in files)


def task_of(entry: dict[str, Any], number: int, folder: Path, quick: bool, names: list[str]) -> Task:
    """An entry as a task; InputError for what its notebook doesn't know. folder: the recipe's; names: of the tasks before."""
    name = entry.get("task_name")
    if not isinstance(name, str) or not re.fullmatch(parameters.NAME, name) or name in runs.RESERVED_NAMES:
        what = "missing" if name is None else f"got {name!r}"
        raise InputError(f"entry {number}", f"task_name: {what}", "a name of letters, digits, _ and -")
    if name in names:
        raise InputError(f"task {name}", f"the name stands twice, entries {names.index(name) + 1} and {number}")
    with errors_at(f"task {name}"):
        entry = _own_network(entry, folder)
        notebook = _notebook(entry)
        known = parameters.parameters(notebook)
        about = {"runs": known["inputs"].default} if "inputs" in known else {}
        about |= {key: entry[key] for key in Entry.model_fields if key in entry}
        about = Entry(**parameters.validated(Entry, about))
        if about.runs and "inputs" not in known:
            raise InputError("runs", f"{notebook.stem} reads no runs")
        given = {key: value for key, value in entry.items() if key not in KEYS}
        _check_keys(given, known, notebook)
    default = known["saved_network_weights"].default if "saved_network_weights" in known else None
    weights = given.get("saved_network_weights", default)
    weights = weights if isinstance(weights, str) and _is_task(weights, names, folder) else None
    given |= {"saved_network_weights": weights} if weights else {}  # found when its turn comes
    by_name = {"saved_network_weights"} if weights else ()
    values = {k: v if k in by_name else _from_recipe(k, v, known[k].type, folder) for k, v in given.items()}
    values = {"interactive": False, "task_name": name} | values | ({"quick": True} if quick else {})
    values = {k: v for k, v in values.items() if k in known}
    output = folder / about.output_data_dir if about.output_data_dir else None
    task = Task(
        name, notebook, values, parameters.check_values(notebook, values, name), about.runs or [], about.reuse,
        about.notify, output and output.resolve(), weights,
    )  # fmt: skip
    if task.parameters.get("quick"):
        task.give(
            **({"num_workers": 0} if "num_workers" in known else {})
        )  # starting them takes longer than quick training
        if _several(task.parameters.get("devices")):  # quick batches are too small to be shared
            task.give(**{key: known[key].default for key in ("devices", "partition") if key in known})
    return task


def _notebook(entry: dict[str, Any]) -> Path:
    """The notebook that an entry names, or its network_type implies."""
    name = entry.get("notebook", models.notebook_of(str(entry.get("network_type"))))
    if not isinstance(name, str):
        trained = (network for network in models.MODELS if models.notebook_of(network))
        raise InputError("notebook", f"missing, and network_type implies one only for {', '.join(trained)}")
    return parameters.notebook(name)


def _own_network(entry: dict[str, Any], folder: Path) -> dict[str, Any]:
    """An entry whose network_type is one of the user's own with its file in the recipe's folder, and with the key `input` in it."""
    if not own.is_own(name := entry.get("network_type")):
        return entry
    entry, trains = dict(entry), {family.notebook: family.batches for family in models.FAMILIES.values()}
    batches = trains.get(str(entry.get("notebook")), ())
    fed = entry.pop("input", "" if len(batches) != 1 else batches[0])
    if not isinstance(fed, str):
        raise InputError("input", f"got {fed!r}", f"one of {', '.join(own.INPUTS)}")
    return entry | {"network_type": own.beside(name, folder, fed)}


def _check_keys(given: dict[str, Any], known: dict[str, parameters.Parameter], notebook: Path) -> None:
    """InputError for a key that is no parameter of the notebook, or one that the runner gives."""
    if "run_dir" not in known:
        raise InputError("notebook", f"{notebook.stem} has no parameter run_dir, so a recipe can't run it")
    parameters.check_task_type(given, known, notebook)
    for key in given:
        if key == "inputs":
            raise InputError("inputs", "a recipe calls them runs: names of tasks, or paths of run folders")
        if key not in known or key in GIVEN_BY_RUNNER:
            allowed = dict.fromkeys([*KEYS, *(k for k in known if k not in GIVEN_BY_RUNNER)])
            raise InputError(key, f"no such parameter in {notebook.stem}: {parameters.choose(key, allowed)}")


def _from_recipe(key: str, value: Any, kind: str, folder: Path) -> Any:
    """A parameter's value, whose paths count from the recipe's `folder`."""

    def resolved(path: Any) -> str:
        return str((folder / str(path)).resolve())

    if "path" in kind.split("|") and isinstance(value, str) and value:
        return resolved(value)
    if key == "results" and isinstance(value, list):
        return [resolved(path) for path in value]
    if key == "files" and isinstance(value, dict):
        return {name: resolved(path) if path else path for name, path in value.items()}
    return value


def _several(devices: Any) -> bool:
    """Whether devices are more than one GPU, by count or ids."""
    return devices > 1 if isinstance(devices, int) else isinstance(devices, list) and len(set(devices)) > 1


def _is_task(name: str, names: list[str], folder: Path) -> bool:
    """Whether saved_network_weights names a task, of this recipe or run before, rather than a file or folder."""
    is_path = (folder / name).is_file() or runs.has_weights(folder / name) or name.endswith(runs.WEIGHTS)
    return name in names or bool(re.fullmatch(parameters.NAME, name) and not is_path)
