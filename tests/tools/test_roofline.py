"""Counts of a training step: single operations by hand, convolutions by torch's own counter, and what settings change."""

import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tools import roofline

TINY = {"num_cascades": 2, "chans": 4, "pools": 2, "sens_chans": 4, "sens_pools": 2}


def test_operations_worked_by_hand():
    a = torch.empty(6, 8, dtype=torch.complex64, device="meta")
    with roofline.Count() as counted:
        b = a + a.reshape(6, 8)[:, :]  # views cost nothing
        torch.fft.fft(b)
    assert counted.kernels == {"coils": 1, "fft": 1}
    assert counted.bytes["coils"] == 3 * 48 * 8 and counted.flops["coils"] == 48
    assert counted.flops["fft"] == 5 * 48 * math.log2(8)


def test_convolutions_are_torchs_count():
    network, x = torch.nn.Conv2d(3, 5, 3, padding=1, device="meta"), torch.empty(2, 3, 16, 12, device="meta")
    with roofline.Count() as counted:
        network(x).sum().backward()
    with FlopCounterMode(display=False) as theirs:
        network(x).sum().backward()
    assert theirs.get_total_flops() <= counted.flops["coils"] <= theirs.get_total_flops() + 10 * 2 * 5 * 16 * 12


def test_what_settings_change():
    result = roofline.work_out((1, 6, 128, 64), **TINY)
    assert {"fft", "coils", "cascades' U-Nets", "sensitivities' U-Net"} == set(result["parts"])
    plain, less = result["settings"]["as published"], result["settings"]["checkpointing: true"]
    assert less["kept"] < plain["kept"] and less["moved"] > plain["moved"]
    cropped = roofline.count((1, 6, 128, 64), **TINY, readout_crop=64)
    assert sum(cropped.bytes.values()) == pytest.approx(plain["moved"] / 2, rel=0.15)
    assert "(launches)" in roofline.roofline(result)  # of tiny arrays
