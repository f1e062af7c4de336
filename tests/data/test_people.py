"""People go by pseudonyms in set.json and everything made from a set; a table beside the data says who they are."""

import csv
import io
import shutil

import h5py
import labeled
import miniatures
import numpy as np
import pytest
from refusals import refused

from lib import ROOT
from lib.data import cine, cine_files, hipmri, lgg, people, volume_slices
from lib.data.case_files import CaseSlices, split_cases
from lib.data.fastmri import split_files
from lib.data.fastmri_index import index
from lib.data.index import read_set


def table(folder):
    """{pseudonym: id} as the file has it."""
    warning, rest = (folder / "persons.csv").read_text(encoding="utf-8").split("\n", 1)
    assert warning.startswith("#") and "identifies people" in warning and "share" in warning
    head, *rows = csv.reader(io.StringIO(rest, newline=""))
    assert head == ["pseudonym", "id"]
    return dict(rows)


def kspace(folder, **persons):
    """K-space files, {split_name: patient_id}."""
    for seed, (name, person) in enumerate(persons.items()):
        miniatures.fastmri_file(folder / name.split("_")[0] / f"{name}.h5", person, seed=seed, slices=1)
    return folder


def test_a_person_has_one_pseudonym_in_all_files_and_the_table_says_whose(tmp_path, capsys):
    source = kspace(tmp_path / "in", train_x="Zeta, Q.", train_y="Zeta, Q.", val_x="alpha\n1", test_x='Mu "M"')
    index(source, tmp_path / "set")
    assert table(tmp_path / "set") == {"person_001": 'Mu "M"', "person_002": "Zeta, Q.", "person_003": "alpha\n1"}
    content = read_set(tmp_path / "set")
    assert content["persons"] == {"train": ["person_002"], "val": ["person_003"], "test": ["person_001"]}
    assert [f.person for f in split_files(tmp_path / "set", "train")] == ["person_002"] * 2
    said = (tmp_path / "set" / "set.json").read_text() + capsys.readouterr().out
    assert not [name for name in ("Zeta", "alpha", 'Mu "', 'Mu \\"') if name in said]


def test_who_is_added_later_changes_nobodys_pseudonym(tmp_path):
    source = kspace(tmp_path / "in", train_x="b", val_x="d", test_x="c")
    index(source, tmp_path / "set")
    first = table(tmp_path / "set")
    index(source, tmp_path / "set")
    index(source, tmp_path / "other")
    assert first == table(tmp_path / "set") == table(tmp_path / "other")
    kspace(source, train_new="a")
    index(source, tmp_path / "set")
    assert table(tmp_path / "set") == first | {"person_004": "a"}
    shutil.move(source / "train" / "train_x.h5", source / "test" / "train_x.h5")  # another split, the same person
    index(source, tmp_path / "set")
    assert (
        table(tmp_path / "set")["person_001"] == "b" and "person_001" in read_set(tmp_path / "set")["persons"]["test"]
    )


def test_true_ids_are_kept_if_asked_for_and_of_the_samples(tmp_path):
    source = kspace(tmp_path / "in", train_x="a", val_x="b", test_x="c")
    index(source, tmp_path / "set", real_ids=True)
    assert read_set(tmp_path / "set")["persons"] == {"train": ["a"], "val": ["b"], "test": ["c"]}
    index(ROOT / "data" / "samples" / "phantom_raw_kspace.h5", tmp_path / "sample")
    assert not [n for e in read_set(tmp_path / "sample")["files"] if (n := e["person"]).startswith("person_")]
    assert not [*tmp_path.rglob("persons.csv")]


def test_a_damaged_table_is_refused_and_left_alone(tmp_path):
    source = kspace(tmp_path / "in", train_x="a", val_x="b", test_x="c")
    (tmp_path / "set").mkdir()
    good = f"{people.WARNING}\npseudonym,id\nperson_001,a\n"
    for text in ("", "a", good.replace("id", "who"), good + "b\n", good + "x,b\n", good + "person_001,b\n", "\0"):
        (tmp_path / "set" / "persons.csv").write_text(text)
        with refused(where="persons.csv", found="not a table of pseudonyms", hint="restore it, or delete it"):
            index(source, tmp_path / "set")
        assert (tmp_path / "set" / "persons.csv").read_text() == text and len([*(tmp_path / "set").iterdir()]) == 1


