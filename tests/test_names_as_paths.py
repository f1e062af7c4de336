"""A name that data bring never becomes a path: ids are names of files, and whatever else is in a name is replaced."""

import json
import os
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from refusals import refused

from lib import ROOT
from lib.data import case_files
from lib.evaluation.kept import Kept
from lib.files import file_name, replacing
from lib.inference import layouts
from lib.inference.results import Writer
from lib.viewer import SliceViewer

LABEL = np.zeros((4, 8, 6), np.uint8)
AFFINE = np.eye(4)[[2, 1, 0, 3]]
EVIL = ["../../mine", "/tmp/mine", "a/b", "..", ".hidden", "a\\b", "a\nb", "<img src=x>", "$x$", "x" * 300, "a\u202eb"]


def case(path, **attributes):
    about = {"person": "p", "classes": ("none", "some"), "names": list("0123"), "affine": AFFINE, "source": "v.nii.gz"}
    about |= {"original_affine": np.eye(4), "original_shape": (6, 8, 4)}
    case_files.write_case(path, LABEL.astype(np.float32), LABEL, **about)
    with h5py.File(path, "r+") as file:
        file.attrs.update(attributes)
    return path


@pytest.mark.parametrize("name", EVIL)
def test_an_id_is_the_name_of_a_file(tmp_path, name):
    with refused(where="c.h5", found="attribute id", expected="the name of a file, such as c"):
        case_files.case_file(case(tmp_path / "c.h5", id=name))


@pytest.mark.parametrize(
    ("stem", "name"), [("c", "c"), ("c", "Fall 1, ä+b (2)"), ("a$b", "a$b"), ("c", ""), ("x.y", "p_1.5")]
)
def test_ordinary_ids_and_the_files_own_stem_stay(tmp_path, stem, name):
    assert case_files.case_file(case(tmp_path / f"{stem}.h5", id=name)).id == (name or stem)


@pytest.mark.parametrize("name", [*EVIL, "\ud800", "a\0b", "", ".", " ", "ä" * 200, "…" * 100 + ".nii.gz"])
def test_any_text_gives_one_name(tmp_path, name):
    made = file_name(name)
    assert made == file_name(made) and Path(made).name == made and not made.startswith(".")
    assert not re.search(r"[\\/\0\n]", made) and len(os.fsencode(made)) <= 180
    (tmp_path / made).touch()
    assert [p.name for p in tmp_path.iterdir()] == [made]


def test_names_stay_and_stay_apart():
    for name in ("brain_a.png", "Fall 1, ä+b (2).nii.gz", "over_time_p-1.5.png"):
        assert file_name(name) == name
    assert len({file_name(f"{a}.png") for a in ("a/b", "a_b", "a\\b", "a:b", "a" * 300, "a" * 301)}) == 6
    assert file_name("a/b.nii.gz").endswith(".nii.gz")


@pytest.mark.parametrize("length", [60, 200, 250])
def test_a_long_name_can_be_written(tmp_path, length):
    with replacing(tmp_path / ("n" * length)) as partial:
        partial.write_text("all of it")
    assert [p.name for p in tmp_path.iterdir()] == ["n" * length]


@pytest.mark.parametrize("name", [n.replace("/", "_") for n in EVIL[3:]] + ["...", "a\0b".replace("\0", "")])
def test_exports_stay_in_the_run(tmp_path, name):
    """Groups of a result.h5 can't hold a slash, but `file` can."""
    run, prepared = tmp_path / "runs" / "t" / "1", case(tmp_path / "set" / "c.h5")
    with Writer(run / "predictions" / "result.h5") as result:
        for number, file in enumerate((prepared, tmp_path / "set" / ".." / "set" / "c.h5")):
            result.add(f"{name}{number}", {"input": LABEL, "output": LABEL}, file=str(file))
    before = set(tmp_path.rglob("*"))
    layouts.export(run, "nifti")
    with Writer(run / "predictions" / "result.h5") as result:
        for number, file in enumerate(("/a/../../../x.h5", "/../x.h5", "..", "/a/...")):
            result.add(f"{name}{number}", {"output": LABEL}, file=file)
    layouts.export(run, "submission")
    made = set(tmp_path.rglob("*")) - before
    assert len(made) >= 6 and all(path.resolve().is_relative_to(run / "predictions") for path in made)
    assert not Path("/x.h5").exists()


@pytest.mark.parametrize("name", ["../../mine", "..", "/tmp/echotrain_mine", "a" * 300])
def test_kept_parts_and_saved_pictures_stay_in_their_folder(tmp_path, name):
    kept = Kept(tmp_path / "a" / "b" / "result.h5", {})
    kept.add(name, [], {}, lambda result: result.add("group", {"output": LABEL}))
    viewer = SliceViewer({"a": LABEL + np.arange(6.0)}, title=name, save_to=tmp_path / "a" / "b" / "figures")
    viewer._receive(None, {"kind": "save", "words": ["slice", "../image", 0]}, [b"\x89PNG\r\n\x1a\n"])
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert len(files) == 3 and all(p.is_relative_to(tmp_path / "a" / "b") for p in files)
    assert not Path("/tmp/echotrain_mine.h5").exists() and kept.has(name, [])


def names_in_paths(source):
    """Pieces of paths in a notebook that are made of names of cases, persons or tasks, but not by `file_name`."""
    pieces = re.findall(r"/ f[\"'][^\"']*\{(case|person|task|name|title|slice)\b", source)
    return [piece for piece in pieces if piece]


def test_notebooks_name_files_by_one_function():
    wrong = {}
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        found = names_in_paths("\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code"))
        wrong |= {path.name: found} if found else {}
    assert wrong == {}
    assert names_in_paths('run / "figures" / f"{case}.png"') and not names_in_paths('/ files.file_name(f"{case}.png")')
