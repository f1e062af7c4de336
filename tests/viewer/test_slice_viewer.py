import gc
import json
import re
import weakref
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import torch
from ipywidgets.widgets.widget import _instances  # every widget's model that is open
from matplotlib import colormaps
from matplotlib.figure import Figure
from refusals import refused

import lib
from lib import InputError, metrics, plots
from lib.viewer import SliceViewer, link, show, still
from lib.viewer.pixels import BAD, CLASS_COLORS, lay
from lib.viewer.slice_model import SliceModel

RNG = np.random.default_rng(0)


def view(viewer):
    """What is seen, as the still picture takes it."""
    return viewer._view()


def choose(viewer, **changes):
    """As a reader chooses in the browser."""
    viewer.state = changes


def at(viewer, *place):
    """Cut through another voxel: the given slice, and row and column where they are given."""
    choose(viewer, at=[*place, *viewer.place["at"][len(place) :]])


def tiles(viewer):
    """{name: pixels (H, W, 3)} at the size of a still picture, None where there is no image."""
    return {name: tile.pixels for name, tile in still.tiles(viewer.slices, view(viewer)).items()}


def cells(viewer):
    """[(name, small text)] of the labels."""
    painted = still.tiles(viewer.slices, view(viewer))
    notes = still.notes(viewer.slices, view(viewer), painted)
    return [(name, note.replace("\u00a0", " ")) for name, note in notes.items()]


def ask(viewer, **content):
    """What the kernel answers to the browser: [(content, buffers)]."""
    return ask_raw(viewer, {"data": viewer.data, **content})


def ask_raw(viewer, content):
    sent = []
    viewer.send = lambda content, buffers=(): sent.append((content, list(buffers)))
    viewer._receive(None, content, [])
    return sent


def volumes(slices=5, height=8, width=6):
    truth = RNG.random((slices, height, width))
    return {"zero-filled": truth * 0.5, "output": truth * 0.9, "truth": truth}


def test_pixels_by_hand():
    truth = np.array([[[0, 1], [2, 4]], [[4, 4], [4, 4]]], np.int16)  # window 0 to 4, and 8 is beyond
    output = truth + np.array([[[0, 0.1], [-0.2, 4]]])
    viewer = SliceViewer({"output": output, "truth": truth}, window=(0, 4), gain=5, start=0)
    shown = tiles(viewer)
    first, second, third = shown.values()
    for panel in (first, second, third):  # whole factors: each pixel became a block of one color
        assert panel.shape == (260, 260, 3)
        assert (panel == panel[::130, ::130].repeat(130, 0).repeat(130, 1)).all()
    gray = [[[g] * 3 for g in row] for row in ([0, 70], [115, 255])]  # 255 · 1.1 / 4 = 70.1, 255 · 1.8 / 4 = 114.75
    assert first[::130, ::130].tolist() == gray
    gray = [[[g] * 3 for g in row] for row in ([0, 64], [128, 255])]  # 63.75, 127.5
    assert second[::130, ::130].tolist() == gray
    steps = [[0, 32], [64, 255]]  # 255 · 5 · 0.1 / 4 = 31.9, twice that, beyond
    assert third[::130, ::130].tolist() == np.array(colormaps["magma"](np.array(steps), bytes=True))[..., :3].tolist()
    found, small = cells(viewer)[0]
    assert (found, small.split(" · ")[0]) == ("output", "SSIM –")  # 2 × 2 pixels are too few for its window
    assert cells(viewer)[1:] == [("truth", ""), ("|output − truth| ×5", "")]


@pytest.mark.parametrize(
    ("height", "width", "scale"),
    [(1, 1, 260), (130, 3, 2), (131, 3, 2), (259, 3, 2), (260, 3, 1), (320, 3, 1), (100, 240, 2), (100, 241, 1)],
)
def test_still_panels_are_260_pixels_high_unless_they_get_too_wide(height, width, scale):
    viewer = SliceViewer({"a": np.zeros((1, height, width)), "b": np.zeros((1, height, width))})
    assert tiles(viewer)["a"].shape == (height * scale, width * scale, 3)


def test_scores_follow_the_slice_and_are_counted_once():
    calls = []

    def scores(index):
        calls.append(index)
        return {"output": {"SSIM": index / 10, "PSNR": 30.0, "NMSE": 0.01234, "Dice x": np.nan}}

    viewer = SliceViewer(volumes(), scores=scores)
    assert viewer.state["at"] == [2, 4, 3] and viewer.about["unit"] == "slice"  # the middle one first
    for index in (4, 0, 1, 3, 2, 4):
        ((answer, _),) = ask(viewer, kind="scores", index=index)
        text = f"SSIM 0.{index}00 · PSNR 30.0 dB · NMSE 0.012 · Dice x –"
        assert answer["notes"]["output"].replace("\u00a0", " ") == text
        assert (answer["index"], answer["metrics"]) == (index, {"output": ["SSIM", "PSNR", "NMSE", "Dice x"]})
        at(viewer, index)
        assert cells(viewer)[1] == ("output", text)
    assert sorted(calls) == [0, 1, 2, 3, 4]
    assert SliceViewer(viewer.slices.volumes, start=3).state["at"][0] == 3


def test_window_comes_from_the_truth():
    both = volumes()
    low, high = np.percentile(both["truth"].astype(np.float32), (0, 99.5))

    def first(shown, **settings):
        return SliceViewer(shown, **settings).state["windows"][0]

    assert first(both) == pytest.approx((low, high), abs=0.01)
    brighter = both | {"output": both["output"] * 100}
    assert first(brighter) == pytest.approx((low, high), abs=0.01)
    assert first(both, window=np.array([0.2, 0.7])) == [0.2, 0.7]
    big = np.zeros((70, 520, 4)) + np.arange(70)[:, None, None]
    assert first({"truth": big}) == pytest.approx((0, 68))  # from every second slice
    assert first({"truth": big * 1234.5678}) == [0, 84000]  # in numbers that a person would write


