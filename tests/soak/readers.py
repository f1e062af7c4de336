"""Files that are damaged at random, and how each reader is called with them."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import labeled
import miniatures
import nibabel
import numpy as np
import yaml

from lib import ROOT
from soak import damage

Case = Callable[
    [random.Random | None, Path], Callable[[], Any]
]  # draws a file into a folder (None: a good one); its reading
WEIGHTS, RECIPES = ROOT / "runs" / "weights" / "demo_varnet", ROOT / "runs"


def _one(folder: Path, drawn: random.Random, suffixes: tuple[str, ...]) -> Path:
    return drawn.choice(
        sorted(p for p in folder.rglob("*") if p.name.endswith(suffixes) and not p.name.startswith("."))
    )


def _damaged(path: Path, drawn: random.Random) -> None:
    """One kind of damage that suits the file."""
    data = path.read_bytes()
    if path.suffix == ".json":
        path.write_bytes(damage.of_json(data, drawn))
    elif path.suffix == ".nii" and drawn.random() < 0.7:
        path.write_bytes(damage.of_nifti(data, drawn))
    elif path.suffix == ".h5" and drawn.random() < 0.7:
        with h5py.File(path, "r+") as file:
            _odd_hdf5(file, drawn)
    else:
        path.write_bytes(damage.of_bytes(data, drawn))


def _odd_hdf5(file: h5py.File, drawn: random.Random) -> None:
    """A data set, a link or an attribute is another one."""
    key = drawn.choice(list(file))
    kind = drawn.choice(
        ["gone", "group", "type", "rank", "empty", "huge", "soft", "external", "own", "text", "attribute", "nan"]
    )
    if kind == "attribute" or (kind == "nan" and not isinstance(file[key], h5py.Dataset)):
        name = drawn.choice([*file.attrs, "patient_id", "max", "acquisition"])
        value = drawn.choice((*damage.TEXTS[3:], 5, -1.0, np.zeros(3), np.nan, h5py.Empty("f4")))
        file.attrs[name] = value
        return
    if kind == "nan":
        array = file[key]
        if array.dtype.kind in "fc" and array.size:
            array[(0,) * array.ndim] = np.nan
        return
    old = file[key][()] if isinstance(file[key], h5py.Dataset) else np.zeros(3)
    del file[key]
    if kind == "group":
        file.create_group(key)
    elif kind == "type":
        file[key] = (
            np.asarray(old).astype(drawn.choice(["u1", "f8", "i4"])) if np.asarray(old).dtype.kind in "biuf" else 3
        )
    elif kind == "rank":
        file[key] = np.asarray(old)[None] if drawn.random() < 0.5 else np.ravel(old)[:7]
    elif kind == "empty":
        file[key] = np.zeros((0, *np.shape(old)[1:]), "c8")
    elif kind == "huge":
        file.create_dataset(key, (2**20, 2**20, 4, 4), "c8", chunks=(1, 64, 4, 4))
    elif kind == "soft":
        file[key] = h5py.SoftLink(drawn.choice(["/nowhere", "/", f"/{key}"]))
    elif kind == "external":
        file[key] = h5py.ExternalLink(drawn.choice(["/etc/passwd", "gone.h5", file.filename]), f"/{key}")
    elif kind == "own":
        layout = h5py.VirtualLayout((2, 2, 8, 8), "c8")
        layout[:] = h5py.VirtualSource(".", key, (2, 2, 8, 8))
        file.create_virtual_dataset(key, layout)
    elif kind == "text":
        file[key] = "text"


def _set(make: Callable[[Path], Any], suffixes: tuple[str, ...], read: Callable[[Path], Any], place: Path) -> Case:
    """Files, made once in `place`; of a copy of them one is damaged, then they are read."""
    make(place / "set")

    def case(drawn: random.Random | None, folder: Path) -> Callable[[], Any]:
        shutil.copytree(place / "set", folder / "set")
        if drawn:
            _damaged(_one(folder / "set", drawn, suffixes), drawn)
        return lambda: read(folder / "set")

    return case


def targets(place: Path) -> dict[str, Case]:
    """The readers, by what they read; `place` holds the files that are damaged."""
    from lib.data import cine_files, fastmri_index, hipmri, lgg, lits, look
    from lib.data.index import read_set
    from lib.recipes.plan import plan
    from lib.runs import listing
    from lib.runs.weights import load
    from lib.viewer.loading import read as opened
    from lib.viewer.slice_viewer import show

    def kspace(folder: Path) -> None:
        miniatures.fastmri_file(folder / "train" / "a.h5", "p", coils=2, slices=1)
        miniatures.fastmri_file(folder / "val" / "b.h5", "q", coils=2, slices=1, seed=5)

    def array(folder: Path) -> None:
        folder.mkdir(parents=True)
        values = np.arange(960, dtype=np.float32).reshape(4, 12, 20)
        np.save(folder / "a.npy", values)
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), folder / "a.nii")
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), folder / "a.nii.gz")
        with h5py.File(folder / "a.h5", "w") as file:
            file["images"] = values

    def shown(folder: Path) -> None:
        for path in sorted(folder.iterdir()):
            look(path)
            show({"a": str(path) + ":images" * (path.suffix == ".h5")}, False)

    def run(folder: Path) -> None:
        made = folder / "runs" / "train" / "20260101-000000"
        made.mkdir(parents=True)
        status = {
            "status": "ok",
            "started": "2026-01-01T00:00:00+00:00",
            "seconds": 3.0,
            "pid": 1,
            "host": "a",
            "error": None,
        }
        (made / "status.json").write_text(json.dumps(status))
        about = {"task": "train", "notebook": "21_train_kspace", "parameters": {"data": "data/kspace", "epochs": 3}}
        (made / "task.json").write_text(json.dumps(about))
        (made / "manifest.json").write_text(json.dumps({"versions": {"torch": "2"}, "device": "cpu", "seed": 0}))
        (made / "metrics.json").write_text(json.dumps({"headline": {"test": {"ssim": 0.9}}, "note": "x"}))

    def prepared(folder: Path) -> None:
        miniatures.decathlon(folder.with_name("source"))
        lits.prepare(folder.with_name("source"), folder)

    def weights(folder: Path) -> None:
        shutil.copytree(WEIGHTS, folder)

    def recipe(drawn: random.Random | None, folder: Path) -> Callable[[], Any]:
        if not drawn:
            return lambda: None
        path = folder / "recipe.yaml"
        content = yaml.safe_load(drawn.choice(sorted(RECIPES.glob("*.yaml"))).read_text())
        if drawn.random() < 0.7:
            path.write_text(yaml.safe_dump(damage.of_values(content, drawn), allow_unicode=True))
        else:
            path.write_bytes(damage.of_bytes(yaml.safe_dump(content).encode(), drawn))
        return lambda: plan(path)

    def volumes(drawn: random.Random | None, folder: Path) -> Callable[[], Any]:
        if not drawn:
            return lambda: None
        kinds = ("f4", "f8", "c8", "u1", "i8", "bool", "O", "U3", "M8[s]", "f2")
        sides = [drawn.choice((0, 1, 2, 7, 16)) for _ in range(drawn.choice((0, 1, 2, 3, 3, 3, 4)))]
        given = {
            n: np.zeros(sides, drawn.choice(kinds)) for n in drawn.sample(("truth", "output", "x", "<b>", "$a$", ""), 2)
        }
        if drawn.random() < 0.3:
            given["odd"] = drawn.choice((None, 5, "text", b"x", [1, 2], {"a": 1}))
        spacing = drawn.choice((*[None] * 9, (1, 1, 1), (0, 1, 1), (np.nan, 1, 1), "abc", (1, 1)))
        return lambda: show(
            given,
            False,
            spacing=spacing,
            gain=drawn.choice((*[5] * 9, 0, -1, "x")),
            window=drawn.choice((None, None, (0, 1), (1, 0))),
        )

    def cine(folder: Path) -> None:
        for path in sorted(folder.glob("*.h5")):
            cine_files.series_file(path, path.name[0], True)

    sets = {  # what makes the files, which of them are damaged, what reads them
        "k-space": (kspace, (".h5",), lambda f: fastmri_index.index(f, f.with_name("out"))),
        "cine": (miniatures.cine, (".h5",), cine),
        "NIfTI slices": (
            lambda f: labeled.hipmri_layout(f, 1, (48, 24), odd=False), (".nii.gz",), lambda f: hipmri.prepare(f, f.with_name("out")),
        ),
        "NIfTI volumes": (
            lambda f: miniatures.lits(f, (0, 26, 27, 48, 129, 130)), (".nii",),
            lambda f: lits.prepare(f, f.with_name("out"), split={"val": 1, "test": 1}),
        ),
        "Decathlon": (miniatures.decathlon, (".nii.gz", ".json"), lambda f: lits.prepare(f, f.with_name("out"))),
        "images and masks": (
            lambda f: labeled.kaggle_layout(f / "kaggle_3m", 5, 2, 32), (".tif",), lambda f: lgg.prepare(f, f.with_name("out")),
        ),
        "look and viewer": (array, (".npy", ".nii", ".nii.gz", ".h5"), shown),
        "prepared set": (prepared, (".json", ".h5"), read_set),
        "runs": (run, (".json",), lambda f: listing.rows([f / "runs" / "train" / "20260101-000000"])),
        "weights": (weights, (".json", ".safetensors"), load),
        "a file in the viewer": (array, (".nii", ".nii.gz"), lambda f: [opened("a", str(p)) for p in sorted(f.glob("*.nii*"))]),
    }  # fmt: skip
    cases = {name: _set(*parts, place / str(i)) for i, (name, parts) in enumerate(sets.items())}
    return cases | {"recipes": recipe, "arrays in the viewer": volumes}
