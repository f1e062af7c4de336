"""Reruns a run from its own task.json and manifest.json, and says which metrics agree."""

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lib import InputError, runs
from lib.data import prepared
from lib.data.index import read_set
from lib.files import checksum, fingerprint, read
from lib.recipes import needs
from lib.recipes.execute import run_in
from lib.recipes.task import Task
from lib.runs import manifest, parameters
from lib.runs.status_file import take
from lib.text import errors_at, pluralize, short

SHOWN = 20  # differing metrics that are printed
SAID_LATER = ("device", "threads", "precision_ran", "speedups_ran", "processes")  # once the notebook has run
WEIGHTS = Path("model_weights", "model.safetensors")


def again(given: str) -> bool:
    """Says what differs, runs the notebook into a new folder, says which metrics agree; returns whether all do.

    Parameters
    ----------
    given : the run's folder, or a task, of which the newest good run counts

    Raises
    ------
    InputError
        If it can't be rerun; nothing is written then.
    """
    old = runs.find(Path(given).resolve() if os.path.exists(given) else given)
    with errors_at(short(old)):
        made, metrics = _json(old, "manifest.json"), _json(old, "metrics.json")
        task = _task(old, made, metrics)
        differ = list(_differences(task, made))
    print(f"{short(old)}: {task.notebook.name}, seed {task.parameters.get('seed', 'none')}")
    print("\n".join(f"differs: {line}" for line in differ) or "same versions, commit, data and inputs", flush=True)
    run = runs.create(task.name, old.parent.parent if old.parent.parent in runs.roots() else None)
    take(run, task.description, decided=True)
    result = run_in(task, run, short(run))
    if result.error:
        print(f"{short(run)} failed: {result.error}", file=sys.stderr)
        return False
    for line in _changes(made, read(run / "manifest.json"), SAID_LATER):
        print(f"differs: {line}")
    print(f"{short(run)} compared with {short(old)}:")
    if (old / WEIGHTS).is_file() and (run / WEIGHTS).is_file():
        print(f"weights: {'the same' if checksum(old / WEIGHTS) == checksum(run / WEIGHTS) else 'differ'}")
    lines, agree = compare(metrics, read(run / "metrics.json"))
    print("\n".join(lines), flush=True)
    return agree


def compare(first: Any, second: Any) -> tuple[list[str], bool]:
    """Lines that say how far two metrics.json agree, and whether they do to the digit: the headline's values first."""
    old, new = dict(_leaves(first)), dict(_leaves(second))
    differ = [
        name for name in dict.fromkeys([*old, *new]) if name not in old or name not in new or old[name] != new[name]
    ]
    headline = [name for name in old if name.startswith("headline.")]
    lines = [f"{name}: {old[name]} agrees" for name in headline if name not in differ]
    differ.sort(key=lambda name: not name.startswith("headline."))
    lines += [f"{name}: {_difference(old.get(name), new.get(name))}" for name in differ[:SHOWN]]
    if len(differ) > SHOWN:
        lines.append(f"… and {len(differ) - SHOWN} more")
    count = len({**old, **new})
    return [*lines, f"{count - len(differ)} of {pluralize(count, 'value')} agree to the digit"], not differ


def _difference(old: Any, new: Any) -> str:
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (old, new))
    share = f", {abs(new - old) / abs(old):.2g} of it" if numbers and old else ""
    return f"{old} → {new}" + (f" (by {new - old:+.3g}{share})" if numbers else "")


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """(name with dots, value) of everything in a JSON file but mappings and lists."""
    if not isinstance(value, dict | list):
        yield name, value
        return
    for key, each in value.items() if isinstance(value, dict) else enumerate(value):
        yield from _leaves(each, f"{name}.{key}" if name else str(key))


def _json(run: Path, name: str) -> dict[str, Any]:
    try:
        content = read(run / name)
    except OSError:
        raise InputError(name, "isn't there", "the one that the run wrote") from None
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise InputError(name, "damaged", "the one that the run wrote")
    return content


