"""How much memory a training step needs: computed without running it, and measured after it ran."""

import resource
from collections.abc import Callable

import torch
from torch import Tensor, nn


def training_bytes(build: Callable[[], nn.Module], shape: tuple[int, ...], states: int = 2) -> dict[str, int]:
    """Bytes of a training step in float32 on an input of that shape, computed with tensors that hold no data.

    `parameters`: weights, gradients and the optimizer's `states` (Adam's two) a weight. `activations`: every different
    tensor that the forward pass keeps for the backward pass, the input included. A library's work space comes on top.
    """
    with torch.device("meta"):
        model, x = build().train(), torch.empty(shape)
        own = {p.untyped_storage()._cdata for p in model.parameters()}
        kept: dict[int, Tensor] = {}

        def pack(tensor: Tensor) -> Tensor:
            kept[tensor.untyped_storage()._cdata] = tensor
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            output = model(x)
    sizes = {key: t.untyped_storage().nbytes() for key, t in kept.items() if key not in own}
    sizes[output.untyped_storage()._cdata] = output.untyped_storage().nbytes()
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    return {"parameters": (2 + states) * weights, "activations": sum(sizes.values())}


def peak() -> int:
    """The most bytes that this process has held so far: on the GPU where one is in use, else resident in RAM."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
