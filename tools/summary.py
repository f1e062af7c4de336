"""README's one table: what each of the five systems reaches on the sample data, from the files of runs/results."""

from tools.tables import Result, mean, table, unique

UNTRAINED = ("GRAPPA", "TV-SENSE", "sliding window", "temporal median")  # neither trained nor given the true coil maps
SEGMENTED = {  # task: what it finds, its network, and whom it is tested on
    "train_brain": ("Tissue in brain slices", "UNet2D", "other slices of the training person"),
    "train_abdomen": ("Organs in CT slices", "UNet2D", "another person, whose kidneys aren't in view"),
    "train_pairs": ("Lesions in brain slices", "ResUNet", "other people"),
    "train_volumes": ("Organs in CT volumes", "VolumeUNet", "another person"),
}


def summary(demo: Result, cine: Result, cascade: Result, segmentation2d: Result, segmentation3d: Result) -> str:
    """A row per task: the best method without training beside one network, or the Dice of each class."""
    rows = [_brains("Brains", demo, "VarNet"), _brains("Brains, challenge cascade", cascade, "VarNet + RCAN + GRAPPA")]
    rows += _hearts(cine, "UNet3D")
    for result in (segmentation2d, segmentation3d):
        rows += [_labels(task, scores) for task, scores in result["metrics"]["classes"].items()]
    dates = sorted({r["date"] for r in (demo, cine, cascade, segmentation2d, segmentation3d)})
    head = ["task", "tested on", "best method without training", "network"]
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    return f"{table(head, rows, words=4)}\n\n*Sample data.* Measured {when} on {demo['cores']} cores, {demo['device']}."


def _brains(title: str, result: Result, network: str) -> list[str]:
    """The highest acceleration, means over people."""
    rows = result["metrics"]["persons"]
    rows = [row for row in rows if row["acceleration"] == max(unique(rows, "acceleration"))]
    tested = f"{len(unique(rows, 'person'))} other people"
    return [f"{title}, {rows[0]['achieved']:.2f}× undersampled", tested, *_scores(rows, network)]


def _hearts(result: Result, network: str) -> list[list[str]]:
    lines = []
    for group in unique(result["metrics"]["persons"], "group"):
        rows = [row for row in result["metrics"]["persons"] if row["group"] == group]
        title = f"Beating hearts, {rows[0]['achieved']:.1f}× undersampled"
        lines.append([title, f"{group} (n = {len(unique(rows, 'person'))})", *_scores(rows, network)])
    return lines


def _scores(rows: list[Result], network: str) -> list[str]:
    """The untrained method with the best SSIM, and the network: means over `rows`."""
    by_method = {m: [r for r in rows if r["method"] == m] for m in (network, *UNTRAINED)}
    best = max((m for m in UNTRAINED if by_method[m]), key=lambda m: mean(by_method[m], "ssim"))
    return [f"{m}: SSIM {mean(by_method[m], 'ssim'):.3f}, {mean(by_method[m], 'psnr'):.1f} dB" for m in (best, network)]


def _labels(task: str, scores: Result) -> list[str]:
    title, network, tested = SEGMENTED[task]
    dice = ", ".join(f"{r['dice']:.2f} {name}" for name, r in list(scores.items())[1:])
    return [title, tested, "–", f"{network}: Dice {dice}"]
