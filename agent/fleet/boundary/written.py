"""Uncertain numbers as TOML files write them: ``1.2``, or ``{ value = 1.2, low = 1.1, high = 1.4 }``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wattshed.agent.fleet.boundary.ranges import Range

if TYPE_CHECKING:
    from wattshed.agent.inputs.toml import Table


def range_in(
    table: Table, key: str, unknown: Range | None = None, *, least: float = 0.0, high: float | None = None
) -> Range:
    """Read a number with its 95 % interval; a plain number is exact.

    Parameters
    ----------
    table : Table
    key : str
    unknown : Range, optional
        What holds where the key is absent; without it the key must be there.
    least, high : float
        What the number, and its interval, cannot go beyond.

    Raises
    ------
    InputError
        If it is neither, or out of order; it names the line.
    """
    if key not in table and unknown is not None:
        return unknown
    if not isinstance(table.items.get(key), dict):
        return Range.exact(table.number(key, low=least, high=high))
    inner = table.table(key).only(("value", "low", "high"))
    middle = inner.number("value", low=least, high=high)
    return Range(
        middle,
        inner.number("low", middle, low=least, high=middle),
        inner.number("high", middle, low=middle, high=high),
    )
