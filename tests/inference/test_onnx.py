"""ONNX for serving: onnxruntime alone gives the network's output, or nothing is written."""

import numpy as np
import onnxruntime
import torch
from refusals import refused
from torch import nn

from lib.inference import onnx
from lib.models import build


def test_a_served_network_gives_its_output_at_any_batch_size(tmp_path, capsys):
    torch.manual_seed(0)
    model = build("UNet2D2D", base_filters=2, depth=2).eval()
    path = onnx.serve(model, "UNet2D2D", torch.rand(1, 9, 8, 4), tmp_path)
    assert path == tmp_path / "UNet2D2D" / "1" / "model.onnx"
    config = (tmp_path / "UNet2D2D" / "config.pbtxt").read_text()
    assert 'name: "UNet2D2D"' in config and config.count("dims: [ 9, 8, 4 ]") == 2 and "max_batch_size: 8" in config
    assert "onnxruntime differs by" in capsys.readouterr().out
    session = onnxruntime.InferenceSession(path)
    for batch in (1, 3):
        series = torch.rand(batch, 9, 8, 4)
        found = session.run(None, {"input": series.numpy()})[0]
        assert np.allclose(found, model(series).detach().numpy(), atol=1e-5)


def test_what_differs_is_not_served(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx, "_difference", lambda *_: 2e-4)
    with refused(where="net", found="onnxruntime differs by 2.0e-04", expected="at most 0.0001"):
        onnx.serve(nn.Conv2d(1, 1, 1), "net", torch.rand(1, 1, 4, 4), tmp_path)
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_complex_networks_say_why_not(tmp_path):
    with refused(found="its input is complex"):
        onnx.serve(nn.Identity(), "net", torch.rand(1, 2, dtype=torch.complex64), tmp_path)
