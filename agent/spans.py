"""Lengths of time by the letters that people write behind a number."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

SPANS_S: Mapping[str, int] = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
"""Seconds of each."""
YEAR_S = 31_557_600
"""A Julian year of 365.25 days: what a rate or a mean over several years is counted by."""
