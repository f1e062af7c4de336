"""Files made to do harm: pickles never load, and what claims absurd sizes is refused with its numbers before memory is taken."""

import argparse
import ast
import gzip
import os
import pickle
import re
import struct
import subprocess
import sys
import textwrap
import zipfile
import zlib

import nibabel
import numpy as np
import pytest
import torch
from refusals import refused
from sources import sources

from lib import ROOT, InputError
from lib.data import header, image_files, nifti
from lib.evaluation.look import look
from lib.models import state_dict
from lib.viewer import SliceViewer

LOADERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
CALLS = {"read_pickle", "load_learner", "unsafe_load", "full_load", "load_all", "add_safe_globals", "load_module"}


def unsafe(source: str) -> list[str]:
    """What in a source may make objects of a file's choosing."""
    wrong = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            wrong += [name for name in names if name.split(".")[0] in LOADERS]
        if not isinstance(node, ast.Call):
            continue
        called, words = ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}
        wrong += [called] if called.rpartition(".")[2] in CALLS else []
        wrong += [called] if called in ("torch.load", "torch.jit.load") and words.get("weights_only") != "True" else []
        wrong += [called] if words.get("allow_pickle", "False") != "False" else []
        wrong += (
            [called] if called.startswith("yaml.") and called.endswith("load") and called != "yaml.safe_load" else []
        )
    return wrong


def test_no_code_makes_objects_of_a_files_choosing():
    assert {name: wrong for name, source in sources().items() if (wrong := unsafe(source))} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from joblib import load", "torch.load(p)", "torch.load(p, weights_only=False)",
        "np.load(p, allow_pickle=True)", "pd.read_pickle(p)", "yaml.load(t, yaml.Loader)", "yaml.unsafe_load(t)",
        "torch.serialization.add_safe_globals([X])",
    ],
)  # fmt: skip
def test_unsafe_code_is_seen(source):
    assert unsafe(source)