def test_file_names_with_an_id_are_counted_without_saying_it(tmp_path, capsys):
    for name, person in (("doe-john_t1", "DOE^JOHN"), ("other", "ROE^ANN"), ("a1", "1")):
        miniatures.fastmri_file(tmp_path / "in" / "test" / f"{name}.h5", person, slices=1)
    index(tmp_path / "in", tmp_path / "set")
    said = capsys.readouterr().out
    assert "1 of 3 file names hold their person's id: they stay in set.json and results" in said and "DOE" not in said


def test_patients_of_file_and_folder_names_are_replaced_in_the_names_of_cases(tmp_path):
    hipmri.prepare(labeled.hipmri_layout(tmp_path / "hipmri", 1, (96, 96), odd=False), tmp_path / "slices")
    entries = read_set(tmp_path / "slices")["files"]
    assert {e["path"].split("/")[1] for e in entries} >= {"person_001_week_0.h5", "person_002_week_2.h5"}
    assert table(tmp_path / "slices")["person_002"] == "019"
    source = labeled.kaggle_layout(tmp_path / "lgg", 4, 3, 32)
    lgg.prepare(source, tmp_path / "a", (32, 32), val=0.25)
    lgg.prepare(source, tmp_path / "b", (32, 32), val=0.25, real_ids=True)
    ids = table(tmp_path / "a")
    for split in ("train", "val", "test"):
        ours, true = (CaseSlices(split_cases(tmp_path / name, split), channels=3) for name in "ab")
        assert len(ours) == len(true) and ours.cases[0].path.name.startswith("person_00")
        for case, real in zip(map(ours.case, range(len(ours))), map(true.case, range(len(true))), strict=True):
            assert ids[case.person] == real.person and case.name == f"{case.person}_{real.name.rsplit('_', 1)[1]}"
            assert np.array_equal(case.raw, real.raw)  # the split is by the true person


def test_volumes_keep_their_names_and_their_people_are_pseudonyms(tmp_path):
    source = miniatures.decathlon(tmp_path / "in")
    persons = {f"hippocampus_{n:03d}": f"Ada {n // 3}" for n in range(1, 6)}
    volume_slices.prepare(source, tmp_path / "set", split={"val": 0, "test": 3}, persons=persons)
    cases = [c for split in ("train", "test") for c in split_cases(tmp_path / "set", split)]
    assert [(c.id[-1], c.person) for c in cases] == [(str(n), f"person_00{1 + n // 3}") for n in range(1, 6)]


@pytest.mark.parametrize("real_ids", [True, False])
def test_series_are_called_by_their_file_and_number(tmp_path, real_ids):
    files = {}
    for split, who in (("train", "b"), ("test", "a")):
        for side, key in cine_files.DATA_KEYS.items():
            files[f"{side}_{split}"] = tmp_path / f"{side}_{split}.h5"
            with h5py.File(files[f"{side}_{split}"], "w") as file:
                file[key] = np.ones((2, 4, 4, 3), np.float32)
                file.attrs["persons"], file.attrs["names"] = [who, "c" if split == "test" else who], [who, f"{who}2"]
    cine_files.index(files, tmp_path / "set", {"test": True}, real_ids)
    series = cine.CineSeries(cine.split_pairs(tmp_path / "set", "test"))
    cases = [(case.id, case.person) for case in map(series.case, range(2))]
    assert cases == (
        [("a", "a"), ("a2", "c")] if real_ids else [("x_test_0000", "person_001"), ("x_test_0001", "person_003")]
    )
    if not real_ids:
        assert table(tmp_path / "set") == {"person_001": "a", "person_002": "b", "person_003": "c"}
    cine_files.index(files, tmp_path / "run", {"test": True}, table=False)
    assert [path.name for path in (tmp_path / "run").iterdir() if path.suffix == ".csv"] == []
