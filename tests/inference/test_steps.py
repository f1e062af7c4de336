"""The figure that shows a reconstruction step by step."""

import torch

from lib import models
from lib.data.fastmri import KspaceSlices, split_files
from lib.inference.steps import steps
from lib.phantoms import sample_scans

MASK = {"kind": "equispaced", "acceleration": 4, "num_low_frequencies": 8}


def test_steps_of_a_varnet_and_of_another_network(tmp_path):
    (job,) = [j._replace(slices=j.slices[:1]) for j in sample_scans.plan() if j.name == "brain_b"]
    sample_scans.write(tmp_path / "test" / "brain_b.h5", job, (40, 32), 3, 20.0, voxel=5.0)
    sample_scans.write_index(tmp_path, [job])
    files = split_files(tmp_path, "test")
    varnet = models.build("VarNet", num_cascades=2, chans=2, pools=2, sens_chans=2, sens_pools=2)
    torch.manual_seed(0)
    for model, kind, made in (
        (varnet, "kspace", [*(f"sensitivity of coil {c}" for c in (1, 2)), "zero-filled", "after cascade 1", "after cascade 2"]),
        (models.build("UNet", chans=2), "image", ["zero-filled", "output"]),
    ):  # fmt: skip
        figure = steps(model, KspaceSlices(files, MASK, kind), coils=2)
        assert [ax.get_title() for ax in figure.axes] == ["sampled k-space, log", *made, "target"]
    assert len(varnet.cascades) == 2
