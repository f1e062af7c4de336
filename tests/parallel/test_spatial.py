"""A network on slabs in several processes is the plain network in one: outputs, gradients, buffers, steps, memory, refusals.

Four processes with gloo serve all tests; the halves {0, 1} and {2, 3} are groups of two. Float64 unless said otherwise.
"""

import copy
import functools
import multiprocessing
import os
import re
import time
import traceback
from datetime import timedelta
from multiprocessing import forkserver
from unittest import mock

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from refusals import refused
from torch import nn
from torch.utils.checkpoint import checkpoint

from lib import InputError
from lib.models import blocks, build
from lib.parallel.spatial import check, gather, partition, reduce_grads, split, synchronize, total

GROUPS = {}


def serve(rank, size, file, pipe):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{file}", rank=rank, world_size=size, timeout=timedelta(seconds=40))
    for name, ranks in {"pair": [[0, 1], [2, 3]], "across": [[0, 2], [1, 3]]}.items():
        groups = [dist.new_group(r) for r in ranks]  # every process takes part in making every group
        GROUPS[name] = next(g for g, r in zip(groups, ranks, strict=True) if rank in r)
    GROUPS["world"] = None
    while call := pipe.recv():
        function, args = call
        torch.manual_seed(0)
        try:
            pipe.send((True, function(*args)))
        except Exception:
            pipe.send((False, traceback.format_exc()))


class Ranks:
    """Four processes: calling it runs a function of this file on all of them and returns what each returned."""

    def __init__(self, folder):
        self.folder, self.processes = folder, []

    def start(self):
        context = multiprocessing.get_context("forkserver")  # so torch and monai are imported once
        context.set_forkserver_preload(["lib.parallel.spatial", "lib.models", "monai.networks.nets", "pytest"])
        file = self.folder / f"meet-{time.monotonic_ns()}"
        pipes = [context.Pipe() for _ in range(4)]
        self.pipes = [here for here, _ in pipes]
        self.processes = [
            context.Process(target=serve, args=(r, 4, file, there), daemon=True) for r, (_, there) in enumerate(pipes)
        ]
        for process in self.processes:
            process.start()

    def stop(self):
        for process in self.processes:
            process.kill()
            process.join()
        self.processes = []

    def __call__(self, function, *args):
        if not self.processes:
            self.start()
        for pipe in self.pipes:
            pipe.send((function, args))
        until, waiting, results = time.monotonic() + 60, set(range(4)), [None] * 4
        while waiting:
            ready = [r for r in waiting if self.pipes[r].poll(0.01)]
            for r in ready:
                good, results[r] = self.pipes[r].recv()
                waiting.discard(r)
                if not good:
                    self.stop()
                    pytest.fail(f"rank {r}: {results[r]}")
            if time.monotonic() > until:
                self.stop()
                pytest.fail(f"{function.__name__}: no answer from ranks {waiting} in 60 s")
        return results


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    pool = Ranks(tmp_path_factory.mktemp("ranks"))
    yield pool
    pool.stop()
    forkserver._forkserver._stop()  # it holds monai, and one thread
    os.environ.pop("OMP_NUM_THREADS") if before is None else os.environ.update(OMP_NUM_THREADS=before)


# ---- the networks: each made by a name, on 2 channels


def block(*layers):
    return nn.Sequential(nn.Conv3d(2, 4, 3, padding=1), *layers)


