"""What a user gets for bad input: one line, an exit code, no traceback, and nothing half-written."""

import json
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest
import toys

from lib import ROOT
from lib.data.index import read_set
from lib.phantoms import sample_scans

GOOD = np.ones((2, 3, 24, 20), np.complex64)


def _with(value):
    kspace = GOOD.copy()
    kspace[1, 0, 3, 4] = value
    return kspace


def _file(path: Path, kspace=GOOD, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        if kspace is not None:
            file["kspace"] = kspace
        for key, value in more.items():
            file[key] = value


def _truncated(path: Path):
    _file(path)
    path.write_bytes(path.read_bytes()[:3000])


def _mixed(path: Path):
    path.parent.mkdir()
    with h5py.File(path, "w") as file:
        file["kspace/0"], file["kspace/1"] = GOOD[0], GOOD[0, ..., :10]


# the bad source → what the last line says; the first seven are refused before anything starts
SOURCES = {
    "truncated": (_truncated, "scan.h5: not a readable HDF5 file (3000 bytes; truncated, or another format)"),
    "no HDF5": (lambda p: (p.parent.mkdir(), p.write_text("kspace")), "scan.h5: not a readable HDF5 file (6 bytes"),
    "no kspace": (lambda p: _file(p, None, image=np.ones(3)), "scan.h5: no key 'kspace' (found image)"),
    "rank": (lambda p: _file(p, GOOD[0, 0]), "kspace: shape (24, 20), expected (slices, coils, H, W)"),
    "type": (lambda p: _file(p, GOOD.real), "kspace: type float32, expected complex64"),
    "mask": (lambda p: _file(p, mask=np.ones(7)), "mask: shape (7,), expected (20,)"),
    "mixed": (_mixed, "kspace: slices of different size"),
    "empty": (lambda p: p.parent.mkdir(), "no .h5 files in it"),
    "gone": (lambda p: None, "no such folder"),
    "nan": (lambda p: _file(p, _with(np.nan)), "scan.h5: kspace: slice 1 holds 1 NaN or inf values"),
    "inf": (lambda p: _file(p, _with(np.inf)), "scan.h5: kspace: slice 1 holds 1 NaN or inf values"),
    "zero": (lambda p: _file(p, 0 * GOOD), "scan.h5: kspace: all 2 slices are zero"),
}
IN_THE_KERNEL = ("nan", "inf", "zero")


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    jobs = [
        j._replace(slices=j.slices[:1])
        for j in sample_scans.plan()
        if j.name in ("brain_a_00", "brain_a_slab", "brain_b")
    ]
    for job in jobs:
        sample_scans.write(folder / job.split / f"{job.name}.h5", job, (24, 20), 2, 20.0, voxel=9.0)
    sample_scans.write_index(folder, jobs)
    return folder


def refused(done: subprocess.CompletedProcess, message: str, code: int = 2) -> None:
    assert message in done.stderr.splitlines()[-1], done.stderr
    assert done.returncode == code and "Traceback" not in done.stderr + done.stdout


def files(place: Path) -> set[str]:
    return {str(p.relative_to(place)) for p in place.rglob("*") if "runs" not in p.relative_to(place).parts}


@pytest.mark.parametrize("name", SOURCES)
def test_bad_sources(tmp_path, name):
    make, message = SOURCES[name]
    make(tmp_path / "scans" / "scan.h5")
    (tmp_path / "recipe.yaml").touch()
    before = files(tmp_path)
    done = toys.recipe(tmp_path, "- {task_name: prepare, notebook: 10_prepare_kspace, source: scans, data: set}")
    refused(done, message, 1 if name in IN_THE_KERNEL else 2)
    assert files(tmp_path) == before  # no set.json, no half of one
    runs = list((tmp_path / "runs").glob("prepare/*"))
    if name in IN_THE_KERNEL:  # it had to be read to be found; the run says how it ended
        assert json.loads((runs[0] / "status.json").read_text())["status"] == "failed"
        assert not (runs[0] / "metrics.json").exists()
    else:
        assert not runs


TASK = "- {task_name: train, network_type: VarNet, data: set%s}"
RECIPES = {
    "unknown key": (TASK % ", epoch: 3", "epoch: no such parameter in 21_train_kspace: got 'epoch', did you mean 'epochs'?"),
    "unknown network": ("- {task_name: t, notebook: 21_train_kspace, data: set, network_type: VarNett}", "did you mean 'VarNet'?"),
    "unknown setting": (TASK % ", network_settings: {cascades: 3}", "did you mean 'num_cascades'?"),
    "senseless setting": (TASK % ", network_settings: {num_cascades: 0}", "num_cascades"),
    "unknown loss": (TASK % ", loss: sim", "did you mean 'ssim'?"),
    "unknown metric": (TASK % ", metrics: [pnsr]", "did you mean 'psnr'?"),
    "unknown mask": (TASK % ", mask: {kind: equidistant, acceleration: 4, num_low_frequencies: 4}", "mask: kind: got 'equidistant', did you mean 'equispaced'?"),
    "two centres": (TASK % ", mask: {kind: random, acceleration: 4}", "either center_fraction or num_low_frequencies"),
    "negative epochs": (TASK % ", epochs: -1", "epochs: got -1, expected an integer of at least 1"),
    "zero batch": (TASK % ", batch_size: 0", "batch_size: got 0, expected an integer of at least 1"),
    "wrong type": (TASK % ", epochs: many", "epochs: got 'many', expected an integer"),
    "no such GPU": (TASK % ", devices: [97]", "devices: got [97], this machine has"),
    "unknown optimizer": (TASK % ", optimizer: {type: Adan, learning_rate: 1e-3}", "Adam, AdamW, RMSprop or SGD"),
    "not YAML": ("- [", "not YAML"),
    "no such notebook": ("- {task_name: a, notebook: 21_train_kspce}", "did you mean '21_train_kspace'?"),
    "runs that never ran": ("- {task_name: e, notebook: 30_evaluate_kspace, data: set, runs: [nobody]}", "runs: run nobody"),
    "no set": ("- {task_name: t, network_type: VarNet, data: nowhere}", "nowhere: no set.json here: prepare the data first"),
}  # fmt: skip


@pytest.mark.parametrize("name", RECIPES)
def test_bad_recipes(tmp_path, prepared, name):
    (tmp_path / "set").symlink_to(prepared)
    (tmp_path / "recipe.yaml").touch()
    before = sorted(tmp_path.rglob("*"))
    recipe, message = RECIPES[name]
    refused(toys.recipe(tmp_path, recipe), message)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("change", ["gone", "changed"])
def test_listed_files_that_are_gone_or_changed(tmp_path, prepared, change):
    import shutil

    shutil.copytree(prepared, tmp_path / "set")
    file = tmp_path / "set" / "val" / "brain_a_slab.h5"
    if change == "gone":
        file.unlink()
    else:
        with h5py.File(file, "a") as data:
            data["kspace"][0, 0, 0, 0] = 7
    refused(
        toys.recipe(tmp_path, TASK % ""), f"brain_a_slab.h5: {'listed in' if change == 'gone' else 'changed since'}"
    )
    assert not (tmp_path / "runs").exists()


def test_weights_of_another_network_are_refused_before_training(tmp_path, prepared):
    (tmp_path / "set").symlink_to(prepared)
    other = str(ROOT / "runs" / "weights" / "demo_varnet")
    small = "{num_cascades: 1, chans: 2, pools: 1, sens_chans: 2, sens_pools: 1}"
    done = toys.recipe(tmp_path, TASK % f", network_settings: {small}, saved_network_weights: {other}")
    refused(done, "weights don't fit VarNet", 1)
    assert not list((tmp_path / "runs").rglob("*.safetensors"))


SERIES = np.ones((2, 12, 12, 4), np.float32)
SIX = ", ".join(f"{side}_{split}: {side}_{split}.h5" for split in ("train", "val", "test") for side in "xy")
CINE = f"task_name: t, network_type: UNet2D1D, network_settings: {{base_filters: 2, depth: 2}}, files: {{{SIX}}}"
CINE_CASES = {  # the file that is wrong with its key and content, what the task says besides; the last line; exit code
    "shape": (("y_val", "imagesTrue", SERIES[:, :8]), "", "y_val.h5: imagesTrue is (2, 8, 12, 4), expected (2, 12, 12, 4)", 2),
    "count": (("y_train", "imagesTrue", SERIES[:1]), "", "y_train.h5: imagesTrue is (1, 12, 12, 4), expected (2,", 2),
    "key": (("x_test", "images", SERIES), "", "x_test.h5: no key 'imagesRecon' (found images)", 2),
    "one frame": (("x_val", "imagesRecon", SERIES[..., :1]), "", "x_val.h5: imagesRecon: 1 frame in (2, 12, 12, 1), expected at", 2),
    "nan": (("x_train", "imagesRecon", SERIES * np.nan), "", "x_train.h5: imagesRecon: series 0 holds 576 NaN or inf", 1),
    "loss": (None, ", loss: MSEE", "loss: 'MSEE': did you mean mean_squared_error", 2),
    "metric": (None, ", metrics: [sssim]", "metrics: 'sssim': did you mean ssim", 2),
    "regulariser": (None, ", regularization: {type: dropblok, parameters: [0.8, 3]}", "regularization: type is 'dropblok', expected", 2),
    "parameters": (None, ", regularization: {type: dropblock, parameters: [0.8]}", "dropblock has 1 parameters, expected 2: keep_prob, block_size", 2),
    "no weights": (None, ", task_type: predict", "task_type predict: saved_network_weights is missing", 2),
    "other weights": (None, f", saved_network_weights: {ROOT / 'runs' / 'weights' / 'demo_varnet'}", "weights of VarNet, expected UNet2D1D", 1),
}  # fmt: skip


@pytest.mark.parametrize("name", CINE_CASES)
def test_bad_cine(tmp_path, name):
    wrong, more, message, code = CINE_CASES[name]
    for split in ("train", "val", "test"):
        for side, key in (("x", "imagesRecon"), ("y", "imagesTrue")):
            with h5py.File(tmp_path / f"{side}_{split}.h5", "w") as file:
                file[key] = SERIES
    if wrong:
        with h5py.File(tmp_path / f"{wrong[0]}.h5", "w") as file:
            file[wrong[1]] = wrong[2]
    (tmp_path / "recipe.yaml").touch()
    before = files(tmp_path)
    refused(toys.recipe(tmp_path, f"- {{{CINE}{more}}}"), message, code)
    assert files(tmp_path) == before
    made = {p.name for p in (tmp_path / "runs").glob("t/*/**/*")}
    assert not made & {"model.safetensors", "result.h5", "history.csv", "last.pt"}
    assert bool(made) == (code == 1)


def test_checks_accept_what_is_right(prepared):
    assert read_set(prepared)["counts"] == {"train": 1, "val": 1, "test": 1}
