"""python -m lib RECIPE: runs the tasks of a recipe."""

import sys

from lib.recipes.cli import main

if __name__ == "__main__":
    sys.exit(main())