class Toy(nn.Module):
    """Strided down, trilinear up, a skip, the same block twice, its middle checkpointed."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv3d(2, 4, 3, padding=1), nn.BatchNorm3d(4)
        self.down = nn.Conv3d(4, 4, 3, stride=2, padding=1)
        self.middle = nn.Sequential(nn.Conv3d(4, 4, 3, padding=1), nn.InstanceNorm3d(4), nn.PReLU(4))
        self.again = self.middle
        self.nothing = nn.ModuleDict({"empty": nn.Sequential()})
        self.up, self.last = nn.Upsample(scale_factor=2, mode="trilinear"), nn.Conv3d(8, 2, 1)

    def forward(self, x):
        x = torch.relu(self.norm(self.first(x)))
        y = checkpoint(self.middle, self.down(x), use_reentrant=False)
        y = self.up(self.again(y))
        y = F.pad(y, [y.shape[i] - x.shape[i] for i in (-1, -1, -2, -2, -3, -3)])  # all zeros, as MONAI's BasicUNet
        return self.last(torch.cat((x, y), 1)).softmax(1)


MODULES = {
    "conv": lambda: nn.Conv3d(2, 4, 3, padding=1),
    "conv, dilated, groups": lambda: nn.Conv3d(2, 4, (3, 5, 3), padding=(2, 2, 2), dilation=(2, 1, 2), groups=2),
    "conv, no bias, 'same'": lambda: nn.Conv3d(2, 4, (3, 1, 5), padding="same", bias=False),
    "conv, 'same', even": lambda: nn.Conv3d(2, 4, (2, 4, 2), padding="same"),
    "conv, stride": lambda: nn.Conv3d(2, 4, 3, stride=2, padding=1),
    "conv, even, stride": lambda: nn.Conv3d(2, 4, 4, stride=2, padding=1),
    "conv, kernel below stride": lambda: nn.Conv3d(2, 4, 1, stride=2),
    "conv, patches": lambda: nn.Conv3d(2, 4, 2, stride=2, padding="valid"),
    "up": lambda: nn.ConvTranspose3d(2, 4, 2, 2),
    "up, overlapping": lambda: nn.ConvTranspose3d(2, 4, 3, 2, padding=1, output_padding=1),
    "up, even": lambda: nn.ConvTranspose3d(2, 4, 4, 2, padding=1, groups=2, bias=False),
    "up, kernel below stride": lambda: nn.ConvTranspose3d(2, 4, 1, 2, output_padding=1),
    "up, dilated": lambda: nn.ConvTranspose3d(2, 4, 3, 1, padding=2, dilation=2),
    "up, by 3": lambda: nn.ConvTranspose3d(2, 4, 5, 3, padding=1),
    "max": lambda: nn.MaxPool3d(2),
    "max, overlapping": lambda: nn.MaxPool3d(3, 2, padding=1),
    "max, dilated": lambda: nn.MaxPool3d(2, 1, padding=1, dilation=2),
    "max, ceil": lambda: nn.MaxPool3d(2, ceil_mode=True),
    "avg": lambda: nn.AvgPool3d(2),
    "avg, overlapping": lambda: nn.AvgPool3d(3, 2, padding=1),
    "avg, no pad counted": lambda: nn.AvgPool3d(2, count_include_pad=False),
    "nearest": lambda: nn.Upsample(scale_factor=2),
    "nearest-exact": lambda: nn.Upsample(scale_factor=3, mode="nearest-exact"),
    "trilinear": lambda: nn.Upsample(scale_factor=2, mode="trilinear"),
    "trilinear, by axis": lambda: nn.Upsample(scale_factor=(2, 3, 4), mode="trilinear"),
    "batch": lambda: block(nn.BatchNorm3d(4), nn.ReLU(inplace=True)),
    "batch, cumulative": lambda: block(nn.BatchNorm3d(4, momentum=None), nn.ELU()),
    "batch, no buffers": lambda: block(nn.BatchNorm3d(4, track_running_stats=False, affine=False)),
    "batch, eval": lambda: block(nn.BatchNorm3d(4)).eval(),
    "instance": lambda: block(nn.InstanceNorm3d(4), nn.LeakyReLU()),
    "instance, tracked": lambda: block(nn.InstanceNorm3d(4, affine=True, track_running_stats=True)),
    "instance, ours": lambda: block(blocks.InstanceNorm(), nn.Conv3d(4, 2, 1)),
    "group": lambda: block(nn.GroupNorm(2, 4), nn.GELU()),
    "toy": Toy,
}
FLAT = {
    "conv": lambda: nn.Conv2d(2, 4, 3, padding=1),
    "up": lambda: nn.ConvTranspose2d(2, 4, 3, 2, padding=1, output_padding=1),
    "bilinear": lambda: nn.Sequential(nn.MaxPool2d(2), nn.Upsample(scale_factor=2, mode="bilinear"), nn.Softmax2d()),
    "norms": lambda: nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.AvgPool2d(2), nn.InstanceNorm2d(4), blocks.InstanceNorm()
    ),
}
volume = functools.partial(build, "VolumeUNet", in_chans=2, base_filters=4, depth=3, norm="batch")
VOLUMES = {
    "batch": volume,
    "instance": lambda: build("VolumeUNet", in_chans=2, base_filters=4, depth=3, norm="instance", up="nearest"),
    "group, checkpointed": lambda: build(
        "VolumeUNet", in_chans=2, base_filters=8, depth=2, norm="group", checkpointing=True
    ),
    "batch, checkpointed": lambda: build("VolumeUNet", in_chans=2, base_filters=4, depth=2, checkpointing=True),
}


def monai_networks():
    from monai.networks.nets import BasicUNet, DynUNet, SegResNet, UNet

    return {
        "UNet": lambda: UNet(3, 2, 3, (4, 8, 16), (2, 2), num_res_units=1),
        "UNet, batch": lambda: UNet(3, 2, 3, (4, 8), (2,), norm="batch", act="relu"),
        "BasicUNet": lambda: BasicUNet(3, 2, 3, (4, 4, 8, 8, 8, 4)),
        "DynUNet": lambda: DynUNet(3, 2, 3, [3, 3, 3], [1, 2, 2], [2, 2], filters=[4, 8, 16]),
        "SegResNet": lambda: SegResNet(3, 8, 2, 3, blocks_down=(1, 2), blocks_up=(1,), upsample_mode="nontrainable"),
    }


TABLES = {"modules": lambda: MODULES, "flat": lambda: FLAT, "volumes": lambda: VOLUMES, "monai": monai_networks}


def apart(a, b, floor=0.0):
    """The largest difference, relative to b's largest value."""
    a, b = a.detach(), b.detach()
    return float((a - b).abs().max() / max(float(b.abs().max()), floor, 1e-300)) if b.numel() else 0.0


