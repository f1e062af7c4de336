"""python -m tools.readme: writes the tables of README.md and docs/results.md from runs/results.

A table stands between `<!-- NAME -->` and `<!-- end NAME -->`; PAGES says which page has which. With --collect the results
and the pictures are taken from the newest good runs first.
"""

import argparse
import os
import platform
import re
import sys
from collections.abc import Callable
from pathlib import Path

from lib import ROOT, InputError, runs
from lib.files import read, write
from tools import tables
from tools.quickness import quickness
from tools.reproduce import recipes
from tools.roofline import roofline
from tools.summary import summary

RESULTS, PICTURES = ROOT / "runs" / "results", ROOT / "docs" / "pictures"
COLLECTED = {  # file in runs/results: the task whose newest good run it comes from
    "demo": "evaluate_reconstruction",
    "kspace": "evaluate_accelerations",
    "phantom": "evaluate_phantom",
    "raw": "evaluate_raw",
    "tries": "evaluate_raw_tries",
    "starts": "evaluate_demo_val",
    "cine": "evaluate_cine",
    "cine_ablation": "evaluate_cine_ablation",
    "cascade": "evaluate_cascade",
    "segmentation2d": "evaluate_segmentation",
    "segmentation3d": "evaluate_volumes",
    "learning_curve": "evaluate_learning_curve",
    "leave_one_out": "evaluate_leave_one_out",
    "benchmark": "benchmark",
    "benchmark_cascade": "benchmark_cascade",
    "benchmark_volumes": "benchmark_volumes",
    "benchmark_growth": "benchmark_growth",
    "time_to_quality": "time_to_quality",
    "readout_crop": "evaluate_readout_crop",
}
FIGURES = {  # picture in docs/pictures: the task and figure that it is
    "first_look.png": ("overview", "first_look.png"),
    "ssim.png": ("evaluate_reconstruction", "ssim_4x.png"),
    "worst_slice.png": ("evaluate_reconstruction", "worst_slice.png"),
    "cascade.png": ("evaluate_cascade", "ladder_8x.png"),
    "segmentation_slice.png": ("evaluate_segmentation", "train_hippocampus_slices_median.png"),
    "segmentation_worst_volume.png": ("evaluate_volumes", "train_hippocampus_worst_volume_1.png"),
    "learning_curve.png": ("evaluate_learning_curve", "learning_curve.png"),
    "speed.png": ("benchmark", "ratios.png"),
    "quality.png": ("time_to_quality", "quality.png"),
    "growth.png": ("benchmark_growth", "growth.png"),
    "volume_parts.png": ("benchmark_volumes", "memory.png"),
    "segmentation_ventricle.png": ("train_cavity", "segmentation.png"),
    "cine.png": ("evaluate_cine", "over_time_heart_sax_5_slice_3.png"),
}
Table = tuple[Callable[..., str], tuple[str, ...]]  # the function that draws it, its files of results
PAGES: dict[str, dict[str, Table]] = {  # the tables of each page
    "README.md": {
        "summary": (summary, ("demo", "raw", "cine", "cascade", "segmentation2d", "segmentation3d")),
        "speed": (tables.speed_line, ("benchmark",)),
    },
    "docs/reliability.md": {"soak": (tables.withstood, ("soak",))},
    "docs/devices.md": {
        "roofline": (roofline, ("roofline",)),
        "readout_crop": (tables.cropped, ("readout_crop",)),
    },
    "docs/using.md": {"viewer": (quickness, ("viewer",))},
    "docs/results.md": {
        "recipes": (recipes, ()),
        "demo": (tables.by_person, ("demo",)),
        "lesions": (tables.lesions, ("demo",)),
        "kspace": (tables.by_acceleration, ("kspace",)),
        "phantom": (tables.by_person, ("phantom",)),
        "raw": (tables.raw, ("raw",)),
        "tries": (tables.raw, ("tries",)),
        "starts": (tables.by_person, ("starts",)),
        "cine": (tables.by_kind, ("cine",)),
        "cine_ranking": (tables.ranking, ("cine",)),
        "cine_ablation": (tables.by_kind, ("cine_ablation",)),
        "cascade": (tables.ladder, ("cascade",)),
        "benchmark_cascade": (tables.memory, ("benchmark_cascade",)),
        "segmentation2d": (tables.classes, ("segmentation2d",)),
        "segmentation3d": (tables.classes, ("segmentation3d",)),
        "learning_curve": (tables.classes, ("learning_curve",)),
        "leave_one_out": (tables.over_runs, ("leave_one_out",)),
        "benchmark_volumes": (tables.parts, ("benchmark_volumes",)),
        "benchmark": (tables.speed, ("benchmark",)),
        "growth": (tables.growth, ("benchmark_growth",)),
        "quality": (tables.time_to_quality, ("time_to_quality",)),
    },
}


def collect() -> list[Path]:
    """Copies metrics.json of the newest good runs into runs/results, with machine, versions, seed and date; and figures."""
    written = []
    for name, (task, figure) in FIGURES.items():
        try:
            write(PICTURES / name, (_whole(task) / "figures" / figure).read_bytes())
        except (InputError, FileNotFoundError) as error:
            print(f"{name}: left as it is, {error}", file=sys.stderr)
    for name, task in COLLECTED.items():
        try:
            run = _whole(task)
        except (InputError, FileNotFoundError, KeyError) as error:
            print(f"{name}: left as it is, {error}", file=sys.stderr)
            continue
        manifest, state = read(run / "manifest.json"), runs.status(run)
        about = {
            "task": task, "date": state["started"][:10], "cores": manifest.get("threads", os.cpu_count()), "device": manifest["device"],
            "machine": f"{platform.system()} {platform.machine()}", "versions": manifest["versions"],
        }  # fmt: skip
        if (run / "timings.json").is_file():
            about["timings"] = read(run / "timings.json")
        write(RESULTS / f"{name}.json", about | {"metrics": read(run / "metrics.json")})
        written.append(RESULTS / f"{name}.json")
    return written


def _whole(task: str) -> Path:
    """The newest good run of a task; InputError if it, or a run that it is about, was a quick one."""
    run = runs.find(task)
    waiting = [run]
    while waiting:
        seen = waiting.pop()
        if read(seen / "task.json")["parameters"].get("quick"):
            raise InputError(f"run {run}", f"{seen.parent.name} was run at tiny sizes (quick)")
        inputs = [Path(about["path"]) for about in read(seen / "manifest.json").get("inputs", ())]
        waiting += [path for path in inputs if (path / "task.json").is_file()]
    return run


def generate(page: str, text: str) -> str:
    """The text of a page of PAGES with every table replaced by what runs/results gives; InputError if a marker is missing."""
    for name, (table, sources) in PAGES[page].items():
        marker = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end {name} -->)", re.S)
        if not marker.search(text):
            raise InputError(page, f"no markers <!-- {name} --> … <!-- end {name} -->")
        files = [RESULTS / f"{source}.json" for source in sources]
        known = all(file.exists() for file in files)
        content = table(*map(read, files)) if known else "Not measured yet; `make reproduce` fills this in."
        text = marker.sub(lambda found, content=content: f"{found[1]}{content}\n{found[2]}", text)
    return text


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tools.readme", description=__doc__)
    parser.add_argument("--collect", action="store_true", help="take the results from the newest good runs first")
    if parser.parse_args().collect:
        collect()
    for page in PAGES:
        write(ROOT / page, generate(page, (ROOT / page).read_text(encoding="utf-8")))
