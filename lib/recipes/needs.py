"""What a task needs of prepared sets and of runs, checked by set.json and result.h5 before anything starts."""

from pathlib import Path
from typing import Any

from lib import ROOT, InputError, models
from lib.data import prepared
from lib.data.index import SPLITS, read_set
from lib.inference import results
from lib.models import own
from lib.runs import prediction
from lib.runs.parameters import choose

TRUTHS = ("target", "label", "voxels")  # keys of a file in set.json that are null or false where its truth is missing


def predicted(role: str, parameters: dict[str, Any]) -> str:
    """The split that a task writes predictions of; "" if it writes none."""
    return parameters.get({"train": "predict_split", "predict": "split"}.get(role, ""), "")


def splits(role: str, parameters: dict[str, Any]) -> dict[str, bool]:
    """{split that a task reads: whether it needs truths}; targets, true series or labels are truths."""
    if role == "evaluate":
        return {parameters["split"]: True} if "split" in parameters else {}
    needed = {split: parameters.get("evaluate", False)} if (split := predicted(role, parameters)) else {}
    trained_on = ("val",) if parameters.get("kspace") == "simulated" else ("train", "val")
    return needed | (dict.fromkeys(trained_on, True) if role == "train" and needed else {})


def check_prediction(parameters: dict[str, Any], trained: dict[str, Any] | None) -> dict[str, Any]:
    """The network and data of a prediction whose parameters leave them None; InputError if they can't be predicted with.

    trained: the parameters of an earlier task of the recipe that trains the network, None of one that is trained already.
    """
    source, network_type = parameters["saved_network_weights"], parameters.get("network_type")
    if trained is None:
        origin = prediction.origin(source, network_type)
    else:
        if not trained.get("network_type"):
            raise InputError("saved_network_weights", f"task {source} trains no network")
        if network_type and not own.same(network_type, trained["network_type"]):
            raise InputError(f"task {source}", f"trains {trained['network_type']}", network_type)
        origin = prediction.checked(prediction.Origin(trained["network_type"], {}, trained))
    return {"network_type": origin.network} | prediction.data_of(parameters, origin)


def check_set(folder: Path, needed: dict[str, bool], what: str) -> None:
    """InputError where a needed split of a prepared set is empty or has files without the truths needed; what: needs them."""
    content = read_set(folder)
    for split, scored in needed.items():
        if split not in SPLITS:
            raise InputError("split", choose(split, SPLITS))
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


def check_data(notebook: Path, role: str, parameters: dict[str, Any]) -> None:
    """InputError if the set that a task reads is for another kind of network, or lacks what the task needs."""
    folder = prepared(parameters["data"], parameters.get("quick", False))
    if models.family_of(network := parameters.get("network_type")):
        prediction.check_kind(folder, network)
    predicted_split = f" (predict_split: {parameters['predict_split']})" if "predict_split" in parameters else ""
    check_set(folder, splits(role, parameters), f"{notebook.stem}{predicted_split}")


def _without_truth(content: dict[str, Any], split: str) -> list[str]:
    files = [entry for entry in content["files"] if entry["split"] == split]
    if content.get("kind") == "cine":
        known = {entry["person"] for entry in files if entry["side"] == "y"}
        return [entry["path"] for entry in files if entry["person"] not in known]
    return [entry["path"] for entry in files if any(entry.get(key, True) in (None, False) for key in TRUTHS)]
