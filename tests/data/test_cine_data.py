"""Cine files: layout, checks, pairs, batches."""

import h5py
import numpy as np
import pytest
import torch
from refusals import refused

from lib import InputError
from lib.data import cine, cine_files
from lib.data.index import read_set, write_set
from lib.phantoms import cine as hearts

SHAPE = (3, 12, 10, 4)
TRAINING = {"train": True, "val": True, "test": False}  # and a prediction of the test series


def write(path, key, data, **attributes):
    with h5py.File(path, "w") as file:
        file[key] = data
        file.attrs.update(attributes)
    return path


@pytest.fixture
def six(tmp_path):
    random, files = np.random.default_rng(0), {}
    for split in ("train", "val", "test"):
        for side, key in cine_files.DATA_KEYS.items():
            data = random.random(SHAPE).astype(np.float32)
            files[f"{side}_{split}"] = write(tmp_path / f"{side}_{split}.h5", key, data)
    return files


def test_a_users_files_are_indexed_where_they_lie(six, tmp_path, capsys):
    cine_files.index(six, tmp_path / "set", TRAINING)
    found = read_set(tmp_path / "set")
    assert found["kind"] == "cine" and found["counts"] == {"train": 3, "val": 3, "test": 3}
    assert "x_train: x_train.h5, 3 series of 12×10×4" in capsys.readouterr().out
    (pair,) = cine.split_pairs(tmp_path / "set", "test")
    case = cine.CineSeries([pair]).case(2)
    with h5py.File(six["x_test"]) as x, h5py.File(six["y_test"]) as y:
        assert np.array_equal(case.input, x["imagesRecon"][2]) and np.array_equal(case.truth, y["imagesTrue"][2])
    assert case.id == "x_test_0002"


def test_batches_are_inputs_then_truths(six, tmp_path):
    cine_files.index(six, tmp_path / "set", TRAINING)
    dls = cine.dataloaders(tmp_path / "set", batch_size=2, seed=3)
    batches = list(dls.train)
    assert [tuple(b.shape) for b in batches[0]] == [(2, 12, 10, 4)] * 2 and dls.n_inp == 1
    seen = torch.cat([x for x, _ in batches]).sum((1, 2, 3))
    with h5py.File(six["x_train"]) as x:
        assert torch.allclose(seen.sort().values, torch.from_numpy(x["imagesRecon"][:]).sum((1, 2, 3)).sort().values)


def test_prediction_needs_only_inputs(six, tmp_path):
    cine_files.index({"x_test": six["x_test"]}, tmp_path / "set", {"test": False})
    (pair,) = cine.split_pairs(tmp_path / "set", "test", need_truth=False)
    assert pair.truths is None and cine.CineSeries([pair]).case(0).truth is None
    assert len(cine.CineSeries([pair])[0]) == 1
    with refused(where="x_test.h5", found="no file of truths beside it: needed to train or score"):
        cine.split_pairs(tmp_path / "set", "test")


BAD = {
    "count": (
        "y_val",
        "imagesTrue",
        np.ones((2, 12, 10, 4)),
        r"is \(2, 12, 10, 4\), expected \(3, 12, 10, 4\) as imagesR",
    ),
    "shape": ("y_val", "imagesTrue", np.ones((3, 12, 12, 4)), r"is \(3, 12, 12, 4\), expected \(3, 12, 10, 4\)"),
    "key": ("x_val", "images", np.ones(SHAPE), r"x_val.h5: no key 'imagesRecon' \(found images\)"),
    "rank": (
        "x_val",
        "imagesRecon",
        np.ones(SHAPE[1:]),
        r"shape \(12, 10, 4\), expected \(series, axis 1, axis 2, time\)",
    ),
    "complex": ("x_val", "imagesRecon", np.ones(SHAPE, np.complex64), "type complex64, expected real numbers"),
    "one frame": ("x_val", "imagesRecon", np.ones((3, 12, 10, 1)), r"1 frame in \(3, 12, 10, 1\), expected at least 2"),
    "nan": ("x_val", "imagesRecon", np.full(SHAPE, np.nan), "series 0 holds 480 NaN or inf values"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files(six, tmp_path, name):
    which, key, data, words = BAD[name]
    write(six[which], key, data)
    with pytest.raises(InputError, match=words):
        cine_files.index(six, tmp_path / "set", TRAINING)
    assert not (tmp_path / "set").exists()


def test_values_far_from_0_to_1_are_a_warning(six, tmp_path, capsys):
    write(six["x_val"], "imagesRecon", np.full(SHAPE, 300.0))
    cine_files.index(six, tmp_path / "set", TRAINING)
    assert "x_val.h5: imagesRecon: values from 300 to 300, expected about 0 to 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "needed", "words"),
    [
        ({"y_train": None}, TRAINING, "y_train is missing, expected at least x_train, y_train, x_val, y_val, x_test$"),
        ({"x_test": None, "y_test": None}, TRAINING, "x_test is missing"),
        ({"y_test": None}, {"test": True}, "y_test is missing, expected at least x_test, y_test"),
        ({"z_test": "a"}, {"test": False}, "got 'z_test', expected some of x_train"),
        ({"x_val": "nowhere.h5"}, TRAINING, "nowhere.h5: no such file"),
        ({"x_test": None}, {"train": True}, "y_test is there without x_test"),
    ],
)
def test_files_that_a_task_needs(six, change, needed, words):
    with pytest.raises(InputError, match=words):
        cine_files.check_files(six | change, needed)


def test_pairs_are_aliased_and_true_in_one_scale():
    ((seen, truth),) = hearts.drawn(0, 1, 32, 6, "cartesian", 2.0, num_coils=3, snr=50.0, seed=0)
    assert seen.shape == truth.shape == (6, 32, 32)
    assert np.percentile(seen.mean(0), 99.9) == pytest.approx(1)
    assert 0.7 < truth.max() < 1.6 and (seen - truth).norm() / truth.norm() > 0.05


def test_persons_travel_from_the_file_to_the_case(tmp_path):
    images = [(torch.rand(3, 12, 12), torch.rand(3, 12, 12)) for _ in range(3)]
    entries = cine_files.write_pair(
        tmp_path, "test", "two", "patients", ["a0", "a1", "b0"], images, persons=["a", "a", "b"]
    )
    entries += cine_files.write_pair(
        tmp_path, "test", "drawn", "drawn hearts", ["d0", "d1", "d2"], images, simulated=True
    )
    write_set(tmp_path, "here", "cine", entries)
    series = cine.CineSeries(cine.split_pairs(tmp_path, "test"))
    assert [series.case(i).person for i in range(6)] == ["a", "a", "b", "d0", "d1", "d2"]
    assert read_set(tmp_path)["persons"]["test"] == ["a", "b", "d0", "d1", "d2"]


def test_a_person_in_two_splits_is_refused_whatever_the_files_are_called(six, tmp_path):
    for split in ("train", "val"):
        with h5py.File(six[f"x_{split}"], "a") as file:
            file.attrs["persons"] = ["p", "p", f"only in {split}"]
    with refused(found=r"x_train.h5 \(train\) and \S+x_val.h5 \(val\) are of one person: split by person"):
        cine_files.index(six, tmp_path / "set", TRAINING)


def test_persons_need_be_as_many_as_the_series(six):
    with h5py.File(six["x_test"], "a") as file:
        file.attrs["persons"] = ["p", "q"]
    with refused(where="x_test.h5", found="attribute persons: 2 for 3 series", expected="one per series"):
        cine_files.series_file(six["x_test"], "x")
