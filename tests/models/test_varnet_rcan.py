"""The cascade: frozen VarNet, statistics, GRAPPA on and off, self-ensemble, settings kept in the run."""

import json

import pytest
import torch
from fastai.basics import Callback, DataLoaders
from refusals import refused
from torch.utils.data import DataLoader

from lib import losses, runs, training
from lib.data.bucket_sampler import BucketSampler
from lib.kspace import center_crop, ifft2c, rss
from lib.models import build
from lib.models.rcan import RCAN
from lib.models.varnet_rcan import TURNS, SelfEnsemble
from lib.runs import weights
from lib.training.cutmix import CutMix

VARNET = {"num_cascades": 1, "chans": 2, "pools": 2, "sens_chans": 2, "sens_pools": 2}
RCAN_SMALL = {"n_feats": 8, "n_resblocks": 1, "n_resgroups": 2, "reduction": 4}


def cascade(**settings):
    torch.manual_seed(0)
    return build("VarNetRCAN", varnet=VARNET, rcan=RCAN_SMALL, **settings)


def batch(height=20, width=16, coils=3, size=(12, 12), scale=1.0):
    generator = torch.Generator().manual_seed(1)
    kspace = scale * torch.randn(2, coils, height, width, dtype=torch.complex64, generator=generator)
    mask = torch.zeros(2, 1, 1, width, dtype=torch.bool)
    mask[..., ::2] = mask[..., width // 2 - 2 : width // 2 + 2] = True
    grappa = scale * torch.rand(2, *size, generator=generator)
    return kspace * mask, mask, grappa


def test_published_counts():
    with torch.device("meta"):
        network = build("VarNetRCAN")
    assert sum(p.numel() for p in network.varnet.parameters()) == 29_936_966
    assert sum(p.numel() for p in network.refine.parameters()) == 4_007_721


@pytest.mark.parametrize("statistics", ["joint", "channel"])
def test_images_are_normalized_one_by_one_and_get_their_units_back(statistics):
    network, (kspace, mask, grappa) = cascade(statistics=statistics), batch(scale=1e-5)
    seen = []
    network.refine.rcan.register_forward_hook(lambda _, inputs, output: seen.extend((inputs[0], output)))
    with torch.no_grad():
        output = network(kspace, mask, grappa)
        image = center_crop(network.varnet(kspace, mask), (12, 12))
    for n in range(2):
        for channel, source in enumerate((image[n], grappa[n])):
            assert torch.allclose(seen[0][n, channel], (source - source.mean()) / source.std(), atol=1e-4)
        both = torch.cat((image[n].flatten(), grappa[n].flatten())) if statistics == "joint" else image[n]
        assert torch.allclose(output[n], seen[1][n, 0] * both.std() + both.mean(), atol=1e-10)


@pytest.mark.parametrize("statistics", ["joint", "channel"])
def test_a_residual_cascade_starts_as_its_varnet(statistics):
    network, (kspace, mask, grappa) = cascade(residual=True, statistics=statistics), batch()
    with torch.no_grad():
        expected = center_crop(network.varnet(kspace, mask), (12, 12))
        assert torch.allclose(network(kspace, mask, grappa), expected, atol=1e-5)


def test_output_scales_with_the_data():
    network = cascade()
    with torch.no_grad():
        small, large = (network(*batch(scale=s)) for s in (1e-6, 1e3))
    assert torch.allclose(small * 1e9, large, rtol=1e-3, atol=1e-2)


def test_a_frozen_varnet_gets_no_gradient_and_a_free_one_does():
    for freeze in (True, False):
        network = cascade(freeze=freeze)
        network(*batch()).square().mean().backward()
        assert all((p.grad is None) == freeze for p in network.varnet.parameters())
        assert all(p.grad is not None for p in network.refine.parameters())


def test_without_grappa_its_values_play_no_part():
    network, (kspace, mask, grappa) = cascade(use_grappa=False), batch()
    with torch.no_grad():
        assert torch.equal(network(kspace, mask, grappa), network(kspace, mask, 5 * grappa))
        assert not torch.equal(cascade()(kspace, mask, grappa), cascade()(kspace, mask, 5 * grappa))


def test_a_blank_slice_stays_finite():
    network, (kspace, mask, grappa) = cascade(), batch()
    output = network(kspace * 0, mask, grappa * 0)
    output.sum().backward()
    assert output.isfinite().all() and all(p.grad.isfinite().all() for p in network.refine.parameters())


def test_self_ensemble_of_images_is_the_mean_over_turned_inputs():
    network, data = cascade(), batch()
    turns = list(TURNS)
    with torch.no_grad():
        images = network.images(*data)
        singles = [torch.rot90(network.refine(torch.rot90(images, k, (2, 3))), -k, (1, 2)) for k in range(4)]
        singles += [network.refine(images.flip(a)).flip(a - 1) for a in (2, 3)]
        assert torch.allclose(SelfEnsemble(network, turns)(*data), torch.stack(singles).mean(0), atol=1e-6)
        assert torch.equal(SelfEnsemble(network, ["identity"])(*data), network(*data))


def test_self_ensemble_of_kspace_shows_the_network_flipped_images():
    network, (kspace, mask, grappa) = cascade(), batch(size=(11, 9))  # odd crops of even sizes
    seen = []
    network.register_forward_hook(lambda _, inputs, output: seen.append(inputs))
    with torch.no_grad():
        SelfEnsemble(network, ["identity", "turn_180"], "kspace")(kspace, mask, grappa)
    crops = [center_crop(rss(ifft2c(inputs[0])), (11, 9)) for inputs in seen]
    assert torch.allclose(crops[1], crops[0].flip(-2, -1), atol=1e-5)
    assert torch.equal(seen[1][0].abs().sum((1, 2), keepdim=True) > 0, seen[1][1])  # the mask moved along
    assert torch.equal(seen[1][2], grappa.flip(-2, -1))


def test_a_self_ensemble_that_is_refused():
    with refused(found="turns of kspace: 'turn_90'", expected="some of identity"):
        SelfEnsemble(cascade(), ["turn_90"], "kspace")
    with refused(found="of is 'output'", expected="image or kspace"):
        SelfEnsemble(cascade(), of="output")
    with refused(found=r"90° turns of \(12, 10\) images, which aren't square"):
        SelfEnsemble(cascade(), ["turn_90"])(*batch(size=(12, 10)))


def test_a_run_is_rebuilt_from_its_own_settings_whatever_the_defaults_are_now(tmp_path, monkeypatch):
    network = cascade()
    given = {"varnet": VARNET, "rcan": RCAN_SMALL}
    runs.save_model(tmp_path / "alone", "VarNetRCAN", given | {"use_grappa": False}, cascade(use_grappa=False))
    assert runs.load_model(tmp_path / "alone").use_grappa is False
    runs.save_model(tmp_path, "VarNetRCAN", given, network)
    settings = json.loads((tmp_path / "model_weights" / "model.json").read_text())["settings"]
    assert settings["rcan"]["res_scale"] == 0.125 and settings["varnet"]["full_mask_center"] is False
    with torch.no_grad():
        before = network.eval()(*batch())
        monkeypatch.setattr(RCAN.__init__, "__defaults__", (2, 160, 25, 4, 16, 0.25, "prelu", True, False, True))
        assert build("RCAN", **RCAN_SMALL).groups[0].body[0].res_scale == 0.25
        assert torch.equal(runs.load_model(tmp_path)(*batch()), before)


def test_weights_of_a_varnet_with_other_settings_are_refused(tmp_path):
    runs.save_model(tmp_path, "VarNet", VARNET, build("VarNet", **VARNET))
    assert weights.settings_of(tmp_path, "VarNet")["num_cascades"] == 1
    with refused(found="VarNet with num_cascades 1, the task says 12: leave it out"):
        weights.settings_of(tmp_path, "VarNet", {"num_cascades": 12})
    with refused(found="weights of VarNet", expected="UNet"):
        weights.settings_of(tmp_path, "UNet")
    torch.save(build("VarNet", **VARNET).state_dict(), tmp_path / "varnet.pt")
    with refused(found="weights don't fit VarNet"):
        weights.load_weights(build("VarNet", **VARNET | {"chans": 4}), tmp_path / "varnet.pt")


@pytest.mark.gpu
def test_a_step_in_bf16_on_a_gpu():
    network = cascade(freeze=False).cuda()
    data = [x.cuda() for x in batch()]
    with torch.autocast("cuda", torch.bfloat16):
        output = network(*data)
    assert output.dtype == torch.float32 and output.isfinite().all()
    output.square().mean().backward()
    assert all(p.grad.isfinite().all() for p in network.parameters())
    with torch.no_grad():
        full = network(*data)
    assert (output - full).norm() < 0.1 * full.norm()


def test_training_that_was_cut_ends_with_the_weights_of_an_uncut_one(tmp_path):
    kspace, mask, grappa = batch()
    target, maximum = grappa + 0.1, torch.ones(2)

    class Rows(torch.utils.data.Dataset):
        def __len__(self):
            return 4

        def __getitem__(self, key):
            i = key[1] % 2
            return kspace[i], mask[i], grappa[i], target[i], maximum[i]

    def fit(folder, stop=None):
        order = BucketSampler([0] * 4, 2)
        dls = DataLoaders(
            DataLoader(Rows(), batch_sampler=order), DataLoader(Rows(), batch_sampler=BucketSampler([0] * 4, 2)),
            device=torch.device("cpu"),
        )  # fmt: skip
        dls.n_inp = 3
        learn = training.Learner(
            dls,
            cascade(residual=True),
            losses.by_name("l1"),
            opt_func=training.optimizer("Adam", 1e-2),
            cbs=[training.SetSamplerEpoch()],
        )
        callbacks = [training.History(folder, tensorboard=False), training.Checkpoint(folder), CutMix(0.7)]
        with learn.no_bar(), learn.no_logging():
            if stop is None:
                learn.fit(4, cbs=callbacks)
                return learn.model.state_dict()
            with pytest.raises(KeyboardInterrupt):
                learn.fit(4, cbs=[*callbacks, stop])

    class Stop(Callback):
        order = 90

        def before_epoch(self):
            if self.epoch == 2:
                raise KeyboardInterrupt

    whole = fit(tmp_path / "whole")
    fit(tmp_path / "cut", Stop())
    rest = fit(tmp_path / "cut")
    assert all(torch.equal(v, rest[k]) for k, v in whole.items())
    start = cascade(residual=True).state_dict()
    assert all(torch.equal(v, rest[k]) for k, v in start.items() if k.startswith("varnet"))  # frozen
    assert any(not torch.equal(v, rest[k]) for k, v in start.items())
