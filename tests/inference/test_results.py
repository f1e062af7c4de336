"""result.h5: written whole or not at all, read with the same words wherever it is read."""

import subprocess
import sys

import h5py
import numpy as np
import pytest
from refusals import refused

from lib import ROOT, InputError, files
from lib.data.hdf5 import open_hdf5
from lib.evaluation import run_comparison, segmentation
from lib.inference import layouts, results
from lib.recipes.needs import check_result

VOLUME = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def test_what_was_written_is_read(tmp_path):
    with results.Writer(tmp_path / "result.h5", first_axis="time") as result:
        result.add(
            "b", {"input": VOLUME, "output": VOLUME + 1}, person="p", file="/x/y.h5", kind="hearts", spacing=None
        )
        arrays = result.arrays("a", VOLUME.shape, {"output": np.uint8})
        arrays["output"][1] = 2
        result.describe("a", classes=["background", "liver"], names=["i", "ii"], volume=True)
        assert not (tmp_path / "result.h5").exists()
    assert results.case_names(tmp_path / "result.h5") == ["b", "a"]  # as they were written
    b, a = results.cases(tmp_path / "result.h5").values()
    assert np.array_equal(b["output"], VOLUME + 1) and np.array_equal(b.part("input", 1), VOLUME[1])
    assert (b.person, str(b.file), b.kind, b.unit) == ("p", "/x/y.h5", "of hearts", "frame")
    assert b.spacing is b.mask is b.achieved is None and b.classes == () and b.outputs == ["output"]
    assert a.person == "a" and a.classes == ("background", "liver") and a.slice_names == ("i", "ii") and a.is_volume
    assert list(results.read(tmp_path / "result.h5")) == ["b", "a"] and a["output"].max() == 2


def test_a_spacing_that_can_not_be_is_refused(tmp_path):
    with results.Writer(tmp_path / "result.h5") as result:
        result.add("a", {"output": VOLUME}, spacing=(1.0, float("nan"), 1.0))
    with refused(where="result.h5", found="attribute spacing: ", expected="3 finite numbers above 0"):
        _ = results.case(tmp_path / "result.h5").spacing


def test_after_an_error_nothing_is_left(tmp_path):
    with pytest.raises(KeyboardInterrupt), results.Writer(tmp_path / "result.h5") as result:
        result.add("a", {"output": VOLUME})
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_the_acceleration_achieved_is_the_masks_own(tmp_path):
    """Padding, which the scanner never encodes, counts as neither sampled nor left out."""
    mask = np.zeros(368, bool)
    mask[18:350:3] = True
    with results.Writer(tmp_path / "result.h5") as result:
        result.add(
            "a", {"output": VOLUME}, mask=mask, acceleration=3, mask_kind="file", acceleration_achieved=332 / 111
        )
    case = results.case(tmp_path / "result.h5")
    assert case.mask.sum() == 111 and case.achieved == pytest.approx(2.991, abs=1e-3) and case.kind == ""


READERS = {
    "names": results.case_names,
    "case": results.case,
    "read": results.read,
    "scores": segmentation.score,
    "planning": check_result,
    "classes": lambda path: run_comparison.classes({"a": run_comparison.Images(path, "output")}),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", ["missing", "damaged", "folder", "link"])
def test_a_file_that_cannot_be_read_is_told_in_the_same_words_as_any_other(tmp_path, kind, reader):
    path = tmp_path / "result.h5"
    if kind == "damaged":
        with results.Writer(path) as result:
            result.add("a", {"output": VOLUME})
        path.write_bytes(path.read_bytes()[:900])
    elif kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to("../.git/annex/objects/x")
    with pytest.raises(InputError) as expected:
        open_hdf5(path)
    with pytest.raises(InputError) as error:
        READERS[reader](path)
    assert str(error.value) == str(expected.value)


def test_other_hdf5_files_and_unknown_cases_are_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["kspace"] = VOLUME
    with refused(where="a.h5", found="not a result.h5", expected="one HDF5 group per case"):
        results.read(tmp_path / "a.h5")
    h5py.File(tmp_path / "b.h5", "w").close()
    with refused(where="b.h5", found="holds no cases"):
        results.cases(tmp_path / "b.h5")
    with results.Writer(tmp_path / "c.h5") as result:
        result.add("brain_b", {"output": VOLUME})
    with refused(where="c.h5", found="unknown name 'brain_c'; did you mean 'brain_b'"):
        results.case(tmp_path / "c.h5", "brain_c")
    with refused(where="c.h5", found="no segmentations in it", hint="brain_b has no classes"):
        segmentation.cases_of(tmp_path / "c.h5")


@pytest.mark.parametrize("layout, needed", [("cine", "output"), ("submission", "output"), ("masks", "probability")])
def test_a_comparison_has_no_layout_of_one_networks_predictions(tmp_path, layout, needed):
    with results.Writer(tmp_path / "predictions" / "result.h5") as result:
        result.add("a", {"input": VOLUME, "GRAPPA": VOLUME, "VarNet": VOLUME, "truth": VOLUME}, file="a.h5")
    with pytest.raises(InputError) as error:
        layouts.export(tmp_path, layout)
    assert f"a has no '{needed}' (found input, GRAPPA, VarNet, truth): layout '{layout}'" in str(error.value)
    assert files.list_files(tmp_path, (".h5",)) == [tmp_path / "predictions" / "result.h5"]


def test_planning_reads_results_without_torch():
    code = "import sys, lib.runs, lib.inference.results; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "False", done.stderr
