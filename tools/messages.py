"""docs/messages.md: what lib refuses, by what one was doing: read from the code, with examples that tests have met.

`python -m tools.messages` writes the page; with tests as arguments (`python -m tools.messages tests/data`) it runs them
first, and keeps the first message of each kind that they meet in tools/messages.json.
"""

import argparse
import ast
import html
import inspect
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple, get_args
from unittest import mock

from pydantic import BaseModel

from lib import ROOT, InputError
from lib.files import read, write
from lib.runs import parameters, schema

PAGE, EXAMPLES = ROOT / "docs" / "messages.md", ROOT / "tools" / "messages.json"
GROUPS = {  # what one was doing: the modules that refuse it
    "Running recipes": ("lib/recipes",),
    "Giving parameters": ("lib/runs/parameters", "lib/runs/schema", "lib/training/precision"),
    "Finding runs and weights": ("lib/runs", "lib/locks", "lib/processes", "lib/models/state_dict", "lib/training/matching_run"),
    "Reading files": ("lib/files", "lib/data/hdf5", "lib/data/nifti", "lib/data/image_files", "lib/data/reading"),
    "Reading a prepared set": ("lib/data/index", "lib/data/people", "lib/data/case_files", "lib/data/patches", "lib/data/names"),
    "Preparing k-space": ("lib/data/fastmri", "lib/data/header", "lib/data/plausible", "lib/data/kspace_", "lib/data/grappa"),
    "Preparing cine": ("lib/data/cine",),
    "Preparing slices, volumes, images and masks": ("lib/data/",),
    "Using the sample scans, and simulating": ("lib/phantoms",),
    "Undersampling, GRAPPA, SENSE, coils": ("lib/kspace", "lib/coils", "lib/grappa", "lib/sampling"),
    "Building networks": ("lib/models",),
    "Training": ("lib/training", "lib/losses", "lib/parallel", "lib/memory"),
    "Predicting and exporting": ("lib/inference", "lib/serve"),
    "Scoring and comparing": ("lib/evaluation", "lib/metrics"),
    "Looking at results": ("lib/viewer", "lib/plots"),
}  # fmt: skip
HEAD = """# Messages

What Echotrain refuses, and the one line in which it says so: *field: what was found, what is expected: a hint*. Names in
‹ › stand for what the message names. The examples are of tests; files' folders are left out.

This page is generated: `.venv/bin/python -m tools.messages`.
"""
SOUND = {  # settings in which one value at a time is made wrong, for examples
    "mask": {"kind": "random"}, "optimizer": {"type": "Adam", "learning_rate": 0.001}, "scheduler": {"type": "constant"},
    "early_stopping": {"use": True}, "regularization": {"type": None}, "self_ensemble": {"turns": ["identity"]},
}  # fmt: skip
LONGEST = 160  # characters of an example


class Refusal(NamedTuple):
    """One kind of InputError: the module and lines that raise it, its field, and its message without the field."""

    module: str
    lines: tuple[int, int]
    field: str
    message: str

    @property
    def key(self) -> str:
        return f"{self.module}: {self.field}: {self.message}"


def refusals() -> list[Refusal]:
    """All of lib that have words of their own, in the order of the modules, each once."""
    kinds = {}
    for path in sorted((ROOT / "lib").rglob("*.py")):
        module = path.relative_to(ROOT).as_posix().removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "InputError":
                field, *others = _parts(node)
                refusal = Refusal(module, (node.lineno, node.end_lineno), field, str(InputError("", *others)))
                if re.search(r"\w{3}", re.sub("‹.*?›", "", field + refusal.message)):
                    kinds.setdefault(refusal.key, refusal)
    for field, words in _settings(schema.Shared):
        refusal = Refusal("lib/runs/schema", (0, 0), field, f"got ‹value›, expected {words}")
        kinds.setdefault(refusal.key, refusal)
    return list(kinds.values())


def _settings(model: type[BaseModel], above: str = "") -> list[tuple[str, str]]:
    """(key with dots, what it may be) of every parameter that notebooks share."""
    rows = []
    for name, field in model.model_fields.items():
        rows.append((f"{above}{name}", schema.expected(field)))
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                rows += _settings(kind, f"{above}{name}.")
    return rows


def of_setting(name: str) -> str:
    """What is said of a wrong value of a parameter that notebooks share; "" if none of those tried is wrong."""
    first, _, inner = name.partition(".")
    for value in ("x", -1, 0.5, 7):
        try:
            parameters.validated(schema.Shared, {first: SOUND.get(first, {}) | {inner: value} if inner else value})
        except InputError as error:
            if error.where == name:
                return str(error)
    return ""


def _parts(call: ast.Call) -> list[str]:
    """The four parts of an InputError in words."""
    parts = []
    for argument in call.args:
        if isinstance(argument, ast.Starred):  # of lib.text.one_of
            parts += ["", f"one of {_hole(argument.value.args[-1])}"]
        else:
            parts.append(_words(argument))
    parts += [""] * (4 - len(parts))
    for keyword in call.keywords:
        parts[("where", "found", "expected", "hint").index(keyword.arg)] = _words(keyword.value)
    return parts


