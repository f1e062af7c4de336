"""Readers fed with damaged files: each takes them or says in one line what is wrong, in a child with a limit of memory."""

import contextlib
import io
import json
import os
import random
import resource
import shutil
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt

from lib import InputError
from soak import readers

MEMORY = 4 * 2**30  # bytes more than the child has at first
SECONDS = 10  # of computing that a case may take
WAITING = 60  # seconds altogether, on a machine that may be busy
GOOD = ("taken", "refused")


class Hang(BaseException):
    """Raised by the alarm; no reader catches it."""


def run(count: int, folder: Path, first: int = 0) -> Iterator[dict[str, object]]:
    """About `count` cases over all readers.

    Parameters
    ----------
    count : of cases
    folder : to work in
    first : the first seed

    Yields
    ------
    {reader, seed, what: one of GOOD, or raw, lines, hang, memory, crash; said: the message}
    """
    made, place = folder / "made", folder / "case"
    found = readers.targets(made)
    for name, case in found.items():
        place.mkdir()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            case(None, place)()  # what isn't damaged is taken
        shutil.rmtree(place)
        yield from _all(name, case, range(first, first + -(-count // len(found))), place)
    shutil.rmtree(made)


def _all(name: str, case: readers.Case, seeds: range, folder: Path) -> Iterator[dict[str, object]]:
    """One reader's cases in a child; in another one from the next case on where it dies."""
    told = folder.with_suffix(".jsonl")
    while len(seeds):
        told.unlink(missing_ok=True)
        child = os.fork()
        if not child:
            _child(name, case, seeds, folder, told)
        status = os.waitpid(child, 0)[1]
        lines = [json.loads(line) for line in told.read_text().splitlines()]
        yield from (line for line in lines if "what" in line)
        begun = lines[-1]["seed"] if lines else seeds[0]
        if not lines or "what" not in lines[-1]:
            yield {"reader": name, "seed": begun, "what": "crash", "said": f"status {status}"}
        seeds = range(begun + 1, seeds.stop)
    told.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _child(name: str, case: readers.Case, seeds: range, folder: Path, told: Path) -> None:
    """Runs cases and writes a line before and after each; it doesn't return."""
    for number in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(number, _alarm)
    limit = _virtual() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    warnings.simplefilter("ignore")
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1), os.dup2(silence, 2)
    with open(told, "a") as lines:
        for seed in seeds:
            print(json.dumps({"reader": name, "seed": seed}), file=lines, flush=True)
            what, said = _called(case, random.Random(f"{name} {seed}"), folder)
            print(json.dumps({"reader": name, "seed": seed, "what": what, "said": said[:300]}), file=lines, flush=True)
    os._exit(0)


def _called(case: readers.Case, drawn: random.Random, folder: Path) -> tuple[str, str]:
    """How a case ends, and what it says."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        read = case(drawn, folder)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        signal.setitimer(signal.ITIMER_REAL, WAITING)
        try:
            with contextlib.suppress(SystemExit):
                read()
            return "taken", ""
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)
    except InputError as error:
        several = [
            line for line in str(error).splitlines() if not line.startswith("recipe ")
        ]  # a recipe: a line a problem
        return ("lines" if len(several) > 1 else "refused"), str(error)
    except Hang:
        return "hang", ""
    except MemoryError as error:
        return "memory", f"MemoryError {error}"
    except BaseException as error:
        return "raw", f"{type(error).__name__}: {error} at {_place(error)}"
    finally:
        plt.close("all")


def _alarm(*_: object) -> None:
    raise Hang


def _place(error: BaseException) -> str:
    """The last line of lib that an error came through."""
    trace, found = error.__traceback__, ""
    while trace:
        file = trace.tb_frame.f_code.co_filename
        found = f"{Path(file).name}:{trace.tb_lineno}" if "/lib/" in file and "site-packages" not in file else found
        trace = trace.tb_next
    return found


def _virtual() -> int:
    """Bytes of address space that this process has (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
