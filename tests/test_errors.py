"""InputError: its fields, the one line made of them, and that both survive a worker process."""

import pickle

import pytest

from lib import InputError


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        (("a.h5",), "a.h5"),
        (("a.h5", "kspace: shape (3,)"), "a.h5: kspace: shape (3,)"),
        (("a.h5", "no target", "reconstruction_rss"), "a.h5: no target, expected reconstruction_rss"),
        (
            ("size", "got 3", "an even number", "64 is a good one"),
            "size: got 3, expected an even number: 64 is a good one",
        ),
        (("a.h5", "gone", "", "restore it"), "a.h5: gone: restore it"),
        (("mask width 0", "", "at least 1 column"), "mask width 0: expected at least 1 column"),
        (("kind 'x'", "did you mean 'y'? ", "one of y, z"), "kind 'x': did you mean 'y'? expected one of y, z"),
    ],
)
def test_one_line_is_made_of_the_fields(fields, line):
    error = InputError(*fields)
    assert str(error) == line
    assert (error.where, error.found, error.expected, error.hint) == (*fields, "", "", "")[:4]
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == line and vars(again) == vars(error)
    error.args = (f"Exception in `Checkpoint`: {error.args[0]}",)  # as fastai does
    assert str(error) == line
