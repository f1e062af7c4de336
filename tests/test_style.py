"""Spelling, docstrings, and imports between the rooms of lib that point downwards."""

import ast
import re
import subprocess

import codespell_lib
import pytest
from click.testing import CliRunner
from importlinter.cli import lint_imports_command

from lib import ROOT

FILES = subprocess.run(
    ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
    cwd=ROOT, capture_output=True, text=True, check=True,
).stdout.split()  # fmt: skip
SPELLED = ("lib/", "tools/", "tests/", "notebooks/", "docs/", "README.md", "CONTRIBUTING.md", "data/")
# In pages: names of settings and titles, which stay as they are, and a class of committed results
NAMES = r'`[^`]*`|"[^"]*"|cortical grey matter'
HEADINGS = {"Parameters", "Returns", "Yields", "Raises", "References"}
LISTED = tuple(
    f"lib/{room}/" for room in ("kspace", "losses", "metrics", "models", "parallel", "phantoms", "plots", "training")
)
MODULES = [name for name in FILES if name.startswith("lib/") and name.endswith(".py") and (ROOT / name).exists()]


def spelled(capsys, monkeypatch, *words) -> str:
    """What codespell finds, one line each."""
    monkeypatch.chdir(ROOT)  # its settings are read from pyproject.toml here
    codespell_lib.main(*words)
    return capsys.readouterr().out


def test_words_are_spelled_right(capsys, monkeypatch):
    names = [name for name in FILES if name.startswith(SPELLED) and (ROOT / name).exists()]
    assert spelled(capsys, monkeypatch, *names) == ""


def test_pages_have_us_spelling(capsys, monkeypatch):
    pages = [name for name in FILES if name.endswith(".md") and (ROOT / name).exists()]
    found = spelled(capsys, monkeypatch, "--builtin", "en-GB_to_en-US", "--ignore-regex", NAMES, *pages)
    assert found == ""


@pytest.mark.parametrize("module", MODULES)
def test_what_is_public_has_a_docstring(module):
    tree = ast.parse((ROOT / module).read_text(encoding="utf-8"))
    public = [n for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef) and not n.name.startswith("_")]
    assert [getattr(n, "name", module) for n in [tree, *public] if not ast.get_docstring(n)] == []


def wrong_lists(source: str) -> list[str]:
    """Functions and classes whose Parameters list isn't their signature, and headings that numpydoc doesn't have."""
    wrong = []
    for node in ast.walk(ast.parse(source)):
        doc = isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node)
        sections = dict(re.findall(r"^(.+)\n-{3,}\n((?:.+\n?)*)", doc or "", re.M))
        if not sections.keys() <= HEADINGS or any(f"\n\n{h}\n{'-' * len(h)}\n" not in doc for h in sections):
            wrong.append(f"{node.name}: {', '.join(sections)}")
        lines = [line for line in sections.get("Parameters", "").splitlines() if not line.startswith(" ")]
        listed = [name.strip() for line in lines for name in line.partition(" : ")[0].split(",")]
        if "Parameters" in sections and listed != arguments(node):
            wrong.append(f"{node.name}: lists {listed}, takes {arguments(node)}")
    return wrong


def arguments(node: ast.FunctionDef | ast.ClassDef) -> list[str]:
    """What a function, or the constructor of a class, takes; of a class without one, its fields."""
    if isinstance(node, ast.ClassDef):
        constructors = [n for n in node.body if getattr(n, "name", "") == "__init__"]
        return (
            arguments(constructors[0])
            if constructors
            else [n.target.id for n in node.body if isinstance(n, ast.AnnAssign)]
        )
    given = node.args
    stars = [f"{star}{arg.arg}" for star, arg in (("*", given.vararg), ("**", given.kwarg)) if arg]
    names = [arg.arg for arg in (*given.posonlyargs, *given.args)] + stars[: bool(given.vararg)]
    names += [arg.arg for arg in given.kwonlyargs] + stars[bool(given.vararg) :]
    return [name for name in names if name not in ("self", "cls")]


@pytest.mark.parametrize("module", MODULES)
def test_documented_parameters_are_the_signature(module):
    assert wrong_lists((ROOT / module).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("module", [module for module in MODULES if module.startswith(LISTED)])
def test_many_arguments_are_listed(module):
    tree = ast.parse((ROOT / module).read_text(encoding="utf-8"))
    public = [n for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef) and not n.name.startswith("_")]
    many = [n for n in public if len(arguments(n)) > 3]
    assert [n.name for n in many if "\nParameters\n" not in ast.get_docstring(n)] == []


@pytest.mark.parametrize(
    ("listed", "right"),
    [
        ("a : x\nb, c : y\n    more", True),
        ("a : x\nb : y", False),
        ("a : x\nc : y\nb : z", False),
        ("a, b, c, d", False),
    ],
)
def test_a_wrong_list_of_parameters_is_found(listed, right):
    function = ast.parse("def f(a, b=1, *, c=2): pass").body[0]
    function.body = [ast.Expr(ast.Constant(f"F.\n\nParameters\n----------\n{listed}\n\nReturns\n-------\nd : z"))]
    assert (wrong_lists(ast.unparse(function)) == []) is right


def test_imports_between_rooms_point_downwards(monkeypatch):
    monkeypatch.chdir(ROOT)
    done = CliRunner().invoke(lint_imports_command, ["--no-cache", "pyproject.toml"])
    assert done.exit_code == 0, done.output
