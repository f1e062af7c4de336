"""README, CONTRIBUTING and docs: what they point to exists, and README stays short."""

import pkgutil
import re
import subprocess

import pytest
import yaml

from lib import ROOT
from tools import readme

FILES = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
PAGES = [name for name in FILES.stdout.splitlines() if name.endswith(".md") and (ROOT / name).exists()]
LINK = re.compile(r'\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)$|src="([^"]+)"', re.M)
FENCED = re.compile(r"^```.*?^```", re.M | re.S)
FOLDERS = "lib|tools|tests|notebooks|docs|docker|data/samples"


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def anchors(text: str) -> set[str]:
    """The names that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", text), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_and_pictures_lead_somewhere(page):
    for link in ("".join(found) for found in LINK.findall(FENCED.sub("", text_of(page)))):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (ROOT / page).parent / name if name else ROOT / page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), link


@pytest.mark.parametrize("page", [page for page in PAGES if page != "data/samples/README.md"])  # other packages' files
def test_files_and_names_of_the_code_exist(page):
    text = text_of(page)
    paths = re.findall(rf"`((?:{FOLDERS})/[\w./*-]*)`|`(runs/\w+\.yaml)`", text)
    for path in ("".join(found) for found in paths):
        assert any(ROOT.glob(path.rstrip("/"))), path
    for name in re.findall(r"`(lib(?:\.\w+)+)", text):
        pkgutil.resolve_name(name)


def test_every_picture_is_shown():
    shown = {picture for page in PAGES for picture in re.findall(r"pictures/(\w+\.png)", text_of(page))}
    assert shown == {path.name for path in readme.PICTURES.iterdir()}


def test_readme_is_short_and_lists_every_notebook():
    text = text_of("README.md")
    assert len(text.splitlines()) <= 150
    listed = re.findall(r"^\| \[(\w+)\]\(notebooks/\1\.ipynb\)", text, re.M)
    assert listed == sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("page", readme.PAGES)
def test_tables_equal_the_results(page):
    assert readme.generate(page, text_of(page)) == text_of(page), "run `make readme`"


def test_citation():
    citation = yaml.safe_load(text_of("CITATION.cff"))
    assert {"cff-version", "title", "message", "authors", "version", "license"} <= citation.keys()
    assert f'version = "{citation["version"]}"' in text_of("pyproject.toml")
