"""HDF5 that others wrote: attributes of one, links that lead nowhere, odd kinds, locks; every reader names file and key."""

import os
import subprocess
import sys

import h5py
import numpy as np
import pytest
from refusals import refused

from lib import ROOT, InputError, viewer
from lib.data import case_files, cine_files
from lib.data.fastmri import split_files
from lib.data.fastmri_file import kspace_file
from lib.data.fastmri_index import index
from lib.data.hdf5 import dataset
from lib.evaluation.look import look
from lib.inference import results

KSPACE = np.random.default_rng(0).standard_normal((2, 3, 16, 12)).astype(np.complex64)
IMAGES = np.sqrt(
    (np.abs(np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(KSPACE, (-2, -1)), norm="ortho"), (-2, -1))) ** 2).sum(1)
)
SERIES = np.ones((2, 12, 12, 4), np.float32)


def write(path, content=(), **attributes):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for key, value in dict(content).items():
            file[key] = value
        for key, value in attributes.items():
            file.attrs[key] = value
    return path


def snu(folder, label=IMAGES, **attributes):
    write(folder / "image" / "a.h5", {"image_label": label}, **attributes)
    return write(folder / "kspace" / "a.h5", {"kspace": KSPACE})


ONES = {
    "numpy": lambda x: np.array([x.encode() if isinstance(x, str) else x]),
    "MATLAB": lambda x: np.array([[x]]) if isinstance(x, float) else np.array([x.encode()], "S8"),
    "netCDF": lambda x: np.array([x], h5py.string_dtype()) if isinstance(x, str) else np.array([x], ">f8"),
    "plain": lambda x: x,
    "bytes": lambda x: np.bytes_(x) if isinstance(x, str) else np.float32(x),
}


@pytest.mark.parametrize("name", ONES)
def test_attributes_may_be_arrays_of_one(tmp_path, name):
    one = ONES[name]
    path = write(
        tmp_path / "k" / "a.h5", {"kspace": KSPACE, "reconstruction_rss": IMAGES}, max=one(3.5), patient_id=one("P1")
    )
    file = kspace_file(path)
    assert (file.maximum, file.person) == (3.5, "P1")
    assert kspace_file(snu(tmp_path, max=one(3.5))).maximum == 3.5
    series = write(tmp_path / "x.h5", {"imagesRecon": SERIES[:1]}, names=one("heart"))
    assert cine_files.series_file(series, "x").names == ("heart",)


@pytest.mark.parametrize("value", [np.ones(2), "tall", np.nan, np.array([]), h5py.Empty("f4")])
def test_a_maximum_that_is_no_number_is_refused(tmp_path, value):
    path = write(tmp_path / "a.h5", {"kspace": KSPACE, "reconstruction_rss": IMAGES}, max=value)
    with refused(where="a.h5", found="attribute max: .*", expected="one finite number"):
        kspace_file(path)


def test_persons_of_other_kinds_are_taken_or_refused(tmp_path):
    for value, person in ((7, "7"), (h5py.Empty("S1"), "a"), ("", "a"), (b"P\xe4", "Pä")):
        assert kspace_file(write(tmp_path / "a.h5", {"kspace": KSPACE}, patient_id=value)).person == person
    with refused(found="attribute patient_id: an array"):
        kspace_file(write(tmp_path / "a.h5", {"kspace": KSPACE}, patient_id=np.array([b"P1", b"P2"])))


