import json
import re
import tracemalloc

import numpy as np
import pytest
from matplotlib import colormaps

from lib import ROOT
from lib.viewer import SliceViewer, pixels, transport
from lib.viewer.complex_parts import DECIBELS, FOURIER, LOGARITHMIC, part_of
from lib.viewer.slice_model import SliceModel
from lib.viewer.transport import Detail
from lib.viewer.view import CMAPS

RNG = np.random.default_rng(0)


def decode(about, numbers):
    """What the browser makes of it."""
    values = np.frombuffer(numbers, about["type"]).reshape(1 + about["complex"], *about["size"])
    if "step" in about:
        steps = values.astype(float)
        gaps = bool(about.get("gaps")) & (values == {"uint8": 255, "uint16": 65535}[about["type"]])
        values = np.where(gaps, np.nan, about["low"] + steps * about["step"])
    return values[0] + 1j * values[1] if about["complex"] else values[0]


def sent(volume, space="image", detail=Detail.FINE, plane="slice", index=0):
    model = SliceModel({"a": volume}, overlays={"a": volume} if space == "label" else None)
    about, numbers = transport.encode(model, ["a", plane, index, space, detail], {})
    assert about["key"] == ["a", plane, index, space]
    return about, decode(about, numbers)


@pytest.mark.parametrize(
    ("dtype", "low", "high", "sent_as"),
    [
        (bool, 0, 2, "uint8"), (np.uint8, 0, 256, "uint8"), (np.int64, 0, 200, "uint8"), (np.int16, -900, 3000, "uint16"),
        (np.int32, 0, 65536, "uint16"), (np.int64, -40000, 10, "uint16"), (">i2", -5, 5, "uint16"),
    ],
)  # fmt: skip
def test_whole_numbers_arrive_as_they_are(dtype, low, high, sent_as):
    volume = RNG.integers(low, high, (2, 9, 7)).astype(dtype)
    volume[0, 0, :2] = low, high - 1
    about, values = sent(volume)
    assert (about["type"], about["detail"], about["size"]) == (sent_as, Detail.EXACT, [9, 7])
    assert (values == volume[0]).all() and about["mask"] == (dtype is bool)
    wide, _ = sent(np.array([[[0, 10**6]]]))
    assert (wide["type"], wide["detail"]) == ("uint16", Detail.FINE)


def test_slices_share_their_steps_where_these_are_fine_enough():
    levels = np.linspace(0, 1, 300).reshape(1, 15, 20)
    volume = np.concatenate([levels * 100, levels * 90 + 5, levels * 120, levels * 2, levels * 99 - 50, levels * 125])
    model, ranges, steps = SliceModel({"a": volume}), {}, []
    for index, image in enumerate(volume):
        about, numbers = transport.encode(model, ["a", "slice", index, "image", Detail.FINE], ranges)
        assert abs(decode(about, numbers) - image).max() <= about["step"] * 0.51 + 1e-5
        steps.append((about["low"], about["step"] * transport.STEPS[Detail.FINE]))
    assert steps == [
        (0, 100), (0, 100), (0, pytest.approx(150)), (0, pytest.approx(2)),
        *[(pytest.approx(-74.75), pytest.approx(224.75))] * 2,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("detail", "sent_as", "steps"), [(Detail.COARSE, "uint8", 254), (Detail.FINE, "uint16", 65534)]
)
def test_other_numbers_arrive_within_a_half_step_and_exact_when_asked(detail, sent_as, steps):
    volume = RNG.normal(size=(2, 9, 7)) * 1000
    volume[0, 0, :3] = np.nan, np.inf, -np.inf
    about, values = sent(volume, detail=detail)
    finite = np.isfinite(volume[0])
    span = np.ptp(volume[0][finite])
    assert (about["type"], about["detail"]) == (sent_as, detail) and (np.isnan(values) == ~finite).all()
    assert abs(values - volume[0])[finite].max() <= span / steps * 0.51
    assert np.nanmax(values) == pytest.approx(volume[0][finite].max()) and np.nanmin(values) == volume[0][
        finite
    ].min().astype("f4")
    about, values = sent(volume, detail=Detail.EXACT)
    assert about["type"] == "float32" and np.array_equal(values, volume[0].astype(np.float32), equal_nan=True)
    for odd in (np.full((1, 3, 3), np.nan), np.full((1, 3, 3), 2.5), np.array([[[3e38, -3e38]]])):
        assert np.array_equal(sent(odd)[1], odd[0].astype(np.float32), equal_nan=True)