def test_pixels_that_are_not_finite_are_marked_and_counted():
    both = volumes(1, 260, 4)
    both["output"][0, 5, :3] = np.nan, np.inf, -np.inf
    both["truth"][0, 5, 1] = np.inf
    viewer = SliceViewer(both)
    marked = [(panel == BAD).all(-1) for panel in tiles(viewer).values()]
    assert marked[1][5].tolist() == [True] * 3 + [False]
    assert [panel.sum() for panel in marked] == [0, 3, 1, 3]
    none = "SSIM – · PSNR – · NMSE –"
    assert [small for _, small in cells(viewer)] == [
        none, f"{none} · 3 px not finite", "1 px not finite", "3 px not finite",
    ]  # fmt: skip


def test_missing_volumes_say_why():
    truth = volumes()["truth"]
    viewer = SliceViewer({"output": None, "GRAPPA": "not a <grid>", "truth": truth})
    assert cells(viewer) == [
        ("output", "n/a"), ("GRAPPA", "n/a: not a <grid>"), ("truth", ""), ("|output − truth| ×5", "n/a: no output"),
    ]  # fmt: skip
    reasons = [panel["reason"] for panel in viewer.about["panels"]]
    assert reasons == ["", "not a <grid>", None, "no output"]
    assert [panel is None for panel in tiles(viewer).values()] == [True, True, False, True]
    names = [name for name, _ in cells(SliceViewer({"a": truth, "truth": truth}))]
    assert names == ["a", "truth"]  # nothing to compare
    names = [name for name, _ in cells(SliceViewer({"a": truth, "truth": truth}, error_of=("a", "truth"), gain=2.5))]
    assert names == ["a", "truth", "|a − truth| ×2.5"]


def test_any_kind_of_array_gives_the_same_picture(tmp_path):
    both = {name: volume.astype(np.float32) for name, volume in volumes().items()}
    expected = tiles(SliceViewer(both))

    def check(given, **settings):
        found = tiles(SliceViewer(given, **settings))
        assert [(found[name] == panel).all() for name, panel in zip(found, expected.values(), strict=False)]

    check({name: torch.tensor(volume, requires_grad=True) for name, volume in both.items()})
    check({name: volume * np.complex64(1j) for name, volume in both.items()})
    with h5py.File(tmp_path / "result.h5", "w") as file:
        for name, volume in both.items():
            file[name] = volume
        check({name: file[name] for name in both})


def test_numpy_numbers_in_a_state_are_fine():
    viewer = SliceViewer(volumes())
    viewer.state = {"at": [np.int64(1), 2, 3]}
    assert viewer.state["at"] == [1, 2, 3]


def test_one_volume_one_image_and_lists_are_fine():
    volume = RNG.random((3, 8, 6))
    for given, names, shape in (
        (volume, ["image"], (3, 8, 6)), (volume[0], ["image"], (1, 8, 6)), (volume[0].tolist(), ["image"], (1, 8, 6)),
        ([volume, volume], ["image 1", "image 2"], (3, 8, 6)), (torch.tensor(volume[0]), ["image"], (1, 8, 6)),
        ({"a": volume[0], "mask": volume[0, 0] > 0.5}, ["a", "mask"], (1, 8, 6)),
    ):  # fmt: skip
        viewer = SliceViewer(given)
        assert (viewer.message, list(viewer.slices.volumes), viewer.slices.shape) == ("", names, shape)
    label = (volume[0] > 0.5).astype(int)
    assert SliceViewer({"a": volume[0]}, overlays={"a": label}).slices.overlays["a"].shape == (1, 8, 6)


A = np.zeros((3, 8, 8))


