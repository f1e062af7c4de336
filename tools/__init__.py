"""For maintainers: the README's tables, and the runs that they come from. Run from the repository's root."""