def cut(x, axes):
    for axis, name in axes.items():
        x = split(x, axis, GROUPS[name])
    return x


def compare(make, shape, axes):
    """Largest differences of outputs, gradients of input and parameters (relative), and buffers, one process to slabs."""
    torch.manual_seed(1)
    plain = make().double()
    slabs = copy.deepcopy(plain)
    for axis, name in axes.items():
        partition(slabs, axis, GROUPS[name])
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    part = cut(x.detach(), axes).requires_grad_()
    with mock.patch.object(torch.Tensor, "float", lambda x: x):  # VolumeUNet ends in float32
        y, z = plain(x), slabs(part)
    weights = torch.randn_like(y)
    (y * weights).sum().backward()
    (z * cut(weights, axes)).sum().backward()
    for name in axes.values():
        reduce_grads(slabs, GROUPS[name])
    grads = [p.grad for p in plain.parameters()]
    floor = max((float(g.abs().max()) for g in grads), default=0) / 100  # a bias before a norm has none
    assert list(slabs.state_dict()) == list(plain.state_dict())
    return {
        "output": float((z - cut(y, axes)).detach().abs().max()),
        "input": apart(part.grad, cut(x.grad, axes)),
        "parameters": max((apart(p.grad, g, floor) for p, g in zip(slabs.parameters(), grads, strict=True)), default=0),
        "buffers": max((apart(a, b) for a, b in zip(slabs.buffers(), plain.buffers(), strict=True)), default=0),
    }


def compare_all(table, shape, axes):
    return {name: compare(make, shape, axes) for name, make in TABLES[table]().items()}


def worst(answers):
    """{quantity: (largest difference of all networks and ranks, the network)}."""
    found = {}
    for answer in answers:
        for name, errors in answer.items():
            for quantity, error in errors.items():
                found[quantity] = max(found.get(quantity, (0, "")), (error, name))
    return found


def assert_exact(answers):
    found = worst(answers)
    assert found["output"][0] <= 1e-12 and found["buffers"][0] <= 1e-12, found
    assert found["input"][0] <= 1e-11 and found["parameters"][0] <= 1e-11, found


def sizes(axis, extent, ndim=5):
    """(2, 2, …), `extent` planes along the axis, the others 6."""
    return [2, 2, *(extent if a == axis else 6 for a in range(2, ndim))]


@pytest.mark.parametrize("axis", [2, 3, 4])
@pytest.mark.parametrize("group", ["pair", "world"])
def test_every_module_and_a_toy_network(ranks, group, axis):
    assert_exact(ranks(compare_all, "modules", sizes(axis, 16), {axis: group}))


@pytest.mark.parametrize("axis", [2, 3])
def test_in_two_dimensions(ranks, axis):
    assert_exact(ranks(compare_all, "flat", sizes(axis, 16, 4), {axis: "world"}))


@pytest.mark.parametrize(("group", "axis"), [("pair", 2), ("world", 4)])
def test_the_volumetric_network(ranks, group, axis):
    assert_exact(ranks(compare_all, "volumes", [1, 2, *(16 if a == axis else 8 for a in (2, 3, 4))], {axis: group}))


