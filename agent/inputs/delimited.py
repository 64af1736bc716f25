"""Delimited text of any dialect, in blocks of columns: what nvidia-smi, spreadsheets and loggers write."""

from __future__ import annotations

import itertools
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.dialect import PACKED
from wattshed.agent.inputs.line_blocks import LONGEST_LINE, LineBlock, whole_lines
from wattshed.agent.inputs.quantities import Scaled
from wattshed.agent.inputs.text import CleanStream
from wattshed.agent.inputs.typed_cells import PlainTable
from wattshed.kernels import load
from wattshed.kernels.threads import threads

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from numpy.typing import NDArray

    from wattshed.agent.inputs.dialect import Dialect
    from wattshed.agent.inputs.report import SourceReport
    from wattshed.agent.inputs.typed_cells import Kind, TypedRows

BLOCK_BYTES = 4 << 20
"""Of a file that are read at once."""
_MOST_HEADERS = 10_000  # in a block


@dataclass(frozen=True, slots=True)
class Block:
    """Some rows of a table.

    Attributes
    ----------
    line : int
        1-based line that the block begins with.
    columns : dict of name -> pyarrow.Array or Scaled
        All of one length; of CSV text, or what `inputs.typed_cells` makes of it, of Parquet any type.
    places : int64[n] or int32[n] or None
        On which of the block's lines, from 0, each row stands; None: one after the other.
    """

    line: int
    columns: dict[str, Any]
    places: NDArray[np.integer] | None = None

    def lines(self) -> NDArray[np.int64]:
        """Return the 1-based line of each row: int64[n]."""
        places = np.arange(len(next(iter(self.columns.values())))) if self.places is None else self.places
        return np.add(self.line, places, dtype=np.int64)

    def line_of(self, row: int) -> int:
        """Return the 1-based line of one row."""
        return self.line + (row if self.places is None else int(self.places[row]))

    def filter(self, mask: NDArray[np.bool_]) -> Block:
        """Select rows."""
        chosen = pa.array(mask)
        columns = {name: column.filter(chosen) for name, column in self.columns.items()}
        return Block(self.line, columns, np.flatnonzero(mask) if self.places is None else self.places[mask])

    def rows(self, name: str) -> NDArray[np.bool_]:
        """Separate rows from header lines that are repeated within the file (a logger that was started again): bool[n].

        Parameters
        ----------
        name : str
            The column to recognise them by.
        """
        column = self.columns[name]
        if isinstance(column, Scaled) or not pa.types.is_string(column.type):
            return np.ones(len(column), bool)
        trimmed = pc.utf8_trim_whitespace(column)
        header = np.asarray(
            pc.fill_null(pc.equal(trimmed, name), fill_value=False).to_numpy(zero_copy_only=False), bool
        )
        if header.any():
            # Below its last header HWiNFO names the devices.
            empty = np.asarray(pc.equal(trimmed, "").to_numpy(zero_copy_only=False), bool)
            header[1:] |= header[:-1] & empty[1:]
        return ~header


@dataclass(frozen=True, slots=True)
class TablePiece:
    """Whole lines of a table below one header: how they are written, the 1-based line of the first, and their bytes."""

    dialect: Dialect
    line: int
    data: bytes


def stretches(path: Path, dialect: Dialect, report: SourceReport) -> Iterator[tuple[Dialect, Iterator[TablePiece]]]:
    """Read a table stretch by stretch: where a header with other columns comes, another one begins.

    Each must be read, by `blocks`, before the next is asked for.

    Raises
    ------
    InputError
        If a line has no end, or compressed data is damaged.
    """
    with CleanStream(path, b", " if dialect.delimiter == PACKED else b"") as stream:
        yield from itertools.groupby(_pieces(stream, dialect, report), key=lambda piece: piece.dialect)


def blocks(
    pieces: Iterable[TablePiece], wanted: Sequence[str], report: SourceReport, kinds: Mapping[str, Kind] | None = None
) -> Iterator[Block]:
    """Read the wanted columns of a stretch, block by block; rows of another length are counted and left out.

    Parameters
    ----------
    pieces : iterable of TablePiece
    wanted : sequence of str
    report : SourceReport
    kinds : mapping of name -> Kind, optional
        What columns hold. With compiled kernels these come as `inputs.typed_cells` has them from the second block on;
        the first is text, to see how it is written. All others are text.

    Raises
    ------
    InputError
        If it cannot be read as a table at all.
    """
    pieces = iter(pieces)
    for piece in itertools.islice(pieces, 1):
        yield from _by_arrow(piece, wanted, report)
    for piece, typed in _each(pieces, wanted, kinds):
        if typed is None:
            yield from _by_arrow(piece, wanted, report)
            continue
        for place, text in typed.others:
            _count_ragged(report, piece, place, text)
        if typed.rows:
            yield Block(piece.line, typed.columns, typed.places)


def _each(
    pieces: Iterator[TablePiece], wanted: Sequence[str], kinds: Mapping[str, Kind] | None
) -> Iterator[tuple[TablePiece, TypedRows | None]]:
    """Read each piece, several at once, and give them out in their order."""

    def read(piece: TablePiece) -> TypedRows | None:
        dialect = piece.dialect
        if kinds is None or dialect.quoted or len(dialect.names) < 2:
            return None
        table = PlainTable(dialect.delimiter, dialect.names, {name: kinds.get(name) for name in wanted})
        return table.read(LineBlock.of(piece.data))

    if load.form().name == "off" or kinds is None:
        yield from ((piece, None) for piece in pieces)
        return
    if threads() == 1:
        yield from ((piece, read(piece)) for piece in pieces)
        return
    coming: deque[tuple[TablePiece, Future[TypedRows | None]]] = deque()
    with ThreadPoolExecutor(threads(), thread_name_prefix="cells") as pool:
        try:
            for piece in pieces:
                coming.append((piece, pool.submit(read, piece)))
                if len(coming) > threads():
                    ready, found = coming.popleft()
                    yield ready, found.result()
        except InputError:
            # What was read before the fault is told first, as if it had been read block by block.
            yield from ((piece, found.result()) for piece, found in coming)
            raise
        yield from ((piece, found.result()) for piece, found in coming)


