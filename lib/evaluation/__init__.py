"""Scores, baselines and comparisons of what networks make."""
