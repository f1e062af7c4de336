"""`lib.data.look`: any file in one call."""

import h5py
import nbformat
import nibabel
import numpy as np
import pytest
import torch
from nbclient import NotebookClient
from refusals import refused

import lib.data
from lib import ROOT, models, runs
from lib.evaluation import look
from lib.kspace import center_crop, fft2c, ifft2c, rss
from lib.phantoms import sample_scans
from lib.viewer.loading import read


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    settings = {"num_cascades": 1, "chans": 2, "pools": 2, "sens_chans": 2, "sens_pools": 2}
    folder = tmp_path_factory.mktemp("weights")
    runs.save_model(folder, "VarNet", settings, models.build("VarNet", **settings))
    return folder / "model_weights"


def titles(figure):
    return [ax.get_title() for ax in figure.axes]


def test_nifti_lies_as_the_viewer_shows_it():
    path = "data/samples/abdomen_b_ct.nii.gz"
    image = lib.data.look(path).axes[1].images[0].get_array()
    assert np.array_equal(image, read("ct", path).volume[int(lib.data.look(path).axes[1].get_title().split()[1])])


def test_fastmri_file(tmp_path, weights, capsys):
    job = sample_scans.plan()[-1]._replace(slices=range(5, 7))
    sample_scans.write(tmp_path / "file1000001.h5", job, (72, 64), 6, 30.0, voxel=3.0)
    figure = lib.data.look(tmp_path / "file1000001.h5", weights=weights)
    assert titles(figure) == ["TV-SENSE", "VarNet", "GRAPPA", "zero-filled", "truth", "mask"]
    said = capsys.readouterr().out
    assert "fastMRI layout · 2 slices · 6 coils · 72 readout × 64 phase encodes" in said
    assert "put on here" in said and "assumed: no mask" in said
    assert said.index("72 readout") < said.index("VarNet …") < said.index("GRAPPA …")  # what takes long is announced


def test_snu_file_with_its_own_mask(tmp_path, weights, capsys):
    mask = np.zeros(64)
    mask[::4] = mask[24:40] = 1
    (tmp_path / "kspace").mkdir(), (tmp_path / "image").mkdir()
    with h5py.File(tmp_path / "kspace" / "brain_1.h5", "w") as file:
        file["kspace"] = (np.random.default_rng(0).standard_normal((1, 4, 48, 64)) * mask).astype(np.complex64)
        file["mask"] = mask
    with h5py.File(tmp_path / "image" / "brain_1.h5", "w") as file:
        file["image_label"], file.attrs["max"] = np.ones((1, 32, 32), np.float32), 1.0
    figure = lib.data.look(tmp_path / "kspace" / "brain_1.h5", weights=weights)
    assert "SNU layout" in capsys.readouterr().out
    assert figure.axes[0].get_images()[0].get_array().shape == (32, 32)


@pytest.mark.parametrize("kind", [np.complex64, np.float32])
def test_plain_arrays(tmp_path, kind, capsys):
    np.save(tmp_path / "a.npy", np.ones((3, 4, 16, 12), kind))
    figure = lib.data.look(tmp_path / "a.npy")
    assert ("k-space" if kind is np.complex64 else "images") in capsys.readouterr().out and len(figure.axes) >= 1


def test_other_files_are_refused(tmp_path):
    with refused(found="no such file"):
        lib.data.look(tmp_path / "none.h5")
    (tmp_path / "a.txt").write_text("x")
    with refused(found="unknown kind of file", expected=".h5"):
        lib.data.look(tmp_path / "a.txt")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["x"] = np.ones(3)
    with refused(found="no array of two axes"):
        lib.data.look(tmp_path / "b.h5")
    with refused(where="kind", found="got 'images'", expected="one of kspace, image"):
        lib.data.look(tmp_path / "b.h5", kind="images")


def discs(*shape):
    """Complex images (…, H, W) of a disc with a phase."""
    r, c = np.mgrid[-1 : 1 : shape[-2] * 1j, -1 : 1 : shape[-1] * 1j]
    return np.broadcast_to((np.hypot(r, c) < 0.6) * np.exp(1j * (r + 2 * c)), shape).astype(np.complex64)


