"""Files of one name: each is a case of its own, in predictions, submissions and what is kept beside the data."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from refusals import refused
from scans import smooth

from lib import models
from lib.data.fastmri import KspaceSlices, split_files
from lib.data.fastmri_file import kspace_file
from lib.data.fastmri_index import index
from lib.data.grappa_cache import grappa_image
from lib.data.names import path_names
from lib.evaluation import reconstruction
from lib.inference import layouts, reconstruct, results
from lib.kspace import ifft2c, rss

MASK = {"kind": "equispaced", "acceleration": 2, "num_low_frequencies": 8}
SMALL = {"num_cascades": 1, "chans": 2, "pools": 2, "sens_chans": 2, "sens_pools": 2}


def write(path, seed, person=None):
    kspace = torch.stack([smooth(height=24, width=24) * (1 + seed)] * 2)
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["kspace"] = kspace.numpy()
        file["reconstruction_rss"] = rss(ifft2c(kspace)).numpy()
        if person:
            file.attrs["patient_id"] = person
    return path


def test_names_are_the_shortest_that_differ():
    folders = {"/d/acc4/kspace/x.h5": "acc4/x", "/d/acc8/kspace/x.h5": "acc8/x", "/d/acc4/kspace/y.h5": "y"}
    folders |= {"/d/one/q/z.h5": "one/q/z", "/d/two/q/z.h5": "two/q/z", "/e/a.h5": "a.h5", "/e/a.hdf5": "a.hdf5"}
    assert path_names(map(Path, folders)) == {Path(p): tuple(name.split("/")) for p, name in folders.items()}
    with refused(where="/d/acc4/x.h5 and /d/acc4_x.h5", found="can't be told apart"):
        path_names(map(Path, ("/d/acc4/x.h5", "/d/acc8/x.h5", "/d/acc4_x.h5")))


def test_two_files_of_one_name_are_two_cases_everywhere(tmp_path):
    for seed, folder in enumerate(("acc4", "acc8")):
        write(tmp_path / "source" / "leaderboard" / folder / "x.h5", seed, "somebody")
    files = split_files(index(tmp_path / "source", tmp_path / "set").parent, "test")
    slices = KspaceSlices(files, MASK)
    assert [slices.case(i).id for i in (0, 2)] == ["acc4_x", "acc8_x"]
    result = tmp_path / "run" / "predictions" / "result.h5"
    reconstruct.reconstruct(models.build("VarNet", **SMALL), slices, result, batch_size=2)
    found = results.read(result)
    assert list(found) == ["acc4_x", "acc8_x"] and not np.allclose(*(found[n]["truth"] for n in found))
    folder = layouts.export(tmp_path / "run", "submission")
    sent = {str(p.relative_to(folder)): h5py.File(p)["reconstruction"][:] for p in folder.rglob("*.h5")}
    assert set(sent) == {"acc4/x.h5", "acc8/x.h5"}
    assert all(np.array_equal(sent[f"{n[:4]}/x.h5"], volumes["output"]) for n, volumes in found.items())

    about = {"kind": "equispaced", "num_low_frequencies": 8}
    scores = reconstruction.compare(
        files, about, [2], {}, tmp_path / "e.h5", baselines=["zero-filled", "GRAPPA"]
    ).scores
    assert list(results.read(tmp_path / "e.h5")) == ["acc4_x", "acc8_x"] == list(dict.fromkeys(scores.case))
    people = reconstruction.per_person(scores)  # one person, whatever the number of files
    assert len(people) == 2 and set(people.person) == {"person_001"}
    each = scores[scores.method == "GRAPPA"].ssim
    assert people[people.method == "GRAPPA"].ssim.item() == pytest.approx(each.mean())


def test_files_that_could_not_be_told_apart_are_refused_when_indexed(tmp_path):
    for seed, name in enumerate(("acc4/x.h5", "acc8/x.h5", "acc4_x.h5")):
        write(tmp_path / "test" / name, seed)
    with refused(found="can't be told apart by their names: rename one"):
        index(tmp_path / "test", tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_grappa_images_of_two_files_in_a_folder_are_two(tmp_path):
    files = [kspace_file(write(tmp_path / name, seed)) for seed, name in enumerate(("a.h5", "a.hdf5"))]
    settings = {"kernel_size": [5, 4], "regularization": 1e-4}
    for _ in range(2):
        slices = KspaceSlices(files, MASK, "cascade", grappa=settings)
        assert [path.exists() for path in slices.grappa_paths.values()] == [True, True]
        for case in (slices.case(0), slices.case(2)):
            expected = grappa_image(case.masked_kspace, case.mask.columns, (24, 24), settings)
            assert torch.allclose(case.grappa, expected, rtol=1e-5)


@pytest.mark.whole
def test_the_evaluation_of_a_person_with_two_files_ends_well(tmp_path):
    import json

    import toys

    for folder, name, seed, person in (
        ("acc4", "x", 0, "tumour_7"),
        ("acc8", "x", 1, "tumour_7"),
        ("acc4", "y", 2, "b"),
    ):
        write(tmp_path / "source" / "test" / folder / f"{name}.h5", seed, person)
    recipe = "- {task_name: prepare, notebook: 10_prepare_kspace, source: source, data: data}\n"
    recipe += "- task_name: evaluate\n  notebook: 30_evaluate_kspace\n  runs: []\n  data: data\n"
    recipe += (
        "  mask: {kind: equispaced, num_low_frequencies: 8}\n  accelerations: [2]\n  ladder: [zero-filled, GRAPPA]\n"
    )
    recipe += "  baselines: [zero-filled, GRAPPA]\n"
    finished = toys.recipe(tmp_path, recipe)
    assert finished.returncode == 0, finished.stderr
    (run,) = (tmp_path / "runs" / "evaluate").iterdir()
    found = json.loads((run / "metrics.json").read_text())
    assert [row["case"] for row in found["persons"][::2]] == ["acc4_x", "y", "acc8_x"] and found["lesions"] == {}
    each = {row["case"]: row["ssim"] for row in found["persons"] if row["method"] == "GRAPPA"}
    mean = ((each["acc4_x"] + each["acc8_x"]) / 2 + each["y"]) / 2  # people count alike
    (headline,) = (row for name, row in found["headline"].items() if name.startswith("GRAPPA"))
    assert headline["ssim"] == pytest.approx(mean) and found["ladder"][1]["people"].endswith("of 2")
