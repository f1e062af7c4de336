"""Training: optimizers against torch's, schedules, precision, records, and resuming to the same weights."""

import csv
import itertools
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fastai.basics import Callback
from fastai.data.core import DataLoaders
from refusals import refused
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lib import training
from lib.data.bucket_sampler import BucketSampler


class _Rows(TensorDataset):
    """Answers to (epoch, index), and lets the batch depend on both, as masks do."""

    def __getitem__(self, key):
        epoch, i = key if isinstance(key, tuple) else (0, key)
        x, y = super().__getitem__(i)
        return x + 0.01 * epoch, y


def learner(seed=0, precision="fp32", clip=None, opt=None, drop=0.0, device="cpu"):
    torch.manual_seed(seed)
    x = torch.randn(12, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    rows = _Rows(x, x.roll(1, -1)[:, 0])
    dls = DataLoaders(
        DataLoader(rows, batch_sampler=BucketSampler([0] * 12, 4, seed)),
        DataLoader(rows, 4),
    )
    dls.n_inp, dls._device = 1, torch.device(device)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Dropout2d(drop), nn.Conv2d(4, 1, 3, padding=1), nn.Flatten(0, 1)
    )
    cbs = [
        training.SetSamplerEpoch(),
        training.Precision(precision),
        training.GradientClip(clip),
        training.CropToTarget(),
    ]
    return training.Learner(
        dls,
        model,
        loss_func=nn.functional.mse_loss,
        opt_func=opt or training.optimizer("Adam", 1e-2),
        metrics=[nn.functional.l1_loss],
        cbs=cbs,
    )


def fit(learn, epochs, *cbs, lr=1e-2):
    with learn.no_bar(), learn.no_logging():
        learn.fit(epochs, cbs=[training.schedule("one_cycle", lr, epochs), *cbs])


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("Adam", {}), ("Adam", {"eps": 1e-3, "betas": [0.5, 0.6]}), ("AdamW", {"weight_decay": 0.3}),
        ("RMSprop", {}), ("RMSprop", {"alpha": 0.5, "momentum": 0.9}), ("SGD", {"momentum": 0.9, "weight_decay": 0.1}),
    ],
)  # fmt: skip
def test_steps_equal_torchs(name, settings):
    ours, theirs = (nn.Parameter(torch.linspace(-1, 1, 5)) for _ in range(2))
    wrapped = training.optimizer(name, 0.03, **settings)([ours])
    wrapped.set_hypers(lr=0.03)  # as Learner.fit does
    plain = getattr(torch.optim, name)([theirs], lr=0.03, **settings)
    for step in range(3):
        for parameter, optimizer in ((ours, wrapped), (theirs, plain)):
            parameter.grad = torch.linspace(0.5, -2, 5) * (step + 1)
            optimizer.step()
            optimizer.zero_grad()
    assert torch.equal(ours, theirs)


def test_unknown_optimizer_and_schedule_are_refused():
    with refused(where="optimizer type 'Adan'", found="did you mean 'Adam'. ", expected="one of Adam"):
        training.optimizer("Adan")
    with refused(where="scheduler type 'cosine'", expected="one of constant, step"):
        training.schedule("cosine")


@pytest.mark.parametrize(
    ("kind", "settings", "expected"),
    [
        ("constant", {}, [1.0, 1.0, 1.0, 1.0]),
        ("step", {"step_size": 2, "gamma": 0.1}, [1.0, 1.0, 0.1, 0.1]),
        ("exponential", {"gamma": 0.5}, [1.0, 0.5, 0.25, 0.125]),
    ],
)
def test_schedules_equal_torchs_epoch_by_epoch(kind, settings, expected):
    rate = training.schedule(kind, 1.0, 4, **settings).scheds["lr"]
    assert [rate(e / 4) for e in range(4)] == pytest.approx(expected)
    assert [rate((e + 0.999) / 4) for e in range(4)] == pytest.approx(expected)  # constant within an epoch


def test_one_cycle_rises_and_falls():
    rate = training.schedule("one_cycle", 1.0, 4, pct_start=0.25, div=10, div_final=100).scheds["lr"]
    assert rate(0.0) == pytest.approx(0.1) and rate(0.25) == pytest.approx(1.0) and rate(1.0) == pytest.approx(0.01)


