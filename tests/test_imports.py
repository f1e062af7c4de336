"""The core loads without the heavy parts, and each library that has a home is imported there only."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

from lib import ROOT

HEAVY = ("fastai", "monai", "onnx", "onnxruntime", "distributed", "IPython", "ipywidgets", "papermill", "matplotlib")


def test_the_core_is_light():
    code = (
        "import sys, lib.kspace, lib.kspace.sampling, lib.kspace.grappa, lib.models\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def imports(source: str, package: tuple[str, ...] = ()) -> set[str]:
    """Full names of all that a module of `package` imports, anywhere in it; `from a import b` counts as a and a.b."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*parents, *([node.module] if node.module else [])])
            names |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return names


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


IMPORTS = {
    path: imports(path.read_text(encoding="utf-8"), path.relative_to(ROOT).parts[:-1])
    for path in sorted((ROOT / "lib").rglob("*.py"))
}


def users(library: str) -> list[str]:
    """Files of lib, counted from lib/, that import `library` or a part of it."""
    return [
        path.relative_to(ROOT / "lib").as_posix()
        for path, names in IMPORTS.items()
        if any(name == library or name.startswith(f"{library}.") for name in names)
    ]


def test_every_way_to_import_is_seen():
    assert imports("import a.b as c\ndef f():\n    from d import e") == {"a.b", "d", "d.e"}
    assert imports("from . import x\nfrom .y import z\nfrom .. import w", ("lib", "data")) == {
        *("lib.data", "lib.data.x", "lib.data.y", "lib.data.y.z", "lib", "lib.w")
    }
    assert "kspace/sampling.py" in users("lib.kspace.fourier")


@pytest.mark.parametrize(
    ("library", "home"), [("matplotlib.pyplot", "plots/"), ("ipywidgets", "viewer/"), ("papermill", "recipes/")]
)
def test_a_library_stays_in_its_home(library, home):
    assert [path for path in users(library) if not path.startswith(home)] == []


@pytest.mark.parametrize("outsider", ["tests", "notebooks", "fastmri", "pygrappa", "sigpy", "pytorch_msssim"])
def test_lib_needs_no_tests_notebooks_or_peers(outsider):
    assert users(outsider) == []


def test_no_module_imports_itself_by_a_detour():
    modules = {module_name(path) for path in IMPORTS}
    graph = {
        (own := module_name(path)): {n for n in names & modules if not f"{own}.".startswith(f"{n}.")}
        for path, names in IMPORTS.items()
    }
    graphlib.TopologicalSorter(graph).prepare()  # a CycleError names the modules


def test_the_core_stands_on_itself():
    """k-space, masks, coils, GRAPPA, metrics, losses and networks need nothing of lib but each other."""
    core = {"lib.kspace", "lib.metrics", "lib.losses", "lib.models", "lib.parallel"}
    modules = {module_name(path) for path in IMPORTS} - {
        "lib",
        "lib.text",
        "lib.accelerators",
    }  # of which the last needs torch alone
    outside = {
        module_name(path): found
        for path, names in IMPORTS.items()
        if ".".join(module_name(path).split(".")[:2]) in core
        and (found := {name for name in names & modules if ".".join(name.split(".")[:2]) not in core})
    }
    assert outside == {}
