"""A task's parameters, its run folder, its weights, and what runs there are."""

from lib.runs.metrics_file import headline, metrics_of, table
from lib.runs.model_folder import has_weights, load_model, save_model, weights_of
from lib.runs.run import (
    RESERVED_NAMES,
    WEIGHTS,
    Run,
    create,
    find,
    finish,
    history,
    mark,
    only,
    opened,
    roots,
    start,
    status,
)

__all__ = [
    "RESERVED_NAMES", "Run", "WEIGHTS", "create", "find", "finish", "has_weights", "headline", "history", "load_model",
    "mark", "metrics_of", "only", "opened", "roots", "save_model", "start", "status", "table", "weights_of",
]  # fmt: skip
