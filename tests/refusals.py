"""What a test expects of an InputError: its fields, whatever sentence they make."""

import contextlib
import re
from collections.abc import Iterator

import pytest

from lib import InputError


@contextlib.contextmanager
def refused(**fields: str) -> Iterator[pytest.ExceptionInfo[InputError]]:
    """The block raises an InputError in whose `where`, `found`, `expected` and `hint` these patterns are found."""
    with pytest.raises(InputError) as error:
        yield error
    for name, pattern in fields.items():
        value = getattr(error.value, name)
        assert re.search(pattern, value), f"{name}: {value!r} isn't what {pattern!r} describes: {error.value}"
