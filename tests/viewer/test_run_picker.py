"""The table of runs and what follows it: sorting, filters, pages, choosing, and words in place of tracebacks."""

import gc
import re
import weakref
from html import unescape

import fake_runs
import h5py
import ipywidgets
import numpy as np
from matplotlib.figure import Figure
from refusals import refused

from lib.evaluation import run_comparison
from lib.viewer import RunComparison, RunPicker, show_case

HISTORY = "epoch,train_loss,valid_loss\n1,0.5,0.4\n2,0.3,0.35\n"


def listed(picker):
    """The tasks on the page, top down."""
    return [line.row.task for line in picker.lines if line.row]


def texts(box):
    """All that a widget says, without its markup."""
    found = [box.value] if isinstance(box, ipywidgets.HTML) else []
    shown = [b for b in getattr(box, "children", ()) if b.layout.display != "none"]
    return " ".join([*(unescape(re.sub(r"<[^>]+>", " ", t)) for t in found), *map(texts, shown)])


def some(folder):
    """Three runs: ssim .8, none (failed), .9; the last one is the newest."""
    return [
        fake_runs.make(folder, "b_unet", 0, headline={"test": {"ssim": 0.8}}, parameters={"network_type": "UNet"}),
        fake_runs.make(folder, "c_failed", 1, status="failed", error="ValueError: a <b> went wrong"),
        fake_runs.make(folder, "a_varnet", 2, headline={"test": {"ssim": 0.9}}),
    ]


def test_newest_first_and_sorted_by_any_column(folder):
    some(folder)
    picker = RunPicker()
    assert listed(picker) == ["a_varnet", "c_failed", "b_unet"]
    heads = {head.description.rstrip(" ▲▼"): head for head in picker.heads}
    assert list(heads) == [
        "run",
        "network",
        "time",
        "status",
        "duration",
        "SSIM",
        "PSNR",
        "NMSE",
        "Dice",
        "measured on",
    ]
    assert heads["time"].description == "time ▼"
    heads["SSIM"].click()
    assert listed(picker) == ["a_varnet", "b_unet", "c_failed"]  # without a value: last
    heads["SSIM"].click()
    assert listed(picker) == ["b_unet", "a_varnet", "c_failed"] and heads["SSIM"].description == "SSIM ▲"
    heads["run"].click()
    assert listed(picker) == ["a_varnet", "b_unet", "c_failed"]
    heads["network"].click()
    assert listed(picker)[0] == "b_unet"
    for head in picker.heads:
        head.click()
        assert sorted(listed(picker)) == ["a_varnet", "b_unet", "c_failed"]


def test_filters_by_text_task_and_status(folder):
    some(folder)
    fake_runs.make(folder, "look", 5, notebook="40_view_reconstruction", role="view")
    picker = RunPicker()
    picker.search.value = "VARNET"
    assert listed(picker) == ["a_varnet", "c_failed"]  # both have that network
    picker.search.value = "varnet wrong"
    assert listed(picker) == ["c_failed"]
    picker.search.value = "nothing has this"
    assert listed(picker) == [] and "None of the 3 runs fits" in picker.count.value
    picker.search.value, picker.status.value = "", "ok"
    assert listed(picker) == ["a_varnet", "b_unet"]
    picker.search.value = "b_unet"
    assert listed(picker) == ["b_unet"]
    picker.search.value, picker.status.value = "", "all"
    picker.views.value = True
    assert listed(picker)[0] == "look"


def test_choosing_survives_pages_sorting_and_filters(folder):
    first, second, third = map(str, some(folder))
    picker = RunPicker([third], size=2)
    assert listed(picker) == ["a_varnet", "c_failed"] and "1–2 of 3 runs" in picker.count.value
    assert [line.tick.value for line in picker.lines] == [True, False]
    picker.later.click()
    assert listed(picker) == ["b_unet"] and picker.later.disabled and not picker.earlier.disabled
    picker.lines[0].tick.value = True
    assert picker.value == (third, first)
    picker.search.value = "wrong"
    assert [line.tick.value for line in picker.lines if line.row] == [False] and picker.value == (third, first)
    picker.search.value = ""
    picker.lines[0].tick.value = False
    assert picker.value == (first,)
    picker.clear.click()
    assert picker.value == () and "two or more" in picker.chosen.value
    picker.value = (second,)
    assert [line.tick.value for line in picker.lines] == [False, True]


def test_refresh_finds_what_is_new_and_forgets_what_is_gone(folder):
    picker = RunPicker()
    assert "No runs yet" in picker.count.value and listed(picker) == []
    path = fake_runs.make(folder, "new")
    picker.refresh.click()
    assert listed(picker) == ["new"]
    picker.value = (str(path),)
    path.rename(folder / "results")
    picker.refresh.click()
    assert picker.value == () and listed(picker) == []


