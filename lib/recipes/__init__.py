"""Many tasks, headless."""
