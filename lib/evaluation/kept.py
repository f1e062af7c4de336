"""A result.h5 whose groups take long to make: each is kept as soon as it is done, so that a stopped run goes on from there."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lib.files import file_name, read, write
from lib.inference.results import Writer


class Kept:
    """Groups of a result.h5, each a file in <name>.parts/ beside it until `join` puts them together.

    What else is known of a group, its record (JSON), is kept in <name>.json.

    Parameters
    ----------
    path : of the result.h5
    about : JSON, all that the groups depend on; what was kept under another one is deleted
    """

    def __init__(self, path: Path, about: dict[str, Any]):
        self.path, self.folder = Path(path), Path(path).with_suffix(".parts")
        self.notes, self.about = self.path.with_suffix(".json"), json.loads(json.dumps(about))
        self.records: dict[str, dict[str, Any]] = {}
        notes = read(self.notes) if self.notes.is_file() else {}
        if notes.get("about") == self.about:
            written = {name for name in notes["records"] if self.path.is_file() or self._part(name).is_file()}
            self.records = {name: record for name, record in notes["records"].items() if name in written}
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _part(self, name: str) -> Path:
        return self.folder / file_name(f"{name}.h5")

    def has(self, name: str, state: list[Any]) -> bool:
        """Whether the group is kept, made of data in that state."""
        return self.records.get(name, {}).get("state") == state

    def add(self, name: str, state: list[Any], record: dict[str, Any], write_group: Callable[[Writer], None]) -> None:
        """Keeps a group.

        Parameters
        ----------
        name : of the group
        state : of the data that it was made of
        record : what else is known of it
        write_group : writes it into the result that it is given
        """
        with Writer(self._part(name)) as result:
            write_group(result)
        self.records[name] = json.loads(json.dumps(record | {"state": state}))  # as it will be read
        write(self.notes, json.dumps({"about": self.about, "records": self.records}))

    def join(self, names: list[str]) -> list[dict[str, Any]]:
        """Writes the result.h5 of these groups, from parts and what it holds, and deletes the parts; returns the records."""
        if self.folder.is_dir():
            with Writer(self.path) as result:
                for name in names:
                    part = self._part(name)
                    result.copy(name, part if part.is_file() else self.path)
            shutil.rmtree(self.folder)
        return [self.records[name] for name in names]


class Progress:
    """Lines about work on `total` files: one per file, with the time left, and one per minute within a file."""

    def __init__(self, total: int):
        self.total, self.count, self.here = total, 0, 0
        self.begun = self.told = time.monotonic()

    def kept(self, count: int) -> None:
        """`count` files were done by an earlier run."""
        self.count += count
        if count:
            print(f"[{self.count}/{self.total}] {count} kept from before", flush=True)

    def within(self, text: str) -> None:
        if time.monotonic() - self.told > 60:
            self.told = time.monotonic()
            print(f"[{self.count}/{self.total}] {text}", flush=True)

    def done(self, text: str) -> None:
        """A file is done."""
        self.count, self.here, self.told = self.count + 1, self.here + 1, time.monotonic()
        left = (self.told - self.begun) / self.here * (self.total - self.count) / 60
        print(f"[{self.count}/{self.total}] {text}{f' · about {left:.0f} min left' * (left >= 1)}", flush=True)