def test_history_has_a_row_an_epoch_and_tensorboard_reads_it_back(tmp_path, capsys):
    learn = learner()
    fit(learn, 3, training.History(tmp_path))
    rows = table(tmp_path)
    assert [r["epoch"] for r in rows] == ["1", "2", "3"]
    assert set(rows[0]) == {"epoch", "train_loss", "valid_loss", "l1_loss", "learning_rate", "seconds"}
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    assert len(lines) == 3 and "left" in lines[0] and "valid_loss" in lines[0]

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "logs"))
    events.Reload()
    logged = [e.value for e in events.Scalars("valid_loss")]
    assert [e.step for e in events.Scalars("valid_loss")] == [1, 2, 3]
    assert logged == pytest.approx([float(r["valid_loss"]) for r in rows])


def test_each_batch_is_progress(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr("lib.progress.made", lambda: made.append(1))
    learn = learner()
    fit(learn, 1, training.History(tmp_path, tensorboard=False))
    assert len(made) >= 3 + 3  # of training and of validation


def test_training_loss_is_the_mean_over_the_epochs_slices(tmp_path):
    learn, seen = learner(), []

    class Spy(Callback):
        def after_batch(self):
            if self.training:
                seen.append(float(self.loss.detach()))

    history = training.History(tmp_path, tensorboard=False)
    fit(learn, 1, history, Spy())
    assert history.rows[0]["train_loss"] == pytest.approx(np.mean(seen))


def table(run):
    with (run / "history.csv").open() as file:
        return list(csv.DictReader(file))


class _Stop(Callback):
    order = 100

    def __init__(self, after):
        self.after = after

    def after_epoch(self):
        if self.epoch == self.after:
            raise KeyboardInterrupt


def test_resumed_training_ends_with_the_same_weights(tmp_path):
    whole = learner(drop=0.3)
    fit(whole, 5, training.History(tmp_path / "whole"), training.Checkpoint(tmp_path / "whole"))

    with pytest.raises(KeyboardInterrupt):
        fit(learner(drop=0.3), 5, training.History(tmp_path / "cut"), training.Checkpoint(tmp_path / "cut"), _Stop(2))
    torch.manual_seed(99)  # the next process starts elsewhere
    rest = learner(seed=7, drop=0.3)
    rest.dls.train.batch_sampler.seed = 0
    fit(rest, 5, training.History(tmp_path / "cut"), training.Checkpoint(tmp_path / "cut"))

    for a, b in zip(whole.model.parameters(), rest.model.parameters(), strict=True):
        assert torch.equal(a, b)
    whole_rows, rest_rows = (table(tmp_path / n) for n in ("whole", "cut"))
    for a, b in zip(whole_rows, rest_rows, strict=True):
        assert {k: v for k, v in a.items() if k != "seconds"} == {k: v for k, v in b.items() if k != "seconds"}


def test_a_resumed_run_counts_its_own_epochs_for_the_time_left(tmp_path, capsys, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        fit(learner(), 5, training.History(tmp_path), training.Checkpoint(tmp_path), _Stop(2))
    capsys.readouterr()
    clock = itertools.count()  # a second a look
    monkeypatch.setattr("lib.training.history.time", SimpleNamespace(monotonic=lambda: next(clock)))
    fit(learner(), 5, training.History(tmp_path, beat=1e9), training.Checkpoint(tmp_path))
    lines = re.findall(r"epoch (\d)/5 .* (\d+) s · (\d+) s left", capsys.readouterr().out)
    epoch, seconds, left = map(int, lines[0])
    assert epoch > 1 and left == (5 - epoch) * (seconds + 1)  # as many more like this one, and a look before it


def test_checkpoint_holds_only_tensors_and_plain_values_and_is_never_half_there(tmp_path):
    learn = learner()
    fit(learn, 2, training.History(tmp_path), training.Checkpoint(tmp_path, interval=5))
    assert torch.load(tmp_path / "checkpoints" / "last.pt", weights_only=True)["epoch"] == 1  # the last is always kept
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["checksums.json", "last.pt"]


def test_keras_l2_is_twice_torchs_weight_decay_on_kernels():
    """One SGD step on a loss without gradient: w ← w − lr·2λw; biases and what is shown stay."""
    from fastai.data.core import DataLoaders

    from lib.models import build
    from lib.models.cine_unet import penalty

    torch.manual_seed(0)
    model = build("UNet2D1D", base_filters=2, depth=2)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    rows = [(torch.rand(8, 8, 3), torch.rand(8, 8, 3)) for _ in range(2)]
    dls = DataLoaders(DataLoader(rows, 2), DataLoader(rows, 2), device=torch.device("cpu"))
    learn = training.Learner(
        dls, model, loss_func=lambda output, truth: 0 * output.sum() + 1, opt_func=training.optimizer("SGD", 0.1),
        cbs=[training.Penalty(lambda m: penalty(m, "l2", [0.5]))],
    )  # fmt: skip
    with learn.no_bar(), learn.no_logging():
        learn.fit(1)
    for name, p in model.named_parameters():
        expected = before[name] * (1 - 0.1 * 2 * 0.5) if p.ndim == 5 else before[name]
        assert torch.allclose(p, expected, atol=1e-7), name
    assert learn.recorder.final_record[0] == pytest.approx(1, abs=1e-5)  # the loss shown is the data's


@pytest.mark.parametrize(
    ("monitor", "mode", "rises"), [("SSIM", None, True), ("ssim", "min", False), ("mse", None, False)]
)
def test_early_stopping_knows_its_direction(monitor, mode, rises):
    from types import SimpleNamespace

    stop = training.EarlyStopping(monitor, mode=mode)
    stop.learn = SimpleNamespace(metrics=[SimpleNamespace(name="ssim_slices"), SimpleNamespace(name="mse")])
    stop.before_fit()
    assert stop.rises == rises


def test_early_stopping_waits_and_stays_stopped(tmp_path):
    learn = learner(opt=training.optimizer("SGD", 0.0))

    def run():
        stop = training.EarlyStopping("valid_loss", patience=2, min_delta=1e-6)
        history = training.History(tmp_path, tensorboard=False)
        fit(learn, 9, history, stop, training.Checkpoint(tmp_path), lr=1e-12)
        return history.rows

    assert len(run()) == 3  # the first is the best, two more bring nothing
    learn.opt = None
    assert len(run()) == 3  # resumed: nothing is left to do
    with refused(where="early_stopping monitor 'dice'", expected="one of train_loss, valid_loss"):
        fit(learner(), 1, training.History(tmp_path / "b", tensorboard=False), training.EarlyStopping("dice"))


def test_what_early_stopping_ended_goes_on_with_more_epochs(tmp_path, capsys):
    """By hand: the same run folder, `epochs` raised; it waits again, and epochs and learning rates follow each other."""

    def run(epochs, patience, *more):
        stop = training.EarlyStopping("valid_loss", patience=patience, min_delta=1e9)
        history = training.History(tmp_path, tensorboard=False)
        fit(learner(), epochs, history, *([stop] if patience else []), training.Checkpoint(tmp_path))
        rate = training.schedule("one_cycle", 1e-2, epochs).scheds["lr"]
        said = capsys.readouterr().out.splitlines()
        assert [row["epoch"] for row in history.rows] == [*range(1, len(history.rows) + 1)]
        return said[0], [row["learning_rate"] / rate((row["epoch"] - 1 / 3) / epochs) for row in history.rows]

    assert len(run(10, 1)[1]) == 2
    said, rates = run(10, 1)
    assert said == "stopped early after epoch 2 of 10: nothing left to do" and len(rates) == 2
    said, rates = run(10, 2)  # more patience
    assert said == "continuing after epoch 2 of 10" and len(rates) == 3
    said, rates = run(12, 2)  # more epochs: where the longer schedule is
    assert said == "continuing after epoch 3 of 12" and len(rates) == 5
    assert rates[3:] == pytest.approx([1, 1], rel=1e-6)
    assert len(run(7, None)[1]) == 7  # no early stopping any more


def test_a_checkpoint_of_many_gpus_is_resumed_with_fewer(monkeypatch):
    """The state of the GPU that trained goes to the one that trains now; older checkpoints hold all GPUs' states."""
    from lib.training import checkpoint

    put, states = [], [torch.full((16,), n, dtype=torch.uint8) for n in range(4)]
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda place: states[place.index])
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, place: put.append((int(state[0]), place.index)))
    saved = checkpoint._random_state(torch.device("cuda", 3))
    checkpoint._set_random_state(saved, torch.device("cuda", 0))
    checkpoint._set_random_state(saved | {"cuda": states}, torch.device("cuda", 1))
    checkpoint._set_random_state(saved | {"cuda": states[:2]}, torch.device("cuda", 3))
    checkpoint._set_random_state(saved, torch.device("cpu"))
    assert put == [(3, 0), (1, 1), (1, 3)]


