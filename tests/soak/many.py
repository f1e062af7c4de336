"""Thousands of cases through preparation, prediction, evaluation and viewer: memory and open files stay as they are."""

import contextlib
import gc
import io
import os
import resource
import shutil
import statistics
from collections.abc import Iterator
from pathlib import Path

import labeled
import matplotlib.pyplot as plt
import torch

from lib import models, viewer
from lib.data import hipmri
from lib.data.case_files import CaseSlices, split_cases
from lib.data.index import entries
from lib.evaluation import segmentation
from lib.inference.segment import segment_slices

SPLITS = ("train", "val", "test")


def run(count: int, folder: Path) -> Iterator[dict[str, int]]:
    """At least `count` cases, a small set of them at a time, each prepared, segmented, scored, drawn and viewed.

    Parameters
    ----------
    count : of cases
    folder : to work in

    Yields
    ------
    After each set {cases: so far, memory: resident bytes, files: open ones}
    """
    torch.manual_seed(0)
    network, done = models.build("UNet2D", base_filters=2, depth=2), 0
    while done < count:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            done += _once(network, folder)
        shutil.rmtree(folder)
        gc.collect()
        yield {"cases": done, "memory": resident(), "files": len(os.listdir("/proc/self/fd"))}


def _once(network: torch.nn.Module, folder: Path) -> int:
    """One set through all steps; how many cases it had."""
    labeled.hipmri_layout(folder / "source", 2, (48, 24), odd=False)
    hipmri.prepare(folder / "source", folder / "set")
    found = 0
    for split in SPLITS:
        cases = split_cases(folder / "set", split)
        result = segment_slices(network, CaseSlices(cases), folder / f"{split}.h5")
        scores = segmentation.score(result)
        segmentation.by_class(scores)
        for name in viewer.case_names(result):
            viewer.show_prediction(result, False, name)
            live = viewer.show_prediction(result, True, name)
            live.state = {"at": [0, 0, 0]}
            live.close()
        plt.close("all")
        found += len(entries(folder / "set", split))
    return found


def resident() -> int:
    """Bytes of this process in memory (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def growth(rows: list[dict[str, int]], key: str) -> float:
    """The median over the last quarter of the rows over that of the second, less 1."""
    quarter = len(rows) // 4
    last, second = (statistics.median(r[key] for r in part) for part in (rows[-quarter:], rows[quarter : 2 * quarter]))
    return last / second - 1
