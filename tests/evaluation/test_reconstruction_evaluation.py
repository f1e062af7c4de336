"""Scores and lesion contrast against hand-worked cases; methods that can't be done say why."""

from types import SimpleNamespace

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from refusals import refused

from lib import metrics, runs
from lib.data.fastmri import KspaceSlices, split_files
from lib.data.fastmri_file import kspace_file
from lib.evaluation import baselines, reconstruction, scoring
from lib.inference import reconstruct, results
from lib.models import build
from lib.models.varnet import VarNet
from lib.phantoms import sample_scans


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kspace")
    jobs = [j._replace(slices=j.slices[4:6]) for j in sample_scans.plan() if j.name in ("brain_b", "brain_c")]
    for job in jobs:
        sample_scans.write(folder / "test" / f"{job.name}.h5", job, (56, 48), 6, 40.0, voxel=4.0)
    sample_scans.write_index(folder, jobs)
    return folder


def test_score_equals_the_metrics_of_the_volume(folder):
    slices = KspaceSlices(
        split_files(folder, "test"), {"kind": "equispaced", "acceleration": 4, "num_low_frequencies": 12}
    )
    cases = [slices.case(i) for i in range(2)]
    output = baselines.zero_filled(cases)
    target, truth = torch.stack([c.target for c in cases]), torch.stack([c.noise_free for c in cases])
    score = reconstruction.score(output, cases)
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
    steps = reconstruction.ladder(pd.DataFrame(rows), ["zero-filled", "GRAPPA", "VarNet", "UNet"]).set_index("method")
    assert steps.loc["GRAPPA", ["gain", "low", "high"]].tolist() == pytest.approx([0.03] * 3)
    assert steps.helps.tolist()[1:] == ["yes", "unclear", "n/a"] and steps.people["GRAPPA"] == "2 of 2"
    assert steps.low["VarNet"] < steps.gain["VarNet"] < steps.high["VarNet"]
    back = reconstruction.ladder(pd.DataFrame(rows), ["GRAPPA", "zero-filled"])
    assert back.helps.tolist()[1] == "no" and back.people[1] == "0 of 2"
    with refused(found="did you mean 'GRAPPA'"):
        reconstruction.check_ladder(["GRAPA"], ["VarNet"])


def test_a_cascade_is_loaded_with_its_self_ensemble(tmp_path):
    small = {"varnet": {"num_cascades": 1, "chans": 2, "pools": 2, "sens_chans": 2, "sens_pools": 2}}
    small["rcan"] = {"n_feats": 8, "n_resblocks": 1, "n_resgroups": 1, "reduction": 4}
    for name, settings in (("with", {}), ("without", {"use_grappa": False})):
        runs.save_model(tmp_path / name, "VarNetRCAN", small | settings, build("VarNetRCAN", **small, **settings))
    folders = [str(tmp_path / name / "model_weights") for name in ("without", "with")]
    found = reconstruction.load(folders, {"turns": ["identity", "flip_h"]})
    expected = ["VarNet + RCAN", "VarNet + RCAN + GRAPPA"]
    assert list(found) == [*expected, *(f"{name} + self-ensemble" for name in expected)]
    assert [each.run for each in found.values()] == [*map(runs.find, folders), None, None]
    runs.save_model(tmp_path / "v", "VarNet", small["varnet"], build("VarNet", **small["varnet"]))
    with refused(found="none of the inputs is a cascade"):
        reconstruction.load([str(tmp_path / "v" / "model_weights")], {"turns": ["identity"]})


def test_compare_writes_every_method_and_says_what_it_left_out(folder, tmp_path):
    torch.manual_seed(0)
    network = build("VarNet", num_cascades=1, chans=2, pools=2, sens_chans=2, sens_pools=2).eval()
    mask = {"kind": "equispaced", "num_low_frequencies": 12}
    found = reconstruction.compare(
        split_files(folder, "test"), mask, [2, 4], {"VarNet": network}, tmp_path / "result.h5"
    )
    assert set(found.scores.method) == {*baselines.BASELINES, "VarNet"} and len(found.scores) == 2 * 2 * 6
    assert set(results.read(tmp_path / "result.h5")) == {"brain_b 2x", "brain_b 4x", "brain_c 2x", "brain_c 4x"}
    assert set(found.seconds_per_slice) == set(found.scores.method) and not found.reasons
    by = found.scores.set_index(["method", "acceleration", "person"]).psnr
    assert (by["GRAPPA"] > by["zero-filled"]).all()

    random = {"kind": "random", "num_low_frequencies": 12}
    found = reconstruction.compare(split_files(folder, "test"), random, [2], {}, tmp_path / "result.h5")
    assert any(key.startswith("GRAPPA") for key in found.reasons) and "GRAPPA" not in set(found.scores.method)


def test_at_twofold_acceleration_grappa_nearly_meets_the_oracle(folder):
    slices = KspaceSlices(
        split_files(folder, "test"), {"kind": "equispaced", "acceleration": 2, "num_low_frequencies": 16}
    )
    cases = [slices.case(i) for i in range(2)]
    inside = metrics.foreground(torch.stack([c.noise_free for c in cases]))
    truth = torch.stack([c.noise_free for c in cases])
    grappa, oracle = (metrics.psnr(f(cases), truth, where=inside) for f in (baselines.by_grappa, baselines.by_oracle))
    assert abs(grappa - oracle) < 3.0


