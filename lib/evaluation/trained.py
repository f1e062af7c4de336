"""The networks that an evaluation compares: loaded from its inputs, checked, ranked with what their training took."""

from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn

from lib import InputError, models, runs
from lib.evaluation.ladder import per_person
from lib.evaluation.run_comparison import distinct
from lib.files import read
from lib.models.varnet_rcan import SelfEnsemble
from lib.runs import weights
from lib.runs.weights import Trained


def load(inputs: list[str], self_ensemble: dict[str, Any] | None = None) -> dict[str, Trained]:
    """The networks of runs, by their label or class, or by their task if two are called the same.

    Parameters
    ----------
    inputs : task names (their newest good run), run folders or folders of weights
    self_ensemble : settings of `SelfEnsemble`; each cascade is there a second time with them

    Returns
    -------
    Each with its run folder as `run`; a self-ensemble, which wasn't trained, with none.

    Raises
    ------
    InputError
        If there is no such run, or no cascade for `self_ensemble`.
    """
    trained = [weights.load(run)._replace(run=run) for run in dict.fromkeys(map(runs.find, inputs))]
    names = distinct(
        trained,
        lambda each: getattr(each.model, "label", type(each.model).__name__),
        lambda each: _task(each.run),
        lambda each: f"{each.run.parent.name} {each.run.name}",
    )
    networks = dict(zip(names, trained, strict=True))
    for name, each in zip(names, trained, strict=True):
        if self_ensemble and models.entry(each.model).batch == "cascade":
            twice = each._replace(model=SelfEnsemble(each.model, **self_ensemble), run=None)
            networks[f"{name} + self-ensemble"] = twice
    if self_ensemble and len(networks) == len(trained):
        raise InputError("self_ensemble", "none of the inputs is a cascade (VarNetRCAN)")
    return networks


def _task(run: Path) -> str:
    """The task of a run folder; of a folder of weights its own name."""
    return run.parent.name if (run / "status.json").exists() else run.name


def check_kind(networks: dict[str, nn.Module], kind: str, cine: bool) -> None:
    """InputError if a set or a network is for cine and k-space is expected, or the other way round.

    Parameters
    ----------
    networks : by name
    kind : of the set, as its set.json says
    cine : whether cine is expected
    """
    if (kind == "cine") != cine:
        notebook = "31_evaluate_cine" if kind == "cine" else "30_evaluate_kspace"
        raise InputError("data", f"a set of {kind}", "cine" if cine else "k-space", f"{notebook} evaluates it")
    for name, model in networks.items():
        if (models.entry(getattr(model, "model", model)).family == "cine") != cine:  # inside a SelfEnsemble
            raise InputError(
                "inputs", f"{name} is a network for {'k-space' if cine else 'cine'}, this set is the other kind"
            )


def of_real_people(scores: pd.DataFrame) -> pd.DataFrame:
    """The rows of `compare_series` whose hearts aren't drawn; all if every one is."""
    return scores if scores.simulated.all() else scores[~scores.simulated]


def ranking(scores: pd.DataFrame, networks: dict[str, Trained]) -> pd.DataFrame:
    """Networks by SSIM, the mean over real people: quality, parameters, minutes and peak MiB of training.

    Parameters
    ----------
    scores : of `compare_series`
    networks : of `load`

    Returns
    -------
    A row per network, the best first; what isn't known of its training is NaN.
    """
    rows, people = {}, per_person(of_real_people(scores))
    for name, each in networks.items():
        rows[name] = people.loc[people.method == name, ["ssim", "psnr", "ssim3d", "nrmse"]].mean().to_dict()
        rows[name] |= {"parameters": sum(p.numel() for p in each.model.parameters())} | training_cost(each)
    table = pd.DataFrame.from_dict(rows, orient="index")
    return table.sort_values("ssim", ascending=False) if rows else table


def training_cost(network: Trained) -> dict[str, float]:
    """Minutes and peak MiB that training a network of `load` took; what isn't known is NaN."""
    seconds = peak = float("nan")
    if network.run and (network.run / "history.csv").is_file():
        seconds = pd.read_csv(network.run / "history.csv").seconds.sum()
        peak = read(network.run / "manifest.json").get("peak_bytes_of_training") or peak
    return {"training, min": seconds / 60, "training, peak MiB": peak / 2**20}
