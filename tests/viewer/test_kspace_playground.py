import threading

import markupsafe
import numpy as np
import pytest

from lib import InputError
from lib.viewer import KSpacePlayground
from lib.viewer.kspace_playground import PRESETS
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


def levels(widget):
    """The middle value of each panel, None where there is no image."""
    volumes = widget.viewer.slices.volumes
    return {n: None if isinstance(v, str) else float(v[0, 128, 128]) for n, v in volumes.items()}


def notes(widget):
    return {panel["name"]: panel["note"] for panel in widget.viewer.about["panels"]}


def test_a_move_draws_what_it_asks_for():
    widget = KSpacePlayground(Toy())
    assert widget.settings == Settings()
    names = [panel["name"] for panel in widget.viewer.about["panels"]]
    assert names == ["image", TRUTH, ERROR, MASK, KSPACE, SPREAD]  # the image first
    third = pytest.approx(4 / 12)
    assert levels(widget) == {"image": third, TRUTH: 1, MASK: third, KSPACE: third, SPREAD: third}
    assert widget.viewer.state["windows"][0] == [0, 1] and widget.viewer.state["gain"] == Toy.gain
    version = widget.viewer.about["version"]
    widget.controls["acceleration"].value = 12
    widget.settle()
    assert levels(widget)["image"] == 1 and widget.viewer.about["version"] == version + 1
    widget.controls["acceleration"].value = 11
    widget.controls["acceleration"].value = 10
    widget.settle()
    assert (
        notes(widget)[ERROR] == "NMSE 0.5" and notes(widget)[MASK] == "10×" and notes(widget)["image"] == "zero-filled"
    )
    assert "equispaced 10×, 24 center lines, SNR 50" in widget.line.value


def watch(widget):
    drawn = []
    widget.viewer.observe(lambda _: drawn.append(round(12 * levels(widget)["image"])), "about")
    return drawn


def test_only_the_newest_move_is_answered_and_a_stale_image_is_not_drawn():
    toy = Toy()
    widget = KSpacePlayground(toy, Settings(shown="GRAPPA"))
    toy.go.clear(), toy.begun.clear()
    widget.controls["acceleration"].value = 6
    assert toy.begun.wait(20)  # GRAPPA works on 6 …
    assert "GRAPPA is working" in widget.line.value
    drawn = watch(widget)
    for acceleration in (7, 8, 9):
        widget.controls["acceleration"].value = acceleration
    assert levels(widget)["image"] == pytest.approx(4 / 12)
    toy.go.set()
    widget.settle()
    assert [s.acceleration for s in toy.asked] == [4, 6, 9]  # 7 and 8 were dropped
    assert drawn == [4, 9]  # the scan of 9 under the old image, then its own; 6 came too late


def test_a_zero_filled_image_is_drawn_though_the_slider_moves_on():
    toy = Toy()
    widget = KSpacePlayground(toy)
    toy.go.clear(), toy.begun.clear()
    widget.controls["acceleration"].value = 6
    assert toy.begun.wait(20)
    drawn = watch(widget)
    widget.controls["acceleration"].value = 9
    toy.go.set()
    widget.settle()
    assert drawn == [6, 9]


def test_presets_set_all_controls_at_once_and_say_what_to_notice():
    toy = Toy()
    widget = KSpacePlayground(toy)
    for name, (settings, hint) in PRESETS.items():
        widget.preset(name)
        widget.settle()
        assert widget.settings == settings and toy.asked[-1] == settings
        assert markupsafe.escape(hint) in widget.line.value
    assert len(toy.asked) == 1 + len(PRESETS)
    widget.controls["seed"].value = 7
    widget.settle()
    assert "streaks" in widget.line.value  # still the same lesson
    widget.controls["kind"].value = "magic"
    widget.settle()
    assert "streaks" not in widget.line.value


def test_what_cannot_be_done_is_a_line_and_an_empty_place():
    widget = KSpacePlayground(Toy(), Settings(shown="GRAPPA"))
    widget.controls["kind"].value = "random"
    widget.settle()
    assert "GRAPPA: no &lt;grid&gt;" in widget.line.value and 'role="status"' in widget.line.value
    reasons = {panel["name"]: panel["reason"] for panel in widget.viewer.about["panels"]}
    assert reasons["image"] == "no <grid>" and reasons[ERROR] == "no image" and reasons[TRUTH] is None
    widget.controls["kind"].value = "equispaced"
    widget.settle()
    assert not any(panel["reason"] for panel in widget.viewer.about["panels"])
    assert "no &lt;grid" not in widget.line.value


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
    assert labels == ["5", "10", "20", "35", "50", "100", "none"] and widget.settings.snr == 35


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (Settings(kind="spiral"), "kind: 'spiral', expected one of random, equispaced"),
        (Settings(shown="UNet"), "shown: 'UNet', expected one of zero-filled, GRAPPA, TV-SENSE, network"),
        (Settings(acceleration=2.5), "acceleration: 2.5, expected 1 to 12"),
        (Settings(num_coils=0), "num_coils: 0, expected 1 to 16"),
        (Settings(snr=-1.0), "snr: -1.0, expected"),
    ],
)
def test_a_start_that_no_control_has_is_refused(start, message):
    with pytest.raises(InputError, match=message):
        KSpacePlayground(Toy(), start)


def test_the_real_thing_shows_every_method():
    widget = KSpacePlayground(Playground(slice=3, weights="runs/weights/demo_varnet"))
    seen = {levels(widget)["image"]}
    for shown in METHODS[1:]:
        widget.controls["shown"].value = shown
        widget.settle()
        assert notes(widget)["image"].startswith(f"{shown} · SSIM 0.")
        seen.add(levels(widget)["image"])
    assert len(seen) == len(METHODS)
    first = widget.viewer.slices.volumes[MASK].copy()
    widget.controls["kind"].value, widget.controls["seed"].value = "random", 3
    widget.settle()
    assert (widget.viewer.slices.volumes[MASK] != first).any()
    widget.controls["seed"].value, widget.controls["kind"].value = 0, "equispaced"
    widget.controls["num_low_frequencies"].value = 2
    widget.controls["shown"].value = "GRAPPA"
    widget.settle()
    assert "2 center lines of 256 points are too few for GRAPPA" in widget.line.value
