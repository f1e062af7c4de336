"""Losses, and the metrics shown while training, by name: each family of networks has its own ("ssim" differs)."""

import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import partial, update_wrapper
from typing import Any

from torch import Tensor

from lib import InputError, metrics
from lib.losses import reconstruction, segmentation
from lib.models import FAMILIES
from lib.text import one_of

DATA_SETTINGS = ("foreground_threshold",)  # settings that say something of the data: a loss may do without them


def by_name(name: str, family: str = "kspace", **settings: Any) -> Callable[..., Tensor]:
    """The loss of a family of networks, ready to be called `(output, *targets)`.

    Parameters
    ----------
    name : matched without regard to case and underscores
    family : one of `lib.models.FAMILIES`
    **settings : the loss's own, such as class_weights or ignore_index; None: its default

    Raises
    ------
    InputError
        For an unknown name, with the nearest one, and for a setting that the loss doesn't have.
    """
    table = _table(family)
    full = _full_name("loss", name, table.LOSSES, getattr(table, "ALIASES", {}))
    loss, given = table.LOSSES[full], {key: value for key, value in settings.items() if value is not None}
    known = inspect.signature(loss).parameters.items()
    own = {key for key, parameter in known if parameter.default is not inspect.Parameter.empty}
    for key in given:
        if key not in own and key not in DATA_SETTINGS:
            raise InputError(key, f"the loss {full} has no such setting")
    given = {key: value for key, value in given.items() if key in own}
    return loss(**given) if isinstance(loss, type) else partial(loss, **given) if given else loss


def training_metric(name: str, family: str = "kspace", ignore_index: int | None = None) -> Callable[..., Tensor]:
    """The metric that goes by `name` while networks of the family train; of k-space its own name ends in `_slices`.

    ignore_index: the label of pixels that aren't labeled; None: all are.
    """
    table = _table(family)
    plain = str(name).lower().removesuffix("_slices")
    known = table.TRAINING_METRICS
    if table is reconstruction:
        known = {n: reconstruction.by_slice(n) for n in metrics.standard()} | known
    metric = known[_full_name("metric", plain, known, getattr(table, "ALIASES", {}))]
    return metric if ignore_index is None else update_wrapper(partial(metric, ignore_index=ignore_index), metric)


def rises(name: str) -> bool:
    """Whether more is better of a training metric; a loss falls."""
    plain = str(name).lower().removesuffix("_slices")
    return (
        not metrics.METRICS[plain].lower_is_better
        if plain in metrics.METRICS
        else plain in segmentation.HIGHER_IS_BETTER
    )


def _table(family: str) -> Any:
    """The module with the family's LOSSES, TRAINING_METRICS and, if it has any, ALIASES."""
    return importlib.import_module(f"lib.losses.{FAMILIES[family].losses}")


def _full_name(what: str, name: str, table: Iterable[str], aliases: Mapping[str, str]) -> str:
    known = {_plain(n): n for n in table} | {_plain(a): n for a, n in aliases.items() if n in table}
    if _plain(name) in known:
        return known[_plain(name)]
    allowed = [*table, *(a for a, n in aliases.items() if n in table)]
    raise InputError(f"{what} {name!r}", *one_of(name, allowed))


def _plain(name: str) -> str:
    return str(name).lower().replace("_", "")
