import io
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from PIL import Image

import lib
from lib import InputError, plots
from lib.viewer import SliceViewer, show, slice_viewer

RNG = np.random.default_rng(0)


def decode(viewer):
    """The viewer's PNG, (H, W, 4) with its transparency."""
    return np.array(Image.open(io.BytesIO(viewer.image.value)).convert("RGBA"))


def cells(viewer):
    """[(name, small text)] of the labels."""
    return re.findall(r"<div><b>(.*?)</b><br><small>(.*?)</small></div>", viewer.labels.value)


def volumes(slices=5, height=8, width=6):
    truth = RNG.random((slices, height, width))
    return {"zero-filled": truth * 0.5, "output": truth * 0.9, "truth": truth}


def test_pixels_by_hand():
    truth = np.array([[[0, 1], [2, 4]], [[4, 4], [4, 4]]], np.int16)  # window 0 to 4, and 8 is beyond
    output = truth + np.array([[[0, 0.1], [-0.2, 4]]])
    viewer = SliceViewer({"output": output, "truth": truth}, window=(0, 4), gain=5, start=0)
    assert viewer.scale == 130  # 2 pixels → at least 260
    width, gap = 260, slice_viewer.GAP
    shown = decode(viewer)
    assert shown.shape == (260, 3 * width + 2 * gap, 4)
    first, second, third = (shown[:, i * (width + gap) :][:, :width] for i in range(3))
    for panel in (first, second, third):  # whole factors: each pixel became a block of one colour
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
    assert cells(viewer) == [("output", ""), ("truth", ""), ("|output − truth| ×5", "")]


def test_no_image_color_is_transparent():
    for colors in (slice_viewer.GRAY, slice_viewer.ERROR, slice_viewer.BAD[None]):
        assert slice_viewer.CLEAR not in set(map(tuple, colors.tolist()))


@pytest.mark.parametrize(("height", "scale"), [(1, 260), (130, 2), (131, 2), (259, 2), (260, 1), (320, 1)])
def test_panels_are_at_least_260_pixels_high(height, scale):
    viewer = SliceViewer({"a": np.zeros((1, height, 3)), "b": np.zeros((1, height, 3))})
    assert viewer.scale == scale
    assert decode(viewer).shape[:2] == (height * scale, 2 * 3 * scale + slice_viewer.GAP)
    assert viewer.image.layout.width == viewer.labels.layout.width == f"{2 * 3 * scale + slice_viewer.GAP}px"


def test_the_slider_moves_picture_and_labels():
    calls = []

    def notes(index):
        calls.append(index)
        return {"output": f"SSIM 0.{index}"}

    viewer = SliceViewer(volumes(), notes=notes)
    assert (viewer.slider.min, viewer.slider.value, viewer.slider.max) == (0, 2, 4)  # the middle one first
    assert viewer.slider.layout.width == "640px" and viewer.slider.description == "slice"
    assert [w._dom_classes for w in viewer.children] == [("slice-slider",), ("slice-labels",), ("slice-image",)]
    seen = {}
    for index in (4, 0, 1, 3, 2):
        viewer.slider.value = index
        seen[index] = viewer.image.value
        assert cells(viewer)[1] == ("output", f"SSIM 0.{index}")
    assert len(set(seen.values())) == 5
    assert calls == [2, 4, 0, 1, 3]  # slice 2 came back from the cache
    assert viewer.frame(2)[0] == viewer.image.value
    fresh = SliceViewer(viewer.slices.volumes, start=3)
    assert fresh.slider.value == 3 and fresh.image.value == seen[3]


def test_window_comes_from_the_truth():
    both = volumes()
    low, high = np.percentile(both["truth"].astype(np.float32), (0, 99.5))
    assert SliceViewer(both).slices.window == pytest.approx((low, high))
    assert SliceViewer(both | {"output": both["output"] * 100}).slices.window == pytest.approx((low, high))
    big = np.zeros((70, 520, 4)) + np.arange(70)[:, None, None]
    assert SliceViewer({"truth": big}).slices.window == pytest.approx((0, 68))  # from every second slice


def test_pixels_that_are_not_finite_are_marked_and_counted():
    both = volumes(1, 260, 4)
    both["output"][0, 5, :3] = np.nan, np.inf, -np.inf
    both["truth"][0, 5, 1] = np.inf
    viewer = SliceViewer(both)
    shown, step = decode(viewer), 4 + slice_viewer.GAP
    blue = [*slice_viewer.BAD.tolist(), 255]
    assert shown[5, step : step + 4].tolist()[:3] == [blue] * 3
    marked = (shown == blue).all(-1)
    assert [marked[:, i * step : i * step + 4].sum() for i in range(4)] == [0, 3, 1, 3]
    assert [small for _, small in cells(viewer)] == ["", "3 px not finite", "1 px not finite", "3 px not finite"]


