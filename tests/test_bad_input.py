"""What a user gets for bad input: one line, an exit code, no traceback, and nothing half-written."""

import json
import shutil
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


# the bad source → what the last line says
SOURCES = {
    "truncated": (_truncated, "scan.h5: not a readable HDF5 file (3000 bytes; truncated, or another format)"),
    "no HDF5": (lambda p: (p.parent.mkdir(), p.write_text("kspace")), "scan.h5: not a readable HDF5 file (6 bytes"),
    "no kspace": (lambda p: _file(p, None, image=np.ones(3)), "scan.h5: no key 'kspace' (found image)"),
    "rank": (lambda p: _file(p, GOOD[0, 0]), "kspace: shape (24, 20), expected (slices, coils, H, W)"),
    "type": (lambda p: _file(p, GOOD.real), "kspace: type float32, expected complex64"),
    "mask": (lambda p: _file(p, mask=np.ones(7)), "mask: shape (7,), expected (20,)"),
    "mixed": (_mixed, "kspace: slices of different size"),
    "empty": (lambda p: p.parent.mkdir(), "no .h5 files in it"),
    "gone": (lambda p: None, "no such file or folder"),
    "nan": (lambda p: _file(p, _with(np.nan)), "scan.h5: kspace: slice 1 holds 1 NaN or inf values"),
    "inf": (lambda p: _file(p, _with(np.inf)), "scan.h5: kspace: slice 1 holds 1 NaN or inf values"),
    "zero": (lambda p: _file(p, 0 * GOOD), "scan.h5: kspace: all 2 slices are zero"),
}
IN_A_KERNEL = ("nan", "inf", "zero")  # they are read to be found


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


PREPARE = "- {{task_name: {0}, notebook: 10_prepare_kspace, source: {0}/scans, data: {0}/set}}"


@pytest.mark.parametrize("name", [name for name in SOURCES if name not in IN_A_KERNEL])
def test_bad_sources(tmp_path, name):
    make, message = SOURCES[name]
    (tmp_path / "prepare").mkdir()
    make(tmp_path / "prepare" / "scans" / "scan.h5")
    assert message in toys.refusal(tmp_path, PREPARE.format("prepare"))


