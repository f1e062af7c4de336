"""Messages: real mail to a local SMTP server; a recipe of several tasks, one of them failing."""

import email
import os
import socket
import subprocess
import sys

import pytest
from aiosmtpd.controller import Controller

from lib.recipes import notify

QUICK = "notebook: 00_toy, notify: true"
NOTEBOOK = """{"cells": [
 {"cell_type": "code", "id": "a", "metadata": {"tags": ["parameters"]}, "outputs": [], "execution_count": null,
  "source": ["task_name = 'toy'  # type: str\\n", "fail = False  # type: bool\\n", "run_dir = None  # type: path|None"]},
 {"cell_type": "code", "id": "b", "metadata": {}, "outputs": [], "execution_count": null,
  "source": ["from lib import InputError, runs\\n", "run = runs.start('00_toy', globals())\\n", "print('reading the scan')\\n",
             "if fail:\\n", "    raise InputError('scan.h5: broken')\\n", "runs.finish(run)"]}],
 "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3"}}, "nbformat": 4, "nbformat_minor": 5}"""


class Box:
    def __init__(self):
        self.mails = []

    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.content)
        body = next(p for p in message.walk() if p.get_content_type().startswith("text/")).get_payload(decode=True)
        subject = str(email.header.make_header(email.header.decode_header(message["Subject"])))
        self.mails.append((envelope.rcpt_tos, subject, body.decode()))
        return "250 OK"


@pytest.fixture
def mailbox():
    box = Box()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    yield box, f"mailto://127.0.0.1:{port}?smtp=127.0.0.1&from=suite@example.org&to=you@example.org&mode=insecure"
    controller.stop()


def run(place, address, *words):
    (place / "notebooks").mkdir()
    (place / "notebooks" / "00_toy.ipynb").write_text(NOTEBOOK)
    tasks = [
        f"- {{task_name: {name}, {QUICK}{more}}}"
        for name, more in (("first", ""), ("second", ", fail: true"), ("third", ""))
    ]
    (place / "jobs.yaml").write_text("\n".join(tasks))
    environment = os.environ | {"ECHOTRAIN_RUNS": str(place / "runs"), "ECHOTRAIN_NOTEBOOKS": str(place / "notebooks")}
    environment["ECHOTRAIN_NOTIFY"] = address
    command = [sys.executable, "-m", "lib", str(place / "jobs.yaml"), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, cwd=place)


@pytest.mark.whole
def test_mail_at_start_end_and_error_of_a_job_whose_second_task_fails(tmp_path, mailbox):
    box, address = mailbox
    done = run(tmp_path, address)
    assert done.returncode == 1 and done.stderr.splitlines()[-1] == "task second failed: scan.h5: broken"
    assert all(to == ["you@example.org"] for to, *_ in box.mails)
    subjects = [subject.removesuffix(f" ({socket.gethostname()})") for _, subject, _ in box.mails]
    assert subjects == [
        "jobs.yaml has started: 3 tasks", "[1/3] first has started", "[1/3] first: ok", "[2/3] second has started",
        "[2/3] second failed", "[3/3] third has started", "[3/3] third: ok", "jobs.yaml has ended",
    ]  # fmt: skip
    bodies = dict(zip(subjects, (body for *_, body in box.mails), strict=True))
    assert "scan.h5: broken" in bodies["[2/3] second failed"] and "reading the scan" in bodies["[2/3] second failed"]
    assert "second: failed · scan.h5: broken" in bodies["jobs.yaml has ended"]
    notebook = next((tmp_path / "runs" / "first").glob("*/notebook.ipynb")).read_text()
    assert "example.org" not in notebook  # addresses stay out of what is kept


@pytest.mark.whole
def test_what_cannot_be_sent_never_stops_a_run(tmp_path):
    nowhere = "mailto://127.0.0.1:1?smtp=127.0.0.1&from=a@example.org&to=b@example.org&mode=insecure nonsense://x"
    done = run(tmp_path, nowhere, "--only", "third")
    assert done.returncode == 0 and "third  ok" in done.stdout
    assert "warning: notify: mailto: 'jobs.yaml has started: 1 tasks" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.whole
def test_asked_for_without_an_address_is_one_warning(tmp_path):
    done = run(tmp_path, "", "--only", "third")
    assert done.stderr.count("warning:") == 1 and "no address in ECHOTRAIN_NOTIFY or notify.txt" in done.stderr


def test_addresses_come_from_the_environment_and_the_file(tmp_path, monkeypatch):
    (tmp_path / "notify.txt").write_text("# mine\n\nntfy://topic\n")
    monkeypatch.setattr(notify, "FILE", tmp_path / "notify.txt")
    monkeypatch.setenv("ECHOTRAIN_NOTIFY", "a://b c://d")
    assert notify.addresses() == ["a://b", "c://d", "ntfy://topic"]