def test_k_space_without_a_target_shows_no_truth(tmp_path, weights, capsys):
    kspace = fft2c(torch.from_numpy(discs(3, 4, 96, 64))).numpy()
    kspace[0] = kspace[2] = np.nan  # never read
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["kspace"] = kspace
    figure = lib.data.look(tmp_path / "a.h5", weights=weights)
    assert titles(figure) == ["TV-SENSE", "VarNet", "GRAPPA", "zero-filled", "fully sampled", "mask"]
    assert "target none" in capsys.readouterr().out
    assert np.allclose(figure.axes[4].images[0].get_array(), abs(discs(96, 64)) * 2, atol=1e-3)  # of four coils


def test_points_are_reconstructed_by_tv_sense_and_the_others_say_why_not(tmp_path, weights):
    generator = np.random.default_rng(0)
    points = generator.random((72, 64)) < 0.4
    points[26:46, 22:42] = True
    maps = np.exp(1j * np.linspace(-1, 1, 4))[:, None, None] * discs(4, 72, 64)
    maps = (maps + 0.05 * (generator.standard_normal((2, 4, 72, 64)) * [[[[1]]], [[[1j]]]]).sum(0)).astype(np.complex64)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["kspace"] = fft2c(torch.from_numpy(maps[None])).numpy() * points
    figure = lib.data.look(tmp_path / "a.h5", weights=weights)
    assert titles(figure) == ["TV-SENSE", "zero-filled", "VarNet", "GRAPPA", "mask"]
    errors = [np.square(ax.images[0].get_array() - abs(discs(72, 64)) * 2).mean() for ax in figure.axes[:2]]
    assert errors[0] < 0.8 * errors[1]
    assert all("whole columns" in ax.texts[0].get_text().replace("\n", " ") for ax in figure.axes[2:4])


def test_only_the_rows_that_are_shown_are_reconstructed():
    kspace = torch.randn(3, 40, 24, dtype=torch.complex64)
    cut = look._rows(kspace, 20)
    assert cut.shape == (3, 20, 24)
    assert torch.allclose(rss(ifft2c(cut)), center_crop(rss(ifft2c(kspace)), (20, 24)), atol=1e-5)


COMPLEX = {
    "complex": lambda x: x,
    "big-endian": lambda x: x.astype(">c16"),
    "split": lambda x: np.stack((x.real, x.imag), -1),
    "records": lambda x: np.rec.fromarrays((x.real, x.imag), [("real", "<f4"), ("imag", "<f4")]),
}


@pytest.mark.parametrize("stored", COMPLEX)
def test_complex_images_and_k_space_are_told_apart_and_may_be_named(tmp_path, stored, capsys):
    image = discs(2, 3, 32, 24)
    kspace = fft2c(torch.from_numpy(image)).numpy()
    for name, values in (("image", image), ("kspace", kspace)):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["x"] = COMPLEX[stored](values)
    figure = lib.data.look(tmp_path / "image.h5")
    assert "taken as an image and not as k-space" in capsys.readouterr().out
    assert titles(figure) == ["image 0", "image 1", "image 3", "image 5"]
    assert np.allclose(figure.axes[0].images[0].get_array(), abs(image[0, 0]), atol=1e-6)
    figure = lib.data.look(tmp_path / "kspace.h5", slice=1)
    said = capsys.readouterr().out
    assert "taken as k-space" in said and "2 slices, 3 coils, 32 readout × 24 phase encodes" in said
    assert np.allclose(figure.axes[0].images[0].get_array(), 3**0.5 * abs(image[0, 0]), atol=1e-5)
    assert titles(lib.data.look(tmp_path / "kspace.h5", kind="image", slice=5)) == ["image 5"]
    assert titles(lib.data.look(tmp_path / "image.h5", kind="kspace")) == ["RSS of the inverse FFT"]
    assert "taken as k-space" not in capsys.readouterr().out


