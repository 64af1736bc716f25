"""Tables with a column for each quantity, or one power column a GPU, into rows: CSV and Parquet of any tool."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.arrow import pa, pc
from wattshed.agent.inputs.quantities import REASONS, Scaled, reason_of, scaled_column
from wattshed.agent.inputs.report import BadLine
from wattshed.agent.inputs.ticks import tick_us
from wattshed.agent.inputs.timestamps import NO_TIME
from wattshed.agent.inputs.typed_cells import Names
from wattshed.agent.inputs.unit_tables import COUNT, ENERGY_UJ, POWER_MW, SHARE_PPM
from wattshed.agent.traces.foreign.gpus import gpu_name
from wattshed.agent.traces.foreign.round_times import NOTE
from wattshed.agent.traces.foreign.rows import Rows
from wattshed.agent.traces.foreign.table_layout import DRIVER
from wattshed.agent.window import MISSING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from wattshed.agent.inputs.delimited import Block
    from wattshed.agent.inputs.report import SourceReport
    from wattshed.agent.inputs.timestamps import TimestampParser
    from wattshed.agent.traces.foreign.gpus import Gpus
    from wattshed.agent.traces.foreign.round_times import RoundTimes
    from wattshed.agent.traces.foreign.table_layout import Quantity, TableLayout

_CLOSE = 64  # between the numbers of a host's GPUs
_MANY_NAMES = 1 << 16  # different names of GPUs that are counted in a table; more are sorted


class TableReader:
    """Turns blocks of a table into rows.

    Parameters
    ----------
    layout : TableLayout
    names : sequence of str
        All columns of the file, to tell the user which one is bad.
    clock : TimestampParser
    gpus : Gpus
    report : SourceReport
    pace : RoundTimes, optional
        Gives rows their time where the layout has none.

    Attributes
    ----------
    usable : int
        Rows so far that gave a reading.
    """

    def __init__(
        self,
        layout: TableLayout,
        names: Sequence[str],
        clock: TimestampParser,
        gpus: Gpus,
        report: SourceReport,
        *,
        pace: RoundTimes | None = None,
    ) -> None:
        self._layout, self._names, self._clock, self._gpus, self._report = layout, names, clock, gpus, report
        self._pace = pace
        self._numbers: dict[tuple[str, ...], int] = {}
        self.usable = 0
        self._tick_us = 0
        gpus.loads = layout.load
        energies = [layout.energy, *(energy for _, energy in layout.wide.values())]
        for energy in filter(None, energies):
            if energy.kind != DRIVER:
                gpus.energy = energy.name, energy.kind

    def rows(self, blocks: Iterable[Block]) -> Iterator[Rows]:
        """Read block by block.

        Raises
        ------
        InputError
            At the end, if no row had a readable time, or power and energy are text throughout.
        """
        for block in blocks:
            yield from self.block(block)
        if self.usable:
            return
        if wrong := self._report.nothing_usable(self._names):
            raise wrong

    def block(self, block: Block) -> Iterator[Rows]:
        """Read one block."""
        layout = self._layout
        keep = block.rows(layout.time or layout.names()[-1])
        if not keep.all():
            block = block.filter(keep)
        time_us = self._times(block)
        self._report.rows += time_us.size
        timed = time_us != NO_TIME
        if not timed.all():
            first = int(np.flatnonzero(~timed)[0])
            cell = block.columns[layout.time][first].as_py()
            text = str(cell).removesuffix(".0") if isinstance(cell, float) else str(cell)
            self._reject("no_time", int((~timed).sum()), block.line_of(first), layout.time, text)
            block, time_us = block.filter(timed), time_us[timed]
        if time_us.size:
            self._note_first(block)
            yield from self._wide(block, time_us) if layout.wide else self._long(block, time_us)

    def _times(self, block: Block) -> NDArray[np.int64]:
        """Read the stamps of rows: int64[n], us; `NO_TIME` where there is none."""
        layout, columns = self._layout, block.columns
        if layout.time:
            dated = "date" in layout.time.lower()
            time_us = self._clock.read(columns[layout.time], columns.get(layout.date), dated=dated)
            if self._clock.unclear:
                raise InputError(self._clock.unclear, self._report.path, block.line_of(0))
            if self._clock.assumed:
                self._report.note(self._clock.assumed)
            return time_us
        if self._pace is None:
            raise ValueError("rows without times need a pace")
        self._report.note(NOTE.format(self._pace.period_us / 1e6))
        named = [columns[name] for name in (layout.host, *layout.gpu) if name]
        return self._pace.times(named) if layout.gpu else self._pace.alone(_size(columns))

    def _note_first(self, block: Block) -> None:
        """Remember where the first reading stands."""
        if self._report.first is not None:
            return
        layout = self._layout
        found = [*layout.power, layout.instant, layout.energy, *(q for pair in layout.wide.values() for q in pair)]
        name = next(quantity.name for quantity in found if quantity is not None)
        column = block.columns[name]  # a number has no text; but then a whole block above it had no reading
        text = "" if isinstance(column, Scaled) else str(column[0].as_py())
        self._report.first = BadLine(block.line_of(0), self._names.index(name) + 1, text, "")

    def _long(self, block: Block, time_us: NDArray[np.int64]) -> Iterator[Rows]:
        layout, columns = self._layout, block.columns
        gpu = self._gpu_numbers(columns)
        powers = [scaled_column(columns[q.name], POWER_MW[q.unit], POWER_MW) for q in layout.power]
        watts, reason, blamed = _first_number(powers, time_us.size)
        counter = _optional(columns, layout.energy, ENERGY_UJ)
        instant = _optional(columns, layout.instant, POWER_MW)
        util = _optional(columns, layout.util, SHARE_PPM)
        pid = scaled_column(columns[layout.pid], Fraction(1), COUNT).value if layout.pid else None
        names = [q.name for q in layout.power]
        if not powers:
            if counter is not None:
                reason = counter.reason
            names = [layout.energy.name] if layout.energy else layout.names()[-1:]
        self._count(reason, block, names[blamed])
        if layout.limit is not None:
            limit = scaled_column(columns[layout.limit.name], POWER_MW[layout.limit.unit], POWER_MW).value
            for number in np.unique(gpu):
                self._gpus.describe(int(number), limit_mw=int(limit[gpu == number].max()))
        rows = Rows.of(
            gpu,
            time_us,
            power_mw=watts if powers else None,
            **_energies(layout.energy, counter),
            instant_mw=_value(instant),
            util_ppm=_value(util),
            pid=pid,
            load=layout.load,
        )
        usable = rows.usable()
        self.usable += int(usable.sum())
        # Where rows do not say their GPU, its place in the round does: a row without a number holds one, too.
        yield rows if usable.all() or not (layout.gpu or layout.job) else rows.take(usable)

    def _wide(self, block: Block, time_us: NDArray[np.int64]) -> Iterator[Rows]:
        columns = block.columns
        self._report.rows += time_us.size * (len(self._layout.wide) - 1)  # a cell is a sample
        for (host, label), (power, energy) in self._layout.wide.items():
            number = self._numbers.get((host, label))
            if number is None:
                number = self._numbers[host, label] = self._gpus.number(host, **gpu_name(label))
            watts, counter = _optional(columns, power, POWER_MW), _optional(columns, energy, ENERGY_UJ)
            main, scaled = power or energy, watts or counter
            if main is not None and scaled is not None:
                self._count(scaled.reason, block, main.name)
            gpu = np.full(time_us.size, number, np.int32)
            load = self._layout.load
            rows = Rows.of(gpu, time_us, power_mw=_value(watts), energy_uj=_value(counter), load=load)
            rows = rows.take(rows.usable())
            self.usable += len(rows)
            yield rows

    def _count(self, reason: NDArray[np.uint8], block: Block, name: str) -> None:
        if not reason.any():
            return
        for code in np.unique(reason[reason > 0]):
            first = int(np.flatnonzero(reason == code)[0])
            text = str(block.columns[name][first].as_py())
            self._reject(REASONS[code], int((reason == code).sum()), block.line_of(first), name, text)

    def _reject(self, reason: str, rows: int, line: int, name: str, text: str) -> None:
        self._report.reject(reason, rows, line=line, column=self._names.index(name) + 1, text=text)

    def _gpu_numbers(self, columns: dict[str, Any]) -> NDArray[np.int32]:
        """Find each row's GPU, or its lane; every different combination of naming cells is looked up once."""
        layout = self._layout
        named = list(dict.fromkeys(name for name in (layout.host, *layout.gpu, layout.model, layout.job) if name))
        if not (layout.gpu or layout.job) and not self._tick_us:
            self._tick_us = tick_us(columns[layout.time], self._clock) if layout.time else 1
        if not named:
            return np.full(_size(columns), self._new_gpu({}), np.int32)
        keys: list[tuple[str, ...]] = [()]
        code: NDArray[np.integer] = np.zeros(1, np.int32)
        for name in named:
            keys, code = _told_apart(keys, code, *_names_in(columns[name]))
        numbers = np.zeros(len(keys), np.int32)
        there: NDArray[np.integer] = np.flatnonzero(np.bincount(code, minlength=len(keys)))
        if any(keys[one] not in self._numbers for one in there.tolist()):
            there = _as_they_appear(code, len(keys))
        for one in there.tolist():
            key = keys[one]
            if key not in self._numbers:
                self._numbers[key] = self._new_gpu(dict(zip(named, key, strict=True)))
            numbers[one] = self._numbers[key]
        of_rows: NDArray[np.int32] = numbers[code]
        return of_rows

    def _new_gpu(self, cells: dict[str, str]) -> int:
        layout = self._layout
        host, model = (
            "" if reason_of(text) else text for text in (cells.get(layout.host, ""), cells.get(layout.model, ""))
        )
        if not layout.gpu and not layout.job:
            alone = layout.alone or not layout.time  # without times there are no rounds to tell GPUs by
            return self._gpus.lane(self._report, host, tick_us=self._tick_us, alone=alone, model=model)
        known: dict[str, Any] = {}
        for name in layout.gpu:
            if name == layout.model:
                known = {"label": cells[name]}
            elif cells[name] and not reason_of(cells[name]):
                known = {**gpu_name(cells[name]), **known}
        return self._gpus.number(host, model=model, job=cells.get(layout.job, ""), **known)


