"""Every gesture on SliceViewer's canvas, in headless Chromium: the pixels read back are those that numpy expects."""

import numpy as np
import pytest
from canvas import Canvas
from lab import find_chromium
from matplotlib import colormaps

from lib.viewer import SliceViewer, pixels

pytestmark = pytest.mark.browser
RNG = np.random.default_rng(0)
SHAPE = (12, 40, 32)


HELD = """async count => {
    for (let i = 0; i < count; i++) {
        document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowRight', bubbles: true}));
        await new Promise(requestAnimationFrame);
    }
}"""


@pytest.fixture
def show():
    """A function that shows a viewer in a page; nothing may have gone wrong in it at the end."""
    opened = []

    def open_page(viewer, **settings):
        opened.append(Canvas(viewer, find_chromium(), **settings))
        return opened[-1]

    yield open_page
    assert [canvas.close() for canvas in opened] == [[]] * len(opened)


def volumes():
    truth = RNG.random(SHAPE, np.float32) * 1000
    truth[:, 3, 4] = np.nan
    return {"output": truth + RNG.normal(size=SHAPE).astype(np.float32) * 30, "truth": truth}


def at_centers(shown, size, zoom=1.0, center=(0.5, 0.5)):
    """The canvas's colors (H, W, 3) at the centers of an image's pixels, where they are seen, and which those are."""
    (tall, wide), (height, width) = shown.shape[:2], size
    scale = min(tall / height, wide / width) * zoom
    rows = tall / 2 + (np.arange(height) + 0.5 - center[1] * height) * scale
    columns = wide / 2 + (np.arange(width) + 0.5 - center[0] * width) * scale
    rows, columns = rows.astype(int), columns.astype(int)
    inside = (np.arange(height)[(rows >= 0) & (rows < tall)], np.arange(width)[(columns >= 0) & (columns < wide)])
    return shown[rows[inside[0]][:, None], columns[inside[1]], :3], np.ix_(*inside)


def check(canvas, number, image, low, high, cmap="gray", shown=None, **view):
    """A panel's canvas, or `shown`, is an image through a window and a color map, to the last bit."""
    level = (image.astype(np.float32) - np.float32(low)) * np.float32(255 / (high - low))
    with np.errstate(invalid="ignore"):
        table = np.array(colormaps[cmap](np.arange(256), bytes=True))[:, :3]
        expected = table[np.floor(np.nan_to_num(level).clip(0, 255) + np.float32(0.5)).astype(int)]
    expected = np.where(np.isfinite(image)[..., None], expected, pixels.BAD)
    found, seen = at_centers(canvas.pixels(number) if shown is None else shown, image.shape, **view)
    assert found.size and np.array_equal(found, expected[seen])


def test_the_wheel_turns_slices_and_a_drag_of_the_right_button_sets_the_window(show):
    both = volumes()
    canvas = show(SliceViewer(both, window=(0, 1000), gain=5, start=5, title="p1"))
    output, truth = both.values()
    canvas.do(canvas.page.mouse.move(*canvas.center()))
    for step in (100, 100, -100):
        canvas.do(canvas.page.mouse.wheel(0, step))
        canvas.wait()
    assert canvas.text(".sv-caption") == "p1: slice 7 of 12 · window 0 to 1,000"
    check(canvas, 0, output[6], 0, 1000)
    check(canvas, 1, truth[6], 0, 1000)
    check(canvas, 2, abs(output[6] - truth[6]), 0, 200, "magma")
    x, y = canvas.center()
    canvas.drag(x, y, x - 100, y + 50, "right")  # half as wide, a quarter of the width darker
    (window,) = canvas.viewer.state["windows"]
    assert window == pytest.approx([0, 500])  # the level from 500 to 250
    check(canvas, 0, output[6], *window)
    check(canvas, 2, abs(output[6] - truth[6]), 0, 100, "magma")
    canvas.do(canvas.page.keyboard.down("Shift"))
    canvas.drag(x, y, x + 100, y)
    canvas.do(canvas.page.keyboard.up("Shift"))
    assert canvas.viewer.state["windows"][0] == pytest.approx([-250, 750])
    canvas.do(canvas.page.mouse.dblclick(x, y))
    canvas.wait()
    check(canvas, 0, output[6], 0, 1000)
    canvas.press("[")
    assert canvas.viewer.state["windows"][0] == pytest.approx([50, 950])
    canvas.press("]", "{")
    assert canvas.viewer.state["windows"][0] == pytest.approx([-50, 950])
    canvas.press("0")
    assert canvas.viewer.state["windows"][0] == [0, 1000]


