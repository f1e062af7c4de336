"""What a person sees of an error in a notebook's cell, in a real kernel, and what the run's record says then."""

import json
import time

import nbformat
import papermill
import pytest
import toys
from jupyter_client.manager import start_new_kernel

from lib import ROOT
from lib.recipes import kernels


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """Runs a cell in a kernel of its own and returns its error, {} for none; `interrupt`: after so many seconds."""
    toys.write(tmp_path / "notebooks", "21_toy")
    for name, value in toys.environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    manager, client = start_new_kernel()

    def run(code, interrupt=None):
        message = client.execute(code, stop_on_error=False)  # else what follows an error at once may be aborted
        if interrupt:
            time.sleep(interrupt)
            manager.interrupt_kernel()
        while (reply := client.get_shell_msg(timeout=60))["parent_header"]["msg_id"] != message:
            pass
        return reply["content"] if reply["content"]["status"] == "error" else {}

    yield run
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def state(place):
    (path,) = (place / "runs" / "toy").iterdir()
    return path, json.loads((path / "status.json").read_text())


def text(reply):
    assert len(reply["traceback"]) <= 12, reply["traceback"]
    return "\n".join(reply["traceback"])


START = "from lib import runs, InputError\nruns.run.BEAT = 0.1\nrun = runs.start('21_toy', {})"


def test_an_interrupt_and_an_error_are_a_box_and_end_the_run(kernel, tmp_path):
    assert not kernel(START)
    reply = kernel("import time; time.sleep(50)", interrupt=3)
    path, fields = state(tmp_path)
    assert reply["ename"] == "KeyboardInterrupt" and "Interrupted" in text(reply)
    assert f"\n    run_dir = '{path}'\nand run all cells: it begins again" in text(reply)
    assert (fields["status"], fields["error"]) == ("failed", "interrupted")
    (path / "checkpoints").mkdir()
    (path / "checkpoints" / "last.pt").touch()
    reply = kernel("raise InputError('epochs: got 0,\\n expected more')")
    assert (reply["ename"], reply["evalue"]) == ("InputError", "epochs: got 0,\n expected more")
    assert "training goes on after its last checkpoint" in text(reply)
    assert state(tmp_path)[1]["error"] == "epochs: got 0, expected more"
    reply = kernel("1 / 0")
    assert len(reply["traceback"]) > 2 and state(tmp_path)[1]["error"] == "ZeroDivisionError: division by zero"
    kernel("1 +")  # no code ran: nothing becomes of the run
    assert "SyntaxError" not in state(tmp_path)[1]["error"]
    assert not kernel("time.sleep(1); assert run.status()['status'] == 'running'")  # it goes on after all
    assert not kernel("runs.finish(run)") and state(tmp_path)[1]["status"] == "ok"
    assert "run_dir" not in text(kernel("raise InputError('no run is open')"))
    assert state(tmp_path)[1]["status"] == "ok"


def test_before_a_run_an_error_is_a_box_alone(kernel, tmp_path):
    reply = kernel("from lib import runs\nruns.start('21_toy', {'epochs': 0})")
    assert reply["evalue"].startswith("21_toy: epochs: got 0") and "run_dir" not in text(reply)
    assert not (tmp_path / "runs").exists()


@pytest.fixture
def papermilled(tmp_path, monkeypatch):
    toys.write(tmp_path / "notebooks", "21_toy")
    for name, value in toys.environment(tmp_path).items():
        monkeypatch.setenv(name, value)

    def execute(**parameters):
        with open(tmp_path / "log", "wb") as log:
            papermill.execute_notebook(
                tmp_path / "notebooks" / "21_toy.ipynb", tmp_path / "out.ipynb", parameters, progress_bar=False,
                kernel_name="python3", language="python", kernel_manager_class=kernels.manager([], log, tmp_path),
            )  # fmt: skip

    return execute


def test_papermill_can_not_pass_a_name_that_no_one_reads(papermilled, tmp_path):
    with pytest.raises(papermill.PapermillExecutionError) as caught:
        papermilled(epoch=3, code="print(1)")
    assert caught.value.ename == "InputError"
    assert "unknown parameter of 21_toy: got 'epoch', did you mean 'epochs'?" in caught.value.evalue
    assert not (tmp_path / "runs").exists()


def test_a_run_that_failed_under_papermill_says_why(papermilled, tmp_path):
    with pytest.raises(papermill.PapermillExecutionError) as caught:
        papermilled(epochs=3, code="from lib import InputError; raise InputError('scan.h5: cut off')")
    assert (caught.value.ename, caught.value.evalue) == ("InputError", "scan.h5: cut off")
    _, fields = state(tmp_path)
    assert (fields["status"], fields["error"]) == ("failed", "scan.h5: cut off")
    notebook = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    (output,) = (o for c in notebook.cells if c.cell_type == "code" for o in c.outputs if o.output_type == "error")
    assert len(output.traceback) <= 12
