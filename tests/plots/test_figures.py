import os
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.text import Text
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook
from PIL import Image
from refusals import refused

import lib
from lib import InputError, plots
from lib.plots.panels import magnitude, window_of
from lib.plots.style import wrap

RNG = np.random.default_rng(0)
LONG = "VarNet → RCAN, frozen cascade with GRAPPA, 4-fold"


def history(rows=12):
    e = np.arange(rows)
    return pd.DataFrame(
        {
            "epoch": e,
            "train_loss": 1 / (e + 1),
            "valid_loss": 2 / (e + 1),
            "ssim": 1 - 0.1 / (e + 1),
            "time": ["00:01"] * rows,
        }
    )


def table(people, methods=("zero-filled", LONG)):
    rows = [(m, p, 0.8 + 0.1 * j + 0.001 * i) for j, m in enumerate(methods) for i, p in enumerate(people)]
    return pd.DataFrame(rows, columns=["method", "person", "ssim"])


def texts(fig):
    """The texts that a figure shows, and their boxes in pixels."""
    fig.draw_without_rendering()
    hidden = set()  # matplotlib keeps labels of ticks outside the axes, and doesn't draw them
    for axis, (low, high) in ((a, sorted(a.get_view_interval())) for ax in fig.axes for a in (ax.xaxis, ax.yaxis)):
        labels = zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True)
        hidden |= {label for at, label in labels if not low <= at <= high}
    found = [t for t in fig.findobj(Text) if t.get_visible() and t.get_text().strip() and t not in hidden]
    return [(t, t.get_window_extent()) for t in found]


def images(fig):
    return {ax.get_title(): ax.images[0] for ax in fig.axes if ax.images}


FIGURES = {
    "montage": lambda: plots.montage(
        {LONG: RNG.random((30, 24)), "b": RNG.random((30, 24)), "c": None, "d": "no grid " * 8, "truth": RNG.random((30, 24))},
        title=LONG * 2, errors={"b": 10}, notes={LONG: "SSIM 0.947 · PSNR 34.1 dB · NMSE 0.0123", "c": "why"},
    ),
    "montage of wide strips": lambda: plots.montage({f"{LONG} {i}": RNG.random((20, 90)) for i in range(8)}, title="t"),
    "montage of towers": lambda: plots.montage({LONG: RNG.random((90, 10)), "note": RNG.random((9, 1))}, notes={"note": LONG}),
    "curves": lambda: plots.curves(history(), title=LONG * 2),
    "many curves": lambda: plots.curves({f"{LONG[:20]} {i}": ([0, 1], [0, i]) for i in range(10)}, xlabel="x", ylabel="y"),
    "boxes": lambda: plots.boxes(table([f"person {i}" for i in range(6)]), "ssim", title=LONG * 2),
    "boxes of many": lambda: plots.boxes(table([f"a person named {i}" for i in range(45)], ("a",)), "ssim"),
}  # fmt: skip


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_clipped_tiny_or_left_open(name):
    before = dict(matplotlib.rcParams)
    with plt.rc_context({"font.size": 4, "axes.titlesize": 4, "text.color": "pink"}):  # a reader's own matplotlibrc
        fig = FIGURES[name]()
    assert plt.get_fignums() == []
    assert dict(matplotlib.rcParams) == before
    assert 110 <= fig.dpi <= 150
    shown = texts(fig)
    for text, box in shown:
        assert text.get_fontsize() >= 9
        assert to_hex(text.get_color()) != to_hex("pink")
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= fig.bbox.x1 + 1 and box.y1 <= fig.bbox.y1 + 1, (
            text.get_text()
        )
    for i, (one, a) in enumerate(shown):
        for two, b in shown[:i]:
            apart = a.x1 <= b.x0 + 1 or b.x1 <= a.x0 + 1 or a.y1 <= b.y0 + 1 or b.y1 <= a.y0 + 1
            assert apart, f"{one.get_text()!r} runs into {two.get_text()!r}"


