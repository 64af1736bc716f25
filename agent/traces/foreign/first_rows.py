"""What the first rows of a table tell of its layout: which columns name the GPU, and what is easily misread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wattshed.agent.traces.foreign import naming
from wattshed.agent.traces.foreign.doubts import refuse_doubtful
from wattshed.agent.traces.foreign.round_times import RoundTimes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wattshed.agent.traces.foreign.format import LogFile
    from wattshed.agent.traces.foreign.table_layout import TableLayout

HEAD_ROWS = 400
"""By so many of the first rows the columns that name the GPU are chosen."""


def pace_of(log: LogFile) -> RoundTimes | None:
    """Return what gives rounds their times, if the user said how far they are apart."""
    return RoundTimes(log.options.period_us) if log.options.period_us else None


def named(log: LogFile, layout: TableLayout, unit: str, columns: Mapping[str, Any]) -> TableLayout:
    """Choose the columns that name the GPU by the first rows.

    Parameters
    ----------
    log : LogFile
    layout : TableLayout
    unit : str
        Of its time.
    columns : mapping of name -> pyarrow.Array
        The first rows of all columns that the layout needs.

    Raises
    ------
    InputError
        If a column is easily taken for what it is not (see `doubts`), or the GPUs cannot be told.
    """
    if not layout.time:
        return layout
    clock, told = log.clock(unit), log.options.columns or {}
    time_us = clock.read(columns[layout.time], columns.get(layout.date), dated="date" in layout.time.lower())
    refuse_doubtful(layout, columns, time_us, told=told, unit=unit, path=str(log.source.path))
    if layout.wide or layout.load:
        return layout
    head = naming.head_rows(columns, layout, log.clock(unit))
    return naming.decided(layout, head, log.report, told="gpu" in told)
