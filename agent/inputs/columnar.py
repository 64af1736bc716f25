"""Tables stored by column, Parquet and Arrow (Feather), as blocks of rows: few of them are in memory at once."""

# pyarrow.parquet is imported where it is used: it is a tenth of the start of a replay that needs none.
# ruff: noqa: PLC0415

from __future__ import annotations

import contextlib
import heapq
import itertools
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.arrow import pa
from wattshed.agent.inputs.delimited import Block

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

PARQUET_MAGIC, ARROW_MAGIC = b"PAR1", b"ARROW1"
BLOCK_ROWS = 1 << 18
_FEW_BYTES, _NAMES = 2, 1 << 16
"""Of each value, and of all different names together, where few texts differ."""
LATE_ROWS, _MOST_RUNS = 1 << 20, 256
"""Rows that are late by more are read beside those before them, from so many places of a file at once."""
_ORDERED = ("INT32", "INT64", "FLOAT", "DOUBLE")
_BEFORE_ALL = float("-inf")
_STREAMED = 1 << 20
"""Bytes of a column of Parquet that are read at once; otherwise all of a row group would be."""


class ColumnTable(Protocol):
    """A table that is open.

    Attributes
    ----------
    schema : pyarrow.Schema
    """

    schema: pa.Schema

    def batches(self, wanted: Sequence[str], rows: int = BLOCK_ROWS) -> Iterator[pa.RecordBatch]:
        """Read columns, so many rows at most at once."""

    def in_time(self, wanted: Sequence[str], time: str) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Read columns with the number of the first row of each batch, from 0; see `blocks_of`."""


def blocks_of(table: ColumnTable, wanted: Sequence[str], time: str = "") -> Iterator[Block]:
    """Read columns of a table, block by block; the lines of a block count rows, from 1.

    Parameters
    ----------
    table : ColumnTable
    wanted : sequence of str
    time : str
        A column of numbers or stamps that is among them. Where it goes far back, as in a table sorted by GPU, the
        stretches in which it rises are read side by side, so that no row comes much too late.
    """
    for first, batch in table.in_time(wanted, time):
        yield Block(first + 1, {name: batch.column(name) for name in wanted})


def head_of_columns(table: ColumnTable, wanted: Sequence[str], rows: int) -> dict[str, Any] | None:
    """Read the first rows: name -> pyarrow.Array; None if there is no row."""
    batch = next(table.batches(wanted, rows), None)
    return None if batch is None else {name: batch.column(name).slice(0, rows) for name in wanted}


@contextlib.contextmanager
def open_columns(path: Path) -> Iterator[ColumnTable]:
    """Open a Parquet or Arrow file.

    Raises
    ------
    InputError
        If it is damaged, also while it is read.
    """
    with path.open("rb") as file:
        is_arrow = file.read(len(ARROW_MAGIC)) == ARROW_MAGIC
    try:
        with _ArrowTable(path) if is_arrow else _ParquetTable(path) as table:
            yield table
    except (pa.ArrowException, OSError) as error:
        kind = "Arrow" if is_arrow else "Parquet"
        raise InputError(f"damaged {kind} ({str(error).splitlines()[0]})", str(path)) from error


class _ParquetTable(contextlib.ExitStack):
    """Texts of which few differ come as they are stored, as a dictionary and numbers."""

    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as pq

        super().__init__()
        with pq.ParquetFile(path) as file:
            self.schema, metadata = file.schema_arrow, file.metadata
        self._file = self.enter_context(
            pq.ParquetFile(
                path, metadata=metadata, read_dictionary=_repeated_texts(metadata), pre_buffer=False,
                buffer_size=_STREAMED,
            )
        )  # fmt: skip

    def batches(self, wanted: Sequence[str], rows: int = BLOCK_ROWS) -> Iterator[pa.RecordBatch]:
        for groups in self._together(rows):
            yield from self._file.iter_batches(rows, row_groups=groups, columns=list(wanted))

    def in_time(self, wanted: Sequence[str], time: str) -> Iterator[tuple[int, pa.RecordBatch]]:
        runs = self._runs(time) if time else []
        if len(runs) < 2:
            yield from _numbered(self.batches(wanted))
            return
        rows = max(BLOCK_ROWS // len(runs), 1)
        open_runs = [(_BEFORE_ALL, number, self._read(run, wanted, rows)) for number, run in enumerate(runs)]
        while open_runs:
            _, number, batches = heapq.heappop(open_runs)  # the one that is furthest behind
            if (found := next(batches, None)) is not None:
                yield found
                reached = float(_numbers(found[1].column(time))[-1])
                heapq.heappush(open_runs, (reached, number, batches))

    def _runs(self, time: str) -> list[list[Stretch]]:
        """Part the rows into runs that are read side by side; fewer than two: they are read in their order."""
        if not _goes_back(self._spans(time)):
            return []
        stretches: list[Stretch] = []
        for first, batch in _numbered(self._file.iter_batches(BLOCK_ROWS, columns=[time])):
            _extend(stretches, first, _numbers(batch.column(0)))
            if len(stretches) > _MOST_RUNS:
                return []
        return side_by_side(stretches)

    def _read(self, run: Sequence[Stretch], wanted: Sequence[str], rows: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Read the rows of some stretches."""
        ends = np.cumsum([self._rows_of(group) for group in range(self._file.num_row_groups)])
        for one in run:
            for group in range(int(np.searchsorted(ends, one.first_row, side="right")), len(ends)):
                first = int(ends[group]) - self._rows_of(group)
                if first >= one.end_row:
                    break
                for at, batch in _numbered(
                    self._file.iter_batches(rows, row_groups=[group], columns=list(wanted)), first
                ):
                    lo, hi = max(one.first_row - at, 0), min(one.end_row - at, batch.num_rows)
                    if lo < hi:
                        yield at + lo, batch.slice(lo, hi - lo)

    def _rows_of(self, group: int) -> int:
        return int(self._file.metadata.row_group(group).num_rows)

    def _spans(self, time: str) -> list[Stretch]:
        """Return when each row group begins and ends; nothing if one does not tell, or by text."""
        place, found, row = self.schema.get_field_index(time), list[Stretch](), 0
        if pa.types.is_nested(self.schema.field(place).type):
            return []
        for group in range(self._file.num_row_groups):
            known = self._file.metadata.row_group(group).column(place).statistics
            if known is None or not known.has_min_max or known.null_count or known.physical_type not in _ORDERED:
                return []
            found.append(Stretch(row, row + self._rows_of(group), known.min_raw, known.max_raw))
            row = found[-1].end_row
        return found

    def _together(self, rows: int) -> Iterator[list[int]]:
        """Bring small row groups together; larger ones are decoded by themselves, as pieces that are not copied."""
        groups: list[int] = []
        count = 0
        for group in range(self._file.num_row_groups):
            size = self._file.metadata.row_group(group).num_rows
            if groups and count + size > rows:
                yield groups
                groups, count = [], 0
            groups.append(group)
            count += size
        if groups:
            yield groups


