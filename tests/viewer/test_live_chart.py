"""The live chart: it leaves no trace in the training, keeps to its share of the time, and draws what History has."""

import io
import random
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from fastai.basics import AvgMetric, Callback
from fastai.data.core import DataLoaders
from PIL import Image
from refusals import refused
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lib import training
from lib.data import pictures
from lib.data.bucket_sampler import BucketSampler
from lib.viewer import LiveChart, line_chart, live_chart


class Rows(TensorDataset):
    """Answers to (epoch, index)."""

    panels = staticmethod(pictures.labels)

    def __getitem__(self, key):
        return super().__getitem__(key[1] if isinstance(key, tuple) else key)


class Drawing(Rows):
    """Draws from every global generator: the chart must hide that."""

    def __getitem__(self, key):
        torch.rand(3), np.random.rand(3), random.random()
        return super().__getitem__(key)


def learner(seed=0, sets=Rows):
    torch.manual_seed(seed), np.random.seed(seed), random.seed(seed)
    x = torch.randn(12, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    y = (x[:, 0] > 0.5).long()
    dls = DataLoaders(
        DataLoader(Rows(x, y), batch_sampler=BucketSampler([0] * 12, 4, seed)),
        DataLoader(sets(x, y), 4),
        device=torch.device("cpu"),
    )
    dls.n_inp = 1
    layers = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout2d(0.5), nn.Conv2d(4, 2, 1)
    accuracy = AvgMetric(lambda o, t: (o.argmax(1) == t).float().mean())
    return training.Learner(
        dls, nn.Sequential(*layers), loss_func=nn.functional.cross_entropy, opt_func=training.optimizer("Adam", 1e-2),
        metrics=[accuracy], cbs=[training.SetSamplerEpoch(), training.Precision("fp32"), training.GradientClip()],
    )  # fmt: skip


def fit(learn, epochs, run, *cbs):
    with learn.no_bar(), learn.no_logging():
        learn.fit(
            epochs, cbs=[training.schedule("constant", 1e-2, epochs), training.History(run, tensorboard=False), *cbs]
        )


@pytest.fixture
def shown(monkeypatch):
    """The widgets that were displayed."""
    seen = []
    monkeypatch.setattr(live_chart, "display", seen.append)
    return seen


@pytest.fixture
def eager(monkeypatch):
    monkeypatch.setattr(live_chart, "MOST_SHARE", 1e9)  # as if there were time for every drawing


def test_weights_are_those_of_a_training_without_it(tmp_path, shown, eager):
    states, numbers = [], []
    for chart in (False, True):
        learn = learner(sets=Drawing)
        fit(learn, 3, tmp_path / str(chart), LiveChart(chart))
        states.append(learn.model.state_dict())
        numbers.append((torch.rand(4).tolist(), np.random.rand(4).tolist(), random.random()))
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])  # BatchNorm's buffers too
    assert numbers[0] == numbers[1] and len(shown) == 1


