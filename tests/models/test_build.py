"""Networks by name, and what is refused."""

import copy
import subprocess
import sys

import pytest
import torch
from refusals import refused
from torch import nn

from lib import ROOT, InputError, models
from lib.models.blocks import steady


@pytest.mark.parametrize("name", models.MODELS)
def test_every_network_is_built_with_its_defaults(name):
    with torch.device("meta"):
        assert type(models.build(name)).__name__ == name


def test_settings_reach_the_network():
    assert models.build("UNet", in_chans=3, chans=5).down_sample_layers[0].layers[0].weight.shape == (5, 3, 3, 3)
    assert len(models.build("VarNet", num_cascades=2, chans=2, sens_chans=2).cascades) == 2


def test_a_class_is_a_network_too(monkeypatch):
    class Mine(nn.Module):
        def __init__(self, width, depth=1):
            super().__init__()
            self.shape = width, depth

    monkeypatch.setitem(models.MODELS, "Mine", Mine)
    assert models.build("Mine", width=3).shape == (3, 1)
    with refused(found="Mine.*width"):
        models.build("Mine")


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("Varnet", {}, "'Varnet' is unknown: did you mean 'VarNet'.*UNet, VarNet"),
        ("xyz", {}, "'xyz' is unknown: expected one of"),
        ("UNet", {"channels": 3}, "UNet: setting 'channels' is unknown: did you mean 'chans'.*num_pool_layers"),
        ("VarNet", {"num_cascade": 3}, "did you mean 'num_cascades'"),
        ("UNet", {"self": 3}, "'self' is unknown"),
        ("UNet", {"chans": 0}, "UNet: chans is 0, expected"),
        ("UNet", {"in_chans": True}, "in_chans is True"),
        ("UNet", {"out_chans": 2.0}, "out_chans is 2.0"),
        ("UNet", {"num_pool_layers": -1}, "num_pool_layers is -1"),
        ("UNet", {"num_pool_layers": 80}, "UNet.num_pool_layers=80. can't be built"),
        ("UNet", {"drop_prob": 1}, "drop_prob is 1"),
        ("UNet", {"drop_prob": float("nan")}, "drop_prob is nan"),
        ("UNet", {"drop_prob": "0.1"}, "drop_prob"),
        ("VarNet", {"num_cascades": 0}, "num_cascades is 0"),
        ("VarNet", {"chans": "18"}, "chans is '18'"),
        ("VarNet", {"pools": 0}, "pools is 0"),
        ("VarNet", {"sens_chans": -8}, "sens_chans is -8"),
        ("VarNet", {"sens_pools": None}, "sens_pools is None"),
        ("VarNet", {"full_mask_center": 1}, "full_mask_center is 1"),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_line(name, settings, message):
    with torch.device("meta"), pytest.raises(InputError, match=message) as refused:
        models.build(name, **settings)
    assert "\n" not in str(refused.value)


def test_networks_are_loaded_when_they_are_built():
    code = "import sys, lib.models\nprint(sorted(name for name in sys.modules if name.startswith(('lib.models.', 'torch'))))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "['lib.models.families', 'lib.models.own', 'lib.models.registry']"


@pytest.mark.parametrize(
    ("name", "settings", "shape"),
    [
        ("ResUNet", {"encoder": "plain"}, (1, 3, 8, 8)),
        ("VolumeUNet", {"base_filters": 2, "depth": 3}, (1, 1, 4, 4, 4)),
        ("UNet3D", {"base_filters": 2, "depth": 3, "regularization": {"type": "batch_norm"}}, (1, 4, 4, 1)),
    ],
)
def test_a_batch_of_one_value_a_channel_trains(name, settings, shape):
    """Its batch norm takes the running statistics, and leaves them; other batches are as they were."""
    network = models.build(name, **settings).train()
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    deepest = norms[len(norms) // 2]
    before = [(n.running_mean.clone(), n.training) for n in norms]
    alone = []
    for norm in norms:
        norm.register_forward_hook(lambda m, x, y: alone.append(m) if x[0].numel() == x[0].shape[1] else None)
    network(torch.rand(shape)).mean().backward()
    assert alone and all(n.training for n in norms)
    for norm, (mean, _) in zip(norms, before, strict=True):
        assert torch.equal(norm.running_mean, mean) == (norm in alone)
        assert int(norm.num_batches_tracked) == (norm not in alone)
    x = torch.rand(2, deepest.num_features, *[3] * (len(shape) - 2 if name != "UNet3D" else 3))
    plain = copy.deepcopy(deepest)
    plain._forward_pre_hooks.clear(), plain._forward_hooks.clear()
    assert torch.equal(deepest(x), plain(x))


@pytest.mark.parametrize("kind", [nn.InstanceNorm2d, nn.InstanceNorm3d])
def test_instance_norms_take_a_map_of_one_value(kind):
    norm = steady(nn.Sequential(kind(3, affine=True)))
    nn.init.constant_(norm[0].bias, 0.25)
    one, more = (
        torch.rand(2, 3, *[1] * (kind is nn.InstanceNorm3d), 1, 1),
        torch.rand(2, 3, *[4] * (2 + (kind is nn.InstanceNorm3d))),
    )
    torch.testing.assert_close(norm(one), torch.full_like(one, 0.25))
    torch.testing.assert_close(norm(more), kind(3, affine=True)(more) + 0.25)
    norm(one).sum().backward()