def test_zoom_is_about_the_cursor_in_all_panels_and_a_drag_moves_it(show):
    both = volumes()
    canvas = show(SliceViewer(both, window=(0, 1000), start=5))
    x, y = canvas.center()
    canvas.do(canvas.page.mouse.move(x + 60, y - 40))
    under = canvas.text(".sv-hover")
    canvas.do(canvas.page.keyboard.down("Control"))
    canvas.do(canvas.page.mouse.wheel(0, -200))
    canvas.do(canvas.page.keyboard.up("Control"))
    canvas.wait()
    assert canvas.text(".sv-hover") == under and canvas.viewer.state["zoom"] == 2
    view = {"zoom": 2, "center": canvas.viewer.state["center"]}
    for number, image in enumerate(both.values()):
        check(canvas, number, image[5], 0, 1000, **view)
    canvas.drag(x, y, x - 50, y + 30)
    moved = canvas.viewer.state["center"]
    scale = canvas.pixels().shape[0] / 40 * 2
    assert np.subtract(moved, view["center"]) == pytest.approx([50 / scale / 32, -30 / scale / 40])
    check(canvas, 1, both["truth"][5], 0, 1000, zoom=2, center=moved)
    canvas.press("+", "-")
    assert canvas.viewer.state["zoom"] == pytest.approx(2) and canvas.viewer.state["at"][0] == 5
    canvas.press("0")
    check(canvas, 0, both["output"][5], 0, 1000)


FINGERS = """([x, y, steps]) => {
    const marks = document.querySelector('.sv-marks');
    marks.setPointerCapture = () => {}; // these fingers aren't the browser's
    const touch = (type, pointerId, shift) => marks.dispatchEvent(new PointerEvent(
        type, {pointerType: 'touch', pointerId, clientX: x + shift, clientY: y, buttons: 1, bubbles: true}));
    for (const id of [1, 2]) touch('pointerdown', id, id === 1 ? -steps[0] : steps[0]);
    for (const step of steps.slice(1)) for (const id of [1, 2]) touch('pointermove', id, id === 1 ? -step : step);
    for (const id of [1, 2]) touch('pointerup', id, 0);
}"""


def test_two_fingers_zoom(show):
    both = volumes()
    canvas = show(SliceViewer(both, window=(0, 1000), start=5))
    canvas.do(canvas.page.evaluate(FINGERS, [*canvas.center(), [30, 40, 60]]))
    canvas.wait(0.5)
    state = canvas.viewer.state
    assert state["zoom"] == pytest.approx(2) and state["center"] == pytest.approx([0.5, 0.5], abs=0.02)
    check(canvas, 0, both["output"][5], 0, 1000, zoom=2, center=state["center"])
    assert state["at"][0] == 5 and not canvas.viewer.shapes


def test_all_keys(show):
    canvas = show(SliceViewer(volumes(), start=5))
    for key, index in {
        "ArrowRight": 6, "ArrowUp": 7, "ArrowLeft": 6, "ArrowDown": 5, "PageUp": 6, "PageDown": 5, "Home": 0, "End": 11,
    }.items():  # fmt: skip
        canvas.press(key)
        assert canvas.text(".sv-at") == f"slice {index + 1} of 12", key
    canvas.press("2")
    assert canvas.do(canvas.page.locator(".sv-tile").count()) == 2 and canvas.viewer.state["hidden"] == ["truth"]
    canvas.press("1", "3")
    assert canvas.viewer.state["hidden"] == ["truth", "output"]  # one stays
    canvas.press("1", "2")
    assert canvas.do(canvas.page.locator(".sv-tile").count()) == 3
    canvas.press("f")
    assert canvas.do(canvas.page.evaluate("document.fullscreenElement !== null"))
    canvas.press("f")
    canvas.press("x")
    assert canvas.do(canvas.page.locator(".sv-tile").count()) == 9
    canvas.press("x", "?")
    style = "getComputedStyle(document.querySelector('.slice-viewer')).boxShadow"
    assert canvas.do(canvas.page.evaluate(style)) != "none"  # the ring of the focus
    canvas.do(canvas.page.evaluate("document.activeElement.blur()"))
    before = canvas.viewer.state
    canvas.do(canvas.page.keyboard.press("Home"))
    canvas.wait()
    assert canvas.viewer.state == before  # keys only while the viewer has the focus


