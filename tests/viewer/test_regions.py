import numpy as np
import pytest
from refusals import refused

from lib.viewer import SliceViewer
from lib.viewer.regions import Shape, inside, line_profile, parse_shapes, region_table


def test_pixels_are_in_a_region_by_their_centers():
    rectangle = Shape("rectangle", (1.4, 0.6, 3.6, 2.5), "A", "slice")
    found = inside(rectangle, 4, 5)
    assert found.astype(int).tolist() == [[0, 0, 0, 0, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]]
    circle = inside(Shape("ellipse", (0, 0, 5, 5), "A", "slice"), 5, 5)
    assert circle.astype(int).tolist() == [[0, 1, 1, 1, 0], [1] * 5, [1] * 5, [1] * 5, [0, 1, 1, 1, 0]]
    assert not inside(Shape("ellipse", (2, 2, 2, 2), "A", "slice"), 5, 5).any()


def test_mean_deviation_snr_and_contrast_by_hand():
    image = np.array([[1.0, 3.0, 10.0, 14.0], [5.0, 7.0, 12.0, np.nan]])
    regions = [
        Shape("rectangle", (0, 0, 2, 2), "A", "slice"),
        Shape("rectangle", (2, 0, 4, 2), "B", "slice"),
        Shape("rectangle", (0, 0, 2, 1), "N", "slice", True),
        Shape("profile", (0, 0, 4, 2), "", "slice"),
    ]
    table = region_table({"a": image, "b": "not there", "c": None}, regions).set_index(["panel", "region"])
    assert list(table.index) == [("a", "A"), ("a", "B"), ("a", "N")]
    noise = np.sqrt(2)  # of 1 and 3
    assert table.loc[("a", "A"), ["pixels", "mean", "SNR"]].tolist() == pytest.approx([4, 4, 4 / noise])
    assert table.loc[("a", "A"), "SD"] == pytest.approx(np.sqrt(20 / 3))
    expected = [3, 12, 2, 12 / noise, (12 - 4) / (12 + 4), (12 - 4) / noise]
    assert table.loc[("a", "B")].tolist() == pytest.approx(expected)
    assert table.loc[("a", "A"), ["contrast", "CNR"]].isna().all() and np.isnan(table.loc[("a", "N"), "SNR"])
    alone = region_table({"a": image}, regions[:2])
    assert alone["SNR"].isna().all() and alone["contrast"].tolist()[1] == pytest.approx(0.5)


def test_a_profile_is_linear_between_the_pixels_centers():
    ramp = np.arange(6.0)[None] * np.ones((4, 1))
    assert line_profile(ramp, Shape("profile", (0.5, 2, 5.5, 2), "", "slice")).tolist() == pytest.approx(
        [0, 1, 2, 3, 4, 5]
    )
    slanted = line_profile(ramp, Shape("profile", (0.5, 0.5, 3.5, 3.5), "", "slice"))
    assert (
        len(slanted) == 6 and slanted[[0, -1]].tolist() == pytest.approx([0, 3]) and np.allclose(np.diff(slanted), 0.6)
    )


def test_the_viewers_regions_are_of_the_slice_that_is_shown():
    volume = np.arange(3.0)[:, None, None] * np.ones((3, 8, 8))
    viewer = SliceViewer({"a": volume, "b": volume * 2}, spacing=(1, 2, 3))
    shapes = [{"kind": "rectangle", "box": [0, 0, 4, 4], "name": "A", "plane": "slice", "background": False}]
    shapes += [
        {**shapes[0], "name": "B", "plane": "row"},
        {**shapes[0], "kind": "profile", "name": "", "box": [1, 1, 5, 4]},
    ]
    viewer.state = {"at": [2, 0, 0], "shapes": shapes}
    found = viewer.regions
    assert found[["panel", "region", "pixels", "mean"]].values.tolist() == [["a", "A", 16, 2], ["b", "A", 16, 4]]
    viewer._receive(None, {"kind": "measure", "shapes": shapes, "place": viewer.place, "look": viewer.look}, [])
    measured = viewer.measured
    assert measured["columns"] == ["panel", "region", "pixels", "mean", "SD"]  # nothing else is known
    assert measured["rows"] == [["a", "A", 16, 2.0, 0.0], ["b", "A", 16, 4.0, 0.0]]
    profile = measured["profile"]
    assert profile["lines"]["b"] == [4.0] * 6 and profile["length"] == pytest.approx(np.hypot(4 * 3, 3 * 2))
    assert profile["unit"] == "mm"


def test_shapes_that_are_none_are_refused():
    good = {"kind": "ellipse", "box": [0, 0, 1, 1], "name": "A", "plane": "slice"}
    assert parse_shapes([good]) == [Shape("ellipse", (0, 0, 1, 1), "A", "slice")]
    for odd in ({"kind": "star"}, {"box": [0, 0, 1]}, {"box": [0, 0, 1, np.nan]}, {"color": "red"}, {"box": "a"}):
        with refused(found="shapes are", expected="at most 100 of"):
            parse_shapes([{**good, **odd}])
    for odd in ([5], [good] * 101):
        with refused(found="shapes are", expected="at most 100 of"):
            parse_shapes(odd)
