"""What tasks a person's own data call for: their layout, sizes and labels looked at, the rest guessed and said so."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from nibabel.affines import voxel_sizes

from lib import ROOT, RUNS, InputError
from lib.data import (
    cine_files,
    decathlon,
    grids,
    hipmri,
    kspace_files,
    lgg_matching,
    lits_matching,
    nifti,
    pairing,
    volume_labels,
)
from lib.data.fastmri_file import KspaceFile
from lib.data.hdf5 import has, open_hdf5
from lib.data.image_files import ENDINGS as IMAGES
from lib.data.image_files import check_image
from lib.data.index import SPLIT_WORDS
from lib.data.windows import is_ct
from lib.files import list_files
from lib.text import pluralize, value_or_error

GENERALIST = "weights/generalist" if RUNS == ROOT / "runs" else str(ROOT / "runs" / "weights" / "generalist")
LARGEST_PATCH = 64  # voxels a side, on a CPU
STEPS = 800  # of a first training


class Line(NamedTuple):
    """A line of a task: why is the comment behind it, "" where nothing was guessed."""

    key: str
    value: Any
    why: str = ""


class Task(NamedTuple):
    """A task of a recipe; notes stand above it."""

    name: str
    lines: list[Line]
    notes: tuple[str, ...] = ()


Recipe = tuple[list[str], list[Task]]  # what was found, in words, and the tasks


def segmentation(paths: Sequence[Path], name: str) -> Recipe:
    """Tasks from a folder of images and labels to a trained, evaluated, viewed network."""
    (source,) = _one(paths)
    if hipmri.is_hipmri(source):
        return _slices(source, name, "HipMRI's folders of slices", [])
    volumes, error = value_or_error(lits_matching.find, source)
    if volumes:
        return _volumes(source, name, volumes)
    if list_files(source, IMAGES):
        return _pairs(source, name)
    raise InputError(error)


def _one(paths: Sequence[Path]) -> Sequence[Path]:
    if len(paths) != 1 or not paths[0].is_dir():
        raise InputError(paths[-1], f"{pluralize(len(paths), 'path')}" if len(paths) > 1 else "a file", "one folder")
    return paths


def _volumes(source: Path, name: str, found: dict[str, list[lits_matching.VolumePair]]) -> Recipe:
    every = [pair for pairs in found.values() for pair in pairs]
    placed_grids = [grids.canonical(*nifti.header(p.volume, channels=len(p.channels))) for p in every]
    shapes = np.array([shape[::-1] for shape, _ in placed_grids])
    spacings = np.array([voxel_sizes(affine)[::-1] for _, affine in placed_grids])
    guessed = None if decathlon.is_decathlon(source) else pairing.guess(source, lits_matching.ENDINGS)
    channels = volume_labels.channel_names(source, list(guessed.images) if guessed else None, every)
    ct = is_ct(nifti.values(every[0].volume, channel=every[0].channels[0][1]))
    shape, spacing = np.median(shapes, 0), np.median(spacings, 0)
    head = [
        f"Found: {pluralize(len(every), 'volume')} with labels, {_range(shapes)} voxels (z, y, x) of {_range(spacings)} mm"
        + (f", {len(channels)} channels ({', '.join(channels)})" if channels else ""),
    ]
    labels = _labels(source, every, guessed)
    thick = int(spacing.argmax())
    if shape[thick] < 16 and spacing[thick] > 2.5 * np.median(spacing):
        plane = Line(
            "plane", ("axial", "coronal", "sagittal")[thick], f"few planes, {spacing[thick]:g} mm apart: slices"
        )
        return _slices(source, name, head[0], [plane, _split_line(found), *labels])
    even = (spacings.max(0) <= 1.2 * spacings.min(0)).all()
    resampled = shape if even else np.median(shapes * spacings, 0) / spacing
    patch = [int(min(LARGEST_PATCH, max(16, np.ceil(n / 8) * 8))) for n in resampled]
    whole = np.prod(resampled) / np.prod(patch) < 4
    crops = 1 if whole else 4
    trained = len(found["train"]) * crops
    prepare = [
        Line("notebook", "13_prepare_volumes"), Line("source", source), Line("data", f"../data/{name}"),
        _split_line(found), *labels,
        Line("spacing", None if even else [round(float(s), 2) for s in spacing], "mm: all are alike" if even else "mm: the middle of all"),
        Line("window", "auto", "CT by the first volume's values: −160 … 240 HU" if ct else "not CT: each volume's own range"),
    ]  # fmt: skip
    train = [
        Line("network_type", "VolumeUNet"), Line("data", f"../data/{name}"),
        Line("patch", patch, f"a whole volume{' nearly' * (not whole)}" if whole else "at most 64 a side on a CPU; on a GPU 96 or 128"),
        Line("crops", "uniform" if whole else "around", "" if whole else "half of a patch or more shows labels"),
        Line("crops_per_volume", crops),
        Line("network_settings", {"base_filters": 8, "depth": 3, "norm_momentum": 0.9}, "on a GPU base_filters 32, depth 4"),
        Line("epochs", int(np.clip(np.ceil(2 * STEPS / trained), 10, 200)), f"some {STEPS} steps of 2 patches"),
        Line("predict_split", "test" if found.get("test") else "val", "" if found.get("test") else "too few volumes for a test"),
    ]  # fmt: skip
    return head, _with_evaluation(name, prepare, train)


def _slices(source: Path, name: str, found: str, lines: list[Line]) -> Recipe:
    prepare = [Line("notebook", "12_prepare_slices"), Line("source", source), Line("data", f"../data/{name}"), *lines]
    train = [
        Line("network_type", "UNet2D"), Line("data", f"../data/{name}"),
        Line("network_settings", {"base_filters": 16, "depth": 4, "norm": "instance"}, "on a GPU base_filters 64, depth 5"),
        Line("loss", "dice", "small classes count as much as large ones"),
        Line("epochs", 20, "of 40 steps of 16 slices"),
    ]  # fmt: skip
    return [found], _with_evaluation(name, prepare, train)


def _pairs(source: Path, name: str) -> Recipe:
    pairs = lgg_matching.find(source)
    sizes = np.array([check_image(pair.image) for pair in pairs[:50]])
    size = [int(min(256, max(32, np.ceil(n / 32) * 32))) for n in np.median(sizes, 0)]
    people = len({pair.person for pair in pairs})
    prepare = [
        Line("notebook", "14_prepare_pairs"), Line("source", source), Line("data", f"../data/{name}"),
        Line("classes", ["background", "mask"], "what the masks show"),
        Line("size", size, f"pixels; the images have {_range(sizes)}"),
        Line("val", 0.1, f"of {pluralize(people, 'person')}; another tenth tests"),
    ]  # fmt: skip
    train = [
        Line("network_type", "ResUNet"), Line("data", f"../data/{name}"),
        Line("network_settings", {"encoder": "resnet50", "encoder_weights": None}, "encoder_weights: imagenet starts from trained ones"),
        Line("augmentation", {"flip": 0.5, "rotate": 15, "scale": 0.15, "shift": 6, "gamma": 0.25}, "flip: 0 if left and right differ"),
        Line("epochs", 20, "of 25 steps of 8 images"),
    ]  # fmt: skip
    return [f"Found: {pluralize(len(pairs), 'image')} with masks, of {pluralize(people, 'person')}"], _with_evaluation(
        name, prepare, train
    )


def _with_evaluation(name: str, prepare: list[Line], train: list[Line]) -> list[Task]:
    return [
        Task(f"prepare_{name}", prepare),
        Task(f"train_{name}", train),
        Task(f"evaluate_{name}", [Line("notebook", "32_evaluate_segmentation"), Line("runs", [f"train_{name}"])]),
        Task(f"view_{name}", [Line("notebook", "41_view_segmentation"), Line("runs", [f"train_{name}"])]),
    ]


def _labels(source: Path, pairs: list[lits_matching.VolumePair], guessed: pairing.Guess | None) -> list[Line]:
    """The patterns of names, and the classes where dataset.json doesn't say them."""
    names = value_or_error(decathlon.classes, source)[0] if decathlon.is_decathlon(source) else None
    if names:
        return [Line("classes", list(names), "by dataset.json")]
    lines = []
    if guessed:
        images = guessed.images[0] if len(guessed.images) == 1 else list(guessed.images)
        lines = [Line("volume_files", images, "by the names"), Line("segmentation_files", guessed.labels)]
        if any(pair.person != pair.id for pair in pairs):
            lines.append(Line("persons", {pair.id: pair.person for pair in pairs}, "by the names"))
    found = volume_labels.labels_in([pair.segmentation for pair in pairs if pair.segmentation])
    numbers = [value for value in found if value]
    lines.append(
        Line("classes", ["background", *(f"label {n}" for n in numbers)], "in the order of the labels' numbers")
    )
    if numbers != list(range(1, len(numbers) + 1)):
        lines.append(Line("relabel", {str(n): c for c, n in enumerate(numbers, 1)}, "label: class"))
    return lines


