"""A run of the same network, data and loss, found again, so that it is tested and not trained again."""

from pathlib import Path
from typing import Any

from lib import models, runs
from lib.files import read
from lib.runs import manifest
from lib.runs.status_file import is_good

MUST_MATCH = (
    "network_type",
    "loss",
    "class_weights",
    "normalize",
)  # what else a network must share to be tested as it is
MAY_DIFFER_SILENTLY = (
    *MUST_MATCH, "network_settings", "data", "task_name", "predict_split", "run_dir", "reuse_network", "devices", "num_workers",
    "interactive",
)  # fmt: skip


def find_matching_run(run: runs.Run) -> str | None:
    """The newest good run that trained the same network on the same data with the same loss, by the same notebook.

    Prints which it is and what else differs (such as epochs), or what differs in the newest one and None is returned;
    None, too, for a run that has trained already and goes on.
    """
    if (run / "checkpoints" / "last.pt").exists():
        return None  # it goes on with its own
    task, reported = read(run / "task.json"), False
    mine = _description(run.path)
    for path in reversed(runs.history()):
        if path == run.path or not is_good(path) or not (path / "history.csv").is_file():
            continue
        try:
            their_task = read(path / "task.json")
            if their_task["notebook"] != task["notebook"] or their_task["parameters"].get("saved_network_weights"):
                continue
            theirs = _description(path)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # damaged: lib.runs.listing shows it
        different = [key for key in mine if theirs[key] != mine[key]]
        if not different:
            print(f"tested as it is: {path} has this network, data and loss (reuse_network: false trains anew)")
            now, then = task["parameters"], their_task["parameters"]
            other = [key for key in now if key not in MAY_DIFFER_SILENTLY and now[key] != then.get(key)]
            print(
                "".join(f"  its {key} was {_short(then.get(key))}, not {_short(now[key])}\n" for key in other), end=""
            )
            run.record(inputs=[*read(run / "manifest.json")["inputs"], manifest.input_of(path)])
            return str(path)
        if not reported:
            words = (
                key if key == "data" else f"{key}: {_short(theirs[key])}, now {_short(mine[key])}" for key in different
            )
            print(f"trained anew: the newest run, {path.parent.name}/{path.name}, differs in {'; '.join(words)}")
            reported = True
    return None


def _description(path: Path) -> dict[str, Any]:
    task = read(path / "task.json")
    parameters, manifest = task["parameters"], read(path / "manifest.json")
    shared = {key: parameters.get(key) for key in MUST_MATCH}
    settings = models.complete(shared["network_type"], parameters.get("network_settings") or {})
    about = {"quick": parameters.get("quick"), "network_settings": settings}
    return about | shared | {"data": manifest.get("data")}


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 120 else f"{text[:117]}…"
