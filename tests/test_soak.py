"""A few trials of what `make soak` tries for hours: see tests/soak."""

import pytest
from soak import faults, fuzz, kills, many

pytestmark = pytest.mark.whole


@pytest.mark.parametrize("name", ["slices"])
def test_a_killed_recipe_resumes_to_the_last_bit(tmp_path, name):
    (found,) = kills.run(1, tmp_path, [name])
    assert (found["ended"], found["orphans"], found["differ"], found["partial"]) == (0, 0, [], []), found


def test_readers_take_damaged_files_or_say_what_is_wrong(tmp_path):
    found = list(fuzz.run(260, tmp_path))
    assert len(found) == 260 and [row for row in found if row["what"] not in fuzz.GOOD] == []
    assert {row["what"] for row in found} == set(fuzz.GOOD)


def test_memory_and_open_files_stay_as_they_are_over_many_cases(tmp_path):
    rows = list(many.run(48, tmp_path / "many"))
    assert rows[-1]["cases"] >= 48 and many.growth(rows, "files") <= 0
    assert many.growth(rows, "memory") < 0.05


@pytest.mark.parametrize("name", ["the disk is full", "the disk is read-only"])
def test_what_goes_wrong_around_a_run_is_told_in_a_line(tmp_path, name):
    (found,) = faults.run(tmp_path, [name])
    assert found["seen"] == "as it should be"
