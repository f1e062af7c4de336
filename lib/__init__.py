"""Echotrain: models, k-space utilities and metrics for the notebooks beside it."""

import os
import warnings
from pathlib import Path

# fastai still calls it: the one place where known noise of others is silenced
warnings.filterwarnings("ignore", ".*torch.jit.script", FutureWarning)
warnings.filterwarnings("ignore", "The 'mode.chained_assignment' option")

ROOT = Path(__file__).resolve().parent.parent
RUNS = Path(os.environ.get("ECHOTRAIN_RUNS", ROOT / "runs")).resolve()


class InputError(ValueError):
    """What the user gave can't be used; the message is one line: where, what was found, what is expected."""


def said(error: BaseException) -> str:
    """Any error in one line, an InputError's words alone."""
    words = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
    return " ".join(words.split())
