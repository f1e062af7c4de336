"""Data sets: from files to batches."""

from pathlib import Path

from lib.data.index import prepared

__all__ = ["look", "open", "prepared"]


def look(path: str | Path, **settings):
    """What is this file? Settings as in `lib.evaluation.look.look`; prints it and returns a figure."""
    from lib.evaluation.look import look

    return look(path, **settings)


def open(path: str | Path, **settings):
    """A file or folder of any known format as one record, see `lib.data.formats.opening.open`; print it."""
    from lib.data.formats.opening import open

    return open(path, **settings)
