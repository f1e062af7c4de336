"""A user's k-space files, of any format, for a prepared set: as they are in fastMRI's or SNU's layout, others written so."""

from pathlib import Path

from lib import InputError
from lib.data import fastmri_file
from lib.data.formats.opening import open, scan_files
from lib.data.formats.record import KspaceScan
from lib.data.formats.writing import write_fastmri
from lib.data.index import check_source
from lib.files import file_name
from lib.text import value_or_error

HDF5 = (".h5", ".hdf5")


def find(source: Path) -> list[fastmri_file.KspaceFile] | list[KspaceScan]:
    """The k-space files below `source`, or the one file, their headers checked; InputError for one that can't be used."""
    foreign = _foreign(Path(source))
    return foreign or fastmri_file.find(source)


def in_fastmri_layout(source: Path, folder: Path) -> Path:
    """The folder of the files in fastMRI's layout: `source`, or `folder` with all scans written there, each said in a line.

    Each file counts as a person's, and keeps its name.

    Parameters
    ----------
    source : a folder or a file
    folder : for files of other formats; what else lies in it goes

    Raises
    ------
    InputError
        For a file that can't be used.
    """
    scans = _foreign(Path(source))
    if not scans:
        return Path(source)
    if folder.resolve().is_relative_to(Path(source).resolve()):
        raise InputError(folder, "within the folder of the scans", "a prepared set in a place of its own")
    check_source(folder.parent, str(Path(source).absolute()))
    paths = [folder / f"{file_name(scan.path.name.split('.')[0])}.h5" for scan in scans]
    for old in folder.glob("*.h5") if folder.is_dir() else ():
        if old not in paths:  # of a scan that isn't there any more
            old.unlink()
    for number, (scan, path) in enumerate(zip(scans, paths, strict=True), 1):
        write_fastmri(scan, path)
        print(f"[{number}/{len(scans)}] {scan.path.name} ({scan.format}) → {path.name}", flush=True)
    return folder


def _foreign(source: Path) -> list[KspaceScan]:
    """The scans below `source` if their first isn't in fastMRI's or SNU's layout, but known; else []."""
    paths = [path for path in value_or_error(scan_files, source)[0] or () if path.is_file()]
    own = [path for path in paths if path.suffix.lower() in HDF5]
    if own and value_or_error(fastmri_file.kspace_file, own[0])[0]:
        return []
    if own and not isinstance(value_or_error(open, own[0])[0], KspaceScan):
        return []  # fastMRI's reader says what is wrong
    scans: list[KspaceScan] = []
    names: dict[str, Path] = {}
    for path in paths:
        scan = open(path)
        if not isinstance(scan, KspaceScan):
            raise InputError(path, f"images ({scan.format})", "k-space")
        first = names.setdefault(path.name.split(".")[0], path)
        if first != path:
            raise InputError(path, f"{first} has the same name", "different names: a scan goes by it")
        scans.append(scan)
    return scans
