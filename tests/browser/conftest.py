import os

import pytest
from lab import Lab, find_chromium, open_lab


@pytest.fixture(scope="session")
def lab(tmp_path_factory) -> Lab:
    """One JupyterLab and one browser for all browser tests; tests put their notebooks into `lab.root`."""
    chromium = find_chromium()
    if chromium is None:
        reason = "no chromium, chromium-browser or google-chrome found; install one: apt-get install chromium"
        (pytest.fail if os.environ.get("ECHOTRAIN_REQUIRE_BROWSER") == "1" else pytest.skip)(reason)
    with open_lab(chromium, tmp_path_factory.mktemp("notebooks"), tmp_path_factory.mktemp("jupyter")) as lab:
        yield lab