def _told_apart(
    keys: list[tuple[str, ...]], code: NDArray[np.integer], names: list[str], place: NDArray[np.integer]
) -> tuple[list[tuple[str, ...]], NDArray[np.integer]]:
    """Tell rows apart by one column more: the different combinations, in order, and which of them each row has.

    Parameters
    ----------
    keys : list of tuple of str
        The combinations so far, of which ``code`` says each row's; one alone is of all rows.
    code, place : int[n]
    names : list of str
        The different names in the column, of which ``place`` says each row's.
    """
    names = [name.strip() for name in names]
    if len(keys) == 1:
        return [(*keys[0], name) for name in names], place
    if len(keys) == len(names) and np.array_equal(code, place):  # as index and UUID do
        return [(*key, name) for key, name in zip(keys, names, strict=True)], code
    many, both = len(keys) * len(names), code.astype(np.int64) * len(names) + place
    if many > _MANY_NAMES:
        unique, code = np.unique(both, return_inverse=True)
    else:
        unique = np.flatnonzero(np.bincount(both, minlength=many))
        rank = np.zeros(many, np.int32)
        rank[unique] = np.arange(len(unique))
        code = rank[both]
    pairs = (divmod(one, len(names)) for one in unique.tolist())
    return [(*keys[above], names[place]) for above, place in pairs], code


