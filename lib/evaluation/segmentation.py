"""What the segmentation notebooks share: targets, scores of a result.h5, and its pictures."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pandas as pd
from torch import Tensor

from lib import InputError, models, plots
from lib.data import lgg, lits
from lib.data.case_files import to_radiological
from lib.losses.segmentation import one_hot
from lib.metrics import bootstrap, segmentation


def target_of(targets: str, num_classes: int) -> Callable[[Tensor], Tensor]:
    """A label (H, W) as it is ("index"), one-hot (C, H, W) float32 ("one_hot"), or one channel of 0 and 1 ("binary")."""
    made = {"index": _index, "one_hot": partial(_one_hot, num_classes=num_classes), "binary": _binary}
    if targets not in made:
        raise InputError(f"targets: got {targets!r}, expected one of {', '.join(made)}")
    return made[targets]  # whole functions: workers that are not forked get them pickled


def _index(label: Tensor) -> Tensor:
    return label


def _one_hot(label: Tensor, num_classes: int) -> Tensor:
    return one_hot(label[None], num_classes)[0]


def _binary(label: Tensor) -> Tensor:
    return (label > 0).float()[None]


class Score(NamedTuple):
    """One case: counts (S, C, C) confusion a slice, dice (C,) over all its slices, hausdorff95 (S, C) of each slice.

    Of a volume hausdorff95 is (1, C), in space. Distances are in mm, or in pixels where the pixels aren't known in mm.
    """

    case: str
    person: str
    counts: np.ndarray
    hausdorff95: np.ndarray
    classes: tuple[str, ...]

    @property
    def dice(self) -> np.ndarray:
        return segmentation.dice_of(self.counts.sum(0))

    @property
    def units(self) -> np.ndarray:
        """Confusion counts of what each row of hausdorff95 is of: the slices, or the volume."""
        return self.counts if len(self.hausdorff95) == len(self.counts) else self.counts.sum(0, keepdims=True)


def score(path: Path) -> list[Score]:
    """Every case of a result.h5 that has a truth; none where there are no truths. InputError where it isn't one."""
    classes_of(path)
    found = []
    with h5py.File(path, "r") as file:
        for case, group in file.items():
            if "truth" not in group:
                continue
            output, truth, classes = group["output"][:], group["truth"][:], tuple(group.attrs["classes"])
            spacing = [float(s) for s in group.attrs["spacing"]]
            counts = np.stack([segmentation.confusion(o, t, len(classes)) for o, t in zip(output, truth, strict=True)])
            if group.attrs.get("volume"):
                distance = [segmentation.hausdorff95(output, truth, len(classes), spacing)]
            else:
                pairs_of = zip(output, truth, strict=True)
                distance = [segmentation.hausdorff95(o, t, len(classes), spacing[1:]) for o, t in pairs_of]
            found.append(Score(case, str(group.attrs["person"]), counts, np.stack(distance), classes))
    return found


def labelled(path: Path) -> list[Score]:
    """`score`; InputError where no case has a truth."""
    scores = score(path)
    if not scores:
        raise InputError(f"{path}: no truths in it: nothing to score")
    return scores


def by_class(scores: list[Score]) -> pd.DataFrame:
    """A row a class: Dice, the mean over people of all slices of each together, with its block-bootstrap interval.

    hausdorff95: mean over the slices (of volumes, the volumes) in which both have the class; `missed`: those in which only
    one has it; `both empty`: the share in which neither has. Empty where there are no truths.
    """
    if not scores:
        return pd.DataFrame(columns=["dice", "low", "high", "hausdorff95", "missed", "both empty"])
    classes = scores[0].classes
    units = np.concatenate([s.units for s in scores])
    distance = np.concatenate([s.hausdorff95 for s in scores])
    people = [
        np.concatenate([s.counts for s in scores if s.person == p]) for p in dict.fromkeys(s.person for s in scores)
    ]
    dice, intervals = (
        np.mean([segmentation.dice_of(p.sum(0)) for p in people], axis=0),
        bootstrap.dice_interval(people),
    )
    empty = segmentation.both_empty(units)
    rows = {}
    for c, name in enumerate(classes):
        finite = np.isfinite(distance[:, c]) & ~empty[:, c]
        rows[name] = {
            "dice": float(dice[c]), "low": intervals[c, 0], "high": intervals[c, 1],
            "hausdorff95": float(distance[finite, c].mean()) if finite.any() else float("nan"),
            "missed": int(np.isinf(distance[:, c]).sum()), "both empty": float(empty[:, c].mean()),
        }  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index")