READERS = {
    "k-space": lambda p, v: kspace_file(write(p / "a.h5", {"kspace": v})),
    "target": lambda p, v: kspace_file(write(p / "a.h5", {"kspace": KSPACE, "reconstruction_rss": v})),
    "mask": lambda p, v: kspace_file(write(p / "a.h5", {"kspace": KSPACE, "mask": v})),
    "header": lambda p, v: kspace_file(write(p / "a.h5", {"kspace": KSPACE, "ismrmrd_header": v})),
    "SNU": lambda p, v: kspace_file(snu(p, v)),
    "cine": lambda p, v: cine_files.series_file(write(p / "a.h5", {"imagesRecon": v}), "x"),
    "case": lambda p, v: case_files.case_file(write(p / "a.h5", {"image": v}, classes=["a"], names=["1"], spacing=[1, 1, 1])),
    "result": lambda p, v: results.read(write(p / "a.h5", {"a/input": IMAGES, "a/output": v})),
    "viewer": lambda p, v: viewer.case(write(p / "a.h5", {"a/output": v})),
    "look": lambda p, v: look(write(p / "a.h5", {"kspace": v})),
}  # fmt: skip
ODD = {
    "soft link": (h5py.SoftLink("/nowhere"), "a link to /nowhere, which isn't there"),
    "external link": (h5py.ExternalLink("gone.h5", "/x"), "a link to another file, gone.h5:/x"),
    "named type": (np.dtype("f4"), "a datatype, expected an array"),
    "empty": (h5py.Empty("f4"), "holds nothing"),
    "table": (np.zeros((2, 3, 16, 12), [("real", "f4"), ("imag", "f4")]), "type .*, expected"),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", ODD)
def test_dangling_links_and_odd_kinds_are_named(tmp_path, kind, reader):
    value, message = ODD[kind]
    with pytest.raises(InputError, match=rf"a\.h5: [\w/]+: {message}") as error:
        READERS[reader](tmp_path, value)
    assert "\n" not in str(error.value)


def test_texts_beside_arrays_are_left_out(tmp_path):
    path = write(tmp_path / "a.h5", {"a": np.full((3, 4, 4), "x", h5py.string_dtype()), "b": np.ones((3, 4, 4))})
    assert look(path)
    with refused(found="holds no array of two axes"):
        look(write(tmp_path / "b.h5", {"a": "x", "b": np.ones(3)}))


def test_a_locked_file_is_called_locked(tmp_path):
    path = write(tmp_path / "a.h5", {"kspace": KSPACE})
    code = f"import h5py, time; file = h5py.File({str(path)!r}, 'r+'); print('open', flush=True); time.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    holder.stdout.readline()
    try:
        for reader in (kspace_file, results.case_names, look):
            with refused(where="a.h5", found=r".*locked \(unable to lock file.*HDF5_USE_FILE_LOCKING=FALSE"):
                reader(path)
    finally:
        holder.kill(), holder.wait(), holder.stdout.close()


def test_a_forbidden_file_keeps_the_systems_words(tmp_path, monkeypatch):
    path = write(tmp_path / "a.h5", {"kspace": KSPACE})

    def forbidden(*_):  # root may read everything
        raise PermissionError(13, "Unable to synchronously open file (unable to open file: errno = 13)")

    monkeypatch.setattr("lib.data.hdf5.Reader", forbidden)
    with refused(where="a.h5", found="can't be opened: Permission denied"):
        kspace_file(path)


def test_too_many_open_files_are_not_called_truncated(tmp_path):
    path = write(tmp_path / "a.h5", {"kspace": KSPACE})
    code = (
        f"import resource, lib.data.fastmri_file as c\nresource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))\n"
        f"try: c.open_hdf5(c.Path({str(path)!r}))\nexcept c.InputError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert "a.h5: can't be opened: Too many open files" in done.stdout, done.stderr


def test_folders_pipes_and_links_to_nothing_are_no_files(tmp_path):
    (tmp_path / "folder.h5").mkdir()
    os.mkfifo(tmp_path / "pipe.h5")
    (tmp_path / "annex.h5").symlink_to("../.git/annex/objects/x")
    for name, message in (
        ("folder", "not a file"),
        ("pipe", "not a file"),
        ("annex", r"a link to \.\./\.git/annex"),
        ("no", "no such"),
    ):
        with pytest.raises(InputError, match=rf"{name}.h5: {message}"):
            kspace_file(tmp_path / f"{name}.h5")


def test_files_that_are_links_keep_their_names_and_neighbors(tmp_path):
    real = snu(tmp_path / "annex", max=float(IMAGES.max()))
    for part in ("kspace", "image"):
        (tmp_path / "set" / "val" / part).mkdir(parents=True)
        target = (tmp_path / "annex" / part / "a.h5").rename(tmp_path / "annex" / f"MD5E-{part}")
        (tmp_path / "set" / "val" / part / "brain.h5").symlink_to(target)
    assert not real.exists()
    index(tmp_path / "set", tmp_path / "out")
    (file,) = split_files(tmp_path / "out", "val")
    assert (file.path.name, file.person, file.target) == ("brain.h5", "person_001", "image_label")


LIMITS = "<encodingLimits><kspace_encoding_step_1><maximum>9</maximum><center>5</center></kspace_encoding_step_1></encodingLimits>"
MATRIX = "<{0}><matrixSize><x>16</x><y>12</y><z>1</z></matrixSize><fieldOfView_mm><x>32</x><y>24</y><z>5</z></fieldOfView_mm></{0}>"


RECON = MATRIX.format("reconSpace")


def header(limits=LIMITS, recon=RECON, space='xmlns="http://www.ismrm.org/ISMRMRD"', more=""):
    return f"<ismrmrdHeader {space}>{more}<encoding>{MATRIX.format('encodedSpace')}{recon}{limits}</encoding></ismrmrdHeader>"


HEADERS = {
    "no position": header(more="<measurementInformation><measurementID>1</measurementID></measurementInformation>"),
    "declared": '<?xml version="1.0" encoding="utf-8"?>\n' + header(),
    "byte order mark": "\ufeff" + header(),
    "array of one": np.array([header().encode()], h5py.string_dtype()),
    "two axes": np.array([[header().encode()]], h5py.string_dtype()),
    "fixed length": np.bytes_(header() + "\0\0"),
    "no name space": header(space=""),
    "prefix": header(space='xmlns:i="http://www.ismrm.org/ISMRMRD"'),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_needs_only_what_is_read(tmp_path, name):
    file = kspace_file(write(tmp_path / "a.h5", {"kspace": KSPACE, "ismrmrd_header": HEADERS[name]}))
    assert file.padding == (1, 1) and file.target_shape == (16, 12) and file.spacing == (5, 2, 2)


def test_a_header_without_limits_measures_all_columns(tmp_path):
    for limits in ("", "<encodingLimits/>", LIMITS.replace("step_1", "step_2")):
        file = kspace_file(write(tmp_path / "a.h5", {"kspace": KSPACE, "ismrmrd_header": header(limits)}))
        assert file.padding == (0, 0) and file.assumed[0].startswith("no kspace_encoding_step_1 in its header")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<ismrmrdHeader><encoding>", "not XML (no element found: line 1, column 25)"),
        (header(recon=""), "encoding/reconSpace/matrixSize/x is missing"),
        (header(LIMITS.replace(">9<", ">nine<")), "kspace_encoding_step_1/maximum is 'nine', expected a number"),
        (header(LIMITS.replace(">9<", ">30<")), "do not fit into the 12 columns"),
    ],
)
def test_a_headers_fault_is_named(tmp_path, text, reason):
    with refused(where="a.h5", found="ismrmrd_header: ") as error:
        kspace_file(write(tmp_path / "a.h5", {"kspace": KSPACE, "ismrmrd_header": text}))
    assert reason in str(error.value)


def test_an_array_that_a_damaged_file_cant_find_is_not_taken_as_absent(tmp_path):
    """HDF5 finds a name in a sorted table: another one's changed letter hides it, a list of all names shows it."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["kspace"], file["reconstruction_rss"] = KSPACE, np.ones((2, 16, 12), np.float32)
        file["noise_free"], file.attrs["max"] = np.ones((2, 16, 12), np.float32), 1.0
    assert kspace_file(tmp_path / "a.h5").target == "reconstruction_rss"
    damaged = (tmp_path / "a.h5").read_bytes().replace(b"noise_free", b"zoise_free")
    (tmp_path / "b.h5").write_bytes(damaged)
    with refused(where=r"b\.h5$", found="reconstruction_rss: a link to something, which isn't there"):
        kspace_file(tmp_path / "b.h5")


@pytest.mark.parametrize("key", ["", "a/b", "kspace/x", "/kspace", "./kspace", "\ud800", "typo"])
def test_a_key_is_a_name_and_no_path(tmp_path, key):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["kspace"] = KSPACE
    with h5py.File(tmp_path / "a.h5") as file, refused(found="^no key .* \\(found kspace\\)$"):
        dataset(file, key)


def test_a_name_that_is_no_text_is_told_in_one_line(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["kspace"] = KSPACE
        h5py.h5g.create(file.id, b"\xff\xfe")
    for reader in (case_files.case_file, lambda path: dataset(h5py.File(path), "image")):
        with refused(where=r"a\.h5", found="found .*kspace"):
            reader(tmp_path / "a.h5")
