"""Pseudonyms of the people in a prepared set, and the table beside it that says who they are."""

import csv
import io
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from lib import InputError
from lib.files import write

TABLE = "persons.csv"
HEAD = ("pseudonym", "id")
WARNING = "# This table identifies people: keep it beside the data, and don't share it."
NAME = re.compile(r"person_(\d+)")


def pseudonyms(folder: Path, owners: Iterable[tuple[str, str]], real_ids: bool = False) -> dict[str, str]:
    """{a person's true id: what set.json, runs and results call the person}: person_001 …, in the order of the ids.

    Who is in the folder's table already keeps the pseudonym. A line tells how many names of files, which stay as they
    are, hold an id.

    Parameters
    ----------
    folder : of the prepared set
    owners : (name of a file or "", the true id of whose it is) of every file
    real_ids : call everyone by the true id

    Raises
    ------
    InputError
        For a table that isn't one.
    """
    owners = list(owners)
    ids = sorted({person for _, person in owners})
    if real_ids:
        return {person: person for person in ids}
    people = _table(folder / TABLE)
    taken, new = max(map(_number, people.values()), default=0), [person for person in ids if person not in people]
    width = max(3, len(str(taken + len(new))))
    people |= {person: f"person_{taken + n:0{width}d}" for n, person in enumerate(new, 1)}
    telling = sum(len(_letters(person)) > 2 and _letters(person) in _letters(name) for name, person in owners)
    if telling:
        print(f"{telling} of {len(owners)} file names hold their person's id: they stay in set.json and results")
    return people


def write_table(folder: Path, people: Mapping[str, str]) -> None:
    """Write the table of `pseudonyms`."""
    text = io.StringIO(f"{WARNING}\n")
    text.seek(0, io.SEEK_END)
    rows = sorted(((name, person) for person, name in people.items()), key=lambda row: _number(row[0]))
    csv.writer(text, lineterminator="\n").writerows([HEAD, *rows])
    write(folder / TABLE, text.getvalue())


def _table(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            head, *rows = csv.reader(line for line in file if line.rstrip() != WARNING)
        people = {person: name for name, person in rows}
    except (OSError, ValueError, csv.Error):
        head, people = [], {}
    if tuple(head) != HEAD or not all(map(NAME.fullmatch, people.values())) or len({*people.values()}) < len(people):
        raise InputError(path, "not a table of pseudonyms", hint="restore it, or delete it for new ones")
    return people


def _number(name: str) -> int:
    return int(NAME.fullmatch(name)[1])


def _letters(text: str) -> str:
    return re.sub(r"[\W_]+", "", text).casefold()