def _split_line(found: dict[str, list[lits_matching.VolumePair]]) -> Line:
    counts = {s: len(found.get(s, ())) for s in ("train", "val", "test")}
    share = {"val": 0.1} | ({"test": 0.25} if counts["test"] else {})
    shown = ", ".join(f"{count} {s}" for s, count in counts.items())
    return Line(
        "split", share, f"of the volumes, or persons: {shown}; `persons: {{volume: person}}` where one has several"
    )


def kspace(paths: Sequence[Path], name: str) -> Recipe:
    """Tasks from a folder of raw scans to a trained, evaluated, viewed network, or the committed one where they are too few."""
    (source,) = paths if len(paths) == 1 else _one(paths)
    files = kspace_files.find(source)
    sizes = np.array([f.shape[-2:] for f in files])
    coils = [f.coils if isinstance(f, KspaceFile) else f.shape[1] for f in files]
    persons = len({f.person if isinstance(f, KspaceFile) else f.path for f in files})
    masked = [f for f in files if (f.mask if isinstance(f, KspaceFile) else f.mask is not None and not f.mask.all())]
    head = [
        f"Found: {pluralize(len(files), 'file')} of {pluralize(persons, 'person')}, {_range(np.array(coils)[:, None])} coils, "
        f"{_range(sizes)} points (readout, phase encode)"
        + (f", {len(masked)} undersampled" if masked else ", fully sampled")
    ]
    center = max(8, int(0.08 * np.median(sizes[:, 1])))
    mask = Line("mask", {"kind": "equispaced", "acceleration": 4, "num_low_frequencies": center}, "8 % center lines")
    data = Line("data", f"../data/{name}")
    prepare = Task(f"prepare_{name}", [Line("notebook", "10_prepare_kspace"), Line("source", source), data])
    score = [Line("mask", {k: v for k, v in mask.value.items() if k != "acceleration"}), Line("accelerations", [4])]
    evaluate = [Line("notebook", "30_evaluate_kspace"), data, *score]
    view = Task(f"view_{name}", [Line("notebook", "40_view_reconstruction"), Line("runs", [f"evaluate_{name}"])])
    if persons < 3 or masked:
        why = (
            "comes undersampled, so that there is nothing to learn from" if masked else "is of fewer than three persons"
        )
        note = f"What {why}: the committed network is applied, none is trained."
        if masked:
            every = [Line("notebook", "15_bring_your_data"), Line("source", source), data]
            return head, [Task(f"reconstruct_{name}", every, (note,))]
        return head, [
            prepare,
            Task(f"evaluate_{name}", [*evaluate, Line("runs", [GENERALIST])], (note,)),
            view,
        ]
    train = [
        Line("network_type", "VarNet"), data, mask,
        Line("network_settings", {"num_cascades": 4, "chans": 8, "pools": 3, "sens_chans": 4, "sens_pools": 3}, "on a GPU 12, 18, 4, 8, 4"),
        Line("batch_size", 1 if sizes.prod(1).max() > 40_000 else 4, "slices"),
        Line("epochs", 18, "of 50 steps"),
    ]  # fmt: skip
    runs = Line(
        "runs",
        [f"train_{name}", GENERALIST],
        "the second is the committed network, trained on simulated scans",
    )
    return head, [prepare, Task(f"train_{name}", train), Task(f"evaluate_{name}", [*evaluate, runs]), view]