def _task(old: Path, made: dict[str, Any], metrics: dict[str, Any]) -> Task:
    """The run's task, which reads the runs and weights that the run has read."""
    about = _json(old, "task.json")
    name, given = about.get("notebook"), about.get("parameters")
    if not isinstance(name, str) or not isinstance(given, dict):
        raise InputError("task.json", "damaged", "notebook and parameters")
    notebook = parameters.notebook(name)
    if parameters.role(notebook) == "prepare":
        raise InputError(name, f"would replace the set {given.get('data')}", hint="run the notebook or its recipe")
    if not any(isinstance(value, int | float) for _, value in _leaves(metrics)):
        raise InputError("metrics.json", "no numbers in it", hint="there is nothing to compare")
    values = {key: value for key, value in given.items() if key != "run_dir"}
    values |= {"interactive": False} if "interactive" in values else {}
    read_then, count = [str(path) for path, _ in _entries(made)], len(values.get("inputs") or ())
    if count + bool(values.get("saved_network_weights")) > len(read_then):
        raise InputError("manifest.json", f"inputs: {len(read_then)}", "all that task.json names")
    values |= {"inputs": read_then[:count]} if count else {}
    values |= {"saved_network_weights": read_then[count]} if values.get("saved_network_weights") else {}
    task = old.parent.name if old.parent.parent in runs.roots() else re.sub(r"^\d+_", "", name)
    return Task(task, notebook, values, parameters.check(notebook, values))


def _entries(made: dict[str, Any]) -> list[tuple[Path, dict[str, str]]]:
    """(path, checksums) of what a run has read, by its manifest; InputError if it is gone."""
    try:
        entries = [(Path(entry["path"]), dict(entry["sha256"])) for entry in made["inputs"]]
    except (KeyError, TypeError, ValueError):
        raise InputError("manifest.json", "damaged", "inputs with path and sha256") from None
    gone = next((path for path, _ in entries if not path.exists()), None)
    if gone:
        raise InputError(short(gone), "gone, and the run has read it")
    return entries


def _differences(task: Task, made: dict[str, Any]) -> Iterator[str]:
    """What isn't as it was when the run was made, a line each: versions, commit, runs and weights it read, data."""
    now = manifest.of(task.parameters)
    yield from _changes(_mapping(made, "versions"), now["versions"])
    yield from _changes(made, now, ("platform", "commit"))
    if made.get("dirty") or now["dirty"]:
        when = " and ".join(word for word, dirty in (("then", made.get("dirty")), ("now", now["dirty"])) if dirty)
        yield f"the code has changes that aren't committed ({when})"
    for path, sums in _entries(made):
        yield from (f"{short(path)}: {name} has changed" for name in _changed(sums, manifest.input_of(path)["sha256"]))
    then = _mapping(made, "data")
    changed = _changed(then, _data(task, then)) if then else []
    yield from (f"data: {name} has changed" for name in changed[:SHOWN])
    if len(changed) > SHOWN:
        yield f"data: {len(changed) - SHOWN} more files have changed"


def _mapping(made: dict[str, Any], key: str) -> dict[str, Any]:
    if not isinstance(made.get(key, {}), dict):
        raise InputError("manifest.json", f"{key} is damaged", "a mapping")
    return made.get(key, {})


def _data(task: Task, then: dict[str, str]) -> dict[str, str]:
    """{file: checksum} of the set that the task reads as it is now; InputError if it isn't whole."""
    given = task.parameters
    if task.role == "predict":
        given = given | needs.check_prediction(given, None)
    if not given.get("data") or given.get("files") or given.get("images"):
        for path in then:
            if not Path(path).is_file():
                raise InputError(path, "gone, and the run has read it")
        return {path: fingerprint(Path(path)) for path in then}
    return {e["path"]: e["sha256"] for e in read_set(prepared(given["data"], given.get("quick", False)))["files"]}


def _changed(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [name for name in dict.fromkeys([*then, *now]) if then.get(name) != now.get(name)]


def _changes(then: Mapping[str, Any], now: Mapping[str, Any], names: Iterable[str] | None = None) -> list[str]:
    """ "name then → now" for each of `names` (of all, if None) that differs."""
    return [f"{n} {then.get(n)} → {now.get(n)}" for n in _changed(then, now) if names is None or n in names]
