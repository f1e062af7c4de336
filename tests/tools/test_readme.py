"""The tables of README and docs/results.md follow from the results that a run wrote."""

import fake_runs
from refusals import refused

from lib import files
from tools import readme, tables
from tools.summary import summary

PAGE = "docs/results.md"
ABOUT = {"date": "2026-01-01", "machine": "Linux x86_64", "cores": 2, "device": "cpu", "versions": {"torch": "2.15.0"}}
ROW = {"person": "a", "method": "GRAPPA", "acceleration": 4, "achieved": 2.5, "ssim": 0.5, "psnr": 20.04}
CONTRASTS = {"truth": 0.1, "GRAPPA": 0.2, "VarNet": 0.05}
ROW |= {"ssim_noise_free_foreground": 0.25, "psnr_noise_free_foreground": 15.0}


def test_tables_are_generated_between_their_markers(tmp_path, monkeypatch):
    monkeypatch.setattr(readme, "RESULTS", tmp_path)
    persons = {"persons": [ROW, ROW | {"person": "b", "ssim": 0.75, "psnr": 30.0}], "lesions": {"a": CONTRASTS}}
    for name in ("demo", "kspace", "phantom"):
        files.write(tmp_path / f"{name}.json", ABOUT | {"metrics": persons})
    speed = {
        "results": {
            "x": {"ratio": 2.04, "ratio_min": 1.9, "ratio_max": 2.2, "ours_seconds": 0.5, "pairs": 5, "asked": 3},
            "y": {"ratio": 0.131, "ratio_min": 0.1, "ratio_max": 0.2, "ours_seconds": 1, "pairs": 1, "asked": 10}
            | {"difference": 1.2e-7},
        },
        "ssim": {"ours": 0.9},
        "noise": {"0.01": {"ours": 0.0123, "theirs": 0.02}},
        "about": {"import lib, s": 0.1},
    }
    files.write(tmp_path / "benchmark.json", ABOUT | {"metrics": speed})
    hearts = [
        ROW | {"group": g, "person": p, "ssim3d": 0.6, "nrmse": v}
        for g, p, v in (
            ("drawn", "a", 0.2),
            ("drawn", "b", 0.4),
            ("real", "c", 0.5),
            ("real", "c", 0.3),
            ("real", "d", 0.8),
        )
    ]
    ranking = {
        "UNet3D": {"ssim": 0.9, "psnr": 30.0, "parameters": 1e6, "training, min": 3.0, "training, peak MiB": 500.0}
    }
    needed = {n: {"parameters": 1.0, "activations": a} for n, a in (("UNet3D", 2.0), ("UNet3D, checkpointing", 0.5))}
    cine = {"persons": hearts, "ranking": ranking, "published_size_GiB": needed}
    files.write(tmp_path / "cine.json", ABOUT | {"metrics": cine})
    step = {"acceleration": 8, "achieved": 3.5, "method": "GRAPPA", "ssim": 0.5, "ssim_foreground": 0.6, "psnr": 20.0}
    gain = {"gain": 0.0125, "low": -0.001, "high": 0.02, "helps": "unclear", "people": "3 of 4"}
    steps = [step | dict.fromkeys(gain), step | gain | {"method": "VarNet"}]
    costs = {"seconds_a_slice": {"GRAPPA": 0.1, "VarNet": 0.2}, "bytes_held": {"GRAPPA": 2**20, "VarNet": 2**21}}
    costs["training"] = {"VarNet": {"training, min": 4.2, "training, peak MiB": None}}
    files.write(tmp_path / "cascade.json", ABOUT | {"metrics": {"ladder": steps}, "timings": costs})
    held = {"without checkpointing": {"bytes": 2**30, "seconds": 2.0}, "published": {"bytes": 2**28, "seconds": 3.0}}
    files.write(
        tmp_path / "benchmark_cascade.json", ABOUT | {"metrics": {"steps": held, "samples_a_second": {"0": 40.2}}}
    )
    lesion = {"dice": 0.8, "low": 0.7, "high": 0.9, "hausdorff95": None, "missed": 2, "both empty": 0.25}
    cases = {"DRAWN": {"slices": 9, "lesion": 0.9}, "REAL": {"slices": 3, "lesion": 0.1}}
    found = {"classes": {"train_pairs": {"background": lesion, "lesion": lesion}}, "persons": {"train_pairs": cases}}
    files.write(tmp_path / "segmentation2d.json", ABOUT | {"metrics": found})
    files.write(tmp_path / "segmentation3d.json", ABOUT | {"metrics": found})
    parts = {"1": {"saved": 2**30, "seconds": 4.0}, "2": {"saved": 2**29, "seconds": 5.0}}
    about = {"size": 128, "sizes": [96, 128], "base_filters": 8, "limit_GiB": 4.0}
    about["held_GiB"] = {"1, 128": 4.5, "2, 128": 1.0}
    kinds = {"bf16": {"ran": "bfloat16", "seconds a step": 0.25, "last loss": 0.5}}
    split = {"steps": parts, "largest": {"1": 96, "2": 128}, "about": about, "precision": kinds}
    files.write(tmp_path / "benchmark_volumes.json", ABOUT | {"metrics": split})
    grown = {"size": [2, 16], "seconds": [0.1, 0.4], "bytes": None, "time_exponent": 0.667, "memory_exponent": None}
    files.write(tmp_path / "benchmark_growth.json", ABOUT | {"metrics": {"curves": {"coils": grown}}})
    curves = {name: {"ssim": [0.5, 0.8], "steps": 1200} for name in ("theirs", "ours")}
    ways = {"curves": curves, "reached": {"theirs": None, "ours": 60.4}, "about": {"seconds": 240}}
    files.write(tmp_path / "time_to_quality.json", ABOUT | {"metrics": ways})
    text = "\n".join(f"<!-- {n} -->\nold\n<!-- end {n} -->" for n in readme.PAGES[PAGE])
    made = readme.generate(PAGE, text)
    assert "| GRAPPA | 0.500 / 20.0 | 0.750 / 30.0 |" in made and "2.50× achieved" in made
    assert "| GRAPPA | 0.625 / 25.0 |" in made  # the mean over people
    assert "| GRAPPA | 0.250 / 15.0 |" in made
    assert "| truth | 0.100 |" in made and "Closest to the truth: VarNet for a." in made
    assert "Highest SSIM against the noise-free truth: GRAPPA at R 4." in made
    assert "drawn (n = 2) | real (n = 2, 3 slices) |" in made
    each = "0.500 / 20.0 / 0.600 / 0.300 | 0.500 / 20.0 / 0.600 / 0.600 |"  # of c (.5 + .3) / 2, of d .8: their mean .6
    assert f"| GRAPPA | {each}" in made
    assert "| UNet3D | 0.900 | 30.0 | 1,000,000 | 3.0 | 500 | 3.00 | 1.50 |" in made
    assert "| x | 2.0 | 3.0 | 1.9 … 2.2 | 0.5 | – |" in made and "old" not in made
    assert "| y | 0.13 | 10 | one pair | 1 | 1e-07 |" in made and "| 0.01 | 0.012 | 0.02 |" in made
    assert "| GRAPPA | 0.5000 / 0.6000 / 20.00 |  |  | 0.100 | 1 |  |  |" in made
    assert "+0.0125 (-0.0010 … +0.0200) | unclear, for 3 of 4 people | 0.200 | 2 | 4 |  |" in made
    assert "| published | 256 | 0.25 | 3.0 |" in made and "40 with 0 workers" in made
    assert "| pairs: lesion | 0.800 (0.700 … 0.900) | n/a | 2 | 25 % |" in made
    assert made.index("| DRAWN (n = 9 slices) | 0.900 |") < made.index("| REAL (n = 3 slices) | 0.100 |")
    assert "| 2 | 512 | 0.500 | 1024 | 5.0 | 128³ |" in made
    assert "| coils | 2 … 16 | 0.1 … 0.4 | 0.67 | – |" in made
    assert "| theirs | 0.8000 | 1,200 | never | – |" in made and "| ours | 0.8000 | 1,200 | 60 | 0.25 |" in made
    assert "bf16 0.25 s per step (convolutions ran in bfloat16), final smoothed loss 0.500" in made
    assert readme.generate(PAGE, made) == made
    with refused(found="no markers <!-- recipes -->"):
        readme.generate(PAGE, "nothing")


