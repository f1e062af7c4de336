"""What a network makes of one slice, step by step: from the samples to the image."""

import torch
from torch import nn

from lib import plots
from lib.data.fastmri import KspaceSlices
from lib.data.pictures import log_kspace
from lib.inference.reconstruct import by_network
from lib.kspace import center_crop, rss
from lib.models.sense_unet import SEEN, SenseUNet, look
from lib.models.varnet import VarNet
from lib.plots.panels import white_point


@torch.no_grad()
def steps(model: nn.Module, slices: KspaceSlices, i: int = 0, device: torch.device | str = "cpu", coils: int = 3):
    """A figure of one slice: sampled k-space, then what the network computes of it, then the target if there is one.

    Parameters
    ----------
    model : a VarNet is shown with sensitivity maps and the image after each cascade, a SenseUNet with what it starts
        from, another network with its output alone
    slices : the data, as the network is fed with them
    i : number of the slice in them
    device : where the network runs
    coils : whose maps are shown, the first ones
    """
    case, model = slices.case(i), model.to(device).eval()
    panels = {"sampled k-space, log": log_kspace(rss(case.masked_kspace, 0))}
    images = {"zero-filled": case.zero_filled}
    if isinstance(model, VarNet):
        sampled = [x[None].to(device) for x in slices.item(case)[:3]]
        maps = model.sensitivities(*sampled)[0, :coils].abs()
        panels |= {f"sensitivity of coil {c + 1}": m / m.max() for c, m in enumerate(maps)}
        after_cascades = enumerate(model.after_each_cascade(*sampled), 1)
        images |= {f"after cascade {c}": center_crop(x[0], tuple(case.zero_filled.shape)) for c, x in after_cascades}
    elif isinstance(model, SenseUNet):
        seen = look(case.masked_kspace.to(device), case.mask.columns)[0]
        shape = tuple(case.zero_filled.shape)
        images |= {name: center_crop(x, shape) for name, x in zip(SEEN, seen, strict=True)}
        images["output"] = by_network(model, slices, [case], device)[0]
    else:
        images["output"] = by_network(model, slices, [case], device)[0]
    images |= {} if case.target is None else {"target": case.target}
    top = white_point(images["zero-filled" if case.target is None else "target"])
    panels |= {name: image / top for name, image in images.items()}
    title = f"{case.id}, slice {case.slice}, {case.mask.achieved:.2f}× achieved"
    return plots.montage({name: x.cpu() if hasattr(x, "cpu") else x for name, x in panels.items()}, (0, 1), title=title)