@pytest.mark.parametrize(
    ("given", "settings", "message"),
    [
        ({}, {}, "SliceViewer: no volumes, expected at least one volume (slices, H, W)"),
        ({"a": None, "b": "no"}, {}, "SliceViewer: n/a only (a, b), expected at least one volume (slices, H, W)"),
        ({"a": A[0, 0]}, {}, "SliceViewer: 'a' has shape (8,), expected (slices, H, W)"),
        ({"a": A[None]}, {}, "'a' has shape (1, 3, 8, 8), expected (slices, H, W): of a batch v[0]"),
        ({"a": A[:0]}, {}, "SliceViewer: 'a' has shape (0, 8, 8), expected (slices, H, W)"),
        ({"a": A[:2], "truth": A}, {}, "SliceViewer: 'a' has shape (2, 8, 8), expected (3, 8, 8) like 'truth'"),
        ({"a": A, "b": A[0]}, {"resample": True}, "SliceViewer: 'b' has shape (8, 8), expected (3, 8, 8) like 'a'"),
        ({"a": A}, {"overlays": {"a": A[:1]}}, "the overlay of 'a' has shape (1, 8, 8), expected (3, 8, 8) like 'a'"),
        ({"a": A}, {"start": 3}, "SliceViewer: slice 3, expected 0 to 2"),
        ({"a": A}, {"gain": 0}, "SliceViewer: gain is 0, expected more than 0"),
        ({"a": A}, {"window": (1, 1)}, "window is (1, 1), expected (low, high) with low < high"),
        ({"a": A}, {"window": 5}, "window is 5, expected (low, high) with low < high"),
        ({"a": A}, {"window": (0, np.inf)}, "window is (0, inf), expected (low, high) with low < high"),
        ({"a": A}, {"spacing": (1, 1, 1000)}, "spacing is (1, 1, 1000), one more than 100 times another"),
        ({"a": A}, {"start": 1.5}, "SliceViewer: start is 1.5, expected a slice's number"),
        ({"a": A}, {"gain": "5"}, "SliceViewer: gain is '5', expected more than 0"),
        ({"a": A}, {"overlays": A}, "SliceViewer: overlays are a ndarray, expected {panel: class numbers}"),
        ({1: A}, {}, "SliceViewer: the name 1 is a int, expected a text"),
        ({"a": A, "b": "data/my scans/b.nii.gz"}, {}, "data/my scans/b.nii.gz: no such file"),
        ({"a": A}, {"spacing": 2}, "SliceViewer: spacing is 2, expected three millimeters (z, y, x)"),
        ({"a": A}, {"planes": ("x", "y")}, "planes are ('x', 'y'), expected three different names"),
        ({"a": A}, {"error_of": ("a",)}, "error_of is ('a',), expected (output, truth) or a list of such pairs"),
        ({"a": A, "b": "/no where/b.nii.gz"}, {}, "/no where/b.nii.gz: no such file"),
        ({"a": A}, {"spacing": (1, 1)}, "SliceViewer: spacing is (1, 1), expected three millimeters (z, y, x)"),
        ({"input": A}, {"error_of": ("inputs", "input")}, "error_of: unknown name 'inputs'; did you mean 'input'?"),
        ({"a": "scan.nii.gz"}, {}, "scan.nii.gz: no such file"),
        ({"a": {"b": 1}}, {}, "SliceViewer: 'a' is a dict, expected an array or a file's path"),
        (5, {}, "SliceViewer: volumes are a int, expected {name: volume}, an array or a list"),
        ([[1, 2], [3]], {}, "SliceViewer: 'image' is a list of uneven lengths, expected (slices, H, W)"),
        ({"a": A}, {"window": {"b": (0, 1)}}, "SliceViewer, window: unknown name 'b'; expected one of a"),
        ({"a": A}, {"window": {"a": (1, 0)}}, "window is (1, 0), expected (low, high) with low < high"),
        ({"a": A}, {"gain": np.inf}, "SliceViewer: gain is inf, expected more than 0"),
        ({"a": np.full((3, 8, 8), "x")}, {}, "SliceViewer: 'a' holds <U1, expected numbers"),
        ({"a": A, "CT": "data/scan.dcm"}, {}, "scan.dcm: no such file"),
        ({"a": A}, {"overlays": {"a": None}}, "the overlay of 'a' is None, expected class numbers (3, 8, 8)"),
        ({"a": A}, {"overlays": {"a": A + 0.25}}, "the overlay of 'a': holds 0.25, expected class numbers 0, 1, 2 …"),
        ({"a": A}, {"overlays": {"a": A.astype(int) - 1}}, "the overlay of 'a': holds -1, expected class numbers"),
        ({"a": A}, {"overlays": {"a": A * np.nan}}, "the overlay of 'a': holds nan, expected class numbers"),
        ({"a": A}, {"overlays": {"a": A + 1j}}, "the overlay of 'a': holds 0+1j, expected class numbers"),
        (
            {"a": A},
            {"overlays": {"a": A + 7}, "classes": ["none", "liver"]},
            "the overlay of 'a' holds class 7, 2 classes are named, 0 to 1",
        ),
    ],
)
def test_errors_are_one_clear_line_in_the_viewer_and_raised_without(given, settings, message):
    with pytest.raises(InputError, match=re.escape(message)) as error:
        show(given, False, **settings)
    assert "\n" not in str(error.value)
    viewer = show(given, True, **settings)
    assert message in viewer.message and viewer.about == {"resample": viewer.about["resample"], "version": 1, "data": 0}
    assert ask(viewer, kind="cuts", number=1, cuts=[["a", "slice", 0, "image", 1]]) == []


def test_volumes_of_another_shape_are_resampled_when_asked():
    ramp = np.broadcast_to(np.linspace(0, 1, 8)[:, None], (2, 8, 8))
    label = np.kron(np.array([[[0, 1], [2, 0]]]), np.ones((2, 4, 4), int))
    viewer = SliceViewer(
        {"a": (ramp[:, ::2] + ramp[:, 1::2])[..., ::2] / 2, "truth": ramp, "label": ramp},
        overlays={"label": label[:, ::2, ::2]},
    )
    assert viewer.about["resample"] and viewer.message
    ask(viewer, kind="resample")
    assert not viewer.message and not viewer.about["resample"]
    assert cells(viewer)[0][0] == "a" and cells(viewer)[0][1].endswith(" · resampled to 2 × 8 × 8")
    np.testing.assert_allclose(viewer.slices.volumes["a"][:, 1:-1], ramp[:, 1:-1], atol=1e-6)  # linear between centers
    assert (viewer.slices.overlays["label"] == label).all()  # nearest: no new classes
    both = {"label": ramp, "truth": ramp}
    floats = SliceViewer(both, overlays={"label": label[:, ::2, ::2] * 1.0}, resample=True).slices.overlays["label"]
    assert (floats == label).all()
    flat = SliceViewer({"a": ramp[0], "truth": ramp})
    assert "'a' has shape (8, 8)" in flat.message and not flat.about["resample"]  # can't be resampled


def test_static_pictures_are_what_the_viewer_paints_without_a_widget(monkeypatch):
    both, scores = volumes(), lambda i: {"output": {"SSIM": i / 10}}
    viewer = show(both, True, start=1, gain=3, scores=scores)
    assert isinstance(viewer, SliceViewer) and viewer.state["at"][0] == 1

    def refuse(*args, **kwargs):
        raise AssertionError("a widget was made")

    monkeypatch.setattr("ipywidgets.Widget.__init__", refuse)
    for figure in (show(both, False, start=1, gain=3, scores=scores), viewer.static()):
        assert isinstance(figure, Figure)
        assert [ax.get_title() for ax in figure.axes] == ["zero-filled", "output", "truth", "|output − truth| ×3"]
        for ax, painted in zip(figure.axes, tiles(viewer).values(), strict=True):
            np.testing.assert_array_equal(ax.images[0].get_array(), painted)
        assert figure.axes[1].get_xlabel() == "SSIM\u00a00.100"
        assert figure.get_suptitle().startswith("slice 2 of 5 · window ")
    assert show(both, False, window=(0, 0.5), title="p1").get_suptitle() == "p1: slice 3 of 5 · window 0 to 0.5"


def test_widgets_live_in_viewer_only():
    words = re.compile(r"^\s*(import|from) ipywidgets", re.M)
    users = [path for path in Path(lib.__file__).parent.rglob("*.py") if words.search(path.read_text())]
    assert {path.parent.name for path in users} == {"viewer"}


