"""The snapshot as text that other programs read."""
