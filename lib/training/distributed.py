"""Training in several processes: `launch` starts torchrun, whose processes run the notebook's own cells up to its fit.

So the Learner is built by the same lines everywhere, and what is changed in the (saved) notebook holds for all of them.
Each process works on its share of every batch; gradients are averaged before each step. Rank 0 writes the run folder.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil

from lib import ROOT, InputError, progress
from lib.files import read
from lib.parallel import mesh
from lib.runs.parameters import notebook
from lib.text import OUT_OF_MEMORY, one_line

LOST_CONNECTION = re.compile("connection (closed|reset|refused)|gloo/transport|broken pipe|NCCL.*remote", re.I)


class Trained(BaseException):
    """Ends a process's notebook: what comes after the fit is for the notebook that started it."""


def launch(run: Path, devices: str | int | list) -> None:
    """Trains the run's notebook in a process on each device, by torchrun, and prints what rank 0 prints.

    On several machines torchrun's variables (PET_NNODES, PET_RDZV_BACKEND, PET_RDZV_ENDPOINT) say where they meet.

    Parameters
    ----------
    run : its folder
    devices : a count or a list of ids, see `lib.training.device`

    Raises
    ------
    InputError
        With every failed rank's one line; a rank that fails ends the others.
    """
    processes = mesh.local_processes(devices)
    threads = max(1, (os.cpu_count() or 1) // processes) if mesh.on_cpu(devices) else 1
    command = [sys.executable, "-u", "-m", "torch.distributed.run", f"--nproc-per-node={processes}"]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "ECHOTRAIN_PARENT": str(os.getpid())}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    log, messages, places = run / "torchrun.log", {}, run / ".torchrun"
    shutil.rmtree(places, ignore_errors=True)  # a killed run's
    places.mkdir()
    if "PET_NNODES" not in os.environ:  # one machine: the processes meet in files, and no port is open to others
        meeting = f"--rdzv-endpoint={places / 'agents'}"
        command += ["--nnodes=1", "--rdzv-backend=c10d", "--rdzv-conf=store_type=file", meeting, "--rdzv-id=one"]
        environment |= {mesh.STORE: str(places / "processes"), "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
        environment = {f"{library}_SOCKET_IFNAME": mesh.loopback() for library in ("GLOO", "NCCL")} | environment
    command += [f"--log-dir={places}"]  # else in the system's folder of temporary files, which nobody clears
    with open(log, "wb") as errors:
        process = subprocess.Popen(
            [*command, "-m", "lib.training", str(run)], stdout=subprocess.PIPE, stderr=errors, text=True,
            env=environment,
        )  # fmt: skip
        try:
            for line in process.stdout:
                progress.made()
                print(line, end="", flush=True)
                if match := re.match(r"rank (\d+): (.*)", line):
                    messages[match[1]] = match[2]
            code = process.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            process.wait()
            process.stdout.close()
            shutil.rmtree(places, ignore_errors=True)
    if code:
        raise InputError(_cause(messages, processes, log))
    log.unlink()


def _cause(messages: dict[str, str], processes: int, log: Path) -> str:
    """One line from what the ranks printed and torchrun's log; that a rank lost another isn't the cause."""
    real = {rank: text for rank, text in messages.items() if not LOST_CONNECTION.search(text)}
    if not real and re.search(r"exitcode\s*:\s*-9|SIGKILL", log.read_text(errors="replace")):
        return f"a process was killed by signal 9, {OUT_OF_MEMORY}"
    if len(real) == processes and len(set(real.values())) == 1:
        return f"on all ranks: {next(iter(real.values()))}"
    words = (f"rank {rank}: {text}" for rank, text in sorted((real or messages).items(), key=lambda item: int(item[0])))
    return "; ".join(words) or f"a process was lost while training: {log} says more"


def _watch(parent: int) -> None:
    """Ends this process when the notebook that asked for it is gone."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(parent)
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            time.sleep(1)
    os._exit(1)


def _train(run: Path) -> None:
    task = read(run / "task.json")
    parameters = task["parameters"]
    mesh.init(parameters["devices"], mesh.partition_of(parameters.get("partition")))
    cells = read(notebook(task["notebook"]))["cells"]
    names = {"__name__": "__main__", "display": lambda *_: None}
    for number, cell in enumerate(c for c in cells if c["cell_type"] == "code"):
        exec(compile("".join(cell["source"]), f"{task['notebook']}, cell {number + 1}", "exec"), names)
        if "parameters" in cell["metadata"].get("tags", ()):
            names |= parameters | {"run_dir": str(run)}
    raise InputError(task["notebook"], "no train.fit in it")


def main(run: Path) -> None:
    """One of torchrun's processes: ends with 0 if training ended well, else with 1 after a line that names the rank."""
    if "ECHOTRAIN_PARENT" in os.environ:
        threading.Thread(target=_watch, args=(int(os.environ["ECHOTRAIN_PARENT"]),), daemon=True).start()
    rank, out = int(os.environ["RANK"]), sys.stdout
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (rank 0 prints again in train.fit)
    try:
        _train(run)
    except Trained:
        mesh.shutdown()
    except Exception as error:
        print(f"rank {rank}: {one_line(error)}", file=out, flush=True)
        if not isinstance(error, InputError):
            import traceback

            traceback.print_exc()
        os._exit(1)  # without waiting for the others, who may be waiting for this one
