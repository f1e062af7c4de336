"""Messages about a job: its start and end, each task's, and every error; by e-mail or anything else that apprise knows.

Addresses are apprise URLs (https://github.com/caronc/apprise/wiki), in the environment variable ECHOTRAIN_NOTIFY, with
spaces between them, or in the file notify.txt at the repository's top, a line each (notify.sample.txt shows some). They
never stand in a recipe, a parameter or a notebook.
"""

import os
import socket
import sys
from pathlib import Path

from lib import ROOT
from lib.files import read

FILE = ROOT / "notify.txt"


def addresses() -> list[str]:
    """The URLs given, those of the environment before those of the file."""
    try:
        lines = FILE.read_text(encoding="utf-8").splitlines() if FILE.is_file() else []
    except (OSError, UnicodeDecodeError) as error:
        _warn(f"notify: {FILE.name} can't be read ({type(error).__name__})")
        lines = []
    lines = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return [*os.environ.get("ECHOTRAIN_NOTIFY", "").split(), *lines]


class Notifier:
    """Sends to all addresses, or to nobody where `wanted` is false; what goes wrong is a warning, never an error."""

    def __init__(self, wanted: bool):
        self.urls = addresses() if wanted else []
        if wanted and not self.urls:
            _warn(f"notify: no address in ECHOTRAIN_NOTIFY or {FILE.name}: nobody is told")

    def send(self, title: str, body: str = "") -> None:
        """One message; the title gets this machine's name."""
        for url in self.urls:
            try:
                import apprise

                service = apprise.Apprise()
                sent = service.add(url) and service.notify(
                    title=f"{title} ({socket.gethostname()})", body=body or title
                )
            except Exception as error:  # whatever a service raises, the run goes on
                sent = False
                _warn(f"notify: {type(error).__name__}")
            if not sent:
                scheme, mark, _ = url.partition("://")  # never the rest: it holds passwords
                _warn(f"notify: {scheme if mark else 'an address without ://'}: '{title}' could not be sent")


def last_lines(notebook: Path, count: int = 12) -> str:
    """The last lines that a notebook printed before it failed; '' where there are none."""
    try:
        cells = read(notebook)["cells"]
    except (OSError, ValueError, KeyError):
        return ""
    texts = [o["text"] for c in cells for o in c.get("outputs", ()) if o.get("output_type") == "stream"]
    lines = "".join("".join(t) for t in texts).splitlines()
    return "\n".join(lines[-count:])


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr, flush=True)
