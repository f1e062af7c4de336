"""The cine U-Nets: published counts, layers worked by hand, sizes, checkpointing, Keras' conventions."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from refusals import refused
from torch import nn

from lib import InputError
from lib.models import build
from lib.models.cine_unet import DropBlock, KerasInstanceNorm, _Up, head_is_dead, penalty

NAMES = ("UNet3D", "UNet2D1D", "UNet2D2D", "UNet3D_old")
COUNTS = dict(zip(NAMES, (22_576_161, 5_839_329, 8_456_673, 25_883_681), strict=True))
SMALL = {"base_filters": 2, "depth": 3}


@pytest.mark.parametrize("name", NAMES)
def test_published_parameter_counts(name):
    with torch.device("meta"):
        assert sum(p.numel() for p in build(name).parameters()) == COUNTS[name]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(1, 16, 16, 4), (2, 21, 13, 5), (1, 1, 9, 2)])
def test_any_size_comes_out_as_it_went_in(name, shape):
    torch.manual_seed(0)
    series = torch.rand(shape)
    output = build(name, **SMALL)(series)
    assert output.shape == shape and output.min() >= 0 and torch.isfinite(output).all()


def test_a_padded_size_gives_what_zeros_around_it_give():
    torch.manual_seed(0)
    model, series = build("UNet3D", **SMALL), torch.rand(1, 14, 11, 3)
    padded = model(F.pad(series, (0, 0, 0, 1, 0, 2)))
    assert torch.allclose(model(series), padded[:, :14, :11], atol=1e-6)


def test_time_is_mixed_as_the_blocks_say():
    """A change in one frame of UNet2D1D reaches its neighbors, and in-plane convolutions are missing in UNet2D2D."""
    torch.manual_seed(0)
    for name, through in (("UNet2D1D", [3, 4, 5]), ("UNet2D2D", [2, 3, 4, 5, 6])):
        block, series = build(name, **SMALL).down[0].double(), torch.rand(1, 1, 8, 8, 9).double()
        changed = series.clone()
        changed[..., 4] += 1
        moved = (block(changed) != block(series)).any(-2).any(-2)[0].any(0)
        assert moved.nonzero().flatten().tolist() == through, name
    first = build("UNet2D1D", **SMALL).down[0]
    assert [m[0].kernel_size for m in first] == [(3, 3, 1), (1, 1, 3)]
    assert [m[0].kernel_size for m in build("UNet2D2D", **SMALL).down[0]] == [(3, 1, 3), (1, 3, 3)]


@pytest.mark.parametrize(("kernel", "first"), [(2, 0), (3, 1)])
def test_up_convolution_is_the_adjoint_of_keras_same_convolution(kernel, first):
    """Keras' transposed convolution is the gradient of its 'same' convolution: zeros after (k 2), or around (k 3)."""
    up = _Up(1, 1, kernel).double()
    nn.init.zeros_(up.bias)
    x, y = torch.randn(1, 1, 3, 4, 5).double(), torch.randn(1, 1, 6, 8, 5).double()
    total = [
        max(kernel - 2, 0),
        max(kernel - 2, 0),
        kernel - 1,
    ]  # of the padding along each axis, (n / s − 1)·s + k − n
    before = [t // 2 for t in total]
    pads = [p for t, b in zip(reversed(total), reversed(before), strict=True) for p in (b, t - b)]
    down = F.conv3d(F.pad(y, pads), up.weight, stride=(2, 2, 1))
    assert torch.allclose((up(x) * y).sum(), (x * down).sum())
    assert before[2] == first


def test_order_of_layers():
    new = build("UNet3D", **SMALL, regularization={"type": "dropout", "parameters": [0.5]})
    old = build("UNet3D_old", **SMALL, regularization={"type": "dropout", "parameters": [0.5]})
    kinds = [[type(m).__name__ for m in block] for block in (new.down[0][0], new.up[-1], new.head)]
    assert kinds == [["Conv3d", "Dropout", "ReLU"], ["_Up", "Dropout", "ReLU"], ["Conv3d", "Dropout", "ReLU"]]
    kinds = [[type(m).__name__ for m in block] for block in (old.down[0][0], old.up[0], old.up[-1], old.head)]
    assert kinds[0] == ["Conv3d", "ReLU", "Dropout"] and kinds[1] == ["_Up", "ReLU", "Dropout"]
    assert kinds[2] == ["_Up", "Identity", "Dropout"] and kinds[3] == ["Conv3d", "Identity", "Dropout"]
    bare = build("UNet3D", **SMALL, regularization={"type": "dropout", "parameters": [0.5]}, regularize_head=False)
    assert isinstance(bare.head[1], nn.Identity) and isinstance(bare.down[0][0][1], nn.Dropout)


def test_glorot_uniform_and_zero_bias():
    conv = build("UNet3D", base_filters=32, depth=2).down[1][1][0]  # 64 → 64, 3³
    limit = (6 / (27 * 128)) ** 0.5
    assert conv.weight.abs().max() <= limit and conv.weight.std().item() == pytest.approx(limit / 3**0.5, rel=0.02)
    assert not conv.bias.any()


def test_instance_norm_by_hand():
    """eps is added to the deviation; over (axis 1, axis 2) each frame is normalized by itself."""
    x = np.arange(24.0).reshape(1, 1, 2, 3, 4)
    expected = np.empty_like(x)
    for t in range(4):
        frame = x[..., t]
        expected[..., t] = (frame - frame.mean()) / (frame.std() + 1e-3)
    layer = KerasInstanceNorm(1, (2, 3)).double()
    assert np.allclose(layer(torch.from_numpy(x)).detach().numpy(), expected, atol=1e-12)
    layer.weight.data.fill_(2), layer.bias.data.fill_(3)
    assert np.allclose(layer(torch.from_numpy(x)).detach().numpy(), 2 * expected + 3, atol=1e-12)
    flat = torch.ones(1, 1, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    layer(flat).sum().backward()
    assert torch.isfinite(flat.grad).all()


def test_dropblock_zeroes_whole_blocks_at_the_rate_asked_for():
    torch.manual_seed(0)
    layer, x = DropBlock(0.8, 3, (2, 3)), torch.ones(4, 8, 32, 32, 4)
    output = layer(x)
    dropped = (output == 0).float()
    assert dropped.mean().item() == pytest.approx(0.2, abs=0.03)  # a little less: blocks overlap
    assert output.sum().item() == pytest.approx(x.numel(), rel=1e-5)  # rescaled by numel / sum(mask)
    opened = -F.max_pool3d(-dropped, (3, 3, 1), 1)  # where a whole block begins
    covered = F.max_pool3d(F.pad(opened, (0, 0, 2, 2, 2, 2)), (3, 3, 1), 1)
    assert torch.equal(covered, dropped)  # nothing but whole 3×3 blocks
    frames = [dropped[..., t] for t in range(4)]
    assert not torch.equal(frames[0], frames[1])  # axis 4 isn't in the block: each frame has its own
    assert torch.equal(layer.eval()(x), x)


def test_dropblock_gamma_by_hand():
    """keep .9, b 2 on 4×4: γ = .1·16/4/9 = .0444…, so P(a corner stays) = 1 − γ and in the middle (1 − γ)⁴."""
    torch.manual_seed(0)
    layer, x = DropBlock(0.9, 2, (2, 3)), torch.ones(1, 60_000, 4, 4, 1)
    kept = (layer(x) > 0).float().mean((0, 1, 4))
    gamma = 0.1 * 16 / 4 / 9
    assert kept[0, 0].item() == pytest.approx(1 - gamma, abs=3e-3)
    assert kept[1, 2].item() == pytest.approx((1 - gamma) ** 4, abs=4e-3)


def test_no_dropblock_behind_convolutions_over_time_alone():
    block = build("UNet2D1D", **SMALL, regularization={"type": "dropblock", "parameters": [0.8, 3]}).down[0]
    assert block[0][1].axes == (2, 3) and isinstance(block[1][1], nn.Identity)


@pytest.mark.parametrize(
    "regularization", [None, {"type": "batch_norm", "parameters": None}, {"type": "dropout", "parameters": [0.3]}]
)
def test_checkpointing_changes_nothing(regularization):
    results = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        model = build("UNet3D", **SMALL, regularization=regularization, checkpointing=checkpointing)
        x = torch.rand(2, 8, 8, 3)
        torch.manual_seed(1)
        model(x).square().sum().backward()
        results.append([p.grad for p in model.parameters()] + list(model.buffers()))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_a_closed_head_is_found():
    model, x = build("UNet3D", **SMALL), torch.rand(1, 8, 8, 3)
    nn.init.zeros_(model.head[0].weight)
    nn.init.constant_(model.head[0].bias, -1.0)
    assert head_is_dead(model, [x, x]) and torch.equal(model(x), x)
    nn.init.constant_(model.head[0].bias, 0.1)
    assert not head_is_dead(model, [x])


def test_penalty_is_keras_and_on_kernels_alone():
    model = build("UNet2D1D", **SMALL)
    kernels = [p.detach().double() for n, p in model.named_parameters() if p.ndim == 5]
    assert penalty(model, "l2", [0.5]).item() == pytest.approx(
        0.5 * sum(float((k**2).sum()) for k in kernels), rel=1e-5
    )
    both = penalty(model, "l1_l2", [2.0, 0.5]).item()
    assert both == pytest.approx(sum(float(2 * k.abs().sum() + 0.5 * (k**2).sum()) for k in kernels), rel=1e-5)
    assert penalty(model, None, None) == 0 and penalty(model, "dropout", [0.5]) == 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"head": "tanh"}, "head is 'tanh', expected relu or linear"),
        ({"regularization": {"type": "l3", "parameters": [1.0]}}, "type is 'l3', expected one of batch_norm"),
        (
            {"regularization": {"type": "dropblock", "parameters": [0.8]}},
            "has 1 parameters, expected 2: keep_prob, block",
        ),
        ({"regularization": {"type": "batch_norm", "parameters": [0.8]}}, "has 1 parameters, expected none"),
        (
            {"regularization": {"type": "dropout", "parameters": [1.0]}},
            "rate of dropout is 1.0, expected a number from 0",
        ),
        ({"depth": 0}, "depth is 0"),
    ],
)
def test_bad_settings(settings, words):
    with pytest.raises(InputError, match=words):
        build("UNet3D", **settings)


def test_bad_series():
    with refused(where="UNet2D1D", found=r"the series is \(16, 16, 4\) torch.float32", expected=r"real \(N, axis 1"):
        build("UNet2D1D", **SMALL)(torch.rand(16, 16, 4))