def test_two_axes_at_once(ranks):
    assert_exact(ranks(compare_all, "modules", (2, 2, 6, 8, 8), {3: "pair", 4: "across"}))
    assert_exact(ranks(compare_all, "volumes", (1, 2, 8, 8, 8), {4: "pair", 2: "across"}))


@pytest.mark.parametrize(("group", "axis"), [("pair", 3), ("world", 2)])
def test_networks_of_monai(ranks, group, axis):
    assert_exact(ranks(compare_all, "monai", [1, 2, *(64 if a == axis else 16 for a in (2, 3, 4))], {axis: group}))


# a bias before a norm has no gradient but rounding errors, which Adam divides by eps
ADAM = functools.partial(torch.optim.Adam, lr=0.01, eps=1e-5)
SGD = functools.partial(torch.optim.SGD, lr=0.1, momentum=0.9)


def soft_dice(y, truth, over):
    """A loss of global sums: `over` sums over all ranks."""
    return 1 - 2 * over((y * truth).sum()) / over((y + truth).sum())


def train(make, optimizer, axes, shape):
    """[(how far apart, how far from the start)] of the weights after three steps: summed gradients of slabs' losses, and
    mean gradients of a loss made of totals."""
    apart_after = []
    for way in ("sum", "mean"):
        torch.manual_seed(1)
        plain = make().double()
        slabs = copy.deepcopy(plain)
        for axis, name in axes.items():
            partition(slabs, axis, GROUPS[name])
        optimizers = [optimizer(m.parameters()) for m in (plain, slabs)]
        (group,) = [GROUPS[name] for name in axes.values()]
        for _ in range(3):
            x, truth = torch.randn(shape, dtype=torch.float64), torch.rand(shape[0], 1, *shape[2:], dtype=torch.float64)
            for model, step in zip((plain, slabs), optimizers, strict=True):
                step.zero_grad()
                a, b = (x, truth) if model is plain else (cut(x, axes), cut(truth, axes))
                y = model(a)
                if way == "sum":
                    loss = (y - b).square().sum() / (x.numel() / shape[1])
                else:
                    loss = soft_dice(
                        y.sigmoid(), b, functools.partial(total, group=group) if model is slabs else lambda x: x
                    )
                loss.backward()
                if model is slabs:
                    reduce_grads(slabs, group)
                    for p in slabs.parameters():
                        p.grad /= 1 if way == "sum" else dist.get_world_size(group)
                step.step()
        start = make().double().state_dict()
        moved = max(apart(a, start[name]) for name, a in plain.state_dict().items())
        pairs = zip(slabs.state_dict().values(), plain.state_dict().values(), strict=True)
        apart_after.append((max(apart(a, b) for a, b in pairs), moved))
    return apart_after


@pytest.mark.parametrize(("axes", "norm"), [({2: "pair"}, "batch"), ({4: "world"}, "instance"), ({3: "pair"}, "group")])
@pytest.mark.parametrize("optimizer", [ADAM, SGD])
def test_three_steps_end_in_the_same_weights(ranks, axes, norm, optimizer):
    make = functools.partial(build, "VolumeUNet", in_chans=2, num_classes=1, base_filters=8, depth=2, norm=norm)
    for answer in ranks(train, make, optimizer, axes, [1, 2, *(8 if a in axes else 4 for a in (2, 3, 4))]):
        for difference, moved in answer:
            assert difference <= 1e-10 < 1e-4 < moved


def data_parallel_and_partitioned(batch_first):
    torch.manual_seed(1)
    plain, x = VOLUMES["batch"]().double(), torch.randn(4, 2, 8, 8, 8, dtype=torch.float64)
    slabs = copy.deepcopy(plain)
    if batch_first:
        partition(synchronize(slabs), 3, GROUPS["pair"])
    else:
        partition(slabs, 3, GROUPS["pair"], batch_group=dist.group.WORLD)
    share = slice(2, 4) if dist.get_rank() > 1 else slice(0, 2)
    with mock.patch.object(torch.Tensor, "float", lambda x: x):
        y, z = plain(x), slabs(cut(x[share], {3: "pair"}))
    w = torch.randn_like(y)
    (y * w).sum().backward()
    (z * cut(w[share], {3: "pair"})).sum().backward()
    reduce_grads(slabs)
    return errors(plain, slabs, z, cut(y[share], {3: "pair"}))


