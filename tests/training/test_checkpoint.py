"""Checkpoints that are damaged, or another training's: the former one is used and named, and ends with the same weights."""

import json
import os
import pickle
import shutil

import pytest
import torch
from refusals import refused
from test_training import _Stop, fit, learner
from torch import nn

from lib import training
from lib.training import checkpoint


class Runs:
    """What an evil pickle would do."""

    def __reduce__(self):
        return os.system, ("exit 7",)


def changed(path, **values):
    torch.save(torch.load(path, weights_only=True) | values, path)


BAD = {
    "cut": lambda p: p.write_bytes(p.read_bytes()[: p.stat().st_size // 2]),
    "short": lambda p: p.write_bytes(p.read_bytes()[:-100]),
    "empty": lambda p: p.write_bytes(b""),
    "garbage": lambda p: p.write_bytes(b"x" * 1000),
    "bits": lambda p: p.write_bytes(p.read_bytes()[:700] + bytes(8) + p.read_bytes()[708:]),
    "a tensor": lambda p: torch.save(torch.zeros(3), p),
    "no dict of ours": lambda p: torch.save({"model": {}}, p),
    "a huge epoch": lambda p: changed(p, epoch=10**9),
    "no epoch": lambda p: changed(p, epoch=-1),
    "a text as epoch": lambda p: changed(p, epoch="3"),
    "another network": lambda p: changed(p, model=nn.Linear(2, 2).state_dict()),
    "another optimizer": lambda p: changed(p, optimizer={"a": 1}),
    "another generator": lambda p: changed(p, random={"torch": torch.zeros(3)}),
    "weights of NaN": lambda p: changed(
        p, model={k: v * float("nan") for k, v in torch.load(p, weights_only=True)["model"].items()}
    ),
    "a pickle": lambda p: p.write_bytes(pickle.dumps(Runs())),
}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """(a run that was stopped after three of five epochs, the weights of one that wasn't)"""
    place = tmp_path_factory.mktemp("runs")
    whole = learner(drop=0.3)
    fit(whole, 5, training.History(place / "whole", tensorboard=False), training.Checkpoint(place / "whole"))
    with pytest.raises(KeyboardInterrupt):
        fit(
            learner(drop=0.3),
            5,
            training.History(place / "cut", tensorboard=False),
            training.Checkpoint(place / "cut"),
            _Stop(2),
        )
    return place / "cut", whole.model.state_dict()


def rest(run):
    learn = learner(seed=7, drop=0.3)
    learn.dls.train.batch_sampler.seed = 0
    fit(learn, 5, training.History(run, tensorboard=False), training.Checkpoint(run))
    return learn.model.state_dict()


BOTH = [
    (how, summed) for how in BAD for summed in (True, False) if summed or how != "bits"
]  # which only a checksum tells


@pytest.mark.parametrize(("how", "summed"), BOTH)
def test_a_damaged_checkpoint_is_named_and_the_former_one_gives_the_same_weights(done, tmp_path, capsys, how, summed):
    run, whole = shutil.copytree(done[0], tmp_path / "run"), done[1]
    last, former = (run / "checkpoints" / name for name in ("last.pt", "former.pt"))
    if not summed:
        (run / "checkpoints" / "checksums.json").unlink()
    kept = former.read_bytes()
    BAD[how](last)
    capsys.readouterr()
    weights = rest(run)
    first, second = capsys.readouterr().out.splitlines()[:2]
    assert first.startswith(f"{last}: ") and first.endswith(f"; in its place {former} of epoch 2 is used")
    assert second == "continuing after epoch 2 of 5"
    assert all(torch.equal(weights[name], whole[name]) for name in whole)
    BAD[how](last)
    former.write_bytes(kept)
    BAD[how](former)
    before = {p: p.read_bytes() for p in run.rglob("*.*")}
    with refused(
        where=f"^{last}: .*; {former}: ", hint=f"^put a good copy back, or delete the folder {last.parent} "
    ) as error:
        rest(run)
    assert "\n" not in str(error.value) and before == {p: p.read_bytes() for p in run.rglob("*.*")}


def test_the_damaged_one_does_not_become_the_former_one(done, tmp_path):
    run = shutil.copytree(done[0], tmp_path / "run")
    BAD["cut"](run / "checkpoints" / "last.pt")
    with pytest.raises(KeyboardInterrupt):
        fit(learner(), 5, training.History(run, tensorboard=False), training.Checkpoint(run), _Stop(2))
    epochs = [torch.load(run / "checkpoints" / name, weights_only=True)["epoch"] for name in ("last.pt", "former.pt")]
    assert epochs == [2, 1]


@pytest.mark.parametrize("linked", [True, False], ids=["links", "no links"])
@pytest.mark.parametrize("calls", range(8))
def test_stopped_at_any_step_of_its_writing_it_goes_on(done, tmp_path, monkeypatch, calls, linked):
    run, whole = shutil.copytree(done[0], tmp_path / "run"), done[1]
    left = iter(range(calls))

    def stopping(call):
        def step(*given, **settings):
            if next(left, None) is None:
                raise KeyboardInterrupt
            return call(*given, **settings)

        return step

    with monkeypatch.context() as patched:
        for name in ("replace", "link"):
            patched.setattr(os, name, stopping(getattr(os, name)))
        if not linked:
            patched.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError()))
        with pytest.raises(KeyboardInterrupt):
            rest(run)
    weights = rest(run)
    assert all(torch.equal(weights[name], whole[name]) for name in whole)
    sums = json.loads((run / "checkpoints" / "checksums.json").read_text())
    assert {checkpoint.checksum(run / "checkpoints" / name) for name in ("last.pt", "former.pt")} <= set(sums)
