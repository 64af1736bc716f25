"""Units that the package counts in: whole numbers, so that sums are exact."""

from __future__ import annotations

MICRO = 1_000_000
"""Microseconds in a second."""

HNJ_PER_JOULE = 2_000_000_000
"""Half-nanojoules in a joule: a milliwatt over a microsecond is two, and a trapezoid of whole ones a whole number."""