def test_modes_and_generators_are_put_back_even_after_an_error():
    model = nn.Sequential(nn.Dropout(), nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2)))
    model.train()
    model[1].eval()  # a frozen part
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    expected = torch.rand(1), np.random.rand(), random.random()
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    with pytest.raises(ZeroDivisionError), live_chart.undisturbed(model):
        assert not model.training and not torch.is_grad_enabled()
        torch.rand(5), np.random.rand(5), random.random()
        raise ZeroDivisionError
    assert (torch.rand(1), np.random.rand(), random.random()) == expected
    assert [m.training for m in model.modules()] == [True, True, False, False, False]
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("rank", [False, True])
def test_headless_and_in_a_rank_it_does_nothing(tmp_path, shown, monkeypatch, capsys, rank):
    if rank:
        monkeypatch.setenv("RANK", "0")
    monkeypatch.setattr("ipywidgets.Widget.__init__", lambda *a, **k: pytest.fail("a widget was made"))
    chart = LiveChart(rank)
    fit(learner(), 2, tmp_path, chart)
    assert shown == [] and chart.seconds == 0 and chart.share == 0
    assert len([line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch ")]) == 2


class Clock:
    """Time that only passes where a test says so."""

    now = 0.0

    def perf_counter(self):
        return self.now


def test_it_draws_as_often_as_two_percent_allow(tmp_path, shown, monkeypatch):
    clock, drawn = Clock(), []
    monkeypatch.setattr(live_chart, "time", clock)

    class Epoch(Callback):
        order = 61

        def after_epoch(self):
            clock.now += 10

    class Slow(LiveChart):
        def _draw_chart(self):
            drawn.append(("chart", self.epoch))
            clock.now += 0.1

        def _draw_preview(self):
            drawn.append(("preview", self.epoch))
            clock.now += 0.35

    chart = Slow(True)
    fit(learner(), 9, tmp_path, Epoch(), chart)
    # Each epoch earns .2 s. Both are guessed to be quicker than they are: .45 s are gone after epoch 0, so nothing is
    # drawn after 1. Then .1 s for the chart is always there, and .35 s for the preview when three charts have left it.
    assert [epoch for name, epoch in drawn if name == "chart"] == [0, 2, 3, 4, 5, 6, 7, 8]
    assert [epoch for name, epoch in drawn if name == "preview"] == [0, 5, 8]  # at the end in any case
    assert chart.seconds == pytest.approx(8 * 0.1 + 3 * 0.35)
    assert chart.share == pytest.approx(1.85 / 91.85)


def test_the_chart_shows_the_rows_and_its_share(tmp_path, shown, eager):
    fit(learner(), 3, tmp_path, LiveChart(True))
    chart, labels, image, line = shown[0].children
    assert image.layout.width == "930px"
    assert chart.value.count("<svg") == 2  # losses, accuracy
    rows = (tmp_path / "history.csv").read_text().splitlines()
    last = dict(zip(rows[0].split(","), rows[-1].split(","), strict=True))
    for name in ("train_loss", "valid_loss"):
        assert f"{name.removesuffix('_loss')} {float(last[name]):.4g}" in chart.value
    assert all(len(points.split()) == 3 for points in re.findall(r'points="([^"]*)"', chart.value))
    assert re.search(r"3 epochs done; this chart took \d+\.\d% of the time", line.value)
    assert [*re.findall("<b>(.*?)</b>", labels.value)] == ["input", "output", "truth"]
    assert Image.open(io.BytesIO(image.value)).size == (930, 306)


def test_until_the_first_picture_a_placeholder_stands_there_and_a_line_tells_the_step(tmp_path, shown, monkeypatch):
    monkeypatch.setattr(live_chart, "STEP_SECONDS", -1.0)
    told = []

    class Watching(LiveChart):
        def after_batch(self):
            super().after_batch()
            _, labels, image, line = shown[0].children
            told.append((self.epoch, "live-placeholder" in labels.value, image.layout.display, image.value, line.value))

    fit(learner(), 2, tmp_path, Watching(True))
    first = [tell for tell in told if tell[0] == 0]
    assert all(placed and display == "none" and not value for _, placed, display, value, _ in first)
    assert re.search(r"epoch 1 of 2 · step 1 of \d+ · [\d.]+ s to its validation", first[0][-1])
    assert re.search(r"epoch 1 of 2 · step \d+ of \d+ · validating", first[-1][-1])
    _, labels, image, _ = shown[0].children
    assert "live-placeholder" not in labels.value and image.layout.display is None and image.value


def test_on_resuming_the_epochs_before_are_drawn(tmp_path, shown, eager):
    fit(learner(), 2, tmp_path, training.Checkpoint(tmp_path))
    fit(learner(), 5, tmp_path, training.Checkpoint(tmp_path), LiveChart(True))
    points = re.findall(r'points="([^"]*)"', shown[0].children[0].value)
    assert [len(p.split()) for p in points] == [5, 5, 5]


def test_a_run_with_nothing_left_to_do_is_drawn_too(tmp_path, shown):
    for _ in range(2):
        fit(learner(), 2, tmp_path, training.Checkpoint(tmp_path), LiveChart(True))
    chart, *_, line = shown[1].children
    assert [len(p.split()) for p in re.findall(r'points="([^"]*)"', chart.value)] == [2, 2, 2]
    assert "2 epochs done" in line.value


def test_it_needs_history():
    learn = learner()
    with learn.no_bar(), learn.no_logging(), refused(where="LiveChart", found="no training.History among"):
        learn.fit(1, cbs=[LiveChart(True)])


def test_a_preview_that_fails_does_not_end_the_training(tmp_path, shown, eager):
    def broken(*batch):
        raise RuntimeError("no <picture>")

    learn = learner()
    learn.dls.valid.dataset.panels = broken
    fit(learn, 2, tmp_path, LiveChart(True))
    assert "no preview: no &lt;picture&gt;" in shown[0].children[1].value
    assert learn.epoch == 1


def test_lines_by_hand():
    drawn = line_chart.chart("loss", [1, 2, 3], {"train_loss": [4.0, 2.0, 0.0]}, 5)
    (points,) = re.findall(r'points="([^"]*)"', drawn)
    xy = [tuple(map(float, p.split(","))) for p in points.split()]
    left, right = line_chart.LEFT, line_chart.WIDTH - line_chart.RIGHT
    top, bottom = line_chart.TOP, line_chart.HEIGHT - line_chart.BOTTOM
    middle = (left + right) / 2
    expected = [(left, top), ((left + middle) / 2, (top + bottom) / 2), (middle, bottom)]
    np.testing.assert_allclose(xy, expected, atol=0.06)
    assert "train 0" in drawn and 'aria-label="loss over epochs"' in drawn
    gap = line_chart.chart("x", [1, 2, 3], {"x": [1.0, float("nan"), 2.0]}, 3)
    assert len(re.findall(r'points="([^"]*)"', gap)[0].split()) == 2 and "nan" not in gap.replace("x nan", "")
    assert line_chart.chart("x", [1], {"x": [float("inf")]}, 1).count("<circle") == 0
    assert line_chart.charts([], 3).count("<svg") == 1


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0, 4, [0, 2, 4]), (0.61, 0.94, [0.6, 0.8, 1.0]),
     (3.0, 3.0, [2.6, 2.8, 3.0, 3.2, 3.4]), (0, 0, [-1, 0, 1]), (-2, 31, [-20, 0, 20, 40])],
)  # fmt: skip
def test_ticks(low, high, ticks):
    assert line_chart.nice_ticks(low, high) == pytest.approx(ticks)


def test_training_and_validation_of_a_metric_share_a_chart():
    row = {
        "epoch": 1,
        "train_loss": 1.0,
        "valid_loss": 2.0,
        "dice": 0.5,
        "train_dice": 0.6,
        "learning_rate": 0.1,
        "seconds": 3,
    }
    drawn = line_chart.charts([row], 4)
    assert drawn.count("<svg") == 2 and drawn.count("<polyline") == 4 and "learning" not in drawn


def test_viewers_load_without_fastai():
    code = "import sys; from lib import viewer; print('fastai' in sys.modules)"
    code += "; viewer.LiveChart; print('fastai' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