SMALL = {"num_cascades": 1, "chans": 2, "pools": 2, "sens_chans": 2, "sens_pools": 2}
CENTER = {"kind": "equispaced", "num_low_frequencies": 12}


def test_a_stopped_comparison_goes_on_and_ends_with_the_same(folder, tmp_path):
    class Counting(VarNet):
        calls, stop = 0, None

        def forward(self, masked_kspace, *more):
            Counting.calls += 1
            if Counting.calls == self.stop:
                raise KeyboardInterrupt
            return super().forward(masked_kspace, *more)

    torch.manual_seed(0)
    network, files = Counting(**SMALL).eval(), split_files(folder, "test")

    def compare(name, **more):
        Counting.calls = 0
        path = tmp_path / name / "result.h5"
        return reconstruction.compare(files, CENTER, [4], {"VarNet": network}, path, baselines=["GRAPPA"], **more)

    whole = compare("whole")
    used = Counting.stop = Counting.calls
    with pytest.raises(KeyboardInterrupt):
        compare("cut")
    assert {path.name for path in (tmp_path / "cut").iterdir()} == {"result.json", "result.parts"}
    Counting.stop = None
    kept = (tmp_path / "cut" / "result.parts" / "brain_b.h5").stat().st_mtime_ns
    rest = compare("cut")
    assert Counting.calls < used and kept < (tmp_path / "cut" / "result.h5").stat().st_mtime_ns
    pd.testing.assert_frame_equal(rest.scores, whole.scores)
    ended, first = (results.read(tmp_path / name / "result.h5") for name in ("cut", "whole"))
    assert list(ended) == list(first) and all(
        np.array_equal(ended[case][key], first[case][key]) for case in first for key in first[case]
    )
    pd.testing.assert_frame_equal(compare("cut").scores, whole.scores)
    assert Counting.calls == 0
    compare("cut", foreground_threshold=0.1)  # another setting: anew
    assert Counting.calls >= 4


