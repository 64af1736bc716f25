"""Recorded traces through the books that the daemon keeps."""