def by_case(scores: list[Score]) -> pd.DataFrame:
    """A row a case and class (but the background): its Dice."""
    return pd.DataFrame(
        [
            {"person": s.person, "case": s.case, "class": n, "dice": s.dice[c]}
            for s in scores
            for c, n in enumerate(s.classes)
            if c
        ]
    )


def confusion(scores: list[Score]) -> pd.DataFrame:
    """Shares of each true class (rows) that were given each class (columns), all slices together."""
    counts = sum(s.counts.sum(0) for s in scores)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    return pd.DataFrame(shares, index=scores[0].classes, columns=scores[0].classes)


def pooled(path: Path) -> dict[str, float]:
    """`dice` (soft, all classes at once) and `accuracy` over all pixels of a result.h5, as the HipMRI source reports them."""
    right, probability, count = 0.0, 0.0, 0
    with h5py.File(path, "r") as file:
        for group in file.values():
            if "truth" in group:
                size = group["truth"].size
                right += float((group["truth"][:] == group["output"][:]).sum())
                probability += group.attrs["probability_of_truth"] * size
                count += size
    nothing = float("nan")
    return {"dice": probability / count if count else nothing, "accuracy": right / count if count else nothing}


def slices_by_dice(scores: list[Score]) -> list[tuple[float, str, int]]:
    """(mean Dice over the classes that are there but the background, case, slice), worst first; slices without any left out."""
    rows = []
    for s in scores:
        dice, there = segmentation.dice_of(s.counts)[:, 1:], ~segmentation.both_empty(s.counts)[:, 1:]
        rows += [(float(d[t].mean()), s.case, i) for i, (d, t) in enumerate(zip(dice, there, strict=True)) if t.any()]
    return sorted(rows)


