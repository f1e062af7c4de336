"""The project around the code: pins, licenses, and notebooks in git."""

import ast
import json
import re
import subprocess
import tomllib

import pytest
import yaml

from lib import ROOT
from lib.runs import parameters

NOTEBOOKS = sorted(
    ROOT / name
    for name in subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "notebooks/*.ipynb"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()
)  # fmt: skip


def _names(lines) -> set[str]:
    found = (re.match(r"[A-Za-z0-9._-]+", line.strip()) for line in lines)
    return {m[0].lower().replace("_", "-") for m in found if m}


def test_environment_yml_uses_the_same_pins():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert "python=3.11" in environment["dependencies"]
    assert environment["dependencies"][-1] == {"pip": ["-r requirements.txt"]}


def test_requirements_are_exact_cover_the_package_and_end_with_it():
    lines = (ROOT / "requirements.txt").read_text().split("\n")
    pins = [line for line in lines if line and not line.startswith("#")]
    assert pins[-1] == "-e ." and all("==" in pin for pin in pins[:-1])
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert _names(wanted) <= _names(pins)
    peers = _names((ROOT / "requirements-peers.txt").read_text().split("\n"))
    assert not peers & _names(pins)  # nothing at run time needs a peer


def _make(*arguments):
    """What make prints; a make that this test itself runs under has it name the folders too."""
    command = ["make", "--no-print-directory", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_make_help_names_every_target_and_the_audit_is_apart_from_the_users_packages():
    text = (ROOT / "Makefile").read_text()
    targets = re.search(r"^\.PHONY: help (.*)$", text, re.M)[1].split()
    said = _make("help")
    assert sorted(re.findall(r"^make (\S+) ", said, re.M)) == sorted(targets)
    lines = [
        line
        for name in ("requirements.txt", "requirements-peers.txt")
        for line in (ROOT / name).read_text().split("\n")
    ]
    assert "pip-audit" not in _names(lines) and "/.audit/" in (ROOT / ".gitignore").read_text()
    dry = _make("--dry-run", "audit")
    assert not re.search(r"^\S*\.venv", dry, re.M) and dry.rstrip().endswith("--requirement .audit/pins.txt")


def test_git_keeps_lib_and_the_samples_and_ignores_what_runs_make():
    def ignored(path):
        return subprocess.run(["git", "check-ignore", "-q", "--no-index", path], cwd=ROOT).returncode == 0

    assert not any(map(ignored, ("lib/data/fastmri.py", "data/samples/README.md", "data/README.md", "runs/demo.yaml")))
    assert all(map(ignored, ("data/kspace/set.json", "runs/x/20260101-000000/status.json", ".venv/bin/python")))


def test_licenses_are_there():
    assert "MIT License" in (ROOT / "LICENSE").read_text()
    notices = (ROOT / "data" / "samples" / "LICENSES.md").read_text()
    sources = (ROOT / "data" / "samples" / "README.md").read_text()
    for license in ("BSD-2-Clause", "BSD-3-Clause", "MIT", "Apache-2.0", "CC0", "CC BY-SA"):
        assert license in sources and license in notices


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_in_git(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cells = notebook["cells"]
    code = [c for c in cells if c["cell_type"] == "code"]
    source = {c["id"]: "".join(c["source"]) for c in cells}
    assert all(not c["outputs"] and c["execution_count"] is None for c in code), "strip it"
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert len(source) == len(cells), "every cell keeps an id of its own"

    first = source[cells[0]["id"]].splitlines()
    assert first[0].startswith("# ") and first[1].startswith("> ")
    assert "parameters" in cells[1]["metadata"]["tags"] and "run_dir" in parameters.parameters(path)
    assert parameters.role(path), "a tag of its parameters cell says what it is for"
    headings = [line for text in source.values() for line in text.splitlines() if line.startswith("## ")]
    assert "## Result" in headings
    assert "runs.finish(" in source[code[-1]["id"]] and "](" in source[cells[-1]["id"]]
    for cell in code[1:]:
        text = source[cell["id"]]
        lines = [line for line in text.splitlines() if line.strip() and not line.startswith(("import ", "from "))]
        assert len(lines) <= 16, f"{cell['id']} is long"
        assert not re.search(r"!pip|%pip|sys\.path|/home/|/root/|/work/", text)
        ast.parse(text)
    before = "\n".join(source[c["id"]] for c in code[1:]).split("runs.start(")[0]
    changed = {t.id for t in ast.walk(ast.parse(before.rpartition("\n")[0])) if isinstance(t, ast.Name)}
    assert not changed & set(parameters.parameters(path)), (
        "the run folder keeps what was asked for: --resume compares it"
    )
    kinds = [c["cell_type"] for c in cells]
    assert all(a == "markdown" for a, b in zip(kinds, kinds[1:], strict=False) if b == "code" and a != "code")


def test_every_notebook_is_linked_from_its_neighbors():
    text = {p.stem: p.read_text(encoding="utf-8") for p in NOTEBOOKS}
    for stem, content in text.items():
        if stem != "00_overview":
            assert "00_overview.ipynb" in content
        for link in re.findall(r"\]\((\d\d_\w+)\.ipynb\)", content):
            assert link in text, f"{stem} links to {link}"