def test_overlays_color_the_pixels_of_their_classes():
    volume, label = np.zeros((2, 40, 30)), np.zeros((2, 40, 30), int)
    label[1, 10:20, 5:15] = 2
    viewer = SliceViewer(
        {"image": volume, "label": volume}, overlays={"label": label}, classes=["none", "x", "<y>"], start=1
    )

    def color(row, column, panel="label"):
        painted = tiles(viewer)[panel]
        scale = painted.shape[0] // 40
        return painted[row * scale, column * scale].tolist()

    whole = np.array(plots.CLASSES(1, bytes=True)[:3]).astype(int)
    assert color(15, 10) == np.floor(whole / 2 + 0.5).tolist()
    assert color(15, 10, "image") == color(0, 0) == [0, 0, 0] and viewer.about["classes"] == ["none", "x", "<y>"]
    choose(viewer, opacity=0.25)
    assert color(15, 10) == np.floor(whole / 4 + 0.5).tolist()
    choose(viewer, contours=True)
    assert color(15, 10) == [0, 0, 0] and color(10, 10) == whole.tolist()  # the edge


def cube():
    """(4, 6, 8) whose voxel (z, y, x) is 100 z + 10 y + x."""
    z, y, x = np.ogrid[:4, :6, :8]
    return (100 * z + 10 * y + x).astype(np.float32)


def test_planes_are_cut_as_they_are_looked_at():
    viewer, whole = SliceViewer({"a": cube()}, spacing=(2, 1, 1), planes=("axial", "coronal", "sagittal")), cube()
    assert viewer.state["plane"] == "axial" and still.shown(viewer.slices, view(viewer)) == (264, 352)
    choose(viewer, plane="coronal")
    assert viewer.state["at"] == [2, 3, 4]  # the middle
    (image,) = viewer.slices.images(view(viewer)).values()
    assert (image == whole[::-1, 3]).all()  # the last slice, nearest the head, on top
    assert still.shown(viewer.slices, view(viewer)) == (8 * 33, 8 * 33)  # 4 slices of 2 mm are as high as 8 mm
    choose(viewer, plane="sagittal")
    (image,) = viewer.slices.images(view(viewer)).values()
    assert (image == whole[::-1, :, 4]).all()
    axial, coronal, sagittal = viewer.about["planes"]
    assert (axial["size"], axial["pixel"], axial["flip"]) == ([6, 8], [1, 1], False)
    assert (coronal["size"], coronal["pixel"], coronal["flip"]) == ([4, 8], [2, 1], True)
    assert [(p["axis"], p["rows"], p["columns"]) for p in (axial, coronal, sagittal)] == [
        (0, 1, 2),
        (1, 0, 2),
        (2, 0, 1),
    ]


def test_time_of_a_cine_runs_to_the_right():
    viewer = SliceViewer({"a": cube()}, unit="frame", spacing=(99, 2, 1))
    assert viewer.about["unit"] == "frame" and viewer.slices.planes == ("frames", "x–t", "y–t")
    choose(viewer, plane="x–t", at=[0, 2, 0])
    (image,) = viewer.slices.images(view(viewer)).values()
    assert (image == cube()[:, 2].T).all()
    choose(viewer, plane="y–t", at=[0, 2, 7])
    (image,) = viewer.slices.images(view(viewer)).values()
    assert (image == cube()[:, :, 7].T).all()
    assert still.shown(viewer.slices, view(viewer)) == (44 * 6, 44 * 4)  # y has 2 mm, a frame as many: 4 fill 8 mm
    assert [(p["rows"], p["columns"], p["flip"]) for p in viewer.about["planes"][1:]] == [(2, 0, False), (1, 0, False)]


def test_window_gain_colors_and_hidden_panels():
    whole = np.full((1, 4, 4), 0.5)
    viewer = SliceViewer({"output": whole, "truth": whole + 0.05}, window=(0, 1), gain=5)

    def color(name):
        return tiles(viewer)[name][0, 0].tolist()

    def of(cmap, level):
        return list(map(int, colormaps[cmap](level, bytes=True)[:3]))

    choose(viewer, windows=[[0.5, 0.55]], cmap="viridis")
    assert color("output") == of("viridis", 0) and color("truth") == of("viridis", 255)
    choose(viewer, windows=[[0, 1]], gain=10)
    assert color("|output − truth| ×10") == of("magma", 128)  # .05 of .1
    choose(viewer, signed=True)
    assert color("output − truth ×10") == of("RdBu_r", 64)  # −.05 of −.1 to .1: 63.75
    choose(viewer, signed=False, hidden=["output", "truth"])
    assert cells(viewer) == [("|output − truth| ×10", "")]


def test_windows_are_shared_where_units_agree():
    wave = RNG.random((2, 8, 8)) + 1
    viewer = SliceViewer({"coil": wave, "k-space": wave * 1000, "dim": wave / 2, "output": wave * 50, "truth": wave})
    groups = {panel["name"]: panel["group"] for panel in viewer.about["panels"]}
    assert groups == {"coil": 0, "k-space": 1, "dim": 0, "output": 0, "truth": 0, "|output − truth|": 0}
    (low, high), (dark, bright) = viewer.state["windows"]
    assert (dark, bright) == pytest.approx((1000 * low, 1000 * high), rel=0.02)
    assert viewer.about["groupNames"] == ["truth, coil, dim, output", "k-space"]
    given = SliceViewer({"a": wave, "b": wave, "c": wave}, window={"a": (0, 2), "b": (1, 2), "c": (0, 2)})
    assert sorted(given.state["windows"]) == [[0, 2], [1, 2]]
    assert given.slices.groups["a"] == given.slices.groups["c"] != given.slices.groups["b"]


