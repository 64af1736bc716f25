"""Tables of text, from a file to the rows below each of its headers."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError
from wattshed.agent.inputs import delimited
from wattshed.agent.inputs.where import Where
from wattshed.agent.traces.foreign.first_rows import HEAD_ROWS, named, pace_of
from wattshed.agent.traces.foreign.table import TableReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wattshed.agent.inputs.dialect import Dialect
    from wattshed.agent.inputs.timestamps import TimestampParser
    from wattshed.agent.traces.foreign.format import LogFile
    from wattshed.agent.traces.foreign.rows import Rows
    from wattshed.agent.traces.foreign.table_layout import TableLayout


def read_text(
    log: LogFile, dialect: Dialect, layout_below: Callable[[Dialect], tuple[TableLayout, str]]
) -> Iterator[Rows]:
    """Read a table of text, below each of its headers with the columns that it names.

    Parameters
    ----------
    log : LogFile
    dialect : Dialect
        Of its beginning.
    layout_below : callable
        Finds the columns below a header, and the unit of their time; raises InputError where it cannot.

    Raises
    ------
    InputError
        If that is so from the first header on, or no row can be used.
    """
    path, report, pace = log.source.path, log.report, pace_of(log)
    layout_below(dialect)
    clocks: dict[str, TimestampParser] = {}
    chosen: tuple[str, ...] = ()  # columns that name the GPU: what the first rows told holds below other headers
    usable = 0
    for below, pieces in delimited.stretches(path, dialect, report):
        try:
            layout, unit = layout_below(below)
        except InputError as error:
            report.note(f"left out below a header with {', '.join(below.names[:6])}: {error.message}")
            delimited.leave_out(pieces, report)
            continue
        clock = clocks.setdefault(unit, log.clock(unit))
        where = Where(log.options.where, below.names, str(path))
        wanted = list(dict.fromkeys([*layout.names(), *where.columns()]))
        plain = layout.time and not layout.date and not log.options.where  # no row is left out by what a cell says
        blocks = delimited.blocks(pieces, wanted, report, layout.kinds(unit) if plain else None)
        if log.options.where:
            blocks = where.kept(blocks)
        if (first := next(blocks, None)) is None:
            continue
        if chosen and set(chosen) <= set(layout.gpu):
            layout = replace(layout, gpu=chosen)
        else:
            layout = named(log, layout, unit, {name: first.columns[name][:HEAD_ROWS] for name in layout.names()})
            chosen = layout.gpu
        reader = TableReader(layout, below.names, clock, log.gpus, report, pace=pace)
        for block in itertools.chain([first], blocks):
            yield from reader.block(block)
        usable += reader.usable
    if not usable and (wrong := report.nothing_usable(dialect.names)):
        raise wrong
