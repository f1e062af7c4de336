"""The overview's tables: from the notebooks' first lines, the runs, the samples and the prepared sets."""

import os
import re

import fake_runs
import pytest

from lib import ROOT, files
from lib.runs import overview

NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))


@pytest.fixture
def folder(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(overview, "lab_root", lambda: tmp_path)
    return folder


def notebook(path, line):
    files.write(path, {"cells": [{"source": ["# Title\n", line]}]})
    return path


def test_the_line_under_a_title_has_four_parts(tmp_path):
    line = "> Does a thing; then another. Reads `data` or `x`, of you, writes a table, b and c; ten s; more for you. Needs Y."
    assert overview.goal(notebook(tmp_path / "a.ipynb", line)) == (
        "Does a thing; then another. Needs Y.", "`data` or `x`, of you", "a table, b and c", "ten s; more for you",
    )  # fmt: skip
    assert overview.goal(notebook(tmp_path / "a.ipynb", "> Looks. Reads runs; seconds.")) == (
        "Looks.",
        "runs",
        "",
        "seconds",
    )
    assert overview.goal(notebook(tmp_path / "a.ipynb", "> Another form")) == ("Another form", "", "", "")
    assert overview.goal(notebook(tmp_path / "a.ipynb", "none")) == ("", "", "", "")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_every_notebook_says_what_it_reads_writes_and_takes(path):
    found = overview.goal(path)
    assert all(found), f"{found}; expected '> Goal. Reads X, writes Y; time.'"
    assert re.search(r"second|minute|\d s\b", found.time)


def test_every_notebook_has_a_row_with_links_that_lead_somewhere(folder):
    started = fake_runs.make(folder, "train_varnet", 0, status="failed", error="no")
    newest = fake_runs.make(folder, "train_unet", 5)
    files.write(newest / "notebook.ipynb", "{}")
    (folder / "train_unet" / "20260306-000000").mkdir()  # an empty folder hides nothing
    run = folder / "overview" / "now"
    table = overview.notebooks(run).set_index(overview.notebooks(run)["notebook"].str.extract(r">(.*)<")[0])
    assert list(table.index) == [p.stem for p in NOTEBOOKS]
    assert list(table) == ["notebook", "goal", "reads", "writes", "time", "last run"]
    for cell in table["notebook"]:
        assert (run / re.search('href="(.*?)"', cell)[1]).resolve() in NOTEBOOKS
    assert table.loc["10_prepare_kspace", "last run"] == "not run yet"
    last = table.loc["21_train_kspace", "last run"]
    assert "<b>✓ ok</b>" in last and "3 min 17 s" in last
    assert os.path.normpath(run / re.search('href="(.*?)"', last)[1]) == str(newest / "notebook.ipynb")
    newest.rename(folder / "results")  # now the failed one is the last; it has executed nothing
    last = overview.notebooks(run).set_index(table.index).loc["21_train_kspace", "last run"]
    assert "<b>✗ failed</b>" in last and "href" not in last and started.is_dir()
    assert re.search("<code[^>]*>data</code>", table.loc["21_train_kspace", "reads"])


def test_the_last_run_says_what_went_wrong(folder):
    fake_runs.make(folder, "train_slices", 9, notebook="23_train_slices", status="failed", error="a<b: cut off")
    last = "".join(overview.notebooks(folder / "overview" / "now")["last run"])
    assert "<b>✗ failed</b>" in last and "a&lt;b: cut off" in last


def test_what_lab_cannot_open_is_not_linked(folder, monkeypatch, tmp_path):
    files.write(fake_runs.make(folder, "train") / "notebook.ipynb", "{}")
    monkeypatch.setattr(overview, "lab_root", lambda: tmp_path / "elsewhere")
    assert not any("href" in cell for cell in overview.notebooks(folder / "o" / "now")["last run"])


def test_links_count_from_the_folder_of_the_open_notebook(folder, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT / "notebooks")
    assert 'href="10_prepare_kspace.ipynb"' in overview.notebooks(folder)["notebook"][1]


def test_samples_by_person_and_what_is_missing(tmp_path, monkeypatch):
    table = overview.samples().set_index("person")
    people = ["brain_a", "brain_b", "brain_c", "abdomen_a", "abdomen_b", "tumour_a", "tumour_b", "heart", "phantom"]
    people += [f"heart_sax_{n}" for n in range(1, 6)] + ["heart_long_axis_b", "hippocampus", "brain_g", "brain_f"]
    people += ["brain_d", "brain_e"]
    assert list(table.index) == people and set(table["there"]) == {"✓ yes"}
    assert table.loc["tumour_a", "files"] == "tumour_a_t1c, tumour_a_mask"
    assert table.loc["brain_b", "license"] == "BSD-3-Clause" and table.loc["heart", "license"] == "Apache-2.0"
    named = {name for names in table["files"] for name in names.split(", ")}
    present = {p for p in overview.SAMPLES.rglob("*") if p.suffix in (".gz", ".h5")}
    present = {p.relative_to(overview.SAMPLES).as_posix().removesuffix(".nii.gz") for p in present}
    assert named - {"hippocampus"} == {name for name in present if not name.startswith("hippocampus/")}
    (tmp_path / "README.md").write_text((overview.SAMPLES / "README.md").read_text())
    monkeypatch.setattr(overview, "SAMPLES", tmp_path)
    assert overview.samples()["there"][0] == "✗ brain_a_t1, brain_a_tissue missing: restore it from git"


def test_sets_that_are_there_and_those_that_are_not(tmp_path, monkeypatch):
    (tmp_path / "README.md").write_text((overview.DATA / "README.md").read_text())
    monkeypatch.setattr(overview, "DATA", tmp_path)
    content = {
        "source": str(ROOT / "data" / "samples"),
        "kind": "simulated",
        "persons": {"train": ["a", "b"], "test": ["c"]},
    }
    content["files"] = [{"split": s} for s in ("train", "train", "train", "test")]
    files.write(tmp_path / "kspace" / "set.json", content)
    files.write(tmp_path / "kspace-quick" / "set.json", content)
    files.write(tmp_path / "mine" / "set.json", "{")
    rows = overview.sets().set_index("set")
    assert rows.loc["kspace"].tolist() == ["simulated, from data/samples", "3 cases of 2", "–", "1 case of 1"]
    assert rows.loc["mine", "what it is"] == "set.json is unreadable: prepare the set anew"
    assert rows.loc["pairs", "what it is"] == "not there yet; 14_prepare_pairs makes it"
    assert rows.loc["phantom", "what it is"] == "not there yet; 10_prepare_kspace in runs/kspace.yaml makes it"
    assert set(rows.index) == {
        "kspace",
        "mine",
        "phantom",
        "raw",
        "cine",
        "hippocampus",
        "hippocampus_slices",
        "slices_ventricle",
        "volumes",
        "pairs",
        "pairs_without_1/ … _5",
    }


def test_the_environment_is_told(folder):
    lines = "\n".join(overview.environment())
    for word in ("Python 3", "torch ", "GPU: ", "GiB free", "runs: 0"):
        assert word in lines


def test_the_root_is_the_repository_without_a_lab():
    assert overview.lab_root() == ROOT
