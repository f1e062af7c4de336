"""The command line: runs the tasks of a recipe, in order, here or in the background."""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from lib import RUNS, InputError, startup


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 if every task ended ok, 1 if one didn't, 2 if the recipe can't be run, 130 if interrupted.

    Of --again 0 if all metrics agree, 1 if the run failed or some don't; of --new 0 if the recipe is written.
    """
    parser = argparse.ArgumentParser(prog="python -m lib", description="Run the tasks of a recipe, in order.")
    parser.add_argument("recipe", nargs="?", type=Path, help="a YAML list of tasks, such as those in runs/")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="run these tasks alone")
    parser.add_argument("--quick", action="store_true", help="the same code at tiny sizes")
    parser.add_argument("--resume", action="store_true", help="keep what is done, continue the rest, train longer")
    parser.add_argument("--detach", action="store_true", help="run in the background, safe from a closed terminal")
    parser.add_argument("--again", metavar="RUN", help="in place of a recipe: rerun a run and compare its metrics")
    parser.add_argument(
        "--new", nargs="+", metavar=("KIND", "PATH"),
        help="in place of a recipe: write one for your own data; KIND: segmentation, kspace or cine",
    )  # fmt: skip
    given = parser.parse_args(arguments)
    if [given.recipe, given.again, given.new].count(None) != 2:
        parser.error("give a recipe, --again and a run, or --new, a kind and a path")
    for option in ("again", "new"):
        if getattr(given, option) is not None and (given.only or given.quick or given.resume or given.detach):
            parser.error(f"--{option} takes no other option")
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # names of files needn't be texts
    try:
        if given.again is not None:
            from lib.recipes.again import again

            startup.ready()
            return 0 if again(given.again) else 1
        if given.new is not None:
            from lib.recipes.new import new

            startup.ready()
            new(given.new[0], [Path(path) for path in given.new[1:]])
            return 0
        from lib.recipes import execute, plan

        startup.ready()
        if given.detach:
            plan.plan(given.recipe, given.only, given.quick, given.resume)
            return _detach(given)
        results = execute.run(given.recipe, given.only, given.quick, given.resume)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except MemoryError:
        print("memory: there is no more; close other programs, or raise ulimit -v", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        hint = "" if given.again or given.new else "; the same command with --resume goes on from here"
        print(f"interrupted{hint}", file=sys.stderr)
        return 130
    execute.report(results)
    return 0 if all(result.status == "ok" for result in results) else 1


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