def errors(plain, model, z, y):
    grads = [p.grad for p in plain.parameters()]
    floor = max(float(g.abs().max()) for g in grads) / 100
    return {
        "output": float((z - y).detach().abs().max()),
        "parameters": max(apart(p.grad, g, floor) for p, g in zip(model.parameters(), grads, strict=True)),
        "buffers": max(apart(a, b) for a, b in zip(model.buffers(), plain.buffers(), strict=True)),
    }


@pytest.mark.parametrize("batch_first", [False, True])
def test_two_shares_of_a_batch_in_two_parts_each(ranks, batch_first):
    for found in ranks(data_parallel_and_partitioned, batch_first):
        assert found["output"] <= 1e-12 and found["parameters"] <= 1e-11 and 0 < found["buffers"] <= 1e-12


def data_parallel(make, shape):
    """Shares of three samples and of one."""
    torch.manual_seed(1)
    plain, x = make().double(), torch.randn(shape, dtype=torch.float64)
    model = synchronize(synchronize(copy.deepcopy(plain), GROUPS["pair"]), GROUPS["pair"])
    share = slice(3, 4) if dist.get_rank() % 2 else slice(0, 3)
    with mock.patch.object(torch.Tensor, "float", lambda x: x):
        y, z = plain(x), model(x[share])
    w = torch.randn_like(y)
    (y * w).sum().backward()
    (z * w[share]).sum().backward()
    reduce_grads(model, GROUPS["pair"])
    assert list(model.state_dict()) == list(plain.state_dict())
    return errors(plain, model, z, y[share])


def dense():
    return nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.ReLU(inplace=True), nn.Linear(4, 3))


def test_two_data_parallel_processes(ranks):
    for make, shape in ((volume, (4, 2, 5, 8, 6)), (Toy, (4, 2, 8, 6, 6)), (dense, (4, 5))):
        for found in ranks(data_parallel, make, shape):
            assert found["output"] <= 1e-12 and found["parameters"] <= 1e-11 and found["buffers"] <= 1e-12


def in_bf16():
    """Types of what convolutions and norms gave, and how far outputs and gradients are from one process's, relative."""
    plain = nn.Sequential(
        nn.Conv3d(2, 4, 3, padding=1), nn.BatchNorm3d(4), nn.MaxPool3d(2), nn.ConvTranspose3d(4, 4, 2, 2), nn.GroupNorm(2, 4),
    )  # fmt: skip
    slabs, x, kinds = partition(copy.deepcopy(plain), 2), torch.randn(1, 2, 8, 8, 8), []
    for module in (*plain, *slabs):
        module.register_forward_hook(lambda module, given, y: kinds.append(str(y.dtype)))
    with torch.autocast("cpu", torch.bfloat16):
        y, z = plain(x), slabs(split(x, 2))
    y.float().square().sum().backward()
    z.float().square().sum().backward()
    reduce_grads(slabs)
    pairs = zip(slabs.parameters(), plain.parameters(), strict=True)
    floor = float(plain[0].weight.grad.abs().max())
    return kinds, apart(z, split(y, 2)), max(apart(p.grad, q.grad, floor) for p, q in pairs), slabs[0].weight.grad.dtype


def test_autocast(ranks):
    for kinds, output, gradient, kind in ranks(in_bf16):
        assert kinds[:5] == kinds[5:] and kinds[0] == kinds[3] == "torch.bfloat16" and kind == torch.float32, kinds
        assert output < 0.02 and gradient < 0.05, (output, gradient)


def with_channels_last(kind, norm, layout):
    """How far output and gradients are from one process's, relative, and whether the output has the input's layout."""
    plain = nn.Sequential(kind(4, 8, 3, padding=1), norm(8), nn.ReLU(), kind(8, 4, 3, 2, 1)).to(memory_format=layout)
    slabs, x = partition(copy.deepcopy(plain), 3), torch.randn(2, 4, *[16] * (plain[0].weight.ndim - 2))
    y, z = plain(x.to(memory_format=layout)), slabs(split(x, 3).to(memory_format=layout))
    y.square().sum().backward()
    z.square().sum().backward()
    reduce_grads(slabs)
    pairs = zip((z, slabs[0].weight.grad), (split(y, 3), plain[0].weight.grad), strict=True)
    return max(apart(a, b) for a, b in pairs), z.is_contiguous(memory_format=layout)


def test_channels_last(ranks):
    for settings in (
        (nn.Conv2d, nn.BatchNorm2d, torch.channels_last),
        (nn.Conv3d, nn.BatchNorm3d, torch.channels_last_3d),
    ):
        assert all(difference < 1e-4 and kept for difference, kept in ranks(with_channels_last, *settings))


