"""What make does, where there is no make: `python tools/make.py demo` (or test, test-all, lab), with nothing installed yet.

Reads the Makefile: the target's own lines, and what it needs before, each done once. Python 3.11 or newer.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUN = ROOT / ".venv" / ("Scripts" if sys.platform == "win32" else "bin") / "python"


def lines_of(target: str, makefile: str) -> tuple[list[str], list[str]]:
    """(what a target needs, its lines) by the Makefile's text, variables filled in."""
    variables = dict(re.findall(r"^(\w+) \??:?= ?(.*)$", makefile, flags=re.MULTILINE))

    def filled(text: str) -> str:
        while match := re.search(r"\$\((\w+)\)", text):
            text = text.replace(match[0], variables[match[1]])
        return text

    for head, needs, body in re.findall(r"^([^\s#:][^:\n]*): ?(.*)\n((?:\t.*\n?)*)", makefile, flags=re.MULTILINE):
        if filled(head) == target:
            return filled(needs).split(), [filled(line.strip()).lstrip("@") for line in body.splitlines()]
    return [], []


def make(target: str, makefile: str) -> None:
    """Brings a target about; SystemExit with the exit code of the line that fails."""
    needs, lines = lines_of(target, makefile)
    path = ROOT / target
    if not lines:
        if not path.exists():
            sys.exit(f"{target}: no such target")
        return
    for need in needs:
        make(need, makefile)
    made = target.startswith(".")
    if made and path.exists() and all((ROOT / n).stat().st_mtime <= path.stat().st_mtime for n in needs):
        return
    for line in lines:
        if line == "touch $@":
            path.touch()
            continue
        print(line, flush=True)
        words = re.findall(r'"[^"]*"|\S+', line)
        words = [word.strip('"') for word in words]
        starts = {".venv/bin/python": str(RUN), "python3": sys.executable}
        code = subprocess.call([starts.get(words[0], words[0]), *words[1:]], cwd=ROOT)
        if code:
            sys.exit(code)


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in ("demo", "test", "test-all", "lab"):
        sys.exit("usage: python tools/make.py demo | test | test-all | lab")
    make(sys.argv[1], (ROOT / "Makefile").read_text(encoding="utf-8"))
