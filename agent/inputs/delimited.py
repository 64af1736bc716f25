"""Delimited text of any dialect, in blocks of columns: what nvidia-smi, spreadsheets and loggers write."""

from __future__ import annotations

import itertools
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.arrow import pa, pc
from wattshed.agent.inputs.dialect import PACKED
from wattshed.agent.inputs.line_blocks import LONGEST_LINE, LineBlock, whole_lines
from wattshed.agent.inputs.prefetch import ahead
from wattshed.agent.inputs.quantities import Scaled
from wattshed.agent.inputs.text import CleanStream
from wattshed.agent.inputs.timestamps import Stamps
from wattshed.agent.inputs.typed_cells import IndexRoom, PlainTable, StampCells
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

BLOCK_BYTES = 3 << 20
"""Of a file that are read at once."""
_MOST_HEADERS = 10_000  # in a block
_HEAD_LINES = 1_024
_AHEAD = 2  # blocks that are read before they are asked for
_COMING = 2  # blocks for each thread that are looked through while what came before is booked


@dataclass(frozen=True, slots=True)
class Block:
    """Some rows of a table.

    Attributes
    ----------
    line : int
        1-based line that the block begins with.
    columns : dict of name -> pyarrow.Array, Scaled or Stamps
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
        if isinstance(column, Scaled | Stamps) or not pa.types.is_string(column.type):
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
    """Whole lines of a table below one header: how they are written, the 1-based line of the first, and themselves."""

    dialect: Dialect
    line: int
    block: LineBlock

    def without_text(self) -> TablePiece:
        """Return where it stands, without its lines: what was read needs their memory no more."""
        return replace(self, block=LineBlock.of(b""))

    def cut(self, lines: int) -> list[TablePiece]:
        """Return the first lines, and the rest if there is any."""
        begin, size = self.block.begin_of(lines), self.block.size
        if begin == size:
            return [self]
        parts = (self.line, self.block.part(0, begin)), (self.line + lines, self.block.part(begin, size))
        return [TablePiece(self.dialect, *part) for part in parts]


def stretches(path: Path, dialect: Dialect, report: SourceReport) -> Iterator[tuple[Dialect, Iterator[TablePiece]]]:
    """Read a table stretch by stretch: where a header with other columns comes, another one begins.

    Each must be read, by `blocks`, before the next is asked for.

    Raises
    ------
    InputError
        If a line has no end, or compressed data is damaged.
    """
    with (
        CleanStream(path, b", " if dialect.delimiter == PACKED else b"") as stream,
        closing(ahead(_pieces(stream, dialect, report), _AHEAD)) as pieces,
    ):
        yield from itertools.groupby(pieces, key=lambda piece: piece.dialect)


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
        What columns hold. With compiled kernels these come as `inputs.typed_cells` has them, all others as text. The
        first block is a short one, in which numeric stamps are text, to see how they are written.

    Raises
    ------
    InputError
        If it cannot be read as a table at all.
    """
    pieces = iter(pieces)
    if (first := next(pieces, None)) is None:
        return
    typed = kinds if load.form().name != "off" and not first.dialect.quoted and len(first.dialect.names) > 1 else None
    head, *rest = first.cut(_HEAD_LINES) if typed is not None else [first]
    of_head = typed and {
        name: replace(kind, unit="iso") if isinstance(kind, StampCells) else kind for name, kind in typed.items()
    }
    for piece, found in itertools.chain(
        _each(iter([head]), wanted, of_head), _each(itertools.chain(rest, pieces), wanted, typed)
    ):
        if found is None:
            yield from _by_arrow(piece, wanted, report)
            continue
        for place, text in found.others:
            _count_ragged(report, piece, place, text)
        if found.rows:
            yield Block(piece.line, found.columns, found.places)


def _each(
    pieces: Iterator[TablePiece], wanted: Sequence[str], kinds: Mapping[str, Kind] | None
) -> Iterator[tuple[TablePiece, TypedRows | None]]:
    """Read each piece, several at once, and give them out in their order; with None where it is to be read as text."""
    if kinds is None:
        yield from ((piece, None) for piece in pieces)
        return
    holds, room = {name: kinds.get(name) for name in wanted}, IndexRoom()

    def read(piece: TablePiece) -> tuple[TablePiece, TypedRows | None]:
        found = PlainTable(piece.dialect.delimiter, piece.dialect.names, holds, room).read(piece.block)
        return (piece, None) if found is None else (piece.without_text(), found)

    if threads() == 1:
        yield from map(read, pieces)
        return
    coming: deque[Future[tuple[TablePiece, TypedRows | None]]] = deque()
    with ThreadPoolExecutor(threads(), thread_name_prefix="cells") as pool:
        try:
            for piece in pieces:
                coming.append(pool.submit(read, piece))
                if len(coming) > _COMING * threads():
                    yield coming.popleft().result()
        except InputError:
            # What was read before the fault is told first, as if it had been read block by block.
            yield from (one.result() for one in coming)
            raise
        yield from (one.result() for one in coming)


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

    from pyarrow import csv  # noqa: PLC0415 - a plain table is read without

    dialect, lines = piece.dialect, piece.block.text()
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
        table = csv.read_csv(pa.BufferReader(lines), read, parse, convert)
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        text = str(error).splitlines()[0]
        if "Empty CSV" not in text:
            raise InputError(f"it cannot be read as a table ({text})", report.path, piece.line) from error
        table = None
    rows = table.num_rows if table is not None else 0
    places = _places(lines, rows + len(skipped))
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
        rows = sum(bool(line.strip()) for line in piece.block.text().split(b"\n"))
        report.rows += rows
        report.reject("other_columns", rows, line=piece.line)


def _pieces(stream: CleanStream, dialect: Dialect, report: SourceReport) -> Iterator[TablePiece]:
    """Cut a table where its header changes."""
    line, joiner = dialect.header_lines + 1, dialect.joiner()
    for whole in whole_lines(stream, dialect.header_lines, quoted=dialect.quoted, block_bytes=BLOCK_BYTES):
        report.position = whole.position
        block = LineBlock.of(joiner.joined(whole.text())) if joiner else whole
        begin = 0
        for start, end, header in [] if joiner else _headers(block, dialect):
            if not (above := block.part(begin, start)).is_blank():
                yield TablePiece(dialect, line, above)
            line += block.part(begin, end).newlines()
            begin, dialect = end, header
        rest = block.part(begin, block.size)
        if not rest.is_blank():
            yield TablePiece(dialect, line, rest)
        line += rest.newlines()


def _headers(block: LineBlock, dialect: Dialect) -> Iterator[tuple[int, int, Dialect]]:
    """Find lines that are other headers than the last: where they begin and end, and how it goes on below them."""
    places: set[int] = set()
    for mark in dialect.marks:
        places |= block.lines_with(mark.encode(), _MOST_HEADERS) or set()  # so many: rows have this word, too
    for start in sorted(places):
        end = block.end_of(start)
        header = dialect.renewed(block.part(start, end).text().decode("utf-8", "replace"))
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
