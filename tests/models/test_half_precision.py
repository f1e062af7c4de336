"""What a network keeps for its backward pass under CUDA's autocast: shapes and types are followed without a GPU."""

from contextlib import contextmanager

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from lib.models import build

KSPACE = ((1, 4, 64, 48), torch.complex64), ((1, 1, 1, 48), torch.bool)
CASES = {
    "VarNet": (dict(num_cascades=2, chans=8, pools=2, sens_chans=4, sens_pools=2), KSPACE),
    "UNet": (dict(chans=8, num_pool_layers=2), [((2, 1, 64, 48), torch.float32)]),
    "VolumeUNet": (
        dict(base_filters=8, depth=2, norm="group"), [((1, 1, 16, 16, 16), torch.float32)],
    ),
}  # fmt: skip


@contextmanager
def autocast(kind):
    """CUDA's autocast; torch.autocast itself refuses to begin where there is no GPU."""
    torch.set_autocast_enabled("cuda", kind is not None)
    torch.set_autocast_dtype("cuda", kind or torch.float16)
    torch.autocast_increment_nesting()
    try:
        yield
    finally:
        torch.autocast_decrement_nesting()
        torch.clear_autocast_cache()
        torch.set_autocast_enabled("cuda", False)
        torch.set_autocast_dtype("cuda", torch.float16)


def kept(network, inputs, kind):
    """Bytes that the backward pass needs besides the weights, by type; physics is what is complex."""
    storages = {}

    def note(tensor):
        storages[tensor.untyped_storage()._cdata] = tensor.untyped_storage(), tensor.dtype
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor), autocast(kind):
        output = network(*inputs)
    weights = {p.untyped_storage()._cdata for p in network.parameters()}
    found = {}
    for key, (storage, dtype) in storages.items():
        if key not in weights:
            found[dtype] = found.get(dtype, 0) + storage.nbytes()
    return output, found


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", CASES)
def test_half_precision_keeps_about_half_and_physics_stays(name, kind):
    settings, inputs = CASES[name]
    with FakeTensorMode(allow_non_fake_inputs=True), torch.device("cuda"):
        network = build(name, **settings).train()
        inputs = [torch.empty(shape, dtype=dtype) for shape, dtype in inputs]
        full, half = kept(network, inputs, None), kept(network, inputs, kind)
    physics = full[1].get(torch.complex64, 0)
    assert half[1].get(torch.complex64, 0) == physics and (name != "VarNet" or half[0].dtype == torch.float32)
    assert sum(half[1].values()) - physics < 0.6 * (sum(full[1].values()) - physics)
