"""What makes a training faster changes neither what is computed nor what is left behind."""

import dataclasses
from functools import partial

import pytest
import torch
from refusals import refused
from test_finite import fitted
from test_training import learner
from torch._dynamo.testing import CompileCounter

from lib import models, training
from lib.parallel import mesh
from lib.runs import schema
from lib.training import speedups

GRAD = "ignore:The .grad attribute of a Tensor that is not a leaf"  # torch's own look at it while it traces
RANDOM = partial(torch.randn, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
KSPACE = torch.complex(RANDOM(1, 2, 32, 24), RANDOM(1, 2, 32, 24)), torch.ones(1, 1, 1, 24, dtype=torch.bool)
VOLUME, SERIES, SLICE = RANDOM(1, 1, 16, 16, 16), RANDOM(1, 16, 16, 4), RANDOM(1, 1, 32, 32)
CASES = {  # name: network, settings, inputs, how many parts are compiled (none: as many as there are)
    "VarNet": ("VarNet", {}, KSPACE, None), "VarNet, checkpointing": ("VarNet", {"checkpointing": True}, KSPACE, None),
    "SenseUNet": ("SenseUNet", {}, (*KSPACE, torch.tensor([6])), 1), "UNet": ("UNet", {}, (SLICE,), 1),
    "RCAN": ("RCAN", {"checkpoint_groups": False}, (RANDOM(1, 2, 16, 16),), 1),
    "RCAN, checkpointing": ("RCAN", {"checkpoint_groups": True}, (RANDOM(1, 2, 16, 16),), 2),
    "VarNetRCAN": ("VarNetRCAN", {}, (*KSPACE, RANDOM(1, 32, 24)), None),
    "UNet3D": ("UNet3D", {}, (SERIES,), 1), "UNet3D, checkpointing": ("UNet3D", {"checkpointing": True}, (SERIES,), None),
    "VolumeUNet": ("VolumeUNet", {}, (VOLUME,), 1), "UNet2D": ("UNet2D", {}, (SLICE,), 1),
    "VolumeUNet, checkpointing": ("VolumeUNet", {"checkpointing": True}, (VOLUME,), None),
    "ResUNet": ("ResUNet", {"encoder": "plain"}, (RANDOM(1, 3, 64, 64),), 1),
}  # fmt: skip


def test_a_recipe_takes_the_same_names():
    assert schema.Shared(speedups=list(speedups.SPEEDUPS)).speedups == list(speedups.SPEEDUPS)
    with pytest.raises(ValueError, match="compile.*tf32.*benchmark.*channels_last"):
        schema.Shared(speedups=["compiled"])


def test_other_names_are_refused():
    with refused(where="^speedups: 'compiled'$", found="^did you mean 'compile'", expected="one of compile, tf32"):
        training.Speedups(["compiled"])


def test_a_cpu_leaves_out_what_is_for_accelerators_and_says_so(tmp_path, capsys):
    learn = learner()
    learn.add_cb(training.Speedups(speedups.SPEEDUPS))
    fitted(tmp_path, learn)
    said = capsys.readouterr().out
    assert all(f"speedups: {name} is left out on a CPU" in said for name in ("compile", "tf32", "benchmark"))
    assert learn.speedups.ran == ["channels_last"]


def test_several_processes_leave_out_compile(monkeypatch, capsys):
    learn = learner()
    monkeypatch.setattr(mesh, "_mesh", dataclasses.replace(mesh.current(), world=2))
    monkeypatch.setattr("lib.accelerators.is_accelerator", lambda _: True)
    learn.add_cb(training.Speedups(["compile", "tf32"]))
    before = torch.backends.cuda.matmul.fp32_precision
    learn.speedups.before_fit()
    assert learn.speedups.ran == ["tf32"] and "compile is left out in several processes" in capsys.readouterr().out
    assert torch.backends.cuda.matmul.fp32_precision == "tf32"
    learn.speedups.leave()
    assert torch.backends.cuda.matmul.fp32_precision == before


def test_with_channels_last_a_training_ends_as_it_did_and_so_do_its_weights(tmp_path):
    plain, fast = learner(), learner()
    fast.add_cb(training.Speedups(["channels_last"]))
    seen = []
    fast.model[3].register_forward_hook(lambda module, given, output: seen.append(module.weight.stride()))
    fitted(tmp_path / "plain", plain)
    fitted(tmp_path / "fast", fast)
    assert seen[-1] == (36, 1, 12, 4)  # 1 × 4 × 3 × 3 with the channels last
    for one, other in zip(plain.model.parameters(), fast.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
        assert other.is_contiguous()


def test_after_an_error_network_and_torch_are_as_they_were(tmp_path):
    learn = learner()
    learn.add_cb(training.Speedups(["channels_last"]))
    learn.loss_func = lambda *_: torch.tensor(float("nan"), requires_grad=True)
    with pytest.raises(ValueError, match="nan"):
        fitted(tmp_path, learn)
    assert all(p.is_contiguous() for p in learn.model.parameters()) and not learn.speedups.undo


def test_cudnns_search_is_switched_off_again():
    before = torch.backends.cudnn.benchmark
    undo = speedups.switch_on("benchmark", torch.nn.Identity())
    assert torch.backends.cudnn.benchmark
    undo()
    assert torch.backends.cudnn.benchmark == before


def test_an_error_outside_of_fit_leaves_nothing_on_either():
    learn = learner()
    learn.add_cb(training.Speedups(["channels_last"]))
    learn.loss_func = lambda *_: 1 / 0
    with pytest.raises(ZeroDivisionError), learn.no_bar(), learn.no_logging():
        learn.fit(1)
    assert all(p.is_contiguous() for p in learn.model.parameters()) and not learn.speedups.undo


@pytest.mark.parametrize(("first", "then"), [([], ["channels_last"]), (["channels_last"], [])])
def test_a_resumed_training_may_have_other_ones(tmp_path, first, then):
    """Fused steps go by the order in memory, in which weights and the optimizer's saved states could differ."""

    def trained(folder, ended, speedups):
        learn = learner(opt=training.optimizer("Adam", 1e-2, fused=True))
        learn.add_cb(training.Speedups(speedups))
        fitted(folder, learn, ended)
        return learn

    whole = trained(tmp_path / "whole", 3, [])
    trained(tmp_path / "parts", 2, first)
    resumed = trained(tmp_path / "parts", 3, then)
    for one, other in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings(GRAD)
def test_a_training_is_compiled_from_the_second_batch_on_in_one_piece(monkeypatch):
    """What notes the precision of the first batch would else break it into pieces."""
    monkeypatch.setattr("lib.accelerators.is_accelerator", lambda _: True)
    graphs = CompileCounter()
    monkeypatch.setattr(speedups, "compile_parts", partial(speedups.compile_parts, backend=graphs))
    learn = learner()
    learn.model = torch.nn.Sequential(models.build("UNet", chans=2, num_pool_layers=1), torch.nn.Flatten(0, 1))
    learn.add_cb(training.Speedups(["compile"]))
    with learn.no_bar(), learn.no_logging():
        learn.fit(1)
    assert graphs.frame_count == 2  # training, and validation
    assert learn.speedups.ran == ["compile"] and not learn.speedups.undo


@pytest.mark.filterwarnings(GRAD)
@pytest.mark.parametrize("case", CASES)
def test_compiled_networks_compute_and_learn_the_same(case):
    """By torch's own tracing and automatic differentiation; generating kernels is what an accelerator adds.

    In double precision: what float32 rounds otherwise in another order, batch norms of few values make large.
    """
    name, settings, given, count = CASES[case]
    torch.manual_seed(0)
    tiny = models.tiny("VarNetRCAN", {})["rcan"] if name == "RCAN" else models.tiny(name, {})
    model = models.build(name, **tiny | settings).double()
    keys, limit = list(model.state_dict()), torch._dynamo.config.recompile_limit

    def computed():
        model.zero_grad()
        output = model(*given)
        output.square().mean().backward()
        return [output.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)]

    before = computed()
    undo = speedups.compile_parts(model, backend="aot_eager")
    parts = [part for part in model.modules() if part._compiled_call_impl]
    assert len(parts) == (count or len(parts)) > 0 and list(model.state_dict()) == keys
    for one, other in zip(before, computed(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)
    undo()
    assert not any(part._compiled_call_impl for part in model.modules())
    assert torch._dynamo.config.recompile_limit == limit
