"""Predictions by family: as the notebook makes them from weights alone, and as the network's own training makes them."""

import json

import h5py
import labeled
import miniatures
import numpy as np
import pytest
import torch
from refusals import refused

from lib import files, models, runs
from lib.data import case_files, cine, cine_files, fastmri, fastmri_index, hipmri, lgg, lits
from lib.evaluation import predictions
from lib.inference import predict, reconstruct, results, segment
from lib.inference.flips import FlipAverage
from lib.models.varnet_rcan import SelfEnsemble
from lib.runs import prediction
from lib.viewer import show_prediction

MASK = {"kind": "equispaced", "acceleration": 2.0, "num_low_frequencies": 6}
TRAINED = {  # network: (family, its settings, classes, how its inputs were made, parameters of its training)
    "UNet2D1D": ("cine", {"base_filters": 2, "depth": 2}, (), {}, {"metrics": ["psnr"]}),
    "VarNet": ("kspace", {}, (), {}, {"mask": MASK, "eval_batch_size": 2}),
    "VarNetRCAN": ("cascade", {}, (), {}, {"mask": MASK, "self_ensemble": {"turns": ["identity", "flip_w"]}}),
    "UNet2D": ("slices", {"num_classes": 6}, hipmri.CLASSES, {"normalize": "z_score"}, {"test_time_flips": ["W"]}),
    "VolumeUNet": ("volumes", {"num_classes": 3}, lits.CLASSES, {"patch": [8, 8, 8]}, {"overlap": 0.25, "test_time_flips": ["D", "W"]}),
    "ResUNet": ("pairs", {"encoder": "plain"}, lgg.CLASSES, {"normalize": "unit", "size": [32, 32]}, {}),
}  # fmt: skip
GIVEN = {"quick": False, "split": "test", "evaluate": False, "serving": False}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Miniatures of every family's data, prepared."""
    place = tmp_path_factory.mktemp("families")
    fastmri_index.index(miniatures.knee(place / "fastmri"), place / "kspace")
    six = miniatures.cine(place / "six")
    series = {name: six / f"{name}.h5" for name in cine_files.FILE_NAMES}
    cine_files.index(series, place / "cine", {"test": True})
    hipmri.prepare(labeled.hipmri_layout(place / "hipmri", 1, (96, 96), odd=False), place / "slices")
    lits.prepare(
        miniatures.lits(place / "lits", (0, 1, 2)), place / "volumes", split={"val": 1, "test": 1}, size=[8, 12, 12]
    )
    lgg.prepare(labeled.kaggle_layout(place / "lgg", 4, 2, 32), place / "pairs", (32, 32), val=0.25)
    (place / "cascade").symlink_to(place / "kspace")
    return place


def trained(place, name):
    """A run folder as the training of a tiny network leaves it, and the network."""
    family, settings, classes, preprocessing, parameters = TRAINED[name]
    torch.manual_seed(0)
    settings = models.tiny(name, {}) | settings
    settings |= {"varnet": models.tiny("VarNet", {})} if name == "VarNetRCAN" else {}
    model, run = models.build(name, **settings).eval(), place / "runs" / name
    runs.save_model(run, name, settings, model, classes, **preprocessing)
    about = {"network_type": name, "data": str(place / family)} | parameters
    files.write(run / "task.json", {"notebook": models.notebook_of(name), "parameters": about})
    return run, model


def predicted(run, place, given):
    """What the notebook does, in a folder of its own."""
    origin = prediction.origin(run)
    settings = prediction.complete(given, origin)
    mine = runs.Run(place / "mine" / run.name, given)
    files.write(mine / "manifest.json", {})
    folder = predict.source(mine, origin.network, settings)
    network = predict.network(run, origin.network, {}, folder)
    return predict.predict(network, folder, given["split"], mine.path, need_truth=given["evaluate"], **settings)


