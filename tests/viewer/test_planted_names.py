"""Every widget with markup planted in all that data can carry: walked through to the last child, none of it is an element."""

import contextlib
import json
import re
from pathlib import Path
from types import SimpleNamespace

import fake_runs
import h5py
import ipywidgets
import nibabel
import numpy as np
import pytest
from planted import NAME, Parsed, active

from lib import files, markup
from lib.evaluation import paired, run_comparison
from lib.runs import listing, overview
from lib.viewer import (
    KSpacePlayground,
    LiveChart,
    RunComparison,
    RunPicker,
    SliceViewer,
    labels,
    line_chart,
    live_chart,
    slice_viewer,
)
from lib.viewer.controls import message, tell
from lib.viewer.html_box import HtmlBox
from lib.viewer.playground import Playground

A = np.random.default_rng(0).random((4, 16, 16)).astype(np.float32)


def walk(widget):
    yield widget
    for child in getattr(widget, "children", ()):
        yield from walk(child)


def check(*widgets, shown: bool = True):
    """No element from data, no widget that takes its texts for HTML unasked, and the name is to be read somewhere."""
    words = ""
    for widget in (part for one in widgets for part in walk(one)):
        assert not getattr(widget, "description_allow_html", False), widget
        if isinstance(widget, ipywidgets.HTML):
            assert type(widget) is HtmlBox and not active(widget.value), widget
            words += Parsed(widget.value).words
        if isinstance(widget, SliceViewer):  # its page takes every text as text, see the test of its module
            words += f"{widget.about} {widget.message}"
        words += str(getattr(widget, "description", ""))
    assert not shown or NAME in words.replace("\u00a0", " ").replace("\\'", "'")  # in quotes or without


def test_a_box_escapes_what_is_no_html():
    box = HtmlBox(NAME)
    assert not active(box.value)
    box.value = f"<b>{NAME}</b>"
    assert not Parsed(box.value).elements
    line = message()
    tell(line, NAME)
    check(line)


def test_the_viewers_page_makes_no_html_of_texts():
    code = Path(slice_viewer.__file__).with_suffix(".js").read_text()
    assert "textContent" in code
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|DOMParser|srcdoc|\beval\b|new Function", code
    )


def test_slice_viewer():
    scores = {NAME: {NAME: 0.5}}
    about = {"classes": ["background", NAME], "title": NAME, "overlays": {NAME: A > 0.5}, "unit": "slice"}
    check(
        SliceViewer(
            {NAME: A, "truth": A, "b": f"n/a: {NAME}"}, error_of=(NAME, "truth"), scores=lambda i: scores, **about
        )
    )
    check(SliceViewer({NAME: A, "truth": A}, error_of=(NAME + "?", "truth"), **about))


@pytest.mark.parametrize("volume", [f"/nowhere/{NAME}.nii", NAME, A[:, :8], object(), np.array([NAME] * 8)])
def test_slice_viewer_tells_what_is_wrong(volume):
    check(SliceViewer({"first": A, NAME: volume}, error_of=None))


def test_slice_viewer_of_a_described_nifti_and_odd_keys(tmp_path):
    image = nibabel.Nifti1Image(A, np.eye(4))
    image.header["descrip"], image.header["aux_file"] = NAME.encode()[:79], NAME.encode()[:23]
    path = tmp_path / f"{NAME}.nii.gz"
    nibabel.save(image, path)
    check(SliceViewer({NAME: path}, title=NAME))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file[NAME] = [NAME.encode()] * 4
        file.attrs["id"] = NAME
    check(SliceViewer({"a": f"{tmp_path / 'x.h5'}:{NAME}"}), shown=False)
    check(SliceViewer({"a": f"{tmp_path / 'x.h5'}:{NAME} is missing"}))


@pytest.fixture
def planted(folder):
    """Two runs whose tasks, networks, notebooks, parameters, errors, metrics, histories and cases carry the name."""
    paths = []
    for number in range(2):
        path = fake_runs.make(
            folder, f"{number}{NAME}", number, notebook=f"21_{NAME}", by_class="dice",
            parameters={"network_type": NAME, "loss": f"{NAME}{number}", NAME: number, "data": NAME},
            headline={NAME: {"ssim": 0.5 + number / 10, NAME: 1}},
            history=f"epoch,train_loss,valid_loss,\"{NAME.replace(chr(34), chr(34) * 2)}\"\n1,0.5,0.4,0.{number}\n",
            result={NAME: fake_runs.volumes(0.1 + number / 10), "b": fake_runs.volumes(0.1, seed=1)},
        )  # fmt: skip
        with h5py.File(path / "predictions" / "result.h5", "r+") as file:
            for case in file.values():
                case.attrs["person"] = NAME
                case.attrs["slice_names"] = [NAME] * 3
        paths.append(path)
    fake_runs.make(folder, f"failed{NAME}", 2, status="failed", error=f"ValueError: {NAME}")
    odd = fake_runs.make(folder, "odd", 3, status=NAME)
    (odd / "task.json").write_text(json.dumps({"task": NAME, "notebook": NAME, "parameters": NAME}))
    return paths


def test_picker_and_comparison(planted):
    picker = RunPicker(planted)
    comparison = RunComparison(picker, NAME)
    check(picker)
    check(comparison)
    assert comparison.viewer is not None
    check(RunPicker([NAME]))
    picker.value = ()
    check(comparison, shown=False)


def test_tables_of_runs_and_sets(planted, tmp_path, monkeypatch):
    named = run_comparison.named(planted)
    compared = run_comparison.images(named)
    scored = paired.scores(compared)
    frames = [listing.table(), run_comparison.settings(named), paired.in_words(paired.differences(scored)), scored]
    for text in map(markup.table, frames):
        assert not active(text) and NAME in Parsed(text).words
    monkeypatch.setattr(overview, "DATA", tmp_path)
    (tmp_path / "README.md").write_text(f"| {NAME} | {NAME} | {NAME} |\n|---|---|---|\n| {NAME} | {NAME} | {NAME} |\n")
    files.write(tmp_path / NAME / "set.json", {"kind": NAME, "source": NAME, "files": [], "persons": {NAME: [NAME]}})
    for frame in (overview.sets(), overview.notebooks(tmp_path)):
        assert not active(markup.table(frame))
    assert NAME in Parsed(markup.table(overview.sets())).words


def test_live_chart(monkeypatch):
    seen = []
    monkeypatch.setattr(live_chart, "display", seen.append)
    chart = LiveChart(True)

    def fail(*_):
        raise ValueError(NAME)

    chart.learn = SimpleNamespace(
        history=SimpleNamespace(rows=[{"epoch": 1, "train_loss": 1.0, f"train_{NAME}": 0.5, NAME: 0.25}]), n_epoch=2,
        dls=SimpleNamespace(valid=SimpleNamespace(dataset=SimpleNamespace(panels=fail))), model=None,
    )  # fmt: skip
    chart._predicted = lambda: ()
    monkeypatch.setattr(live_chart, "undisturbed", lambda model: contextlib.nullcontext())
    chart.before_fit()
    chart._draw_chart()
    chart._draw_preview()
    check(*seen)
    assert not active(line_chart.chart(NAME, [1], {NAME: [1.0]}, 2))
    assert not active(labels.labels_of({NAME: f"{NAME} · {NAME}"}, 1, 100))


def test_playground(monkeypatch):
    playground = Playground()

    def fail(settings):
        raise ValueError(NAME)

    monkeypatch.setattr(playground, "image", fail)
    monkeypatch.setattr(playground, "name", NAME)
    check(KSpacePlayground(playground))