def test_runs_that_lie_elsewhere_can_be_given(folder, tmp_path):
    here, there = fake_runs.make(folder, "here"), fake_runs.make(tmp_path / "there", "away")
    picker = RunPicker([there, here])
    assert sorted(listed(picker)) == ["away", "here"] and picker.value == (str(there), str(here))


def test_tasks_can_be_given_and_what_is_not_there_is_told(folder):
    paths = [fake_runs.make(folder, "unet", n) for n in range(2)]
    failed = fake_runs.make(folder, "failed", 2, status="failed")
    picker = RunPicker(["unet", str(failed), "nope"])
    assert picker.value == (str(paths[1]), str(failed))
    assert "run nope: got &#39;nope&#39;, did you mean" in picker.message.value
    assert RunPicker([folder / "unet"]).value == (str(paths[1]),)  # a task by its folder
    assert RunPicker("unet").value == RunPicker(["unet", paths[1]]).value == (str(paths[1]),)


def test_a_folder_of_odd_content_is_a_row(folder):
    fake_runs.make(folder, "odd", parameters={"network_type": ["a"]}, error={"b": 1}, status="failed")
    picker = RunPicker()
    assert listed(picker) == ["odd"] and "? damaged" in picker.lines[0].cells.value


def test_what_is_wrong_stands_beside_the_scores(folder):
    fake_runs.make(folder, "a", status="failed", error="out of memory", headline={"val": {"ssim": 0.5}})
    cells = RunPicker().lines[0].cells.value
    assert "0.500" in cells and "val · out of memory" in cells


def test_bad_folders_say_what_is_wrong_in_their_row(folder):
    some(folder)
    (folder / "empty" / "20260306-000000").mkdir(parents=True)
    picker = RunPicker()
    cells = {line.row.task: line.cells.value for line in picker.lines if line.row}
    assert "an empty folder, no run in it" in cells["empty"] and "? damaged" in cells["empty"]
    assert "a &lt;b&gt; went wrong" in cells["c_failed"]
    assert "0.900" in cells["a_varnet"] and "✓ ok" in cells["a_varnet"]


def test_every_control_has_a_label(folder):
    some(folder)
    picker = RunPicker()

    def unlabeled(box):
        inner = [found for child in getattr(box, "children", ()) for found in unlabeled(child)]
        named = isinstance(box, (ipywidgets.HTML, ipywidgets.Box, ipywidgets.Image)) or box.description
        return inner if named or box.layout.display == "none" else [*inner, box]

    hidden = [line.tick for line in picker.lines if not line.row]
    assert [w for w in unlabeled(picker) if w not in hidden] == []


def two(folder):
    """Two runs with histories and results of two people."""
    results = [{f"p{p}_x": fake_runs.volumes(noise, seed=p) for p in (1, 2)} for noise in (0.2, 0.1)]
    settings = [{"epochs": e, "optimizer": {"type": "Adam"}} for e in (2, 3)]
    return [
        fake_runs.make(folder, task, n, history=HISTORY, result=results[n], parameters=settings[n])
        for n, task in enumerate(("first", "second"))
    ]


def test_two_chosen_runs_are_compared(folder):
    paths = two(folder)
    picker = RunPicker()
    comparison = RunComparison(picker)
    assert "no run chosen" in texts(comparison) and "Settings" not in texts(comparison)
    for line in picker.lines[:2]:
        line.tick.value = True
    assert picker.value == (str(paths[1]), str(paths[0]))
    assert re.search(r"setting\s+second\s+first\s+epochs\s+3\s+2", texts(comparison.settings))
    assert [value for _, value in comparison.curve.options] == ["valid_loss", "train_loss"]
    assert comparison.curve.value == "valid_loss"
    before = bytes(comparison.plot.value)
    comparison.curve.value = "train_loss"
    assert before.startswith(b"\x89PNG") and bytes(comparison.plot.value) != before
    assert "SSIM" in texts(comparison.metrics) and "2 of 2" not in texts(comparison.metrics)  # the first has more noise
    assert "0 of 2" in texts(comparison.metrics) and "n = 2" in texts(comparison.metrics)
    assert comparison.images.children == (comparison.viewer,)
    assert (comparison.viewer.about["cases"], comparison.viewer.about["case"]) == (["p1_x", "p2_x"], "p1_x")
    names = [panel["name"] for panel in comparison.viewer.about["panels"]]
    assert names == ["second", "first", "truth", "|second − truth|", "|first − truth|"]
    picker.lines[0].tick.value = False
    assert "one run chosen" in texts(comparison) and comparison.parts[0].layout.display == "none"


