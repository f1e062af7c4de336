"""HDF5 that reaches outside its file, claims what it can't hold, or goes in circles: refused by every reader before it reads."""

import ast
import os
import subprocess
import sys

import h5py
import numpy as np
import pytest
from refusals import refused
from sources import sources

from lib import ROOT, files, viewer
from lib.data import case_files, cine_files, hdf5_reach
from lib.data.fastmri_file import kspace_file
from lib.data.hdf5 import open_hdf5
from lib.evaluation.look import look
from lib.inference import results

OPENERS = ("lib/data/hdf5.py", "lib/data/hdf5_reach.py")
SETTING = "ECHOTRAIN_VIRTUAL_DATASETS"
VALUES = np.random.default_rng(0).standard_normal((3, 16, 12)).astype(np.float32)


def opened_elsewhere(source: str) -> list[int]:
    """The lines of a source where HDF5 is opened to be read by another way than `open_hdf5`."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in ("File", "Reader")):
            continue
        if "h5py" in ast.unparse(node.func) or ast.unparse(node.func) in ("File", "Reader"):
            mode = [
                a.value
                for a in [*node.args[1:2], *(k.value for k in node.keywords if k.arg == "mode")]
                if isinstance(a, ast.Constant)
            ]
            lines += [] if mode == ["w"] else [node.lineno]
    return lines


def test_all_that_is_read_goes_through_one_opener():
    assert {name: lines for name, source in sources(*OPENERS).items() if (lines := opened_elsewhere(source))} == {}


@pytest.mark.parametrize(
    "source", ["h5py.File(p, 'r')", "h5py.File(p)", "h5py.File(p, mode='r+')", "from h5py import File\nFile(p)"]
)
def test_other_ways_are_seen(source):
    assert opened_elsewhere(source) and not opened_elsewhere("h5py.File(p, 'w'); nibabel.File(p)")


def write(path, fill):
    with h5py.File(path, "w") as file:
        fill(file)
    return path


def virtual(file, key, *sources, shape=VALUES.shape):
    """A virtual data set whose slices lie in sources (file, key), one after the other."""
    layout = h5py.VirtualLayout(shape, np.float32)
    for s in range(shape[0]):
        name, inside = sources[s % len(sources)]
        layout[s] = h5py.VirtualSource(name, inside, shape)[s]
    file.create_virtual_dataset(key, layout)


def external(file, key="kspace"):
    file.create_dataset(key, (2, 8, 8), "u1", external=[("/etc/hostname", 0, h5py.h5f.UNLIMITED)])


READERS = {
    "k-space": kspace_file,
    "cine": lambda path: cine_files.series_file(path, "x"),
    "case": case_files.case_file,
    "result": results.read,
    "viewer": viewer.case,
    "look": look,
}
BEYOND = {
    "external storage": (external, "kspace: its values lie in another file, /etc/hostname"),
    "external storage of what no reader asks for": (lambda f: external(f, "a/b/notes"), "a/b/notes: its values lie in another"),
    "external link": (lambda f: f.update({"image": h5py.ExternalLink("other.h5", "/x")}), "image: a link to another file, other.h5:/x"),
    "virtual": (lambda f: virtual(f, "kspace", ("other.h5", "x")), "kspace: a virtual data set, its values lie in other.h5"),
    "virtual of itself": (lambda f: virtual(f, "a", (".", "a")), "a: a virtual data set"),
    "2^40 slices": (lambda f: f.create_dataset("kspace", (2**40, 4, 8, 8), "c8", chunks=(1, 4, 8, 8)), r"kspace: an array .* 0 are stored"),
    "a chunk of 8 GB": (lambda f: f.create_dataset("a", (1,), "f8", maxshape=(None,), chunks=(2**29 - 1,)), "a: .* in chunks"),
    "texts of 2 GB": (lambda f: f.create_dataset("a", (2,), "S2000000000", chunks=(1,)), "a: an array"),
    "deep": (lambda f: f.create_group("g/" * 5000), "groups within groups"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BEYOND)
@pytest.mark.parametrize("reader", READERS)
def test_every_reader_refuses(tmp_path, kind, reader):
    write(tmp_path / "other.h5", lambda f: f.update({"x": VALUES}))
    fill, found = BEYOND[kind]
    path = write(tmp_path / "a.h5", fill)
    with refused(where="a.h5", found=found) as error:
        READERS[reader](path)
    assert "\n" not in str(error.value)
    assert kind != "virtual" or f"{SETTING}=1" in error.value.hint


def test_a_viewers_path_into_a_file_is_refused_too(tmp_path):
    path = write(tmp_path / "a.h5", lambda f: external(f, "a/output"))
    with refused(found="another file"):
        viewer.show({"a": f"{path}:a/output"}, False)


def test_more_objects_than_anybody_needs(tmp_path, monkeypatch):
    monkeypatch.setattr(hdf5_reach, "MOST_OBJECTS", 50)
    path = write(tmp_path / "a.h5", lambda f: [f.create_group(f"{i // 10}/{i}") for i in range(100)])
    with refused(found="more than 50 objects"):
        open_hdf5(path)


def test_loops_of_groups_and_of_links_end(tmp_path):
    def fill(file):
        file["a/b/output"] = VALUES
        file["a/b/again"] = file["a"]  # a group within itself
        file["a/self"] = file["a"]
        file["to"], file["back"] = h5py.SoftLink("/back"), h5py.SoftLink("/to")
        file["a/into"] = h5py.SoftLink("/a/into/into")

    path = write(tmp_path / "a.h5", fill)
    with open_hdf5(path) as file:
        assert np.array_equal(file["a/b/output"][:], VALUES)
    assert look(path)
    with refused(found="a link to /back, which isn't there"):
        cine_files.dataset(open_hdf5(path), "to")


@pytest.mark.parametrize("values", [np.zeros((40, 512, 512), np.uint8), np.zeros((2, 64, 64)), VALUES])
def test_what_compresses_well_is_read(tmp_path, values):
    path = write(
        tmp_path / "a.h5",
        lambda f: f.create_dataset("a", data=values, compression="gzip", compression_opts=9, chunks=True),
    )
    assert values.nbytes < 1e7 or path.stat().st_size < values.nbytes / 250
    with open_hdf5(path) as file:
        assert np.array_equal(file["a"][:], values)


def test_the_bound_is_that_of_gzip_beyond_what_is_free(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "FREE_BYTES", 0)
    zeros = np.zeros((2, 1024, 1024), np.uint8)
    path = write(
        tmp_path / "a.h5",
        lambda f: f.create_dataset("a", data=zeros, compression="gzip", compression_opts=9, chunks=(1, 1024, 1024)),
    )
    with open_hdf5(path) as file:  # the best that gzip can do
        assert zeros.nbytes / file["a"].id.get_storage_size() > 900
    twice = write(
        tmp_path / "b.h5",
        lambda f: f.create_dataset("a", (4, 1024, 1024), "u1", compression="gzip", chunks=(1, 1024, 1024)),
    )
    with h5py.File(twice, "r+") as file:
        file["a"][:2] = zeros
    with refused(found="takes 4,194,304 bytes", expected="1100 to one"):
        open_hdf5(twice)


def test_virtual_parts_beside_the_file_are_read_if_the_setting_says_so(tmp_path, monkeypatch):
    for name in ("one.h5", "two.h5"):
        write(tmp_path / name, lambda f: f.update({"x": VALUES}))
    path = write(tmp_path / "a.h5", lambda f: virtual(f, "output", ("one.h5", "x"), ("two.h5", "x")))
    mixed = write(tmp_path / "b.h5", lambda f: (f.update({"x": VALUES}), virtual(f, "output", (".", "/x"))))
    for file in (path, mixed):
        with refused(hint=f"{SETTING}=1"):
            open_hdf5(file)
    monkeypatch.setenv(SETTING, "1")
    for file in (path, mixed):
        with open_hdf5(file) as opened:
            assert np.array_equal(opened["output"][:], VALUES)
    monkeypatch.setenv("HDF5_VDS_PREFIX", "/tmp")
    with refused(found="HDF5_VDS_PREFIX leads elsewhere"):
        open_hdf5(path)
    monkeypatch.delenv("HDF5_VDS_PREFIX")
    monkeypatch.setenv(SETTING, "0")
    with refused(hint=f"{SETTING}=1"):  # what was checked before, too
        open_hdf5(path)


CIRCLES = {
    "itself": lambda d: write(d / "a.h5", lambda f: virtual(f, "a", (".", "a"))),
    "itself by another name": lambda d: write(d / "a.h5", lambda f: (virtual(f, "a", (".", "l")), f.update({"l": h5py.SoftLink("/a")}))),
    "itself by its file's name": lambda d: write(d / "a.h5", lambda f: virtual(f, "a", ("a.h5", "a"))),
    "a chain in one file": lambda d: write(d / "a.h5", lambda f: (virtual(f, "a", (".", "b")), virtual(f, "b", (".", "a")))),
    "a chain over files": lambda d: (write(d / "b.h5", lambda f: virtual(f, "b", ("a.h5", "a"))), write(d / "a.h5", lambda f: virtual(f, "a", ("b.h5", "b"))))[1],
    "a hard link": lambda d: (write(d / "a.h5", lambda f: virtual(f, "a", ("b.h5", "a"))), os.link(d / "a.h5", d / "b.h5"))[0] or d / "a.h5",
    "a link": lambda d: ((d / "b.h5").symlink_to("a.h5"), write(d / "a.h5", lambda f: virtual(f, "a", ("b.h5", "a"))))[1],
    "itself without an end": lambda d: _unlimited(d / "a.h5", "."),
    "numbered files": lambda d: _unlimited(d / "a1.h5", "a%b.h5"),
    "another folder": lambda d: write(d / "a.h5", lambda f: virtual(f, "a", ("../other.h5", "x"))),
    "a path": lambda d: write(d / "a.h5", lambda f: virtual(f, "a", (str(d.parent / "other.h5"), "x"))),
    "nowhere": lambda d: write(d / "a.h5", lambda f: virtual(f, "a", ("gone.h5", "x"))),
    "2^40 of it": lambda d: (write(d / "b.h5", lambda f: f.update({"x": VALUES})), _large(d / "a.h5"))[1],
    "external storage of a part": lambda d: (write(d / "b.h5", lambda f: external(f, "x")), write(d / "a.h5", lambda f: virtual(f, "a", ("b.h5", "x"))))[1],
}  # fmt: skip


def _unlimited(path, source):
    """A set without an end along its first axis, of a part of itself or, with %b, of as many files as there are."""
    endless, part = h5py.h5s.UNLIMITED, h5py.h5s.create_simple((3, 16, 12))
    whole = h5py.h5s.create_simple((3, 16, 12), (endless, 16, 12))
    if source == ".":
        part = h5py.h5s.create_simple((3, 16, 12), (endless, 16, 12))
        part.select_hyperslab((0, 0, 0), (endless, 1, 1), (1, 1, 1), (1, 16, 12))
        whole.select_hyperslab((0, 0, 0), (endless, 1, 1), (1, 1, 1), (1, 16, 12))
    else:
        whole.select_hyperslab((0, 0, 0), (endless, 1, 1), (3, 1, 1), (3, 16, 12))
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_virtual(whole, source.encode(), b"a", part)
    space = h5py.h5s.create_simple((3, 16, 12), (endless, 16, 12))
    return write(path, lambda f: h5py.h5d.create(f.id, b"a", h5py.h5t.NATIVE_FLOAT, space, layout) and None)


def _large(path):
    layout = h5py.VirtualLayout((2**40, 16, 12), np.float32)
    layout[:3] = h5py.VirtualSource("b.h5", "x", VALUES.shape)
    return write(path, lambda f: f.create_virtual_dataset("a", layout))


@pytest.mark.parametrize("kind", CIRCLES)
def test_virtual_sets_in_circles_or_out_of_the_folder_never_reach_the_library(tmp_path, kind):
    (tmp_path / "set").mkdir()
    write(tmp_path / "other.h5", lambda f: f.update({"x": VALUES}))
    path = CIRCLES[kind](tmp_path / "set")
    code = f"from lib.data.hdf5 import open_hdf5\nwith open_hdf5({str(path)!r}) as file: print(file['a'][:].sum())"
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=os.environ | {SETTING: "1"}, timeout=60
    )
    assert done.returncode == 1 and done.stderr.splitlines()[-1].startswith("lib.InputError: "), done  # else it crashes
    assert ".h5: " in done.stderr.splitlines()[-1]


def test_a_changed_file_is_checked_again(tmp_path):
    path = write(tmp_path / "a.h5", lambda f: f.update({"x": VALUES}))
    with open_hdf5(path):
        pass
    with h5py.File(path, "r+") as file:
        external(file)
    with refused(found="another file"):
        open_hdf5(path)


def test_a_check_is_made_once_for_a_file_that_stays(tmp_path, monkeypatch):
    path = write(tmp_path / "a.h5", lambda f: f.update({"x": VALUES}))
    open_hdf5(path).close()
    monkeypatch.setattr(hdf5_reach, "_check", lambda *_: pytest.fail("checked again"))
    open_hdf5(path).close()


def test_links_in_a_circle_that_are_read_are_refused(tmp_path):
    path = write(tmp_path / "a.h5", lambda file: file.update({"kspace": h5py.SoftLink("/kspace")}))
    with refused(where="a.h5", found="can't be read: .*too many links"):
        kspace_file(path)
