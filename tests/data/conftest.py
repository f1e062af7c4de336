"""For tests of readers: the files of a public layout, and a copy of them to spoil."""

import shutil

import pytest


@pytest.fixture(scope="module")
def source(request, tmp_path_factory):
    """The folder that the module's LAYOUT makes."""
    return request.module.LAYOUT(tmp_path_factory.mktemp("source"))


@pytest.fixture
def copy(source, tmp_path):
    return shutil.copytree(source, tmp_path / "copy")
