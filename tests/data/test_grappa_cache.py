"""GRAPPA images beside the data: what they are keyed by, SNU's own, what is refused."""

import h5py
import numpy as np
import pytest
import torch
from refusals import refused
from scans import smooth, snu

from lib import InputError
from lib.data import grappa_cache
from lib.data.fastmri import KspaceSlices
from lib.data.fastmri_file import kspace_file, source_files
from lib.kspace import ifft2c, rss
from lib.kspace.grappa import grappa as fill

MASK = {"kind": "equispaced", "acceleration": 2, "num_low_frequencies": 8}
KERNEL = {"kernel_size": [5, 4], "regularization": 1e-4}


@pytest.fixture
def file(tmp_path):
    kspace = torch.stack([smooth(seed=s) for s in range(2)])
    with h5py.File(tmp_path / "a.h5", "w") as data:
        data["kspace"], data["reconstruction_rss"] = kspace.numpy(), rss(ifft2c(kspace)).numpy()
    return kspace_file(tmp_path / "a.h5")


def made(file):
    return sorted((file.path.parent / "grappa").glob("*"))


def test_images_are_lib_grappas_and_made_once(file, capsys):
    slices = KspaceSlices([file], MASK, "cascade", grappa=KERNEL)
    assert "GRAPPA of a.h5: 2 slices, 1.50× achieved" in capsys.readouterr().out
    for s in range(2):
        case = slices.case(s)
        assert torch.allclose(case.grappa, rss(ifft2c(fill(case.masked_kspace, case.mask.columns, (5, 4), 1e-4))))
        assert torch.equal(slices[s][2], case.grappa)
    KspaceSlices([file], MASK, "cascade", grappa=KERNEL)
    assert capsys.readouterr().out == "" and len(made(file)) == 1


def test_another_mask_kernel_or_kspace_makes_another_image(file):
    KspaceSlices([file], MASK, "cascade", grappa=KERNEL)
    KspaceSlices([file], MASK | {"offset": 1}, "cascade", grappa=KERNEL)
    KspaceSlices([file], MASK, "cascade", grappa=KERNEL | {"regularization": 1e-3})
    assert len(made(file)) == 3
    with h5py.File(file.path, "a") as data:
        data["kspace"][0] = 2 * data["kspace"][0]
    slices = KspaceSlices([file], MASK, "cascade", grappa=KERNEL)
    assert len(made(file)) == 1  # those of the old k-space are gone
    case = slices.case(0)
    assert torch.allclose(case.grappa, rss(ifft2c(fill(case.masked_kspace, case.mask.columns, (5, 4), 1e-4))))


def test_masks_of_a_cascade_are_the_files(file):
    slices = KspaceSlices([file], MASK, "cascade", grappa=KERNEL)
    assert len({tuple(slices.case(i, e).mask.columns.tolist()) for i in range(2) for e in range(4)}) == 1
    with refused(found="belong to one mask per file"):
        KspaceSlices([file], MASK, "cascade", fresh=True, grappa=KERNEL)


def test_a_mask_that_grappa_cannot_use_names_the_file(file):
    with refused(where="a.h5", found="GRAPPA: mask is not a GRAPPA grid"):
        KspaceSlices([file], MASK | {"kind": "random"}, "cascade", grappa=KERNEL)
    assert not (file.path.parent / "grappa").exists()


def test_grappa_images_are_no_kspace_files(file):
    KspaceSlices([file], MASK, "cascade", grappa=KERNEL)
    assert source_files(file.path.parent) == [file.path]


def test_snus_own_images_are_read(tmp_path):
    file = kspace_file(snu(tmp_path))
    slices = KspaceSlices([file], MASK, "cascade", grappa=KERNEL)
    with h5py.File(tmp_path / "image" / "brain_acc4_1.h5") as data:
        assert np.array_equal(slices.case(0).grappa, data["image_grappa"][0])
    assert not (tmp_path / "kspace" / "grappa").exists()


def test_grappa_images_of_another_size_or_case_are_refused(tmp_path):
    path = snu(tmp_path, grappa_size=(18, 16))
    with refused(found=r"image_grappa: shape \(1, 18, 16\)", expected=r"\(1, 20, 16\)"):
        kspace_file(path)
    file = kspace_file(snu(tmp_path / "b", grappa_of=3))
    with pytest.raises(InputError, match=r"brain_acc4_1.h5: image_grappa: slice 0 .* another case"):
        grappa_cache.grappa_file(file, KspaceSlices([file], MASK).mask_of(file), KERNEL)
