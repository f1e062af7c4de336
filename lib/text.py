"""Words for messages: paths, counts, near names, errors in one line."""

import contextlib
import difflib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from lib import ROOT, InputError

OUT_OF_MEMORY = "probably out of memory: lower batch_size, num_workers or the image size"


def short(path: Path) -> str:
    """A path from the repository on, or whole where it lies elsewhere."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def value_or_error(call: Callable[..., Any], *values: Any, **settings: Any) -> tuple[Any, str]:
    """(what the call returns, ""), or (None, the line of its InputError)."""
    try:
        return call(*values, **settings), ""
    except InputError as error:
        return None, str(error)


@contextlib.contextmanager
def errors_at(where: object) -> Iterator[None]:
    """Puts `where` before the line of an InputError that is raised inside."""
    try:
        yield
    except InputError as error:
        raise InputError(where, error) from None


def did_you_mean(name: object, names: Iterable[str]) -> str:
    """ "did you mean 'x'? ", or "" where none of `names` is near; without regard to case."""
    by_lower = {known.lower(): known for known in names}
    near = difflib.get_close_matches(str(name).lower(), by_lower, 1, 0.5)
    return f"did you mean {by_lower[near[0]]!r}? " if near else ""


def one_of(name: object, names: Iterable[str]) -> tuple[str, str]:
    """`found` and `expected` of an InputError about a name that isn't among `names`: the nearest one, and all of them."""
    names = list(names)
    return did_you_mean(name, names), f"one of {', '.join(names) or 'none'}"


def pluralize(number: int, one: str, more: str = "") -> str:
    """A number and what it counts, such as "1 coil", "8 coils"; more: an irregular plural."""
    return f"{number} {one if number == 1 else more or one + 's'}"


def one_line(error: BaseException) -> str:
    """Any error in one line, an InputError's words alone."""
    words = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
    return " ".join(words.split())
