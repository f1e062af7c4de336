"""The short name of `lib.kspace.coils`, for notebooks and users' own code."""

from lib.kspace.coils import *  # noqa: F403