TASK = "- {task_name: train, network_type: VarNet, data: set%s}"
RECIPES = {
    "unknown key": (TASK % ", epoch: 3", "epoch: no such parameter in 21_train_kspace: got 'epoch', did you mean 'epochs'?"),
    "unknown network": ("- {task_name: t, notebook: 21_train_kspace, data: set, network_type: VarNett}", "did you mean 'VarNet'?"),
    "unknown setting": (TASK % ", network_settings: {cascades: 3}", "did you mean 'num_cascades'?"),
    "senseless setting": (TASK % ", network_settings: {num_cascades: 0}", "num_cascades"),
    "unknown loss": (TASK % ", loss: sim", "did you mean 'ssim'?"),
    "unknown metric": (TASK % ", metrics: [pnsr]", "did you mean 'psnr'?"),
    "unknown mask": (TASK % ", mask: {kind: equidistant, acceleration: 4, num_low_frequencies: 4}", "mask: kind: got 'equidistant', did you mean 'equispaced'?"),
    "two centers": (TASK % ", mask: {kind: random, acceleration: 4}", "either center_fraction or num_low_frequencies"),
    "negative epochs": (TASK % ", epochs: -1", "epochs: got -1, expected an integer of at least 1"),
    "task type": (TASK % ", task_type: predict", "task_type predict: 21_train_kspace has no task types any more: write `notebook: 26_predict` in its place"),
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
    recipe, message = RECIPES[name]
    assert message in toys.refusal(tmp_path, recipe)


@pytest.mark.parametrize("change", ["gone", "changed"])
def test_listed_files_that_are_gone_or_changed(tmp_path, prepared, change):
    shutil.copytree(prepared, tmp_path / "set")
    file = tmp_path / "set" / "val" / "brain_a_slab.h5"
    if change == "gone":
        file.unlink()
    else:
        with h5py.File(file, "a") as data:
            data["kspace"][0, 0, 0, 0] = 7
    words = f"brain_a_slab.h5: {'listed in' if change == 'gone' else 'changed since'}"
    assert words in toys.refusal(tmp_path, TASK % "")


SERIES = np.ones((2, 12, 12, 4), np.float32)
WEIGHTS = ROOT / "runs" / "weights" / "demo_varnet"
NETWORK = "network_type: UNet2D1D, network_settings: {base_filters: 2, depth: 2}"
CINE_CASES = {  # the file that is wrong with its key and content, what the task says besides; the last line
    "shape": (("y_val", "imagesTrue", SERIES[:, :8]), "", "y_val.h5: imagesTrue is (2, 8, 12, 4), expected (2, 12, 12, 4)"),
    "count": (("y_train", "imagesTrue", SERIES[:1]), "", "y_train.h5: imagesTrue is (1, 12, 12, 4), expected (2,"),
    "key": (("x_test", "images", SERIES), "", "x_test.h5: no key 'imagesRecon' (found images)"),
    "one frame": (("x_val", "imagesRecon", SERIES[..., :1]), "", "x_val.h5: imagesRecon: 1 frame in (2, 12, 12, 1), expected at"),
    "loss": (None, ", loss: MSEE", "loss 'MSEE': did you mean 'mse'"),
    "metric": (None, ", metrics: [sssim]", "metric 'sssim': did you mean 'ssim'"),
    "regularizer": (None, ", regularization: {type: dropblok, parameters: [0.8, 3]}", "regularization: type is 'dropblok', expected"),
    "parameters": (None, ", regularization: {type: dropblock, parameters: [0.8]}", "dropblock has 1 parameters, expected 2: keep_prob, block_size"),
}  # fmt: skip


def cine(folder: Path, wrong, more: str) -> str:
    """A task on six files in `folder`, beside the recipe; the file that is `wrong` has another key and content."""
    folder.mkdir()
    six = [f"{side}_{split}" for split in ("train", "val", "test") for side in "xy"]
    for name in six:
        with h5py.File(folder / f"{name}.h5", "w") as file:
            file["imagesRecon" if name.startswith("x") else "imagesTrue"] = SERIES
    if wrong:
        with h5py.File(folder / f"{wrong[0]}.h5", "w") as file:
            file[wrong[1]] = wrong[2]
    files = ", ".join(f"{name}: {folder.name}/{name}.h5" for name in six)
    return f"- {{task_name: {folder.name}, {NETWORK}, files: {{{files}}}{more}}}"


@pytest.mark.parametrize("name", CINE_CASES)
def test_bad_cine(tmp_path, name):
    wrong, more, message = CINE_CASES[name]
    assert message in toys.refusal(tmp_path, cine(tmp_path / "files", wrong, more))


IN_KERNELS = {name: SOURCES[name][1] for name in IN_A_KERNEL} | {
    "series": "x_train.h5: imagesRecon: series 0 holds 576 NaN or inf",
    "series_weights": "weights of VarNet, expected UNet2D1D",
    "other_weights": "weights don't fit VarNet",
}


@pytest.fixture(scope="module")
def ended(tmp_path_factory, prepared):
    """One recipe of tasks that only a kernel can refuse: its folder, its files before, and how it ended."""
    place = tmp_path_factory.mktemp("kernels")
    for name in IN_A_KERNEL:
        (place / name).mkdir()
        SOURCES[name][0](place / name / "scans" / "scan.h5")
    small = "{num_cascades: 1, chans: 2, pools: 1, sens_chans: 2, sens_pools: 1}"
    (place / "set").symlink_to(prepared)
    tasks = [PREPARE.format(name) for name in IN_A_KERNEL]
    tasks.append(cine(place / "series", ("x_train", "imagesRecon", SERIES * np.nan), ""))
    tasks.append(cine(place / "series_weights", None, f", saved_network_weights: {WEIGHTS}"))
    weights = f"network_settings: {small}, saved_network_weights: {WEIGHTS}"
    tasks.append(f"- {{task_name: other_weights, network_type: VarNet, data: set, {weights}}}")
    before = sorted(place.rglob("*"))
    return place, before, toys.recipe(place, "\n".join(tasks))


@pytest.mark.whole
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", IN_KERNELS)
def test_what_a_kernel_finds_leaves_one_line_and_no_result(ended, name):
    place, before, done = ended
    assert done.returncode == 1 and "Traceback" not in done.stderr + done.stdout
    first = next(iter(IN_KERNELS))
    assert done.stderr.splitlines()[-1].startswith(f"task {first} failed: ") and IN_KERNELS[first] in done.stderr
    (run,) = (place / "runs" / name).iterdir()
    status = json.loads((run / "status.json").read_text())
    assert status["status"] == "failed" and IN_KERNELS[name] in status["error"] and "\n" not in status["error"]
    made = {path.name for path in run.rglob("*")}
    assert not made & {"metrics.json", "model.safetensors", "result.h5", "history.csv", "last.pt"}
    after = [p for p in place.rglob("*") if p.relative_to(place).parts[0] not in ("runs", "recipe.yaml")]
    assert sorted(after) == before  # no set.json, no half of one


def test_checks_accept_what_is_right(prepared):
    assert read_set(prepared)["counts"] == {"train": 1, "val": 1, "test": 1}
