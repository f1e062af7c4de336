"""Several processes train one network: its weights are handed out, its gradients averaged."""

import torch
import torch.distributed as dist
from torch import nn

from lib import InputError
from lib.parallel import mesh, spatial

MESSAGE_SIZE = 1 << 24  # gradients in one message


def average_gradients(model: nn.Module) -> None:
    """Every parameter's gradient becomes the mean over all processes; one that none of them has stays None.

    InputError where only some have it: then the processes don't train the same network.
    """
    place, parameters = mesh.current(), [p for p in model.parameters() if p.requires_grad]
    owners = torch.tensor([p.grad is not None for p in parameters], dtype=torch.int32, device=parameters[0].device)
    dist.all_reduce(owners)
    if ((owners != 0) & (owners != place.world)).any():
        raise InputError("some processes have a gradient that others haven't", "the network's parts depend on the data")
    parameters = [p for p, n in zip(parameters, owners.tolist(), strict=True) if n]
    waiting: list[nn.Parameter] = []
    for i, parameter in enumerate(parameters):
        waiting.append(parameter)
        if i + 1 == len(parameters) or sum(p.numel() for p in waiting) > MESSAGE_SIZE:
            flat = torch.cat([p.grad.flatten() for p in waiting])
            dist.all_reduce(flat)
            for p, part in zip(waiting, flat.div_(place.world).split([p.numel() for p in waiting]), strict=True):
                p.grad.copy_(part.view_as(p))
            waiting = []


def gathered(value: object) -> list:
    """[each process's value], by rank."""
    values = [value] * mesh.current().world
    if len(values) > 1:
        dist.all_gather_object(values, value)
    return values


def distribute(model: nn.Module) -> nn.Module:
    """The model for this process: rank 0's weights, partitioned where volumes are, batch norms over all processes."""
    place = mesh.current()
    for tensor in (*model.parameters(), *model.buffers()):
        dist.broadcast(tensor.data, 0)
    for axis, (_, _, group) in place.parts.items():
        model = spatial.partition(model, axis, group, dist.group.WORLD)
    return model if place.parts else spatial.synchronize(model)
