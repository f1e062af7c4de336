"""The genuine raw scans as a set, and training beside them on simulated slices."""

import shutil

import h5py
import pytest
import torch
from refusals import refused

from lib.data.fastmri import KspaceSlices, dataloaders, split_files
from lib.data.index import read_set
from lib.kspace import ifft2c, rss
from lib.phantoms import raw_scans
from lib.phantoms.simulated_kspace import SimulatedSlices, training_slices

MASK = {"kind": "equispaced", "acceleration": 4, "num_low_frequencies": 24}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("raw")
    raw_scans.write(path)
    return path


def test_brains_validate_and_the_phantom_tests_along_both_axes(folder):
    content = read_set(folder)
    assert content["persons"] == {"train": [], "val": ["brain_d", "brain_e"], "test": ["phantom"]}
    assert content["counts"] == {"train": 0, "val": 4, "test": 2}
    slices = KspaceSlices(split_files(folder, "val"), MASK)
    cases = {case.id: case for case in map(slices.case, range(4))}
    columns, rows = cases["brain_e_columns"], cases["brain_e_rows"]
    assert torch.equal(rows.kspace, columns.kspace.mT) and torch.allclose(rows.target, columns.target.T)
    assert torch.allclose(columns.target, rss(ifft2c(columns.kspace)))
    assert torch.equal(
        rows.masked_kspace[..., ~rows.mask.columns], torch.zeros(8, 168, int((~rows.mask.columns).sum())) + 0j
    )


def test_without_the_research_only_folder_the_phantom_validates(tmp_path, monkeypatch, capsys):
    shutil.copy(raw_scans.FOLDER / "phantom_raw_kspace.h5", tmp_path)
    monkeypatch.setattr(raw_scans, "FOLDER", tmp_path)
    raw_scans.write(tmp_path / "set")
    assert read_set(tmp_path / "set")["persons"]["val"] == ["phantom"]
    assert "brain_d: data/samples/research_only/brain_d_raw_4ch.h5 isn't there" in capsys.readouterr().out


def test_simulated_slices_train_where_raw_ones_validate(folder):
    train = SimulatedSlices(40, seed=3)
    dls = dataloaders(
        folder, MASK, train=train, batch_size=2, eval_batch_size=1, bucket_sampling=True, steps_per_epoch=3
    )
    kspace, mask, count, target, maximum = dls.one_batch()
    assert kspace.shape[-2:] == target.shape[-2:] and mask.shape == (len(kspace), 1, 1, kspace.shape[-1])
    assert len(count) == len(maximum) == len(kspace) <= 2
    assert sorted(len(batch[0]) for batch in dls.valid) == [1, 1, 1, 1]


def test_the_raw_files_say_what_they_are(folder):
    with h5py.File(folder / "val" / "brain_d_rows.h5") as file:
        assert (
            file.attrs["patient_id"] == "brain_d" and file.attrs["acquisition"] == "MPRAGE, undersampled along its rows"
        )


@pytest.mark.parametrize("choose", [raw_scans.check, lambda name: training_slices(name, "kspace", 0)])
def test_a_misspelled_choice_names_the_nearest(choose):
    choose("simulated")
    with refused(found="did you mean 'simulated'", expected="one of .*simulated"):
        choose("simulate")
