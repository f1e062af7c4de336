import gc
import html
import io
import re
import weakref
from pathlib import Path

import h5py
import ipywidgets
import nibabel
import numpy as np
import pytest
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from PIL import Image
from refusals import refused

import lib
from lib import InputError, metrics, plots
from lib.viewer import SliceViewer, pixels, show
from lib.viewer.pixels import BAD, CLASS_COLORS, lay
from lib.viewer.slice_model import SliceModel
from lib.viewer.view import CMAPS

RNG = np.random.default_rng(0)


def decode(viewer):
    """The viewer's PNG, (H, W, 4) with its transparency."""
    return np.array(Image.open(io.BytesIO(viewer.images[0].value)).convert("RGBA"))


def cells(viewer):
    """[(name, small text)] of the labels."""
    text = re.sub("</span><span[^>]*>", " · ", viewer.labels[0].value.replace("\u00a0", " "))
    text = re.sub("</?span[^>]*>", "", text)
    return re.findall(r"<div><b>(.*?)</b><br><small>(.*?)</small></div>", text)


def volumes(slices=5, height=8, width=6):
    truth = RNG.random((slices, height, width))
    return {"zero-filled": truth * 0.5, "output": truth * 0.9, "truth": truth}


def test_pixels_by_hand():
    truth = np.array([[[0, 1], [2, 4]], [[4, 4], [4, 4]]], np.int16)  # window 0 to 4, and 8 is beyond
    output = truth + np.array([[[0, 0.1], [-0.2, 4]]])
    viewer = SliceViewer({"output": output, "truth": truth}, window=(0, 4), gain=5, start=0)
    width, gap = 260, pixels.GAP
    shown = decode(viewer)
    assert shown.shape == (260, 3 * width + 2 * gap, 4)
    first, second, third = (shown[:, i * (width + gap) :][:, :width] for i in range(3))
    for panel in (first, second, third):  # whole factors: each pixel became a block of one color
        assert (panel == panel[::130, ::130].repeat(130, 0).repeat(130, 1)).all()
    gray = [
        [[g, g, g, 255] for g in row] for row in ([0, 70], [115, 255])
    ]  # 255 · 1.1 / 4 = 70.1, 255 · 1.8 / 4 = 114.75
    assert first[::130, ::130].tolist() == gray
    gray = [[[g, g, g, 255] for g in row] for row in ([0, 64], [128, 255])]  # 63.75, 127.5 (to even)
    assert second[::130, ::130].tolist() == gray
    steps = [[0, 32], [64, 255]]  # 255 · 5 · 0.1 / 4 = 31.9, twice that, beyond
    assert third[::130, ::130].tolist() == np.array(colormaps["magma"](np.array(steps), bytes=True)).tolist()
    assert (shown[:, width : width + gap, 3] == 0).all() and (
        shown[:, 2 * width + gap : 2 * width + 2 * gap, 3] == 0
    ).all()
    found, small = cells(viewer)[0]
    assert (found, small.split(" · ")[0]) == ("output", "SSIM –")  # 2 × 2 pixels are too few for its window
    assert cells(viewer)[1:] == [("truth", ""), ("|output − truth| ×5", "")]


def test_no_image_color_is_transparent():
    for colors in (*map(pixels.colors, (*CMAPS, "twilight")), pixels.BAD[None], pixels.CLASS_COLORS):
        assert pixels.CLEAR not in set(map(tuple, colors.tolist()))


@pytest.mark.parametrize(
    ("height", "width", "scale"),
    [(1, 1, 260), (130, 3, 2), (131, 3, 2), (259, 3, 2), (260, 3, 1), (320, 3, 1), (100, 240, 2), (100, 241, 1)],
)
def test_panels_are_260_pixels_high_unless_they_get_too_wide(height, width, scale):
    viewer = SliceViewer({"a": np.zeros((1, height, width)), "b": np.zeros((1, height, width))})
    whole = 2 * width * scale + pixels.GAP
    assert decode(viewer).shape[:2] == (height * scale, whole)
    assert viewer.images[0].layout.width == viewer.labels[0].layout.width == f"{whole}px"


