"""From the names and first rows of a table of any tool to its layout: as the user said, else as its names are clear."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from wattshed.agent.inputs.columns import guess
from wattshed.agent.inputs.wide import plain_columns
from wattshed.agent.traces.foreign import loads, long_form, naming, wandb
from wattshed.agent.traces.foreign.columns import layout_of_spec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wattshed.agent.traces.foreign.format import Head, LogFile
    from wattshed.agent.traces.foreign.table_layout import TableLayout


def has_power(names: Sequence[str]) -> bool:
    """Return whether a column is clearly power or energy by its name, or there is one for each GPU."""
    known = guess(names)
    return bool({"power", "energy"} & known.keys()) or bool(plain_columns(names, known.get("time", ""))[0])


def is_table(head: Head) -> bool:
    """Return whether a text is a table of which it is clear what is power or energy: the user said, or its names do."""
    names = head.dialect.names
    if head.told or wandb.is_table(names) or (head.chosen and long_form.value_of(names)):
        return True
    if head.loads and loads.is_table(names) and head.has_row:
        return True
    return has_power(names) and ("time" in guess(names) or head.dialect.headed)


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
