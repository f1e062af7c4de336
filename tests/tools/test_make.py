"""tools/make.py does what the Makefile says, where there is no make."""

import subprocess
import sys

import pytest

from lib import ROOT
from tools import make

MAKEFILE = (ROOT / "Makefile").read_text()


def test_a_targets_lines_are_the_makefiles():
    needs, lines = make.lines_of("demo", MAKEFILE)
    assert needs == [".venv/.ready"] and lines == [".venv/bin/python -m lib runs/demo.yaml"]
    needs, lines = make.lines_of(".venv/.ready", MAKEFILE)
    assert needs == ["requirements.txt", "pyproject.toml"] and lines[1] == "python3 -m venv .venv"
    assert make.lines_of("nothing", MAKEFILE) == ([], [])


def test_each_step_is_done_once_in_order(tmp_path, monkeypatch):
    called = []
    monkeypatch.setattr(make, "ROOT", tmp_path)
    monkeypatch.setattr(make, "RUN", tmp_path / "python")
    monkeypatch.setattr(subprocess, "call", lambda words, cwd: called.append(words) or 0)
    for name in ("requirements.txt", "requirements-peers.txt", "pyproject.toml"):
        (tmp_path / name).touch()
    (tmp_path / ".venv").mkdir()
    make.make("test", MAKEFILE)
    run = str(tmp_path / "python")
    assert [words[0] for words in called] == [sys.executable, sys.executable, run, run, run]
    assert called[1][1:] == ["-m", "venv", ".venv"]
    assert called[4][1:] == ["-m", "pytest", "-n", "2", "-m", "not whole and not browser and not slow"]
    called.clear()
    make.make("demo", MAKEFILE)
    assert called == [[run, "-m", "lib", "runs/demo.yaml"]]
    monkeypatch.setattr(subprocess, "call", lambda words, cwd: 3)
    with pytest.raises(SystemExit) as ended:
        make.make("demo", MAKEFILE)
    assert ended.value.code == 3


def test_a_new_user_is_told_what_there_is():
    done = subprocess.run([sys.executable, "-S", "-E", ROOT / "tools" / "make.py"], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr == "usage: python tools/make.py demo | test | test-all | lab\n"
