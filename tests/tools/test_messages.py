"""docs/messages.md is what the code says, and its examples are messages of the kinds that it lists."""

import ast
import re

import pytest
from refusals import refused

from lib import InputError
from lib.files import read
from tools import messages


def kinds_of(monkeypatch, tmp_path, source):
    (tmp_path / "lib" / "data").mkdir(parents=True, exist_ok=True)
    (tmp_path / "lib" / "data" / "hdf5.py").write_text(source)
    monkeypatch.setattr(messages, "ROOT", tmp_path)
    return [(r.field, r.message) for r in messages.refusals() if r.module == "lib/data/hdf5"]


def test_the_page_is_current_and_says_enough():
    kinds, examples = messages.refusals(), read(messages.EXAMPLES)
    text = messages.PAGE.read_text(encoding="utf-8")
    assert text == messages.page(kinds, examples), "`.venv/bin/python -m tools.messages` writes it"
    assert len(kinds) >= 120 and len({k.key for k in kinds}) == len(kinds)
    assert set(examples) <= {k.key for k in kinds} and len(examples) >= 120
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| field")]
    assert len(rows) == len(kinds) and all(re.sub(r"\\\|", "", row).count("|") == 4 for row in rows)
    assert not re.search(r"/(tmp|home|root|work)/", text)


def test_examples_have_the_words_of_their_kind():
    for kind in messages.refusals():
        if given := read(messages.EXAMPLES).get(kind.key):
            words = [
                w
                for part in re.split("‹.*?›| / ", f"{kind.field} {kind.message}")
                for w in re.findall(r"[a-z]{4,}", part)
            ]
            missing = [word for word in words if word not in given]
            assert given.endswith("…") or len(words) < 4 or len(missing) <= len(words) / 2, (kind, given)


def test_parts_are_read_as_the_error_puts_them_together(monkeypatch, tmp_path):
    source = """
raise InputError(path, f"{key}: shape {array.shape}", "(S, H, W)", hint=f"see {folder.name}")
raise InputError("x", *one_of(name, KINDS))
raise InputError(f"task {name}", "a" + f"b {len(items)}" if odd else "bad words", expected=f"{', '.join(names)}")
raise InputError(where, error)
raise InputError("y", choose(name, [p.stem for p in paths]))
raise InputError("z", f"{pluralize(count, 'file')} {self.size}")
"""
    assert kinds_of(monkeypatch, tmp_path, source) == [
        ("‹path›", "‹key›: shape ‹array›, expected (S, H, W): see ‹folder›"),
        ("x", "expected one of ‹KINDS›"),
        ("task ‹name›", "ab ‹items› / bad words, expected ‹names›"),
        ("y", "got ‹name›, expected one of: ‹p›"),
        ("z", "‹count› files ‹size›"),
    ]
    assert all(len(re.findall("InputError", line)) <= 1 for line in source.splitlines()) and ast.parse(source)


def test_a_module_without_a_group_is_named():
    assert messages.group("lib/data/fastmri_index") == "Preparing k-space" != messages.group("lib/data/lits")
    with refused(where="lib/new/room", found="in no group"):
        messages.group("lib/new/room")


def test_characters_of_tables_and_pages_are_escaped_and_folders_left_out():
    kind = messages.Refusal("lib/files", (1, 1), "a|b", "*_mask <x> [y](z)")
    row = messages.page([kind], {kind.key: "$x$"}).split("|---|---|---|\n")[4].splitlines()[0]
    assert row == r"| a\|b | \*\_mask &lt;x&gt; \[y\](z) | \$x\$ |"
    assert messages.example("/tmp/a/b/c.h5: 1/2 of kspace/x, or /tmp/q/d.h5") == "c.h5: 1/2 of kspace/x, or d.h5"
    assert len(messages.example("word " * 99)) <= messages.LONGEST


def test_the_recorder_keeps_the_first_message_of_each_place():
    from lib import sampling

    recorder = messages.Recorder()
    recorder.pytest_configure()
    try:
        for width in (0, -1):
            with pytest.raises(InputError):
                sampling.make_mask("random", width, 4, center_fraction=0.1)
    finally:
        recorder.pytest_unconfigure()
    [((module, _), message)] = recorder.met.items()
    assert module == "lib/kspace/sampling" and message == "mask width 0: expected at least 1 column"
