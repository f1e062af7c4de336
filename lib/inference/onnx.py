"""A network as ONNX, in a folder that NVIDIA's Triton and onnxruntime serve."""

import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lib import InputError
from lib.files import replacing, write
from lib.models import own

TOLERANCE = 1e-4
CONFIG = """name: "{name}"
backend: "onnxruntime"
max_batch_size: {most}
input [{{ name: "input", data_type: TYPE_FP32, dims: [ {dims} ] }}]
output [{{ name: "output", data_type: TYPE_FP32, dims: [ {dims} ] }}]
dynamic_batching {{ }}
"""


def serve(model: nn.Module, name: str, example: Tensor, folder: Path) -> Path:
    """Write a network as ONNX, run by onnxruntime on the example at once; prints the difference from the network.

    Parameters
    ----------
    model : real in, real out, of one shape
    name : of the served model
    example : an input (1, …); the batch size stays free, the other sizes are the example's
    folder : where <name>/1/model.onnx and <name>/config.pbtxt are written

    Returns
    -------
    The path of model.onnx.

    Raises
    ------
    InputError
        For complex input, and if onnxruntime's output differs by more than 1e-4 (relative norm); nothing is written
        then.
    """
    model, example, name = model.cpu().eval(), example.cpu(), own.shown(name).rpartition(":")[2]
    if example.is_complex():
        raise InputError(name, "its input is complex, ONNX serves networks with real input and output only")
    target = Path(folder) / name / "1" / "model.onnx"
    with replacing(target) as partial, warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        pair = example.repeat(2, *[1] * (example.ndim - 1))  # a batch of 1 would be taken as fixed
        program = torch.onnx.export(
            model, (pair,), input_names=["input"], output_names=["output"], dynamo=True, verbose=False,
            dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=4096)},),
        )  # fmt: skip
        program.save(str(partial), external_data=False)
        difference = _difference(partial, model, example)
        print(f"{name}: onnxruntime differs by {difference:.1e} from the network", flush=True)
        if not difference <= TOLERANCE:
            raise InputError(name, f"onnxruntime differs by {difference:.1e}", f"at most {TOLERANCE:g}")
    dims = ", ".join(map(str, example.shape[1:]))
    write(Path(folder) / name / "config.pbtxt", CONFIG.format(name=name, most=8, dims=dims))
    return target


def _difference(path: Path, model: nn.Module, example: Tensor) -> float:
    import onnxruntime

    output = onnxruntime.InferenceSession(path).run(None, {"input": example.numpy()})[0]
    expected = model(example).numpy()
    return float(np.linalg.norm(output - expected) / max(np.linalg.norm(expected), np.finfo(np.float32).tiny))
