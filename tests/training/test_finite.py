"""A training ends at the first loss that isn't finite, before the network is spoiled; its line says what to know of it."""

from types import SimpleNamespace

import pytest
import torch
from refusals import refused
from test_training import learner
from torch.utils.data import DataLoader, Dataset

from lib import training


class Spoiled(Dataset):
    """A data set in which one item's target is `value`; of items asked for by (epoch, index) from an epoch on."""

    def __init__(self, data, item, value, epoch=0):
        self.data, self.item, self.value, self.epoch = data, item, value, epoch

    def __len__(self):
        return len(self.data)

    def __getitem__(self, key):
        epoch, i = key if isinstance(key, tuple) else (self.epoch, key)
        x, y = self.data[key]
        return x, torch.full_like(y, self.value) if i == self.item and epoch >= self.epoch else y


def fitted(folder, learn, epochs=3):
    run = SimpleNamespace(parameters={"devices": "cpu", "loss": "mse"}, path=folder, record=lambda **_: None)
    cbs = [training.schedule("constant", 0.01, epochs), training.History(folder, tensorboard=False)]
    training.fit(run, learn, epochs, [*cbs, training.Checkpoint(folder)])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_the_first_such_batch_ends_a_training_and_the_network_stays_finite(tmp_path, value):
    learn = learner()
    order = learn.dls.train.batch_sampler
    learn.dls.loaders[0] = DataLoader(Spoiled(learn.dls.train.dataset, 5, value, 2), batch_sampler=order)
    order.epoch = 2
    batch = [(2, 5) in keys for keys in order].index(True) + 1
    with refused(
        where=f"^epoch 3 of 3, batch {batch} of 3$",
        found=r"^the training loss mse is (nan|inf) at learning rate 0\.01$",
        expected="^a finite number$",
        hint=f"^the last good checkpoint is of epoch 2, {tmp_path}/checkpoints/last.pt; a lower learning rate",
    ):
        fitted(tmp_path, learn)
    assert all(p.isfinite().all() for p in learn.model.parameters())
    assert torch.load(tmp_path / "checkpoints" / "last.pt", weights_only=True)["epoch"] == 1
    assert len((tmp_path / "history.csv").read_text().splitlines()) == 1 + 2
    again = learner()  # resumed, it comes to the same batch
    again.dls.loaders[0] = DataLoader(learn.dls.train.dataset, batch_sampler=again.dls.train.batch_sampler)
    with refused(where=f"^epoch 3 of 3, batch {batch} of 3$", hint="checkpoint is of epoch 2,"):
        fitted(tmp_path, again)


def test_validation_counts_too(tmp_path):
    learn = learner()
    learn.dls.loaders[1] = DataLoader(Spoiled(learn.dls.valid.dataset, 9, float("nan")), 4)
    with refused(where="^epoch 1 of 3, batch 3 of 3$", found="^the validation loss mse is nan", hint="^no checkpoint"):
        fitted(tmp_path, learn)
    assert not list(tmp_path.iterdir())


def test_a_penalty_counts_too(tmp_path):
    learn = learner()
    learn.add_cb(training.Penalty(lambda model: next(model.parameters()).sum() * float("inf")))
    with refused(found="^the training loss mse, with its penalty, is -?inf at"):
        fitted(tmp_path, learn)


def test_finite_losses_end_as_they_did(tmp_path):
    plain, watched = learner(), learner()
    with plain.no_bar(), plain.no_logging():
        plain.fit(3, cbs=[training.schedule("constant", 0.01, 3)])
    fitted(tmp_path, watched)
    assert all(torch.equal(a, b) for a, b in zip(plain.model.parameters(), watched.model.parameters(), strict=True))
