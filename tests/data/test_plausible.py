"""K-space that isn't what it is read as: columns never acquired, axes in another order, another center or scale."""

import h5py
import numpy as np
import pytest
import scans
import torch
from refusals import refused

from lib import InputError
from lib.data import plausible
from lib.data.fastmri import KspaceSlices, split_files
from lib.data.fastmri_file import kspace_file
from lib.data.fastmri_index import index
from lib.kspace import center_crop, ifft2c, rss

MASK = {"kind": "equispaced", "acceleration": 4, "num_low_frequencies": 8}
HEADER = (
    '<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><encoding><encodedSpace><matrixSize><x>{x}</x><y>{y}</y><z>1</z>'
    "</matrixSize></encodedSpace><reconSpace><matrixSize><x>{rx}</x><y>{ry}</y><z>1</z></matrixSize></reconSpace>"
    "<encodingLimits><kspace_encoding_step_1><minimum>0</minimum><maximum>{last}</maximum><center>{center}</center>"
    "</kspace_encoding_step_1></encodingLimits></encoding></ismrmrdHeader>"
)
FULL = np.stack([scans.smooth(8, 64, 48, seed).numpy() for seed in (1, 2, 3)])
IMAGES = rss(ifft2c(torch.from_numpy(FULL))).numpy()


def header(width=48, left=0, right=0, height=64, recon=None):
    rows, columns = recon or (height, width)
    return HEADER.format(
        x=height, y=width, rx=rows, ry=columns, last=width - left - right - 1, center=width // 2 - left
    )


