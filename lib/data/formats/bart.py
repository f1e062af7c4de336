"""BART's pairs of files: name.hdr with the sizes in text, name.cfl with complex64 in Fortran's order."""

import math
from pathlib import Path

import numpy as np

from lib import InputError
from lib.files import check_file

MOST_HEADER = 1 << 16
AXES = "x y z c"  # the first of BART's sixteen: readout, phase encodes, coils


def read(path: Path) -> np.ndarray:
    """The array of a pair, read where it is used, axes of size 1 at the end dropped; either file names both.

    InputError if one is missing, the header has no sizes, and if there are fewer numbers than it says.
    """
    header, data = path.with_suffix(".hdr"), path.with_suffix(".cfl")
    for file in (header, data):
        check_file(file)
    with header.open(encoding="utf-8", errors="replace") as file:
        lines = [line.strip() for line in file.read(MOST_HEADER).splitlines()]
    try:
        sizes = [int(n) for n in lines[lines.index("# Dimensions") + 1].split()]
    except (ValueError, IndexError):
        sizes = []
    if not sizes or min(sizes) < 1 or len(sizes) > 32:
        raise InputError(header, "no sizes under '# Dimensions'", "such as 256 256 1 8")
    expected, size = 8 * math.prod(sizes), data.stat().st_size
    if size != expected:
        raise InputError(data, f"{size:,} bytes", f"{expected:,} for {' × '.join(map(str, sizes))} in {header.name}")
    while len(sizes) > 2 and sizes[-1] == 1:
        sizes.pop()
    return np.memmap(data, np.complex64, "r", shape=tuple(sizes), order="F")