def test_magnitude_takes_any_array():
    z = np.array([[3 + 4j, 0], [1j, -2]])
    expected = np.array([[5, 0], [1, 2]], np.float32)
    leaf = torch.tensor(z, requires_grad=True)
    for x in (z, torch.tensor(z), torch.tensor(z).conj(), leaf):
        np.testing.assert_array_equal(magnitude(x), expected)
    for x in (np.array([-1, 2], np.int16), torch.tensor([-1.0, 2]).bfloat16(), [-1, 2]):
        out = magnitude(x)
        assert out.dtype == np.float32 and out.tolist() == [-1, 2]
    assert magnitude(torch.tensor([2j]).conj().imag) == -2  # its sign is a flag that numpy doesn't know


def test_window_is_the_truths():
    truth = np.arange(201.0)  # 201 evenly spaced values: percentile 99.5 is the last but one
    truth[0] = 10
    assert window_of({"output": truth * 100, "truth": truth, "none": None}) == (1, 199)
    assert window_of({"a": np.arange(100.0), "b": np.arange(100.0, 201), "c": "n/a"}) == (0, 199)
    assert window_of({"truth": np.array([np.nan, 2, np.inf, 2])}) == (2, 3)
    assert window_of({"truth": np.array([np.nan])}) == (0, 1)
    assert window_of({"truth": None, "a": np.array([0.0, 2])}, (3, 7)) == (3, 7)
    with refused(where=r"window is \(2, 2\), expected \(low, high\) with low < high"):
        window_of({}, (2, 2))


def test_montage_shows_all_images_in_one_window_and_errors_with_their_gain():
    truth = np.linspace(0, 1, 24).reshape(4, 6)
    truth[0, 0] = -1
    output = torch.tensor(truth * 1.5, dtype=torch.complex64) * torch.exp(torch.tensor(0.3j))
    fig = plots.montage(
        {"output": output, "truth": truth, "error": truth - 2},
        errors={"error": 4},
        notes={"output": "SSIM .947"},
        title="t",
    )
    shown = images(fig)
    low, high = window_of({"truth": truth})
    assert list(shown) == ["output", "truth", "error ×4"]
    assert shown["output"].get_clim() == shown["truth"].get_clim() == (low, high)
    assert shown["error ×4"].get_clim() == pytest.approx((0, (high - low) / 4))
    np.testing.assert_allclose(shown["output"].get_array(), abs(truth) * 1.5, rtol=1e-6)
    np.testing.assert_allclose(shown["error ×4"].get_array(), 2 - truth, rtol=1e-6)
    assert (shown["truth"].cmap.name, shown["error ×4"].cmap.name) == ("gray", "magma")
    assert [ax.get_xlabel() for ax in fig.axes] == ["SSIM .947", "", ""]
    assert fig.get_suptitle() == "t"
    fig.draw_without_rendering()
    sizes = [np.round(ax.get_window_extent().size, 1).tolist() for ax in fig.axes]
    assert sizes == [sizes[0]] * 3 and sizes[0][0] / sizes[0][1] == pytest.approx(1.5, rel=0.01)


