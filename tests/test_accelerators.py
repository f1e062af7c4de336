"""The module that knows accelerators: on a CPU, and with torch's modules of other kinds played."""

import re
import types

import pytest
import torch

from lib import ROOT, accelerators

CPU = torch.device("cpu")


def test_on_a_cpu_nothing_is_asked_of_an_accelerator():
    if torch.cuda.is_available():
        pytest.skip("there is one")
    assert (accelerators.kind(), accelerators.count(), accelerators.names()) == ("cpu", 0, [])
    assert not accelerators.pins(CPU) and not accelerators.is_accelerator("cpu") and accelerators.held(CPU) == 0
    assert accelerators.peak(CPU) is None and accelerators.random_state(CPU) is None
    accelerators.empty_cache(), accelerators.synchronize(CPU), accelerators.start_peak(CPU)
    torch.manual_seed(0)
    with accelerators.random_states_kept(CPU):
        first = torch.rand(3)
    assert torch.equal(first, torch.rand(3))  # put back


@pytest.fixture
def xpu(monkeypatch):
    """An Intel GPU, played: what it was asked is in `.asked`."""
    asked = []
    module = types.SimpleNamespace(
        asked=asked, device_count=lambda: 2, get_device_name=lambda i: f"Arc {i}", set_device=lambda n: asked.append(("set", n)),
        empty_cache=lambda: asked.append("empty"), synchronize=lambda: asked.append("wait"),
        reset_peak_memory_stats=lambda d: asked.append(("reset", d.index)), max_memory_allocated=lambda d: 7,
        memory_allocated=lambda d: 3, get_rng_state=lambda d: torch.tensor([d.index]),
        set_rng_state=lambda s, d: asked.append((int(s), d.index)),
    )  # fmt: skip
    monkeypatch.setattr(torch, "xpu", module)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: torch.device("xpu"))
    return module


def test_another_kind_is_used_by_its_own_module(xpu):
    assert (accelerators.kind(), accelerators.count(), accelerators.names()) == ("xpu", 2, ["Arc 0", "Arc 1"])
    place = accelerators.use(1)
    assert place == torch.device("xpu", 1) and accelerators.pins(place) and accelerators.is_accelerator(place)
    accelerators.empty_cache(), accelerators.synchronize(place), accelerators.start_peak(place)
    assert accelerators.peak(place) == 7 and accelerators.held(place) == 3
    accelerators.set_random_state(torch.device("xpu", 0), accelerators.random_state(place))
    assert xpu.asked == [("set", 1), "empty", "wait", ("reset", 1), (1, 0)]


def test_what_a_kind_does_not_count_is_not_known(monkeypatch):
    monkeypatch.setattr(torch, "mps", types.SimpleNamespace(device_count=lambda: 1, empty_cache=lambda: None))
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: torch.device("mps"))
    place = accelerators.use(0)
    assert place.type == "mps" and accelerators.names() == ["mps"] and not accelerators.pins(place)
    assert (
        accelerators.peak(place) is None and accelerators.random_state(place) is None and accelerators.held(place) == 0
    )


def test_no_other_module_names_a_kind_of_accelerator():
    named = {}
    for path in [*sorted((ROOT / "lib").rglob("*.py")), *sorted((ROOT / "notebooks").glob("*.ipynb"))]:
        code = re.sub(r'""".*?"""|#.*', "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        if path.name != "accelerators.py" and (
            found := re.findall(r"torch\.(?:cuda|xpu|mps)\b|[\"'](?:cuda|xpu|mps)[\"']", code)
        ):
            named[str(path.relative_to(ROOT))] = found
    assert named == {}