def test_complex_numbers_go_real_part_first_and_spectra_in_decibels():
    volume = RNG.normal(size=(1, 8, 6)) + 1j * RNG.normal(size=(1, 8, 6))
    about, values = sent(volume, detail=Detail.EXACT)
    assert about["complex"] and np.array_equal(values, volume[0].astype(np.complex64))
    _, values = sent(volume)
    assert abs(values - volume[0]).max() < 1e-3
    _, values = sent(volume, "fourier", Detail.EXACT)
    np.testing.assert_allclose(values, part_of(volume[0], "k-space"), atol=1e-4)


def test_cuts_of_all_planes_and_labels_are_turned_as_they_are_looked_at():
    volume = np.arange(4 * 5 * 6).reshape(4, 5, 6)
    assert (sent(volume, plane="row", index=2)[1] == volume[::-1, 2]).all()
    assert (sent(volume, plane="column", index=1)[1] == volume[::-1, :, 1]).all()
    assert (sent(volume, "label", plane="row", index=2)[1] == volume[::-1, 2]).all()


def test_color_tables_are_matplotlibs():
    names, tables = transport.TABLES, np.frombuffer(transport.tables(), np.uint8).reshape(-1, 256, 3)
    assert names[: len(CMAPS)] == CMAPS and len(tables) == len(names)
    for name, table in zip(names, tables, strict=True):
        assert (table == colormaps[name](np.arange(256), bytes=True)[:, :3]).all()


def test_a_large_volume_is_described_without_being_read_whole(tmp_path):
    path = tmp_path / "large.npy"
    stored = np.lib.format.open_memmap(path, "w+", np.float32, (400, 512, 512))  # 400 MB, not written
    stored[200] = 1
    del stored

    class Counted(np.ndarray):
        read = 0

        def __getitem__(self, key):
            part = super().__getitem__(key)
            Counted.read += getattr(part, "size", 1)
            return part

    viewer = SliceViewer({"a": np.load(path, mmap_mode="r").view(Counted)}, scores=lambda i: {})
    assert not viewer.message and Counted.read < 400 * 512 * 512 / 20
    Counted.read = 0
    viewer.send = lambda *_: None
    viewer._receive(None, {"kind": "cuts", "number": 1, "data": 1, "cuts": [["a", "slice", 200, "image", False]]}, [])
    assert not viewer.message and Counted.read <= 2 * 512 * 512


def test_browser_and_kernel_have_the_same_constants():
    script = (ROOT / "lib" / "viewer" / "slice_viewer.js").read_text(encoding="utf-8")
    found = dict(re.findall(r"\b([A-Z_]+) = (-?\d+|\[\"[^\]]*\])[,;]", script))
    kernel = {
        "LOGARITHMIC": set(LOGARITHMIC), "FOURIER": set(FOURIER), "LEAST_DB": DECIBELS[0], "HATCH": pixels.HATCH,
        **{detail.name: detail.value for detail in Detail},
    }  # fmt: skip
    read = {name: json.loads(found[name]) for name in kernel}
    assert {name: set(v) if isinstance(v, list) else v for name, v in read.items()} == kernel


def test_the_kernel_keeps_nothing_of_what_it_sends():
    volume = RNG.random((100, 64, 64), np.float32)
    viewer = SliceViewer({"output": volume, "truth": volume})

    def ask(index):
        cuts = [[name, "slice", index, "image", detail] for name in ("output", "truth") for detail in Detail]
        viewer._receive(None, {"kind": "cuts", "number": index, "data": viewer.data, "cuts": cuts}, [])
        viewer._receive(None, {"kind": "scores", "index": index}, [])

    viewer.send = lambda content, buffers=(): None
    for index in range(100):
        ask(index)
    tracemalloc.start()
    for _ in range(10):
        for index in range(100):
            ask(index)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert viewer.message == "" and kept < 64 * 64 * 4  # less than one slice after a thousand
