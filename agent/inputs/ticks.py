"""How fine the stamps of a log are: what the last printed digit stands for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from wattshed.agent.inputs.arrow import pa
from wattshed.agent.inputs.timestamps import UNITS, Stamps, unit_of

if TYPE_CHECKING:
    from wattshed.agent.inputs.timestamps import TimestampParser

_CELLS = 50
_FRACTION = re.compile(r":\d\d[.,](\d{1,9})")
_NUMBER = re.compile(r"\s*-?\d+(?:[.,](\d+))?\s*")


def tick_us(column: Any, clock: TimestampParser) -> int:
    """Return the finest step that the first stamps of a column are printed with, in us, at least 1.

    Parameters
    ----------
    column : pyarrow.Array or Stamps
        Text, numbers or timestamps, which ``clock`` has read.
    clock : TimestampParser
    """
    if isinstance(column, Stamps):
        return column.tick_us
    if pa.types.is_timestamp(column.type):
        return max(UNITS[column.type.unit] // 1000, 1)
    unit_ns = UNITS[clock.unit or "s"]
    if pa.types.is_integer(column.type):
        return max(unit_ns // 1000, 1)
    if pa.types.is_floating(column.type) or pa.types.is_decimal(column.type):
        return 1
    texts = [str(cell) for cell in column.slice(0, _CELLS).cast(pa.string()).to_pylist() if cell]
    return min((_of_text(text, clock.unit) for text in texts), default=1)


def _of_text(text: str, unit: str) -> int:
    if number := _NUMBER.fullmatch(text):
        ns = UNITS[unit or unit_of(float(text.replace(",", ".")))]
        return int(max(ns // (1000 * 10 ** min(len(number[1] or ""), 12)), 1))
    fraction = _FRACTION.search(text)
    return 10 ** max(6 - len(fraction[1]), 0) if fraction else 1_000_000