def test_a_gpu_becomes_the_current_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    current = []
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    assert training.device([1]) == torch.device("cuda", 1) and current == [1]


def test_an_older_checkpoint_counted_epochs_from_0(tmp_path):
    fit(learner(), 2, training.History(tmp_path, tensorboard=False), training.Checkpoint(tmp_path))
    path = tmp_path / "checkpoints" / "last.pt"
    saved = torch.load(path, weights_only=True)
    for row in saved["callbacks"]["history"]["rows"]:
        row["epoch"] -= 1
    torch.save(saved, path)
    (tmp_path / "checkpoints" / "checksums.json").unlink()  # it had none
    fit(learner(), 3, training.History(tmp_path, tensorboard=False), training.Checkpoint(tmp_path))
    assert [row["epoch"] for row in table(tmp_path)] == ["1", "2", "3"]


def test_early_stopping_forgets_a_first_value_that_is_no_number():
    stop = training.EarlyStopping("valid_loss", patience=2)
    stop.column, stop.rises, stop.learn = "valid_loss", False, SimpleNamespace(history=SimpleNamespace(rows=[]))
    waited = []
    for value in (float("nan"), float("nan"), 0.5, 0.4, 0.45):
        stop.learn.history.rows.append({"valid_loss": value})
        stop.after_epoch()
        waited.append(stop.waited)
    assert waited == [0, 1, 0, 0, 1] and stop.best == -0.4


