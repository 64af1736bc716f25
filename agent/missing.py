"""What stands for a number that is not there; in a file of its own, since who measures within a job loads no arrays."""

MISSING = -1
"""Stands for "no reading" in every column: an absent number is never 0."""