def test_montage_marks_missing_panels_and_bad_pixels():
    image = np.ones((8, 8))
    image[2, 2:5] = np.nan, np.inf, -np.inf
    panels = {"a": image, "b": None, "c": None, "d": "not a grid", "error": "no output"}
    fig = plots.montage(panels, (0, 2), columns=2, errors={"error": 5}, notes={"a": "SSIM 1", "b": "no weights"})
    assert [t.get_text() for ax in fig.axes for t in ax.texts] == [
        "n/a: no weights", "n/a", "n/a: not a grid", "n/a: no output",
    ]  # fmt: skip
    assert [ax.get_xlabel() for ax in fig.axes] == ["SSIM 1\n3 px not finite", "", "", "", ""]
    assert len(fig.axes) == 5
    painted = fig.axes[0].images[0].to_rgba(fig.axes[0].images[0].get_array(), bytes=True)
    blue = [int(plots.BAD[i : i + 2], 16) for i in (1, 3, 5)]
    assert painted[2, 2:5, :3].tolist() == [blue] * 3
    assert (painted[3] == painted[3, 0]).all() and painted[3, 0, :3].tolist() != blue


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda i: plots.montage({}), "montage: no panels, expected at least one name"),
        (lambda i: plots.montage({"a": i[None]}), r"montage: panel 'a' has shape \(1, 4, 6\), expected \(H, W\)"),
        (lambda i: plots.montage({"a": i[:0]}), r"montage: panel 'a' has shape \(0, 6\), expected \(H, W\)"),
        (
            lambda i: plots.montage({"error": i}, errors={"eror": 5}),
            "errors: unknown name 'eror'; did you mean 'error'",
        ),
        (lambda i: plots.montage({"a": i}, notes={"xyz": ""}), "notes: unknown name 'xyz'; expected one of a"),
        (lambda i: plots.montage({"a": i}, errors={"a": 0}), "gain of 'a' is 0, expected more than 0"),
        (lambda i: plots.montage({"a": i}, (3, 1)), r"window is \(3, 1\), expected \(low, high\)"),
        (lambda i: plots.curves({}), "curves: the history holds no numbers"),
        (lambda i: plots.curves(history(0)), "curves: the history holds no numbers"),
        (
            lambda i: plots.curves(history(), ["valid_los"]),
            "curves: unknown name 'valid_los'; did you mean 'valid_loss'",
        ),
        (lambda i: plots.boxes(table("ab"), "sim"), "boxes: unknown name 'sim'; did you mean 'ssim'"),
        (lambda i: plots.boxes(table("aab"), "ssim"), "6 rows for 4 pairs of method and person, expected one value"),
        (lambda i: plots.boxes(table(""), "ssim"), "0 rows for 0 pairs"),
        (lambda i: plots.save(plots.montage({"a": i}), "figure.jpg"), "figure.jpg ends in '.jpg', expected '.png'"),
    ],
)
def test_errors_are_one_clear_line(call, message):
    with pytest.raises(InputError, match=message) as error:
        call(np.ones((4, 6)))
    assert "\n" not in str(error.value)
    assert plt.get_fignums() == []


def test_curves_draw_the_losses_together_and_each_metric_alone():
    frame = history()
    fig = plots.curves(frame, title="VarNet")
    lines = [[line.get_label() for line in ax.lines] for ax in fig.axes]
    assert lines == [["train_loss", "valid_loss"], ["ssim"]]
    np.testing.assert_array_equal(fig.axes[0].lines[1].get_xydata(), frame[["epoch", "valid_loss"]])
    assert fig.axes[0].get_xlabel() == "epoch" and fig.axes[1].get_title(loc="left") == "ssim"
    fig.draw_without_rendering()
    assert all(tick == round(tick) for tick in fig.axes[0].get_xticks())

    assert [len(ax.lines) for ax in plots.curves(frame, ["ssim"], log=True).axes] == [1]
    assert plots.curves(frame, ["ssim"], log=True).axes[0].get_yscale() == "log"
    later = frame.drop(columns="epoch").set_index(frame.index + 7)
    assert plots.curves(later).axes[0].lines[0].get_xdata()[0] == 7

    fig = plots.curves(
        {str(i): (torch.arange(3), torch.full((3,), i)) for i in range(20)}, xlabel="step", ylabel="NMSE"
    )
    assert (fig.axes[0].get_xlabel(), fig.axes[0].get_ylabel()) == ("step", "NMSE")
    looks = {(line.get_color(), line.get_linestyle()) for line in fig.axes[0].lines}
    assert len(looks) == 20
    assert fig.axes[0].lines[7].get_ydata().tolist() == [7, 7, 7]