def checkpoints():
    """Whether each of plain and partitioned networks loads the other's state, and then gives the other's output."""
    found, x = [], torch.randn(1, 2, 8, 16, 8)
    for make in VOLUMES.values():
        torch.manual_seed(1)
        plain, slabs = make(), partition(make(), 3)
        slabs(split(x, 3))  # moves the buffers
        shapes = [{k: v.shape for k, v in m.state_dict().items()} for m in (plain, slabs)]
        plain.load_state_dict(slabs.state_dict())
        other = copy.deepcopy(partition(make(), 3))
        other.load_state_dict(plain.state_dict())
        y = split(plain.eval()(x), 3)
        same = [torch.allclose(m.eval()(split(x, 3)), y, atol=1e-5) for m in (slabs, other)]
        found.append(shapes[0] == shapes[1] and all(same) and isinstance(slabs, type(plain)))
    return found


def test_a_checkpoint_is_the_plain_networks(ranks):
    assert all(all(found) for found in ranks(checkpoints))


def dropped(kind, p):
    x = torch.ones(2, 8, 8, 8, 8, requires_grad=True)
    torch.manual_seed(dist.get_rank() if kind is nn.Dropout3d else 0)
    model = partition(nn.Sequential(kind(p)), 2)
    y = checkpoint(model, split(x, 2), use_reentrant=False)
    y.sum().backward()
    assert torch.equal(split(x.grad, 2), y) and torch.equal(model.eval()(x), x)
    return y.detach()


def test_dropout(ranks):
    parts = ranks(dropped, nn.Dropout, 0.25)
    assert not any(torch.equal(parts[i], parts[j]) for i in range(4) for j in range(i))
    whole = torch.cat(parts, 2)
    assert whole.unique().tolist() == pytest.approx([0, 4 / 3]) and abs(float(whole.mean()) - 1) < 0.05
    parts = ranks(dropped, nn.Dropout3d, 0.5)  # from random states that differ
    assert all(torch.equal(part, parts[0]) for part in parts) and set(parts[0].unique().tolist()) == {0, 2}
    assert all(not part.any() for kind in (nn.Dropout, nn.Dropout3d) for part in ranks(dropped, kind, 1.0))


class Functional(nn.Module):
    def __init__(self, name):
        super().__init__()
        self.name, self.act = name, nn.ReLU()

    def forward(self, x):
        return self.act(FUNCTIONS[self.name](x))


REFUSED = {
    "interpolate": lambda x: F.interpolate(x, scale_factor=2),
    "pad": lambda x: F.pad(x, (0, 0, 1, 1)),
    "conv3d": lambda x: F.conv3d(x, torch.ones(2, 2, 3, 3, 3).to(x), padding=1),
    "max_pool3d": lambda x: F.max_pool3d(x, 3, 1, 1),
    "avg_pool3d": lambda x: F.avg_pool3d(x, 3, 1, 1),
    "adaptive_avg_pool3d": lambda x: F.adaptive_avg_pool3d(x, x.shape[2:]),
    "instance_norm": F.instance_norm,
    "flip": lambda x: x.flip(2, 3),
    "roll": lambda x: torch.roll(x, 1, 3),
    "mean": lambda x: x.mean((2, 3, 4), keepdim=True),
    "sum": lambda x: x / x.sum(),
    "amax": lambda x: x.amax(-2),
    "max": lambda x: torch.max(x, 3)[0],
    "softmax": lambda x: F.softmax(x, 3),
    "cumsum": lambda x: x.cumsum(3),
    "cat": lambda x: torch.cat((x, x), 3),
    "__getitem__": lambda x: x[:, :, :, 1:],
    "flatten": lambda x: x.flatten(2),
    "transpose": lambda x: x.transpose(2, 3),
    "fft_fftn": lambda x: torch.fft.fftn(x).real,
}
ALLOWED = {
    "pads": lambda x: F.pad(F.pad(x, (0, 0, 0, 0, 0, 0), "replicate"), (1, 1)),
    "channels": lambda x: torch.cat((x, x.mean(1, keepdim=True), x.amax(1, True)), 1).softmax(1)[:, :2].flip(1),
    "others": lambda x: torch.max(x, 0.5 * x).mean(4).transpose(1, 2).flip(0),
    "parts": lambda x: torch.cat(x.chunk(2, 1)[::-1], 1).clamp(0.1)[:, None, 0] * x.sum((1, 2, 4), keepdim=True),
}
FUNCTIONS = REFUSED | ALLOWED


