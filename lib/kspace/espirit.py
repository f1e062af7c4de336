"""ESPIRiT: coil sensitivities from the fully sampled center of k-space (Uecker et al., MRM 2014, one set of maps).

Small windows of k-space lie in a space that has fewer dimensions than the windows have samples. Put through the projection
onto it, window by window, k-space of smooth coils stays as it is; in the image that projection is a C × C matrix at each
pixel, whose eigenvector of eigenvalue 1 is the coils' sensitivities there.
"""

from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from lib import InputError
from lib.kspace.fourier import ifft2c
from lib.text import pluralize


@torch.no_grad()
def espirit(
    calibration: Tensor,
    shape: tuple[int, int],
    kernel: int = 6,
    threshold: float = 0.02,
    crop: float | tuple[float, ...] = 0.95,
) -> Tensor:
    """Sensitivity maps (C, H, W), complex64, of RSS 1; 0 where the eigenvalue is below `crop` (no signal: air).

    With several values of `crop`, as many sets of maps (sets, C, H, W), by falling eigenvalues: where two parts of an
    object lie on one pixel, the second eigenvalue is about 1, too.

    Parameters
    ----------
    calibration : (C, h, w) complex, the fully sampled center of k-space
    shape : (H, W), of the image
    kernel : side of the windows, in samples
    threshold : singular values of the windows' matrix below this share of the largest count as noise
    crop : 0 … 1, least eigenvalue of a pixel with signal, one or one for each set; 0 keeps all pixels

    The first coil's map is real and not negative, as in sigpy: the image keeps that coil's phase.
    Raises InputError where fewer windows fit into the calibration than they have unknowns.
    """
    coils, height, width = calibration.shape
    windows = calibration.unfold(1, kernel, 1).unfold(2, kernel, 1) if min(height, width) >= kernel else calibration[:0]
    count, unknowns = windows.shape[1] * windows.shape[2] if len(windows) else 0, coils * kernel**2
    if count * 4 < unknowns:
        raise InputError(
            f"the center of k-space, {height}×{width}",
            f"{count} windows of {kernel}×{kernel} for {pluralize(coils, 'coil')}",
            f"at least {-(-unknowns // 4)}",
        )
    rows = windows.permute(1, 2, 0, 3, 4).reshape(count, unknowns).to(torch.complex128)
    values, vectors = torch.linalg.eigh(rows.mH @ rows)  # ascending; squares of the singular values
    signal = vectors[:, values > threshold**2 * values[-1]].conj()  # columns: windows in k-space's own units
    matrices = _image_matrices(signal @ signal.mH, coils, kernel, shape)
    eigenvalues, eigenvectors = _eigh(matrices)  # ascending
    sets = [
        _normalized(eigenvectors[..., -1 - i], eigenvalues[..., -1 - i] > least)
        for i, least in enumerate(crop if isinstance(crop, tuple) else (crop,))
    ]
    return torch.stack(sets) if isinstance(crop, tuple) else sets[0]


def _eigh(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """`torch.linalg.eigh` of (H, W, C, C), rows of it side by side: on a CPU torch takes one matrix after the other."""
    threads = torch.get_num_threads() if matrices.device.type == "cpu" else 1
    if threads == 1:
        return torch.linalg.eigh(matrices)
    with ThreadPoolExecutor(threads) as pool:
        parts = list(pool.map(torch.linalg.eigh, matrices.tensor_split(threads)))
    return torch.cat([values for values, _ in parts]), torch.cat([vectors for _, vectors in parts])


def _normalized(maps: Tensor, inside: Tensor) -> Tensor:
    """Maps (H, W, C) as (C, H, W), the first coil's without its phase, 0 where not `inside`."""
    maps = maps.movedim(-1, 0)
    first = maps[:1]
    return maps * torch.where(first.abs() > 0, first.conj() / first.abs().clamp_min(1e-12), 1) * inside


def _image_matrices(projection: Tensor, coils: int, kernel: int, shape: tuple[int, int]) -> Tensor:
    """The projection of all windows (C·k², C·k²), their mean over the windows that hold a sample, at each pixel: (H, W, C, C).

    Averaged over the windows, it convolves k-space with h[δ] = Σ P[(c, j), (d, l)] / k² over j − l = δ. The matrices are
    Hermitian: their lower triangles are made alone, the rest is 0.
    """
    parts = projection.reshape(coils, kernel, kernel, coils, kernel, kernel)
    (height, width), (rows, columns) = shape, torch.tril_indices(coils, coils)
    response = torch.zeros(len(rows), height, width, dtype=torch.complex64, device=projection.device)
    for j in range(kernel):
        for i in range(kernel):
            top, left = height // 2 + j, width // 2 + i
            block = parts[rows, j, i, columns].flip(-2, -1)  # l runs down, so that j − l runs up
            response[..., top - kernel + 1 : top + 1, left - kernel + 1 : left + 1] += block
    matrices = response.new_zeros(coils, coils, height, width)
    matrices[rows, columns] = ifft2c(response) * ((height * width) ** 0.5 / kernel**2)
    return matrices.permute(2, 3, 0, 1)


def center_of(kspace: Tensor, mask: Tensor, most: int = 24) -> Tensor:
    """The fully sampled block (C, h, w) about the center of kspace (C, H, W), of at most `most`² samples.

    mask (H, W) or (W,), True where sampled. InputError where the center itself isn't.
    """
    sampled = mask.expand(kspace.shape[-2:])
    middle = [n // 2 for n in sampled.shape]
    ends = [[m, m + 1] for m in middle]
    if not sampled[middle[0], middle[1]]:
        raise InputError("mask", "the center of k-space isn't sampled", "a fully sampled block there")
    growing = True
    while growing:  # one row or column at a time, on the four sides in turn
        growing = False
        for axis in (0, 1):
            for side, step in ((0, -1), (1, 1)):
                wider = [list(e) for e in ends]
                wider[axis][side] += step
                (top, bottom), (left, right) = wider
                inside = top >= 0 and left >= 0 and bottom <= sampled.shape[0] and right <= sampled.shape[1]
                small = (bottom - top) * (right - left) <= most**2
                if inside and small and sampled[top:bottom, left:right].all():
                    ends, growing = wider, True
    (top, bottom), (left, right) = ends
    return kspace[..., top:bottom, left:right]