def test_the_first_array_of_numbers_in_hdf5_is_shown_and_named(tmp_path, capsys):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a"] = ["some", "texts"]
        file.create_dataset("b", (3, 8, 8), h5py.string_dtype())
        file["c"], file["d"] = h5py.Empty("f4"), 3.0
        file["e"] = np.zeros((4, 5), [("name", "S3"), ("age", "i4")])
        file["f"] = np.zeros((0, 4, 4))
        file["g/volume"] = np.arange(2 * 6 * 5).reshape(2, 6, 5)
        file["h"] = h5py.SoftLink("/nowhere")
    figure = lib.data.look(tmp_path / "a.h5", slice=1)
    said = capsys.readouterr().out
    assert "its first array of numbers is 'g/volume', (2, 6, 5) of int64, images; 6 other data sets" in said
    assert figure.axes[0].images[0].get_array().max() == 59
    with h5py.File(tmp_path / "a.h5", "a") as file:
        del file["g"]
    with refused(where="a.h5", found=r"holds no array .* \(a: an array \(2,\), .*; b: .* expected numbers; c: nothing"):
        lib.data.look(tmp_path / "a.h5")


def test_color_nifti_is_shown_in_color(tmp_path, capsys):
    colors = np.zeros((6, 5, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    colors["R"], colors["B"][0] = 200, 90
    nibabel.save(nibabel.Nifti1Image(colors, np.eye(4)), tmp_path / "a.nii")
    shown = lib.data.look(tmp_path / "a.nii", slice=2).axes[0].images[0].get_array()
    assert shown.shape == (5, 6, 3) and (shown[..., 0] == 200).all() and (shown[:, 5, 2] == 90).all()
    assert "an array (4, 5, 6) of records of R, G, B, images" in capsys.readouterr().out


def test_a_niftis_pose_is_told(tmp_path, capsys):
    affine = np.array([[-0.7, 0, 0, 90], [0, -0.7, 0, 80.5], [0, 0, 5, -40], [0, 0, 0, 1]])
    image = nibabel.Nifti1Image(np.zeros((8, 9, 3), np.int16), affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, tmp_path / "a.nii.gz")
    lib.data.look(tmp_path / "a.nii.gz")
    said = capsys.readouterr().out
    assert "stored (8, 9, 3), axes LPS (what each grows towards), 0.7 × 0.7 × 5 mm" in said
    assert "affine [-0.7 0 0 90] [0 -0.7 0 80.5] [0 0 5 -40], by its sform" in said
    image.header.set_sform(None, 0), image.header.set_qform(None, 0), image.header.set_xyzt_units(0)
    nibabel.save(nibabel.Nifti1Image(np.zeros((8, 9, 3), np.int16), None, image.header), tmp_path / "b.nii.gz")
    lib.data.look(tmp_path / "b.nii.gz")
    said = capsys.readouterr().out
    assert "mm (no unit given)" in said and "neither sform nor qform: where it lies isn't known" in said


def test_damaged_parts_end_in_one_line(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=np.arange(4096.0).reshape(64, 64), chunks=(64, 64), compression="gzip")
        at, size = file["x"].id.get_chunk_info(0).byte_offset, file["x"].id.get_chunk_info(0).size
    with (tmp_path / "a.h5").open("r+b") as file:
        file.seek(at)
        file.write(bytes(size))
    with refused(where="a.h5", found=r"can't be read \("):
        lib.data.look(tmp_path / "a.h5")


def test_a_notebook_shows_the_zero_filled_image_before_the_methods_have_run(tmp_path, weights):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["kspace"] = np.random.default_rng(0).normal(size=(1, 2, 32, 32)).astype(np.complex64)
    code = f"import lib.data\nlib.data.look({str(tmp_path / 'a.h5')!r}, weights={str(weights)!r})"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    seen = []
    client = NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}})
    client.on_cell_executed = lambda **_: seen.extend(notebook.cells[0].outputs)
    process, told = client.process_message, []
    client.process_message = lambda m, *given: (told.append((m["msg_type"], m["content"])), process(m, *given))[1]
    client.execute()
    kinds = [kind for kind, _ in told]
    first = kinds.index("display_data")
    assert "image/png" in told[first][1]["data"]
    texts = [content["text"] for kind, content in told[first:] if kind == "stream"]
    assert "TV-SENSE …" in "".join(texts) and kinds.index("update_display_data") > first
    pictures = [output.data for output in seen if "data" in output]
    assert ["image/png" in data for data in pictures] == [False, True]  # the first one has made room