def _numbered(batches: Iterable[pa.RecordBatch], first: int = 0) -> Iterator[tuple[int, pa.RecordBatch]]:
    for batch in batches:
        yield first, batch
        first += batch.num_rows


class Stretch(NamedTuple):
    """Rows one after the other, and the first and last time among them, in any unit."""

    first_row: int
    end_row: int
    first: float
    last: float


def _goes_back(spans: Sequence[Stretch]) -> bool:
    """Return whether more than `LATE_ROWS` rows may be out of order: in a row group, or with those it overlaps."""
    reached: list[Stretch] = []
    for one in spans:
        above = next((other for other in reached if other.last > one.first), one)
        if one.end_row - above.first_row > LATE_ROWS:
            return True
        if not reached or one.last > reached[-1].last:
            reached.append(one)
    return False


def _numbers(column: Any) -> NDArray[Any]:
    """Return stamps or numbers as numbers, in the column's own unit."""
    plain = column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
    numbers: NDArray[Any] = plain.to_numpy(zero_copy_only=False)
    return numbers


def _extend(stretches: list[Stretch], row: int, times: NDArray[Any]) -> None:
    """Add the times of rows from ``row`` on: a stretch ends where time goes back."""
    edges = [0, *(np.flatnonzero(times[1:] < times[:-1])[:_MOST_RUNS] + 1).tolist(), len(times)]
    for begin, end in itertools.pairwise(edges):
        first, last = times[begin], times[end - 1]
        if begin == 0 and stretches and stretches[-1].last <= first:
            stretches[-1] = stretches[-1]._replace(end_row=row + end, last=last)
        else:
            stretches.append(Stretch(row + begin, row + end, first, last))


def side_by_side(stretches: Sequence[Stretch]) -> list[list[Stretch]]:
    """Bring stretches that follow each other in time into as few runs as may be."""
    runs: list[list[Stretch]] = []
    for one in stretches:
        fitting = [run for run in runs if run[-1].last <= one.first]
        if fitting:
            max(fitting, key=lambda run: run[-1].last).append(one)
        else:
            runs.append([one])
    return runs


def _repeated_texts(metadata: Any) -> list[str]:
    """Return the columns of text that take next to no room in the first row group."""
    if not metadata.num_row_groups:
        return []
    group = metadata.row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    texts = [one for one in columns if one.physical_type == "BYTE_ARRAY" and one.has_dictionary_page]
    return [one.path_in_schema for one in texts if one.total_uncompressed_size <= _FEW_BYTES * one.num_values + _NAMES]


class _ArrowTable(contextlib.ExitStack):
    """A batch of it is decoded whole, as it was written."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._source = self.enter_context(pa.OSFile(str(path)))
        self.schema = pa.ipc.open_file(self._source).schema

    def in_time(self, wanted: Sequence[str], time: str) -> Iterator[tuple[int, pa.RecordBatch]]:  # noqa: ARG002
        yield from _numbered(self.batches(wanted))

    def batches(self, wanted: Sequence[str], rows: int = BLOCK_ROWS) -> Iterator[pa.RecordBatch]:
        own = sorted(self.schema.get_field_index(name) for name in wanted)
        reader = pa.ipc.open_file(self._source, options=pa.ipc.IpcReadOptions(included_fields=own))
        for number in range(reader.num_record_batches):
            batch = reader.get_batch(number)
            for first in range(0, batch.num_rows, rows):
                yield batch.slice(first, rows)
