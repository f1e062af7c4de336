"""The networks by name: `build("VarNet", num_cascades=8)`; each is loaded when it is built."""

from lib.models.families import FAMILIES, PREDICT, Family
from lib.models.registry import (
    MODELS,
    Network,
    build,
    complete,
    entry,
    family_of,
    is_known,
    known,
    name_of,
    notebook_of,
    tiny,
)

__all__ = [
    "FAMILIES", "Family", "MODELS", "Network", "PREDICT", "build", "complete", "entry", "family_of", "is_known", "known",
    "name_of", "notebook_of", "tiny",
]  # fmt: skip
