"""Data sets: from files to batches."""

from pathlib import Path

from lib import ROOT


def prepared(data: str | Path, quick: bool = False) -> Path:
    """The folder of a prepared set.

    Parameters
    ----------
    data : its path; relative ones count from ROOT
    quick : quick runs have a set of their own, <data>-quick
    """
    folder = ROOT / data
    return folder.with_name(folder.name + "-quick") if quick else folder


def look(path: str | Path, **settings):
    """What is this file? Settings as in `lib.evaluation.look.look`; prints it and returns a figure."""
    from lib.evaluation.look import look

    return look(path, **settings)