def test_boxes_give_one_dot_a_person_with_one_look():
    frame = table("abcdef", ("x", "y", "z"))
    frame.loc[(frame.method == "y") & (frame.person > "c"), "ssim"] = None
    frame.loc[frame.method == "z", "ssim"] = np.nan
    fig = plots.boxes(frame, "ssim", title="t")
    ax = fig.axes[0]
    dots = {line.get_label(): line for line in ax.lines if line.get_marker() != "None" and len(line.get_xdata()) == 3}
    assert list(dots) == list("abcdef")
    np.testing.assert_allclose(dots["b"].get_xdata(), [0.801, 0.901, np.nan])
    rows = np.stack([line.get_ydata() for line in dots.values()])
    np.testing.assert_allclose(rows - rows[:, :1], [[0, 1, 2]] * 6, atol=1e-12)  # at the same height in every row
    assert len({*rows[:, 0]}) == 6 and abs(rows[:, 0]).max() < 0.33
    assert [t.get_text() for t in ax.get_yticklabels()] == ["x\nn = 6", "y\nn = 3", "z\nn/a"]
    assert len(ax.patches) == 1  # a box from five persons on
    box = ax.patches[0].get_path().vertices
    np.testing.assert_allclose([box[:, 0].min(), box[:, 0].max()], np.percentile(0.8 + 0.001 * np.arange(6), [25, 75]))
    assert ax.collections[0].get_segments()[0][:, 0].tolist() == pytest.approx([0.901] * 2)  # y's median
    fig.draw_without_rendering()
    assert ax.get_legend().get_window_extent().x0 >= ax.get_window_extent().x1

    many = plots.boxes(table([str(i) for i in range(70)], ("x",)), "ssim").axes[0]
    looks = {(line.get_color(), line.get_marker()) for line in many.lines if line.get_label() in map(str, range(70))}
    assert len(looks) == 70


def test_colors_are_told_apart_without_color_vision():
    def lightness(color):
        r, g, b = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
        return 0.2126 * r**2.2 + 0.7152 * g**2.2 + 0.0722 * b**2.2

    assert max(map(lightness, plots.PALETTE)) < 0.5  # seen on white
    assert len({(c, m) for c, m in zip(plots.PALETTE * 10, plots.MARKERS * 7, strict=True)}) == 70
    bad = tuple(int(plots.BAD[i : i + 2], 16) for i in (1, 3, 5))
    for name in ("gray", plots.ERROR_CMAP):
        colors = matplotlib.colormaps[name](np.arange(256), bytes=True)
        assert abs(np.array(colors)[:, :3].astype(int) - bad).max(1).min() > 40


def test_the_legend_and_long_reasons_stay_within_the_picture():
    classes = ["none", "left kidney", "right kidney", "liver", "spleen", "pancreas", "gallbladder", "stomach"]
    panels = {"a": RNG.random((20, 20)), "b": "run nope: got 'nope', expected one of: " + "a_long_name, " * 80}
    for shown in ({"a": panels["a"]}, panels):
        figure = plots.montage(shown, columns=len(shown), classes=classes)
        figure.draw_without_rendering()
        whole, (legend,) = figure.bbox, figure.legends
        boxes = [legend.get_window_extent(), *(t.get_window_extent() for ax in figure.axes for t in ax.texts)]
        assert all(whole.x0 <= b.x0 and b.x1 <= whole.x1 and whole.y0 <= b.y0 and b.y1 <= whole.y1 for b in boxes)
        assert len(legend.get_texts()) == 7


