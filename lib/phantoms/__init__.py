"""Simulated and sample data."""