def cine(paths: Sequence[Path], name: str) -> Recipe:
    """Tasks from files of aliased and true series to a trained, evaluated, viewed network."""
    files, counts = {}, {}
    for path in paths:
        with open_hdf5(path) as file:
            sides = [side for side, key in cine_files.DATA_KEYS.items() if has(file, key)]
        words = "".join(c if c.isalpha() else " " for c in path.stem.lower()).split()
        split = next((SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS), "")
        if len(sides) != 1 or not split:
            found = (
                "no train, val or test in its name"
                if sides
                else f"neither {' nor '.join(cine_files.DATA_KEYS.values())} in it"
            )
            raise InputError(path, found, "files such as x_train.h5 (imagesRecon) and y_train.h5 (imagesTrue)")
        key = f"{sides[0]}_{split}"
        if key in files:
            raise InputError(path, f"{files[key].name} is {key}, too", "one file each")
        files[key] = path
        counts[key] = cine_files.series_file(path, sides[0]).shape
    cine_files.check_files(files, {"train": True, "val": True})
    has_test = "x_test" in files and "y_test" in files
    data, (_, height, width, frames) = Line("data", f"../data/{name}"), counts["x_train"]
    head = [
        "Found: "
        + ", ".join(f"{key} {shape[0]} series" for key, shape in counts.items())
        + f" of {height}×{width}×{frames}"
    ]
    prepare = Task(f"prepare_{name}", [Line("notebook", "11_prepare_cine"), Line("files", files), data])
    train = [
        Line("network_type", "UNet2D1D", "also UNet3D, UNet2D2D, UNet3D_old"), data,
        Line("epochs", 20), Line("predict_split", "test" if has_test else "val", "" if has_test else "no test files"),
    ]  # fmt: skip
    evaluate = [Line("notebook", "31_evaluate_cine"), Line("runs", [f"train_{name}"]), data]
    evaluate += [] if has_test else [Line("split", "val", "no test files: not a test")]
    view = [Line("notebook", "40_view_reconstruction"), Line("runs", [f"evaluate_{name}"])]
    tasks = [prepare, Task(f"train_{name}", train), Task(f"evaluate_{name}", evaluate), Task(f"view_{name}", view)]
    return head, tasks


def _range(values: np.ndarray) -> str:
    """The least and greatest rows of sizes, such as 36×50×35 … 47×59×45, or the one there is."""
    low, high = ("×".join(f"{v:.3g}" for v in ends) for ends in (values.min(0), values.max(0)))
    return low if low == high else f"{low} … {high}"
