"""A network from a file beside a recipe is trained, resumed, applied and evaluated as the suite's own are."""

import json

import pandas as pd
import pytest
import toys

from lib.files import checksum, read

pytestmark = [pytest.mark.whole, pytest.mark.timeout(600)]

NETWORK = '''
"""A chain of convolutions."""

from torch import nn


class Chain(nn.Module):
    """(N, in_chans, H, W) → (N, num_classes, H, W)."""

    input = "slices"
    tiny = {"chans": 3}

    def __init__(self, in_chans, num_classes, chans=16):
        super().__init__()
        sizes = [in_chans, chans, chans]
        self.layers = nn.Sequential(*(x for a, b in zip(sizes, sizes[1:]) for x in (nn.Conv2d(a, b, 3, padding=1), nn.ReLU())))
        self.last = nn.Conv2d(chans, num_classes, 1)

    def forward(self, image):
        return self.last(self.layers(image))
'''
RECIPE = """
- {task_name: prepare, notebook: 12_prepare_slices, data: data/slices}
- {task_name: train_chain, network_type: chain:Chain, data: data/slices, epochs: 2}
- {task_name: again, notebook: 26_predict, saved_network_weights: train_chain, evaluate: true}
"""


def test_a_network_of_ones_own_goes_the_whole_way(tmp_path):
    (tmp_path / "chain.py").write_text(NETWORK)
    done = toys.recipe(tmp_path, RECIPE, "--quick")
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "runs" / "train_chain").iterdir()
    about = read(run / "model_weights" / "model.json")
    assert about["name"] == "chain:Chain:slices" and about["settings"]["chans"] == 3
    recorded = {name: total for each in read(run / "manifest.json")["inputs"] for name, total in each["sha256"].items()}
    assert recorded["chain.py"] == checksum(tmp_path / "chain.py") == about["code"]["chain.py"]
    (predicted,) = (tmp_path / "runs" / "again").iterdir()
    trained, again = (json.loads((r / "metrics.json").read_text())["headline"] for r in (run, predicted))
    assert trained["test"]["anterior"] == again["test"]["anterior"]
    longer = toys.recipe(
        tmp_path, RECIPE.replace("epochs: 2", "epochs: 3"), "--quick", "--resume", "--only", "train_chain"
    )
    assert longer.returncode == 0, longer.stderr
    (tmp_path / "chain.py").write_text(NETWORK.replace("chans=16", "chans=8"))
    changed = toys.recipe(
        tmp_path, RECIPE.replace("epochs: 2", "epochs: 3"), "--quick", "--resume", "--only", "train_chain"
    )
    assert changed.returncode == 0 and "begins again" in changed.stdout, changed.stdout
    assert len(list((tmp_path / "runs" / "train_chain").iterdir())) == 2
    assert len(pd.read_csv(run / "history.csv")) >= 2
