"""The encoding physics: Fourier transforms, masks, coils, GRAPPA, SENSE and real-time sampling."""

from lib.kspace.fourier import (
    center_crop,
    fft2c,
    fftc,
    flip_count,
    flip_kspace,
    flip_mask,
    ifft2c,
    ifftc,
    rss,
    sens_expand,
    sens_reduce,
    shift_kspace,
)  # fmt: skip

__all__ = [
    "center_crop", "fft2c", "fftc", "flip_count", "flip_kspace", "flip_mask", "ifft2c", "ifftc", "rss", "sens_expand",
    "sens_reduce", "shift_kspace",
]  # fmt: skip
