"""When this process has last got on with its work: a file opened or written, a batch or a window done, a line of a helper's."""

import time

_last = time.monotonic()


def made() -> None:
    """Notes that there is progress now."""
    global _last
    _last = time.monotonic()


def idle() -> float:
    """Seconds since there was any."""
    return time.monotonic() - _last
