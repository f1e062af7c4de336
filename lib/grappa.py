"""The short name of `lib.kspace.grappa`, for notebooks and users' own code."""

from lib.kspace.grappa import *  # noqa: F403
