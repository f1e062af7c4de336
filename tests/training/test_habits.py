"""fastai's habits on our Learner: pictures, predictions, learning rates, and what stands in for a pickled Learner."""

import matplotlib
import numpy as np
import pytest
import torch
from refusals import refused
from torch import nn

from lib import models, training
from lib.data import pictures
from lib.data.loaders import loaders
from lib.models.stages import stages


class Slices(torch.utils.data.Dataset):
    """Twelve images, and as labels their pixels above .5; answers to (epoch, index)."""

    panels, classes = staticmethod(pictures.labels), ("background", "bright")

    def __init__(self):
        self.x = torch.randn(12, 1, 8, 8, generator=torch.Generator().manual_seed(1))
        self.x[7, 0, 0, 0] = 1e3  # a case that no network of one convolution gets right
        self.sizes = [(8, 8)] * 12

    def __len__(self):
        return len(self.x)

    def __getitem__(self, key):
        i = key[1] if isinstance(key, tuple) else key
        label = (self.x[i, 0] > 0.5).long()
        return self.x[i], 1 - label if i == 7 else label


@pytest.fixture
def learn():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Dropout2d(0.1), nn.Conv2d(4, 2, 1))
    made = training.Learner(
        loaders(Slices(), Slices(), 1, "here", batch_size=4), net, loss_func=nn.functional.cross_entropy,
        opt_func=training.optimizer("Adam", 1e-2), metrics=[],
        cbs=[training.SetSamplerEpoch(), training.Precision("fp32"), training.GradientClip(1.0), training.CropToTarget()],
    )  # fmt: skip
    with made.no_bar(), made.no_logging():
        yield made


def titles(figure):
    return [ax.get_title() for ax in figure.axes]


def test_predictions_are_the_networks_own(learn):
    outputs, targets = learn.get_preds()
    data = learn.dls.valid.dataset
    assert torch.equal(targets, torch.stack([data[i][1] for i in range(12)]))
    with torch.no_grad():
        np.testing.assert_allclose(outputs, learn.model.eval()(data.x), rtol=1e-5)
    loss = nn.functional.cross_entropy(outputs, targets).item()
    assert learn.validate()[0] == pytest.approx(loss, rel=1e-5)
    assert len(learn.get_preds(ds_idx=0)[0]) == 12


def test_pictures(learn):
    assert titles(learn.show_results(max_n=2)) == [f"{i}: {x}" for i in (1, 2) for x in ("input", "output", "truth")]
    worst = titles(learn.worst_cases(2))
    assert len(worst) == 6
    losses = [float(name.split(":")[0].split()[1]) for name in worst[::3]]
    outputs, targets = learn.get_preds()
    each = sorted(nn.functional.cross_entropy(outputs, targets, reduction="none").mean((1, 2)).tolist())
    np.testing.assert_allclose(losses, [each[-1], each[-2]], rtol=5e-3)


def test_summary(learn):
    table = learn.summary()
    assert table.loc["0"].tolist() == ["4×8×8", 40] and table.parameters["all"] == 40 + 10
    assert learn.model.training


def test_a_table_of_stages_has_each_part_that_works_once():
    net = models.build("VarNet", num_cascades=2, chans=2, pools=1, sens_chans=2, sens_pools=1)
    table = stages(net, torch.ones(1, 2, 8, 8, dtype=torch.complex64), torch.ones(1, 1, 1, 8, dtype=torch.bool))
    assert list(table.index) == ["sens_net.norm_unet", "cascades.0.model", "cascades.1.model", "all"]
    assert table.output["cascades.0.model"] == "8×8" and table.parameters["all"] == table.parameters[:-1].sum() + 2


def test_lr_find_leaves_the_network_as_it_was(learn, tmp_path, monkeypatch):
    monkeypatch.setattr("matplotlib.pyplot.show", lambda: None)
    monkeypatch.chdir(tmp_path)
    before = {k: v.clone() for k, v in learn.model.state_dict().items()}
    found = learn.lr_find(num_it=20)
    assert 1e-7 < found.valley < 10
    assert all(torch.equal(v, before[k]) for k, v in learn.model.state_dict().items())
    assert list(tmp_path.iterdir()) == []  # fastai's file of weights lay elsewhere
    matplotlib.pyplot.close("all")


def test_one_cycle_and_fine_tuning_train(learn):
    before = learn.validate()[0]
    learn.fit_one_cycle(2, 1e-2)
    between = learn.validate()[0]
    assert between < before
    learn.fine_tune(1, 1e-2)
    assert learn.validate()[0] < between


def test_export_says_what_is_written_instead(learn):
    with refused(found=r"runs\.save_model.*safetensors.*lib\.inference\.onnx"):
        learn.export()
