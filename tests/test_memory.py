"""Memory of a training step: cases worked by hand, and against what a process really holds."""

import torch
from torch import nn

from lib import memory
from lib.models import build


def test_a_chain_by_hand():
    """Input and two sigmoids' outputs are kept; with a gradient or two on top that is 3 to 5 columns of 4000 bytes."""
    found = memory.training_bytes(lambda: nn.Sequential(nn.Linear(1, 1), nn.Sigmoid(), nn.Sigmoid()), (1000, 1))
    assert 3 * 4000 <= found["activations"] <= 5 * 4000 + 200


def test_parameters_are_weights_gradients_and_two_states():
    assert memory.training_bytes(lambda: nn.Linear(10, 5), (1, 10))["parameters"] == 4 * 55 * 4


def test_checkpointing_keeps_less():
    plain, less = (
        memory.training_bytes(lambda c=c: build("UNet3D", base_filters=8, checkpointing=c), (1, 32, 32, 8))
        for c in (False, True)
    )
    assert less["parameters"] == plain["parameters"] and less["activations"] < 0.9 * plain["activations"]


def test_the_peak_of_this_process_grows_by_what_is_held():
    peak = memory.Peak(torch.device("cpu"))
    held = torch.ones(3 * 2**28, dtype=torch.uint8)  # more than anything before in these tests would
    found = peak.bytes()
    assert found is None or found > 0.9 * len(held)