def test_blink_curtain_and_signed_differences(show):
    both = volumes()
    canvas = show(SliceViewer(both, window=(0, 1000), start=5))
    output, truth = (image[5] for image in both.values())
    canvas.press("b")
    seen = set()
    while len(seen) < 2:
        name, shown, after = canvas.text(".sv-tile b"), canvas.pixels(), canvas.text(".sv-tile b")
        if name == after:
            check(canvas, 0, {"output": output, "truth": truth}[name], 0, 1000, shown=shown)
            seen.add(name)
    assert seen == {"output", "truth"}
    canvas.press("b", "w")
    half = np.where(np.arange(32) < 16, output, truth)
    check(canvas, 0, half, 0, 1000)
    x, y = canvas.center()
    width = canvas.pixels().shape[1]
    canvas.drag(x, y, x - width / 4, y)
    assert canvas.viewer.state["curtain"] == pytest.approx(0.25, abs=0.01)
    canvas.press("w")
    check(canvas, 0, output, 0, 1000)
    canvas.viewer.state = {"signed": True, "gain": 10}
    canvas.wait()
    check(canvas, 2, output - truth, -100, 100, "RdBu_r")
    assert canvas.text(".sv-tile:nth-child(3) b") == "output − truth ×10"


def test_labels_contours_and_their_names(show):
    image = RNG.random(SHAPE, np.float32)
    label = np.zeros(SHAPE, np.uint8)
    label[:, 8:20, 6:16], label[:, 20:30, 6:16], label[:, 32:, 20:] = 1, 99, 255
    classes = ["none", *(f"class {i}" for i in range(1, 100))]
    viewer = SliceViewer(
        {"image": image, "label": image}, overlays={"label": label}, classes=classes, ignore_index=255,
        window=(0, 1), start=5,
    )  # fmt: skip
    canvas = show(viewer)

    def expected():
        gray = pixels.paint(image[5], 0, 1)
        state = viewer.state
        return pixels.lay(gray, label[5], state["opacity"], state["contours"], 255)

    for changes in ({}, {"opacity": 0.25}, {"contours": True}):
        viewer.state = changes
        canvas.wait()
        found, _ = at_centers(canvas.pixels(1), image.shape[1:])
        assert np.array_equal(found, expected()), changes
    check(canvas, 0, image[5], 0, 1)
    x, y = canvas.center(1)
    canvas.do(canvas.page.mouse.move(x - 5 * canvas.pixels(1).shape[1] / 32, y + 4 * canvas.pixels(1).shape[0] / 40))
    canvas.wait()
    at = [int(n) for n in canvas.text(".sv-hover").split("]")[0].removeprefix("voxel [").split(",")]
    value = float(f"{image[tuple(at)]:.4g}")
    text = canvas.text(".sv-tile:nth-child(2) .sv-value")
    assert label[tuple(at)] == 99 and text == f"{value:g} · class 99"
    assert canvas.do(canvas.page.locator(".sv-legend span span").count()) == 100  # 99 classes, and what isn't labeled


def test_parts_of_complex_data_are_made_in_the_browser(show):
    wave = (RNG.normal(size=(3, 16, 16)) + 1j * RNG.normal(size=(3, 16, 16))).astype(np.complex64)
    viewer = SliceViewer({"output": wave, "truth": wave * np.exp(0.3j)}, window=(0, 3), start=1)
    canvas = show(viewer)
    for part in viewer.slices.parts:
        viewer.state = {"part": part}
        canvas.wait(0.5)
        seen = viewer._view()
        for number, image in enumerate(viewer.slices.images(seen).values()):
            if isinstance(image, str):
                assert canvas.text(f".sv-tile:nth-child({number + 1}) .sv-reason") == f"n/a: {image}"
                continue
            low, high = {"phase": (-np.pi, np.pi), "magnitude": (0, 3)}.get(part, (-80, 0) if "a" in part else (-3, 3))
            low, high = (-80.0, 0.0) if part in ("k-space", "log magnitude") else (low, high)
            low, high = (-3.0, 3.0) if part in ("real", "imaginary") else (low, high)
            error = number == 2
            low, high = (0, (high - low) / 5) if error else (low, high)
            cmap = "magma" if error else "twilight" if part == "phase" else "gray"
            level = 255 * (image.astype(float) - low) / (high - low)
            table = np.array(colormaps[cmap](np.arange(256), bytes=True))[:, :3].astype(int)
            found, _ = at_centers(canvas.pixels(number), image.shape)
            near = [table[np.floor(level + shift).clip(0, 255).astype(int)] for shift in (0.49, 0.5, 0.51)]
            assert np.min([abs(found - one).max(-1) for one in near], axis=0).max() == 0, (part, number)


