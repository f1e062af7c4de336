"""A label that means "not labeled": what is read, cropped, counted, written, scored and drawn, and what is refused."""

from types import SimpleNamespace

import h5py
import nibabel
import numpy as np
import pytest
import torch
from refusals import refused

from lib.data import case_files, hipmri, lits, patches
from lib.data.index import read_set
from lib.data.targets import target_of
from lib.evaluation import paired, run_comparison, segmentation
from lib.inference import results, segment
from lib.phantoms.labeled_scans import write_hipmri
from lib.viewer import LiveChart, loading

CLASSES = ("background", "cavity", "wall")
RNG = np.random.default_rng(0)


def labels(count):
    """(count, 16, 12) classes 0, 1 and 2; right of column 8 nothing is labeled, nor anything of the last slice."""
    label = np.zeros((count, 16, 12), np.uint8)
    label[:, 2:9, 2:9], label[:, 4:7, 4:7] = 2, 1
    label[:, :, 8:], label[-1] = 255, 255
    return label


@pytest.fixture
def source(tmp_path):
    for patient, split in enumerate(("train", "validate", "test"), 1):
        write_hipmri(tmp_path / "in", split, patient, RNG.random((3, 16, 12)).astype(np.float32), labels(3), 1.0)
    return tmp_path / "in"


def test_255_is_refused_unless_it_is_said_what_it_means(source, tmp_path):
    hint = "ignore_index names the label that means not labeled"
    with refused(where="seg_001_week_0_slice_0", found=r"label 255 \(64 times\)", expected="0 … 2", hint=hint):
        hipmri.prepare(source, tmp_path / "out", CLASSES)
    with refused(where="seg_001_week_0_slice_0", found=r"label 255"):
        hipmri.prepare(source, tmp_path / "out", CLASSES, ignore_index=254)
    with refused(where="ignore_index", found="got 2", expected="3 … 255"):
        hipmri.prepare(source, tmp_path / "out", CLASSES, ignore_index=2)
    assert not (tmp_path / "out" / "set.json").exists()
    path = tmp_path / "case.h5"
    about = {"person": "a", "classes": CLASSES, "names": "012"}
    with refused(where="case", found="labels 0 … 255", hint=hint):
        case_files.write_case(path, np.zeros((3, 16, 12)), labels(3), **about)


@pytest.fixture
def prepared(source, tmp_path):
    hipmri.prepare(source, tmp_path / "out", CLASSES, ignore_index=255)
    return tmp_path / "out"


def test_it_is_said_once_and_goes_with_the_set_the_case_and_the_result(prepared, tmp_path):
    assert read_set(prepared)["ignore_index"] == 255
    slices = case_files.CaseSlices(case_files.split_cases(prepared, "test"), "unit")
    assert slices.ignore_index == slices.cases[0].ignore_index == 255
    result = segment.segment_slices(torch.nn.Conv2d(1, 3, 1), slices, tmp_path / "result.h5")
    assert results.case(result).ignore_index == loading.case(result).ignore_index == 255
    assert np.array_equal(results.case(result)["truth"], labels(3))


def test_scores_are_those_of_the_labeled_pixels(prepared, tmp_path):
    slices = case_files.CaseSlices(case_files.split_cases(prepared, "test"), "unit")
    model = torch.nn.Conv2d(1, 3, 1)
    result = segment.segment_slices(model, slices, tmp_path / "result.h5")
    case = results.case(result)
    output, truth = case["output"][:2, :, :8], labels(3)[:2, :, :8]  # what is labeled
    (score,) = segmentation.score(result)
    assert score.counts.sum() == truth.size and not score.counts[2].any()
    for c in range(3):
        assert score.dice[c] == pytest.approx(
            2 * ((output == c) & (truth == c)).sum() / ((output == c).sum() + (truth == c).sum())
        )
    table = segmentation.by_class([score])
    assert table["both empty"].tolist() == [0, 0, 0]  # the slice without labels isn't counted
    assert segmentation.pooled(result)["accuracy"] == pytest.approx((output == truth).mean())
    p = model(torch.stack([slices.case(s).image for s in (0, 1)])[..., :8]).softmax(1)
    right = p.gather(1, torch.from_numpy(truth.astype(np.int64))[:, None]).mean()
    assert segmentation.pooled(result)["dice"] == pytest.approx(right.item(), abs=1e-6)
    assert 2 not in [s for *_, s in segmentation.slices_by_dice([score])]


