"""Echotrain: models, k-space utilities and metrics for the notebooks beside it."""

import difflib
import importlib
import os
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

# fastai still calls it: the one place where known noise of others is silenced
warnings.filterwarnings("ignore", ".*torch.jit.script", FutureWarning)
warnings.filterwarnings("ignore", "The 'mode.chained_assignment' option")

ROOT = Path(__file__).resolve().parent.parent
RUNS = Path(os.environ.get("ECHOTRAIN_RUNS", ROOT / "runs")).resolve()


class InputError(ValueError):
    """What the user gave can't be used; the message is one line: where, what was found, what is expected."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of a traceback."""
        return importlib.import_module("lib.cells").box(type(self).__name__, str(self))


def short(path: Path) -> str:
    """A path from the repository on, or whole where it lies elsewhere."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def attempt(call: Callable[..., Any], *values: Any, **settings: Any) -> tuple[Any, str]:
    """(what the call returns, ""), or (None, the line of its InputError)."""
    try:
        return call(*values, **settings), ""
    except InputError as error:
        return None, str(error)


def array(x: Any) -> np.ndarray:
    """numpy of an array, a list, a dataset or a tensor on any device; bfloat16 as float32."""
    if hasattr(x, "detach"):
        return (x.float() if str(x.dtype) == "torch.bfloat16" else x).numpy(force=True)
    return np.asarray(x)


def nearest(name: object, names: Iterable[str]) -> str:
    """ "did you mean 'x'? ", or "" where none of `names` is near; without regard to case."""
    by_lower = {known.lower(): known for known in names}
    near = difflib.get_close_matches(str(name).lower(), by_lower, 1, 0.5)
    return f"did you mean {by_lower[near[0]]!r}? " if near else ""


def count(number: int, one: str, more: str = "") -> str:
    """A number and what it counts, such as "1 coil", "8 coils"; more: an irregular plural."""
    return f"{number} {one if number == 1 else more or one + 's'}"


def said(error: BaseException) -> str:
    """Any error in one line, an InputError's words alone."""
    words = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
    return " ".join(words.split())
