"""python -m tools.readme: writes the README's tables from runs/results; --collect first takes those from the newest runs.

A table stands between `<!-- NAME -->` and `<!-- end NAME -->`; NAME is a key of TABLES.
"""

import argparse
import os
import platform
import re
import sys
from pathlib import Path
from typing import Any

from lib import ROOT, InputError, runs
from lib.files import read, write

RESULTS = ROOT / "runs" / "results"
COLLECTED = {  # file in runs/results: the task whose newest good run it comes from
    "demo": "evaluate_reconstruction",
    "kspace": "evaluate_accelerations",
    "phantom": "evaluate_phantom",
    "cine": "evaluate_cine",
    "cine_ablation": "evaluate_cine_ablation",
    "cascade": "evaluate_cascade",
    "segmentation2d": "evaluate_segmentation",
    "segmentation3d": "evaluate_volumes",
    "benchmark": "benchmark",
    "benchmark_cascade": "benchmark_cascade",
    "benchmark_volumes": "benchmark_volumes",
}


FIGURES = {  # picture in docs: the task and figure that it is
    "first_look.png": ("overview", "first_look.png"),
    "ssim.png": ("evaluate_reconstruction", "ssim_4x.png"),
    "worst_slice.png": ("evaluate_reconstruction", "worst_slice.png"),
    "cascade.png": ("evaluate_cascade", "ladder_8x.png"),
    "segmentation_brain.png": ("evaluate_segmentation", "train_brain_median.png"),
    "segmentation_volumes.png": ("evaluate_volumes", "train_volumes_volume-abdomen_b_planes.png"),
    "volume_parts.png": ("benchmark_volumes", "memory.png"),
    "segmentation_pairs.png": ("train_pairs", "segmentation.png"),
    "cine.png": ("evaluate_cine", "over_time_heart_cine.png"),
}


def collect() -> list[Path]:
    """Copies metrics.json of the newest good runs into runs/results, with machine, versions, seed and date; and figures."""
    written = []
    for name, (task, figure) in FIGURES.items():
        try:
            write(ROOT / "docs" / name, (runs.find(task) / "figures" / figure).read_bytes())
        except (InputError, FileNotFoundError) as error:
            print(f"docs/{name}: left as it is, {error}", file=sys.stderr)
    for name, task in COLLECTED.items():
        try:
            run = runs.find(task)
        except InputError as error:
            print(f"{name}: left as it is, {error}", file=sys.stderr)
            continue
        manifest, state = read(run / "manifest.json"), runs.status(run)
        about = {
            "task": task, "date": state["started"][:10], "cores": os.cpu_count(), "device": manifest["device"],
            "machine": f"{platform.system()} {platform.machine()}", "versions": manifest["versions"],
        }  # fmt: skip
        if (run / "timings.json").is_file():
            about["timings"] = read(run / "timings.json")
        write(RESULTS / f"{name}.json", about | {"metrics": read(run / "metrics.json")})
        written.append(RESULTS / f"{name}.json")
    return written


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _about(result: dict[str, Any]) -> str:
    torch = result["versions"].get("torch", "?")
    return f"Measured on {result['date']}, {result['machine']}, {result['cores']} cores, {result['device']}, torch {torch}."


def _by_person(result: dict[str, Any]) -> str:
    rows = result["metrics"]["persons"]
    people, methods = (list(dict.fromkeys(r[k] for r in rows)) for k in ("person", "method"))
    cells = {(r["method"], r["person"]): f"{r['ssim']:.3f} / {r['psnr']:.1f}" for r in rows}
    table = [[m, *(cells.get((m, p), "n/a") for p in people)] for m in methods]
    achieved = rows[0]["achieved"]
    head = [f"SSIM / PSNR (dB) at {achieved:.2f}× achieved", *people]
    return f"{_table(head, table)}\n\n*Sample data.* {_about(result)}"


def _lesions(result: dict[str, Any]) -> str:
    lesions = result["metrics"]["lesions"]
    rows = [[name, *(f"{lesions[case][name]:.3f}" for case in lesions)] for name in next(iter(lesions.values()))]
    return _table(["lesion's contrast against its rim", *lesions], rows)


def _by_acceleration(result: dict[str, Any]) -> str:
    recorded = _means(result, "mean over people, against the recorded target", "ssim", "psnr")
    noise_free = _means(
        result, "the same, foreground, noise-free truth", "ssim_noise_free_foreground", "psnr_noise_free_foreground"
    )
    return f"SSIM / PSNR (dB):\n\n{recorded}\n\n{noise_free}\n\n*Sample data.* {_about(result)}"