def test_the_network_stays_on_the_device_that_was_asked_for(monkeypatch):
    """fastai moves it to the first GPU that there is; "meta" stands for one here."""
    monkeypatch.setattr("fastai.callback.core.default_device", lambda: torch.device("meta"))
    learn = learner()
    fit(learn, 1)
    assert {p.device.type for p in learn.model.parameters()} == {"cpu"}
    bare = training.Learner(DataLoaders(*learn.dls.loaders), nn.Conv2d(1, 1, 1), loss_func=nn.functional.mse_loss)
    assert bare.dls.device.type == "cpu"


def test_an_exception_within_the_network_leaves_no_autocast_behind(tmp_path):
    learn = learner(precision="bf16")
    learn.model.append(Breaks())
    run = SimpleNamespace(parameters={"devices": "cpu"}, path=tmp_path)
    with pytest.raises(RuntimeError, match="out of memory"):
        training.fit(run, learn, 1, [])
    assert not torch.is_autocast_enabled("cpu")


class Breaks(nn.Module):
    def forward(self, x):
        raise RuntimeError("out of memory")


def test_gradients_are_clipped_to_the_norm():
    learn, norms = learner(clip=0.05), []

    class Spy(Callback):
        order = 30

        def before_step(self):
            norms.append(float(torch.stack([p.grad.norm() for p in self.model.parameters()]).norm()))

    fit(learn, 1, Spy())
    assert max(norms) == pytest.approx(0.05, rel=1e-3)


def test_bf16_really_runs_in_bf16_and_losses_stay_in_float32():
    learn = learner(precision="bf16")
    dtypes = []

    class Spy(Callback):
        def after_loss(self):
            dtypes.append((self.pred.dtype, self.loss.dtype))

    fit(learn, 1, Spy())
    assert learn.precision.ran == "bfloat16" and set(dtypes) == {(torch.float32, torch.float32)}
    plain = learner()
    fit(plain, 1)
    assert plain.precision.ran == "float32"


def test_fp16_is_refused_on_a_cpu():
    with refused(found="fp16 needs a GPU"):
        fit(learner(precision="fp16"), 1)


