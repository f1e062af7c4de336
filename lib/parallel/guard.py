"""What a partitioned network's own forward may not do: mix positions along a split axis, unseen by its modules' rules."""

import re
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

from lib import InputError

_MIXES = re.compile(
    "conv|pool|interpolate|upsample|grid_sample|pixel_|(batch|group|instance|layer|rms)_norm|fold|linear|matmul|einsum|"
    "tensordot|fft|attention"
)
_ALONG = re.compile(
    "sum|nansum|mean|a?max|a?min|aminmax|prod|(std|var)(_mean)?|median|logsumexp|arg.*|all|any|norm|normalize|flip|roll|"
    "sort|topk|cum.*|(log_)?softmax|softmin"
)
_RESHAPES = {"view", "reshape", "flatten"}
_MOVES = {"permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis"}


def _mixes(name: str, y: Any, args: tuple, kwargs: dict[str, Any], axis: int) -> bool:
    """Whether a call mixed positions along the axis, or moved it, as far as its name and the shapes tell."""
    given = [t for a in (*args, *kwargs.values()) for t in (a if isinstance(a, tuple | list) else (a,))]
    tensors = [t for t in given if isinstance(t, Tensor) and t.ndim > axis]
    y = y[0] if isinstance(y, tuple | list) and y else y
    if not tensors or not isinstance(y, Tensor):
        return False
    x, extents = tensors[0], {t.shape[axis] for t in tensors}
    if _ALONG.fullmatch(name):  # max(x, y) is elementwise
        dims = kwargs.get("dim", kwargs.get("dims", [n for n in given if type(n) is int]))
        dims = [dims] if isinstance(dims, int) else dims
        return len(tensors) == 1 and (not dims or axis in [n % x.ndim for n in dims])
    if name in _RESHAPES:
        return y.shape[axis:] != x.shape[axis:]
    if name in _MOVES:
        return y.stride()[axis : axis + 1] != x.stride()[axis : axis + 1]
    if y.ndim == x.ndim and y.shape[axis] not in extents and extents != {1}:
        return True  # cropped, padded, joined
    return _MIXES.search(name) is not None


class Guard(TorchFunctionMode):
    """InputError where a network's own forward, between its modules, mixes positions along a split axis."""

    def __init__(self, network: str, axes: list[int]):
        super().__init__()
        self.network, self.axes = network, axes

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs, name = kwargs or {}, getattr(function, "__name__", "")
        y = function(*args, **kwargs)
        for axis in self.axes:
            if name != "__get__" and _mixes(name, y, args, kwargs, axis):
                raise InputError(
                    self.network,
                    f"its forward calls {name} across axis {axis}, which is split; expected a module that "
                    "lib.parallel.spatial.RULES lists",
                )
        return y