def test_save_writes_whole_files_and_the_same_ones(tmp_path, monkeypatch):
    image = RNG.random((9, 9))
    path = plots.save(plots.montage({"a": image}), tmp_path / "figures" / "a.png")
    assert path == tmp_path / "figures" / "a.png"
    first = path.read_bytes()
    with Image.open(path) as picture:
        assert picture.size == plots.montage({"a": image}).canvas.get_width_height()
    assert plots.save(plots.montage({"a": image}), str(path)).read_bytes() == first

    figure = plots.montage({"a": image * 0 + 1})
    monkeypatch.setattr(os, "replace", lambda *paths: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        plots.save(figure, path)
    assert path.read_bytes() == first and os.listdir(path.parent) == ["a.png"]

    kept = plt.figure()
    monkeypatch.undo()
    plots.save(kept, path)
    assert plt.get_fignums() == []


def test_a_notebook_shows_a_figure_once(tmp_path):
    sources = [
        "import numpy as np\nfrom lib import plots",
        "plots.montage({'a': np.eye(9)})",
        "fig = plots.montage({'a': np.eye(9)})",
    ]
    notebook = new_notebook(cells=[new_code_cell(source) for source in sources])
    NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [sum("image/png" in output.get("data", {}) for output in cell.outputs) for cell in notebook.cells]
    assert shown == [0, 1, 0], nbformat.writes(notebook)


def test_pyplot_is_imported_here_only():
    users = [path for path in Path(lib.__file__).parent.rglob("*.py") if "pyplot" in path.read_text()]
    assert {path.parent.name for path in users} == {"plots"}


def test_labels_lie_over_the_image_in_the_colors_of_their_classes():
    label = np.zeros((8, 8), int)
    label[2:4, 2:4], label[5:7, 5:7] = 1, 2
    figure = plots.montage(
        {"a": np.ones((8, 8)), "b": np.ones((8, 8))}, labels={"b": label}, classes=["none", "x", "y"]
    )
    plain, laid = figure.axes[:2]
    assert len(plain.images) == 1 and len(laid.images) == 2
    over = laid.images[1].to_rgba(laid.images[1].get_array())
    assert not over[0, 0, 3] and over[2, 2, 3]
    assert tuple(over[2, 2, :3]) == plots.CLASSES(0)[:3] != tuple(over[5, 5, :3]) == plots.CLASSES(1)[:3]
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["x", "y"]
    with refused(where="montage, labels", found="unknown name 'c'"):
        plots.montage({"a": np.ones((8, 8))}, labels={"c": label})


def test_what_is_not_labeled_is_hatched_and_said_so():
    label = np.zeros((8, 8), int)
    label[:4], label[4:] = 1, 255
    panels = dict.fromkeys(("a", "b"), np.ones((8, 8)))
    about = {"labels": {"a": label * (label < 255), "b": label}, "classes": ["none", "x"], "ignore_index": 255}
    figure = plots.montage(panels, **about)
    whole, partly = figure.axes[:2]
    assert not whole.collections and [c.hatches for c in partly.collections] == [["////"]]
    over = partly.images[1].to_rgba(partly.images[1].get_array())
    assert over[0, 0, 3] and not over[5, 0, 3]
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["x", "not labeled"]
    whole = plots.montage(panels, **about | {"labels": {"a": label * (label < 255)}})
    assert [t.get_text() for t in whole.legends[0].get_texts()] == ["x"]


def test_outlines_follow_the_borders_of_both_labels():
    truth, found = np.zeros((20, 20), int), np.zeros((20, 20), int)
    truth[5:15, 5:15], found[5:15, 8:18] = 1, 1
    panels = dict.fromkeys(("a", "b"), np.ones((20, 20)))
    about = {"outlines": {"b": {"label": truth, "prediction": found}}, "classes": ["none", "x"]}
    figure = plots.montage(panels, **about)
    plain, outlined = figure.axes[:2]
    assert not plain.collections and len(outlined.collections) == 2
    for drawn, label in zip(outlined.collections, (truth, found), strict=True):
        box = drawn.get_paths()[0].get_extents()
        rows, columns = np.nonzero(label)
        assert (
            np.abs([box.x0 - columns.min(), box.x1 - columns.max(), box.y0 - rows.min(), box.y1 - rows.max()]).max()
            == 0.5
        )
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["x", "label, outline", "prediction, outline"]
    with refused(where="montage, outlines", found="unknown name 'c'"):
        plots.montage(panels, outlines={"c": {}})


def test_a_title_s_own_lines_stay():
    assert wrap("task: case\nDice a 0.37, b 0.00", 6.7, 12) == "task: case\nDice a 0.37, b 0.00"
    assert wrap("one two three", 0.8) == "one two\nthree" and wrap(None, 3) == ""