def test_thin_volumes_are_convolved_in_float32_on_a_cpu():
    """Their bf16 weight gradient has memory in it that nobody wrote: huge or not finite, in some calls."""
    from lib.training.precision import _convolve

    torch.manual_seed(0)
    conv = nn.Conv3d(8, 8, 3, padding=1)
    for depth, dtype in ((1, torch.float32), (2, torch.float32), (3, torch.bfloat16)):
        x, grads = torch.randn(4, 8, depth, 16, 16), []
        for enabled in (False, True):
            for _ in range(1 + 8 * enabled):
                del_me = torch.full((2_000_000,), float("nan"))  # what freed memory may hold
                del del_me
                with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                    y = _convolve(conv, x)
                assert y.dtype == (dtype if enabled else torch.float32)
                grads.append(torch.autograd.grad(y.float().square().sum(), conv.weight)[0])
        assert all((g - grads[0]).norm() < 0.02 * grads[0].norm() for g in grads), depth


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_trains_on_a_gpu(precision):
    learn = learner(precision=precision, device="cuda")
    before = [p.clone() for p in learn.model.parameters()]
    fit(learn, 2)
    assert learn.precision.ran == {"bf16": "bfloat16", "fp16": "float16"}[precision]
    assert all(not torch.equal(a, b) for a, b in zip(before, learn.model.parameters(), strict=True))


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_volumes_train_resume_and_are_segmented_on_a_gpu(tmp_path, precision):
    from lib import losses, models
    from lib.inference import sliding_window

    def fitted(epochs):
        torch.manual_seed(0)
        x = torch.randn(8, 1, 16, 16, 16, generator=torch.Generator().manual_seed(1))
        rows = _Rows(x, (x[:, 0] > 0).long())
        dls = DataLoaders(DataLoader(rows, batch_sampler=BucketSampler([0] * 8, 4, 0)), DataLoader(rows, 4))
        dls.n_inp, dls._device = 1, torch.device("cuda")
        model = models.build("VolumeUNet", num_classes=2, base_filters=4, depth=3)
        learn = training.Learner(
            dls, model, loss_func=losses.by_name("adaptive_dice32", "volumes"), opt_func=training.optimizer("Adam", 1e-3),
            metrics=[losses.training_metric("dice", "volumes")],
            cbs=[training.SetSamplerEpoch(), training.Precision(precision), training.GradientClip(1.0)],
        )  # fmt: skip
        fit(learn, epochs, training.History(tmp_path, tensorboard=False), training.Checkpoint(tmp_path), lr=1e-3)
        return learn

    first = fitted(1)
    assert first.precision.ran == {"bf16": "bfloat16", "fp16": "float16"}[precision]
    again = fitted(3)
    assert again.first_epoch == 1 and {p.device.type for p in again.model.parameters()} == {"cuda"}
    volume = np.random.default_rng(0).normal(size=(20, 24, 16)).astype(np.float32)
    half, full = (
        torch.cat([p for _, p in sliding_window.slabs(again.model, volume, (16, 16, 16), 0.5, 2, "cuda", 0.0, kind)], 1)
        for kind in (precision, "fp32")
    )
    assert half.shape == (2, 20, 24, 16) and half.dtype == torch.float32 and half.device.type == "cpu"
    assert torch.allclose(half, full, atol=0.05)


def test_outputs_are_cropped_to_the_target():
    learn = learner()
    learn.dls.train.dataset.tensors = (learn.dls.train.dataset.tensors[0], torch.randn(12, 6, 5))
    fit(learn, 1)


def test_devices():
    assert training.device("cpu").type == "cpu"
    if not torch.cuda.is_available():
        with refused(found="GPU 3 asked for, this machine has 0"):
            training.device([3])


def test_history_holds_training_metrics_where_asked_for(tmp_path):
    learn = learner()
    learn.recorder.train_metrics = True
    fit(learn, 2, training.History(tmp_path))
    with open(tmp_path / "history.csv") as file:
        rows = list(csv.DictReader(file))
    name = learn.metrics[0].name
    assert len(rows) == 2 and all(float(r[name]) != float(r[f"train_{name}"]) for r in rows)


@pytest.mark.parametrize("pinned", [True, False])
def test_batches_in_pinned_memory_come_while_the_process_goes_on(monkeypatch, pinned):
    asked = []
    monkeypatch.setattr("lib.accelerators.pins", lambda _: pinned)
    monkeypatch.setattr(
        "lib.training.learner.to_device", lambda batch, place, non_blocking: asked.append(non_blocking) or batch
    )
    fit(learner(), 1)
    assert set(asked) == {pinned} and len(asked) == 6  # three batches each of training and validation
