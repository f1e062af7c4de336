"""python -m tools.reproduce: runs every recipe whose results are committed, then rewrites the README's tables.

What stands before: how long each takes, from the comment at its head.
"""

import re
import subprocess
import sys
from pathlib import Path

from lib import ROOT, InputError

RECIPES = (
    "demo", "kspace", "cine", "cine_ablation", "cascade", "segmentation2d", "segmentation3d", "benchmark",
)  # fmt: skip


def minutes(recipe: Path) -> int:
    """How long a recipe says that it takes; InputError where its comment doesn't."""
    head = " ".join(line.lstrip("# ") for line in recipe.read_text(encoding="utf-8").splitlines()[:4])
    found = re.search(r"about (\d+) minutes", head, re.I)
    if not found:
        raise InputError(f"{recipe}: its comment doesn't say `about N minutes`")
    return int(found[1])


def main(folder: Path = ROOT / "runs") -> int:
    """The number of recipes that failed; each is run, whatever became of those before it."""
    planned = {folder / f"{name}.yaml": minutes(folder / f"{name}.yaml") for name in RECIPES}
    for recipe, needed in planned.items():
        print(f"{recipe.name:22} {needed:4} minutes")
    print(f"{'all, on two CPU cores':22} {sum(planned.values()):4} minutes\n", flush=True)
    failed = [r.name for r in planned if subprocess.run([sys.executable, "-m", "lib", str(r)], cwd=ROOT).returncode]
    written = subprocess.run([sys.executable, "-m", "tools.readme", "--collect"], cwd=ROOT).returncode == 0
    print(f"failed: {', '.join(failed)}" if failed else "all recipes ended well")
    print("README.md has the new results" if written else "README.md is as it was")
    return len(failed) + (not written)


if __name__ == "__main__":
    sys.exit(main())
