"""Echotrain: models, k-space utilities and metrics for the notebooks beside it."""

import importlib
import os
import re
import warnings
from pathlib import Path
from typing import Any

from lib import startup

startup.begin()

import numpy as np  # noqa: E402 (takes long)

# fastai still calls it: the one place where known noise of others is silenced
warnings.filterwarnings("ignore", ".*torch.jit.script", FutureWarning)
warnings.filterwarnings("ignore", "The 'mode.chained_assignment' option")

ROOT = Path(__file__).resolve().parent.parent
RUNS = Path(os.environ.get("ECHOTRAIN_RUNS", ROOT / "runs")).resolve()


def _in_line(part: object) -> str:
    """A path's control characters, such as line breaks, are written out: a message is one line."""
    text = str(part)
    return re.sub(r"[\x00-\x1f\x7f]", lambda c: repr(c[0])[1:-1], text) if isinstance(part, os.PathLike) else text


class InputError(ValueError):
    """What the user gave can't be used: `where` (a file, key or parameter), what was `found`, what is `expected`, a `hint`.

    The message is one line of the parts that are given: "where: found, expected …: hint".
    """

    def __init__(self, where: object, found: object = "", expected: object = "", hint: object = ""):
        self.where, self.found, self.expected, self.hint = map(_in_line, (where, found, expected, hint))
        super().__init__(self.where, self.found, self.expected, self.hint)

    def __str__(self) -> str:  # made of the fields, since fastai puts words of its own into the arguments
        found = self.found
        if self.expected:  # after a question, such as lib.text.did_you_mean's, there is no comma
            found = f"{found}{', ' if found and not found.endswith('? ') else ''}expected {self.expected}"
        return ": ".join(filter(None, (self.where, found, self.hint)))

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of a traceback."""
        return importlib.import_module("lib.runs.error_boxes").box(type(self).__name__, str(self))


def array(x: Any) -> np.ndarray:
    """numpy of an array, a list, a dataset or a tensor on any device; bfloat16 as float32."""
    if hasattr(x, "detach"):
        return (x.float() if str(x.dtype) == "torch.bfloat16" else x).numpy(force=True)
    return np.asarray(x)
