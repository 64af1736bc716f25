"""Wires the offline path: trace readers into the same accounts that the daemon uses."""
