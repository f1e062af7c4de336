"""python -m lib.serve: a scanner's reconstruction, which reads an MRD stream and writes one with images.

From standard input to standard output, or with --port for connections on this machine, one stream each.
"""

import argparse
import contextlib
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from lib import InputError

METHODS = ("zero-filled", "GRAPPA", "CG-SENSE", "TV-SENSE", "network")
HOST = "127.0.0.1"  # of this machine alone: a tunnel brings a scanner's connection here


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 after the stream, 2 if it can't be reconstructed; with --port it serves until it is interrupted."""
    parser = argparse.ArgumentParser(prog="python -m lib.serve", description="Reconstruct MRD streams (version 2).")
    parser.add_argument("--method", default="TV-SENSE", help=f"one of {', '.join(METHODS)}")
    parser.add_argument("--weights", default="runs/weights/generalist", help="of network: a task, a run or a folder")
    parser.add_argument("--port", type=int, help=f"listen on {HOST}:PORT instead of reading standard input")
    given = parser.parse_args(arguments)
    try:
        reconstruct = _reconstruction(given.method, given.weights)
        if given.port is None:
            with _own_output() as stream:
                serve(sys.stdin.buffer, stream, reconstruct)
        else:
            listen(given.port, reconstruct)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


@contextlib.contextmanager
def _own_output() -> Iterator[BinaryIO]:
    """Standard output for the stream alone: what is printed meanwhile goes to standard error."""
    sys.stdout.flush()
    with os.fdopen(os.dup(1), "wb") as stream:
        os.dup2(2, 1)
        yield stream


def listen(port: int, reconstruct: Callable[[Any], Any], host: str = HOST) -> None:
    """Serves one connection after the other; what can't be reconstructed is said, and the next one comes."""
    if not 0 <= port < 1 << 16:
        raise InputError(f"--port {port}", "no port", "a number below 65536")
    try:
        server = socket.create_server((host, port))
    except OSError as error:
        raise InputError(f"--port {port}", f"can't be listened on ({error})", "a free port") from None
    with server:
        print(f"listening on {host}:{server.getsockname()[1]}", file=sys.stderr, flush=True)
        while True:
            connection, _ = server.accept()
            try:
                with connection, connection.makefile("rb") as source, connection.makefile("wb") as target:
                    serve(source, target, reconstruct)
            except Exception as error:  # whatever one stream brings, the next one is served
                print(f"a stream is given up: {type(error).__name__}: {error}", file=sys.stderr, flush=True)


def serve(source: BinaryIO, target: BinaryIO, reconstruct: Callable[[Any], Any]) -> None:
    """One stream in, one out: its header, then the images of every contrast, phase, repetition and set.

    Parameters
    ----------
    source, target : of the streams
    reconstruct : k-space (`KspaceScan`) → images (slices, h, w)

    Raises
    ------
    InputError
        For what is no MRD stream, or can't be reconstructed; the stream that goes out ends whole.
    """
    import mrd

    from lib.data.formats import mrd_stream

    try:
        incoming = mrd.BinaryMrdReader(source)
        header = incoming.read_header()
    except Exception as error:
        raise InputError("stream", f"no MRD stream ({type(error).__name__}: {error})", "version 2, by mrd") from None
    with contextlib.closing(mrd.BinaryMrdWriter(target)) as outgoing:
        outgoing.write_header(header)
        with _ended(outgoing):
            for index, series in enumerate(mrd_stream.series(header, _items(incoming))):
                print(f"series {index}: {series.scan}", file=sys.stderr, flush=True)
                outgoing.write_data(mrd_stream.images(reconstruct(series.scan), series, header, index))


def _items(incoming: Any) -> Iterator[Any]:
    """What a stream holds; InputError where it breaks off."""
    try:
        yield from incoming.read_data()
    except Exception as error:  # its reader fails in many ways with half a stream
        raise InputError("stream", f"it ends in the middle ({type(error).__name__}: {error})", "a whole one") from None


@contextlib.contextmanager
def _ended(outgoing: Any):
    """Whatever happens, the data that went out end as the format wants it."""
    try:
        yield
    finally:
        outgoing.write_data(())


def _reconstruction(method: str, weights: str) -> Callable[[Any], Any]:
    """K-space → images (slices, h, w) by a method; InputError for an unknown one."""
    from lib.evaluation.baselines import BASELINES
    from lib.inference import own_scans
    from lib.runs.weights import load
    from lib.text import one_of

    if method not in METHODS:
        raise InputError(f"--method {method}", *one_of(method, METHODS))
    methods = {} if method in ("zero-filled", "network") else {method: BASELINES[method]}
    networks = {"network": load(weights).model.eval()} if method == "network" else {}

    def reconstruct(scan: Any) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            mask = {
                "kind": "equispaced",
                "acceleration": 1,
                "num_low_frequencies": min(24, scan.shape[-1]),
            }  # all lines
            images = own_scans.reconstruct(scan, Path(folder) / "stream.h5", mask, methods, networks)
        if isinstance(images[method], str):
            raise InputError("stream", images[method], hint=f"another --method: {', '.join(METHODS)}")
        return images[method]

    return reconstruct


if __name__ == "__main__":
    sys.exit(main())
