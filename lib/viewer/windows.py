"""Gray windows: which panels share one, and what it is at first."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lib.plots.panels import check_names, window_of

MOST_APART = 4  # widths of two volumes' windows over each other, up to which they share one
Window = tuple[float, float]


def rounded(low: float, high: float) -> Window:
    """A window in numbers that a person would write: three digits of its width, 0 for a low end of less than a twentieth of it."""
    step = 10.0 ** (math.floor(math.log10(high - low)) - 2)
    digits = max(0, -round(math.log10(step)))
    near = 0.0 if abs(low) < (high - low) / 20 else low
    return round(round(near / step) * step, digits), round(round(high / step) * step, digits)


def groups(
    samples: Mapping[str, Any], tied: Iterable[tuple[str, str]], window: Window | Mapping[str, Window] | None = None
) -> tuple[dict[str, int], list[Window]]:  # fmt: skip
    """Which volumes share a window, and the windows.

    Those that errors compare share one with what they are compared with; others where their own windows' widths are
    within MOST_APART of each other. A group with "truth" has the truth's window.

    Parameters
    ----------
    samples : some voxels of each volume, by name; the first is the reference
    tied : pairs that share one
    window : (low, high) of the first group; {volume: (low, high)}: those have a window of their own; None: from the data

    Raises
    ------
    InputError
        For a window that is none, or of a volume that isn't there.
    """
    given = {name: window_of({}, one) for name, one in window.items()} if isinstance(window, Mapping) else {}
    check_names("SliceViewer, window", given, samples)
    own = given | {name: window_of({name: sample}) for name, sample in samples.items() if name not in given}
    reference = "truth" if "truth" in own else next(iter(own), None)
    tied_names = {name for pair in tied for name in pair}
    members: list[list[str]] = []
    for name in sorted(own, key=lambda name: name != reference):  # the reference first
        alike = (group for group in members if _alike(group[0], name, own, given))
        together = members[:1] if name not in given and {name, reference} <= tied_names else []
        group = next(iter([*together, *alike]), None)
        (members.append([name]) if group is None else group.append(name))
    windows = [given.get(group[0]) or rounded(*_common(group, own, samples)) for group in members]
    if window is not None and not given:
        windows[:1] = [window_of({}, window)]
    windows = windows or [window_of({})]
    return {name: i for i, group in enumerate(members) for name in group}, windows


def _alike(one: str, other: str, own: Mapping[str, Window], given: Mapping[str, Window]) -> bool:
    """Whether two volumes share a window: given ones that are the same, others of about one width."""
    if one in given or other in given:
        return one in given and other in given and own[one] == own[other]
    widths = [high - low for low, high in (own[one], own[other])]
    return max(widths) <= MOST_APART * min(widths)


def _common(group: Sequence[str], own: Mapping[str, Window], samples: Mapping[str, Any]) -> Window:
    """The truth's window, else that of all together."""
    alone = "truth" if "truth" in group else group[0] if len(group) == 1 else None
    return own[alone] if alone else window_of({name: samples[name] for name in group})
