"""RCAN: published counts, a block worked by hand, checkpointing, sizes, settings that are refused."""

import pytest
import torch
from torch import nn

from lib import InputError, memory
from lib.models import build
from lib.models.rcan import Block, Group

SMALL = {"n_feats": 8, "n_resblocks": 2, "n_resgroups": 2, "reduction": 4}


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_published_counts():
    with torch.device("meta"):
        assert count(build("RCAN")) == 4_007_721
        assert count(Block(160, 16, 0.125, "relu", True, True)) == 30_810
        assert count(Group(160, 25, 16, 0.125, "relu", True, True)) == 1_000_810


def test_a_block_worked_by_hand():
    torch.manual_seed(0)
    block, x = Block(8, 4, 0.25, "relu", True, True).double(), torch.randn(2, 8, 5, 4, dtype=torch.float64)
    squeeze, _, middle, _, widen, attention = block.body
    y = torch.einsum("oi,nihw->nohw", squeeze.weight[..., 0, 0], x) + squeeze.bias[:, None, None]
    y = nn.functional.conv2d(y.clamp(min=0), middle.weight, middle.bias, padding=1).clamp(min=0)
    y = torch.einsum("oi,nihw->nohw", widen.weight[..., 0, 0], y) + widen.bias[:, None, None]
    down, _, up, _ = attention.weigh
    weights = y.mean((2, 3)) @ down.weight[..., 0, 0].T + down.bias
    weights = (weights.clamp(min=0) @ up.weight[..., 0, 0].T + up.bias).sigmoid()
    assert torch.allclose(block(x), x + 0.25 * weights[..., None, None] * y, atol=1e-12)


def test_skips_lie_around_every_group_and_around_all_of_them():
    torch.manual_seed(0)
    network, x = build("RCAN", **SMALL), torch.randn(1, 2, 6, 6)
    for group in network.groups:
        nn.init.zeros_(group.body[-1].weight)
        nn.init.zeros_(group.body[-1].bias)
    assert torch.allclose(network(x), network.tail(2 * network.head(x)), atol=1e-6)


@pytest.mark.parametrize("settings", [{}, {"activation": "prelu"}, {"inplace": False}, {"bottleneck": False}])
def test_checkpointing_leaves_output_and_gradients_as_they_are(settings):
    results = []
    for groups in (False, True):
        torch.manual_seed(0)
        network = build("RCAN", **SMALL, **settings, checkpoint_groups=groups)
        x = torch.randn(2, 2, 9, 7, requires_grad=True)
        output = network(x)
        output.square().mean().backward()
        results.append([output.detach(), x.grad, *(p.grad for p in network.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_checkpointing_at_published_depth_holds_at_most_45_percent():
    shape = (1, 2, 64, 64)
    plain, saved = (
        memory.training_bytes(lambda g=g: build("RCAN", n_feats=32, reduction=8, checkpoint_groups=g), shape)[
            "activations"
        ]
        for g in (False, True)
    )
    assert saved <= 0.45 * plain


def test_in_place_relu_changes_nothing_but_memory():
    outputs = []
    for inplace in (False, True):
        torch.manual_seed(0)
        outputs.append(build("RCAN", **SMALL, inplace=inplace)(torch.ones(1, 2, 5, 5)))
    assert torch.equal(*outputs)


@pytest.mark.parametrize("size", [(1, 1), (7, 12), (33, 5)])
def test_any_size_and_batch(size):
    assert build("RCAN", **SMALL, in_chans=3)(torch.randn(3, 3, *size)).shape == (3, 1, *size)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"n_feats": 10}, "n_feats is 10, expected a number divisible by 4"),
        ({"n_feats": 20, "reduction": 16}, "n_feats is 20, expected a number divisible by reduction 16"),
        ({"activation": "gelu"}, "activation is 'gelu', expected relu or prelu"),
        ({"res_scale": "small"}, "res_scale is 'small', expected a number"),
        ({"checkpoint_groups": "false"}, "checkpoint_groups is 'false', expected true or false"),
        ({"n_resblocks": 0}, "n_resblocks is 0, expected a whole number from 1 to 1024"),
    ],
)
def test_settings_that_are_refused(settings, words):
    with pytest.raises(InputError, match=words):
        build("RCAN", **settings)
