"""Weights of other people's trainers: what they are wrapped in, what lies beside them, and what is never run."""

import argparse
import os
import pathlib
import pickle
from types import SimpleNamespace

import pytest
import torch
from refusals import refused

from lib import InputError, runs
from lib.models import build
from lib.models.state_dict import read_torch_file, settings_in, tensors
from lib.runs import weights
from lib.training.checkpoint import Checkpoint

SMALL = {"num_cascades": 2, "chans": 2, "pools": 3, "sens_chans": 4, "sens_pools": 1}
PATH = pathlib.PosixPath("../result")
ARGUMENTS = argparse.Namespace(lr=1e-3, exp_dir=PATH, cascade=2)


class Windows:
    def __reduce__(self):
        return pathlib.WindowsPath, ("C:\\", "result")


class Evil:
    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return os.mkdir, (str(self.place),)


def saved(path, content, **settings):
    torch.save(content, path, **settings)
    return path


@pytest.fixture
def varnet():
    torch.manual_seed(3)
    return build("VarNet", **SMALL)


@pytest.mark.parametrize("prefix", ["", "module.", "varnet.", "model.", "module.varnet.", "_orig_mod.", "student."])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model_state_dict", "model"])
def test_weights_come_out_of_what_trainers_wrap_them_in(tmp_path, varnet, prefix, wrapper):
    state = {f"{prefix}{k}": v for k, v in varnet.state_dict().items()}
    state |= (
        {"loss.w": torch.ones(1, 1, 7, 7)} if prefix else {}
    )  # fastMRI's Lightning module has it beside the network
    more = {"epoch": 3, "best_val_loss": torch.tensor(0.1), "optimizer": {"state": {}}}
    path = saved(tmp_path / "weights.ckpt", {wrapper: state, **more} if wrapper else state)
    found = weights.load_weights(build("VarNet", **SMALL), path)
    assert all(torch.equal(v, found.state_dict()[k]) for k, v in varnet.state_dict().items())
    assert weights.settings_of(path, "VarNet") == SMALL


def test_the_challenge_baselines_best_model_with_arguments_and_paths(tmp_path, varnet):
    content = {"epoch": 5, "args": ARGUMENTS, "model": varnet.state_dict(), "optimizer": {}, "exp_dir": PATH}
    for number, more in enumerate(({"best_val_loss": torch.tensor(0.1)}, {"elsewhere": Windows()})):
        path = saved(tmp_path / f"best_model{number}.pt", content | more)
        assert tensors(path).keys() == varnet.state_dict().keys()
    assert read_torch_file(path)["args"] == ARGUMENTS and str(read_torch_file(path)["elsewhere"]) == "C:\\result"
    _, settings, network, *_ = weights.load(path, "VarNet")
    assert settings == SMALL and torch.equal(network.sens_net.norm_unet.unet.conv.layers[0].weight, tensors(path)["sens_net.norm_unet.unet.conv.layers.0.weight"])  # fmt: skip


@pytest.mark.parametrize("legacy", [False, True])
def test_nothing_else_in_a_file_is_run(tmp_path, varnet, legacy):
    for where in ({"args": Evil(tmp_path / "made")}, {"args": argparse.Namespace(x=Evil(tmp_path / "made"))}):
        content = {"model": varnet.state_dict(), **where}
        path = saved(tmp_path / "evil.pt", content, _use_new_zipfile_serialization=not legacy)
        with refused(where=r"evil\.pt", found="(holds objects of|damaged).*posix"):
            tensors(path)
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Evil(tmp_path / "made")))
    with pytest.raises(InputError, match=r"plain\.pt: "):
        tensors(tmp_path / "plain.pt")
    assert not (tmp_path / "made").exists()
    torch.save(varnet, tmp_path / "whole.pt")
    with refused(found=r"holds objects of lib\.models\.varnet\.VarNet, .*save the network's state_d"):
        tensors(tmp_path / "whole.pt")


