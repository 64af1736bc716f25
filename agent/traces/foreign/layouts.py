"""From the names and first rows of a table of any tool to its layout: as the user said, else as its names are clear."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from wattshed.agent.inputs.columns import guess
from wattshed.agent.inputs.wide import plain_columns
from wattshed.agent.traces.foreign import loads, long_form, naming, wandb
from wattshed.agent.traces.foreign.columns import layout_of_spec
from wattshed.agent.traces.foreign.doubts import refuse_doubtful
from wattshed.agent.traces.foreign.round_times import RoundTimes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wattshed.agent.traces.foreign.format import LogFile
    from wattshed.agent.traces.foreign.table_layout import TableLayout

HEAD_ROWS = 400
"""By so many of the first rows the columns that name the GPU are chosen."""


def has_power(names: Sequence[str]) -> bool:
    """Return whether a column is clearly power or energy by its name, or there is one for each GPU."""
    known = guess(names)
    return bool({"power", "energy"} & known.keys()) or bool(plain_columns(names, known.get("time", ""))[0])


def pace_of(log: LogFile) -> RoundTimes | None:
    """Return what gives rounds their times, if the user said how far they are apart."""
    return RoundTimes(log.options.period_us) if log.options.period_us else None


def layout_of(log: LogFile, names: Sequence[str]) -> tuple[TableLayout, str]:
    """Find the columns of a table, and the unit of its time; empty to tell by its size.

    Raises
    ------
    InputError
        If it is not clear which column is what, or one that the user named is missing.
    """
    options, spec = log.options, dict(log.options.columns or {})
    if options.columns is None and wandb.is_table(names):
        return wandb.layout_of(names, log.report), ""
    if options.where and not {"power", "energy"} & spec.keys() and (value := long_form.value_of(names)):
        spec["power"] = (value, "")
    timed = not options.period_us
    if options.loads and (found := loads.layout_of(spec, names, str(log.source.path), timed=timed)) is not None:
        return found
    layout, unit = layout_of_spec(spec, names, str(log.source.path), utilisation=options.utilisation, timed=timed)
    if layout.wide and not {"power", "energy"} & spec.keys():
        shown = ", ".join(power.name for power, _ in list(layout.wide.values())[:4] if power is not None)
        log.report.note(f"a column for each GPU is taken for its power, in {_units(layout)}: {shown}")
    if not layout.wide and "gpu" not in spec:
        others = {*replace(layout, gpu=()).names()}
        layout = replace(layout, gpu=tuple(name for name in naming.candidates(names) if name not in others))
        model = layout.model or naming.model_of([name for name in names if name not in others])
        layout = replace(layout, model=model, host=layout.host or naming.host_of(names))
    return layout, unit


def _units(layout: TableLayout) -> str:
    return "/".join(dict.fromkeys(power.unit for power, _ in layout.wide.values() if power is not None))


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
