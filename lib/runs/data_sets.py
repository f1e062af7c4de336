"""The data sets that can be prepared: each is a notebook with the tag `prepare` and, for files of a user's, a module of lib.data."""

import importlib
import inspect
from pathlib import Path
from typing import Any, NamedTuple

from lib import ROOT
from lib.runs import parameters


class DataSet(NamedTuple):
    """notebook: prepares it; folder: where the set lies by default; reader: the module of lib.data that finds a user's files, "" if none."""

    notebook: Path
    folder: str
    reader: str

    def check_source(self, source: Path, given: dict[str, Any]) -> None:
        """InputError where the reader's `find` refuses the files under `source`; it gets the parameters that it names."""
        if self.reader:
            find = importlib.import_module(f"lib.data.{self.reader}").find
            find(
                source,
                **{key: given[key] for key in inspect.signature(find).parameters if key in given and key != "source"},
            )


def data_set(notebook: Path) -> DataSet:
    """What a notebook with the tag `prepare` makes."""
    known = parameters.parameters(notebook)
    readers = (tag.partition(":")[2] for tag in parameters.tags(notebook) if tag.startswith("reader:"))
    return DataSet(notebook, known["data"].default if "data" in known else "", next(readers, ""))


def data_sets() -> list[DataSet]:
    """All of them, in the order of their notebooks."""
    paths = sorted((ROOT / "notebooks").glob("*.ipynb"))
    return [data_set(path) for path in paths if parameters.role(path) == "prepare"]