def test_what_does_not_meet_is_named_on_both_sides(tmp_path, varnet):
    state = varnet.state_dict()
    first, *_, last = state
    path = saved(tmp_path / "other.pt", {("other.name" if k == first else k): v for k, v in state.items()})
    with pytest.raises(InputError, match=f"{first} missing; other.name too many"):
        weights.load_weights(build("VarNet", **SMALL), path)
    path = saved(tmp_path / "shapes.pt", state | {last: torch.zeros(3)})
    with pytest.raises(InputError, match=rf"{last} is \(3,\), expected \(4, 2, 2, 2\)"):
        weights.load_weights(build("VarNet", **SMALL), path)
    twins = {f"{name}.{k}": v for k, v in state.items() for name in ("generator", "ema")}
    with refused(found=r"several networks: under ema\., generator\."):
        weights.load_weights(build("VarNet", **SMALL), saved(tmp_path / "twins.pt", twins))
    for content, words in (({"generator": state, "epoch": 1}, "keys generator, epoch"), ([1], "a list")):
        with pytest.raises(InputError, match=f"no weights: got {words}, expected a state_dict"):
            tensors(saved(tmp_path / "none.pt", content))


def test_settings_follow_from_the_shapes(tmp_path, varnet):
    path = tmp_path / "weights.pt"
    assert settings_in("VarNet", build("VarNet").state_dict(), path) == {
        "num_cascades": 12, "chans": 18, "pools": 4, "sens_chans": 8, "sens_pools": 4,
    }  # fmt: skip
    unet = {"in_chans": 2, "out_chans": 3, "chans": 4, "num_pool_layers": 2}
    assert settings_in("UNet", build("UNet", **unet).state_dict(), path) == unet
    assert settings_in("RCAN", {}, path) == settings_in("VarNet", {}, path) == {}
    saved(path, {f"module.{k}": v for k, v in varnet.state_dict().items()})
    with refused(found="VarNet with num_cascades 2, chans 2, .*", expected="num_cascades 12, chans 18, "):
        weights.network("VarNet", {}, path)
    with refused(found="VarNet with num_cascades 2, the task says 12: leave it out"):
        weights.with_varnet({"varnet": {"num_cascades": 12}}, [str(path)], None)
    assert weights.with_varnet({}, [str(path)], None) == {"varnet": SMALL}
    cascade = {f"varnet.{k}": v for k, v in varnet.state_dict().items()} | {"rcan.head.weight": torch.ones(1)}
    assert weights.with_varnet({}, [], saved(path, cascade)) == {"varnet": SMALL}


@pytest.mark.parametrize(
    "damage, words",
    [
        (lambda content: content[: len(content) // 2], "damaged"), (lambda content: b"", "damaged"),
        (lambda content: b"x" * 1000, "damaged"),
        (lambda content: content[:900] + bytes(400) + content[1300:], "damaged"),
    ],
)  # fmt: skip
def test_a_damaged_file_is_named(tmp_path, varnet, damage, words):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    path = saved(tmp_path / "run" / "checkpoints" / "last.pt", {"model": varnet.state_dict()})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=rf"last\.pt: {words}, or no file of weights \(\w+: "):
        tensors(path)
    with refused(where=r"last\.pt: ", hint="to begin anew"):
        resume(tmp_path / "run", varnet)


def resume(run, model):
    checkpoint = Checkpoint(run)
    checkpoint.learn = SimpleNamespace(model=model, cbs=[], n_epoch=1)
    checkpoint.before_fit()


def test_a_checkpoint_that_is_none_is_named(tmp_path, varnet):
    (tmp_path / "checkpoints").mkdir()
    path, parts = tmp_path / "checkpoints" / "last.pt", {"optimizer": {}, "epoch": 0, "random": {}, "callbacks": {}}
    for content, words in (
        (torch.zeros(3), "no checkpoint of a training"), ({"model": {}}, "no checkpoint of a training"),
        (parts | {"model": {"a": torch.zeros(1)}}, "weights don't fit VarNet: .* missing; a too many"),
    ):  # fmt: skip
        saved(path, content)
        with pytest.raises(InputError, match=rf"last\.pt: {words}"):
            resume(tmp_path, varnet)


def test_damaged_safetensors_are_named(tmp_path, varnet, folder):
    runs.save_model(tmp_path, "VarNet", SMALL, varnet)
    path = tmp_path / "model_weights" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:2000])
    with refused(where=r"model\.safetensors", found="damaged"):
        runs.load_model(tmp_path)
