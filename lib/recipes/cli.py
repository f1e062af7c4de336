"""The command line: runs the tasks of a recipe, in order, here or in the background."""

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from lib import RUNS, InputError


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 if every task ended ok, 1 if one didn't, 2 if the recipe can't be run, 130 if interrupted."""
    parser = argparse.ArgumentParser(prog="python -m lib", description="Run the tasks of a recipe, in order.")
    parser.add_argument("recipe", type=Path, help="a YAML list of tasks, such as those in runs/")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="run these tasks alone")
    parser.add_argument("--quick", action="store_true", help="the same code at tiny sizes")
    parser.add_argument("--resume", action="store_true", help="keep what is done, continue the rest, train longer")
    parser.add_argument("--detach", action="store_true", help="run in the background, safe from a closed terminal")
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        from lib.recipes import execute, plan

        if given.detach:
            plan.plan(given.recipe, given.only, given.quick, given.resume)
            return _detach(given)
        results = execute.run(given.recipe, given.only, given.quick, given.resume)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command with --resume goes on from here", file=sys.stderr)
        return 130
    execute.report(results)
    return 0 if all(result.status == "ok" for result in results) else 1


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _detach(given: argparse.Namespace) -> int:
    """Starts the same command in a session of its own, its output in a log file."""
    log = RUNS / "logs" / f"{given.recipe.stem}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-u", "-m", "lib", str(given.recipe)]
    command += ["--quick"] * given.quick + ["--resume"] * given.resume + (["--only", *given.only] if given.only else [])
    with open(log, "wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    print(f"pid {process.pid}, log {log}", flush=True)
    return 0
