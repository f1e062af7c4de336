"""Every format reads as one record: the same k-space and images, whatever they were written in."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
import written
from refusals import refused

import lib.data
from lib import ROOT, InputError
from lib.data.formats.lines import without_oversampling
from lib.data.formats.opening import open


@pytest.mark.parametrize("name", written.KSPACE)
def test_kspace_is_the_same_in_every_format(tmp_path, name):
    ending, write, settings = written.KSPACE[name]
    scan = open(write(tmp_path / f"scan{ending}"), **settings)
    assert scan.kind == "kspace" and scan.shape == written.K.shape
    found = np.stack([scan.slice(s) for s in range(scan.shape[0])])
    assert found.dtype == np.complex64
    np.testing.assert_allclose(found, written.K, atol=1e-6 * abs(written.K).max())
    assert written.PERSON not in str(scan) + repr(scan._replace(path=None, read=None))


@pytest.mark.parametrize("name", written.IMAGES)
def test_images_are_the_same_in_every_format(tmp_path, name):
    ending, write, settings = written.IMAGES[name]
    scan = open(write(tmp_path / f"scan{ending}"), **settings)
    assert scan.kind == "image" and scan.shape == written.VOLUME.shape
    assert np.array_equal(np.stack([scan.slice(s) for s in range(scan.shape[0])]), written.VOLUME)
    assert written.PERSON not in str(scan) + repr(scan._replace(path=None, read=None))
    if name.startswith(("DICOM", "NRRD")):
        np.testing.assert_allclose(scan.affine, written.AFFINE, atol=1e-6)


def test_there_are_enough_kinds():
    assert len(written.KSPACE) + len(written.IMAGES) >= 25


def images_of(scan):
    return np.stack([scan.slice(s) for s in range(scan.shape[0])])


def test_ismrmrd_undersampled_with_calibration_and_an_asymmetric_echo(tmp_path):
    outer = [i for i in range(written.COLUMNS) if i % 4 == 0]
    lines = written.mrd_lines(columns=outer)
    lines += written.mrd_lines(columns=range(12, 20), flags=["IS_PARALLEL_CALIBRATION"])
    for line in lines:  # the first 10 samples were never recorded
        line.resize(written.ROWS * 2 - 10, written.COILS)
    full = written.mrd_lines(columns=outer) + written.mrd_lines(columns=range(12, 20))
    for line, whole in zip(lines, full, strict=True):
        line.data[:] = whole.data[:, 10:]
        line.center_sample = written.ROWS - 10
    scan = open(written.mrd(tmp_path / "a.h5", lines))
    assert np.flatnonzero(scan.mask).tolist() == sorted({*outer, *range(12, 20)})
    expected = written.oversampled(written.K)[..., :, :]
    expected[..., :10, :] = 0
    expected = without_oversampling(expected * scan.mask, written.ROWS)
    np.testing.assert_allclose(images_of(scan), expected, atol=1e-6 * abs(written.K).max())
    assert scan.spacing == pytest.approx(written.SPACING)


def test_a_noise_scan_whitens_as_by_hand(tmp_path):
    """Two coils: the second one's noise is the first one's, twice as strong, and as much of its own."""
    rng = np.random.default_rng(0)
    own = rng.normal(size=(2, 200_000)) + 1j * rng.normal(size=(2, 200_000))  # variance 2 in each
    noise = np.stack([own[0], 2 * own[0] + 2 * own[1]])
    scan_noise = written.acquisition(noise[:, : written.ROWS * 1000], ["IS_NOISE_MEASUREMENT"])
    scan_noise.sample_time_us = 10.0  # twice the image's: half of its variance a sample
    lines = [
        written.acquisition(line.data[:2], slice=line.idx.slice, kspace_encode_step_1=line.idx.kspace_encode_step_1)
        for line in written.mrd_lines()
    ]
    scan = open(written.mrd(tmp_path / "a.h5", [scan_noise, *lines]))
    np.testing.assert_allclose(scan.noise, [[4, 8], [8, 32]], rtol=0.03, atol=0.05)
    # L = [[2, 0], [4, 4]], so L⁻¹ = [[1/2, 0], [-1/2, 1/4]]
    first, second = written.K[:, 0], written.K[:, 1]
    expected = np.stack([first / 2, second / 4 - first / 2], 1)
    np.testing.assert_allclose(images_of(scan), expected, atol=0.03 * abs(expected).max())


def test_one_of_several_contrasts_is_read_and_told(tmp_path):
    lines = written.mrd_lines(contrast=0) + written.mrd_lines(3 * written.K, contrast=1)
    path = written.mrd(tmp_path / "a.h5", lines)
    scan = open(path, contrast=1)
    np.testing.assert_allclose(images_of(scan), 3 * written.K, atol=3e-6 * abs(written.K).max())
    assert "contrast 1 of 2 (contrast=… chooses)" in str(scan)
    with refused(where="a.h5", found="contrast: got 7", expected="one of 0, 1"):
        open(path, contrast=7)


def test_slices_come_in_the_order_of_their_positions_with_their_place(tmp_path):
    """Interleaved: number 0 lies in the middle. Readout toward the back, phase encode toward the left, slices toward the head."""
    heights = {0: 3.0, 1: 0.0, 2: 6.0}
    lines = written.mrd_lines()
    for line in lines:
        line.position[:] = (10.0, -20.0, heights[line.idx.slice])
        line.read_dir[:], line.phase_dir[:], line.slice_dir[:] = (0, 1, 0), (1, 0, 0), (0, 0, 1)
    scan = open(written.mrd(tmp_path / "a.h5", lines))
    np.testing.assert_allclose(images_of(scan), written.K[[1, 0, 2]], atol=1e-6 * abs(written.K).max())
    assert "slices in the order of their positions" in str(scan)
    # the voxel in the middle, row 20 and column 16, lies 10 mm to the left, 20 mm to the front
    np.testing.assert_allclose(scan.affine @ [0, 20, 16, 1], [-10, 20, 0, 1], atol=1e-5)
    np.testing.assert_allclose(scan.affine @ [2, 21, 18, 1], [-10 - 2 * 1.25, 20 - 1.5, 6, 1], atol=1e-5)


def test_a_siemens_slice_lies_where_its_quaternion_says(tmp_path):
    """A quarter turn about the axis to the head: phase encodes toward the back, the readout toward the right."""
    turn = (0.5**0.5, 0, 0, 0.5**0.5)
    heights = {0: 3.0, 1: 0.0, 2: 6.0}
    scan = open(written.twix(tmp_path / "a.dat", places={s: ((10.0, -20.0, z), turn) for s, z in heights.items()}))
    np.testing.assert_allclose(images_of(scan), written.K[[1, 0, 2]], atol=1e-6 * abs(written.K).max())
    # to NIfTI's axes: row 21 lies 1.5 mm further right, column 18 two times 1.25 mm further back
    np.testing.assert_allclose(scan.affine @ [0, 20, 16, 1], [-10, 20, 0, 1], atol=1e-5)
    np.testing.assert_allclose(scan.affine @ [2, 21, 18, 1], [-10 + 1.5, 20 - 2 * 1.25, 6, 1], atol=1e-5)
    assert open(written.twix(tmp_path / "b.dat")).affine is None  # a quaternion of zeros says nothing


def test_dicom_over_time_and_rescaled(tmp_path):
    scan = open(written.dicom_folder(tmp_path / "cine", times=3, slope=2.5))
    assert scan.times == 3 and scan.shape[0] == 3 * written.SLICES
    found = images_of(scan).reshape(3, *written.VOLUME.shape)
    assert all(np.array_equal(found[t], (written.VOLUME + t) * 2.5 + 10) for t in range(3))


def test_axes_that_are_guessed_can_be_said(tmp_path):
    path = written.saved(written.K.transpose(1, 0, 2, 3))(tmp_path / "a.npy")  # coils first
    assert open(path).shape == (4, 3, 40, 32) and "axes taken as (slice 4, coil 3" in str(open(path))
    assert open(path, axes="c s y x").shape == written.K.shape
    shifted = written.saved(np.fft.fftshift(written.K, (2, 3)))(tmp_path / "b.npy")
    assert "is the zero frequency in the corner?" in str(open(shifted, axes="scyx", kind="kspace"))


def truncated(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


def mixed(path):
    written.dicom_folder(path, series=1)
    return written.dicom_folder(path, series=2)


def other_size(path):
    written.dicom_folder(path)
    one = written.dicom_head(99, Rows=8, Columns=8, **written.at(1))
    one.PixelData = bytes(128)
    one.save_as(path / "z", enforce_file_format=True)
    return path


def without_header(path):
    written.bart(path).with_suffix(".hdr").unlink()
    return path


def outside(path):
    return written.mrd(path, written.mrd_lines() + [written.acquisition(np.ones((4, 80)), kspace_encode_step_1=60)])


def epi(path):
    return written.mrd(path, written.mrd_lines(flags=["IS_REVERSE"]))


def radial(path):
    return written.mrd(path, written.mrd_lines(), written.mrd_header(trajectory="radial"))


def text(path):
    path.write_text("x" * 200)
    return path


WRONG = {  # name → (ending, writer, settings, where, what is said)
    "half of BART": (".cfl", lambda p: truncated(written.bart(p)), {}, ".cfl", "61,440 bytes"),
    "BART without header": (".cfl", without_header, {}, ".hdr", "no such file"),
    "half of Siemens": (".dat", lambda p: truncated(written.twix(p)), {}, ".dat", "without the mark of its end"),
    "no Siemens": (".dat", text, {}, ".dat", "holds no measurement, expected Siemens raw data"),
    "Siemens EPI": (".dat", lambda p: written.twix(p, flags={(1, 3): ["REFLECT"]}), {}, ".dat", "EPI: lines run in both"),
    "Siemens radial": (".dat", lambda p: written.twix(p, protocol={"sKSpace.ucTrajectory": 2}), {}, ".dat", "no Cartesian"),
    "half of NumPy": (".npy", lambda p: truncated(written.saved(written.K)(p)), {}, ".npy", "truncated?"),
    "half of MATLAB": (".mat", lambda p: truncated(written.matlab_5(p)), {}, ".mat", "can't be read"),
    "half of NRRD": (".nrrd", lambda p: truncated(written.nrrd_file(p)), {}, ".nrrd", "can't be read as NRRD"),
    "half of DICOM": (".dcm", lambda p: truncated(written.dicom_one(p)), {}, ".dcm", "its pixels can't be read"),
    "mixed series": ("", mixed, {}, "scan", "2 series in one folder: 1 (3 files), 2 (3 files)"),
    "an unknown series": ("", mixed, {"series": 7}, "scan", "series: got 7"),
    "sizes that differ": ("", other_size, {}, "z", "an image of (8, 8)"),
    "wrong axes": (".npy", written.saved(written.K), {"axes": "c y x"}, "axes", "got 'c y x' for an array (3, 4, 40, 32)"),
    "unknown axes": (".npy", written.saved(written.K), {"axes": "q c y x"}, "axes", "got 'q c y x'"),
    "an unknown key": (".npz", written.zipped, {"key": "kspce"}, ".npz", "no array 'kspce'; did you mean 'kspace'?"),
    "images as k-space": (".npy", written.saved(written.VOLUME), {"kind": "kspace"}, ".npy", "kind: got 'kspace'"),
    "non-Cartesian": (".h5", radial, {}, ".h5", "a radial trajectory"),
    "EPI": (".h5", epi, {}, ".h5", "EPI: lines run in both directions"),
    "lines outside": (".h5", outside, {}, ".h5", "phase encode 60, partition 0"),
    "an unknown kind": (".xyz", text, {}, ".xyz", "unknown kind of file"),
    "an unknown argument": (".npy", written.saved(written.K), {"axis": "y"}, "open", "unknown argument 'axis'"),
    "a mask of another size": (".npy", written.saved(written.K), {"mask": np.ones(7)}, "mask", "shape (7,)"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_bad_input_is_one_line(tmp_path, name):
    ending, write, settings, where, words = WRONG[name]
    path = write(tmp_path / f"scan{ending}")
    with pytest.raises(InputError) as told:
        scan = open(path, **settings)
        scan.slice(0)
    assert where in told.value.where and words in str(told.value) and "\n" not in str(told.value)


@pytest.mark.parametrize("library", ["twixtools", "nrrd"])
def test_a_missing_library_is_named_with_the_line_that_installs_it(tmp_path, monkeypatch, library):
    path = {"twixtools": written.twix, "nrrd": written.nrrd_file}[library](
        tmp_path / {"twixtools": "a.dat", "nrrd": "a.nrrd"}[library]
    )
    monkeypatch.setitem(sys.modules, library, None)
    with refused(hint="pip install"):
        open(path)


def test_every_real_file_that_pydicom_ships_reads_or_is_refused_in_one_line():
    from pydicom.data import get_testdata_files

    read = 0
    for path in sorted(p for p in get_testdata_files() if p.endswith(".dcm")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's own, of what is odd in them
            try:
                read += bool(open(path).slice(0).size)
            except InputError as error:
                assert "\n" not in str(error)
    assert read > 20


@pytest.mark.parametrize("syntax", ["JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless", "RLELossless"])
def test_slices_that_a_scanner_has_compressed_are_the_same(tmp_path, syntax):
    """Compressed by gdcm itself, read through pydicom's plugins."""
    import gdcm

    plain = written.dicom_folder(tmp_path / "plain")
    (tmp_path / "made").mkdir()
    for path in sorted(p for p in plain.iterdir() if p.name != "readme"):
        reader = gdcm.ImageReader()
        reader.SetFileName(str(path))
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFileName(str(tmp_path / "made" / path.name))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
    scan = open(tmp_path / "made")
    assert np.array_equal(np.stack([scan.slice(s) for s in range(written.SLICES)]), written.VOLUME)