def test_the_slider_moves_picture_and_labels():
    calls = []

    def scores(index):
        calls.append(index)
        return {"output": {"SSIM": index / 10, "PSNR": 30.0, "NMSE": 0.01234, "Dice x": np.nan}}

    viewer = SliceViewer(volumes(), scores=scores)
    assert (viewer.slider.min, viewer.slider.value, viewer.slider.max) == (0, 2, 4)  # the middle one first
    assert viewer.slider.layout.width == "640px" and viewer.slider.description == "slice"
    seen = {}
    for index in (4, 0, 1, 3, 2):
        viewer.slider.value = index
        seen[index] = viewer.images[0].value
        text = f"SSIM 0.{index}00 · PSNR 30.0 dB · NMSE 0.012 · Dice x –"
        assert cells(viewer)[1] == ("output", text)
    assert len(set(seen.values())) == 5
    assert sorted(set(calls)) == [0, 1, 2, 3, 4]
    calls.clear()
    viewer.slider.value = 4
    assert not calls and viewer.images[0].value == seen[4]  # from the cache
    fresh = SliceViewer(viewer.slices.volumes, start=3)
    assert fresh.slider.value == 3 and fresh.images[0].value == seen[3]


def test_window_comes_from_the_truth():
    both = volumes()
    low, high = np.percentile(both["truth"].astype(np.float32), (0, 99.5))
    assert SliceViewer(both).controls.window.value == pytest.approx((low, high))
    brighter = SliceViewer(both | {"output": both["output"] * 100})
    assert brighter.controls.window.value == pytest.approx((low, high))
    assert brighter.controls.window.max == pytest.approx(high + 10 * (high - low))  # one bright voxel leaves it usable
    assert brighter.controls.window.step == pytest.approx((high - low) / 200)
    slider = SliceViewer(both).controls.window
    assert both["truth"].max() <= slider.max < both["truth"].max() + slider.step  # as far as the data
    steps = [(value - slider.min) / slider.step for value in slider.value]  # or the browser would move it there
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-6)
    assert SliceViewer(both, window=np.array([0.2, 0.7])).controls.window.value == (0.2, 0.7)
    big = np.zeros((70, 520, 4)) + np.arange(70)[:, None, None]
    assert SliceViewer({"truth": big}).controls.window.value == pytest.approx((0, 68))  # from every second slice


def test_pixels_that_are_not_finite_are_marked_and_counted():
    both = volumes(1, 260, 4)
    both["output"][0, 5, :3] = np.nan, np.inf, -np.inf
    both["truth"][0, 5, 1] = np.inf
    viewer = SliceViewer(both)
    shown, step = decode(viewer), 4 + pixels.GAP
    blue = [*pixels.BAD.tolist(), 255]
    assert shown[5, step : step + 4].tolist()[:3] == [blue] * 3
    marked = (shown == blue).all(-1)
    assert [marked[:, i * step : i * step + 4].sum() for i in range(4)] == [0, 3, 1, 3]
    none = "SSIM – · PSNR – · NMSE –"
    assert [small for _, small in cells(viewer)] == [
        none, f"{none} · 3 px not finite", "1 px not finite", "3 px not finite",
    ]  # fmt: skip


def test_missing_volumes_say_why():
    truth = volumes()["truth"]
    viewer = SliceViewer({"output": None, "GRAPPA": "not a <grid>", "truth": truth})
    assert cells(viewer) == [
        ("output", "n/a"), ("GRAPPA", "n/a: not a &lt;grid&gt;"), ("truth", ""),
        ("|output − truth| ×5", "n/a: no output"),
    ]  # fmt: skip
    shown = decode(viewer)
    columns = shown.shape[1] // 4
    assert (shown[:, : 2 * columns, 3] == 0).all() and (shown[:, -columns:, 3] == 0).all()
    assert [name for name, _ in cells(SliceViewer({"a": truth, "truth": truth}))] == [
        "a",
        "truth",
    ]  # nothing to compare
    names = [name for name, _ in cells(SliceViewer({"a": truth, "truth": truth}, error_of=("a", "truth"), gain=2.5))]
    assert names == ["a", "truth", "|a − truth| ×2.5"]


