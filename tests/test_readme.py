"""The README's tables follow from the results that a run wrote."""

import pytest

from lib import InputError, benchmark, files, readme

ABOUT = {"date": "2026-01-01", "machine": "Linux x86_64", "cores": 2, "device": "cpu", "versions": {"torch": "2.15.0"}}
ROW = {"person": "a", "method": "GRAPPA", "acceleration": 4, "achieved": 2.5, "ssim": 0.5, "psnr": 20.04}
ROW |= {"ssim_foreground": 0.25, "psnr_foreground": 15.0}


def test_tables_are_generated_between_their_markers(tmp_path, monkeypatch):
    monkeypatch.setattr(readme, "RESULTS", tmp_path)
    persons = {"persons": [ROW, ROW | {"person": "b", "ssim": 0.75, "psnr": 30.0}], "lesions": {"a": {"truth": 0.1}}}
    for name in ("demo", "kspace", "phantom"):
        files.write(tmp_path / f"{name}.json", ABOUT | {"metrics": persons})
    speed = {
        "results": {"x": {"ratio": 2.04, "ratio_min": 1.9, "ratio_max": 2.2, "ours_seconds": 0.5}},
        "ssim": {"ours": 0.9},
    }
    files.write(tmp_path / "benchmark.json", ABOUT | {"metrics": speed})
    text = "\n".join(f"<!-- {n} -->\nold\n<!-- end {n} -->" for n in readme.TABLES)
    made = readme.generate(text)
    assert "| GRAPPA | 0.500 / 20.0 | 0.750 / 30.0 |" in made and "2.50× achieved" in made
    assert "| GRAPPA | 0.625 / 25.0 |" in made  # the mean over people
    assert "| GRAPPA | 0.250 / 15.0 |" in made
    assert "| truth | 0.100 |" in made
    assert "| x | 2.0 | 1.9 … 2.2 | 0.5 |" in made and "old" not in made
    assert readme.generate(made) == made
    with pytest.raises(InputError, match="no markers <!-- demo -->"):
        readme.generate("nothing")


def test_pairs_are_timed_in_turn():
    calls = []
    found = benchmark.pair(lambda: calls.append("a"), lambda: calls.append("b"), 3)
    assert calls == ["a", "b"] * 4 and found["pairs"] == 3  # the first pair warms up
    assert found["ratio_min"] <= found["ratio"] <= found["ratio_max"]