def test_leave_one_out_has_a_row_for_each_person_and_their_spread():
    def scores(dice):
        return {"background": {}, "cavity": {"dice": dice, "low": 0.1, "high": 0.9, "hausdorff95": None}}

    found = {"classes": {"a": scores(0.5), "b": scores(0.8)}, "persons": {"a": {"p": {}}, "b": {"q": {}}}}
    made = tables.over_runs(ABOUT | {"metrics": found})
    assert "| p: cavity | 0.500 (0.100 … 0.900) | n/a |" in made and "| q: cavity | 0.800 " in made
    assert "| mean ± standard deviation | 0.650 ± 0.212 |" in made  # √(2 · .15²)


def test_what_was_tried_has_a_row_for_each_part_that_ran():
    about = {"date": "2026-01-01", "machine": "Linux x86_64", "cores": 2}
    parts = {"fuzz": about | {"trials": 10_000, "wrong": [{}]}}
    parts["many"] = about | {"trials": 2_000, "wrong": [], "growth": {"memory": 0.0123, "files": 0.0}}
    made = tables.withstood(parts)
    assert made.count("2026-01-01") == 2 and "| 10,000 | 1 | 2026-01-01, Linux x86_64, 2 cores |" in made
    assert "| 2,000 | 0; last quarter against the second: memory +1.2 %, files +0.0 % |" in made


