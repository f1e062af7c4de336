"""A trained network applied: predictions, sliding windows, export."""