def _words(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(map(_words, node.values))
    if isinstance(node, ast.FormattedValue):
        return _words(node.value)
    if isinstance(node, ast.BinOp) and any(isinstance(n, ast.JoinedStr) for n in (node.left, node.right)):
        return _words(node.left) + _words(node.right)
    if isinstance(node, ast.IfExp):
        return " / ".join(dict.fromkeys(filter(None, map(_words, (node.body, node.orelse)))))
    return _hole(node)


def _hole(node: ast.AST) -> str:
    """What stands in a message's place: ‹the last name in the expression›."""
    if isinstance(node, ast.Call):
        called = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
        if called in ("choose", "one_of"):
            return f"got ‹name›, expected one of: {_hole(node.args[1])}"
        if called == "pluralize":
            return f"{_hole(node.args[0])} {_words(node.args[1])}s"
        if called == "did_you_mean":
            return "did you mean ‹name›? "
        if isinstance(node.func, ast.Attribute) and called != "join":
            return _hole(node.func if node.args and isinstance(node.func.value, ast.Name) else node.func.value)
        return _hole(node.args[0]) if node.args else "‹…›"
    if isinstance(node, ast.BinOp):
        return _hole(node.left)
    if isinstance(node, ast.Name):
        return f"‹{node.id.strip('_').replace('_', ' ')}›"
    if isinstance(node, ast.Attribute):
        plain = node.attr in ("name", "path", "stem", "parent", "shape", "value")
        return _hole(node.value) if plain else f"‹{node.attr.strip('_').replace('_', ' ')}›"
    inner = {
        ast.Subscript: "value",
        ast.GeneratorExp: "elt",
        ast.ListComp: "elt",
        ast.SetComp: "elt",
        ast.Starred: "value",
    }
    if type(node) in inner:
        return _hole(getattr(node, inner[type(node)]))
    if isinstance(node, ast.IfExp | ast.JoinedStr | ast.Constant):
        return _words(node)
    return "‹…›"


def group(module: str) -> str:
    """The heading under which a module's refusals stand: that of the longest name in GROUPS that begins it."""
    names = {name: heading for heading, modules in GROUPS.items() for name in modules if module.startswith(name)}
    if not names:
        raise InputError(module, "in no group of tools/messages.py", f"one of {', '.join(GROUPS)}")
    return names[max(names, key=len)]


def page(kinds: list[Refusal], examples: dict[str, str]) -> str:
    """The text of docs/messages.md."""
    groups: dict[str, list[Refusal]] = {heading: [] for heading in GROUPS}
    for refusal in kinds:
        groups[group(refusal.module)].append(refusal)
    links = " · ".join(
        f"[{heading}](#{re.sub(r'[^a-z0-9 -]', '', heading.lower()).replace(' ', '-')})" for heading in groups
    )
    parts = [HEAD, f"{len(kinds)} messages: {links}"]
    for heading, rows in groups.items():
        lines = ["| " + " | ".join(map(_cell, (*_columns(r), examples.get(r.key, "")))) + " |" for r in rows]
        parts += [f"\n## {heading}\n", "| field | message | example |", "|---|---|---|", *lines]
    return "\n".join(parts) + "\n"


def _columns(refusal: Refusal) -> tuple[str, str]:
    """The field and the message; where a field says all, it is the message."""
    return (refusal.field, refusal.message) if refusal.message else ("", refusal.field)


def _cell(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]|~$])", r"\\\1", html.escape(" ".join(text.split()), quote=False))


class Recorder:
    """A plugin of pytest that keeps the first message of each place in lib: {(module, line): message}."""

    def __init__(self):
        self.met: dict[tuple[str, int], str] = {}
        self.patch = mock.patch.object(InputError, "__init__", self._record(InputError.__init__))

    def pytest_configure(self):
        self.patch.start()

    def pytest_unconfigure(self):
        self.patch.stop()

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Tests that expect a refusal, alone."""
        items[:] = [item for item in items if re.search(r"refus|InputError", inspect.getsource(item.function))]

    def _record(self, original: Any):
        def init(error: InputError, *parts: object, **named: object) -> None:
            original(error, *parts, **named)
            frame = sys._getframe(1)
            path = Path(frame.f_code.co_filename)
            if path.is_relative_to(ROOT / "lib"):
                module = path.relative_to(ROOT).as_posix().removesuffix(".py")
                self.met.setdefault((module, frame.f_lineno), example(str(error)))

        return init


def example(message: str) -> str:
    """A message without the folders that tests make, cut to LONGEST."""
    message = re.sub(r"(?:/[^\s/:,'()]+)+/(?=[^\s/:,'()]+)", "", " ".join(message.split()))
    return message if len(message) <= LONGEST else f"{message[: LONGEST - 1].rstrip()}…"


def record(tests: list[str]) -> dict[str, str]:
    """{key: example} that tests meet now, before those that they met earlier."""
    import pytest

    recorder = Recorder()
    pytest.main(["-q", "-m", "not whole and not browser and not slow", *tests], plugins=[recorder])
    known = read(EXAMPLES)
    for refusal in refusals():
        for (module, line), message in recorder.met.items():
            if module == refusal.module and refusal.lines[0] <= line <= refusal.lines[1]:
                known.setdefault(refusal.key, message)
    return known


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tools.messages", description=__doc__)
    parser.add_argument("tests", nargs="*", help="tests whose messages become examples")
    given = parser.parse_args()
    examples = record(given.tests) if given.tests else read(EXAMPLES)
    kinds = refusals()
    examples |= {r.key: said for r in kinds if r.lines == (0, 0) and (said := of_setting(r.field))}
    write(EXAMPLES, {refusal.key: examples[refusal.key] for refusal in kinds if refusal.key in examples})
    write(PAGE, page(kinds, examples))