def test_the_cross_goes_through_all_panels_and_planes_and_values_follow(show):
    volume = np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(np.float32)
    canvas = show(SliceViewer({"a": volume, "b": volume * 2}, spacing=(3, 1, 2), start=5))
    x, y = canvas.center()
    canvas.do(canvas.page.mouse.move(x + 1, y + 1))
    canvas.wait()
    assert canvas.text(".sv-hover") == "voxel [5, 20, 16] · 15.0, 20.0, 32.0 mm"
    values = [canvas.text(f".sv-tile:nth-child({i}) .sv-value").replace(",", "") for i in (1, 2)]
    assert list(map(float, values)) == [volume[5, 20, 16], 2 * volume[5, 20, 16]]
    assert not canvas.pixels(0, "marks").any() and canvas.pixels(1, "marks").any()  # in the other panel
    canvas.press("x")
    canvas.do(canvas.page.mouse.click(*canvas.center(1)))  # the second plane: another slice and column
    canvas.wait(0.5)
    at = canvas.viewer.state["at"]
    assert at[1] == 20 and at[0] in (5, 6) and at[2] == 16
    x, y = canvas.center(1)
    canvas.do(canvas.page.mouse.click(x + 40, y + 40))
    canvas.wait(0.5)
    at = canvas.viewer.state["at"]
    assert at[0] < 5 and at[1] == 20 and at[2] > 16  # downwards are the first slices
    scale = 1 / volume.max()
    low, high = canvas.viewer.state["windows"][0]
    pixel = [(1, 2), (3, 2), (3, 1)]
    for number, image in enumerate((volume[at[0]], volume[::-1, at[1]], volume[::-1, :, at[2]])):
        tall, wide = pixel[number]
        shown = canvas.pixels(number)
        factor = min(shown.shape[0] / (image.shape[0] * tall), shown.shape[1] / (image.shape[1] * wide))
        middle = shown[shown.shape[0] // 2 + 1, shown.shape[1] // 2 + 1, 0]
        value = image[image.shape[0] // 2, image.shape[1] // 2]
        assert factor > 0 and abs(int(middle) - 255 * (value - low) / (high - low)) <= 0.51 and scale > 0


def test_regions_and_a_profile_are_numpys(show):
    both = {name: np.nan_to_num(volume) for name, volume in volumes().items()}
    canvas = show(SliceViewer(both, start=5), height=1600)
    page = canvas.page
    canvas.do(page.get_by_role("button", name="Adjust").click())

    def draw(tool, x0, y0, x1, y1):
        """In the image's pixels; what it became of."""
        canvas.do(page.get_by_role("button", name=tool, exact=True).click())
        box = canvas.do(page.locator(".sv-marks").first.bounding_box())
        scale = min(box["width"] / 32, box["height"] / 40)
        left, top = box["x"] + (box["width"] - 32 * scale) / 2, box["y"] + (box["height"] - 40 * scale) / 2
        canvas.drag(left + x0 * scale, top + y0 * scale, left + x1 * scale, top + y1 * scale)
        canvas.wait()
        return canvas.viewer.shapes[-1]

    shape = draw("rectangle", 4, 6, 14, 16)
    assert shape["box"] == pytest.approx([4, 6, 14, 16], abs=0.05) and shape["name"] == "A"
    assert draw("ellipse", 30, 30, 18, 20)["box"] == pytest.approx([18, 20, 30, 30], abs=0.05)  # drawn backwards
    canvas.do(page.locator(".sv-measured select").select_option("B"))
    canvas.wait()
    part = both["output"][5, 6:16, 4:14].astype(float)
    y, x = np.ogrid[:40, :32]
    noise = both["output"][5][(((x + 0.5 - 24) / 6) ** 2 + ((y + 0.5 - 25) / 5) ** 2) <= 1].astype(float)
    regions = canvas.viewer.regions.set_index(["panel", "region"])
    assert regions.loc[("output", "A"), "mean"] == pytest.approx(part.mean(), rel=1e-12)
    assert regions.loc[("output", "A"), "SNR"] == pytest.approx(part.mean() / noise.std(ddof=1), rel=1e-12)
    first = canvas.do(page.locator(".sv-measured table tr").nth(1).all_inner_texts())[0].split("\t")
    assert first[:3] == ["output", "A", "100"] and float(first[3]) == pytest.approx(part.mean(), rel=1e-3)
    draw("profile", 2.5, 10.5, 22.5, 10.5)
    lines = canvas.viewer.measured["profile"]["lines"]
    x0, y0, x1, y1 = canvas.viewer.shapes[-1]["box"]
    assert (x0, y0, x1, y1) == pytest.approx((2.5, 10.5, 22.5, 10.5), abs=0.05) and y0 == y1
    row = both["truth"][5].astype(float)
    row = row[10] + (y0 - 10.5) * (row[11] - row[10])  # the mouse falls between pixels
    expected = np.interp(np.linspace(x0, x1, len(lines["truth"])) - 0.5, np.arange(32), row)
    assert y0 >= 10.5
    np.testing.assert_allclose(lines["truth"], expected, rtol=1e-9)
    assert canvas.do(page.locator("canvas.sv-profile").count()) == 1
    canvas.press("ArrowRight")
    canvas.wait()
    moved = both["output"][6, 6:16, 4:14].astype(float).mean()
    assert canvas.viewer.regions.set_index(["panel", "region"]).loc[("output", "A"), "mean"] == pytest.approx(moved)
    canvas.do(page.get_by_role("button", name="clear").click())
    canvas.wait()
    assert canvas.viewer.shapes == [] and canvas.do(page.locator(".sv-measured table").count()) == 0


def test_a_slow_kernel_never_freezes_the_canvas_nor_shows_a_wrong_slice_under_a_right_number(show):
    steps = np.arange(100, dtype=np.float32)[:, None, None] * np.ones((1, 16, 16), np.float32)
    canvas = show(SliceViewer({"a": steps}, window=(0, 255), start=0), width=320)
    canvas.until(lambda: not canvas.loop.is_closed() and canvas.text(".sv-at") == "slice 1 of 100")
    canvas.wait(1)  # the neighbors come
    canvas.awake.clear()  # the kernel sleeps
    canvas.do(canvas.page.locator(".slice-viewer").focus())
    seen, words = [], "['.sv-at', '.sv-waiting'].map(name => document.querySelector(name).textContent)"
    for _ in range(40):
        canvas.do(canvas.page.keyboard.press("ArrowRight"))
        shown, (number, waiting) = canvas.pixels()[8, 8, 0], canvas.do(canvas.page.evaluate(words))
        seen.append((int(number.split()[1]) - 1, int(shown), waiting))
    canvas.do(canvas.page.keyboard.press("{"))  # a gesture is seen while the kernel sleeps
    canvas.do(canvas.page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"))
    assert "waiting" in canvas.do(canvas.page.evaluate(words))[1]
    brighter = 255 * 0.05
    found = int(canvas.pixels()[8, 8, 0]) - (int(canvas.do(canvas.page.evaluate(words))[0].split()[1]) - 1)
    assert abs(found - brighter) <= 1.5
    canvas.do(canvas.page.keyboard.press("}"))
    canvas.wait()
    assert all(abs(index - shown) <= 1 for index, shown, _ in seen), seen  # 255 levels, a number each
    assert any("waiting for slice" in text for *_, text in seen)
    assert 0 < seen[-1][0] < 40  # as far as the neighbors that were there
    canvas.awake.set()
    canvas.until(lambda: canvas.text(".sv-at") == "slice 41 of 100", 20)
    assert abs(int(canvas.pixels()[8, 8, 0]) - 40) <= 1


def test_a_far_slice_comes_in_few_bits_then_exactly(show):
    far = {name: np.tile(volume, (8, 1, 1)) for name, volume in volumes().items()}
    canvas = show(SliceViewer(far, window=(0, 1000), start=0))
    canvas.press("End")
    canvas.wait(1)
    details = [
        key[4] for content in canvas.asked if content["kind"] == "cuts" for key in content["cuts"] if key[2] == 95
    ]
    assert details == [0, 0, 2, 2]
    check(canvas, 0, far["output"][95], 0, 1000)


def test_a_thousand_slices_leave_the_memory_as_it_was(show):
    volume = np.zeros((1000, 64, 64), np.float32) + np.arange(1000, dtype=np.float32)[:, None, None]
    canvas = show(SliceViewer({"a": volume, "b": volume}, start=0))
    kept = "performance.memory.usedJSHeapSize"
    canvas.do(canvas.page.locator(".slice-viewer").focus())
    found = []
    for turn in range(4):
        canvas.do(canvas.page.evaluate(HELD, 250))
        canvas.until(lambda turn=turn: canvas.text(".sv-at") == f"slice {min(250 * (turn + 1) + 1, 1000)} of 1000", 30)
        found.append(canvas.do(canvas.page.evaluate(kept)))
    asked = [tuple(key[:4]) for content in canvas.asked if content["kind"] == "cuts" for key in content["cuts"]]
    assert len(asked) <= 2 * 1000 * 1.2  # none is sent over and over
    assert found[-1] - found[0] < 1000 * 2 * 64 * 64 * 4 * 1.5, found


def test_panels_fill_the_width_and_are_sharp_on_dense_screens(show):
    five = dict.fromkeys("abcde", RNG.random((3, 64, 64), np.float32))
    for width, ratio, columns in ((1440, 1, 5), (1200, 1, 3), (3840, 1, 5), (1440, 2, 5)):
        canvas = show(SliceViewer(five), width=width, height=2160, ratio=ratio)
        boxes = canvas.do(
            canvas.page.evaluate(
                "[...document.querySelectorAll('.sv-stage')].map(e => { const r = e.getBoundingClientRect(); return [r.left, r.right, r.top]; })"
            )
        )
        assert len({top for *_, top in boxes}) == -(-5 // columns)
        widths = [right - left for left, right, _ in boxes]
        assert min(widths) >= 256 and max(right for _, right, _ in boxes) >= width - 24
        assert canvas.pixels().shape[1] == round(widths[0] * ratio)


def test_two_viewers_linked_and_what_is_saved(show, tmp_path):
    canvas = show(SliceViewer(volumes(), start=5, save_to=tmp_path, title="p 1"))
    canvas.press("End")
    canvas.do(canvas.page.get_by_role("button", name="Save PNG").click())
    canvas.until(lambda: list(tmp_path.glob("*.png")))
    (path,) = tmp_path.glob("*.png")
    assert path.name.startswith("p_1_slice_image_012_")
    from PIL import Image

    with Image.open(path) as picture:
        picture.load()
        assert picture.width >= 950 and picture.height > 300
    canvas.until(lambda: canvas.text(".sv-message") == f"saved {path}")


def test_it_is_named_for_screen_readers(show):
    both = {name: np.nan_to_num(volume) for name, volume in volumes().items()}
    canvas = show(SliceViewer(both, start=5, scores=lambda i: {"output": {"SSIM": 0.5}}, unit="frame"))
    canvas.wait(0.8)
    page = canvas.page
    assert canvas.do(page.locator(".sv-live").inner_text()).startswith("frame 6 of 12; output SSIM\u00a00.500")
    label = canvas.do(page.locator("canvas.sv-image").first.get_attribute("aria-label"))
    assert label.replace("\u00a0", " ") == "output, frame 6 of 12, SSIM 0.500"
    nameless = """() => [...document.querySelectorAll('.slice-viewer :is(button, select, input)')]
        .filter(e => !(e.getAttribute('aria-label') || e.textContent.trim() || e.closest('label')?.textContent.trim()))
        .map(e => e.outerHTML)"""
    assert canvas.do(page.evaluate(nameless)) == []
    canvas.press(" ")
    canvas.wait(0.6)
    assert canvas.text(".sv-at") != "frame 6 of 12"  # it plays
    canvas.press(" ")


def test_nothing_of_another_case_stands_under_a_new_title(show):
    cases = {name: np.full((3, 8, 8), level, np.float32) for name, level in (("p1", 50.0), ("p2", 200.0))}

    def load(name):
        return {"a": cases[name]}, {"title": name}

    viewer = SliceViewer(*load("p1")[:1], title="p1", window=(0, 255), cases=list(cases), load=load)
    canvas = show(viewer, width=320)
    assert canvas.pixels()[8, 8].tolist() == [50, 50, 50, 255]
    canvas.awake.clear()  # the kernel has changed the case, and sends nothing yet
    viewer._receive(None, {"kind": "case", "name": "p2"}, [])
    canvas.wait(0.5)
    assert canvas.text(".sv-caption").startswith("p2: ") and not canvas.pixels()[..., 3].any()
    canvas.awake.set()
    viewer.state = {"windows": [[0, 255]]}
    canvas.until(lambda: canvas.pixels()[8, 8].tolist() == [200, 200, 200, 255])


def test_what_was_shown_stays_until_other_data_are_here_and_can_be_moved(show):
    viewer = SliceViewer({"a": np.full((1, 8, 8), 50.0, np.float32)}, window=(0, 255))
    canvas = show(viewer, width=320)
    canvas.awake.clear()
    viewer.update({"a": np.full((8, 8), 200.0, np.float32)}, {"a": "new"})
    canvas.wait(0.5)
    assert canvas.pixels()[8, 8, 0] == 50 and canvas.text(".sv-note") == ""  # image and note are of one
    canvas.press("{")
    assert canvas.pixels()[8, 8, 0] == round(50 + 255 * 0.05)
    canvas.press("}")
    canvas.awake.set()
    canvas.until(lambda: canvas.pixels()[8, 8, 0] == 200 and canvas.text(".sv-note") == "new")


def test_before_the_first_slice_and_without_any_nothing_goes_wrong(show):
    wave = np.ones((2, 16, 16), np.complex64) * np.exp(0.5j)
    mask = np.arange(16) % 2 == 0
    viewer = SliceViewer({"a": wave, "none": None, "why": "no <b>", "mask": mask, "b": wave}, error_of=("a", "mask"))
    canvas = show(viewer, awake=False)
    canvas.do(canvas.page.mouse.move(*canvas.center()))
    canvas.do(canvas.page.mouse.wheel(0, 100))
    canvas.press("b", "w", "x", "x", "+", "0", "f", "f")
    canvas.awake.set()
    canvas.until(lambda: canvas.text(".sv-at") == "slice 2 of 2")
    reasons = canvas.do(canvas.page.locator(".sv-reason").all_inner_texts())
    assert reasons == ["", "n/a", "n/a: no <b>", "", "", ""] and not canvas.text(".sv-message")
    for part in viewer.slices.parts:
        viewer.state = {"part": part, "mode": ""}
        canvas.wait(0.4)
        columns = canvas.pixels(3)[8, [8, 24], 0].tolist()
        assert columns == [255, 0] or part == "x", part  # the mask is what it is


def test_resampling_is_offered_and_done_whatever_comes_first(show):
    viewer = SliceViewer({"a": np.ones((2, 8, 8)), "truth": np.ones((2, 16, 16))})
    canvas = show(viewer)
    assert "'a' has shape (2, 8, 8)" in canvas.text(".sv-message")
    canvas.press("ArrowRight", "b", "1")
    fields = "model.change('place', {plane: 'slice', at: [1, 8, 8], together: false, zoom: 1, center: [0.5, 0.5]})"
    canvas.do(canvas.page.evaluate(fields))  # before the description
    canvas.do(canvas.page.get_by_role("button", name="Resample to one grid").click())
    canvas.until(lambda: canvas.text(".sv-note").endswith("resampled to 2 × 16 × 16"))
    assert canvas.text(".sv-at") == "slice 2 of 2" and not canvas.text(".sv-message")


def test_a_linked_viewer_takes_what_fits(show):
    viewer = SliceViewer(volumes(), start=5)
    canvas = show(viewer)
    for place in ({"at": [99, 99, 99], "plane": "x–t"}, {}, {"together": True}):
        canvas.do(canvas.page.evaluate("place => model.change('place', place)", place))
        canvas.wait()
        assert canvas.text(".sv-at").endswith(" of 12")
    look = {"windows": [[0, 1], [2, 3]], "hidden": ["nobody"], "pair": ["nobody", "truth"], "part": "phase"}
    canvas.do(canvas.page.evaluate("look => model.change('look', look)", look))
    canvas.wait()
    canvas.press("b", "b", "ArrowRight")