def test_each_slice_is_read_once_by_whom_ever(folder, tmp_path, monkeypatch):
    files, read, case = split_files(folder, "test"), [], KspaceSlices.case
    network = build("VarNet", **SMALL).eval()
    both = {"a": network, "b": build("UNet", chans=2).eval()}
    alone = reconstruction.compare(files, CENTER, [4], both, tmp_path / "a.h5")
    by_workers = reconstruction.compare(files, CENTER, [4], both, tmp_path / "w" / "b.h5", num_workers=2)
    pd.testing.assert_frame_equal(alone.scores, by_workers.scores)
    monkeypatch.setattr(KspaceSlices, "case", lambda self, i, epoch=0: read.append(i) or case(self, i, epoch))
    reconstruction.compare(files, CENTER, [4], both, tmp_path / "c" / "c.h5")
    assert read == [0, 1, 2, 3]
    slices = KspaceSlices(files, CENTER | {"acceleration": 4})
    reconstruct.reconstruct(network, slices, tmp_path / "d.h5", batch_size=3)
    assert read == [0, 1, 2, 3] * 2
    monkeypatch.setattr(KspaceSlices, "case", case)
    reconstruct.reconstruct(network, slices, tmp_path / "e.h5", batch_size=3, num_workers=2)
    found = [results.read(tmp_path / name) for name in ("d.h5", "e.h5")]
    assert all(np.array_equal(v, found[1][case][key]) for case in found[0] for key, v in found[0][case].items())


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still but where a test moves it: 100 s for reading a slice, 1 s for each zero-filled image."""
    now, case, made = [0.0], KspaceSlices.case, baselines.zero_filled

    def spend(seconds, value):
        now[0] += seconds
        return value

    monkeypatch.setattr(reconstruction, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr(reconstruction, "peak_memory", lambda call: 1)
    monkeypatch.setattr(KspaceSlices, "case", lambda self, i, epoch=0: spend(100, case(self, i, epoch)))
    monkeypatch.setattr(reconstruction, "zero_filled", lambda *given: spend(1, made(*given)))
    monkeypatch.setitem(reconstruction.BASELINES, "zero-filled", reconstruction.zero_filled)
    return spend


def test_seconds_are_from_kspace_in_memory_to_the_image_for_all_methods_alike(folder, tmp_path, clock):
    class VarNet(torch.nn.Module):
        def forward(self, masked_kspace, *more):
            return clock(7, torch.zeros(1, 56, 48))

    networks = {"VarNet": VarNet(), "UNet": build("UNet", chans=2).eval()}
    path = tmp_path / "a.h5"
    found = reconstruction.compare(split_files(folder, "test"), CENTER, [4], networks, path, baselines=["zero-filled"])
    assert found.seconds_per_slice == {
        "zero-filled": 1,
        "VarNet": 7,
        "UNet": 1,
    }  # a U-Net is fed with a zero-filled image


def test_a_cascades_seconds_hold_grappas(folder, tmp_path, clock, monkeypatch):
    rcan = {"n_feats": 8, "n_resblocks": 1, "n_resgroups": 1, "reduction": 4}
    cascade, made = build("VarNetRCAN", varnet=SMALL, rcan=rcan).eval(), reconstruction.grappa_image
    monkeypatch.setattr(reconstruction, "grappa_image", lambda *given: clock(30, made(*given)))
    one = split_files(folder, "test")[:1]
    found = reconstruction.compare(one, CENTER, [4], {"c": cascade}, tmp_path / "a.h5", baselines=["zero-filled"])
    assert found.seconds_per_slice == {"zero-filled": 1, "c": 30} and not found.reasons


def test_baselines_are_chosen_and_run_where_they_are_told(folder, tmp_path, monkeypatch):
    seen = []

    def somewhere(cases, device):
        seen.append((len(cases), device))
        return baselines.zero_filled(cases)

    monkeypatch.setitem(reconstruction.BASELINES, "TV-SENSE", somewhere)
    device = torch.device("cpu", 0)
    one = split_files(folder, "test")[:1]
    found = reconstruction.compare(one, CENTER, [4], {}, tmp_path / "a.h5", device, baselines=["TV-SENSE"])
    assert set(found.scores.method) == {"TV-SENSE"} and set(seen) == {(1, device)}
    assert (
        baselines.chosen_baselines(None, False) == list(baselines.BASELINES)
        and baselines.chosen_baselines([], True) == []
    )
    with refused(where="baselines", found="got 'GRAPA', did you mean 'GRAPPA'"):
        baselines.chosen_baselines(["GRAPA"], False)
    with refused(where="baselines", found="got 'GRAPPA'.*aliased"):
        baselines.chosen_baselines(["GRAPPA"], True)


def test_lesions_are_where_the_data_say_whatever_a_person_is_called(tmp_path):
    jobs = {job.name: job for job in sample_scans.plan()}
    tumor = jobs["tumour_a"]._replace(slices=range(5, 8), person="tumour_a")
    folder = tmp_path / "test"
    sample_scans.write(folder / "one.h5", tumor, (56, 48), 3, 40.0, voxel=4.0)
    where = sample_scans.lesion("tumour_a", (56, 48), 4.0)[5:8]
    with h5py.File(folder / "one.h5") as file:
        assert np.array_equal(file["lesion"][:], where) and where.any()
    with h5py.File(folder / "one.h5") as a, h5py.File(folder / "two.h5", "w") as b:  # somebody else's
        for key in set(a) - {"lesion"}:
            a.copy(key, b)
        b.attrs.update({**a.attrs, "patient_id": "tumour_bank_17"})
    files = [kspace_file(folder / name) for name in ("one.h5", "two.h5")]
    reconstruction.compare(files, CENTER, [4], {}, tmp_path / "r.h5", baselines=["zero-filled"])
    found = reconstruction.lesions(tmp_path / "r.h5", ["zero-filled"])
    assert set(found) == {"one"} and set(found["one"]) == {"truth", "zero-filled"}
    truth = results.case(tmp_path / "r.h5", "one")["noise_free"]
    assert found["one"]["truth"] == scoring.lesion_contrast(truth, where)
    with h5py.File(folder / "two.h5", "a") as file:
        file["lesion"] = np.ones((1, 4, 4))
    with refused(where="two.h5", found=r"lesion is \(1, 4, 4\)", expected=r"\(3, 56, 48\)"):
        reconstruction.lesions(tmp_path / "r.h5", ["zero-filled"])


def test_the_ladder_pairs_a_persons_files_and_counts_people_alike():
    def row(method, person, case, slices):
        about = {"acceleration": 4, "achieved": 2.5, "ssim_foreground": 0.5, "psnr": 20.0, "person": person}
        return about | {"case": case, "method": method, "ssim": np.mean(slices), "ssim_slices": slices}

    base, rows = np.linspace(0.5, 0.8, 6), []
    for person, case, gain in (("a", "a1", 0.01), ("a", "a2", 0.03), ("b", "b1", 0.08), ("a", "a3", None)):
        rows.append(row("zero-filled", person, case, base))
        rows += [row("GRAPPA", person, case, base + gain)] if gain else []  # n/a for a3
    step = reconstruction.ladder(pd.DataFrame(rows), ["zero-filled", "GRAPPA"]).set_index("method").loc["GRAPPA"]
    assert step.gain == pytest.approx((0.02 + 0.08) / 2) and step.people == "2 of 2" and step.helps == "yes"


def test_lesion_contrast_by_hand():
    volume, lesion = np.full((1, 20, 20), 2.0), np.zeros((1, 20, 20), bool)
    lesion[0, 8:11, 8:11] = True
    volume[lesion] = 3.0
    assert scoring.lesion_contrast(volume, lesion) == pytest.approx(0.5)
    volume[0, 0, 0] = 1e6  # far away: doesn't count
    assert scoring.lesion_contrast(volume, lesion) == pytest.approx(0.5)
