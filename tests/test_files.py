"""Files are whole or not there, what killed processes left goes, and a folder's files are listed in one way."""

import os
import re
import signal
import subprocess
import sys
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from refusals import refused

from lib import ROOT, files, processes, runs
from lib.data.index import read_set, write_set
from lib.files import replacing
from lib.runs import manifest

WRITER = """
import sys, time
from lib.files import replacing
with replacing(sys.argv[1]) as partial:
    partial.write_bytes(b"half")
    print("written", flush=True)
    time.sleep(60)
"""


def writer(path):
    """A process that has half written `path`."""
    process = subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE, cwd=ROOT)
    process.stdout.readline()
    return process


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def killed(path):
    process = writer(path)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


def test_what_a_killed_process_left_is_deleted_and_what_a_living_one_writes_stays(tmp_path):
    killed(tmp_path / "result.h5"), killed(tmp_path / "other.h5")
    assert len(names(tmp_path)) == 1  # the second has cleared behind the first
    (tmp_path / ".result.h5.elsewhere.1-2.partial").touch()  # another machine's
    (tmp_path / ".mine.partial").touch()
    living = writer(tmp_path / "result.h5")
    try:
        files.write(tmp_path / "third.json", {})
        found = names(tmp_path)
        assert found[0] == ".mine.partial" and found[-1] == "third.json" and ".result.h5.elsewhere.1-2.partial" in found
        assert len(found) == 4 and any(f".{living.pid}-" in name for name in found)
    finally:
        living.kill(), living.wait(), living.stdout.close()


def test_a_later_process_of_the_same_number_keeps_nothing(tmp_path):
    mine = processes.signature()
    before = re.sub(rf"\.{os.getpid()}-[\d.]+-", f".{os.getpid()}-1-", mine)
    assert before != mine
    for name in (mine, before):
        (tmp_path / f".file.{name}.partial").touch()
        (tmp_path / f".folder.{name}.partial" / "deep").mkdir(parents=True)
    files.clear(tmp_path)
    assert names(tmp_path) == [f".{kind}.{mine}.partial" for kind in ("file", "folder")]


def test_a_task_that_starts_again_deletes_what_its_killed_runs_left(tmp_path, monkeypatch):
    monkeypatch.setattr("lib.runs.run.RUNS", tmp_path)
    before = tmp_path / "predict" / "20260101-000000" / "predictions"
    before.mkdir(parents=True)
    killed(before / "result.h5")
    assert names(before)
    runs.start("10_prepare_kspace", {"task_name": "predict"})
    runs.run._update("failed", "test")
    assert not names(before)


def test_files_are_listed_through_links_but_not_hidden_ones_or_folders(tmp_path):
    disk, source = tmp_path / "disk", tmp_path / "source"
    for name in ("b/two.h5", "b/.hidden/no.h5", "b/._two.h5", "one.H5", "note.txt", "folder.h5/three.h5"):
        (disk / name).parent.mkdir(parents=True, exist_ok=True)
        (disk / name).touch()
    source.mkdir()
    (source / "linked").symlink_to(disk)
    (source / "four.h5").symlink_to(disk / "note.txt")
    (disk / "b" / "round").symlink_to(source)  # a folder within itself
    os.mkfifo(disk / "pipe.h5")
    found = [str(p.relative_to(source)) for p in files.list_files(source, (".h5",))]
    assert found == ["four.h5", "linked/b/two.h5", "linked/folder.h5/three.h5", "linked/one.H5"]
    assert [p.name for p in files.list_files(source, (".h5",), deep=False)] == ["four.h5"]
    (source / "gone.h5").symlink_to(tmp_path / "annex" / "objects")
    with refused(where="gone.h5", found="a link to .*annex/objects, which isn't there"):
        files.list_files(source, (".h5",))


@pytest.fixture
def opened(monkeypatch):
    """The files that are read for their fingerprint, whatever this process has read before."""
    read, digest = [], files._digest
    monkeypatch.setattr(files, "_digest", lambda path, size: read.append(path.name) or digest(path, size))
    return read


def later(path):
    """As if the file had been written a minute ago."""
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns - 60_000_000_000))


def test_files_of_a_set_are_read_once_and_again_when_they_change(tmp_path, opened, monkeypatch):
    clock = files.Path.stat(ROOT).st_mtime + 1e9  # far from any file's time
    monkeypatch.setattr("lib.files.time.time", lambda: clock)
    for name in "ab":
        (tmp_path / name).write_bytes(name.encode() * 100)
    write_set(tmp_path, "here", "k-space", [{"split": "train", "path": n, "person": n} for n in "ab"])
    assert sorted(opened) == ["a", "b"]
    files._known.clear(), opened.clear()  # another process
    read_set(tmp_path)
    assert files.fingerprint(tmp_path / "a") == files.checksum(tmp_path / "a") and opened == []
    later(tmp_path / "b")
    read_set(tmp_path)
    assert opened == ["b"]
    files._known.clear(), opened.clear()
    read_set(tmp_path)
    assert opened == []  # its new time is known, too
    (tmp_path / "a").write_bytes(b"c" * 100)
    with refused(where="a", found="changed since"):
        read_set(tmp_path)


def test_a_file_that_may_still_be_written_is_read_again(tmp_path, opened):
    (tmp_path / "a").write_bytes(b"a" * 100)
    write_set(tmp_path, "here", "k-space", [{"split": "train", "path": "a", "person": "a"}])
    files._known.clear(), opened.clear()
    read_set(tmp_path)
    assert opened == ["a"]


def test_large_results_are_not_read_whole_when_a_run_uses_them(tmp_path, monkeypatch):
    (tmp_path / "predictions").mkdir()
    with h5py.File(tmp_path / "predictions" / "result.h5", "w") as file:
        file["a/output"] = np.zeros((1, 4, 4), np.float32)
    monkeypatch.setattr(manifest, "checksum", lambda path: pytest.fail("read whole"))
    assert list(manifest.input_of(tmp_path)["sha256"]) == ["predictions/result.h5"]


HDF5 = (
    "Can't decrement id ref count (file write failed: errno = 28, error message = 'No space left on device', buf = 0x1)"
)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError(HDF5)])
def test_a_full_disk_is_told_in_one_line(tmp_path, monkeypatch, error):
    with pytest.raises(files.DiskFullError) as caught, replacing(tmp_path / "a.h5") as partial:
        partial.write_bytes(b"half")
        raise error
    assert isinstance(caught.value, OSError) and str(caught.value) == f"{tmp_path / 'a.h5'}: no space left on device"
    assert names(tmp_path) == []
    with pytest.raises(RuntimeError, match="another"), replacing(tmp_path / "a.h5"):
        raise RuntimeError("another")
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=512))
    with pytest.raises(files.DiskFullError), replacing(tmp_path / "a.pt"):
        raise RuntimeError("[enforce fail at inline_container.cc:671] . unexpected pos 832 vs 726")  # torch.save's