def expected(name, model, place, path):
    """What the training notebooks do."""
    folder = place / TRAINED[name][0]
    if name == "UNet2D1D":
        return reconstruct.reconstruct_series(model, cine.CineSeries(cine.split_pairs(folder, "test")), path)
    if name in ("VarNet", "VarNetRCAN"):
        network = SelfEnsemble(model, ("identity", "flip_w")) if name == "VarNetRCAN" else model
        slices = fastmri.KspaceSlices(fastmri.split_files(folder, "test", False), MASK, **fastmri.inputs_of(model))
        return reconstruct.reconstruct(network, slices, path, batch_size=2 if name == "VarNet" else 4)
    cases = case_files.split_cases(folder, "test")
    if name in ("VolumeUNet", "UNet2D"):
        model = FlipAverage(model, {"VolumeUNet": (-3, -1), "UNet2D": (-1,)}[name])
    if name == "VolumeUNet":
        return segment.segment_volumes(model, cases, path, [8, 8, 8], 0.25, 2)
    how = {"UNet2D": ("z_score", 1, 16), "ResUNet": ("unit", 3, 8)}[name]
    return segment.segment_slices(model, case_files.CaseSlices(cases, how[0], channels=how[1]), path, batch_size=how[2])


@pytest.mark.parametrize("name", TRAINED)
def test_a_prediction_from_weights_alone_is_that_of_the_training(place, tmp_path, name):
    run, model = trained(place, name)
    result = predicted(run, place, GIVEN)
    mine, theirs = results.read(result), results.read(expected(name, model, place, tmp_path / "result.h5"))
    assert mine.keys() == theirs.keys()
    for case in mine:
        assert mine[case].keys() == theirs[case].keys()
        assert all(np.array_equal(mine[case][key], theirs[case][key]) for key in mine[case])
    table, record = predictions.score(result, name, "test", ["psnr"])
    family = TRAINED[name][0]
    if family in ("kspace", "cascade"):  # fastMRI's test files come without targets
        assert table.empty and record is None
    else:
        assert len(table) and record["headline"]["test"] and json.dumps(record)
    beside = {"cine": "result_cine.h5", "cascade": "reconstructions", "volumes": "volume-2.nii.gz", "pairs": "masks.h5"}
    assert {path.name for path in result.parent.iterdir()} == {
        "result.h5",
        *([beside[family]] if family in beside else []),
    }
    assert show_prediction(result, False).axes


def test_scores_of_kspace_are_volume_values(place):
    run, _ = trained(place, "VarNet")
    result = predicted(run, place, GIVEN | {"split": "val", "evaluate": True})
    table, record = predictions.score(result, "VarNet", "val")
    assert list(table) == ["ssim", "psnr", "nmse"] and len(table) == 2  # two files of one person
    assert record["headline"]["val"] == pytest.approx(table.mean().to_dict())
    with refused(found="no target"):
        predicted(run, place, GIVEN | {"evaluate": True})


def test_masks_of_a_folder_of_images(place):
    run, _ = trained(place, "ResUNet")
    images = next((place / "lgg").glob("TCGA*"))
    result = predicted(run, place, GIVEN | {"images": str(images)})
    with h5py.File(result) as masks:
        assert sorted(masks) == sorted(path.stem for path in images.iterdir())
        assert {masks[name].shape for name in masks} == {(1, 32, 32)}
    table, record = predictions.score(result, "ResUNet", "test")
    assert table.empty and record is None
    assert show_prediction(result, False, images=images).axes


def test_what_is_given_stands_before_the_training_but_not_before_the_weights(place, capsys):
    origin = prediction.origin(trained(place, "VolumeUNet")[0])
    assert prediction.complete({}, origin) == {
        "data": str(place / "volumes"), "files": None, "patch": [8, 8, 8], "overlap": 0.25, "precision": "fp32",
        "eval_batch_size": 2, "test_time_flips": ["D", "W"],
    }  # fmt: skip
    given = {"data": "elsewhere", "patch": [4, 4, 4], "overlap": 0.0, "eval_batch_size": 1, "test_time_flips": []}
    assert prediction.complete(given, origin) == given | {"files": None, "patch": [8, 8, 8], "precision": "fp32"}
    assert capsys.readouterr().out == "patch: [8, 8, 8] as in the run of the weights, not [4, 4, 4]\n"
    with refused(where="evaluate", found="got true", expected="false", hint="images have no masks"):
        prediction.complete({"images": "i", "evaluate": True}, prediction.origin(trained(place, "ResUNet")[0]))