class Evil:
    """Makes a file once it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


WEIGHTS = {"layer.weight": torch.ones(2)}
PICKLES = {
    "torch.save": lambda evil, file: torch.save(evil, file),
    "torch.save, old form": lambda evil, file: torch.save(evil, file, _use_new_zipfile_serialization=False),
    "among weights": lambda evil, file: torch.save(WEIGHTS | {"epoch": evil}, file),
    "Lightning": lambda evil, file: torch.save(
        {"state_dict": WEIGHTS, "hyper_parameters": argparse.Namespace(chans=evil), "callbacks": {"a": evil}}, file
    ),
    "a key": lambda evil, file: torch.save({"state_dict": WEIGHTS, (evil,): 1}, file),
    "plain": lambda evil, file: pickle.dump(evil, file),
    "dict": lambda evil, file: pickle.dump({"state_dict": evil}, file),
}  # fmt: skip


@pytest.mark.parametrize("kind", PICKLES)
@pytest.mark.parametrize("ending", ["pt", "ckpt", "pth"])
def test_pickled_weights_never_run(tmp_path, kind, ending):
    path, mark = tmp_path / f"w.{ending}", tmp_path / "ran"
    with path.open("wb") as file:
        PICKLES[kind](Evil(mark), file)
    with refused(where=f"w.{ending}"):
        state_dict.tensors(path)
    assert not mark.exists()


def test_a_lightning_checkpoint_of_plain_values_is_read(tmp_path):
    about = {
        "hyper_parameters": argparse.Namespace(chans=18, path=tmp_path),
        "epoch": 3,
        "pytorch-lightning_version": "2.0",
    }
    torch.save({"state_dict": WEIGHTS} | about, tmp_path / "w.ckpt")
    assert torch.equal(state_dict.tensors(tmp_path / "w.ckpt")["layer.weight"], WEIGHTS["layer.weight"])


ARRAY_READERS = {"look": look, "values": nifti.values, "header": nifti.header, "viewer": lambda p: shown(p)}


def shown(path):
    viewer = SliceViewer({"a": path}, error_of=None)
    if viewer.slices is None:
        raise InputError("viewer", viewer.message)


@pytest.mark.parametrize("reader", ARRAY_READERS)
def test_pickled_arrays_never_run(tmp_path, reader):
    np.save(tmp_path / "a.npy", np.array([Evil(tmp_path / "ran")] * 4, object).reshape(1, 2, 2), allow_pickle=True)
    with refused():
        ARRAY_READERS[reader](tmp_path / "a.npy")
    assert not (tmp_path / "ran").exists()


def npy(text, body=64):
    head = text.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + bytes(body)


def nii(kind="<h", fields=(), shape=(8, 8, 6)):
    content = bytearray(nibabel.Nifti1Image(np.zeros(shape, "f4"), np.eye(4)).to_bytes())
    for (offset, form), value in dict(fields).items():
        struct.pack_into(form, content, offset, *np.atleast_1d(value).tolist())
    return bytes(content)


HUGE = nii(fields={(40, "<4h"): (3, 30000, 30000, 30000)})
SHAPED = "{'descr': '<f4', 'fortran_order': False, 'shape': %s}"
CLAIMS = {
    "huge.npy": (npy(SHAPED % "(1000000, 1000000, 1000)"), "takes 4,000,000,000,000,000 bytes, 64 are there"),
    "long.npy": (npy(SHAPED % f"({'9' * 30}, 2, 2)"), "takes"),
    "deep.npy": (npy("(" * 3000), ""),
    "negative.npy": (npy(SHAPED % "(-1, 2, 2)"), ""),
    "huge.nii.gz": (gzip.compress(HUGE), r"an array \(30000, 30000, 30000\) of float32 takes 108,000,000,000,352 bytes"),
    "huge.nii": (HUGE, "bytes, expected 108000000000352"),
    "zipped.nii": (gzip.compress(HUGE), "takes 108,000,000,000,352 bytes"),
    "plain.nii.gz": (HUGE, "expected 108000000000352"),
    "negative.nii": (nii(fields={(40, "<4h"): (3, -8, 8, 6)}), ""),
    "offset.nii": (nii(fields={(108, "<f"): 1e30}), "from byte 1e\\+30 on"),
    "offset_nan.nii.gz": (gzip.compress(nii(fields={(108, "<f"): np.nan})), ""),
    "offset_below.nii": (nii(fields={(108, "<f"): -1}), "from byte -1 on"),
    "many_axes.nii": (nii(fields={(40, "<h"): 500}), ""),
    "type.nii": (nii(fields={(70, "<h"): 999}), ""),
    "empty.nii": (b"", ""),
    "text.nii.gz": (b"hello", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", CLAIMS)
@pytest.mark.parametrize("reader", ARRAY_READERS)
def test_headers_that_claim_too_much(tmp_path, name, reader):
    content, found = CLAIMS[name]
    (tmp_path / name).write_bytes(content)
    with refused() as error:
        ARRAY_READERS[reader](tmp_path / name)
    assert "\n" not in str(error.value)
    assert reader == "viewer" or re.search(found, str(error.value)), error.value


def test_a_gzip_of_far_more_than_its_header_says_is_not_unpacked(tmp_path):
    """1 GB of zeros behind a small volume: what the header names is read, and no more."""
    bomb = gzip.compress(nii()[:-1] + b"\0" + bytes(1 << 28), 9)
    for name in ("a.nii.gz", "a.nii"):
        (tmp_path / name).write_bytes(bomb)
        code = f"""
            import resource; resource.setrlimit(resource.RLIMIT_DATA, (1 << 31, 1 << 31))
            from pathlib import Path; from lib.data import nifti
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            print(nifti.values(Path({str(tmp_path / name)!r})).shape)
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 16)"""
        done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, cwd=ROOT)
        assert done.stdout.split("\n")[:2] == ["(8, 8, 6)", "True"], done


def png(width, height):
    """A tiny PNG whose header claims a size."""
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"\0" * 64)),
        (b"IEND", b""),
    )
    chunks = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize(
    ("size", "found"),
    [((9000, 9000), "9000 × 9000"), ((10_000, 10_000), "100,000,000"), ((60_000, 60_000), "3,600,000,000")],
)
@pytest.mark.parametrize("reader", [image_files.read_image, image_files.check_image, image_files.read_mask])
def test_images_of_absurd_size(tmp_path, size, found, reader):
    (tmp_path / "a.png").write_bytes(png(*size))
    with refused(where="a.png", found=found, expected="at most 67,108,864"):
        reader(tmp_path / "a.png")


def test_weights_in_an_archive_of_absurd_size(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.pt", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("w/data.pkl", bytes(1 << 28))
    with refused(where="w.pt", found="takes 268,435,456 bytes, .* are stored"):
        state_dict.tensors(tmp_path / "w.pt")


LAUGHS = (
    "<!DOCTYPE a [<!ENTITY x 'lol'>"
    + "".join(f"<!ENTITY x{i} '{f'&x{i - 1};' * 9}'>" for i in range(1, 9))
    + "]><a>&x8;</a>"
)


@pytest.mark.parametrize(
    "text", [LAUGHS, "<!DOCTYPE a SYSTEM 'file:///etc/hostname'><a/>", "<a>" * 200_000, "x" * (1 << 25)]
)
def test_headers_in_xml_define_nothing(tmp_path, text):
    with refused(found="ismrmrd_header"):
        header.read_header(tmp_path / "a.h5", text, 8)


def test_comments_in_xml_are_no_definitions(tmp_path):
    with refused(found="matrixSize/x is missing"):
        header.read_header(tmp_path / "a.h5", "<!-- a header --><a><![CDATA[x]]></a>", 8)