def test_many_panels_stand_in_lines():
    names = "abcdefg"
    viewer = SliceViewer({name: A for name in names}, error_of=[("a", "b"), ("c", "b")])
    assert [name for name, _ in cells(viewer)] == ["a", "b", "|a − b| ×5", "c", "|c − b| ×5", *"defg"]
    grid = [ax.get_subplotspec() for ax in viewer.static().axes]
    assert {(spec.rowspan.start, spec.colspan.start) for spec in grid} == {(i // 5, i % 5) for i in range(9)}


def test_parts_of_complex_data():
    wave = np.exp(1j * np.pi / 2 * np.arange(8))[None, None] * 2 * np.ones((1, 8, 1))  # along x: k-space has one point
    viewer = SliceViewer({"output": wave, "truth": wave * 1j, "real": abs(wave)}, error_of=("output", "truth"))

    def images():
        return viewer.slices.images(view(viewer))

    parts = ["magnitude", "phase", "real", "imaginary", "log magnitude", "k-space"]
    assert viewer.about["parts"] == parts
    np.testing.assert_allclose(images()["output"], 2, atol=1e-6)
    choose(viewer, part="phase")
    np.testing.assert_allclose(images()["truth"][0, 0], np.pi / 2, atol=1e-6)
    np.testing.assert_allclose(images()["|output − truth|"], np.pi / 2, atol=1e-6)
    choose(viewer, signed=True)
    np.testing.assert_allclose(images()["|output − truth|"], -np.pi / 2, atol=1e-6)
    choose(viewer, signed=False)
    assert cells(viewer)[3] == ("real", "n/a: real data have no phase")
    choose(viewer, part="imaginary")
    np.testing.assert_allclose(images()["output"][0, :2], [0, 2], atol=1e-6)
    choose(viewer, part="log magnitude")
    assert (images()["output"] == 0).all()  # dB of the maximum
    choose(viewer, part="k-space")
    spectrum = images()["output"]
    assert spectrum[4, 6] == 0 and np.isclose(np.delete(spectrum.ravel(), 4 * 8 + 6), -80).all()  # dB of its maximum
    assert cells(viewer)[2] == ("|output − truth| ×5", "n/a: of images only")
    assert SliceViewer({"a": A}).about["parts"] == ["image", "spectrum"]


def test_masks_are_black_and_white_whatever_the_window():
    mask = np.array([True, False, False, True])
    viewer = SliceViewer({"a": np.zeros((3, 5, 4)), "mask": mask}, window=(5, 9))
    panel = tiles(viewer)["mask"][..., 0]
    assert (panel[0, :: 260 // 5] == [255, 0, 0, 255]).all() and (panel == panel[:1]).all()


def test_jumps_to_the_worst_median_and_best_slice():
    values = [0.5, 0.9, 0.2, np.nan, 0.7]
    scores = lambda i: {"output": {"SSIM": values[i], "NMSE": values[i]}}  # noqa: E731
    viewer = SliceViewer(volumes(), scores=scores)
    found = {}
    for place in ("worst", "median", "best"):
        choose(viewer, plane="row")
        ask(viewer, kind="jump", by=["output", "SSIM"], place=place)
        found[place] = viewer.state["at"][0], viewer.state["plane"]
    assert found == {"worst": (2, "slice"), "median": (4, "slice"), "best": (1, "slice")}
    ask(viewer, kind="jump", by=["output", "NMSE"], place="worst")  # the less the better
    assert viewer.state["at"][0] == 1
    ask(viewer, kind="jump", by=["output", "Dice"], place="worst")
    assert viewer.message == "no slice has this score"


def test_a_picture_is_written_whole_under_a_name_that_says_what_it_shows(tmp_path):
    viewer = SliceViewer(volumes(), save_to=tmp_path / "figures", title="../p1")
    picture = b"\x89PNG\r\n\x1a\n and so on"
    viewer._receive(None, {"kind": "save", "words": ["slice", "image", 1]}, [memoryview(picture)])
    (saved,) = (tmp_path / "figures").iterdir()
    assert re.fullmatch(r"_p1_slice_image_002_[\d-]{15}\.png", saved.name) and viewer.message == f"saved {saved}"
    assert saved.read_bytes() == picture
    viewer._receive(None, {"kind": "save", "words": ["slice", "image", 1]}, [b"<svg>"])
    assert viewer.message == "Save PNG: the browser sent no picture" and len(list(saved.parent.iterdir())) == 1


def test_what_the_error_is_of_is_chosen_in_the_viewer():
    viewer = SliceViewer(volumes())
    assert viewer.about["errorOf"] == ["output", "truth"]
    assert viewer.about["references"] == ["zero-filled", "output", "truth"]
    choose(viewer, hidden=["|output − truth|"], gain=7)
    ask(viewer, kind="errors", of="", against="output")
    names = [panel["name"] for panel in viewer.about["panels"]]
    assert names == ["zero-filled", "output", "|zero-filled − output|", "truth", "|truth − output|"]
    assert (viewer.state["hidden"], viewer.state["gain"], viewer.about["errorOf"]) == ([], 7, ["", "output"])
    ((answer, _),) = ask(viewer, kind="scores", index=0)
    assert set(answer["notes"]) == {"zero-filled", "truth"}  # against the output now
    ask(viewer, kind="errors", of="", against="nobody")
    assert "unknown name 'nobody'" in viewer.message


def test_a_case_is_chosen_in_the_viewer_and_what_was_chosen_stays():
    cases = {"p1": volumes(), "p2": volumes(7, 9, 6), "p3": volumes()}

    def load(name):
        return cases[name], {"title": name, "error_of": None}

    viewer = SliceViewer(cases["p1"], cases=list(cases), load=load, title="p1")
    choose(viewer, gain=20, opacity=0.1, zoom=3)
    ask(viewer, kind="case", name="p2")
    assert viewer.about["case"] == viewer.about["title"] == "p2" and viewer.about["shape"] == [7, 9, 6]
    assert (viewer.state["gain"], viewer.state["opacity"], viewer.state["zoom"]) == (20, 0.1, 1)
    choose(viewer, zoom=2, at=[6, 0, 0])
    ask(viewer, kind="case", name="p3")
    assert viewer.state["zoom"] == 1 and viewer.state["at"] == [2, 4, 3]
    choose(viewer, at=[4, 0, 0])
    ask(viewer, kind="case", name="p1")
    assert viewer.state["at"] == [4, 0, 0]  # the same shape: the same place
    ask(viewer, kind="case", name="p9")
    assert "unknown name 'p9'" in viewer.message and viewer.about["case"] == "p1"
    cases["p2"] = {}
    ask(viewer, kind="case", name="p2")
    assert "no volumes" in viewer.message and viewer.about["case"] == "p1"  # which stays
    assert ask(viewer, kind="cuts", number=1, cuts=[["truth", "slice", 0, "image", 1]])


def test_a_state_can_be_stored_and_given_again():
    viewer = SliceViewer(volumes())
    shape = {"kind": "ellipse", "box": [1, 1, 4, 5], "name": "A", "plane": "slice", "background": False}
    choose(viewer, at=[3, 1, 2], windows=[[0.1, 0.4]], zoom=2.5, shapes=[shape], cmap="magma")
    stored = json.loads(json.dumps(viewer.state))
    other = SliceViewer(volumes())
    other.state = stored
    assert other.state == viewer.state
    for state, message in (
        ({"att": [0, 0, 0]}, "unknown name 'att'; did you mean 'at'?"),
        ({"at": [5, 0, 0]}, "at is [5, 0, 0], expected a voxel of (5, 8, 6)"),
        ({"at": [0, 0]}, "at is [0, 0], expected a voxel of (5, 8, 6)"),
        ({"at": 3}, "at is 3, expected a voxel of (5, 8, 6)"),
        ({"plane": "x"}, "plane is 'x', expected one of 'slice', 'row', 'column'"),
        ({"part": "phase"}, "part is 'phase', expected one of 'image', 'spectrum'"),
        ({"windows": [[1, 0]]}, "windows are [[1, 0]], expected 1 of (low, high) with low < high"),
        ({"windows": 5}, "windows are 5, expected 1 of (low, high) with low < high"),
        ({"gain": 0}, "gain is 0, expected more than 0"),
        ({"zoom": "2"}, "zoom is '2', expected 1 to 64"),
        ({"opacity": 2}, "opacity is 2, expected 0 to 1"),
        ({"hidden": ["nobody"]}, "hidden: unknown name 'nobody'"),
        ({"hidden": "truth"}, "hidden is 'truth', expected a list of panels"),
        ({"hidden": [*volumes(), "|output − truth|"]}, "every panel is hidden, expected one to be seen at least"),
        ({"pair": 5}, "pair is 5, expected a list of panels"),
        ({"windows": [[0, np.inf]]}, "windows are [[0, inf]], expected 1 of (low, high) with low < high"),
        ({"windows": [5]}, "windows are [5], expected 1 of (low, high) with low < high"),
        ({"center": "middle"}, "center is middle, expected two numbers, 0 to 1"),
        ({"together": 1}, "together is 1, expected true or false"),
        ({"shapes": [{"kind": "star"}]}, "shapes are [{'kind': 'star'}], expected at most 100 of {kind: "),
    ):
        with pytest.raises(InputError, match=re.escape(message)):
            other.state = state
    assert other.state == stored


def test_a_closed_viewer_is_freed():
    before = set(_instances)
    viewer = SliceViewer(volumes(), scores=lambda i: {"output": {"SSIM": 1.0}}, unit="frame")
    slices = weakref.ref(viewer.slices)
    viewer.close()
    del viewer
    gc.collect()
    assert slices() is None
    assert not [_instances[key] for key in set(_instances) - before]  # layouts and styles, too


def test_unusual_numbers_are_shown():
    wave = np.exp(1j * np.arange(8.0))[None, None] * np.ones((1, 8, 1))
    conjugate = torch.tensor(wave).conj()
    for volume in (wave.astype(">c8"), wave.astype(np.clongdouble), wave[:, ::-1], conjugate, conjugate.imag):
        viewer = SliceViewer({"a": volume}, window=[-1, 0], spacing=np.ones(3))
        for part in viewer.slices.parts:
            choose(viewer, part=part)
            assert tiles(viewer)["a"].shape[-1] == 3
        for space in ("image", "fourier"):
            ((answer, (numbers,)),) = ask(viewer, kind="cuts", number=1, cuts=[["a", "slice", 0, space, 1]])
            assert answer["cuts"][0]["size"] == [8, 8] and len(numbers) >= 8 * 8 * 2
    brain = torch.full((1, 8, 8), 0.5, dtype=torch.bfloat16, requires_grad=True)
    shown = tiles(SliceViewer({"a": brain, "b": brain[:, ::2]}, window=(0, 1), resample=True))
    assert {name: panel[0, 0, 0] for name, panel in shown.items()} == {"a": 128, "b": 128}


def test_the_errors_scale_is_that_of_the_images():
    wave = np.full((1, 4, 4), 0.5 + 0j)
    viewer = SliceViewer({"output": wave, "truth": wave - 0.4}, window=(0, 1), gain=1)
    expected = {"magnitude": 0.4, "real": 0.2}  # of a window of 1, and of −1 to 1
    for part, level in expected.items():
        choose(viewer, part=part)
        color = colormaps["magma"](int(np.rint(255 * level)), bytes=True)[:3]
        assert [*tiles(viewer).values()][-1][0, 0].tolist() == list(map(int, color)), part


def test_the_error_of_complex_magnitudes_is_named_so():
    viewer = SliceViewer({"output": A + 1j, "truth": A + 1})
    assert cells(viewer)[2][0] == "||output| − |truth|| ×5"
    assert (viewer.slices.images(view(viewer))["|output − truth|"] == 0).all()
    choose(viewer, part="real")
    assert cells(viewer)[2][0] == "|output − truth| ×5"
    assert (viewer.slices.images(view(viewer))["|output − truth|"] == 1).all()


def test_decibels_are_of_the_highest_finite_value():
    volume = np.full((1, 4, 4), 1 + 0j)
    volume[0, 0, 0], volume[0, 0, 1] = np.inf, 0.1
    viewer = SliceViewer({"a": volume})
    choose(viewer, part="log magnitude")
    shown = viewer.slices.images(view(viewer))["a"]
    assert shown[1, 1] == 0 and shown[0, 1] == pytest.approx(-20) and np.isinf(shown[0, 0])


def test_scores_come_by_themselves(tmp_path):
    both, path = volumes(3, 16, 12), tmp_path / "a.npy"
    np.save(path, both["output"])
    viewer = SliceViewer({"output": path, "mask": np.ones((3, 16, 12), bool), "truth": both["truth"]}, start=1)
    expected = metrics.ssim(both["output"][1], both["truth"][1], both["truth"].max())
    found = dict(cells(viewer))
    assert found["output"].startswith(f"SSIM {expected:.3f} · PSNR ") and not found["mask"]
    label = np.zeros((2, 4, 4), int)
    label[:, :2] = 1
    half = label.copy()
    half[:, 1] = 0
    overlays = {"prediction": half.astype(float), "label": label}  # as floats too
    viewer = SliceViewer(dict.fromkeys(overlays, label * 1.0), overlays=overlays, classes=["none", "liver"])
    assert dict(cells(viewer))["prediction"] == "Dice liver 0.667"  # 2 · 4 / (4 + 8)
    assert SliceViewer({"a": A}).slices.scores(0) == {}


def test_what_fails_later_is_told_too(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        viewer = SliceViewer({"a": file.create_dataset("a", data=A)})
    ((answer, _),) = ask(viewer, kind="cuts", number=3, cuts=[["a", "slice", 2, "image", 1]])  # the file is closed
    assert "synchronously" in viewer.message and "synchronously" in answer["cuts"][0]["reason"]
    viewer = SliceViewer(volumes(), scores=lambda i: {"output": {"SSIM": [0.0, 1.0, 2.0][i]}}, start=0)
    ask(viewer, kind="jump", by=["output", "SSIM"], place="worst")
    assert "IndexError: list index out of range" in viewer.message
    viewer = SliceViewer({"a": A}, start="first")
    assert "start is 'first'" in viewer.message
    for scores in (lambda i: 1 / 0, lambda i: None, lambda i: {"a": {"SSIM": "good"}}):
        viewer = SliceViewer({"a": A}, scores=scores)
        assert viewer.message == "" and ask(viewer, kind="cuts", number=1, cuts=[["a", "slice", 0, "image", 1]])
        ((answer, _),) = ask(viewer, kind="scores", index=0)  # answered, or it would be asked for again and again
        assert answer["notes"] == {} and "Error" in viewer.message
    for content in (
        5,
        {},
        {"kind": "close"},
        {"kind": "cuts"},
        {"kind": "cuts", "number": 1, "cuts": [["b", "slice", 0]]},
    ):
        assert all(not numbers[0] for _, numbers in ask_raw(viewer, content))


def saved(path, voxels, affine):
    nibabel.save(nibabel.Nifti1Image(voxels, affine), path)
    return path


def test_files_that_lie_apart_are_told_and_resampled_by_their_affines(tmp_path):
    voxels = np.random.default_rng(0).random((10, 8, 6)).astype(np.float32)
    moved = np.diag([2.0, 2.0, 2.0, 1.0])
    first = saved(tmp_path / "a.nii", voxels, moved.copy())
    moved[:3, 3] = 4, 0, -2  # two voxels to the right, one down
    second = saved(tmp_path / "b.nii", np.roll(voxels, (-2, 1), (0, 2)), moved)
    viewer = SliceViewer({"a": first, "b": second})
    assert "lies up to 4.5 mm away from 'a', by the files' affines" in viewer.message
    ask(viewer, kind="resample")
    both = viewer.slices.volumes
    inside = (slice(None, 5), slice(None), slice(None, 8))  # what the second file holds too: x from 2 on is on the left
    np.testing.assert_allclose(both["b"][inside], both["a"][inside], atol=1e-6)


def test_an_overlay_with_a_lost_affine_is_told_naming_both_files_unless_it_is_known(tmp_path, capsys):
    lps, label = (
        np.array([[-0.8, 0, 0, 100], [0, -0.8, 0, 90], [0, 0, 3, -200], [0, 0, 0, 1]]),
        np.zeros((24, 20, 8), np.uint8),
    )
    label[2:8, 3:7, 1:4] = 1
    image = saved(tmp_path / "ct.nii.gz", label * np.int16(1000), lps)
    lost = saved(tmp_path / "seg.nii.gz", label, np.eye(4))
    viewer = SliceViewer({"CT": image}, overlays={"CT": lost}, classes=["none", "lesion"])
    for told in (viewer.message, capsys.readouterr().out):
        assert "the overlay of 'CT' lies up to" in told and "affines" in told
        assert str(image) in told and str(lost) in told
    near = lps + np.array([[0, 2e-8, 2e-8, 1e-5]] * 3 + [[0] * 4])
    turned = nibabel.Nifti1Image(label, lps).as_reoriented([[0, -1], [1, 1], [2, 1]])
    nibabel.save(turned, tmp_path / "turned.nii.gz")
    for overlay in (saved(tmp_path / "near.nii.gz", label, near), tmp_path / "turned.nii.gz"):
        found = SliceModel({"CT": image}, overlays={"CT": overlay})
        assert np.array_equal(np.asarray(found.volumes["CT"]) == 1000, found.overlays["CT"] == 1)
    with refused(found="affine_from: got 'label'", expected="both or image"):
        SliceModel({"CT": image}, affine_from="label")
    known = SliceModel({"CT": image}, overlays={"CT": lost}, affine_from="image")
    assert np.array_equal(np.asarray(known.volumes["CT"]) == 1000, known.overlays["CT"] == 1)


def test_overlays_near_whole_numbers_are_rounded_and_one_hot_ones_refused_naming_the_files(tmp_path):
    image = saved(tmp_path / "a.nii", np.ones((6, 5, 4), np.float32), np.eye(4))
    near = saved(tmp_path / "near.nii", np.full((6, 5, 4), 0.9999999), np.eye(4))
    assert (SliceModel({"a": image}, overlays={"a": near}, classes=["x", "y"]).overlays["a"] == 1).all()
    hot = saved(tmp_path / "hot.nii", np.ones((6, 5, 4, 3), np.uint8), np.eye(4))
    with pytest.raises(InputError, match=r"the overlay of 'a' has shape \(3, 4, 5, 6\).*hot.nii and .*a.nii"):
        SliceModel({"a": image}, overlays={"a": hot})


def test_files_that_share_no_place_are_not_shown_black(tmp_path):
    voxels, far = np.ones((4, 5, 6), np.float32), np.eye(4)
    far[0, 3] = 50
    first, second = saved(tmp_path / "a.nii", voxels, np.eye(4)), saved(tmp_path / "b.nii", voxels, far)
    viewer = SliceViewer({"a": first, "b": second})
    ask(viewer, kind="resample")
    assert "'b' and 'a' share no place, by the files' affines" in viewer.message


def test_an_error_of_real_data_says_why_there_is_no_phase():
    real = np.ones((3, 8, 8))
    viewer = SliceViewer({"output": real * 1j, "truth": real})
    choose(viewer, part="phase")
    assert dict(cells(viewer))["|output − truth| ×5"] == "n/a: real data have no phase"


def test_what_fills_its_volume_is_resampled_up_to_the_border(tmp_path):
    fine = saved(tmp_path / "a.nii", np.ones((10, 8, 6), np.float32), np.diag([1.1, 1.1, 1.1, 1.0]))
    coarse = np.diag([2.2, 2.2, 2.2, 1.0])
    coarse[:3, 3] = 0.55  # the same box: its first voxel's center lies between the first two of the fine one
    label = saved(tmp_path / "b.nii", np.ones((5, 4, 3), np.uint8), coarse)
    beyond = coarse.copy()
    beyond[0, 3] += 2.2
    for path, filled in ((label, 10), (saved(tmp_path / "c.nii", np.ones((5, 4, 3), np.uint8), beyond), 8)):
        found = SliceModel({"a": fine}, overlays={"a": path}, resample=True).overlays["a"]
        assert found.any((0, 1)).sum() == filled and found[:, :, :filled].all()


def test_what_covers_another_extent_is_not_stretched(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, size, spacing in (("a", (4, 8, 8), 2.0), ("b", (4, 16, 16), 2.0), ("c", (8, 16, 16), 1.0)):
            file[f"{name}/v"] = np.zeros(size)
            file[name].attrs["spacing"] = [spacing] * 3
    a, b, c = (f"{tmp_path / 'a.h5'}:{name}/v" for name in "abc")
    with refused(found="'b' covers 8 × 32 × 32 mm, 'a' 8 × 16 × 16"):
        show({"a": a, "b": b}, False, resample=True)
    assert show({"a": a, "c": c}, False, resample=True)


def test_contours_do_not_wrap_round_the_border():
    label = np.zeros((6, 6), int)
    label[:2] = 1  # an organ that is cut by the upper border
    edge = lay(np.zeros((6, 6, 3), np.uint8), label, contours=True).any(-1)
    assert edge.tolist() == [[row == 1] * 6 for row in range(6)]


def test_no_class_has_the_color_of_what_is_not_finite():
    assert not (CLASS_COLORS == BAD).all(-1).any()


def test_what_is_not_labeled_is_hatched_and_never_a_classs_color():
    label = np.zeros((24, 24), int)
    label[:, 8:16], label[:, 16:] = 1, 255
    pixels = lay(np.zeros((24, 24, 3), np.uint8), label, 1.0, ignore_index=255)
    seen = {tuple(color) for color in pixels[:, 16:].reshape(-1, 3).tolist()}
    gray = tuple(int(plots.UNLABELED[i : i + 2], 16) for i in (1, 3, 5))
    assert seen == {(0, 0, 0), gray} and {tuple(c) for c in pixels[:, 8:16].reshape(-1, 3).tolist()}.isdisjoint(seen)
    volume = np.zeros((2, 24, 24))
    about = {"overlays": {"label": np.stack([label] * 2), "prediction": np.ones((2, 24, 24), int)}}
    about |= {"classes": ["none", "organ"], "error_of": None}
    with refused(found="holds class 255", hint="ignore_index"):
        SliceModel({"label": volume, "prediction": volume}, **about)
    shown = SliceModel({"label": volume, "prediction": volume}, **about, ignore_index=255)
    assert shown.scores(0)["prediction"]["Dice organ"] == pytest.approx(2 * 8 / (16 + 8))


def test_linked_viewers_share_the_place_and_of_the_same_panels_the_look():
    one, other, third = SliceViewer(volumes()), SliceViewer(volumes(3, 4, 5)), SliceViewer({"a": A})
    links = {viewer: link(one, viewer) for viewer in (other, third)}
    assert [[found.source[1] for found in links[viewer]] for viewer in (other, third)] == [["place", "look"], ["place"]]
    other.place = one.place | {"at": [4, 7, 5]}  # as the link does, of a larger one
    assert view(other).at == (2, 3, 4) and other.static()
    third.place = one.place | {"plane": "frames"}
    assert view(third).plane == "slice"


def test_slices_of_volumes_that_are_gone_are_not_sent():
    viewer = SliceViewer(volumes())
    before = viewer.data
    viewer.update({name: volume + 1 for name, volume in volumes().items()}, {})
    ((answer, numbers),) = ask(viewer, kind="cuts", number=7, cuts=[["truth", "slice", 0, "image", 1]], data=before)
    assert (answer["number"], answer["cuts"], numbers) == (7, [], []) and not viewer.message
    ((answer, numbers),) = ask(viewer, kind="cuts", number=8, cuts=[["truth", "slice", 0, "image", 1]])
    assert answer["data"] == viewer.data == before + 1 and len(numbers) == 1


def test_scores_are_of_the_volumes_that_are_shown():
    viewer = SliceViewer(volumes(16, 16, 16))
    first = viewer.slices.scores(0)["output"]["SSIM"]
    viewer.update({**viewer.slices.volumes, "output": viewer.slices.volumes["truth"]}, {})
    assert viewer.slices.scores(0)["output"]["SSIM"] == pytest.approx(1) != first
    given = SliceViewer(volumes(), scores=lambda i: {"output": {"mine": 0.5}})
    ask(given, kind="errors", of="", against="output")
    assert given.slices.scores(0) == {"output": {"mine": 0.5}}


def test_a_viewer_that_shows_nothing_says_so():
    viewer = SliceViewer({})
    for call in (lambda: viewer.state, lambda: viewer.regions, lambda: setattr(viewer, "state", {"at": [0, 0, 0]})):
        with refused(found=r"it has nothing to show \(SliceViewer: no volumes"):
            call()
