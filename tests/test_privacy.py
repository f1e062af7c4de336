"""Names of people, planted wherever data can carry them, are in no run and in no set.json."""

import gzip
import json

import h5py
import labeled
import miniatures
import nibabel
import numpy as np
import pytest
import toys
import written
from PIL import Image, PngImagePlugin

pytestmark = [pytest.mark.whole, pytest.mark.timeout(900)]
SLOW = ("cine", "segmentation")

NAME = "Quillfeather"  # in every field, with a word that tells which
HEADER = f"""<ismrmrdHeader><subjectInformation><patientName>{NAME}Header</patientName><patientID>{NAME}Number</patientID>
<patientBirthdate>1957-03-12</patientBirthdate></subjectInformation>"""
FILES = "{x_train: in/x_train.h5, y_train: in/y_train.h5, x_val: in/x_val.h5, y_val: in/y_val.h5, x_test: in/x_test.h5, y_test: in/y_test.h5}"
RECIPES = {  # and the sets that have a table with names
    "k-space": ("""
- {task_name: kspace, notebook: 10_prepare_kspace, source: in/kspace, data: set/kspace}
- {task_name: train, network_type: UNet, data: set/kspace, network_settings: {chans: 2, num_pool_layers: 2}}
- {task_name: evaluate, notebook: 30_evaluate_kspace, data: set/kspace, runs: [train]}
- {task_name: look, notebook: 40_view_reconstruction, runs: [evaluate]}
- {task_name: compare, notebook: 42_compare_runs, runs: [train, evaluate]}
""", ["kspace-quick"]),
    "cine": (f"""
- {{task_name: cine, notebook: 11_prepare_cine, data: set/cine, files: {FILES}}}
- {{task_name: train, network_type: UNet2D1D, data: set/cine}}
- {{task_name: train_files, network_type: UNet2D1D, serving: false, files: {FILES}}}
- {{task_name: evaluate, notebook: 31_evaluate_cine, data: set/cine, runs: [train]}}
""", ["cine-quick"]),
    "segmentation": ("""
- {task_name: slices, notebook: 12_prepare_slices, source: in/volumes, data: set/slices}
- {task_name: volumes, notebook: 13_prepare_volumes, source: in/volumes, data: set/volumes, split: {val: 1, test: 1}}
- {task_name: pairs, notebook: 14_prepare_pairs, source: in/pairs, data: set/pairs, val: 0.25}
- {task_name: train, network_type: ResUNet, data: set/pairs, network_settings: {encoder: plain}}
- {task_name: evaluate, notebook: 32_evaluate_segmentation, runs: [train]}
""", ["pairs-quick"]),
}  # fmt: skip


def kspace(folder):
    for n, split in enumerate(("train", "val", "test")):
        path = miniatures.fastmri_file(folder / split / f"scan{n}.h5", f"{NAME}{split}", seed=n)
        with h5py.File(path, "a") as file:
            header = file["ismrmrd_header"][()].decode()
            del file["ismrmrd_header"]
            file["ismrmrd_header"] = (HEADER + header.split('2001/XMLSchema-instance">')[1]).encode()
            file.attrs["patient_name"] = file["kspace"].attrs["patient"] = f"{NAME}Attribute"


def cine(folder):
    rng = np.random.default_rng(0)
    for n, split in enumerate(("train", "val", "test")):
        for side, key in (("x", "imagesRecon"), ("y", "imagesTrue")):
            with h5py.File(folder / f"{side}_{split}.h5", "w") as file:
                file[key] = rng.random((2, 32, 32, 8), np.float32)
                file.attrs["names"] = [f"{NAME}Series{n}", f"{NAME}Heart{n}"]
                file.attrs["persons"] = [f"{NAME}Cine{n}"] * 2


def volumes(folder):
    for path in sorted(miniatures.decathlon(folder, 6).glob("*Tr/h*.nii.gz")):
        image = nibabel.load(path)
        image.header["descrip"], image.header["db_name"] = f"{NAME}Descrip", NAME[:12]
        image.header["aux_file"], image.header["intent_name"] = f"{NAME}Aux", NAME
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", f"{NAME}Extension".encode()))
        nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), image.affine, image.header), path)