def test_raw_scans_are_compared_with_grappa_file_by_file():
    scores = {"GRAPPA": (("a", 30.0), ("b", 20.0)), "SenseUNet": (("a", 29.5), ("b", 23.0)), "other": (("b", 21.0),)}
    rows = [
        ROW | {"method": m, "case": f"{c} 4x", "psnr": v, "nmse": 0.01} for m, pairs in scores.items() for c, v in pairs
    ]
    found = tables.raw(ABOUT | {"metrics": {"persons": rows}})
    assert "| R 4 (2.50×) | SenseUNet | 0.500 | 26.2 | 0.0100 | −0.5 … +3.0 |" in found
    assert "| R 4 (2.50×) | GRAPPA | 0.500 | 25.0 | 0.0100 | +0.0 … +0.0 |" in found
    assert "| other | 0.500 | 21.0 | 0.0100 | +1.0 … +1.0 |" in found and "Files: a, b." in found


def test_the_summary_has_the_best_untrained_method_beside_the_network():
    def rows(network, group, *others):
        return [
            ROW | {"group": group, "method": m, "ssim": s} for m, s in ((network, 0.8), ("zero-filled", 0.7), *others)
        ]

    easy = [row | {"acceleration": 2, "ssim": 0.9} for row in rows("VarNet", "a")]
    brains = [*easy, *rows("VarNet", "a", ("GRAPPA", 0.5), ("TV-SENSE", 0.6), ("SenseUNet", 0.85))]
    cascade = rows("VarNet + RCAN + GRAPPA", "a", ("GRAPPA", 0.4))
    hearts = [*rows("UNet2D1D", "drawn", ("sliding window", 0.3)), *rows("UNet2D1D", "real", ("temporal median", 0.2))]
    raw = rows("SenseUNet", "a", ("GRAPPA", 0.5), ("TV-SENSE", 0.9))
    scores = {"train_hippocampus": {"background": {"dice": 0.9}, "anterior": {"dice": 0.75}}}
    found = [ABOUT | {"metrics": {"persons": persons}} for persons in (brains, raw, hearts, cascade)]
    made = summary(*found, *[ABOUT | {"metrics": {"classes": scores}}] * 2)
    assert (
        "| Simulated k-space of brains, 2.50× undersampled | 1 other people | TV-SENSE: SSIM 0.600, 20.0 dB "
        "| VarNet: SSIM 0.800, 20.0 dB; SenseUNet: SSIM 0.850, 20.0 dB |" in made
    )
    assert "GRAPPA: SSIM 0.400, 20.0 dB | VarNet + RCAN + GRAPPA: SSIM 0.800, 20.0 dB |" in made
    assert "| real (n = 1) | temporal median: SSIM 0.200, 20.0 dB | UNet2D1D: SSIM 0.800, 20.0 dB |" in made
    assert "| Hippocampus in MR volumes | 10 other volumes | – | VolumeUNet: Dice 0.75 anterior |" in made
    assert "| TV-SENSE: SSIM 0.900, 20.0 dB | SenseUNet: SSIM 0.800, 20.0 dB |" in made


def test_quick_runs_and_what_is_about_them_are_no_results(tmp_path, monkeypatch):
    quick = fake_runs.make(tmp_path / "runs", "train", parameters={"quick": True})
    about = fake_runs.make(tmp_path / "runs", "evaluate", 1, headline={})
    files.write(about / "manifest.json", {"versions": {}, "inputs": [{"path": str(quick)}]})
    whole = fake_runs.make(tmp_path / "runs", "benchmark", 2, headline={})
    monkeypatch.setattr(readme.runs, "find", lambda task: {"a": about, "b": whole}[task])
    assert readme._whole("b") == whole
    with refused(where="run .*evaluate", found="train was run at tiny sizes"):
        readme._whole("a")