def picture(path: Path, scores: list[Score], which: str = "median"):
    """A figure of one slice of a result.h5, image, label and prediction: the "worst", "median" or "best" by `slices_by_dice`.

    Without truths the middle slice of the first case.
    """
    order = slices_by_dice(scores)
    with h5py.File(path, "r") as file:
        if order:
            value, case, s = order[{"worst": 0, "median": len(order) // 2, "best": -1}[which]]
            title = f"{which}: {case}, slice {file[case].attrs['names'][s]}, Dice {value:.3f}"
        else:
            case = next(iter(file))
            s, title = len(file[case]["output"]) // 2, f"{case}, no label"
        group = file[case]
        seen = {
            key: to_radiological(group[key][s], group.attrs) for key in ("input", "output", "truth") if key in group
        }
        image, labels = seen["input"], {"prediction": seen["output"]}
        labels |= {"label": seen["truth"]} if "truth" in seen else {}
        window = tuple(np.percentile(image, (0, 99.5)))
        images = {name: image for name in ("image", *reversed(labels))}
        window = window if window[1] > window[0] else None
        return plots.montage(images, window, title=title, labels=labels, classes=list(group.attrs["classes"]))


def planes(
    image: Any, labels: dict[str, Any], classes: list[str], spacing=(1.0, 1.0, 1.0), at=None, title: str | None = None
):  # fmt: skip
    """A figure of three planes through voxel `at` of a volume (D, H, W), with each of `labels` laid over it in a column.

    at: None: the middle of what the last of them shows (of the volume, where it shows nothing).
    """
    labels = {name: np.asarray(label) for name, label in labels.items()}
    if at is None:
        where = np.argwhere([*labels.values()][-1] > 0)
        at = np.median(where, axis=0) if len(where) else np.array(image.shape) // 2
    shown = lits.planes(np.asarray(image), spacing, at)
    cut = {name: lits.planes(label, spacing, at) for name, label in labels.items()}
    panels = {f"{plane}: {name}": shown[plane] for plane in shown for name in cut}
    over = {f"{plane}: {name}": cut[name][plane] for plane in shown for name in cut}
    window, columns = tuple(np.percentile(image, (0.5, 99.5))), len(cut) if len(cut) > 1 else 3
    return plots.montage(panels, window, columns, title, labels=over, classes=classes)


def case_planes(path: Path, case: str | None = None, title: str | None = None):
    """`planes` of a case of a result.h5 of volumes (the first where None): the prediction and, if known, the label."""
    with h5py.File(path, "r") as file:
        case = case or next(iter(file))
        group = file[case]
        labels = {"prediction": group["output"][:]} | ({"label": group["truth"][:]} if "truth" in group else {})
        spacing = [float(s) for s in group.attrs["spacing"]]
        return planes(group["input"][:], labels, list(group.attrs["classes"]), spacing, title=title or case)


def of_volumes(path: Path) -> bool:
    """Whether a result.h5 holds segmented volumes, not slices."""
    with h5py.File(path, "r") as file:
        return all(group.attrs.get("volume", False) for group in file.values())


def mask_table(masks: Path, source: Path, count: int = 4):
    """A figure of up to `count` samples of a masks.h5, evenly chosen: input, prediction and, where it is known, truth.

    source: the result.h5 beside it, or the folder of the images.
    """
    panels, labels = {}, {}
    with h5py.File(masks, "r") as file:
        names = list(file)
        names = [names[i] for i in sorted({round(q) for q in np.linspace(0, len(names) - 1, count)})]
        found = {name: file[name][0] for name in names}
    if source.is_dir():
        paths = {p.stem: p for p in lgg.images_in(source)}
        inputs = {name: (lgg.read_image(paths[name], found[name].shape)[1], None) for name in names}
    else:
        inputs = _inputs(source, names)
    for name in names:
        image, truth = inputs[name]
        laid = {"prediction": found[name].round()} | ({} if truth is None else {"truth": truth})
        panels |= dict.fromkeys((f"{name}: {row}" for row in ("input", *laid)), image / max(float(image.max()), 1))
        labels |= {f"{name}: {row}": label for row, label in laid.items()}
    columns = len(panels) // len(names)
    return plots.montage(panels, window=(0, 1), columns=columns, labels=labels, classes=lgg.CLASSES)


def _inputs(result: Path, names: list[str]) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
    found = {}
    with h5py.File(result, "r") as file:
        for group in file.values():
            for s, name in enumerate(group.attrs["names"]):
                if name in names:
                    found[name] = (group["input"][s], group["truth"][s] if "truth" in group else None)
    return found


def classes_of(path: Path) -> list[str]:
    """The classes of a result.h5 of segmentations; InputError where it holds none."""
    if not path.is_file():
        raise InputError(
            f"{path}: no such file; the notebooks that train segmentation networks write it for a prepared set"
        )
    with h5py.File(path, "r") as file:
        group = next(iter(file.values()))
        if "classes" not in group.attrs:
            raise InputError(f"{path}: no segmentations in it, expected those of a 23, 24 or 25 notebook")
        return list(group.attrs["classes"])


def check_classes(kind: str, settings: dict[str, Any], expected: int, where: Path) -> None:
    """InputError where a network has another number of classes than the data in `where`."""
    found = models.complete(kind, settings)["num_classes"]
    if found != expected:
        raise InputError(f"{where}: {expected} classes, the network has {found}")