def make(path, kspace=FULL, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["kspace"] = np.asarray(kspace, np.complex64)
        for key, value in more.items():
            file[key] = value
    return path


def padded(left, right):
    inside = np.ones(48, bool)
    inside[:left] = inside[48 - right :] = False
    return inside


def indexed(folder, capsys):
    index(folder, folder / "set")
    return capsys.readouterr().out


def test_single_coil_files_are_trained_on_esc(tmp_path):
    targets = {"reconstruction_rss": np.full((3, 32, 32), 7.0), "reconstruction_esc": np.full((3, 32, 32), 2.0)}
    single = make(tmp_path / "single.h5", FULL[:, 0], **targets)
    assert kspace_file(single).target == "reconstruction_esc"
    case = KspaceSlices([kspace_file(single)], MASK).case(0)
    assert (case.target == 2).all() and case.maximum == 2
    assert kspace_file(make(tmp_path / "multi.h5", FULL, **targets)).target == "reconstruction_rss"
    only = make(tmp_path / "only.h5", FULL[:, 0], reconstruction_rss=targets["reconstruction_rss"])
    assert kspace_file(only).target == "reconstruction_rss"


@pytest.mark.parametrize("padding", [(0, 0), (5, 3), (9, 0)])
def test_a_files_own_mask_ends_where_its_header_does_as_in_fastmri(tmp_path, padding):
    from fastmri.data import SliceDataset
    from fastmri.data.transforms import VarNetDataTransform

    mask = np.zeros(48, np.float32)
    mask[1::3] = mask[20:28] = 1
    inside = padded(*padding)
    path = make(
        tmp_path / "multicoil_test" / "a.h5", FULL * (mask * inside), mask=mask, ismrmrd_header=header(48, *padding)
    )
    with h5py.File(path, "a") as file:
        file.attrs["patient_id"] = "a"
    theirs = SliceDataset(path.parent, "multicoil", VarNetDataTransform(), use_dataset_cache=False)[0].mask
    slices = KspaceSlices([kspace_file(path)], MASK)
    ours = slices.mask_of(slices.files[0])
    assert torch.equal(ours.columns, theirs.flatten().bool())
    assert torch.equal(slices[0][1].flatten(), ours.columns) and ours.padding == padding
    assert ours.achieved == ours.acceleration == inside.sum() / (mask * inside).sum()


def test_undersampled_kspace_without_a_mask_gets_the_one_that_its_columns_show(tmp_path, capsys):
    sampled = np.zeros(48, bool)
    sampled[1::4] = sampled[20:28] = True
    path = make(tmp_path / "a.h5", FULL * sampled, ismrmrd_header=header())
    file = kspace_file(path)
    case = KspaceSlices([file], MASK).case(0)
    assert case.mask.kind == "file" and case.mask.columns.tolist() == sampled.tolist()
    assert case.mask.achieved == 48 / sampled.sum()
    assert "30 of 48 columns are zero: undersampled 2.67×" in indexed(tmp_path, capsys)


@pytest.mark.parametrize("outer", [(5, 3), (12, 0)])
@pytest.mark.parametrize("known", [True, False])
def test_outer_columns_that_are_zero_are_padding(tmp_path, outer, known):
    more = {"ismrmrd_header": header(48, *outer)} if known else {}
    file = kspace_file(make(tmp_path / "a.h5", FULL * padded(*outer), **more))
    assert file.columns is None and file.padding == outer
    assert any("outer" in a for a in file.assumed) != known
    mask = KspaceSlices([file], {**MASK, "acceleration": 2}).case(0).mask
    assert not mask.columns[~torch.from_numpy(padded(*outer))].any() and mask.kind == "equispaced"


def test_columns_of_a_mask_that_hold_nothing_are_not_acquired(tmp_path):
    mask = np.zeros(48)
    mask[::4] = mask[20:28] = 1
    held = mask * padded(5, 5)
    file = kspace_file(make(tmp_path / "a.h5", FULL * held, mask=mask))
    assert list(file.columns) == (held > 0).tolist()
    assert [a for a in file.assumed if "without data" in a] == ["3 columns of its mask without data: not acquired"]


def test_holes_along_both_axes_are_a_mask_of_points(tmp_path):
    points = np.random.default_rng(0).random((64, 48)) < 0.2
    points[28:36, 20:28] = True
    (tmp_path / "test").mkdir()
    path = make(tmp_path / "test" / "a.h5", FULL * points)
    file = kspace_file(path)
    assert file.points and file.columns is None and file.target is None
    assert any("in holes along both axes: undersampled at points" in a for a in file.assumed)
    index(tmp_path, tmp_path / "set")
    files = split_files(tmp_path / "set", "test", need_target=False)
    case = KspaceSlices(files, {"kind": "equispaced", "acceleration": 4, "num_low_frequencies": 8}).case(0)
    assert np.array_equal(case.mask.sampled, points) and case.mask.achieved == pytest.approx(points.size / points.sum())
    with refused(found="single points, not whole columns"):
        KspaceSlices(files, {}).item(case)


@pytest.mark.parametrize("shape", [(48,), (64, 48), (1, 1, 48)])
def test_a_files_mask_of_columns_may_have_rows_too(tmp_path, shape):
    mask = np.zeros(48)
    mask[::3] = mask[20:28] = 1
    file = kspace_file(make(tmp_path / "a.h5", FULL * mask, mask=np.broadcast_to(mask, shape)))
    assert list(file.columns) == (mask > 0).tolist()


def test_partial_echoes_and_cut_corners_are_no_holes(tmp_path, capsys):
    rows, columns = np.mgrid[-1:1:64j, -1:1:48j]
    make(tmp_path / "corners.h5", FULL * (rows**2 + columns**2 < 1))
    asymmetric = FULL.copy()
    asymmetric[:, :, :20] = 0
    make(tmp_path / "echo.h5", asymmetric)
    said = indexed(tmp_path, capsys)
    assert said.count("no mask: taken as fully sampled") == 2


ORDERS = {
    "coils last": FULL.transpose(0, 2, 3, 1),
    "slices and coils last": FULL.transpose(2, 3, 0, 1),
    "coils and slices last": FULL.transpose(2, 3, 1, 0),
    "coils third": FULL.transpose(0, 2, 1, 3),
    "slices last, one coil": FULL[:, 0].transpose(1, 2, 0),
}


@pytest.mark.parametrize("name", ORDERS)
def test_axes_in_another_order_are_refused(tmp_path, name):
    make(tmp_path / "a.h5", ORDERS[name])
    with refused(found="a.h5: kspace: shape .*expected|Expected the axes in this order"):
        index(tmp_path, tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_the_headers_readout_is_the_rows(tmp_path):
    for name, kspace, more in (
        ("swapped", FULL.swapaxes(2, 3), {}),
        ("other", FULL, {"height": 128, "recon": (96, 48)}),
        ("coils", FULL.transpose(0, 2, 3, 1), {"width": 8}),
    ):
        path = make(tmp_path / f"{name}.h5", kspace, ismrmrd_header=header(**{"width": kspace.shape[-1], **more}))
        with pytest.raises(InputError, match=rf"{name}.h5: kspace: shape .* rows, its header \d+ readout points"):
            kspace_file(path)
    cropped = make(tmp_path / "cropped.h5", ismrmrd_header=header(height=128, recon=(64, 48)))
    assert kspace_file(cropped).shape == (64, 48)  # without the readout's oversampling


@pytest.mark.parametrize("axes", [(-2, -1), (-2,), (-1,)])
def test_a_zero_frequency_in_the_corner_is_refused(tmp_path, axes):
    make(tmp_path / "a.h5", np.fft.ifftshift(FULL, axes))
    with refused(found="is the zero frequency in the corner"):
        index(tmp_path, tmp_path / "set")


@pytest.mark.parametrize("factor", [100, 1e5, 1e-3])
def test_targets_and_maxima_of_another_scale_are_refused(tmp_path, factor):
    path = make(tmp_path / "a.h5", reconstruction_rss=IMAGES * factor)
    with refused(where="a.h5", found="reconstruction_rss: slice 1 is of another scale than its k-space's RSS"):
        kspace_file(path, values=True)
    path = make(tmp_path / "b.h5", reconstruction_rss=IMAGES)
    with h5py.File(path, "a") as file:
        file.attrs["max"] = IMAGES.max() * factor
    with refused(where="b.h5", found="attribute max is of another scale than the largest value of"):
        kspace_file(path, values=True)


@pytest.mark.parametrize("scale", [1e-9, 1e-6, 1e-3, 1, 1e6])
def test_genuine_files_of_every_scale_pass_without_a_word(tmp_path, scale):
    crop = center_crop(torch.from_numpy(IMAGES), (40, 32)).numpy()
    more = {"reconstruction_rss": crop * scale, "ismrmrd_header": header()}
    mask = np.zeros(48)
    mask[::4] = mask[20:28] = 1
    full = make(tmp_path / "full.h5", FULL * scale, **more)
    masked = make(tmp_path / "masked.h5", FULL * mask * scale, mask=mask, **more)
    assert [a.split(":")[0] for a in kspace_file(full, values=True).assumed] == ["no mask"]
    assert kspace_file(masked, values=True).assumed == ()


def test_other_definitions_of_the_target_pass_and_are_named(tmp_path):
    def said(images, maximum=None):
        path = make(tmp_path / "a.h5", reconstruction_rss=images)
        with h5py.File(path, "a") as file:
            file.attrs["max"] = maximum or images.max()
        return [a for a in kspace_file(path, values=True).assumed if not a.startswith("no ")]

    assert said(IMAGES) == []
    assert said(IMAGES / np.sqrt(8)) == ["reconstruction_rss: slice 1 is 0.354 times its k-space's RSS"]
    assert said(IMAGES, 2 * IMAGES.max()) == ["attribute max is 2 times the largest value of reconstruction_rss"]
    assert said(IMAGES[:, ::-1].copy())[0].startswith("reconstruction_rss: slice 1 resembles its k-space's RSS by 0.")


def test_targets_of_nan_are_refused_by_slice(tmp_path):
    images = IMAGES.copy()
    images[2, 0, 0] = np.nan
    path = make(tmp_path / "a.h5", reconstruction_rss=images)
    with h5py.File(path, "a") as file:
        file.attrs["max"] = 1.0
    with refused(found="reconstruction_rss: slice 2 holds NaN"):
        kspace_file(path, values=True)


def test_slices_of_zeros_are_named(tmp_path, capsys):
    kspace = np.concatenate((FULL, FULL))
    kspace[[0, 4]] = 0
    images = np.concatenate((IMAGES, IMAGES))
    images[5] = 0
    make(tmp_path / "a.h5", kspace, reconstruction_rss=images)
    assert "slice 0 is zero; slice 4 is zero; reconstruction_rss: slice 5 is zero\n" in indexed(tmp_path, capsys)


def test_arrays_that_hold_nothing_are_refused_before_they_are_read(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:  # petabytes, by its shape
        file.create_dataset("kspace", (2**40, 4, 48, 40), np.complex64, chunks=(1, 4, 48, 40))
    with refused(where="a.h5", found="kspace: an array .* takes 67,553,994,410,557,440 bytes, 0 are stored"):
        kspace_file(tmp_path / "a.h5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        layout = h5py.VirtualLayout((2, 4, 48, 40), np.complex64)
        layout[:] = h5py.VirtualSource(".", "kspace", (2, 4, 48, 40))
        file.create_virtual_dataset("kspace", layout)
    with refused(where="b.h5", found="kspace: a virtual data set", hint="ECHOTRAIN_VIRTUAL_DATASETS=1"):
        kspace_file(tmp_path / "b.h5")
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file.create_dataset("kspace", (2, 4, 48, 40), np.complex64, chunks=(1, 4, 48, 40))
    with refused(where="c.h5", found="kspace: shape .*, but no values are stored in it"):
        kspace_file(tmp_path / "c.h5")


def test_damaged_blocks_are_named_and_not_a_traceback(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("kspace", data=FULL, chunks=(1, 8, 64, 48), fletcher32=True)
        place = file["kspace"].id.get_chunk_info(0).byte_offset
    content = bytearray((tmp_path / "a.h5").read_bytes())
    content[place + 100] ^= 1
    (tmp_path / "a.h5").write_bytes(content)
    assert kspace_file(tmp_path / "a.h5").slices == 3
    with refused(where="a.h5", found="can't be read: filter returned failure"):
        kspace_file(tmp_path / "a.h5", values=True)


def test_images_in_the_place_of_kspace_are_asked_about(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.standard_normal((3, 8, 64, 48)) + 1j * rng.standard_normal((3, 8, 64, 48))
    said = kspace_file(make(tmp_path / "a.h5", images), values=True).assumed
    assert any("is this k-space, along both axes?" in a for a in said)
    hybrid = np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(FULL, -2), axis=-2), -2) + 0.01 * images
    said = kspace_file(make(tmp_path / "b.h5", hybrid), values=True).assumed
    assert any("along the readout; is this" in a for a in said)


@pytest.mark.parametrize("key", ["kspace", "reconstruction_rss"])
def test_a_virtual_array_whose_source_is_gone_is_refused(tmp_path, monkeypatch, key):
    monkeypatch.setenv("ECHOTRAIN_VIRTUAL_DATASETS", "1")
    values = {"kspace": FULL, "reconstruction_rss": IMAGES}
    for s in range(3):
        with h5py.File(tmp_path / f"slice_{s}.hdf", "w") as file:
            file[key] = values[key][s]
    layout = h5py.VirtualLayout(values[key].shape, values[key].dtype)
    for s in range(3):
        layout[s] = h5py.VirtualSource(f"slice_{s}.hdf", key, values[key].shape[1:])
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name in values:
            if name != key:
                file[name] = values[name]
        file.create_virtual_dataset(key, layout)
    assert kspace_file(tmp_path / "a.h5", values=True).target == "reconstruction_rss"
    with h5py.File(tmp_path / "slice_2.hdf", "a") as file:
        file.move(key, "elsewhere")
    with pytest.raises(InputError, match=f"a.h5: {key}: a part of it lies in slice_2.hdf {key}, which isn't there"):
        kspace_file(tmp_path / "a.h5")
    (tmp_path / "slice_1.hdf").unlink()
    with pytest.raises(InputError, match=f"a.h5: {key}: a part of it lies in slice_1.hdf, which isn't there"):
        kspace_file(tmp_path / "a.h5")


def test_splits_and_persons_are_refused_before_values_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(plausible, "check_values", lambda *_: pytest.fail("values were read"))
    source = tmp_path / "scans"
    train, lost = make(source / "train" / "a.h5"), make(source / "b.h5")
    with refused(where="b.h5", found="in no folder named train, val or test"):
        index(source, tmp_path / "set")
    lost.unlink()
    for path in (make(source / "val" / "b.h5"), train):
        with h5py.File(path, "a") as file:
            file.attrs["patient_id"] = "one"
    with refused(found=r"a.h5 \(train\) and \S+b.h5 \(val\) are of one person"):
        index(source, tmp_path / "set")
