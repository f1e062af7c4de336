"""The tables of docs, each made from what a run wrote into runs/results: markdown, with what was measured where."""

import statistics
from collections.abc import Iterable
from typing import Any

from lib.text import pluralize

Result = dict[str, Any]  # a file of runs/results


def table(head: list[str], rows: list[list[str]], words: int = 1) -> str:
    """A markdown table.

    Parameters
    ----------
    head : names of the columns
    rows : texts of the cells
    words : the first columns that are text; the others are numbers
    """
    lines = [head, ["---"] * words + ["---:"] * (len(head) - words), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def measured(result: Result) -> str:
    """When and where a result was measured, in a sentence."""
    torch = result["versions"].get("torch", "?")
    cores = pluralize(result["cores"], "core")
    return f"Measured on {result['date']}, {result['machine']}, {cores}, {result['device']}, torch {torch}."


def unique(rows: list[Result], key: str) -> list[Any]:
    """The different values of `key`, in the rows' order."""
    return list(dict.fromkeys(row[key] for row in rows))


def mean(rows: Iterable[Result], key: str) -> float:
    """The mean over rows; NaN if there are none."""
    values = [row[key] for row in rows]
    return sum(values) / len(values) if values else float("nan")


def mean_over_people(rows: list[Result], key: str) -> float:
    """The mean over people of the mean over each one's rows."""
    each = (mean((row for row in rows if row["person"] == person), key) for person in unique(rows, "person"))
    return mean(({key: value} for value in each), key)


def people(rows: list[Result]) -> str:
    """How many people one method's rows are of, and how many slices if some have several."""
    count = len(unique(rows, "person"))
    return f"n = {count}" + f", {len(rows)} slices" * (len(rows) > count)


# Reconstruction


def by_person(result: Result) -> str:
    """A column per person, of several files their mean."""
    rows = result["metrics"]["persons"]
    people, scores = unique(rows, "person"), {}
    for row in rows:
        scores.setdefault((row["method"], row["person"]), []).append((row["ssim"], row["psnr"]))
    cells = {
        key: "{:.3f} / {:.1f}".format(*(sum(v) / len(v) for v in zip(*each, strict=True)))
        for key, each in scores.items()
    }
    lines = [[method, *(cells.get((method, p), "n/a") for p in people)] for method in unique(rows, "method")]
    head = [f"SSIM / PSNR (dB) at {rows[0]['achieved']:.2f}× achieved", *people]
    return f"{table(head, lines)}\n\n*Sample data.* {measured(result)}"


def lesions(result: Result) -> str:
    """The contrast of each lesion that every method keeps, and which method comes closest to the truth."""
    cases = result["metrics"]["lesions"]
    names = list(next(iter(cases.values())))
    rows = [[name, *(f"{case[name]:.3f}" for case in cases.values())] for name in names]
    closest = {}
    for name, case in cases.items():
        errors = {method: abs(value - case["truth"]) for method, value in case.items() if method != "truth"}
        closest[name] = min(errors, key=errors.get, default="none")
    words = ", ".join(f"{method} for {name}" for name, method in closest.items())
    return f"{table(['contrast of the lesion against its rim', *cases], rows)}\n\nClosest to the truth: {words}."


def by_acceleration(result: Result) -> str:
    """Means over people, a column per nominal acceleration, against both targets, and what comes closest to the truth."""
    noise_free = ("ssim_noise_free_foreground", "psnr_noise_free_foreground")
    recorded = _means(result, "mean over people, against the recorded image", "ssim", "psnr")
    truth = _means(result, "mean over people, foreground only, against the noise-free truth", *noise_free)
    rows, closest = result["metrics"]["persons"], {}
    for rate in unique(rows, "acceleration"):
        scores = {m: _at(rows, rate, noise_free[0], m) for m in unique(rows, "method")}
        closest.setdefault(max(scores, key=scores.get), []).append(f"R {rate}")
    words = "; ".join(f"{method} at {', '.join(rates)}" for method, rates in closest.items())
    return (
        f"SSIM / PSNR (dB):\n\n{recorded}\n\n{truth}\n\nHighest SSIM against the noise-free truth: {words}.\n\n"
        f"*Sample data.* {measured(result)}"
    )


def raw(result: Result) -> str:
    """Of each method and acceleration the means over files, and on how many of them, and how much, it is nearer than GRAPPA."""
    rows = result["metrics"]["persons"]
    files, rates, methods = (unique(rows, key) for key in ("case", "acceleration", "method"))
    psnr = {(r["method"], r["acceleration"], r["case"]): r["psnr"] for r in rows}
    lines = []
    for method, rate in ((m, a) for a in rates for m in methods):
        part = [r for r in rows if (r["method"], r["acceleration"]) == (method, rate)]
        if not part:
            continue
        line = [
            f"R {rate} ({part[0]['achieved']:.2f}×)",
            method,
            f"{mean(part, 'ssim'):.3f}",
            f"{mean(part, 'psnr'):.1f}",
        ]
        gains = [psnr[method, rate, f] - psnr["GRAPPA", rate, f] for f in files if (method, rate, f) in psnr]
        lines.append([*line, f"{mean(part, 'nmse'):.4f}", f"{min(gains):+.1f} … {max(gains):+.1f}".replace("-", "−")])
    head = ["", "means over files", "SSIM", "PSNR, dB", "NMSE", "PSNR against GRAPPA's, worst … best file, dB"]
    names = dict.fromkeys(r["case"].removesuffix(f" {r['acceleration']}x") for r in rows)
    return f"{table(head, lines, words=2)}\n\nFiles: {', '.join(names)}. *Sample data*, genuine raw scans. {measured(result)}"


def _at(rows: list[Result], rate: float, key: str, method: str | None = None) -> float:
    return mean((r for r in rows if r["acceleration"] == rate and method in (None, r["method"])), key)


def _means(result: Result, title: str, ssim: str, psnr: str) -> str:
    rows = result["metrics"]["persons"]
    rates, lines = unique(rows, "acceleration"), []
    for method in unique(rows, "method"):
        scores = (f"{_at(rows, rate, ssim, method):.3f} / {_at(rows, rate, psnr, method):.1f}" for rate in rates)
        lines.append([method, *scores])
    return table([title, *(f"{_at(rows, rate, 'achieved'):.2f}× achieved (R {rate})" for rate in rates)], lines)


def by_kind(result: Result) -> str:
    """Means over people, a column per kind of heart; a person's slices count as one."""
    rows = result["metrics"]["persons"]
    methods, kinds = unique(rows, "method"), unique(rows, "group")
    parts = {(m, k): [r for r in rows if (r["method"], r["group"]) == (m, k)] for m in methods for k in kinds}
    keys = {"ssim": ".3f", "psnr": ".1f", "ssim3d": ".3f", "nrmse": ".3f"}

    def cell(part: list[Result]) -> str:
        return " / ".join(f"{mean_over_people(part, key):{style}}" for key, style in keys.items())

    lines = [[m, *(cell(parts[m, k]) for k in kinds)] for m in methods]
    head = ["SSIM / PSNR (dB) / SSIM 3D / NRMSE", *(f"{k} ({people(parts[methods[0], k])})" for k in kinds)]
    sampled = f"{rows[0]['achieved']:.1f}× achieved (nominal {rows[0]['acceleration']:g}×)"
    return f"{table(head, lines)}\n\n*Sample data*, {sampled}. {measured(result)}"


def ranking(result: Result) -> str:
    """The cine networks by SSIM, with what their training costs."""
    head = ["network", "SSIM", "PSNR", "parameters", "training, min", "training, peak MiB"]
    head += ["one step at published size, GiB", "with checkpointing, GiB"]
    needed, rows = result["metrics"]["published_size_GiB"], []
    for name, r in result["metrics"]["ranking"].items():
        line = [name, f"{r['ssim']:.3f}", f"{r['psnr']:.1f}", f"{r['parameters']:,.0f}", f"{r['training, min']:.1f}"]
        line += [f"{r['training, peak MiB']:.0f}"]
        rows.append(line + [f"{sum(needed[n].values()):.2f}" for n in (name, f"{name}, checkpointing")])
    return table(head, rows)


def ladder(result: Result) -> str:
    """A table per acceleration: each step's scores, its gain over the step above with the interval, and its cost."""
    tables, timings = [], result["timings"]
    for nominal in unique(result["metrics"]["ladder"], "acceleration"):
        steps = [step for step in result["metrics"]["ladder"] if step["acceleration"] == nominal]
        achieved = next(step["achieved"] for step in steps if step.get("achieved"))
        head = [f"{achieved:.2f}× achieved (nominal {nominal}×)", "SSIM / SSIM foreground / PSNR", "gain in SSIM"]
        head += ["helps", "s per slice", "memory, MiB", "training, min", "training, peak MiB"]
        tables.append(table(head, [_step(step, timings) for step in steps]))
    tables.append(f"*Sample data.* {measured(result)}")
    return "\n\n".join(tables)


def _step(step: Result, timings: Result) -> list[str]:
    method = step["method"]
    if step["ssim"] is None:
        return [method, *["n/a"] * 7]
    line = [method, f"{step['ssim']:.4f} / {step['ssim_foreground']:.4f} / {step['psnr']:.2f}"]
    if step["gain"] is None:
        line += ["", ""]
    else:
        line += [f"{step['gain']:+.4f} ({step['low']:+.4f} … {step['high']:+.4f})"]
        line += [f"{step['helps']}, for {step['people']} people"]
    line += [f"{timings['seconds_a_slice'][method]:.3f}", f"{timings['bytes_held'][method] / 2**20:.0f}"]
    trained = timings["training"].get(method, {})
    known = [trained.get(key) for key in ("training, min", "training, peak MiB")]
    return [*line, *("" if value is None else f"{value:.0f}" for value in known)]


# Segmentation


def classes(result: Result) -> str:
    """A row per run and class except the background; before the mean of a single class, a row per person."""
    rows = []
    for task, scores in result["metrics"]["classes"].items():
        persons = result["metrics"]["persons"][task]
        if len(scores) == 2 and len(persons) > 1:
            found = [*scores][1]
            for case, r in persons.items():
                rows.append([f"{case} (n = {r['slices']} slices)", f"{r[found]:.3f}", "", "", ""])
        for name, r in list(scores.items())[1:]:
            label = f"{task.removeprefix('train_')}: {name}"
            rows.append([label, *_of_class(r), str(r["missed"]), f"{100 * r['both empty']:.0f} %"])
    head = ["held out", "Dice (interval over slices)", "Hausdorff 95, mm", "in one only", "in neither"]
    return f"{table(head, rows)}\n\n*Sample data.* {measured(result)}"


def over_runs(result: Result) -> str:
    """A row per run, which is tested on one person, for a task of one class; then mean and standard deviation."""
    rows, dices = [], []
    for task, persons in result["metrics"]["persons"].items():
        (found, r) = [*result["metrics"]["classes"][task].items()][1]
        (person,) = persons
        rows.append([f"{person}: {found}", *_of_class(r)])
        dices.append(r["dice"])
    rows.append(["mean ± standard deviation", f"{statistics.mean(dices):.3f} ± {statistics.stdev(dices):.3f}", ""])
    head = ["tested on", "Dice (interval over slices)", "Hausdorff 95, mm"]
    return f"{table(head, rows)}\n\n*Sample data.* {measured(result)}"


def _of_class(score: Result) -> list[str]:
    """Dice with its interval, and the Hausdorff distance."""
    distance = "n/a" if score["hausdorff95"] is None else f"{score['hausdorff95']:.1f}"
    return [f"{score['dice']:.3f} ({score['low']:.3f} … {score['high']:.3f})", distance]


# Speed and memory


def memory(result: Result) -> str:
    """What a training step of the cascade holds, and how quickly samples are read."""
    steps, speed = result["metrics"]["steps"], result["metrics"]["samples_a_second"]
    plain, rows = steps["without checkpointing"]["bytes"], []
    for name, s in steps.items():
        rows.append([name, f"{s['bytes'] / 2**20:.0f}", f"{s['bytes'] / plain:.2f}", f"{s['seconds']:.1f}"])
    rates = ", ".join(f"{rate:.0f} with {n} {'worker' if n == '1' else 'workers'}" for n, rate in speed.items())
    head = ["one training step", "MiB", "share of the plain step", "s"]
    return f"{table(head, rows)}\n\nSamples read per second: {rates}. {measured(result)}"


def parts(result: Result) -> str:
    """A row per number of processes that share a volume; then bf16 against fp32."""
    metrics, about, rows = result["metrics"], result["metrics"]["about"], []
    for n, s in metrics["steps"].items():
        peak = about["held_GiB"][f"{n}, {about['size']}"]
        share = s["saved"] / metrics["steps"]["1"]["saved"]
        line = [n, f"{s['saved'] / 2**20:.0f}", f"{share:.3f}", f"{peak * 1024:.0f}", f"{s['seconds']:.1f}"]
        rows.append([*line, f"{metrics['largest'][n]}³" if n in metrics["largest"] else "none"])
    head = ["processes", "saved for the backward pass, MiB each", "share of one process", "peak, MiB each"]
    head += ["s per step", f"largest cube within {about['limit_GiB']:g} GiB each"]
    words = "; ".join(
        f"{name} {p['seconds a step']:.2f} s per step (convolutions ran in {p['ran']}), final smoothed loss {p['last loss']:.3f}"
        for name, p in metrics["precision"].items()
    )
    cubes = ", ".join(f"{side}³" for side in about["sizes"])
    text = f"A volume of {about['size']}³, {about['base_filters']} base filters, depth 4; cubes tried: {cubes}."
    return f"{table(head, rows)}\n\n{text} Precision, validation included: {words}. {measured(result)}"


def speed(result: Result) -> str:
    """Ours against the peers, pair by pair, what was asked for, and how well GRAPPA does."""
    rows, found = [], result["metrics"]
    for name, r in found["results"].items():
        spread = f"{r['ratio_min']:.1f} … {r['ratio_max']:.1f}" if r["pairs"] > 1 else "one pair"
        apart = r.get("difference")
        equal = f"{apart:.0e}" if apart is not None and apart == apart else "–"
        rows.append([name, _times(r["ratio"]), _times(r["asked"]), spread, f"{r['ours_seconds']:.3g}", equal])
    head = ["ours against the peer", "times as fast (median)", "asked", "range of pairs", "ours, s", "results apart"]
    ssim = "; ".join(f"{name} {value:.3f}" for name, value in found["ssim"].items())
    noise = [[level, *(f"{v:.2g}" for v in errors.values())] for level, errors in found["noise"].items()]
    errors = table(["noise", *next(iter(found["noise"].values()))], noise)
    about = "; ".join(f"{name} {value:.2f}" for name, value in found["about"].items())
    below = f"GRAPPA's SSIM on that slice: {ssim}. Its NMSE against the noise-free image, by the noise of a sample:"
    return f"{table(head, rows)}\n\n{below}\n\n{errors}\n\n{about}. {measured(result)}"


def cropped(result: Result) -> str:
    """A row per method on an oversampled readout: means over people against both targets, and what each network takes."""
    rows, timings, lines = result["metrics"]["persons"], result["timings"], []
    methods = {method: [row for row in rows if row["method"] == method] for method in unique(rows, "method")}
    for method, part in methods.items():
        recorded = f"{mean_over_people(part, 'ssim'):.3f} / {mean_over_people(part, 'psnr'):.1f}"
        keys = ("ssim_noise_free_foreground", "psnr_noise_free_foreground")
        truth = "{:.3f} / {:.1f}".format(*(mean_over_people(part, key) for key in keys))
        training = timings["training"].get(method, {}).get("training, min")
        lines.append([
            method, recorded, truth, "–" if training is None else f"{training:.1f}",
            f"{timings['seconds_a_slice'][method]:.2g}",
        ])  # fmt: skip
    head = ["mean over people", "SSIM / PSNR (dB)", "against the noise-free truth, foreground"]
    head += ["training, min", "s a slice"]
    return f"{table(head, lines)}\n\n*Sample data*, {people(next(iter(methods.values())))}. {measured(result)}"


def growth(result: Result) -> str:
    """A row per size that grows: how time and memory follow."""
    rows = []
    for name, curve in result["metrics"]["curves"].items():
        size, seconds = curve["size"], curve["seconds"]
        held = curve["memory_exponent"]
        ends = [f"{size[0]:,} … {size[-1]:,}", f"{seconds[0]:.3g} … {seconds[-1]:.3g}"]
        rows.append([name, *ends, f"{curve['time_exponent']:.2f}", "–" if held is None else f"{held:.2f}"])
    head = ["what grows", "sizes", "s", "time's exponent", "memory's exponent"]
    return f"{table(head, rows)}\n\n{measured(result)}"


def time_to_quality(result: Result) -> str:
    """A row per way of training: what it reaches in the same time, and when it reaches the first one's SSIM."""
    found, rows = result["metrics"], []
    whole = found["about"]["seconds"]
    for name, curve in found["curves"].items():
        soon = found["reached"][name]
        when = ["never", "–"] if soon is None else [f"{soon:.0f}", f"{soon / whole:.2f}"]
        rows.append([name, f"{curve['ssim'][-1]:.4f}", f"{curve['steps']:,}", *when])
    head = [f"training of {whole} s", "SSIM at the end", "steps", "the first one's SSIM after, s", "share of its time"]
    return f"{table(head, rows)}\n\n{measured(result)}"


def speed_line(result: Result) -> str:
    """README's paragraph: the ratio of every row."""
    rows = [f"{name} **{_times(r['ratio'])}**" for name, r in result["metrics"]["results"].items()]
    return f"{' · '.join(rows)}. {measured(result)}"


def _times(ratio: float) -> str:
    """A ratio as a person writes it: two digits."""
    return f"{ratio:.0f}" if ratio >= 9.95 else f"{ratio:.1f}" if ratio >= 0.95 else f"{ratio:.2g}"


# What `make soak` tries

SOAK = {  # part: what is tried
    "kills": "recipes killed at a random moment and resumed: the same to the last bit, nothing left behind",
    "fuzz": "damaged files read: taken or refused in a line, within 10 s of computing and 4 GiB",
    "many": "cases prepared, segmented, scored, drawn and viewed in one process",
    "faults": "full and read-only disks, vanished data, killed and hung workers, a killed rank, two starts, a clock that jumps",
}


def withstood(result: Result) -> str:
    """A row per part of `make soak` that has been run."""
    rows = []
    for part, what in SOAK.items():
        if not (found := result.get(part)):
            continue
        growth = ", ".join(f"{key} {100 * value:+.1f} %" for key, value in found.get("growth", {}).items())
        wrong = "; ".join(
            [f"{len(found['wrong'])}", *([f"last quarter against the second: {growth}"] if growth else [])]
        )
        rows.append(
            [what, f"{found['trials']:,}", wrong, f"{found['date']}, {found['machine']}, {found['cores']} cores"]
        )
    return table(["what is tried", "trials", "not as it should be", "measured"], rows, words=4)
