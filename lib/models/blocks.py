"""What several networks are made of."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def autocast(kind: str, precision: str) -> torch.autocast:
    """What runs a network in fp32, bf16 or fp16 on a device of `kind` (cpu, cuda)."""
    half = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    return torch.autocast(kind, half, enabled=half is not None)


def recomputed(block: nn.Module, x: Tensor) -> Tensor:
    """The block's output, its activations computed again in the backward pass (T. Chen et al., arXiv 1604.06174)."""
    if not torch.is_grad_enabled():
        return block(x)
    return checkpoint(block, x, use_reentrant=False, context_fn=lambda: (nullcontext(), _statistics_kept(block)))


@contextmanager
def _statistics_kept(block: nn.Module) -> Iterator[None]:
    """While a block is computed again, its batch norms don't count the batch a second time."""
    norms = [(m, m.momentum, m.num_batches_tracked.clone()) for m in block.modules() if isinstance(m, nn.BatchNorm3d)]
    for norm, *_ in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:  # the recomputation ends by an exception as soon as it has what it needs
        for norm, momentum, batches in norms:
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(batches)


def channels_last(x: Tensor) -> Tensor:
    """x, on a CPU with the channels of (N, C, H, W) last in memory: its convolutions train up to 5 times as fast so."""
    return x.contiguous(memory_format=torch.channels_last) if x.device.type == "cpu" and x.ndim == 4 else x


def _as_given(x: Tensor) -> AbstractContextManager:
    """Keeps norms in x's type: CUDA's autocast runs them in float32, and what they keep then takes more than it saves."""
    cast = not x.is_meta and torch.is_autocast_enabled(x.device.type)
    return torch.autocast(x.device.type, enabled=False) if cast else nullcontext()


class InstanceNorm(nn.Module):
    """Each channel of each sample to mean 0 and variance 1, without learned scale (eps 1e-5); (N, C, …) of any size.

    A half comes out as a half, also under autocast; its sums are float32.
    """

    def forward(self, x: Tensor) -> Tensor:
        # One group a channel is the same sum, and torch's kernel for it is far faster than its instance norm. It gets
        # the channels first: with them last it is slower on a CPU and loses two digits. (F.group_norm refuses one pixel.)
        with _as_given(x):
            return channels_last(torch.group_norm(x.contiguous(), x.shape[1]))


class GroupNorm(nn.GroupNorm):
    """torch's, but a half comes out as a half, also under autocast; its sums are float32."""

    def forward(self, x: Tensor) -> Tensor:
        with _as_given(x):
            return F.group_norm(x, self.num_groups, self.weight.to(x.dtype), self.bias.to(x.dtype), self.eps)


def steady(network: nn.Module) -> nn.Module:
    """The network, whose norms take maps of one value, too, which torch refuses in training since they have no variance.

    Batch norms take their running statistics for a batch of one value per channel (one image whose deepest maps are one
    pixel, often the last of an epoch), and leave them as they are. Torch's instance norms give their bias.
    """
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats:
            module.register_forward_pre_hook(_if_alone)
            module.register_forward_hook(_again, always_call=True)
        elif isinstance(module, nn.modules.instancenorm._InstanceNorm):
            module.register_forward_pre_hook(_doubled)
            module.register_forward_hook(_halved)
    return network


def _doubled(norm: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
    """A map of one value, twice."""
    x = inputs[0]
    norm.single = x.ndim > 2 and x.shape[2:].numel() == 1
    return (x.expand(*x.shape[:-1], 2),) if norm.single else None


def _halved(norm: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
    """Of such a map the bias, without the rounding that a division by nearly nothing would show."""
    if not norm.single:
        return None
    output = torch.zeros_like(output[..., :1])
    return output if norm.bias is None else output + norm.bias.to(output.dtype).view(1, -1, *[1] * (output.ndim - 2))


def _if_alone(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    plain = type(norm).__module__.startswith("torch.")  # not one that counts over processes
    norm.alone = norm.training and plain and inputs[0].numel() == inputs[0].shape[1]
    if norm.alone:
        norm.training = False


def _again(norm: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    if norm.alone:
        norm.training = True