def test_missing_volumes_say_why():
    truth = volumes()["truth"]
    viewer = SliceViewer(
        {"output": None, "GRAPPA": "not a <grid>", "truth": truth},
        notes=lambda i: {"output": "no weights", "truth": "<&>"},
    )
    assert cells(viewer) == [
        ("output", "n/a: no weights"), ("GRAPPA", "n/a: not a &lt;grid&gt;"), ("truth", "&lt;&amp;&gt;"),
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
    expected = SliceViewer(both).image.value
    assert (
        SliceViewer({name: torch.tensor(volume, requires_grad=True) for name, volume in both.items()}).image.value
        == expected
    )
    turned = {name: volume * np.complex64(1j) for name, volume in both.items()}
    assert SliceViewer(turned).image.value == expected
    with h5py.File(tmp_path / "result.h5", "w") as file:
        for name, volume in both.items():
            file[name] = volume
        assert SliceViewer({name: file[name] for name in both}).image.value == expected


A = np.zeros((3, 8, 8))


@pytest.mark.parametrize(
    ("given", "settings", "message"),
    [
        ({}, {}, "SliceViewer: no volumes, expected at least one volume (slices, H, W)"),
        ({"a": None, "b": "no"}, {}, "SliceViewer: n/a only (a, b), expected at least one volume (slices, H, W)"),
        ({"a": A[0]}, {}, "SliceViewer: 'a' has shape (8, 8), expected (slices, H, W)"),
        ({"a": A[:0]}, {}, "SliceViewer: 'a' has shape (0, 8, 8), expected (slices, H, W)"),
        ({"a": A[:2], "truth": A}, {}, "SliceViewer: 'a' has shape (2, 8, 8), expected (3, 8, 8) like 'truth'"),
        ({"a": A, "b": A[0]}, {}, "SliceViewer: 'b' has shape (8, 8), expected (3, 8, 8) like 'a'"),
        ({"a": A}, {"start": 3}, "SliceViewer: slice 3, expected 0 to 2"),
        ({"a": A}, {"gain": 0}, "SliceViewer: gain is 0, expected more than 0"),
        ({"a": A}, {"window": (1, 1)}, "window is (1, 1), expected (low, high) with low < high"),
        ({"input": A}, {"error_of": ("inputs", "input")}, "error_of: unknown name 'inputs'; did you mean 'input'?"),
        ({"a": A}, {"notes": lambda i: {"xyz": ""}}, "notes: unknown name 'xyz'; expected one of a"),
    ],
)
@pytest.mark.parametrize("interactive", [True, False])
def test_errors_are_one_clear_line(given, settings, message, interactive):
    with pytest.raises(InputError, match=re.escape(message)) as error:
        show(given, interactive, **settings)
    assert "\n" not in str(error.value)


def test_static_pictures_need_no_widget(monkeypatch):
    both = volumes()
    viewer = show(both, True, start=1, gain=3, notes=lambda i: {"output": f"slice {i}"})
    assert isinstance(viewer, SliceViewer) and viewer.slider.value == 1

    def refuse(*args, **kwargs):
        raise AssertionError("a widget was made")

    monkeypatch.setattr("ipywidgets.Widget.__init__", refuse)
    still = show(both, False, start=1, gain=3, notes=lambda i: {"output": f"slice {i}"})
    for figure, index in ((still, 1), (viewer.static(), 1), (viewer.static(4), 4)):
        assert isinstance(figure, Figure)
        assert [ax.get_title() for ax in figure.axes] == ["zero-filled", "output", "truth", "|output − truth| ×3"]
        np.testing.assert_allclose(figure.axes[1].images[0].get_array(), both["output"][index], rtol=1e-6)
        np.testing.assert_allclose(figure.axes[3].images[0].get_array(), both["truth"][index] * 0.1, atol=1e-6)
        assert figure.axes[0].images[0].get_clim() == pytest.approx(viewer.slices.window)
        assert figure.axes[1].get_xlabel() == f"slice {index}" and figure.get_suptitle() == f"slice {index}"
    assert show(both, False).get_suptitle() == "slice 2"


def test_a_single_slice_has_nothing_to_slide():
    viewer = SliceViewer({"a": A[:1]})
    assert viewer.slider.disabled and viewer.slider.max == 0


def test_widgets_live_in_viewer_only():
    users = [path for path in Path(lib.__file__).parent.rglob("*.py") if "import ipywidgets" in path.read_text()]
    assert {path.parent.name for path in users} == {"viewer"}


def test_overlays_colour_the_pixels_of_their_classes():
    volume, label = np.zeros((2, 40, 30)), np.zeros((2, 40, 30), int)
    label[1, 10:20, 5:15] = 2
    viewer = SliceViewer(
        {"image": volume, "label": volume}, overlays={"label": label}, classes=["none", "x", "<y>"], start=1
    )
    pixels = np.asarray(Image.open(io.BytesIO(viewer.image.value)).convert("RGB")).astype(int)
    scale = pixels.shape[0] // 40
    left = 30 * scale + 6
    color = np.array(plots.CLASSES(1, bytes=True)[:3]) // 2
    assert abs(pixels[15 * scale, left + 10 * scale] - color).max() <= 1
    assert not pixels[15 * scale, 10 * scale].any() and not pixels[0, left].any()
    assert "&lt;y&gt;" in viewer.labels.value
    with pytest.raises(InputError, match="the overlay of 'label' has shape"):
        SliceViewer({"label": volume}, overlays={"label": label[:1]})