def message(call):
    try:
        call()
    except InputError as error:
        return str(error)
    return None


def functional(axis):
    x, found = torch.rand(2, 2, 6, 16, 6, dtype=torch.float64), {}
    for name in FUNCTIONS:
        model = partition(Functional(name), axis)
        found[name] = message(lambda model=model: model(split(x, axis)))
        if name in ALLOWED:
            y = Functional(name)(x)
            where = axis if y.ndim == 5 else [i for i in range(y.ndim) if y.shape[i] == 16][0]
            assert torch.allclose(model(split(x, axis)), split(y, where))
    x.mean()  # the guard is gone
    return found


def test_functions_that_mix_positions_are_refused(ranks):
    for found in ranks(functional, 3):
        for name in REFUSED:
            assert f"Functional: its forward calls {name} across axis 3, which is split" in (found[name] or ""), name
        assert not any(found[name] for name in ALLOWED), found


class Own(nn.Module):
    def forward(self, x):
        return x


UNRULED = [
    (lambda: nn.Linear(6, 6), r"1 \(Linear\): no rule for slabs"),
    (lambda: nn.AdaptiveAvgPool3d(1), r"1 \(AdaptiveAvgPool3d\): no rule"),
    (lambda: nn.Sequential(nn.ReLU(), Own()), r"1\.1 \(Own\): no rule"),
    (lambda: nn.Conv3d(4, 4, 3, padding=1, padding_mode="reflect"), "padding_mode 'reflect', expected 'zeros'"),
    (lambda: nn.Conv3d(4, 4, 3), "axis 3: kernel 3, stride 1, dilation 1, padding 0 and 0: n planes don't give n / 1"),
    (lambda: nn.Conv3d(4, 4, 3, stride=3, padding=2), r"padding 2 and 2: n planes don't give n / 3"),
    (lambda: nn.ConvTranspose3d(4, 4, 3, 2, padding=1), "output_padding 0: n planes don't give 2 n"),
    (lambda: nn.MaxPool3d(2, return_indices=True), r"1 \(MaxPool3d\): return_indices"),
    (lambda: nn.MaxPool3d(3, 2, padding=1, ceil_mode=True), "padding 1 and 1, ceil_mode: n planes don't give n / 2"),
    (lambda: nn.AvgPool3d(3, 1, padding=1, count_include_pad=False), "padding 1 with count_include_pad=False"),
    (lambda: nn.Upsample(scale_factor=2, mode="trilinear", align_corners=True), "align_corners=True has no rule"),
    (lambda: nn.Upsample(scale_factor=2, mode="bicubic"), "mode 'bicubic' with align_corners=None has no rule"),
    (lambda: nn.Upsample(size=(4, 4, 4)), "size .4, 4, 4., scale_factor None, expected a whole scale_factor"),
    (lambda: nn.Upsample(scale_factor=1.5), "scale_factor 1.5, expected a whole scale_factor"),
    (lambda: nn.PixelUnshuffle(2), "no rule"),
]
UNFIT = [
    (lambda: nn.Conv3d(4, 4, 7, padding=3), r"axis 3: a slab of 2 planes, its neighbors need 3 of it"),
    (
        lambda: nn.Sequential(nn.MaxPool3d(2), nn.MaxPool3d(2)),
        r"1\.1 \(MaxPool3d\): axis 3: a slab of 1 planes isn't divis",
    ),
    (lambda: nn.Conv3d(4, 4, 3, 3, padding=1), "a slab of 2 planes isn't divisible by the stride 3"),
    (lambda: nn.MaxPool2d(2), r"1 \(MaxPool2d\): got \(1, 4, 8, 2, 8\), expected 4 axes"),
]


def refusals():
    found = []
    for make, _ in UNRULED:
        model = nn.Sequential(nn.Conv3d(2, 4, 3, padding=1), make())
        found.append(message(lambda model=model: partition(model, 3)))
        assert type(model[0]) is nn.Conv3d and type(model) is nn.Sequential  # as it was
    for make, _ in UNFIT:
        model = partition(nn.Sequential(nn.Conv3d(2, 4, 3, padding=1), make()), 3)
        found.append(message(lambda model=model: model(split(torch.ones(1, 2, 8, 8, 8), 3))))
    model = partition(nn.Sequential(nn.Conv3d(2, 4, 3, padding=1)), 3, GROUPS["pair"])
    found.append(message(lambda: partition(model, 3, GROUPS["across"])))
    found.append(message(lambda: partition(model, 2)))
    found.append(message(lambda: partition(model, 1)))
    found.append(message(lambda: split(torch.ones(1, 1, 8, 10, 8), 3)))
    found.append(message(lambda: model(torch.ones(2, 8, 4, 8))))
    return found


