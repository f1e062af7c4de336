"""A pretended accelerator, and notebooks run on it: `python tests/accelerator.py DEVICE '{"notebook": {parameters}}' STATEMENTS`.

Its tensors say that they are on the device `pretended` and hold a tensor of the CPU, which computes for them. An
operation that mixes the two raises, as CUDA does: so it shows what stays on the CPU by mistake (batches taken by hand,
masks, buffers of losses and metrics, states of optimizers) wherever a notebook comes by. It can't show how CUDA computes
(kernels, memory, streams, several devices, pinned memory), and takes indices and masks that index from the CPU, as CUDA does.
Its autocast is torch's own, with convolutions and products of matrices in half precision; torch's engine aborts where
activations are computed again for it, which is left out.

Where the CPU would wait for the device (its numbers are asked for: `.item()`, `.cpu()`, `nonzero`, indexing by a mask that lies
there) is counted, and printed for the training steps of each notebook.
"""

import json
import sys
import traceback
from collections import Counter
from pathlib import Path

import torch
from torch.utils import _pytree as pytree
from torch.utils import backend_registration

NAME = "pretended"
COPIES = {torch.ops.aten.copy_.default, torch.ops.aten._to_copy.default}
NUMBERS = {  # what these give is known when the device has come as far
    torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default, torch.ops.aten.masked_select.default,
    torch.ops.aten.equal.default,
}  # fmt: skip
ROOT = Path(__file__).parents[1]
waits: Counter[str] = Counter()  # by place in the code
steps: list[Counter[str]] = []  # of each training step
LOWERED = (
    "conv2d",
    "conv3d",
    "conv_transpose2d.input",
    "conv_transpose3d.input",
    "linear",
    "matmul",
    "mm",
    "bmm",
    "addmm",
)
AUTOCAST = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)
BY_INDEX = {  # CUDA takes their indices from the CPU
    torch.ops.aten.index.Tensor, torch.ops.aten.index_put_.default, torch.ops.aten._index_put_impl_.default,
}  # fmt: skip


class Pretended(torch.Tensor):
    """A tensor on the pretended device; `inner` has its values."""

    @staticmethod
    def __new__(cls, inner: torch.Tensor):
        how = {"strides": inner.stride(), "storage_offset": inner.storage_offset(), "dtype": inner.dtype}
        tensor = torch.Tensor._make_wrapper_subclass(cls, inner.shape, device=torch.device(NAME, 0), **how)
        tensor.inner = inner
        return tensor

    def __repr__(self, **_):
        return f"Pretended({self.inner!r})"

    def numpy(self, *, force=False):
        if not force:
            raise TypeError(f"can't convert a tensor on {NAME} to numpy, expected .cpu() before")
        return self.inner.numpy()

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return _computed(function, args, kwargs or {})


def _computed(function, args, kwargs):
    """The call on the CPU; its result is on the device if an argument is, or if it is asked for there."""
    flat, spec = pytree.tree_flatten((args, kwargs))
    ours = [x for x in flat if isinstance(x, Pretended)]
    others = [x for x in flat if isinstance(x, torch.Tensor) and not isinstance(x, Pretended) and x.ndim]
    if ours and others and function not in COPIES | BY_INDEX:
        raise RuntimeError(f"{function}: got tensors on {NAME} and on {others[0].device}, expected one device")
    if ours and _waits(function, args, kwargs):
        waits[_place()] += 1
    asked = kwargs.get("device")
    here = bool(ours) if asked is None else torch.device(asked).type == NAME
    args_, kwargs_ = pytree.tree_unflatten([_plain(x) for x in flat], spec)
    result = function(*args_, **kwargs_)
    if function is torch.ops.aten.copy_.default:
        return args[0]
    known = {id(x.inner): x for x in ours}

    def wrapped(x):
        if not isinstance(x, torch.Tensor) or not here:
            return x
        return known[id(x)] if id(x) in known else Pretended(x.resolve_conj().resolve_neg())

    return pytree.tree_map(wrapped, result)


def _lowered(function):
    """An operation as autocast has it computed: in the half precision that is on, whatever it is given."""

    def call(*args, **kwargs):
        half = torch.get_autocast_dtype(NAME)
        cast = [x.to(half) if isinstance(x, Pretended) and x.dtype == torch.float32 else x for x in args]
        with torch._C._ExcludeDispatchKeyGuard(AUTOCAST):
            return function(*cast, **kwargs)

    return call


