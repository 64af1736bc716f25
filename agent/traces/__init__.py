"""Traces: recording without loss, and reading what others recorded."""
