"""python -m lib.training RUN: one of the processes that torchrun starts to train a run's network together."""

import sys
from pathlib import Path

from lib.training.distributed import main

main(Path(sys.argv[1]))