def _as_they_appear(code: NDArray[np.integer], count: int) -> NDArray[np.integer]:
    """Return which of the numbers below ``count`` the rows have, in the order of their first rows."""
    first = np.full(count, code.size)
    first[code[::-1]] = np.arange(code.size)[::-1]  # of several rows the one assigned last stays
    return np.argsort(first, kind="stable")[: np.count_nonzero(first < code.size)]


def _names_in(column: Any) -> tuple[list[str], NDArray[np.integer]]:
    """Return the different names in a column, and which of them each row has: int[n]."""
    if isinstance(column, Names):
        return column.texts, column.code
    if pa.types.is_dictionary(column.type):
        if not column.null_count:
            return _used(pc.cast(column.dictionary, pa.string()).to_pylist(), column.indices.to_numpy())
        column = column.dictionary_decode()
    if pa.types.is_integer(column.type) and not column.null_count:
        numbers = column.to_numpy()
        low, high = int(numbers.min()), int(numbers.max())
        if high - low < _CLOSE:
            return _used([str(number) for number in range(low, high + 1)], (numbers - low).astype(np.int64))
    # Encoded as it is, since numbers are distinguished much faster than texts.
    encoded = pc.dictionary_encode(column, null_encoding="encode")
    values = pc.fill_null(pc.cast(encoded.dictionary, pa.string()), "").to_pylist()
    return values, encoded.indices.to_numpy(zero_copy_only=False)


def _used(names: list[str | None], place: NDArray[np.integer]) -> tuple[list[str], NDArray[np.integer]]:
    """Leave out names that no row has."""
    used = np.flatnonzero(np.bincount(place, minlength=len(names)))
    if len(used) < len(names):
        rank = np.zeros(len(names), np.int32)
        rank[used] = np.arange(len(used))
        place = rank[place]
    return [names[one] or "" for one in used.tolist()], place


def _size(columns: Mapping[str, Any]) -> int:
    return len(next(iter(columns.values())))


def _energies(quantity: Quantity | None, scaled: Scaled | None) -> dict[str, NDArray[np.int64] | None]:
    """Name the column of rows that energies in uJ go to: the driver's counter has one of its own, in mJ."""
    value = _value(scaled)
    if quantity is None or quantity.kind != DRIVER or value is None:
        return {"energy_uj": value}
    return {"counter_mj": np.where(value >= 0, value // 1000, value)}


def _optional(columns: dict[str, Any], quantity: Quantity | None, units: Mapping[str, Fraction]) -> Scaled | None:
    return None if quantity is None else scaled_column(columns[quantity.name], units[quantity.unit], units)


def _value(scaled: Scaled | None) -> NDArray[np.int64] | None:
    return None if scaled is None else scaled.value


def _first_number(columns: list[Scaled], size: int) -> tuple[NDArray[np.int64], NDArray[np.uint8], int]:
    """Take each row's first column that has a number; reasons are the first column's, where none has one."""
    if len(columns) == 1:
        return columns[0].value, columns[0].reason, 0
    power, reason = np.full(size, MISSING, np.int64), np.zeros(size, np.uint8)
    if not columns:
        return power, reason, 0
    for column in columns:
        power = np.where(power >= 0, power, column.value)
    counts = [int((column.reason > 0).sum()) for column in columns]
    blamed = counts.index(min(counts))
    reason = np.where(power >= 0, 0, columns[blamed].reason).astype(np.uint8)
    return power, reason, blamed
