"""Recorded traces through the same accounts as the daemon's."""
