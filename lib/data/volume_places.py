"""Where volumes and their segmentations lie, by their headers alone: on one grid, in one place, each person in one split."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from nibabel.affines import voxel_sizes

from lib import InputError
from lib.data import grids, nifti
from lib.data.lits_matching import VolumePair


def placed(
    jobs: list[tuple[str, VolumePair]], shared: Iterable[str] = (), npy_voxel: Sequence[float] = (1, 1, 1),
    affine_from: str = "both", identity_voxel: Sequence[float] | Mapping[str, Sequence[float]] | None = None,
) -> list[tuple[np.ndarray, np.ndarray | None]]:  # fmt: skip
    """Where volumes and segmentations lie, by their headers alone.

    Parameters
    ----------
    jobs : (split, pair) of each case
    shared : persons who may be in two splits
    npy_voxel : mm along x, y, z of npy files
    affine_from : see `lib.data.grids.agreed`
    identity_voxel : mm along x, y, z of the volumes whose affine is the identity while others' voxels aren't of 1 mm,
        such as LiTS's 28 to 47; one for all or {id: mm}

    Returns
    -------
    The affines (4, 4) of each case's volume and segmentation, of indices (i, j, k, 1) to mm.

    Raises
    ------
    InputError
        Naming the files: another person in two splits, another grid, an identity without its mm.
    """
    owner: dict[str, tuple[str, Path]] = {}
    affines, lost = [], []
    for name, pair in jobs:
        first, other = owner.setdefault(pair.person, (name, pair.volume))
        if first != name and pair.person not in shared:
            raise InputError(pair.volume, f"in {name}, {other.name} of the same person in {first}: split by person")
        shape, affine = nifti.header(pair.volume, voxel=npy_voxel, channels=len(pair.channels))
        for path in {*pair.more} - {pair.volume}:
            grid, mine = nifti.header(path, voxel=npy_voxel)
            if grid != shape or grids.apart(shape, affine, mine):
                raise InputError(path, f"another grid than {pair.volume.name}", "channels of one shape and affine")
        label_affine = None
        if pair.segmentation:
            other = nifti.header(pair.segmentation, voxel=npy_voxel)
            affine, label_affine = grids.agreed(pair.volume, pair.segmentation, (shape, affine), other, affine_from)
        affines.append((affine, label_affine))
        lost.append(pair.volume.suffix != ".npy" and grids.is_lost(shape, affine))
    if all(is_lost or np.allclose(voxel_sizes(affine), 1) for is_lost, (affine, _) in zip(lost, affines, strict=True)):
        lost = lost if all(lost) else []  # 1 mm beside 1 mm, as some of the Decathlon's
    without = [pair.volume for _, pair in jobs if pair.volume.suffix == ".npy"]
    if without:
        words = f"{len(without)} files such as {without[0].name} say no spacing nor orientation"
        print(f"{words}: taken as x, y, z in RAS+ with voxels of {_mm(npy_voxel)}")
    return _sized(jobs, affines, lost, identity_voxel) if any(lost) else affines


def _sized(jobs, affines, lost: list[bool], voxel) -> list[tuple[np.ndarray, np.ndarray | None]]:
    """Affines with the voxels' size in those that have `lost` it."""
    first = jobs[lost.index(True)][1]
    words = f"the identity as affine, which says no voxel size ({sum(lost)} of {len(jobs)} volumes)"
    if voxel is None and not all(lost):
        other = jobs[lost.index(False)][1].volume
        raise InputError(first.volume, f"{words}, unlike {other}: give identity_voxel, mm along x, y, z")
    voxel, sized = voxel or (1, 1, 1), list(affines)
    for i in np.flatnonzero(lost):
        name = jobs[i][1].id
        mm = voxel.get(name) if isinstance(voxel, Mapping) else voxel
        if mm is None or len(mm) != 3 or not min(mm) > 0:
            raise InputError("identity_voxel", f"{name}: got {mm}", "mm along x, y, z")
        sized[i] = tuple(None if affine is None else np.diag([*mm, 1.0]) @ affine for affine in affines[i])
    print(
        f"{first.volume.name}: {words}: {'sizes as given' if isinstance(voxel, Mapping) else f'taken as {_mm(voxel)}'}"
    )
    return sized


def _mm(voxel: Sequence[float]) -> str:
    return f"{'×'.join(f'{v:g}' for v in voxel)} mm"
