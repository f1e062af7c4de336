"""Cases read ahead by worker processes."""

from collections.abc import Iterator

from torch.utils.data import DataLoader, Dataset

from lib import progress
from lib.data.fastmri import KspaceCase, KspaceSlices


class _Cases(Dataset):
    """Cases without full k-space."""

    def __init__(self, slices: KspaceSlices):
        self.slices = slices

    def __getitem__(self, i: int) -> KspaceCase:
        case = self.slices.case(i)
        return case._replace(kspace=case.masked_kspace)


def _as_it_is(case: KspaceCase) -> KspaceCase:
    return case


def reading(slices: KspaceSlices, indices: list[int], num_workers: int = 0) -> Iterator[KspaceCase]:
    """The cases of slices, without full k-space, each read once.

    Parameters
    ----------
    slices : the data
    indices : of the slices, in the order wanted
    num_workers : processes that read; 0: this one
    """
    options = {"batch_size": None, "num_workers": num_workers, "collate_fn": _as_it_is}
    for case in DataLoader(_Cases(slices), sampler=indices, **options):
        progress.made()
        yield case


def without_kspace(case: KspaceCase) -> KspaceCase:
    """A case's images alone, which fit into memory for a whole file."""
    return case._replace(kspace=None, masked_kspace=None, grappa=None, sensitivity_maps=None)
