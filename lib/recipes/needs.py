"""What a task needs of prepared sets and of runs, checked by set.json and result.h5 before anything starts."""

from pathlib import Path
from typing import Any

from lib import ROOT, InputError, models
from lib.data import prepared
from lib.data.index import SPLITS, read_set
from lib.inference import results
from lib.runs import parameters as tasks

TRUTHS = ("target", "label", "voxels")  # keys of a file in set.json that are null or false where its truth is missing


def predicted(notebook: Path, parameters: dict[str, Any]) -> str:
    """The split that a training task writes predictions of."""
    family = models.family_of(parameters.get("network_type"), notebook.stem)
    evaluated = models.FAMILIES[family].evaluated if family else "val"
    return {"train": "val", "evaluate": evaluated}.get(parameters.get("task_type") or "", "test")


def splits(notebook: Path, parameters: dict[str, Any]) -> dict[str, bool]:
    """{split that a task reads: whether it needs truths}; targets, true series or labels are truths."""
    if tasks.role(notebook) == "evaluate":
        return {parameters["split"]: True} if "split" in parameters else {}
    kind = parameters.get("task_type") or ""
    needed = {predicted(notebook, parameters): kind == "evaluate"} if kind else {}
    return needed | (dict.fromkeys(("train", "val"), True) if "train" in kind else {})


def check_set(folder: Path, needed: dict[str, bool], what: str) -> None:
    """InputError where a needed split of a prepared set is empty or has files without the truths needed; what: needs them."""
    content = read_set(folder)
    for split, scored in needed.items():
        if not content["counts"][split]:
            raise InputError(folder, f"its set.json lists no files for {split}: {what} needs them")
        without = _without_truth(content, split) if scored else []
        if without:
            good = [s for s in SPLITS if content["counts"][s] and not _without_truth(content, s)]
            words = f"no target or label ({len(without)} files of {split}): {what} needs it"
            raise InputError(folder / without[0], f"{words}; complete: {', '.join(good) or 'no split'}")


def check_run(run: Path) -> None:
    """InputError where a run has no predictions with truths beside them."""
    check_result(run / "predictions" / "result.h5")


def check_result(path: Path) -> None:
    """InputError where a result.h5 is missing or no case of it has a truth."""
    if not any("truth" in case.images for case in results.cases(ROOT / path).values()):
        raise InputError(path, "no truths in it", hint="nothing to score")


def check_data(notebook: Path, parameters: dict[str, Any]) -> None:
    """`check_set` of the set that a task reads, as its notebook and parameters need it."""
    folder = prepared(parameters["data"], parameters.get("quick", False))
    kind = parameters.get("task_type")
    check_set(folder, splits(notebook, parameters), f"task_type {kind}" if kind else notebook.stem)


def _without_truth(content: dict[str, Any], split: str) -> list[str]:
    files = [entry for entry in content["files"] if entry["split"] == split]
    if content.get("kind") == "cine":
        known = {entry["person"] for entry in files if entry["side"] == "y"}
        return [entry["path"] for entry in files if entry["person"] not in known]
    return [entry["path"] for entry in files if any(entry.get(key, True) in (None, False) for key in TRUTHS)]