def test_refusals_name_the_module_on_every_rank(ranks):
    answers = ranks(refusals)
    assert all(answer == answers[0] for answer in answers)
    expected = [words for _, words in UNRULED + UNFIT] + [
        r"the network \(Sequential\): split along axis 3 already",
        "split along axis 3 already; another axis needs a group across the first",
        "axis: got 1, expected 2, 3 or 4",
        "axis 3: extent 10 isn't divisible by 4 parts × 1; 8 and 12 are",
        r"0 \(Conv3d\): got \(2, 8, 4, 8\), expected 5 axes",
    ]
    for found, words in zip(answers[0], expected, strict=True):
        assert found and re.search(words, found) and "\n" not in found, (words, found)


def test_extents_that_do_not_divide():
    check(128, 4, 8)
    with refused(where="^axis 3: extent 100 isn't divisible by 4 parts × 8; 96 and 128 are$"):
        check(100, 4, 8, axis=3)
    with refused(where="^extent 12 isn't divisible by 4 parts × 8; 32 are$"):
        check(12, 4, 8)


def saved_bytes(model, x):
    """Bytes of all storages kept for the backward pass, but the parameters' and the input's."""
    apart = {t.untyped_storage().data_ptr() for t in (x, *model.parameters(), *model.buffers())}
    kept = {}

    def pack(t):
        if t.untyped_storage().data_ptr() not in apart:
            kept[t.untyped_storage().data_ptr()] = t.untyped_storage()  # holds it, so no address comes twice
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        model(x)
    return sum(storage.nbytes() for storage in kept.values())


def activations(settings):
    x, plain = torch.randn(1, 1, 32, 32, 32), build("VolumeUNet", **{"base_filters": 4, "depth": 3} | settings)
    whole = saved_bytes(plain, x)
    halves = partition(copy.deepcopy(plain), 2, GROUPS["pair"]), split(x, 2, GROUPS["pair"])
    return [saved_bytes(*halves) / whole, saved_bytes(partition(plain, 2), split(x, 2)) / whole]


@pytest.mark.parametrize("settings", [{}, {"norm": "instance", "up": "nearest"}, {"norm": "group", "base_filters": 8}])
def test_a_rank_keeps_its_share_of_the_activations(ranks, settings):
    for half, quarter in ranks(activations, settings):
        assert half <= 1.1 / 2 and quarter <= 1.1 / 4


def sums_and_gradients():
    rank, x = dist.get_rank(), torch.randn(2, 3, 8, dtype=torch.float64)
    part = split(x, 2).requires_grad_()
    whole = gather(part, 2)
    assert torch.equal(whole, x) and torch.equal(gather(split(x.long(), 2), 2), x.long())
    weights = torch.randn(4, 2, 3, 8, dtype=torch.float64)  # each rank's loss is another
    (whole * weights[rank]).sum().backward()
    assert torch.allclose(part.grad, split(weights.sum(0), 2), atol=1e-14)

    part.grad = None
    all_sums = total(part.sum(2))
    assert torch.allclose(all_sums, x.sum(2))
    (all_sums * weights[rank, ..., 0]).sum().backward()
    assert torch.allclose(part.grad, weights.sum(0)[..., :1].expand(2, 3, 2), atol=1e-14)

    pair = GROUPS["pair"]
    assert torch.equal(gather(split(x, 2, pair), 2, pair), x) and float(total(torch.ones(()), pair)) == 2
    return True


def test_totals_and_gathered_tensors_have_their_true_adjoints(ranks):
    assert all(ranks(sums_and_gradients))


def test_one_process_has_the_plain_network():
    model, x = VOLUMES["batch"](), torch.randn(1, 2, 8, 8, 8)
    before = [type(m) for m in model.modules()]
    synchronize(partition(model, 3))
    assert [type(m) for m in model.modules()] == before
    assert torch.equal(gather(split(x, 3), 3), x) and total(x) is x
    model(x).sum().backward()
    grads = [p.grad.clone() for p in model.parameters()]
    reduce_grads(model)
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), grads, strict=True))
