"""Groups of a result that are kept one by one: going on, starting anew, and what is never left behind."""

import h5py
import numpy as np
import pytest

from lib.evaluation.kept import Kept


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def put(kept, name, value):
    def group(result):
        result.add(name, {"output": np.full(3, value)})

    kept.add(name, [1], {"value": value, "nothing": float("nan")}, group)


def test_what_is_done_is_there_again_and_only_then(tmp_path):
    kept = Kept(tmp_path / "result.h5", {"mask": (4, "x")})
    put(kept, "acc4_brain 2x", 1.5)
    again = Kept(tmp_path / "result.h5", {"mask": (4, "x")})
    assert again.has("acc4_brain 2x", [1]) and not again.has("acc4_brain 2x", [2]) and not again.has("other", [1])
    assert again.records["acc4_brain 2x"]["value"] == 1.5
    put(again, "b", 2.0)
    found = again.join(["b", "acc4_brain 2x"])
    assert [r["value"] for r in found] == [2.0, 1.5] and np.isnan(found[0]["nothing"])
    assert names(tmp_path) == ["result.h5", "result.json"]
    with h5py.File(tmp_path / "result.h5") as file:
        assert list(file) == ["b", "acc4_brain 2x"] and file["b/output"][:].tolist() == [2.0] * 3


def test_a_run_that_ended_is_not_made_again_and_a_changed_file_is(tmp_path):
    first = Kept(tmp_path / "result.h5", {})
    put(first, "a", 1.0)
    put(first, "b", 2.0)
    first.join(["a", "b"])
    again = Kept(tmp_path / "result.h5", {})
    assert again.has("a", [1]) and [r["value"] for r in again.join(["a", "b"])] == [1.0, 2.0]
    put(again, "a", 3.0)  # its file has changed
    again.join(["a", "b"])
    with h5py.File(tmp_path / "result.h5") as file:
        assert {name: group["output"][0] for name, group in file.items()} == {"a": 3.0, "b": 2.0}


def test_other_settings_start_anew_and_failures_leave_nothing(tmp_path):
    put(Kept(tmp_path / "result.h5", {"weights": "abc"}), "a", 1.0)
    other = Kept(tmp_path / "result.h5", {"weights": "def"})
    assert not other.records and not other.folder.exists()

    def fail(file):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        other.add("a", [1], {}, fail)
    assert not list(other.folder.iterdir()) and not Kept(tmp_path / "result.h5", {"weights": "def"}).records
