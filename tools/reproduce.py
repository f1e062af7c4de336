"""python -m tools.reproduce: runs every recipe whose results are committed, then rewrites the tables of results.

It prints first how long each takes, from the comment at the head of the recipe.
"""

import re
import subprocess
import sys
from pathlib import Path

from lib import ROOT, InputError
from tools.tables import table

RECIPES = {  # name: what it does
    "demo": "VarNet and U-Net for one acceleration, against the untrained methods",
    "kspace": "the same for several accelerations, and a genuine raw scan",
    "generalist": "a network for scans of any kind, on genuine raw scans of brains",
    "tries": "what the network for genuine raw scans was chosen against",
    "cine": "the four cine U-Nets on real and drawn beating hearts",
    "cine_ablation": "what the published head and regularization of the cine networks cost",
    "cascade": "VarNet, GRAPPA and RCAN, step by step",
    "segmentation2d": "the hippocampus and the left ventricle in slices",
    "segmentation3d": "the hippocampus in volumes",
    "learning_curve": "what more training volumes bring",
    "ventricle_leave_one_out": "each of the five hearts tested by a network that never saw it",
    "benchmark": "speed, memory and growth",
    "readout_crop": "what a VarNet gains or loses that keeps only the rows that are looked at",
    "time_to_quality": "how soon a VarNet is good, from fastMRI's recipe to the demo's",
}


def minutes(recipe: Path) -> int:
    """How long a recipe says that it takes; InputError if its comment doesn't."""
    head = " ".join(line.lstrip("# ") for line in recipe.read_text(encoding="utf-8").splitlines()[:4])
    match = re.search(r"about (\d+) minutes", head, re.I)
    if not match:
        raise InputError(recipe, "its comment doesn't say `about N minutes`")
    return int(match[1])


def recipes(folder: Path = ROOT / "runs") -> str:
    """A table of RECIPES with their minutes."""
    rows = [[f"`runs/{name}.yaml`", what, str(minutes(folder / f"{name}.yaml"))] for name, what in RECIPES.items()]
    return table(["recipe", "what it does", "minutes on two CPU cores"], rows, words=2)


def main(folder: Path = ROOT / "runs") -> int:
    """The number of recipes that failed; each is run, whatever became of those before it."""
    planned = {folder / f"{name}.yaml": minutes(folder / f"{name}.yaml") for name in RECIPES}
    for recipe, needed in planned.items():
        print(f"{recipe.name:22} {needed:4} minutes")
    print(f"{'all, on two CPU cores':22} {sum(planned.values()):4} minutes\n", flush=True)
    failed = [r.name for r in planned if subprocess.run([sys.executable, "-m", "lib", str(r)], cwd=ROOT).returncode]
    written = subprocess.run([sys.executable, "-m", "tools.readme", "--collect"], cwd=ROOT).returncode == 0
    print(f"failed: {', '.join(failed)}" if failed else "all recipes ended well")
    print("README.md and docs/results.md have the new results" if written else "the pages are as they were")
    return len(failed) + (not written)


if __name__ == "__main__":
    sys.exit(main())
