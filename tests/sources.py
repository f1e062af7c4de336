"""The project's own code, for tests that forbid a way of writing it."""

import json

from lib import ROOT


def sources(*without: str) -> dict[str, str]:
    """Every module of lib and tools but those named, and every notebook's code in one piece."""
    paths = sorted(p for folder in ("lib", "tools") for p in (ROOT / folder).rglob("*.py"))
    texts = {p.relative_to(ROOT).as_posix(): p.read_text(encoding="utf-8") for p in paths}
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        texts[path.name] = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
    return {name: text for name, text in texts.items() if name not in without}
