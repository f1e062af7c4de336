"""Runs listed for people: words for times, the main metrics, and every bad folder a line that says what is wrong."""

from datetime import datetime

import fake_runs
import pytest

from lib.runs import listing


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, ""), (0.32, "0.3 s"), (9.94, "9.9 s"), (48.4, "48 s"), (59.6, "1 min 00 s"), (192, "3 min 12 s"),
        (3599.7, "1 h 00 min"), (7505, "2 h 05 min"),
    ],
)  # fmt: skip
def test_durations_in_words(seconds, words):
    assert listing.duration(seconds) == words


@pytest.mark.parametrize(
    ("time", "words"),
    [
        (datetime(2026, 3, 5, 0, 1), "today 00:01"), (datetime(2026, 3, 4, 23, 59), "yesterday 23:59"),
        (datetime(2026, 3, 3, 9, 5), "3 Mar 09:05"), (datetime(2025, 12, 31, 9, 5), "31 Dec 2025"), (None, ""),
    ],
)  # fmt: skip
def test_moments_in_words(time, words):
    assert listing.moment(time, datetime(2026, 3, 5, 0, 2)) == words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.88596, "0.886"),
        (32.1988, "32.2"),
        (0.018421, "0.0184"),
        (123.4, "123"),
        (0.0, "0"),
        (None, ""),
        (-1.5, "-1.50"),
    ],
)
def test_three_digits(value, text):
    assert listing.number(value) == text


def test_rows_are_newest_first_and_say_what_each_run_is(folder):
    old = fake_runs.make(folder, "train_unet", 0, parameters={"network_type": "UNet"}, headline={"validation": {"ssim_slices": 0.8, "psnr_slices": 30.0, "epoch": 3}})  # fmt: skip
    new = fake_runs.make(folder, "train_varnet", 5, status="failed", error="ValueError: no\nluck")
    (folder / "weights" / "20260305-150000").mkdir(parents=True)  # no task
    first, second = listing.rows()
    assert (first.path, first.status, first.message) == (new, "failed", "ValueError: no luck")
    assert (second.path, second.task, second.network) == (old, "train_unet", "UNet")
    assert second.scores == {"ssim": 0.8, "psnr": 30.0} and second.of == "validation slices"
    assert (second.seconds, second.started) == (192.0, fake_runs.DAY.astimezone().replace(tzinfo=None))
    assert [r.path for r in listing.rows([old, new])] == [old, new]
    fake_runs.make(folder, "look", 6, notebook="42_compare_runs", role="view")
    assert [r.task for r in listing.rows()] == ["look", "train_varnet", "train_unet"]
    assert listing.rows(views=False) == [first, second]


def test_bad_folders_are_rows_with_a_message(folder):
    (folder / "empty" / "20260101-000000").mkdir(parents=True)
    broken = fake_runs.make(folder, "broken", 1)
    (broken / "status.json").write_text("{")
    (broken / "task.json").unlink()
    odd = fake_runs.make(folder, "odd", 2)
    (odd / "task.json").write_text("[1]")
    (odd / "metrics.json").write_text('{"headline": [')
    listless = fake_runs.make(folder, "listless", 3)
    (listless / "status.json").write_text('{"status": "ok"}')
    silent = fake_runs.make(folder, "silent", 4, status="running")
    (silent / "status.json").write_text((silent / "status.json").read_text().replace('"pid": 1', '"pid": null'))
    found = {r.task: (r.status, r.message) for r in listing.rows()}
    assert found == {
        "empty": ("damaged", "an empty folder, no run in it"),
        "broken": ("damaged", "status.json is missing or unreadable"),
        "odd": ("ok", "task.json is missing or unreadable"),
        "listless": ("damaged", "status.json is missing or unreadable"),
        "silent": ("running", "still running"),
    }
    assert listing.row(folder / "gone" / "20260101-000000").status == "damaged"
    lines = listing.table()
    assert list(lines["run"]) == ["silent", "listless", "odd", "broken", "empty"]
    assert lines.status.iloc[0] == "● running" and lines.note.iloc[-1] == "an empty folder, no run in it"


@pytest.mark.parametrize(
    ("headline", "by_class", "scores", "of"),
    [
        ({"zero-filled, 4×": {"ssim": 0.7}, "VarNet, 4×": {"ssim": 0.9, "psnr": 31, "nmse": None}}, "", {"ssim": 0.9, "psnr": 31.0}, "VarNet, 4×"),
        ({"test": {"background": 0.99, "liver": 0.8, "spleen": 0.6, "pooled dice": 0.1}}, "dice", {"dice": 0.7}, "test"),
        ({"a": {"background": 0.9, "x": 0.5}, "b": {"background": 0.9, "x": 0.6}}, "dice", {"dice": 0.6}, "b"),
        ({"inference": {"ratio": 2.0}, "seconds": 3.0}, "", {}, ""),
        ({"test": {"nmse": 0.02}}, "", {"nmse": 0.02}, "test"),
        ({}, "dice", {}, ""),
    ],
)  # fmt: skip
def test_the_main_metrics_of_a_headline(headline, by_class, scores, of):
    assert listing.main_metrics(headline, by_class) == (pytest.approx(scores), of)


def test_tables_have_the_columns_that_are_needed(folder):
    assert listing.table().empty
    fake_runs.make(folder, "a", headline={"validation": {"ssim": 0.88596}}, parameters={"network_type": None})
    table = listing.table()
    assert list(table) == ["run", "time", "status", "duration", "SSIM", "measured on"]
    assert table.iloc[0].tolist()[2:] == ["✓ ok", "3 min 12 s", "0.886", "validation"]