def _means(result: dict[str, Any], title: str, *keys: str) -> str:
    """Means over people, a row a method, a column a nominal acceleration, named by the mean of what it achieved."""
    rows = result["metrics"]["persons"]
    methods, rates = (list(dict.fromkeys(r[k] for r in rows)) for k in ("method", "acceleration"))

    def mean(key: str, rate: float, method: str | None = None) -> float:
        part = [r[key] for r in rows if r["acceleration"] == rate and method in (None, r["method"])]
        return sum(part) / len(part) if part else float("nan")

    table = [[m, *(f"{mean(keys[0], rate, m):.3f} / {mean(keys[1], rate, m):.1f}" for rate in rates)] for m in methods]
    return _table([title, *(f"{mean('achieved', rate):.2f}× achieved (R {rate})" for rate in rates)], table)


def _by_kind(result: dict[str, Any]) -> str:
    """Means over series, a row a method, a column a kind of heart."""
    rows = result["metrics"]["persons"]
    methods, kinds = (list(dict.fromkeys(r[k] for r in rows)) for k in ("method", "group"))
    parts = {(m, k): [r for r in rows if (r["method"], r["group"]) == (m, k)] for m in methods for k in kinds}
    keys = {"ssim": ".3f", "psnr": ".1f", "ssim3d": ".3f", "nrmse": ".3f"}

    def cell(part: list[dict[str, Any]]) -> str:
        return " / ".join(f"{sum(r[key] for r in part) / len(part):{style}}" for key, style in keys.items())

    table = [[m, *(cell(parts[m, k]) for k in kinds)] for m in methods]
    head = ["SSIM / PSNR (dB) / SSIM 3-D / NRMSE", *(f"{k} (n = {len(parts[methods[0], k])})" for k in kinds)]
    sampled = f"{rows[0]['achieved']:.1f}× achieved (nominal {rows[0]['acceleration']:g}×)"
    return f"{_table(head, table)}\n\n*Sample data*, {sampled}. {_about(result)}"


def _ranking(result: dict[str, Any]) -> str:
    ranking, needed = result["metrics"]["ranking"], result["metrics"]["published_size_GiB"]
    head = ["network, by SSIM", "SSIM", "PSNR", "parameters", "training, min", "training, peak MiB"]
    head += ["a step at published size, GiB", "with checkpointing"]
    rows = []
    for name, r in ranking.items():
        line = [name, f"{r['ssim']:.3f}", f"{r['psnr']:.1f}", f"{r['parameters']:,.0f}", f"{r['training, min']:.1f}"]
        line += [f"{r['training, peak MiB']:.0f}"]
        rows.append(line + [f"{sum(needed[n].values()):.2f}" for n in (name, f"{name}, checkpointing")])
    return _table(head, rows)


def _ladder(result: dict[str, Any]) -> str:
    """A table an acceleration: each step's scores, its gain over the one before with the interval, and its cost."""
    tables, timings = [], result["timings"]
    for nominal in dict.fromkeys(step["acceleration"] for step in result["metrics"]["ladder"]):
        steps = [step for step in result["metrics"]["ladder"] if step["acceleration"] == nominal]
        rows = []
        for step in steps:
            gain, method = "", step["method"]
            if step["ssim"] is None:
                rows.append([method, *["n/a"] * 7])
                continue
            if step["gain"] is not None:
                gain = f"{step['gain']:+.4f} ({step['low']:+.4f} … {step['high']:+.4f})"
            line = [method, f"{step['ssim']:.4f} / {step['ssim_foreground']:.4f} / {step['psnr']:.2f}", gain]
            line += [f"{step['helps']}, for {step['people']} people" if gain else ""]
            line += [f"{timings['seconds_a_slice'][method]:.3f}", f"{timings['bytes_held'][method] / 2**20:.0f}"]
            trained = timings["training"].get(method, {})
            known = [trained.get(key) for key in ("training, min", "training, peak MiB")]
            rows.append([*line, *("" if value is None else f"{value:.0f}" for value in known)])
        head = [
            f"{next(s['achieved'] for s in steps if s.get('achieved')):.2f}× achieved (nominal {nominal}×)",
            "SSIM / SSIM foreground / PSNR",
            "gain in SSIM",
        ]
        head += ["helps", "s a slice", "MiB held", "training, min", "training, peak MiB"]
        tables.append(_table(head, rows))
    tables.append(f"*Sample data.* {_about(result)}")
    return "\n\n".join(tables)


