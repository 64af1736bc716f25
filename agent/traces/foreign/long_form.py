"""Tables in long form: a row is one value of one metric (``timestamp,metric_name,gpu_id,value``).

Collectors of DCGM's fields and InfluxDB write them. The rows of power and energy are read, the others are passed over.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from wattshed.agent.inputs import delimited
from wattshed.agent.inputs.arrow import pc
from wattshed.agent.inputs.columns import guess, unit_in_name, unit_of_time
from wattshed.agent.inputs.dialect import sniff
from wattshed.agent.inputs.text import head_of
from wattshed.agent.inputs.where import Where
from wattshed.agent.inputs.wide import plain_columns
from wattshed.agent.traces.foreign.format import Format
from wattshed.agent.traces.foreign.series import MEANINGS
from wattshed.agent.traces.foreign.table import TableReader
from wattshed.agent.traces.foreign.table_layout import Quantity, TableLayout

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wattshed.agent.inputs.delimited import Block
    from wattshed.agent.inputs.dialect import Dialect
    from wattshed.agent.traces.foreign.format import Head, LogFile
    from wattshed.agent.traces.foreign.rows import Rows

_METRIC = re.compile(
    r"metric(_?name)?|_?field(_?name)?|__name__|counter(_?name)?|series|variable|key|tag", re.IGNORECASE
)
_VALUE = re.compile(r"_?value|val|reading|metric_?value", re.IGNORECASE)
_KINDS = ("power", "energy", "instant")


def value_of(names: Sequence[str]) -> str:
    """Return the column of values of any metric; empty if there is none."""
    return next((name for name in names if _VALUE.fullmatch(name.strip())), "")


@dataclass(frozen=True, slots=True)
class _Form:
    """Which column says the metric, and the layout that all metrics share."""

    metric: str
    value: str
    shared: TableLayout
    time_unit: str

    def names(self) -> list[str]:
        return list(dict.fromkeys([*self.shared.names(), self.metric, self.value]))

    def layout(self, metric: str) -> TableLayout | None:
        """Return how the rows of a metric are read; None if it is neither power nor energy."""
        if meaning := MEANINGS.get(metric):
            kind, unit = meaning.kind, meaning.unit
        elif not self.shared.gpu and (named := plain_columns([metric], "")) and named[1]:  # it says the GPU as well
            (column,) = named[0]
            quantity = Quantity(self.value, unit_in_name("power", metric))
            return replace(self.shared, host="", wide={(column.host, column.gpu): (quantity, None)})
        else:
            kind = next((key for key in ("power", "energy") if key in guess([metric])), "")
            unit = unit_in_name(kind, metric)
        if kind not in _KINDS:
            return None
        quantity = Quantity(self.value, unit)
        if kind == "power":
            return replace(self.shared, power=(quantity,))
        return replace(self.shared, energy=quantity) if kind == "energy" else replace(self.shared, instant=quantity)


def _form_of(names: Sequence[str]) -> _Form | None:
    known = guess(names)
    metric, value = next((name for name in names if _METRIC.fullmatch(name.strip())), ""), value_of(names)
    if not (metric and value and "time" in known) or {"power", "energy"} & known.keys():
        return None
    gpus = tuple(dict.fromkeys(known[key] for key in ("gpu", "uuid") if key in known))
    shared = TableLayout(
        known["time"], gpus, host=known.get("host", ""), model=known.get("model", ""), date=known.get("date", "")
    )
    return _Form(metric, value, shared, unit_of_time(known["time"]))


def _tells(head: Head) -> bool:
    form = None if head.told else _form_of(head.dialect.names)
    if form is None:
        return False
    place = head.dialect.names.index(form.metric)
    return any(form.layout(row[place]) is not None for row in head.dialect.cells(head.text))


def _read(log: LogFile) -> Iterator[Rows]:
    path, report = log.source.path, log.report
    dialect = sniff(head_of(path))
    usable = 0
    for below, pieces in delimited.stretches(path, dialect, report):
        form = _form_of(below.names)
        if form is None:
            report.note(f"left out below a header with {', '.join(below.names[:6])}: no metric and value")
            continue
        where = Where(log.options.where, below.names, str(path))
        blocks = delimited.blocks(pieces, list(dict.fromkeys([*form.names(), *where.columns()])), report)
        readers: dict[str, TableReader | None] = {}
        for block in where.kept(blocks) if log.options.where else blocks:
            yield from _block(block, form, readers, log, below)
        usable += sum(reader.usable for reader in readers.values() if reader)
    if not usable and (wrong := report.nothing_usable(dialect.names)):
        raise wrong


def _block(
    block: Block, form: _Form, readers: dict[str, TableReader | None], log: LogFile, below: Dialect
) -> Iterator[Rows]:
    encoded = pc.dictionary_encode(pc.utf8_trim_whitespace(block.columns[form.metric]))
    index = encoded.indices.to_numpy(zero_copy_only=False)
    for number, metric in enumerate(encoded.dictionary.to_pylist()):
        if metric not in readers:
            layout = form.layout(metric)
            clock = log.clock(form.time_unit)
            readers[metric] = TableReader(layout, below.names, clock, log.gpus, log.report) if layout else None
        reader = readers[metric]
        if reader is not None:
            yield from reader.block(block.filter(index == number))


FORMAT = Format(
    name="long-form",
    title="CSV in long form: a metric and a value in each row (DCGM's fields, InfluxDB, MLflow, TensorBoard)",
    told_by="columns of time, metric (`metric_name`, `_field`, `key`, `tag`) and value, and metrics of power or energy",
    reads="power and energy, by the names of DCGM and others; GPU, host and model from their columns, or the GPU from "
    "the metric's name (`gpu/0/power`)",
    traps="other metrics beside them are passed over; `--where metric=NAME` picks one",
    tells=_tells,
    rows=_read,
)