def test_any_kind_of_array_gives_the_same_picture(tmp_path):
    both = {name: volume.astype(np.float32) for name, volume in volumes().items()}
    expected = SliceViewer(both).images[0].value
    assert (
        SliceViewer({name: torch.tensor(volume, requires_grad=True) for name, volume in both.items()}).images[0].value
        == expected
    )
    turned = {name: volume * np.complex64(1j) for name, volume in both.items()}
    assert SliceViewer(turned).images[0].value == expected
    with h5py.File(tmp_path / "result.h5", "w") as file:
        for name, volume in both.items():
            file[name] = volume
        assert SliceViewer({name: file[name] for name in both}).images[0].value == expected


A = np.zeros((3, 8, 8))


@pytest.mark.parametrize(
    ("given", "settings", "message"),
    [
        ({}, {}, "SliceViewer: no volumes, expected at least one volume (slices, H, W)"),
        ({"a": None, "b": "no"}, {}, "SliceViewer: n/a only (a, b), expected at least one volume (slices, H, W)"),
        ({"a": A[0]}, {}, "SliceViewer: 'a' has shape (8, 8), expected (slices, H, W): of one image v[None]"),
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
        (A, {}, "SliceViewer: volumes are a ndarray, expected {name: volume}"),
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
    assert message in html.unescape(viewer.message.value) and viewer.children[0] is viewer.message


def test_volumes_of_another_shape_are_resampled_when_asked():
    ramp = np.broadcast_to(np.linspace(0, 1, 8)[:, None], (2, 8, 8))
    label = np.kron(np.array([[[0, 1], [2, 0]]]), np.ones((2, 4, 4), int))
    viewer = SliceViewer(
        {"a": (ramp[:, ::2] + ramp[:, 1::2])[..., ::2] / 2, "truth": ramp, "label": ramp},
        overlays={"label": label[:, ::2, ::2]},
    )
    button = viewer.children[1]
    assert button.description == "Resample to one grid"
    button.click()
    assert not viewer.message.value
    assert cells(viewer)[0][0] == "a" and cells(viewer)[0][1].endswith(" · resampled to 2 × 8 × 8")
    np.testing.assert_allclose(viewer.slices.volumes["a"][:, 1:-1], ramp[:, 1:-1], atol=1e-6)  # linear between centers
    assert (viewer.slices.overlays["label"] == label).all()  # nearest: no new classes
    both = {"label": ramp, "truth": ramp}
    floats = SliceViewer(both, overlays={"label": label[:, ::2, ::2] * 1.0}, resample=True).slices.overlays["label"]
    assert (floats == label).all()
    flat = SliceViewer({"a": ramp[0], "truth": ramp})
    assert "'a' has shape (8, 8)" in html.unescape(flat.message.value) and len(flat.children) == 1  # can't be resampled


def test_static_pictures_are_what_the_viewer_paints_without_a_widget(monkeypatch):
    both, scores = volumes(), lambda i: {"output": {"SSIM": i / 10}}
    viewer = show(both, True, start=1, gain=3, scores=scores)
    assert isinstance(viewer, SliceViewer) and viewer.slider.value == 1

    def refuse(*args, **kwargs):
        raise AssertionError("a widget was made")

    monkeypatch.setattr("ipywidgets.Widget.__init__", refuse)
    for figure in (show(both, False, start=1, gain=3, scores=scores), viewer.static()):
        assert isinstance(figure, Figure)
        assert [ax.get_title() for ax in figure.axes] == ["zero-filled", "output", "truth", "|output − truth| ×3"]
        drawn = np.concatenate([ax.images[0].get_array() for ax in figure.axes], axis=1)
        shown, step = decode(viewer)[..., :3], drawn.shape[1] // 4
        for i in range(4):
            left = i * (step + pixels.GAP)
            np.testing.assert_array_equal(drawn[:, i * step : (i + 1) * step], shown[:, left : left + step])
        assert figure.axes[1].get_xlabel() == "SSIM\u00a00.100" and figure.get_suptitle().startswith(
            "slice 1 · window "
        )
    assert show(both, False, window=(0, 0.5), title="p1").get_suptitle() == "p1: slice 2 · window 0 to 0.5"


def test_a_single_slice_has_nothing_to_slide():
    viewer = SliceViewer({"a": A[:1]})
    assert viewer.slider.disabled and viewer.slider.max == 0
    jumps = SliceViewer({"a": A[:1]}, scores=lambda i: {"a": {"SSIM": 1.0}})
    assert "worst" not in {w.description for w in descendants(jumps) if hasattr(w, "description")}


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
    pixels = np.asarray(Image.open(io.BytesIO(viewer.images[0].value)).convert("RGB")).astype(int)
    scale = pixels.shape[0] // 40
    left = 30 * scale + 6
    color = np.array(plots.CLASSES(1, bytes=True)[:3]) // 2
    assert abs(pixels[15 * scale, left + 10 * scale] - color).max() <= 1
    assert not pixels[15 * scale, 10 * scale].any() and not pixels[0, left].any()
    assert "&lt;y&gt;" in viewer.caption.value
    viewer.controls.opacity.value = 0.25
    pixels = np.asarray(Image.open(io.BytesIO(viewer.images[0].value)).convert("RGB")).astype(int)
    assert abs(pixels[15 * scale, left + 10 * scale] - color / 2).max() <= 1
    viewer.controls.contours.value = True
    pixels = np.asarray(Image.open(io.BytesIO(viewer.images[0].value)).convert("RGB")).astype(int)
    assert not pixels[15 * scale, left + 10 * scale].any()
    assert abs(pixels[10 * scale, left + 10 * scale] - 2 * color).max() <= 1  # the edge


def descendants(widget):
    yield widget
    for child in getattr(widget, "children", ()):
        yield from descendants(child)


def cube():
    """(4, 6, 8) whose voxel (z, y, x) is 100 z + 10 y + x."""
    z, y, x = np.ogrid[:4, :6, :8]
    return (100 * z + 10 * y + x).astype(np.float32)


def test_planes_are_cut_as_they_are_looked_at():
    viewer, whole = SliceViewer({"a": cube()}, spacing=(2, 1, 1), planes=("axial", "coronal", "sagittal")), cube()
    assert viewer.controls.view().plane == "axial" and viewer.slices.shown(viewer.controls.view()) == (264, 352)
    viewer.slider.value = 3
    viewer.controls.plane.value = "coronal"
    assert (viewer.slider.value, viewer.slider.max) == (3, 5)  # the middle
    (image,) = viewer.slices.images(viewer.controls.view()).values()
    assert (image == whole[::-1, 3]).all()  # the last slice, nearest the head, on top
    assert viewer.slices.shown(viewer.controls.view()) == (8 * 33, 8 * 33)  # 4 slices of 2 mm are as high as 8 mm
    viewer.slider.value = 5
    viewer.controls.plane.value = "sagittal"
    (image,) = viewer.slices.images(viewer.controls.view()).values()
    assert (image == whole[::-1, :, 4]).all()
    viewer.controls.plane.value = "axial"
    assert (viewer.slider.value, viewer.slider.max) == (3, 3)  # where it was left
    viewer.controls.plane.value = "coronal"
    assert viewer.slider.value == 5


def test_time_of_a_cine_runs_to_the_right():
    viewer = SliceViewer({"a": cube()}, unit="frame", spacing=(99, 2, 1))
    assert viewer.slider.description == "frame" and viewer.controls.plane.options == ("frames", "x–t", "y–t")
    viewer.controls.plane.value = "x–t"
    viewer.slider.value = 2
    (image,) = viewer.slices.images(viewer.controls.view()).values()
    assert (image == cube()[:, 2].T).all()
    viewer.controls.plane.value = "y–t"
    viewer.slider.value = 7
    (image,) = viewer.slices.images(viewer.controls.view()).values()
    assert (image == cube()[:, :, 7].T).all()
    assert viewer.slices.shown(viewer.controls.view()) == (44 * 6, 44 * 4)  # y has 2 mm, a frame as many: 4 fill 8 mm


def test_the_box_of_the_zoom_is_cut_from_every_panel():
    whole = cube() / 400
    viewer = SliceViewer({"output": whole, "truth": whole + 0.125}, window=(0, 1), start=1, gain=5)
    viewer.controls.rows.value, viewer.controls.columns.value = (2, 4), (3, 6)
    shown, step = decode(viewer), 396 + pixels.GAP
    assert shown.shape == (264, 3 * step - pixels.GAP, 4)  # as high as the whole, 6 rows of 44
    gray = np.rint(255 * whole[1, 2:4, 3:6]).astype(int)
    assert (shown[::132, :396:132, 0] == gray).all()
    assert (shown[:, 2 * step :, :3] == np.array(colormaps["magma"](159, bytes=True)[:3])).all()  # 0.125 of 0.2
    viewer.controls.reset()
    assert viewer.controls.view().rows == (0, 6) and decode(viewer).shape[0] == 264
    viewer.controls.rows.value = 6, 6  # both handles in one place: one row
    assert viewer.controls.view().rows == (5, 6)


def test_window_gain_colors_and_hidden_panels():
    whole = np.full((1, 4, 4), 0.5)
    viewer = SliceViewer({"output": whole, "truth": whole + 0.05}, window=(0, 1), gain=5)
    viewer.controls.window.value = (0.5, 0.55)
    viewer.controls.cmap.value = "viridis"
    shown = decode(viewer)
    assert tuple(shown[0, 0, :3]) == tuple(map(int, colormaps["viridis"](0, bytes=True)[:3]))
    assert tuple(shown[0, 300, :3]) == tuple(map(int, colormaps["viridis"](255, bytes=True)[:3]))
    viewer.controls.window.value, viewer.controls.gain.value = (0, 1), 10
    assert tuple(decode(viewer)[0, -1, :3]) == tuple(map(int, colormaps["magma"](128, bytes=True)[:3]))  # .05 of .1
    for name in ("output", "truth"):
        viewer.controls.panels[name].value = False
    assert cells(viewer) == [("|output − truth| ×10", "")]


def test_many_panels_stand_in_lines():
    names = "abcdefg"
    viewer = SliceViewer({name: A for name in names}, error_of=[("a", "b"), ("c", "b")])
    found = [re.findall(r"<b>(.*?)</b>", labels.value.replace("\u00a0", " ")) for labels in viewer.labels]
    assert list(filter(None, found)) == [["a", "b", "c", "d", "e"], ["f", "g", "|a − b| ×5", "|c − b| ×5"]]
    widths = [Image.open(io.BytesIO(image.value)).width for image in viewer.images[:2]]
    assert widths[0] == widths[1] == 5 * (264 + pixels.GAP) - pixels.GAP  # the shorter line has an empty place
    assert [labels.value.count("repeat(5,") for labels in viewer.labels[:2]] == [1, 1]
    viewer.controls.across.value, viewer.controls.size.value = 2, 2
    assert Image.open(io.BytesIO(viewer.images[0].value)).width == 2 * (528 + pixels.GAP) - pixels.GAP
    assert [image.layout.display for image in viewer.images] == [None] * 5 + ["none"] * 4
    viewer.controls.reset()
    for name in names[:4]:
        viewer.controls.panels[name].value = False
    assert [image.layout.display for image in viewer.images] == [None] + ["none"] * 8


def test_parts_of_complex_data():
    wave = np.exp(1j * np.pi / 2 * np.arange(8))[None, None] * 2 * np.ones((1, 8, 1))  # along x: k-space has one point
    viewer = SliceViewer({"output": wave, "truth": wave * 1j, "real": abs(wave)}, error_of=("output", "truth"))

    def images():
        return viewer.slices.images(viewer.controls.view())

    parts = ("magnitude", "phase", "real", "imaginary", "log magnitude", "k-space")
    assert viewer.controls.part.options == parts and not viewer.controls.window.disabled
    np.testing.assert_allclose(images()["output"], 2, atol=1e-6)
    viewer.controls.part.value = "phase"
    np.testing.assert_allclose(images()["truth"][0, 0], np.pi / 2, atol=1e-6)
    np.testing.assert_allclose(images()["|output − truth|"], np.pi / 2, atol=1e-6)
    assert cells(viewer)[2] == ("real", "n/a: real data have no phase")
    viewer.controls.part.value = "imaginary"
    np.testing.assert_allclose(images()["output"][0, :2], [0, 2], atol=1e-6)
    assert not viewer.controls.window.disabled
    viewer.controls.part.value = "log magnitude"
    assert viewer.controls.window.disabled  # the scale is the part's own
    assert (images()["output"] == 0).all()  # dB of the maximum
    viewer.controls.part.value = "k-space"
    spectrum = images()["output"]
    assert spectrum[4, 6] == 0 and np.isclose(np.delete(spectrum.ravel(), 4 * 8 + 6), -80).all()  # dB of its maximum
    assert cells(viewer)[3] == ("|output − truth| ×5", "n/a: of images only")
    assert SliceViewer({"a": A}).controls.part.options == ("image", "spectrum")


def test_masks_are_black_and_white_whatever_the_window():
    mask = np.array([True, False, False, True])
    viewer = SliceViewer({"a": np.zeros((3, 5, 4)), "mask": mask}, window=(5, 9))
    panel = decode(viewer)[:, -4 * (260 // 5) :, 0]
    assert (panel[0, :: 260 // 5] == [255, 0, 0, 255]).all() and (panel == panel[:1]).all()


def test_jumps_to_the_worst_median_and_best_slice(tmp_path):
    values = [0.5, 0.9, 0.2, np.nan, 0.7]
    scores = lambda i: {"output": {"SSIM": values[i], "NMSE": values[i]}}  # noqa: E731
    viewer = SliceViewer(volumes(), scores=scores, save_to=tmp_path / "figures", title="p1")
    named = {w.description: w for w in descendants(viewer) if getattr(w, "description", "")}
    found = {}
    for place in ("worst", "median", "best"):
        viewer.controls.plane.value = "row"
        named[place].click()
        found[place] = viewer.slider.value, viewer.controls.plane.value
    assert found == {"worst": (2, "slice"), "median": (4, "slice"), "best": (1, "slice")}
    named["rank by"].value = ("output", "NMSE")  # the less the better
    named["worst"].click()
    assert viewer.slider.value == 1
    named["Save PNG"].click()
    (saved,) = (tmp_path / "figures").iterdir()
    assert saved.name.startswith("p1_slice_image_001_") and str(saved) in viewer.message.value
    with Image.open(saved) as picture:
        assert picture.width > 2 * 3 * viewer.slices.shown(viewer.controls.view())[1]  # each pixel at least twice


def test_every_control_has_a_label():
    viewer = SliceViewer(
        volumes() | {"label": A[:, :1, :1]}, resample=True, unit="frame", overlays={"label": volumes()["truth"] > 0}
    )
    for widget in descendants(viewer):
        if isinstance(widget, ipywidgets.ToggleButtons):  # a group: each of its buttons says what it chooses
            assert [t.partition(": ")[2] for t in widget.tooltips] == list(widget.options)
            assert {t.partition(": ")[0] for t in widget.tooltips} <= {"plane", "show"}
        elif hasattr(widget, "description") and not isinstance(widget, (ipywidgets.HTML, ipywidgets.Label)):
            assert widget.description, widget


def test_a_closed_viewer_is_freed():
    viewer = SliceViewer(volumes(), scores=lambda i: {"output": {"SSIM": 1.0}}, unit="frame")
    slices = weakref.ref(viewer.slices)
    viewer.close()
    del viewer
    gc.collect()
    assert slices() is None


def test_unusual_numbers_are_shown():
    wave = np.exp(1j * np.arange(8.0))[None, None] * np.ones((1, 8, 1))
    conjugate = torch.tensor(wave).conj()
    for volume in (wave.astype(">c8"), wave.astype(np.clongdouble), wave[:, ::-1], conjugate, conjugate.imag):
        viewer = SliceViewer({"a": volume}, window=[-1, 0], spacing=np.ones(3))
        for part in viewer.controls.part.options:
            viewer.controls.part.value = part
            assert viewer.images[0].value
    brain = torch.full((1, 8, 8), 0.5, dtype=torch.bfloat16, requires_grad=True)
    shown = decode(SliceViewer({"a": brain, "b": brain[:, ::2]}, window=(0, 1), resample=True))
    assert (shown[0, [0, -1], 0] == 128).all()


def test_the_errors_scale_is_that_of_the_images():
    wave = np.full((1, 4, 4), 0.5 + 0j)
    viewer = SliceViewer({"output": wave, "truth": wave - 0.4}, window=(0, 1), gain=1)
    expected = {"magnitude": 0.4, "real": 0.2}  # of a window of 1, and of −1 to 1
    for part, level in expected.items():
        viewer.controls.part.value = part
        color = colormaps["magma"](int(np.rint(255 * level)), bytes=True)[:3]
        assert tuple(decode(viewer)[0, -1, :3]) == tuple(map(int, color)), part


def test_the_error_of_complex_magnitudes_is_named_so():
    viewer = SliceViewer({"output": A + 1j, "truth": A + 1})
    assert cells(viewer)[2][0] == "||output| − |truth|| ×5"
    assert (viewer.slices.images(viewer.controls.view())["|output − truth|"] == 0).all()
    viewer.controls.part.value = "real"
    assert cells(viewer)[2][0] == "|output − truth| ×5"
    assert (viewer.slices.images(viewer.controls.view())["|output − truth|"] == 1).all()


def test_decibels_are_of_the_highest_finite_value():
    volume = np.full((1, 4, 4), 1 + 0j)
    volume[0, 0, 0], volume[0, 0, 1] = np.inf, 0.1
    viewer = SliceViewer({"a": volume})
    viewer.controls.part.value = "log magnitude"
    shown = viewer.slices.images(viewer.controls.view())["a"]
    assert shown[1, 1] == 0 and shown[0, 1] == pytest.approx(-20) and np.isinf(shown[0, 0])


def test_scores_come_by_themselves(tmp_path):
    both, path = volumes(3, 16, 12), tmp_path / "a.npy"
    np.save(path, both["output"])
    viewer = SliceViewer({"output": path, "mask": np.ones((3, 16, 12), bool), "truth": both["truth"]}, start=1)
    expected = metrics.ssim(both["output"][1], both["truth"][1], both["truth"].max())
    found = dict(cells(viewer))
    assert found["output"].startswith(f"SSIM {expected:.3f} · PSNR ") and not found["mask"]
    assert {"worst", "best"} <= {getattr(w, "description", "") for w in descendants(viewer)}
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
    viewer.slider.value = 2  # the file is closed
    assert "synchronously" in viewer.message.value
    viewer = SliceViewer(volumes(), scores=lambda i: {"output": {"SSIM": [0.0, 1.0, 2.0][i]}}, start=0)
    next(w for w in descendants(viewer) if getattr(w, "description", "") == "worst").click()
    assert "IndexError: list index out of range" in viewer.message.value
    viewer = SliceViewer({"a": A}, start="first")
    assert viewer.children == (viewer.message,) and "start is &#x27;first&#x27;" in viewer.message.value
    assert SliceViewer({"a": A}, scores=lambda i: 1 / 0).images[0].value != b""  # the picture is there
    for scores in (lambda i: 1 / 0, lambda i: None, lambda i: {"a": {"SSIM": "good"}}):
        assert "Error" in SliceViewer({"a": A}, scores=scores).message.value


def test_only_time_is_played():
    viewer = SliceViewer({"a": cube()}, unit="frame")
    player = viewer.controls.player
    assert player.value == viewer.slider.value > 0  # linked in the browser, where the player's would win
    player.playing = True
    viewer.controls.plane.value = "x–t"
    assert viewer.controls.playing.layout.display == "none" and not player.playing
    viewer.controls.plane.value = "frames"
    assert viewer.controls.playing.layout.display is None


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
    assert "lies up to 4.5 mm away from 'a', by the files' affines" in html.unescape(viewer.message.value)
    descendants(viewer.children[1]).__next__().click()
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
    for told in (html.unescape(viewer.message.value), capsys.readouterr().out):
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
    descendants(viewer.children[1]).__next__().click()
    assert "'b' and 'a' share no place, by the files' affines" in html.unescape(viewer.message.value)


def test_an_error_of_real_data_says_why_there_is_no_phase():
    real = np.ones((3, 8, 8))
    viewer = SliceViewer({"output": real * 1j, "truth": real})
    viewer.controls.part.value = "phase"
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