@pytest.mark.parametrize("name", ["ISMRMRD", "Siemens", "BART", "MATLAB 5", "npz"])
def test_look_shows_every_method_of_raw_data(tmp_path, name, capsys):
    ending, write, settings = written.KSPACE[name]
    figure = lib.data.look(write(tmp_path / f"scan{ending}"), **settings)
    titles = [ax.get_title() for ax in figure.axes]
    assert "GRAPPA" in titles and "zero-filled" in titles and "fully sampled" in titles
    assert "k-space, " in capsys.readouterr().out


def test_look_shows_images_of_new_formats(tmp_path):
    figure = lib.data.look(written.dicom_folder(tmp_path / "series"), slice=1)
    assert np.array_equal(figure.axes[0].images[0].get_array(), written.VOLUME[1])


def test_reading_ismrmrd_leaves_warnings_as_they_were():
    """Its import alone would show all warnings from then on, of every library."""
    all_shown = "import sys, warnings; sys.exit(('default', None, Warning, None, 0) in warnings.filters)"
    for statement, code in (("from lib.data.formats import ismrmrd_file", 0), ("import ismrmrd", 1)):
        done = subprocess.run([sys.executable, "-W", "ignore", "-c", f"{statement}; {all_shown}"], cwd=ROOT)
        assert done.returncode == code
