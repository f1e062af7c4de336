"""A scanner's stream in, images out: in the format's own words, as a process between pipes and over a connection."""

import contextlib
import io
import socket
import subprocess
import sys
import threading

import mrd
import numpy as np
import pytest
import torch
import written
from refusals import refused

from lib import ROOT, serve
from lib.data.formats import mrd_stream
from lib.kspace import ifft2c, rss

TRUTH = rss(ifft2c(torch.from_numpy(written.K))).numpy()  # (slices, rows, columns)
PERSON = written.PERSON


def header(trajectory=mrd.Trajectory.CARTESIAN):
    def space(rows, field):
        return mrd.EncodingSpaceType(
            matrix_size=mrd.MatrixSizeType(x=rows, y=written.COLUMNS, z=1),
            field_of_view_mm=mrd.FieldOfViewMm(x=field, y=40.0, z=3.0),
        )

    encoding = mrd.EncodingType(
        encoded_space=space(2 * written.ROWS, 120.0), recon_space=space(written.ROWS, 60.0),
        encoding_limits=mrd.EncodingLimitsType(), trajectory=trajectory,
    )  # fmt: skip
    return mrd.Header(encoding=[encoding], subject_information=mrd.SubjectInformationType(patient_name=PERSON))


def acquisitions(columns=range(written.COLUMNS), repetitions=1):
    """Every line of the scan, readout oversampled, in the order in which a scanner interleaves slices."""
    lines = written.oversampled(written.K)
    for repetition in range(repetitions):
        for column in columns:
            for s in range(written.SLICES):
                idx = mrd.EncodingCounters(kspace_encode_step_1=column, slice=s, repetition=repetition)
                head = mrd.AcquisitionHeader(idx=idx, center_sample=written.ROWS)
                head.position[:] = 0, 0, 3.0 * s
                head.slice_dir[2] = 1.0
                data = lines[s, :, :, column] * (1 + repetition)
                yield mrd.StreamItem.Acquisition(
                    mrd.Acquisition(head=head, data=np.ascontiguousarray(data, np.complex64))
                )


def stream(head, items):
    target = io.BytesIO()
    writer = mrd.BinaryMrdWriter(target)
    writer.write_header(head)
    writer.write_data(items)
    writer.close()
    return target.getvalue()


def images(content):
    with mrd.BinaryMrdReader(io.BytesIO(content)) as reader:
        reader.read_header()
        return [item.value for item in reader.read_data()]


def test_a_process_between_pipes_gives_the_images(tmp_path):
    content = stream(header(), acquisitions(repetitions=2))
    done = subprocess.run(
        [sys.executable, "-m", "lib.serve", "--method", "zero-filled"], input=content, capture_output=True, cwd=ROOT,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    found = images(done.stdout)
    assert [(i.head.repetition, i.head.slice) for i in found] == [
        (r, s) for r in range(2) for s in range(written.SLICES)
    ]
    for image in found:
        expected = TRUTH[image.head.slice] * (1 + image.head.repetition)
        np.testing.assert_allclose(image.data[0, 0], expected, atol=2e-5 * TRUTH.max())
    assert found[1].head.position[2] == 3.0 and PERSON not in done.stderr.decode()


def test_undersampled_lines_are_reconstructed_by_a_method():
    columns = sorted({*range(0, written.COLUMNS, 2), *range(10, 22)})
    errors = {}
    for method in ("zero-filled", "GRAPPA"):
        target = io.BytesIO()
        serve.serve(io.BytesIO(stream(header(), acquisitions(columns))), target, serve._reconstruction(method, ""))
        found = np.stack([image.data[0, 0] for image in images(target.getvalue())])
        errors[method] = float(np.square(found - TRUTH).mean())
    assert errors["GRAPPA"] < 0.1 * errors["zero-filled"]


def test_a_connection_gets_its_images_and_a_bad_one_leaves_the_server_alive():
    ready, port = threading.Event(), []

    def listen():
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port.append(probe.getsockname()[1])
        ready.set()
        serve.listen(port[0], serve._reconstruction("zero-filled", ""))

    threading.Thread(target=listen, daemon=True).start()
    ready.wait(10)
    with socket.create_connection(("127.0.0.1", port[0])) if _listening(port[0]) else None:
        pass  # gone before anything was sent
    for content, expected in ((b"no stream at all", 0), (stream(header(), acquisitions()), written.SLICES)):
        connection = socket.create_connection(("127.0.0.1", port[0]), timeout=60)
        with connection, connection.makefile("rwb") as both:
            both.write(content)
            both.flush()
            connection.shutdown(socket.SHUT_WR)
            received = both.read()
        assert len(images(received)) == expected if expected else received == b""


def _listening(port):
    for _ in range(200):
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return True
        threading.Event().wait(0.05)
    return False


def test_a_port_that_is_taken_is_one_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        with refused(where=f"--port {number}", found="can't be listened on"):
            serve.listen(number, None)
    with refused(where="--port 99999"):
        serve.listen(99999, None)


@pytest.mark.parametrize(
    ("head", "items", "fields"),
    [
        (lambda: None, lambda: (), {"where": "stream", "found": "no header"}),
        (header, lambda: (), {"found": "no acquisition of an image"}),
        (
            lambda: header(mrd.Trajectory.RADIAL),
            acquisitions,
            {"found": "a radial trajectory", "expected": "cartesian"},
        ),
    ],
)
def test_what_cannot_be_reconstructed_is_named(head, items, fields):
    with refused(**fields):
        list(mrd_stream.series(head(), items()))


def test_the_command_names_what_is_wrong():
    for words, content, last in (
        (["--method", "GRAPA"], b"", "--method GRAPA: did you mean 'GRAPPA'? expected one of zero-filled, GRAPPA"),
        ([], b"nothing of the kind", "stream: no MRD stream"),
        ([], stream(header(), acquisitions())[:-3000], "stream: it ends in the middle"),
    ):
        done = subprocess.run([sys.executable, "-m", "lib.serve", *words], input=content, capture_output=True, cwd=ROOT)
        assert (
            done.returncode == 2
            and done.stderr.decode().splitlines()[-1].startswith(last)
            and b"Traceback" not in done.stderr
        )
