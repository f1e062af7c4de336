"""README's one table: what each of the five systems reaches on the sample data, from the files of runs/results."""

from tools.tables import Result, mean_over_people, people, table, unique

UNTRAINED = (
    "GRAPPA",
    "CG-SENSE",
    "TV-SENSE",
    "sliding window",
    "temporal median",
)  # neither trained nor given the true coil maps
SEGMENTED = {  # task: what it finds, its network, and what it is tested on
    "train_hippocampus_slices": ("Hippocampus in MR slices", "UNet2D", "10 other volumes"),
    "train_ventricle": ("Left ventricle, cavity and wall", "UNet2D", "another patient"),
    "train_cavity": ("Left ventricle, cavity", "ResUNet", "another patient"),
    "train_hippocampus": ("Hippocampus in MR volumes", "VolumeUNet", "10 other volumes"),
}


def summary(
    demo: Result, raw: Result, cine: Result, cascade: Result, segmentation2d: Result, segmentation3d: Result
) -> str:
    """A row per task: the best method without training beside one network, or the Dice of each class."""
    rows = [_brains("Genuine raw brains", raw, "SenseUNet", "other people; methods were chosen on them")]
    rows += [_brains("Simulated k-space of brains", demo, "VarNet, SenseUNet")]
    rows += [_brains("The same, challenge cascade", cascade, "VarNet + RCAN + GRAPPA")]
    rows += _hearts(cine, "UNet2D1D")
    for result in (segmentation2d, segmentation3d):
        scores = result["metrics"]["classes"]
        rows += [_labels(task, scores[task]) for task in scores if task in SEGMENTED]
    results = (demo, raw, cine, cascade, segmentation2d, segmentation3d)
    dates, cores = (sorted({r[key] for r in results}) for key in ("date", "cores"))
    head = ["task", "tested on", "best method without training", "network"]
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    on = f"{' or '.join(map(str, cores))} {'core' if cores == [1] else 'cores'}, {demo['device']}"
    return f"{table(head, rows, words=4)}\n\n*Sample data.* Measured {when} on {on}."


def _brains(title: str, result: Result, networks: str, about: str = "other people") -> list[str]:
    """The highest acceleration, means over people; `networks` are parted by commas."""
    rows = result["metrics"]["persons"]
    rows = [row for row in rows if row["acceleration"] == max(unique(rows, "acceleration"))]
    tested = f"{len(unique(rows, 'person'))} {about}"
    return [f"{title}, {rows[0]['achieved']:.2f}× undersampled", tested, *_scores(rows, networks)]


def _hearts(result: Result, network: str) -> list[list[str]]:
    lines = []
    for group in unique(result["metrics"]["persons"], "group"):
        rows = [row for row in result["metrics"]["persons"] if row["group"] == group]
        title = f"Beating hearts, {rows[0]['achieved']:.1f}× undersampled"
        lines.append(
            [title, f"{group} ({people([row for row in rows if row['method'] == network])})", *_scores(rows, network)]
        )
    return lines


def _scores(rows: list[Result], networks: str) -> list[str]:
    """The untrained method with the best SSIM, and the networks: means over people."""

    def told(method: str) -> str:
        ssim, psnr = (mean_over_people([r for r in rows if r["method"] == method], key) for key in ("ssim", "psnr"))
        return f"{method}: SSIM {ssim:.3f}, {psnr:.1f} dB"

    known = [m for m in UNTRAINED if m in unique(rows, "method")]
    best = max(known, key=lambda m: mean_over_people([r for r in rows if r["method"] == m], "ssim"))
    return [told(best), "; ".join(map(told, networks.split(", ")))]


def _labels(task: str, scores: Result) -> list[str]:
    title, network, tested = SEGMENTED[task]
    dice = ", ".join(f"{r['dice']:.2f} {name}" for name, r in list(scores.items())[1:])
    return [title, tested, "–", f"{network}: Dice {dice}"]
