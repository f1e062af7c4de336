"""Scores and lesion contrast against hand-worked cases; methods that can't be done say why."""

import numpy as np
import pandas as pd
import pytest
import torch

from lib import InputError, baselines, evaluate, metrics, predict, runs
from lib.data import samples
from lib.data.kspace import KspaceSlices, split_files
from lib.models import build


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kspace")
    jobs = [j._replace(slices=j.slices[4:6]) for j in samples.plan() if j.name in ("brain_b", "brain_c")]
    for job in jobs:
        samples.write(folder / "test" / f"{job.name}.h5", job, (56, 48), 6, 40.0, voxel=4.0)
    samples.write_index(folder, jobs)
    return folder


def test_score_equals_the_metrics_of_the_volume(folder):
    slices = KspaceSlices(
        split_files(folder, "test"), {"kind": "equispaced", "acceleration": 4, "num_low_frequencies": 12}
    )
    cases = [slices.case(i) for i in range(2)]
    output = baselines.zero_filled(cases)
    target, truth = torch.stack([c.target for c in cases]), torch.stack([c.noise_free for c in cases])
    score = evaluate.score(output, cases)
    assert score["psnr"] == metrics.psnr(output, target) and score["nmse_noise_free"] == metrics.nmse(output, truth)
    assert score["ssim"] == pytest.approx(np.mean(score["ssim_slices"]))
    low, high = score["ssim_interval"]
    assert low <= score["ssim"] <= high
    inside = metrics.foreground(truth)
    error = ((output - truth)[torch.from_numpy(inside)] ** 2).double().mean()
    assert score["psnr_noise_free_foreground"] == pytest.approx(
        10 * np.log10(float(truth.max()) ** 2 / float(error)), rel=1e-5
    )


def test_the_ladder_worked_by_hand():
    def row(method, person, slices):
        about = {"acceleration": 4, "achieved": 2.5, "ssim_foreground": 0.5, "psnr": 20.0}
        return about | {"method": method, "person": person, "ssim": np.mean(slices), "ssim_slices": slices}

    rng = np.random.default_rng(0)
    first, second = rng.uniform(0.4, 0.9, 12), rng.uniform(0.4, 0.9, 6)
    rows = [row("zero-filled", "a", first), row("zero-filled", "b", second)]
    rows += [row("GRAPPA", "a", first + 0.02), row("GRAPPA", "b", second + 0.04)]  # paired: the same on every slice
    rows += [row("VarNet", "a", first + 0.02 + rng.choice((-0.1, 0.1), 12)), row("VarNet", "b", second + 0.04)]
    steps = evaluate.ladder(pd.DataFrame(rows), ["zero-filled", "GRAPPA", "VarNet", "UNet"]).set_index("method")
    assert steps.loc["GRAPPA", ["gain", "low", "high"]].tolist() == pytest.approx([0.03] * 3)
    assert steps.helps.tolist()[1:] == ["yes", "unclear", "n/a"] and steps.people["GRAPPA"] == "2 of 2"
    assert steps.low["VarNet"] < steps.gain["VarNet"] < steps.high["VarNet"]
    back = evaluate.ladder(pd.DataFrame(rows), ["GRAPPA", "zero-filled"])
    assert back.helps.tolist()[1] == "no" and back.people[1] == "0 of 2"
    with pytest.raises(InputError, match="did you mean 'GRAPPA'"):
        evaluate.check_ladder(["GRAPA"], ["VarNet"])


def test_a_cascade_is_loaded_with_its_self_ensemble(tmp_path):
    small = {"varnet": {"num_cascades": 1, "chans": 2, "pools": 2, "sens_chans": 2, "sens_pools": 2}}
    small["rcan"] = {"n_feats": 8, "n_resblocks": 1, "n_resgroups": 1, "reduction": 4}
    for name, settings in (("with", {}), ("without", {"use_grappa": False})):
        runs.save_model(tmp_path / name, "VarNetRCAN", small | settings, build("VarNetRCAN", **small, **settings))
    folders = [str(tmp_path / name / "model_weights") for name in ("without", "with")]
    found = evaluate.load(folders, {"turns": ["identity", "flip_h"]})
    expected = ["VarNet + RCAN", "VarNet + RCAN + GRAPPA"]
    assert list(found) == [*expected, *(f"{name} + self-ensemble" for name in expected)]
    runs.save_model(tmp_path / "v", "VarNet", small["varnet"], build("VarNet", **small["varnet"]))
    with pytest.raises(InputError, match="none of the inputs is a cascade"):
        evaluate.load([str(tmp_path / "v" / "model_weights")], {"turns": ["identity"]})


def test_compare_writes_every_method_and_says_what_it_left_out(folder, tmp_path):
    torch.manual_seed(0)
    network = build("VarNet", num_cascades=1, chans=2, pools=2, sens_chans=2, sens_pools=2).eval()
    mask = {"kind": "equispaced", "num_low_frequencies": 12}
    found = evaluate.compare(split_files(folder, "test"), mask, [2, 4], {"VarNet": network}, tmp_path / "result.h5")
    assert set(found.scores.method) == {*baselines.BASELINES, "VarNet"} and len(found.scores) == 2 * 2 * 5
    assert set(predict.read_result(tmp_path / "result.h5")) == {"brain_b 2x", "brain_b 4x", "brain_c 2x", "brain_c 4x"}
    assert set(found.seconds) == set(found.scores.method) and not found.reasons
    by = found.scores.set_index(["method", "acceleration", "person"]).psnr
    assert (by["GRAPPA"] > by["zero-filled"]).all()

    random = {"kind": "random", "num_low_frequencies": 12}
    found = evaluate.compare(split_files(folder, "test"), random, [2], {}, tmp_path / "result.h5")
    assert any(key.startswith("GRAPPA") for key in found.reasons) and "GRAPPA" not in set(found.scores.method)


def test_at_twofold_acceleration_grappa_nearly_meets_the_oracle(folder):
    slices = KspaceSlices(
        split_files(folder, "test"), {"kind": "equispaced", "acceleration": 2, "num_low_frequencies": 16}
    )
    cases = [slices.case(i) for i in range(2)]
    inside = metrics.foreground(torch.stack([c.noise_free for c in cases]))
    truth = torch.stack([c.noise_free for c in cases])
    grappa, oracle = (metrics.psnr(f(cases), truth, where=inside) for f in (baselines.by_grappa, baselines.by_cg_sense))
    assert abs(grappa - oracle) < 3.0


def test_lesion_contrast_by_hand():
    volume, lesion = np.full((1, 20, 20), 2.0), np.zeros((1, 20, 20), bool)
    lesion[0, 8:11, 8:11] = True
    volume[lesion] = 3.0
    assert evaluate.lesion_contrast(volume, lesion) == pytest.approx(0.5)
    volume[0, 0, 0] = 1e6  # far away: doesn't count
    assert evaluate.lesion_contrast(volume, lesion) == pytest.approx(0.5)
