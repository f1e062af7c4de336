import io
import threading

import numpy as np
import pytest
from matplotlib import colormaps
from PIL import Image

from lib import InputError
from lib.viewer import KSpacePlayground
from lib.viewer.pixels import GAP
from lib.viewer.playground import ERROR, KSPACE, MASK, METHODS, SPREAD, TRUTH, Playground, PlaygroundView, Settings


class Toy:
    """Answers at once with panels of one level, or waits for `go`; notes what it was asked."""

    gain = 5.0

    def __init__(self):
        self.go, self.begun, self.asked = threading.Event(), threading.Event(), []
        self.go.set()

    def scan(self, settings):
        level = np.full((256, 256), settings.acceleration / 12, np.float32)
        return PlaygroundView({MASK: level, KSPACE: level, SPREAD: level}, {MASK: f"{settings.acceleration}×"})

    def result(self, settings):
        self.asked.append(settings)
        self.begun.set()
        assert self.go.wait(20)
        if settings.shown == "GRAPPA" and settings.kind == "random":
            return PlaygroundView(
                {"GRAPPA": "no <grid>", TRUTH: np.ones((256, 256)), ERROR: "no image"}, {}, "no <grid>"
            )
        if settings.acceleration == 11:
            raise ZeroDivisionError("a thread's\nerror")
        image = np.full((256, 256), settings.acceleration / 12, np.float32)
        return PlaygroundView(
            {settings.shown: image, TRUTH: np.ones_like(image), ERROR: 1 - image}, {ERROR: "NMSE 0.5"}
        )


def pixels(image):
    """The colors in the middle of the three panels."""
    shown = np.array(Image.open(io.BytesIO(image.value)).convert("RGBA"))
    assert shown.shape == (256, 3 * 256 + 2 * GAP, 4)
    return [shown[128, 128 + i * (256 + GAP)].tolist() for i in range(3)]


def test_a_move_draws_what_it_asks_for():
    widget = KSpacePlayground(Toy())
    assert widget.settings == Settings()
    gray = [85, 85, 85, 255]  # 255 · 4 / 12
    assert pixels(widget.acquired) == [gray] * 3
    assert pixels(widget.result)[:2] == [gray, [255] * 4]
    widget.controls["acceleration"].value = 12
    widget.settle()
    dark = [*map(int, colormaps["magma"](0, bytes=True))]
    assert pixels(widget.result) == [[255] * 4, [255] * 4, dark]
    widget.controls["acceleration"].value = 11
    widget.controls["acceleration"].value = 10  # an error of 2/12, times 5: 212.5 of 255, in float32 213
    widget.settle()
    assert pixels(widget.result)[2] == [*map(int, colormaps["magma"](213, bytes=True))]
    assert "|image − truth| ×5" in widget.below.value.replace("\u00a0", " ") and "NMSE 0.5" in widget.below.value
    assert "10×" in widget.above.value and "equispaced 10×, 24 center lines, SNR 50" in widget.line.value


def test_only_the_newest_move_is_answered_and_a_stale_image_is_not_drawn():
    toy = Toy()
    widget = KSpacePlayground(toy, Settings(shown="GRAPPA"))
    first = widget.result.value
    toy.go.clear(), toy.begun.clear()
    widget.controls["acceleration"].value = 6
    assert toy.begun.wait(20)  # GRAPPA works on 6 …
    assert "GRAPPA is working" in widget.line.value
    drawn = []
    widget.result.observe(lambda change: drawn.append(pixels(widget.result)[0][0]), "value")
    for acceleration in (7, 8, 9):
        widget.controls["acceleration"].value = acceleration
    assert widget.result.value == first
    toy.go.set()
    widget.settle()
    assert [s.acceleration for s in toy.asked] == [4, 6, 9]  # 7 and 8 were dropped
    assert drawn == [round(255 * 9 / 12)]  # and 6 came too late


def test_a_zero_filled_image_is_drawn_though_the_slider_moves_on():
    toy = Toy()
    widget = KSpacePlayground(toy)
    toy.go.clear(), toy.begun.clear()
    widget.controls["acceleration"].value = 6
    assert toy.begun.wait(20)
    drawn = []
    widget.result.observe(lambda change: drawn.append(pixels(widget.result)[0][0]), "value")
    widget.controls["acceleration"].value = 9
    toy.go.set()
    widget.settle()
    assert drawn == [round(255 * 6 / 12), round(255 * 9 / 12)]


def test_what_cannot_be_done_is_a_line_and_an_empty_place():
    widget = KSpacePlayground(Toy(), Settings(shown="GRAPPA"))
    widget.controls["kind"].value = "random"
    widget.settle()
    assert "GRAPPA: no &lt;grid&gt;" in widget.line.value and 'role="status"' in widget.line.value
    assert [p[3] for p in pixels(widget.result)] == [0, 255, 0]
    assert widget.below.value.count("n/a") == 2
    widget.controls["kind"].value = "equispaced"
    widget.settle()
    assert "n/a" not in widget.below.value and "no &lt;grid" not in widget.line.value


def test_an_error_of_a_thread_is_told_and_the_next_move_works():
    widget = KSpacePlayground(Toy())
    widget.controls["acceleration"].value = 11
    widget.settle()
    assert "ZeroDivisionError: a thread" in widget.line.value
    widget.controls["acceleration"].value = 3
    widget.settle()
    assert "equispaced 3×" in widget.line.value


def test_every_control_has_a_label_and_a_class():
    widget = KSpacePlayground(Toy(), Settings(snr=35.0))
    assert set(widget.controls) == set(Settings._fields)
    assert all(control.description for control in widget.controls.values())
    assert widget.controls["num_coils"]._dom_classes == ("playground-num-coils",)
    labels = [label for label, _ in widget.controls["snr"].options]
    assert labels == ["5", "10", "20", "35", "50", "100", "no noise"] and widget.settings.snr == 35


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (Settings(kind="spiral"), "kind: 'spiral', expected one of random, equispaced"),
        (Settings(shown="UNet"), "shown: 'UNet', expected one of zero-filled, GRAPPA, VarNet"),
        (Settings(acceleration=2.5), "acceleration: 2.5, expected 1 to 12"),
        (Settings(num_coils=0), "num_coils: 0, expected 1 to 16"),
        (Settings(snr=-1.0), "snr: -1.0, expected"),
    ],
)
def test_a_start_that_no_control_has_is_refused(start, message):
    with pytest.raises(InputError, match=message):
        KSpacePlayground(Toy(), start)


def test_the_real_thing_shows_all_three_methods():
    widget = KSpacePlayground(Playground(slice=3, weights="runs/weights/demo_varnet"))
    seen = {widget.result.value}
    for shown in METHODS[1:]:
        widget.controls["shown"].value = shown
        widget.settle()
        assert f"<b>{shown}</b>" in widget.below.value and "SSIM 0." in widget.below.value
        seen.add(widget.result.value)
    assert len(seen) == 3
    widget.controls["num_low_frequencies"].value = 2
    widget.controls["shown"].value = "GRAPPA"
    widget.settle()
    assert "2 center lines of 256 points are too few for GRAPPA" in widget.line.value
