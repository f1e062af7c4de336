"""python tests/soak [--quick] [kills fuzz many faults]: tries what the suite withstands; results in runs/results/soak.json.

Hours; --quick takes minutes and writes nothing. Each part tells what it does; the exit code is how many of its trials went wrong.
"""

import argparse
import collections
import datetime
import os
import platform
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

sys.path[:1] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]

import matplotlib  # noqa: E402

matplotlib.use("Agg")

from lib import ROOT  # noqa: E402
from lib.files import read, write  # noqa: E402
from soak import faults, fuzz, kills, many  # noqa: E402

MOST_GROWTH = 0.05  # of memory and open files, the last quarter of the cases against the second
RESULTS = ROOT / "runs" / "results" / "soak.json"


def _kills(count: int, folder: Path) -> dict[str, object]:
    rows = _told("kills", kills.run(count, folder))
    wrong = [r for r in rows if r["ended"] or r["orphans"] or r["differ"] or r["partial"]]
    return {"trials": len(rows), "wrong": wrong, "recipes": dict(collections.Counter(r["recipe"] for r in rows))}


def _fuzz(count: int, folder: Path) -> dict[str, object]:
    rows = list(fuzz.run(count, folder))
    readers = {
        reader: collections.Counter(r["what"] for r in rows if r["reader"] == reader)
        for reader in dict.fromkeys(r["reader"] for r in rows)
    }
    for reader, counts in readers.items():
        print(f"fuzz · {reader}: {dict(counts)}", flush=True)
    return {"trials": len(rows), "wrong": [r for r in rows if r["what"] not in fuzz.GOOD], "readers": readers}


def _many(count: int, folder: Path) -> dict[str, object]:
    rows = list(many.run(count, folder))
    found = {key: many.growth(rows, key) for key in ("memory", "files")}
    print(f"many · {rows[-1]['cases']} cases: {found}", flush=True)
    return {
        "trials": rows[-1]["cases"],
        "wrong": [{k: v} for k, v in found.items() if v > MOST_GROWTH],
        "growth": found,
    }


def _faults(_: int, folder: Path) -> dict[str, object]:
    rows = _told("faults", faults.run(folder))
    return {"trials": len(rows), "wrong": [r for r in rows if r["seen"] != "as it should be"], "scenarios": rows}


def _told(part: str, rows: Iterable[dict[str, object]]) -> list[dict[str, object]]:
    found = []
    for row in rows:
        found.append(row)
        print(f"{part} {len(found)} · {' · '.join(f'{k} {v}' for k, v in row.items())}", flush=True)
    return found


PARTS = {"kills": (_kills, 40, 2), "fuzz": (_fuzz, 10_000, 130), "many": (_many, 2_000, 48), "faults": (_faults, 8, 8)}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python tests/soak", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few trials of each part, nothing is written")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all where none is named")
    words = parser.parse_args()
    results = read(RESULTS) if RESULTS.exists() else {}
    wrong = 0
    for part in words.parts or PARTS:
        run, *counts = PARTS[part]  # trials: all, quick
        with tempfile.TemporaryDirectory() as place:
            found = run(counts[words.quick], Path(place) / "soak")
        about = {
            "date": f"{datetime.date.today()}",
            "machine": f"{platform.system()} {platform.machine()}",
            "cores": os.cpu_count(),
        }
        results[part] = about | found
        wrong += len(found["wrong"])
        for row in found["wrong"]:
            print(f"{part} · WRONG · {row}", flush=True)
        if not words.quick:
            write(RESULTS, results)
    return min(wrong, 99)


if __name__ == "__main__":
    sys.exit(main())
