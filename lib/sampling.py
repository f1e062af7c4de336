"""The short name of `lib.kspace.sampling`, for notebooks and users' own code."""

from lib.kspace.sampling import *  # noqa: F403
