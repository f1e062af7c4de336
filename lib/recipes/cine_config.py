"""The cine source's training_config.yaml, entry by entry, as entries of a recipe.

Its key → ours:
    task_name                                     → the same
    task_type: train                              → predict_split: val
    task_type: train_and_predict                  → predict_split: test
    task_type: predict, evaluate                  → the notebook that predicts, split: test; with evaluate: true truths are needed
    email_notification                            → notify
    input_data_path: x_train … y_test             → files, with the same names
    input_data_path: saved_network_weights        → saved_network_weights
    network_settings: network_type, batch_size,
      epochs, loss, metrics                       → the same, at the top; eval_batch_size is batch_size too
    network_settings: optimizer                   → optimizer, with Keras' eps 1e-7 and, for RMSprop, alpha 0.9
    network_settings: regularization              → regularization
    network_settings: early_stopping              → early_stopping, on ssim, which is always among the metrics then
    (a constant learning rate, as Keras has)      → scheduler: {type: constant}
    output_data_dir                               → output_data_dir
The networks have their published size. Paths count from the recipe's folder, or, if no input file is there, from the
working folder, where the source's train.py is started.
"""

from pathlib import Path
from typing import Any

from lib import InputError
from lib.models import PREDICT
from lib.runs.parameters import choose

TOP = ("task_name", "task_type", "email_notification", "input_data_path", "network_settings", "output_data_dir")
PATHS = ("x_train", "y_train", "x_test", "y_test", "x_val", "y_val", "saved_network_weights")
SETTINGS = ("network_type", "batch_size", "epochs", "loss", "metrics", "optimizer", "regularization", "early_stopping")
TRAINS = {"train": "val", "train_and_predict": "test"}  # task_type: the split that is predicted after training
PREDICTS = ("predict", "evaluate")
KERAS = {"Adam": {"eps": 1e-7}, "RMSprop": {"eps": 1e-7, "alpha": 0.9}}


def is_source(entry: dict[str, Any]) -> bool:
    """Whether an entry has the source's form rather than ours."""
    settings = entry.get("network_settings")
    return "input_data_path" in entry or (isinstance(settings, dict) and "network_type" in settings)


def translate(entry: dict[str, Any], folder: Path) -> dict[str, Any]:
    """An entry in our form; `folder` is the recipe's. InputError for a key that the source doesn't know."""
    name = entry.get("task_name")
    _known(name, "", entry, TOP)
    paths, settings = (_mapping(name, entry, key) for key in ("input_data_path", "network_settings"))
    _known(name, "input_data_path: ", paths, PATHS)
    _known(name, "network_settings: ", settings, SETTINGS)
    given = {k: str(v) for k, v in paths.items() if v}
    missing = [k for k in ("task_type", "input_data_path") if not entry.get(k)]
    missing += [f"network_settings: {k}" for k in SETTINGS if k not in settings]
    if entry.get("task_type") in PREDICTS and "saved_network_weights" not in given:
        missing.append("input_data_path: saved_network_weights")
    if missing or not any(k in given for k in PATHS[:-1]):
        raise InputError(
            f"task {name}", f"{(missing or ['input_data_path: x_test'])[0]}: missing, the cine source needs it"
        )
    if entry["task_type"] not in (*TRAINS, *PREDICTS):
        raise InputError(f"task {name}", f"task_type: {choose(entry['task_type'], (*TRAINS, *PREDICTS))}")
    base = next((b for b in (folder, Path.cwd()) if any((b / p).exists() for p in given.values())), folder)
    files = {k: str((base / p).resolve()) for k, p in given.items()}
    ours: dict[str, Any] = {"task_name": name, "notify": entry.get("email_notification") or False}
    if entry.get("output_data_dir"):
        ours["output_data_dir"] = str((base / str(entry["output_data_dir"])).resolve())
    ours |= {"saved_network_weights": files.pop("saved_network_weights", None), "files": files}
    if entry["task_type"] in PREDICTS:
        predicted = {"notebook": PREDICT, "split": "test", "evaluate": entry["task_type"] == "evaluate"}
        return ours | predicted | {k: settings[k] for k in ("network_type", "metrics")} | {"serving": True}
    return ours | {"predict_split": TRAINS[entry["task_type"]]} | _training(settings)


def _training(settings: dict[str, Any]) -> dict[str, Any]:
    """The source's `network_settings` as parameters of a training."""
    ours = {k: v for k, v in settings.items() if v is not None}
    ours |= {"network_settings": {}, "scheduler": {"type": "constant"}}
    if "batch_size" in ours:
        ours["eval_batch_size"] = ours["batch_size"]
    if isinstance(ours.get("optimizer"), dict):
        ours["optimizer"] = KERAS.get(ours["optimizer"].get("type"), {}) | ours["optimizer"]
    if isinstance(ours.get("early_stopping"), dict):
        ours["early_stopping"] = {"monitor": "ssim"} | ours["early_stopping"]
        metrics = ours.get("metrics", [])
        if ours["early_stopping"].get("use") and isinstance(metrics, list) and "ssim" not in metrics:
            ours["metrics"] = ["ssim", *metrics]
    return ours


def _mapping(name: str, entry: dict[str, Any], key: str) -> dict[str, Any]:
    value = entry.get(key) or {}
    if not isinstance(value, dict):
        raise InputError(f"task {name}", f"{key}: got {value!r}", "a mapping")
    return value


def _known(name: str, where: str, given: dict[str, Any], known: tuple[str, ...]) -> None:
    for key in given:
        if key not in known:
            raise InputError(f"task {name}", f"{where}{key}: no such key in the cine source: {choose(key, known)}")