def test_a_case_without_any_label_is_not_scored(prepared, tmp_path):
    slices = case_files.CaseSlices(case_files.split_cases(prepared, "test"), "unit")
    result = segment.segment_slices(torch.nn.Conv2d(1, 3, 1), slices, tmp_path / "result.h5")
    with h5py.File(result, "r+") as file:
        next(iter(file.values()))["truth"][:] = 255
        next(iter(file.values())).attrs["probability_of_truth"] = np.nan
    assert segmentation.score(result) == [] and np.isnan(segmentation.pooled(result)["accuracy"])


def test_what_a_loss_is_given_keeps_it_in_every_form():
    label = torch.tensor([[0, 1, 2, 255]])
    assert target_of("index", 3, 255)(label).tolist() == label.tolist()
    hot = target_of("one_hot", 3, 255)(label)
    assert hot[:, 0].T.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [255] * 3]
    assert target_of("binary", 2, 255)(label).tolist() == [[[0, 1, 1, 255]]]


def test_a_picture_of_a_batch_marks_it(prepared):
    slices = case_files.CaseSlices(case_files.split_cases(prepared, "test"), "unit")
    for form in ("index", "one_hot"):
        target = target_of(form, 3, 255)(slices.case(0).label)[None]
        panels = slices.panels((slices.case(0).image[None],), (target,), None)
        assert np.array_equal(panels["truth"][1], labels(3)[0]), form


def test_boxes_and_counts_of_a_volume_leave_it_out(tmp_path):
    for name in ("volume-0", "volume-1"):
        label = np.zeros((20, 18, 16), np.uint8)
        label[3:7, 4:9, 5:8], label[12:] = 1, 255
        for path, values in (
            (name, RNG.random(label.shape, np.float32)),
            (name.replace("volume", "segmentation"), label),
        ):
            nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / f"{path}.nii.gz")
    about = {"split": {"val": ["volume-1"], "test": []}, "classes": ("background", "organ")}
    with refused(where="segmentation-0", found=r"label 255 \(2304 times\)", hint="ignore_index"):
        lits.prepare(tmp_path, tmp_path / "out", **about)
    lits.prepare(tmp_path, tmp_path / "out", **about, ignore_index=255)
    content = read_set(tmp_path / "out")
    assert content["ignore_index"] == 255 and content["files"][0]["voxels"] == [12 * 18 * 16 - 60, 60]
    cases = case_files.split_cases(tmp_path / "out", "train")
    assert lits.attributes(cases[0].path)["boxes"][1].tolist() == [[5, 8], [4, 9], [3, 7]]
    crops = patches.VolumePatches(cases, (4, 4, 4), count=8)
    assert crops.ignore_index == 255 and all((crops[i][1] == 1).any() for i in range(8))


def test_runs_are_compared_by_what_is_labeled(prepared, tmp_path):
    slices = case_files.CaseSlices(case_files.split_cases(prepared, "test"), "unit")
    compared = {}
    for name in ("first", "second"):
        path = segment.segment_slices(torch.nn.Conv2d(1, 3, 1), slices, tmp_path / name / "result.h5")
        compared[name] = run_comparison.Images(path, "output")
    scored = paired.scores(compared)
    for name, source in compared.items():
        (score,) = segmentation.score(source.path)
        mine = scored[scored["run"] == name].set_index("metric")["value"]
        assert mine["Dice, cavity"] == score.dice[1] and mine["Dice, wall"] == score.dice[2]


def test_the_live_chart_picks_by_contrast_of_what_is_labeled():
    chart = LiveChart(False)
    chart.dls = SimpleNamespace(valid=SimpleNamespace(dataset=SimpleNamespace(ignore_index=255)))
    flat, mixed = torch.zeros(4, 4, dtype=torch.long), torch.zeros(4, 4, dtype=torch.long)
    flat[2:], mixed[:, 2:] = 255, 1
    assert chart._contrast(flat) == 0 < chart._contrast(mixed)
