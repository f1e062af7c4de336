"""fastMRI's layouts that its published recipe isn't run on: single-coil files, and brains that are narrower than their targets."""

import h5py
import miniatures
import numpy as np
import pytest
import torch
from fastmri.data.transforms import center_crop_to_smallest

from lib import losses
from lib.data.fastmri import KspaceSlices, dataloaders, inputs_of, split_files
from lib.data.fastmri_index import index
from lib.evaluation import reconstruction
from lib.inference import reconstruct
from lib.models import build

MASK = {"kind": "random", "acceleration": 4, "center_fraction": 0.08}
SMALL = {
    "VarNet": {"num_cascades": 1, "chans": 2, "pools": 2, "sens_chans": 2, "sens_pools": 2}, "UNet": {"chans": 2},
}  # fmt: skip
SOURCES = {"brain": miniatures.brain, "single": lambda folder: miniatures.knee(folder, "singlecoil")}


@pytest.fixture(scope="module", params=SOURCES)
def prepared(request, tmp_path_factory):
    place = tmp_path_factory.mktemp(request.param)
    index(SOURCES[request.param](place / "source"), place / "set")
    return place / "set"


def test_the_target_is_fastmris(prepared):
    for split in ("train", "val"):
        slices = KspaceSlices(split_files(prepared, split), MASK)
        for case, (file, s) in zip(map(slices.case, range(len(slices))), slices.index, strict=True):
            key = "reconstruction_esc" if file.coils == 1 else "reconstruction_rss"  # its singlecoil challenge's
            with h5py.File(file.path) as data:
                target, maximum = torch.from_numpy(data[key][s])[None], data.attrs["max"]
            expected, _ = center_crop_to_smallest(target, torch.zeros(1, *case.kspace.shape[-2:]))
            assert torch.equal(case.target, expected[0]) and case.maximum == maximum
            assert case.zero_filled.shape == case.target.shape


@pytest.mark.parametrize("network", SMALL)
def test_it_trains_predicts_and_is_scored(prepared, network, tmp_path):
    torch.manual_seed(0)
    model = build(network, **SMALL[network])
    dls = dataloaders(prepared, MASK, **inputs_of(network))
    shapes = set()
    for batch in dls.train:
        output, (target, maximum, *_) = model(*batch[: dls.n_inp]), batch[dls.n_inp :]
        output, target = center_crop_to_smallest(output.squeeze(1) if network == "UNet" else output, target)
        assert torch.isfinite(losses.by_name("l1")(output, target, maximum, *batch[dls.n_inp + 2 :]))
        shapes.add(tuple(target.shape[-2:]))
    assert (32, 20) in shapes or shapes == {(32, 32)}
    for split in ("val", "test"):
        slices = KspaceSlices(split_files(prepared, split, need_target=False), MASK, **inputs_of(network))
        result = reconstruct.reconstruct(model, slices, tmp_path / f"{split}.h5")
        with h5py.File(result) as file:
            for group in file.values():
                assert np.isfinite(group["output"][:]).all() and ("truth" in group) == (split == "val")
    files = split_files(prepared, "val")[:1]
    found = reconstruction.compare(
        files, {k: MASK[k] for k in ("kind", "center_fraction")}, [4], {network: model}, tmp_path / "r.h5"
    )
    assert {"zero-filled", network} <= set(found.scores.method) and np.isfinite(found.scores.ssim).all()