def pairs(folder):
    """Folders of patients by name, with images whose descriptions have it, too."""
    labeled.kaggle_layout(folder, 5, 2, 32)
    about = PngImagePlugin.PngInfo()
    about.add_text("Patient", f"{NAME}Text")
    for n, patient in enumerate(sorted(p for p in folder.iterdir() if p.is_dir())):
        for path in patient.iterdir():
            name = path.stem.replace(patient.name, f"{NAME}{n}")
            with Image.open(path) as image:
                image.save(path.with_name(f"{name}.png"), pnginfo=about)
            path.unlink()
        patient.rename(folder / f"{NAME}{n}")


def texts(path):
    """What a file says, its names, attributes and hidden texts among it."""
    yield path.read_bytes().decode("utf-8", "replace")
    if path.suffix == ".png":
        with Image.open(path) as image:
            yield str(image.info)
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            yield str(dict(file.attrs))
            said = []
            file.visititems(lambda name, item: said.append(f"{name} {dict(item.attrs)}"))
            yield "\n".join(said)


@pytest.mark.parametrize("kind", [pytest.param(k, marks=[pytest.mark.slow] * (k in SLOW)) for k in RECIPES])
def test_no_name_gets_into_runs_or_set_json(tmp_path, kind):
    source, (recipe, tables) = tmp_path / "in", RECIPES[kind]
    for write, folder in ((kspace, "kspace"), (volumes, "volumes"), (pairs, "pairs"), (cine, "")):
        (source / folder).mkdir(parents=True, exist_ok=True)
        write(source / folder)
    done = toys.recipe(tmp_path, recipe, "--quick")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert NAME not in done.stdout + done.stderr
    files = [p for p in (tmp_path / "runs").rglob("*") if p.is_file()] + [*tmp_path.glob("set/*/set.json")]
    assert {".ipynb", ".json", ".csv", ".h5", ".png"} <= {p.suffix for p in files}
    telling = {p for p in files for text in texts(p) if NAME in f"{text}{p.name}" or "1957-03-12" in text}
    assert not telling
    people = [p.parent.name for p in tmp_path.rglob("persons.csv") if NAME in p.read_text()]
    assert people == tables  # beside the data, not in runs
    scores = (tmp_path / "runs" / "evaluate").glob("*/metrics.json")
    assert "person_00" in json.dumps(json.loads(next(scores).read_text())) or kind == "segmentation"


def test_scans_of_any_format_bring_no_name_along(tmp_path):
    """Read, reconstructed and written anew as fastMRI's HDF5, NIfTI and DICOM: names, numbers and dates stay behind."""
    assert written.PERSON == NAME
    (tmp_path / "in").mkdir()
    for name in ("ISMRMRD", "Siemens", "DICOM enhanced"):
        ending, write, _ = (written.KSPACE | written.IMAGES)[name]
        write(tmp_path / "in" / f"{name.split()[0].lower()}{ending}")
    recipe = (
        "- {task_name: own, notebook: 15_bring_your_data, source: in, data: set/own, networks: [], baselines: [GRAPPA]}"
    )
    done = toys.recipe(tmp_path, recipe, "--quick")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    files = [p for place in ("runs", "set") for p in (tmp_path / place).rglob("*") if p.is_file()]
    assert {".dcm", ".gz", ".h5", ".ipynb", ".png"} <= {p.suffix for p in files}
    plain = {p: gzip.decompress(p.read_bytes()).decode("latin-1") for p in files if p.suffix == ".gz"}
    said = [(p, f"{text}{p.name}") for p in files for text in ([plain[p]] if p in plain else texts(p))]
    assert not {p for p, text in said if NAME in text or "1957-03-12" in text or "19570312" in text}
    assert NAME not in done.stdout + done.stderr
