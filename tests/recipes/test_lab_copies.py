"""`make lab` works on copies: they follow their originals, and nothing that a user has changed is lost."""

import json
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output
from refusals import refused

from lib.recipes import lab
from lib.runs import parameters


@pytest.fixture
def folders(tmp_path):
    originals = tmp_path / "notebooks"
    originals.mkdir()
    for name in ("00_a", "10_b"):
        save(originals / f"{name}.ipynb", "x = 1")
    return originals, tmp_path / "mine"


def save(path, source, *outputs):
    cell = new_code_cell(source, id="one", outputs=[new_output("stream", text=text) for text in outputs])
    nbformat.write(new_notebook(cells=[cell]), path)


def sources(folder):
    return {p.name: json.loads(p.read_text())["cells"][0]["source"] for p in sorted(folder.glob("*.ipynb"))}


def test_copies_follow_and_what_was_changed_is_kept(folders):
    originals, mine = folders
    assert lab.follow(*folders) == [] and sources(mine) == {"00_a.ipynb": ["x = 1"], "10_b.ipynb": ["x = 1"]}
    save(mine / "00_a.ipynb", "x = 2")  # the user's
    save(mine / "10_b.ipynb", "x = 1", "hours of work")  # run, not changed
    save(mine / "my own.ipynb", "y")
    assert lab.follow(*folders) == []  # no original has changed
    save(originals / "00_a.ipynb", "x = 3")
    save(originals / "10_b.ipynb", "x = 3")
    for _ in range(2):
        first, *more = lab.follow(*folders)
        assert "00_a.ipynb is kept: you have changed it, and " in first
        assert sources(mine) == {"00_a.ipynb": ["x = 2"], "10_b.ipynb": ["x = 3"], "my own.ipynb": ["y"]}
    assert more == []
    (old,) = (mine / "earlier").iterdir()
    assert "hours of work" in old.read_text() and old.name.startswith("10_b-2")
    (mine / "00_a.ipynb").rename(mine / "00_a mine.ipynb")
    assert lab.follow(*folders) == [] and sources(mine)["00_a.ipynb"] == ["x = 3"]
    (originals / "10_b.ipynb").unlink()
    assert "10_b.ipynb: its original is gone" in lab.follow(*folders)[0] and (mine / "10_b.ipynb").exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"cells": [1]}'])
def test_a_damaged_copy_is_kept_too(folders, content):
    originals, mine = folders
    lab.follow(*folders)
    (mine / "00_a.ipynb").write_text(content)
    (mine / ".copied.json").write_text("{}")  # nothing is known of it any more
    assert "00_a.ipynb is kept" in lab.follow(*folders)[0] and (mine / "00_a.ipynb").read_text() == content


def test_where_nothing_can_be_written_one_line_says_so(folders):
    with refused(where="/proc/1/mine", found="can't be written"):
        lab.follow(folders[0], Path("/proc/1/mine"))


def test_a_kernel_of_labs_reads_the_copy_and_nothing_else_does(folders, monkeypatch):
    _, mine = folders
    lab.follow(*folders)
    monkeypatch.setattr(parameters, "MINE", mine)
    monkeypatch.setattr(parameters, "ROOT", mine.parent)
    monkeypatch.delenv("ECHOTRAIN_NOTEBOOKS", raising=False)
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    monkeypatch.chdir(mine)
    assert parameters.notebook("00_a").parent.name == "notebooks"
    monkeypatch.setenv("JPY_SESSION_NAME", "mine/00_a.ipynb")
    assert parameters.notebook("00_a").parent == mine
    monkeypatch.chdir(mine.parent)
    assert parameters.notebook("00_a").parent.name == "notebooks"


def test_the_address_that_is_printed_leads_to_the_first_notebook(tmp_path, monkeypatch):
    commands = []
    monkeypatch.chdir(tmp_path)  # it goes to the project, and back afterwards
    monkeypatch.setattr("lib.runs.parameters.MINE", tmp_path / "mine")
    monkeypatch.setattr(lab, "follow", list)
    monkeypatch.setattr(lab.os, "execv", lambda program, words: commands.append(words))
    monkeypatch.setattr(lab.sys, "argv", ["lab", "--no-browser"])
    monkeypatch.setattr(lab.sys, "exit", lambda *_: None)
    monkeypatch.setattr(lab.subprocess, "call", lambda words: commands.append(words))
    lab.main()
    *_, folder, page, more = commands[0]
    assert folder == str(tmp_path / "mine") and more == "--no-browser"
    assert page == "--LabApp.default_url=/lab/tree/00_overview.ipynb"
