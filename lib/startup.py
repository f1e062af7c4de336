"""What `python -m lib` needs before anything heavy is imported: memory, and an interrupt that ends it in one line."""

import os
import signal
import sys

from lib import system

LEAST_GIB = 4  # that torch and what comes with it map


def begin() -> None:
    """Of `python -m lib`: ends the process in a line where `ulimit -v` is too small, and on Ctrl-C and SIGTERM until `ready`."""
    words = sys.orig_argv
    if "-m" not in words or words[words.index("-m") + 1 :][:1] != ["lib"]:
        return
    limit = system.memory_limit()
    if limit is not None and limit < LEAST_GIB << 30:
        _end(f"memory: ulimit -v allows {limit >> 20} MiB, expected at least {LEAST_GIB} GiB or unlimited", 2)
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: _end("interrupted before anything was started", 130))


def ready() -> None:
    """From here on Ctrl-C and SIGTERM raise KeyboardInterrupt, where they weren't ignored."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)


def _end(line: str, code: int) -> None:
    os.write(2, f"{line}\n".encode())
    os._exit(code)  # without the tidying up of what is half imported
