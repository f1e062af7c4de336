"""UNet2D and ResUNet: counts worked by hand or published, a level by hand, sizes, encoders and their weights."""

import socket
import time

import pytest
import torch
from refusals import refused
from torch import nn

from lib.models import build
from lib.models.resunet import ResidualUnit


def count(module):
    return sum(p.numel() for p in module.parameters())


def conv(i, o, k):
    return i * o * k * k + o


def unet2d(classes, base, depth):
    widths = [base * 2**d for d in range(depth)]
    total = sum(conv(i, o, 3) + conv(o, o, 3) for i, o in zip([1, *widths], widths))  # noqa: B905
    total += sum(conv(2 * w, w, 2) + conv(2 * w, w, 3) + conv(w, w, 3) for w in widths[:-1])
    return total + conv(base, classes, 1)


def test_counts():
    with torch.device("meta"):
        assert count(build("UNet2D")) == unet2d(6, 64, 5) == 31_030_918
        assert count(build("UNet2D", num_classes=3, base_filters=16, depth=4)) == unet2d(3, 16, 4)
        assert count(build("ResUNet")) == 32_521_105
        units = [(3, 64, 1), (64, 128, 0), (128, 256, 0), (256, 512, 0), (768, 256, 0), (384, 128, 0), (192, 64, 0)]
        plain = sum(
            conv(i, o, 3) + conv(o, o, 3) + conv(i, o, 1) + 2 * o + (0 if first else 2 * i) for i, o, first in units
        )
        assert count(build("ResUNet", encoder="plain")) == plain + conv(64, 1, 1) == 8_220_993


def test_a_residual_unit_worked_by_hand():
    torch.manual_seed(0)
    unit, x = ResidualUnit(3, 5, stride=2).eval().double(), torch.randn(1, 3, 8, 8, dtype=torch.float64)
    norm, _, first, middle, _, second = unit.body
    with torch.no_grad():
        y = first(nn.functional.relu((x - 0) / (1 + norm.eps) ** 0.5))
        y = second(nn.functional.relu(y / (1 + middle.eps) ** 0.5))
        assert torch.allclose(unit(x), unit.past(x) + y, atol=1e-12)
        assert unit(x).shape == (1, 5, 4, 4)


@pytest.mark.parametrize("size", [(16, 16), (17, 30), (33, 5)])
@pytest.mark.parametrize(
    ("name", "settings", "classes"),
    [
        ("UNet2D", {"base_filters": 2, "depth": 3}, 6),
        ("UNet2D", {"base_filters": 2, "depth": 1, "num_classes": 2}, 2),
        ("ResUNet", {"encoder": "plain"}, 1),
        ("ResUNet", {"num_classes": 2}, 2),
    ],
)
def test_any_size(name, settings, classes, size):
    network = build(name, **settings).eval()
    chans = 1 if name == "UNet2D" else 3
    with torch.no_grad():
        assert network(torch.randn(1, chans, *size)).shape == (1, classes, *size)


def test_padding_inside_leaves_divisible_sizes_alone():
    torch.manual_seed(0)
    network, x = build("UNet2D", base_filters=2, depth=2, num_classes=2), torch.randn(1, 1, 8, 8)
    skip = network.down[0](x)
    y = network.merge[0](torch.cat((skip, network.up[0](network.down[1](nn.functional.max_pool2d(skip, 2)))), 1))
    assert torch.allclose(network(x), network.head(y), atol=1e-6)


def test_instance_norm_follows_each_convolution():
    torch.manual_seed(0)
    network = build("UNet2D", base_filters=3, depth=1, num_classes=2, norm="instance").double()
    plain = build("UNet2D", base_filters=3, depth=1, num_classes=2).double()
    x = torch.randn(2, 1, 9, 8, dtype=torch.float64)
    first, _, _, second, *_ = network.down[0]
    y = nn.functional.relu(nn.functional.instance_norm(first(x)))
    y = network.head(nn.functional.relu(nn.functional.instance_norm(second(y))))
    assert torch.allclose(network(x), y, atol=1e-12)
    assert count(network) == count(plain)  # it learns nothing
    assert torch.allclose(network(5 * x), network(x), atol=1e-3) and not torch.allclose(
        plain(5 * x), plain(x), atol=0.1
    )


def test_encoder_weights_come_from_a_file(tmp_path):
    from torchvision.models import resnet50

    donor = resnet50()
    torch.save(donor.state_dict(), tmp_path / "resnet50.pth")
    network = build("ResUNet", encoder_weights=str(tmp_path / "resnet50.pth"))
    assert torch.equal(network.network.encoder.layer3[2].conv2.weight, donor.layer3[2].conv2.weight)
    assert network.loaded.endswith("resnet50.pth") and build("ResUNet").loaded == "resnet50, random weights"


def test_encoder_weights_that_do_not_fit(tmp_path):
    torch.save({"a": torch.ones(1)}, tmp_path / "other.pt")
    with refused(found="other.pt: no weights of a ResNet-50"):
        build("ResUNet", encoder_weights=str(tmp_path / "other.pt"))
    with refused(found="gone.pt: no such file"):
        build("ResUNet", encoder_weights=str(tmp_path / "gone.pt"))
    with refused(found="the plain network has none"):
        build("ResUNet", encoder="plain", encoder_weights="imagenet")
    with refused(found="encoder is 'vgg'", expected="resnet50 or plain"):
        build("ResUNet", encoder="vgg")


def test_imagenet_without_a_network_fails_in_seconds(monkeypatch):
    def refuse(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(socket, "create_connection", refuse)
    begun = time.monotonic()
    with refused(found=r"huggingface.co can't be reached \(no network\): give a file's path or null"):
        build("ResUNet", encoder_weights="imagenet")
    assert time.monotonic() - begun < 10
