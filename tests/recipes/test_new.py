"""`python -m lib --new`: from a folder of one's own to a recipe that can be started, with its guesses said."""

import json

import h5py
import nibabel
import numpy as np
import pytest
import toys
import written
import yaml
from PIL import Image
from refusals import refused

from lib import ROOT
from lib.recipes.new import new


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder for data, and runs of its own beside it."""
    monkeypatch.setattr("lib.recipes.guesses.GENERALIST", str(ROOT / "runs" / "weights" / "generalist"))
    monkeypatch.setattr("lib.recipes.new.RUNS", tmp_path / "runs")
    monkeypatch.setattr("lib.runs.run.RUNS", tmp_path / "runs")
    return tmp_path


def tasks(path):
    """The tasks of a recipe by the first word of their names."""
    return {task["task_name"].split("_")[0]: task for task in yaml.safe_load(path.read_text())}


def volumes(folder, shape=(24, 28, 20), voxel=(1, 1, 1.5), values=(0, 128, 255), count=8):
    for n in range(count):
        rng, affine = np.random.default_rng(n), np.diag([*voxel, 1])
        for name, array in (
            (f"images/s{n}.nii.gz", rng.uniform(0, 900, shape).astype(np.float32)),
            (f"masks/s{n}.nii.gz", rng.choice(values, shape).astype(np.uint8)),
        ):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(array, affine), folder / name)
    return folder


def test_volumes_by_the_words_in_their_names(place, capsys):
    path = new("segmentation", [volumes(place / "my scans")])
    assert (
        path == place / "runs" / "my_scans.yaml"
        and "Found: 8 volumes with labels, 20×28×24 voxels" in capsys.readouterr().out
    )
    recipe = tasks(path)
    assert list(recipe) == ["prepare", "train", "evaluate", "view"]
    assert (
        recipe["prepare"]["volume_files"] == "images/s*.nii.gz"
        and recipe["prepare"]["segmentation_files"] == "masks/s*.nii.gz"
    )
    assert recipe["prepare"]["classes"] == ["background", "label 128", "label 255"]
    assert recipe["prepare"]["relabel"] == {"128": 1, "255": 2} and recipe["prepare"]["spacing"] is None
    assert recipe["train"]["network_type"] == "VolumeUNet" and recipe["train"]["patch"] == [24, 32, 24]
    assert "# not CT: each volume's own range" in path.read_text()


def test_thick_slices_and_uneven_voxels(place):
    recipe = tasks(new("segmentation", [volumes(place / "thick", (40, 40, 6), (1.2, 1.2, 8), (0, 1))]))
    assert recipe["prepare"]["notebook"] == "12_prepare_slices" and recipe["prepare"]["plane"] == "axial"
    assert recipe["train"]["network_type"] == "UNet2D"
    source = volumes(place / "uneven", voxel=(1, 1, 1), count=5)
    volumes(source, voxel=(1, 1, 2), count=2)
    assert tasks(new("segmentation", [source]))["prepare"]["spacing"] == [1, 1, 1]


def test_a_decathlons_classes_are_its_own(place):
    source = volumes(place / "in", values=(0, 1))
    (source / "images").rename(source / "imagesTr")
    (source / "masks").rename(source / "labelsTr")
    (source / "dataset.json").write_text(json.dumps({"labels": {"0": "background", "1": "liver"}}))
    prepare = tasks(new("segmentation", [source]))["prepare"]
    assert prepare["classes"] == ["background", "liver"] and "volume_files" not in prepare


def test_pictures_and_masks(place):
    for person in range(4):
        for n in range(3):
            for kind, values in (("images", 90), ("masks", 255 * (n > 0))):
                path = place / "pics" / kind / f"patient{person}_slice_{n}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.full((50, 70), values, np.uint8)).save(path)
    path = new("segmentation", [place / "pics"])
    recipe = tasks(path)
    assert recipe["prepare"]["size"] == [64, 96] and recipe["train"]["network_type"] == "ResUNet"
    assert "Found: 12 images with masks, of 4 persons" in path.read_text()


@pytest.mark.parametrize("name", ["ISMRMRD", "fastMRI", "BART"])
def test_raw_scans_of_any_format(place, name):
    writer = {"ISMRMRD": written.mrd_shuffled, "fastMRI": written.fastmri, "BART": written.bart}[name]
    ending = ".cfl" if name == "BART" else ".h5"
    (place / "raw").mkdir()
    for n in range(4):
        made = writer(place / "raw" / f"scan_{n}{ending}")
        assert made is None or made.exists()
    for path in (place / "raw").glob("scan_*.h5"):
        with h5py.File(path, "a") as file:
            if "patient_id" in file.attrs:
                file.attrs["patient_id"] = path.stem
    recipe = tasks(new("kspace", [place / "raw"]))
    assert list(recipe) == ["prepare", "train", "evaluate", "view"] and recipe["train"]["network_type"] == "VarNet"
    assert recipe["train"]["mask"] == {"kind": "equispaced", "acceleration": 4, "num_low_frequencies": 8}


def test_too_few_raw_scans_are_not_trained_on(place):
    (place / "raw").mkdir()
    written.fastmri(place / "raw" / "a.h5")
    path = new("kspace", [place / "raw"])
    recipe = tasks(path)
    assert list(recipe) == ["prepare", "evaluate", "view"] and recipe["evaluate"]["runs"][0].endswith(
        "weights/generalist"
    )
    assert "fewer than three persons: the committed network is applied" in path.read_text()


def test_cine_files_by_their_names_and_keys(place):
    for split in ("train", "val"):
        for side, key in (("aliased", "imagesRecon"), ("true", "imagesTrue")):
            with h5py.File(place / f"{side}_{split}.h5", "w") as file:
                file[key] = np.random.default_rng(0).uniform(size=(3, 16, 16, 4)).astype(np.float32)
    files = sorted(place.glob("*.h5"))
    recipe = tasks(new("cine", files))
    assert recipe["prepare"]["files"]["x_train"] == str(place / "aliased_train.h5")
    assert recipe["train"]["predict_split"] == recipe["evaluate"]["split"] == "val"
    files[0].rename(place / "other.h5")
    with refused(where="other.h5", found="no train, val or test in its name"):
        new("cine", [place / "other.h5", *files[1:]])


def test_a_set_never_lies_in_the_folder_of_its_files(place):
    source = volumes(place / "data" / "scans")
    before = sorted(source.rglob("*"))
    recipe = tasks(new("segmentation", [source]))
    assert recipe["prepare"]["data"] == recipe["train"]["data"] == "../data/scans_prepared"
    assert sorted(source.rglob("*")) == before


def test_names_in_data_write_no_lines_of_a_recipe(place):
    """A comment is one line, whatever stands in dataset.json."""
    source = place / "größe"
    for n in range(4):
        for name, array in (
            ("imagesTr", np.random.default_rng(n).random((16, 16, 16, 2))),
            ("labelsTr", np.ones((16, 16, 16))),
        ):
            (source / name).mkdir(parents=True, exist_ok=True)
            nibabel.save(
                nibabel.Nifti1Image(array.astype(np.float32), np.diag([1, 1, 2, 1])), source / name / f"a{n}.nii"
            )
    planted = "T1\n- {task_name: planted, notebook: 00_overview}\n#"
    about = {"channel_names": {"0": planted, "1": "T2"}, "labels": {"0": "background", "1": "a"}}
    (source / "dataset.json").write_text(json.dumps(about))
    path = new("segmentation", [source])
    assert path.name == "gr_e.yaml" and list(tasks(path)) == ["prepare", "train", "evaluate", "view"]


def test_what_nothing_can_be_made_of_leaves_nothing(place):
    (place / "empty").mkdir()
    before = sorted(place.rglob("*"))
    for words, last in {
        ("segmentation", place / "empty"): "nothing in it is named",
        ("segmentation", place / "gone"): "no such file or folder",
        ("segmentations", place / "empty"): "did you mean 'segmentation'? expected one of segmentation, kspace, cine",
        ("kspace", place / "empty"): "empty",
        ("cine",): "no path, expected the files of inputs and truths",
    }.items():
        done = toys.run(place, "--new", *words)
        assert done.returncode == 2 and last in done.stderr.splitlines()[-1], done.stderr
        assert "Traceback" not in done.stderr
    assert sorted(p for p in place.rglob("*") if p.name != "runs") == before
    volumes(place / "scans")
    new("segmentation", [place / "scans"])
    with refused(where="scans.yaml", found="there already"):
        new("segmentation", [place / "scans"])


def test_raw_scans_of_another_study_do_not_mix(place):
    """Converted files of scans that are gone go, and a set of one study isn't replaced by another's."""
    from lib.data.fastmri_index import index
    from lib.data.kspace_files import in_fastmri_layout

    for study, count in (("a", 3), ("b", 2)):
        (place / study).mkdir()
        for n in range(count):
            written.mrd_shuffled(place / study / f"{study}{n}.h5")
    folder = place / "set"
    index(in_fastmri_layout(place / "a", folder / "files"), folder, origin=place / "a")
    (place / "a" / "a2.h5").unlink()
    index(in_fastmri_layout(place / "a", folder / "files"), folder, origin=place / "a")
    assert sorted(p.name for p in (folder / "files").iterdir()) == ["a0.h5", "a1.h5"]
    with refused(where="set.json", found="the set here was made from .*/a", expected="another folder"):
        in_fastmri_layout(place / "b", folder / "files")
    with refused(found="within the folder of the scans"):
        in_fastmri_layout(place / "b", place / "b" / "set" / "files")


@pytest.mark.whole
def test_scans_sampled_at_points_are_prepared_and_column_networks_refuse_them(tmp_path):
    source = ROOT / "data" / "samples" / "brain_f_raw_8ch_poisson_r8.h5"
    recipe = f"""
- {{task_name: prepare, notebook: 10_prepare_kspace, source: {source}, data: set}}
- {{task_name: predict, notebook: 26_predict, saved_network_weights: {ROOT / "runs" / "weights" / "demo_varnet"}, data: set}}
"""
    done = toys.recipe(tmp_path, recipe)
    assert done.returncode == 1 and "prepare · ok" in done.stdout, done.stdout + done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("task predict failed: file mask") and "single points, not whole columns" in last
    assert not list((tmp_path / "runs" / "predict").rglob("result.h5"))
