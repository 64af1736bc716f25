"""Delimited text of any dialect, in blocks of columns: what nvidia-smi, spreadsheets and loggers write."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.dialect import PACKED
from wattshed.agent.inputs.text import CleanStream

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from wattshed.agent.inputs.dialect import Dialect
    from wattshed.agent.inputs.report import SourceReport

_BLOCK = 4 << 20
_LONGEST_LINE = 64 << 20
_MOST_HEADERS = 10_000  # in a block


@dataclass(frozen=True, slots=True)
class Block:
    """Some rows of a table.

    Attributes
    ----------
    line : int
        1-based line that the block begins with.
    columns : dict of name -> pyarrow.Array
        All of one length; text from CSV, any type from Parquet.
    places : int64[n] or None
        On which of the block's lines, from 0, each row stands; None: one after the other.
    """

    line: int
    columns: dict[str, Any]
    places: NDArray[np.int64] | None = None

    def lines(self) -> NDArray[np.int64]:
        """Return the 1-based line of each row: int64[n]."""
        places = np.arange(len(next(iter(self.columns.values())))) if self.places is None else self.places
        return self.line + places

    def rows(self, name: str) -> NDArray[np.bool_]:
        """Separate rows from header lines that are repeated within the file (a logger that was started again): bool[n].

        Parameters
        ----------
        name : str
            The column to recognise them by.
        """
        column = self.columns[name]
        if not pa.types.is_string(column.type):
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


def blocks(pieces: Iterable[TablePiece], wanted: Sequence[str], report: SourceReport) -> Iterator[Block]:
    """Read the wanted columns of a stretch as text, block by block; rows of another length are counted and left out.

    Raises
    ------
    InputError
        If it cannot be read as a table at all.
    """
    skipped: dict[int, str] = {}  # rows of another length in the block, by their number among its rows

    def ragged(row: Any) -> str:
        skipped[row.number - 1] = row.text
        return "skip"

    for piece in pieces:
        dialect, line = piece.dialect, piece.line
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
        read = csv.ReadOptions(use_threads=False, block_size=2 * _LONGEST_LINE, column_names=columns)
        skipped.clear()
        try:
            # A block at a time, in this thread: the streaming reader of pyarrow reads ahead in threads of its own,
            # and was seen to hang for good when the file below failed in the middle.
            table = csv.read_csv(pa.BufferReader(piece.data), read, parse, convert)
        except (pa.ArrowInvalid, UnicodeDecodeError) as error:
            text = str(error).splitlines()[0]
            if "Empty CSV" not in text:
                raise InputError(f"it cannot be read as a table ({text})", report.path, line) from error
            table = None
        rows = table.num_rows if table is not None else 0
        places = _places(piece.data, rows + len(skipped))
        for number, text in skipped.items():
            if text.strip(f" \0\t{dialect.delimiter}"):
                report.rows += 1
                report.reject("wrong_number_of_columns", line=line + int(places[number]), text=text)
        if table is not None and rows:
            found = (table.column(name).combine_chunks() for name in chosen)
            yield Block(line, dict(zip(wanted, found, strict=True)), np.delete(places, list(skipped)))


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
    for chunk in _whole_lines(stream, dialect):
        report.position = stream.position
        data, begin = joiner.joined(chunk) if joiner else chunk, 0
        for start, end, header in [] if joiner else _headers(data, dialect):
            if data[begin:start].strip():
                yield TablePiece(dialect, line, data[begin:start])
            line += data.count(b"\n", begin, end)
            begin, dialect = end, header
        if data[begin:].strip():
            yield TablePiece(dialect, line, data[begin:])
        line += data.count(b"\n", begin)


def _headers(data: bytes, dialect: Dialect) -> Iterator[tuple[int, int, Dialect]]:
    """Find lines that are other headers than the last: where they begin and end, and how it goes on below them."""
    places: set[int] = set()
    for mark in (name.encode() for name in dialect.marks):
        if data.count(mark) <= _MOST_HEADERS:  # else rows have this word, too
            at = data.find(mark)
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


def _whole_lines(stream: CleanStream, dialect: Dialect) -> Iterator[bytes]:
    """Cut a stream into blocks of whole lines, after the header; a line break within quotes does not end a line."""
    head, rest = dialect.header_lines, b""
    ended = False
    while not ended:
        more = stream.read(_BLOCK)
        ended = not more
        rest += more or b""
        if b"\n" not in rest and b"\r" in rest:
            rest = rest.replace(b"\r", b"\n")  # as old spreadsheets end lines
        while head and (at := rest.find(b"\n")) >= 0:
            rest, head = rest[at + 1 :], head - 1
        cut = len(rest) if ended else rest.rfind(b"\n") + 1
        while dialect.quoted and 0 < cut < len(rest) and rest.count(b'"', 0, cut) % 2:
            cut = rest.rfind(b"\n", 0, cut - 1) + 1
        if not cut and len(rest) > _LONGEST_LINE:
            raise InputError("a line is longer than 64 MiB", str(stream.path))
        if cut and not head:
            yield rest[:cut]
            rest = rest[cut:]
