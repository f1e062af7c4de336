"""The data sets that notebooks prepare, as their tags say."""

import toys
from refusals import refused

from lib.runs import data_sets, parameters


def test_every_preparing_notebook_is_a_data_set():
    found = {s.notebook.stem: (s.folder, s.reader) for s in data_sets.data_sets()}
    assert found["10_prepare_kspace"] == ("data/kspace", "kspace_files")
    assert found["13_prepare_volumes"] == ("data/volumes", "lits_matching")
    assert found["11_prepare_cine"] == ("data/cine", "")


def test_a_reader_looks_at_the_source_with_the_parameters_that_it_names(tmp_path):
    path = toys.write(tmp_path, "19_mine", tags=("prepare", "reader:lits_matching"))
    assert parameters.role(path) == "prepare" and parameters.tags(path) == ["prepare", "reader:lits_matching"]
    with refused(found="no such folder", expected="one with volumes named scan-[*]"):
        data_sets.data_set(path).check_source(tmp_path / "none", {"volume_files": "scan-*", "quick": True})
