"""python -m lib.parallel RUN: one of the processes that torchrun starts to train a run's network together."""

import sys
from pathlib import Path

from lib.parallel.ddp import main

main(Path(sys.argv[1]))
