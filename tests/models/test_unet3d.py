"""VolumeUNet: the published counts, a level by hand, sizes, norms, checkpointing, precision."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lib import InputError
from lib.models import build


def count(module):
    return sum(p.numel() for p in module.parameters())


def by_hand(base, depth, classes, transposed):
    """Weights and biases of convolutions, scale and shift of norms, level by level."""
    conv = lambda i, o, k: i * o * k**3 + o  # noqa: E731
    stage = lambda i, m, o: conv(i, m, 3) + conv(m, o, 3) + 2 * (m + o)  # noqa: E731
    narrow = [base * 2**d for d in range(depth)]
    total = sum(stage(i, n, 2 * n) for i, n in zip([1, *(2 * n for n in narrow)], narrow, strict=False))
    for w in (2 * n for n in narrow[:-1]):
        total += (conv(2 * w, 2 * w, 2) if transposed else 0) + stage(3 * w, w, w)
    return total + conv(2 * base, classes, 1)


def test_counts():
    with torch.device("meta"):
        assert count(build("VolumeUNet")) == by_hand(32, 4, 3, True) == 19_073_795
        assert count(build("VolumeUNet", up="nearest")) == by_hand(32, 4, 3, False) == 16_320_387
        assert count(build("VolumeUNet", base_filters=8, depth=3)) == by_hand(8, 3, 3, True)


def test_two_levels_worked_by_hand():
    torch.manual_seed(0)
    network = build("VolumeUNet", base_filters=2, depth=2, norm="instance").double()
    x = torch.randn(2, 1, 4, 8, 4, dtype=torch.float64)

    def stage(layers, x):
        for conv, norm in ((layers[0], layers[1]), (layers[3], layers[4])):
            x = F.conv3d(x, conv.weight, conv.bias, padding=1)
            mean, var = x.mean((2, 3, 4), keepdim=True), x.var((2, 3, 4), unbiased=False, keepdim=True)
            x = (x - mean) / (var + 1e-5).sqrt() * norm.weight.view(1, -1, 1, 1, 1) + norm.bias.view(1, -1, 1, 1, 1)
            x = x.clamp(min=0)
        return x

    skip = stage(network.down[0], x)
    below = stage(network.down[1], F.max_pool3d(skip, 2))
    up = F.conv_transpose3d(below, network.up[0].weight, network.up[0].bias, 2)
    expected = F.conv3d(stage(network.merge[0], torch.cat((up, skip), 1)), network.head.weight, network.head.bias)
    assert (network(x) - expected).abs().max() < 1e-6  # the head's output is float32
    assert network.head.in_channels == 4 and up.shape[1] == 8


@pytest.mark.parametrize(
    "settings", [{"norm": n, "up": u} for n in ("batch", "group") for u in ("transposed", "nearest")]
)
@pytest.mark.parametrize("size", [(16, 8, 8), (5, 17, 9), (1, 1, 3)])
def test_any_size(size, settings):
    network = build("VolumeUNet", base_filters=8, depth=3, **settings).eval()
    with torch.no_grad():
        assert network(torch.randn(1, 1, *size)).shape == (1, 3, *size)


def test_batch_norm_is_keras():
    norm = build("VolumeUNet", base_filters=2, depth=1).down[0][1]
    assert (norm.eps, norm.momentum) == (1e-3, pytest.approx(0.01))


@pytest.mark.parametrize("norm", ["batch", "instance", "group"])
def test_checkpointing_changes_neither_output_nor_gradients_nor_statistics(norm):
    networks = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        networks.append(build("VolumeUNet", base_filters=8, depth=2, norm=norm, checkpointing=checkpointing).double())
    x, losses = torch.randn(2, 1, 8, 8, 8, dtype=torch.float64), []
    for network in networks:
        losses.append(network(x).square().mean())
        losses[-1].backward()
    assert torch.equal(*losses)
    for a, b in zip(*(n.parameters() for n in networks), strict=True):
        assert torch.equal(a.grad, b.grad)
    for (name, a), b in zip(networks[0].named_buffers(), networks[1].buffers(), strict=True):
        assert torch.equal(a, b), name


def test_checkpointing_saves_memory():
    from lib.memory import training_bytes

    held = [
        training_bytes(lambda on=on: build("VolumeUNet", base_filters=8, depth=3, checkpointing=on), (1, 1, 32, 32, 32))
        for on in (False, True)
    ]
    assert held[1]["activations"] < 0.8 * held[0]["activations"]


def test_bf16_runs_in_the_convolutions_and_gives_float32():
    network, seen = build("VolumeUNet", base_filters=4, depth=2), []
    for module in network.modules():
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
            module.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        output = network(torch.randn(1, 1, 8, 8, 8))
    assert set(seen) == {torch.bfloat16} and output.dtype == torch.float32


def test_what_is_refused():
    for settings, words in {
        (("norm", "layer"),): "norm is 'layer', expected batch, instance or group",
        (("up", "linear"),): "up is 'linear', expected transposed or nearest",
        (("depth", 0),): "depth is 0, expected a whole number",
        (("norm_momentum", 1),): "norm_momentum is 1",
        (("norm", "group"), ("base_filters", 12)): "base_filters 12, expected a multiple of 8",
    }.items():
        with pytest.raises(InputError, match=words):
            build("VolumeUNet", **dict(settings))