def test_what_runs_lack_is_said_and_not_raised(folder):
    (good, _) = two(folder)
    running = fake_runs.make(folder, "running", 5, status="running", history="epoch,valid_loss\n")
    empty = folder / "empty" / "20260306-000000"
    empty.mkdir(parents=True)
    comparison = RunComparison(RunPicker([good, running, empty]))
    said = texts(comparison)
    assert "running: running (still running)" in said and "empty: damaged (an empty folder, no run in it)" in said
    assert "running: its history.csv holds no epochs yet" in said and "nothing to score" in said
    comparison = RunComparison(RunPicker([running, empty]))
    assert "None of these runs has a history" in texts(comparison) and "No case that all these runs have" in texts(
        comparison
    )


def test_different_data_are_refused_in_a_line(folder):
    a = fake_runs.make(folder, "a", 0, result={"x": fake_runs.volumes(0.1, seed=1)})
    b = fake_runs.make(folder, "b", 1, result={"x": fake_runs.volumes(0.1, seed=2)})
    comparison = RunComparison(RunPicker([a, b]))
    for part in (comparison.metrics, comparison.images):  # nor is one's image shown against the other's truth
        assert "x: the runs have different truths of it" in texts(part)
    c = fake_runs.make(folder, "c", 2, result={"x": fake_runs.volumes(0.1)}, classes=["none", "liver"])
    comparison = RunComparison(RunPicker([a, c]))
    assert "expected runs of one kind" in texts(comparison.metrics) and "expected runs of one kind" in texts(
        comparison.images
    )


def test_the_same_case_as_a_picture(folder):
    compared = run_comparison.images(run_comparison.named(two(folder)))
    figure = show_case(compared, "p1_x", False, gain=4)
    assert isinstance(figure, Figure)
    titles = [" ".join(ax.get_title().split()) for ax in figure.axes]
    assert titles == ["first", "second", "truth", "|first − truth| ×4", "|second − truth| ×4"]
    assert "SSIM" in figure.axes[0].get_xlabel()


def test_segmentations_are_laid_over_the_image(folder):
    label = (fake_runs.volumes(0)["truth"] > 0.5).astype("uint8")
    result = {"x": {"input": fake_runs.volumes(0)["truth"], "output": label, "truth": label}}
    paths = [fake_runs.make(folder, t, n, result=result, classes=["none", "liver"]) for n, t in enumerate("ab")]
    compared = run_comparison.images(run_comparison.named(paths))
    figure = show_case(compared, "x", False)
    assert [ax.get_title() for ax in figure.axes] == ["a", "b", "truth"]
    assert [ax.get_xlabel().replace("\u00a0", " ") for ax in figure.axes] == ["Dice liver 1.000"] * 2 + [""]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["liver"]
    pixels = np.asarray(figure.axes[0].images[0].get_array())
    assert (np.ptp(pixels.astype(int), axis=-1) > 0).any()  # colors over the gray image
    for path in paths:
        with h5py.File(path / "predictions" / "result.h5", "a") as file:
            del file["x/input"]
    with refused(where="x", found="its first run has no input to lay the labels over"):
        show_case(compared, "x", False)


def test_refresh_compares_anew(folder):
    first, second = two(folder)
    history = (second / "history.csv").read_text()
    (second / "history.csv").unlink()
    picker = RunPicker([first, second])
    comparison = RunComparison(picker)
    assert list(comparison.histories) == ["first"]
    (second / "history.csv").write_text(history)  # it has got further meanwhile
    picker.refresh.click()
    assert list(comparison.histories) == ["first", "second"]


def test_what_a_damaged_run_fails_with_is_a_line(folder):
    first, second = two(folder)
    (second / "history.csv").write_text("epoch,valid_loss\n0,nonsense\n1,more\n")
    with h5py.File(second / "predictions" / "result.h5", "w") as file:
        file["flat"] = [[1.0, 2.0]]
    comparison = RunComparison(RunPicker([first, second]))
    assert "predictions/result.h5 can't be read, or holds no cases" in texts(comparison)
    comparison = RunComparison(RunPicker([first, second]), case="nobody")
    assert "case nobody: not one that all these runs have" in texts(comparison)


def test_another_case_takes_the_place_of_the_one_before(folder):
    comparison = RunComparison(RunPicker(two(folder)))
    slices = weakref.ref(comparison.viewer.slices)
    comparison.viewer._receive(None, {"kind": "case", "name": "p2_x"}, [])
    assert comparison.viewer.about["case"] == "p2_x" and not comparison.viewer.message
    gc.collect()
    assert slices() is None
