"""The tables of README and docs/results.md follow from the results that a run wrote."""

from refusals import refused

from lib import files
from tools import readme
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
        "results": {"x": {"ratio": 2.04, "ratio_min": 1.9, "ratio_max": 2.2, "ours_seconds": 0.5}},
        "ssim": {"ours": 0.9},
    }
    files.write(tmp_path / "benchmark.json", ABOUT | {"metrics": speed})
    hearts = [
        ROW | {"group": g, "ssim3d": 0.6, "nrmse": v}
        for g, v in (("simulated", 0.2), ("simulated", 0.4), ("real", 0.5))
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
    text = "\n".join(f"<!-- {n} -->\nold\n<!-- end {n} -->" for n in readme.PAGES[PAGE])
    made = readme.generate(PAGE, text)
    assert "| GRAPPA | 0.500 / 20.0 | 0.750 / 30.0 |" in made and "2.50× achieved" in made
    assert "| GRAPPA | 0.625 / 25.0 |" in made  # the mean over people
    assert "| GRAPPA | 0.250 / 15.0 |" in made
    assert "| truth | 0.100 |" in made and "Closest to the truth: VarNet for a." in made
    assert "Highest SSIM against the noise-free truth: GRAPPA at R 4." in made
    assert (
        "simulated (n = 2) | real (n = 1)" in made
        and "| GRAPPA | 0.500 / 20.0 / 0.600 / 0.300 | 0.500 / 20.0 / 0.600 / 0.500 |" in made
    )
    assert "| UNet3D | 0.900 | 30.0 | 1,000,000 | 3.0 | 500 | 3.00 | 1.50 |" in made
    assert "| x | 2.0 | 1.9 … 2.2 | 0.5 |" in made and "old" not in made
    assert "| GRAPPA | 0.5000 / 0.6000 / 20.00 |  |  | 0.100 | 1 |  |  |" in made
    assert "+0.0125 (-0.0010 … +0.0200) | unclear, for 3 of 4 people | 0.200 | 2 | 4 |  |" in made
    assert "| published | 256 | 0.25 | 3.0 |" in made and "40 with 0 workers" in made
    assert "| pairs: lesion | 0.800 (0.700 … 0.900) | n/a | 2 | 25 % |" in made
    assert made.index("| DRAWN (n = 9 slices) | 0.900 |") < made.index("| REAL (n = 3 slices) | 0.100 |")
    assert "| 2 | 512 | 0.500 | 1024 | 5.0 | 128³ |" in made
    assert "bf16 0.25 s per step (convolutions ran in bfloat16), final smoothed loss 0.500" in made
    assert readme.generate(PAGE, made) == made
    with refused(found="no markers <!-- recipes -->"):
        readme.generate(PAGE, "nothing")


def test_the_summary_has_the_best_untrained_method_beside_the_network():
    def rows(network, group, *others):
        return [
            ROW | {"group": group, "method": m, "ssim": s} for m, s in ((network, 0.8), ("zero-filled", 0.7), *others)
        ]

    easy = [row | {"acceleration": 2, "ssim": 0.9} for row in rows("VarNet", "a")]
    brains = [*easy, *rows("VarNet", "a", ("GRAPPA", 0.5), ("TV-SENSE", 0.6))]
    cascade = rows("VarNet + RCAN + GRAPPA", "a", ("GRAPPA", 0.4))
    hearts = [*rows("UNet3D", "drawn", ("sliding window", 0.3)), *rows("UNet3D", "real", ("temporal median", 0.2))]
    scores = {"train_volumes": {"background": {"dice": 0.9}, "liver": {"dice": 0.75}}}
    found = [ABOUT | {"metrics": {"persons": persons}} for persons in (brains, hearts, cascade)]
    made = summary(*found, *[ABOUT | {"metrics": {"classes": scores}}] * 2)
    assert (
        "| Brains, 2.50× undersampled | 1 other people | TV-SENSE: SSIM 0.600, 20.0 dB | VarNet: SSIM 0.800, 20.0 dB |"
        in made
    )
    assert "GRAPPA: SSIM 0.400, 20.0 dB | VarNet + RCAN + GRAPPA: SSIM 0.800, 20.0 dB |" in made
    assert "| real (n = 1) | temporal median: SSIM 0.200, 20.0 dB | UNet3D: SSIM 0.800, 20.0 dB |" in made
    assert "| Organs in CT volumes | another person | – | VolumeUNet: Dice 0.75 liver |" in made
