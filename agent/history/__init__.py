"""Ended and running jobs, for good: the store, and what is asked of it."""