def _count_ragged(report: SourceReport, piece: TablePiece, place: int, text: str) -> None:
    """Count a line of another number of cells, unless nothing stands there."""
    if text.strip(f" \0\t{piece.dialect.delimiter}"):
        report.rows += 1
        report.reject("wrong_number_of_columns", line=piece.line + place, text=text)


def _by_arrow(piece: TablePiece, wanted: Sequence[str], report: SourceReport) -> Iterator[Block]:
    """Read columns of lines as text: a block, or none."""
    skipped: dict[int, str] = {}  # rows of another length, by their number among all rows

    def ragged(row: Any) -> str:
        skipped[row.number - 1] = row.text
        return "skip"

    dialect = piece.dialect
    columns = [f"c{i}" for i in range(len(dialect.names))]
    chosen = [columns[dialect.names.index(name)] for name in wanted]
    parse = csv.ParseOptions(
        delimiter=dialect.delimiter, quote_char='"' if dialect.quoted else False, invalid_row_handler=ragged
    )
    convert = csv.ConvertOptions(
        include_columns=list(dict.fromkeys(chosen)),
        column_types=dict.fromkeys(columns, pa.string()),
        strings_can_be_null=False,
        quoted_strings_can_be_null=False,
        check_utf8=False,
    )
    read = csv.ReadOptions(use_threads=False, block_size=2 * LONGEST_LINE, column_names=columns)
    try:
        # A block at a time, in this thread: the streaming reader of pyarrow reads ahead in threads of its own,
        # and was seen to hang for good when the file below failed in the middle.
        table = csv.read_csv(pa.BufferReader(piece.data), read, parse, convert)
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        text = str(error).splitlines()[0]
        if "Empty CSV" not in text:
            raise InputError(f"it cannot be read as a table ({text})", report.path, piece.line) from error
        table = None
    rows = table.num_rows if table is not None else 0
    places = _places(piece.data, rows + len(skipped))
    for number, text in skipped.items():
        _count_ragged(report, piece, int(places[number]), text)
    if table is not None and rows:
        found = (table.column(name).combine_chunks() for name in chosen)
        yield Block(piece.line, dict(zip(wanted, found, strict=True)), np.delete(places, list(skipped)))


def read_csv(path: Path, dialect: Dialect, wanted: Sequence[str], report: SourceReport) -> Iterator[Block]:
    """Read columns of a table below all of its headers; what stands below one that lacks some is counted and left out.

    Raises
    ------
    InputError
        See `stretches` and `blocks`.
    """
    for below, pieces in stretches(path, dialect, report):
        if set(wanted) <= set(below.names):
            yield from blocks(pieces, wanted, report)
        else:
            leave_out(pieces, report)


def leave_out(pieces: Iterable[TablePiece], report: SourceReport) -> None:
    """Count the rows of a stretch whose header lacks what is needed."""
    for piece in pieces:
        rows = sum(bool(line.strip()) for line in piece.data.split(b"\n"))
        report.rows += rows
        report.reject("other_columns", rows, line=piece.line)


def _pieces(stream: CleanStream, dialect: Dialect, report: SourceReport) -> Iterator[TablePiece]:
    """Cut a table where its header changes."""
    line, joiner = dialect.header_lines + 1, dialect.joiner()
    for block in whole_lines(stream, dialect.header_lines, quoted=dialect.quoted, block_bytes=BLOCK_BYTES):
        report.position, chunk = block.position, block.text()
        data, begin = joiner.joined(chunk) if joiner else chunk, 0
        for start, end, header in [] if joiner else _headers(data, dialect):
            if begin < start and not data[begin:start].isspace():
                yield TablePiece(dialect, line, data[begin:start])
            line += data.count(b"\n", begin, end)
            begin, dialect = end, header
        if begin < len(data) and not data[begin:].isspace():
            yield TablePiece(dialect, line, data[begin:])
        line += data.count(b"\n", begin)


def _headers(data: bytes, dialect: Dialect) -> Iterator[tuple[int, int, Dialect]]:
    """Find lines that are other headers than the last: where they begin and end, and how it goes on below them."""
    places: set[int] = set()
    for mark in (name.encode() for name in dialect.marks):
        at = data.find(mark)
        if at < 0 or data.count(mark) > _MOST_HEADERS:  # so many: rows have this word, too
            continue
        while at >= 0:
            places.add(data.rfind(b"\n", 0, at) + 1)
            at = data.find(mark, at + len(mark))
    for start in sorted(places):
        end = data.find(b"\n", start) + 1 or len(data)
        header = dialect.renewed(data[start:end].decode("utf-8", "replace"))
        if header is not None:
            yield start, end, header
            dialect = header


def _places(chunk: bytes, rows: int) -> NDArray[np.int64]:
    """Find the lines of a block that hold its rows, from 0: empty ones are none."""
    places = np.arange(rows)
    if chunk.count(b"\n") + (not chunk.endswith(b"\n")) == rows:
        return places
    full = np.flatnonzero([bool(text.strip(b"\r")) for text in chunk.split(b"\n")])
    return full if full.size == rows else places  # else a cell holds line breaks
