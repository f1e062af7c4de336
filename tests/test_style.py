"""Spelling, docstrings, and imports between the rooms of lib that point downwards."""

import ast
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


def test_imports_between_rooms_point_downwards(monkeypatch):
    monkeypatch.chdir(ROOT)
    done = CliRunner().invoke(lint_imports_command, ["--no-cache", "pyproject.toml"])
    assert done.exit_code == 0, done.output