def _waits(function, args, kwargs):
    """Whether a call asks for numbers of the device."""
    if function in NUMBERS:
        return True
    if function is torch.ops.aten.copy_.default:
        return not isinstance(args[0], Pretended)
    if function is torch.ops.aten._to_copy.default:
        return kwargs.get("device") is not None and torch.device(kwargs["device"]).type != NAME
    masks = args[1] if function in BY_INDEX else ()
    return any(isinstance(x, Pretended) and x.dtype == torch.bool for x in masks)


def _place():
    """The innermost line of lib, or of fastai, that the call comes from."""
    frames = [f for f in traceback.extract_stack() if str(ROOT / "lib") in f.filename or "fastai" in f.filename]
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno} {frames[-1].line}" if frames else "elsewhere"


def _counted(one_batch):
    """`Learner.one_batch` that notes the waits of each training step."""

    def call(self, *given):
        before = waits.copy()
        one_batch(self, *given)
        if self.training:
            steps.append(waits - before)

    return call


def _plain(x):
    if isinstance(x, torch.device):
        return torch.device("cpu")
    return x.inner if isinstance(x, Pretended) else x


def _map(change, x):
    """A checkpoint with `change` made to each of its tensors."""
    if isinstance(x, dict):
        return {k: _map(change, v) for k, v in x.items()}
    if isinstance(x, list | tuple):
        return type(x)(_map(change, v) for v in x)
    return change(x) if isinstance(x, torch.Tensor) else x


def begin() -> torch.device:
    """Makes the device, and lets `lib` train and predict on it from now on."""
    backend_registration._setup_privateuseone_for_python_backend(NAME)
    begin.library = torch.library.Library("_", "IMPL")  # they hold as long as the objects live
    begin.library.fallback(lambda function, *args, **kwargs: _computed(function, args, kwargs), "PrivateUse1")
    begin.library.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    begin.autocast = torch.library.Library("aten", "IMPL")
    for name in LOWERED:
        packet, _, overload = name.partition(".")
        function = getattr(getattr(torch.ops.aten, packet), overload or "default")
        begin.autocast.impl(name, _lowered(function), "AutocastPrivateUse1")
    getattr(torch, NAME).get_amp_supported_dtype = lambda: [torch.bfloat16, torch.float16]

    from lib import training
    from lib.models import cine_unet, rcan, unet3d
    from lib.training import learner

    place, save, load = torch.device(NAME, 0), torch.save, torch.load
    learner.device = training.device = lambda devices="auto": place
    learner.Learner.one_batch = _counted(learner.Learner.one_batch)
    for module in (cine_unet, rcan, unet3d):
        module.recomputed = lambda block, x: block(x)
    torch.save = lambda x, file: save(_map(lambda t: t.detach().cpu(), x), file)

    def loaded(file, map_location=None, **how):
        to = map_location if map_location is not None and torch.device(map_location).type == NAME else "cpu"
        return _map(lambda t: t.to(to), load(file, map_location="cpu", **how))

    torch.load = loaded
    return place


def run(notebook: str, parameters: dict) -> dict:
    """The names that a notebook's cells leave, run from top to bottom with these parameters."""
    from lib.runs import parameters as tasks

    path = tasks.notebook(notebook)
    names = {"__name__": "__main__", "display": lambda *_: None}
    for number, cell in enumerate(c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"):
        exec(compile("".join(cell["source"]), f"{path.name}, cell {number + 1}", "exec"), names)
        if "parameters" in cell["metadata"].get("tags", ()):
            names |= parameters
    return names


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    torch.set_num_threads(1)
    if sys.argv[1] == NAME:
        begin()
    exec(sys.argv[3])
    failed = 0
    for notebook, parameters in json.loads(sys.argv[2]).items():
        print(f"\n== {notebook}")
        try:
            callbacks = run(notebook, parameters).get("callbacks", ())
        except Exception:  # the others go on
            failed += 1
            traceback.print_exc(file=sys.stdout)
            continue
        if steps:  # the first one may measure something once
            later = sum(steps[1:], Counter())
            print(f"{len(steps)} training steps, {sum(later.values())} waits after the first: {dict(later)}")
            steps.clear()
        for callback in callbacks:
            if hasattr(callback, "widgets"):  # the live chart's, which catches what its preview raises
                print("beside the preview:", callback.widgets["labels"].value)
        print("went to its end")
    sys.exit(failed > 0)