def _classes(result: dict[str, Any]) -> str:
    """A row a run and class but the background; before the lesions' mean a row a person, the real tumour first."""
    rows = []
    for task, table in result["metrics"]["classes"].items():
        persons = result["metrics"]["persons"][task].items()
        if len(table) == 2:  # lesions: the real ones first, by person
            for case, r in sorted(persons, key=lambda item: "REAL" not in item[0]):
                rows.append([f"{case} (n = {r['slices']} slices)", f"{r['lesion']:.3f}", "", "", ""])
        for name, r in list(table.items())[1:]:
            distance = "n/a" if r["hausdorff95"] is None else f"{r['hausdorff95']:.1f}"
            line = [
                f"{task.removeprefix('train_')}: {name}",
                f"{r['dice']:.3f} ({r['low']:.3f} … {r['high']:.3f})",
                distance,
            ]
            rows.append([*line, str(r["missed"]), f"{100 * r['both empty']:.0f} %"])
    head = [
        "held out",
        "Dice (interval over slices)",
        "Hausdorff 95, mm",
        "slices (volumes) with one only",
        "with neither",
    ]
    return f"{_table(head, rows)}\n\n*Sample data.* {_about(result)}"


def _memory(result: dict[str, Any]) -> str:
    steps, speed = result["metrics"]["steps"], result["metrics"]["samples_a_second"]
    plain = steps["without checkpointing"]["bytes"]
    rows = [
        [n, f"{s['bytes'] / 2**20:.0f}", f"{s['bytes'] / plain:.2f}", f"{s['seconds']:.1f}"] for n, s in steps.items()
    ]
    table = _table(["a training step", "MiB", "of the plain step", "s"], rows)
    read_speed = "; ".join(f"{workers} workers {rate:.0f}" for workers, rate in speed.items())
    return f"{table}\n\nSamples read a second: {read_speed}. {_about(result)}"


def _parts(result: dict[str, Any]) -> str:
    """A row a number of processes that share a volume; then bf16 against fp32."""
    steps, about = result["metrics"]["steps"], result["metrics"]["about"]
    one, largest = steps["1"]["saved"], result["metrics"]["largest"]
    rows = []
    for n, s in steps.items():
        held = about["held_GiB"][f"{n}, {about['size']}"]
        line = [n, f"{s['saved'] / 2**20:.0f}", f"{s['saved'] / one:.3f}", f"{held * 1024:.0f}"]
        rows.append([*line, f"{s['seconds']:.1f}", f"{largest[n]}³" if n in largest else "none"])
    limit = about["limit_GiB"]
    head = ["processes", "kept for the backward pass, MiB each", "of one", "held in all, MiB each", "s a step"]
    table = _table([*head, f"largest cube within {limit:g} GiB each"], rows)
    words = "; ".join(
        f"{name} {p['seconds a step']:.2f} s a step (convolutions ran in {p['ran']}), smoothed loss at the end {p['last loss']:.3f}"
        for name, p in result["metrics"]["precision"].items()
    )
    cubes = ", ".join(f"{side}³" for side in about["sizes"])
    text = f"A {about['size']}³ volume, base {about['base_filters']}, depth 4; cubes tried: {cubes}. Precision, validation included: {words}."
    return f"{table}\n\n{text} {_about(result)}"


def _speed(result: dict[str, Any]) -> str:
    rows = result["metrics"]["results"]
    table = [
        [name, f"{r['ratio']:.1f}", f"{r['ratio_min']:.1f} … {r['ratio_max']:.1f}", f"{r['ours_seconds']:.3g}"]
        for name, r in rows.items()
    ]
    ssim = "; ".join(f"{name} {value:.3f}" for name, value in result["metrics"]["ssim"].items())
    head = ["ours against the peer", "times as fast (median)", "range of pairs", "ours, s"]
    return f"{_table(head, table)}\n\nGRAPPA's SSIM on that slice: {ssim}. {_about(result)}"


TABLES = {
    "demo": _by_person,
    "lesions": _lesions,
    "kspace": _by_acceleration,
    "phantom": _by_person,
    "cine": _by_kind,
    "cine_ranking": _ranking,
    "cine_ablation": _by_kind,
    "cascade": _ladder,
    "segmentation2d": _classes,
    "segmentation3d": _classes,
    "benchmark": _speed,
    "benchmark_cascade": _memory,
    "benchmark_volumes": _parts,
}


SOURCE = {"lesions": "demo", "cine_ranking": "cine"}  # tables that share a file of results


def generate(text: str) -> str:
    """README text with every table replaced by the one that runs/results gives; InputError where a marker is missing."""
    for name, table in TABLES.items():
        marker = re.compile(rf"(<!-- {name} -->\n).*?(\n<!-- end {name} -->)", re.S)
        if not marker.search(text):
            raise InputError(f"README.md: no markers <!-- {name} --> … <!-- end {name} -->")
        result = RESULTS / f"{SOURCE.get(name, name)}.json"
        content = table(read(result)) if result.exists() else "Not measured yet; `make reproduce` fills this in."
        text = marker.sub(lambda found, content=content: found[1] + content + found[2], text)
    return text


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tools.readme", description=__doc__)
    parser.add_argument("--collect", action="store_true", help="take the results from the newest good runs first")
    if parser.parse_args().collect:
        collect()
    path = ROOT / "README.md"
    write(path, generate(path.read_text(encoding="utf-8")))
