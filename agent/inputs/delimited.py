"""Delimited text of any dialect, in blocks of columns: what nvidia-smi, spreadsheets and loggers write."""

from __future__ import annotations

import csv as plain_csv
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.line_blocks import BLOCK_BYTES, LONGEST_LINE, whole_lines
from wattshed.agent.inputs.text import CleanStream
from wattshed.agent.inputs.typed_cells import PlainTable
from wattshed.kernels import load
from wattshed.kernels.threads import threads

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from numpy.typing import NDArray

    from wattshed.agent.inputs.line_blocks import LineBlock
    from wattshed.agent.inputs.report import SourceReport
    from wattshed.agent.inputs.typed_cells import Kind, TypedRows

PACKED = "\x1f"
"""Stands for comma and blank, where a comma alone does not separate."""


@dataclass(frozen=True, slots=True)
class Dialect:
    r"""How a table is written.

    Attributes
    ----------
    delimiter : str
        One character; ``\x1f`` stands for nvidia-smi's comma and blank.
    names : tuple of str
        The header's cells, or made-up names ``1``, ``2``, ... without one.
    header_lines : int
        Lines before the first row, the header included.
    quoted : bool
        Cells may stand in double quotes.
    """

    delimiter: str
    names: tuple[str, ...]
    header_lines: int
    quoted: bool


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
        same = pc.equal(pc.utf8_trim_whitespace(column), name)
        return ~np.asarray(pc.fill_null(same, fill_value=False).to_numpy(zero_copy_only=False), bool)


def split(line: str, delimiter: str) -> list[str]:
    """Split one line; cells come without blanks around them and without quotes."""
    if delimiter == PACKED:
        line = line.replace(", ", PACKED)
    cells = next(plain_csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
    return [cell.strip() for cell in cells]


def sniff(head: str, *, header: bool = True) -> Dialect:
    """Find the dialect from the first lines of a file.

    The delimiter is the one that cuts the first lines into most columns, all alike. Where a comma does not (a decimal
    comma stands in the cells) but comma and blank does, that is it.
    """
    lines = [line for line in head.splitlines()[:50] if line.strip() and not line.startswith("#")]
    if len(head.splitlines()) > 50 or not head.endswith(("\n", "\r")):
        lines = lines[:-1] or lines
    best, columns = ",", 0
    for delimiter in ("\t", ";", "|", ","):
        counts = [len(split(line, delimiter)) for line in lines[:20]]
        alike = sum(count == counts[0] for count in counts)
        if counts and counts[0] > max(columns, 1) and alike * 2 >= len(counts):
            best, columns = delimiter, counts[0]
    if best == "," or columns < 2:
        packed = [len(split(line, PACKED)) for line in lines[:20]]
        commas = [len(split(line, ",")) for line in lines[:20]]
        # Arrow knows a quoted cell only where the quote follows the delimiter at once.
        blanks_first = set(commas) != {packed[0]} or ', "' in head if packed else False
        if packed and packed[0] > 1 and packed.count(packed[0]) == len(packed) and blanks_first:
            best = PACKED
    first = 0
    while first < len(head.splitlines()) and (
        not head.splitlines()[first].strip() or head.splitlines()[first].startswith("#")
    ):
        first += 1
    names = split(lines[0], best) if lines else []
    if not header:
        names = [str(i + 1) for i in range(len(names))]
    return Dialect(best, tuple(_distinct(names)), first + header, '"' in head)


def _distinct(names: Sequence[str]) -> list[str]:
    """Make names differ: a second ``power`` becomes ``power.2``."""
    seen: dict[str, int] = {}
    out = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        out.append(name if seen[name] == 1 else f"{name}.{seen[name]}")
    return out


def read_csv(
    path: Path,
    dialect: Dialect,
    wanted: Sequence[str],
    report: SourceReport,
    kinds: Mapping[str, Kind] | None = None,
    *,
    block_bytes: int = BLOCK_BYTES,
) -> Iterator[Block]:
    """Read the wanted columns of a table block by block; rows of another length are counted and left out.

    Parameters
    ----------
    path : Path
    dialect : Dialect
    wanted : sequence of str
    report : SourceReport
    kinds : mapping of name -> Kind, optional
        What the wanted columns hold: with compiled kernels they come as `inputs.typed_cells` has them. Else all of
        them are text.
    block_bytes : int

    Raises
    ------
    InputError
        If it cannot be read as a table at all.
    """
    ours = None
    if kinds is not None and not dialect.quoted and len(dialect.names) > 1 and load.form().name != "off":
        ours = PlainTable(dialect.delimiter, dialect.names, {name: kinds[name] for name in wanted})
    by_arrow = _ByArrow(path, dialect, wanted, report)
    line = dialect.header_lines + 1
    with CleanStream(path, b", " if dialect.delimiter == PACKED else b"") as stream:
        blocks = whole_lines(stream, dialect.header_lines, quoted=dialect.quoted, block_bytes=block_bytes)
        for block, typed in _each(blocks, ours):
            report.position = block.position
            if typed is None:
                chunk = block.text()
                yield from by_arrow.read(chunk, line)
                line += chunk.count(b"\n")
                continue
            for place, text in typed.others:
                _count_ragged(report, dialect, line + place, text)
            if typed.rows:
                yield Block(line, typed.columns, typed.places)
            line += typed.lines


def _each(blocks: Iterator[LineBlock], table: PlainTable | None) -> Iterator[tuple[LineBlock, TypedRows | None]]:
    """Read each block, several at once, and give them out in their order."""
    if table is None or threads() == 1:
        for block in blocks:
            yield block, table.read(block) if table else None
        return
    coming: deque[tuple[LineBlock, Future[TypedRows | None]]] = deque()
    with ThreadPoolExecutor(threads(), thread_name_prefix="cells") as pool:
        try:
            for block in blocks:
                coming.append((block, pool.submit(table.read, block)))
                if len(coming) > threads():
                    ready, read = coming.popleft()
                    yield ready, read.result()
        except InputError:
            # What was read before the fault is told first, as if it had been read block by block.
            yield from ((block, read.result()) for block, read in coming)
            raise
        yield from ((block, read.result()) for block, read in coming)


def _count_ragged(report: SourceReport, dialect: Dialect, line: int, text: str) -> None:
    """Count a line of another number of cells, unless nothing stands there."""
    if text.strip(f" \0\t{dialect.delimiter}"):
        report.rows += 1
        report.reject("wrong_number_of_columns", line=line, text=text)


class _ByArrow:
    """Reads blocks of lines by pyarrow, as columns of text.

    Parameters
    ----------
    path : Path
    dialect : Dialect
    wanted : sequence of str
    report : SourceReport
    """

    def __init__(self, path: Path, dialect: Dialect, wanted: Sequence[str], report: SourceReport) -> None:
        self._path, self._dialect, self._wanted, self._report = path, dialect, wanted, report
        columns = [f"c{i}" for i in range(len(dialect.names))]
        self._chosen = [columns[dialect.names.index(name)] for name in wanted]
        self._skipped: dict[int, str] = {}  # rows of another length in the block, by their number among its rows
        self._parse = csv.ParseOptions(
            delimiter=dialect.delimiter, quote_char='"' if dialect.quoted else False, invalid_row_handler=self._ragged
        )
        self._convert = csv.ConvertOptions(
            include_columns=list(dict.fromkeys(self._chosen)),
            column_types=dict.fromkeys(columns, pa.string()),
            strings_can_be_null=False,
            quoted_strings_can_be_null=False,
            check_utf8=False,
        )
        self._read = csv.ReadOptions(use_threads=False, block_size=2 * LONGEST_LINE, column_names=columns)

    def _ragged(self, row: Any) -> str:
        self._skipped[row.number - 1] = row.text
        return "skip"

    def read(self, chunk: bytes, line: int) -> Iterator[Block]:
        """Read whole lines, of which the first is ``line``: a block, or none."""
        if not chunk.strip():
            return
        skipped = self._skipped
        skipped.clear()
        try:
            # A block at a time, in this thread: the streaming reader of pyarrow reads ahead in threads of its own,
            # and was seen to hang for good when the file below failed in the middle.
            table = csv.read_csv(pa.BufferReader(chunk), self._read, self._parse, self._convert)
        except (pa.ArrowInvalid, UnicodeDecodeError) as error:
            text = str(error).splitlines()[0]
            if "Empty CSV" not in text:
                raise InputError(f"it cannot be read as a table ({text})", str(self._path), line) from error
            table = None
        rows = table.num_rows if table is not None else 0
        places = _places(chunk, rows + len(skipped))
        for number, text in skipped.items():
            _count_ragged(self._report, self._dialect, line + int(places[number]), text)
        if table is not None and rows:
            found = (table.column(name).combine_chunks() for name in self._chosen)
            yield Block(line, dict(zip(self._wanted, found, strict=True)), np.delete(places, list(skipped)))


def _places(chunk: bytes, rows: int) -> NDArray[np.int64]:
    """Find the lines of a block that hold its rows, from 0: empty ones are none."""
    places = np.arange(rows)
    if chunk.count(b"\n") + (not chunk.endswith(b"\n")) == rows:
        return places
    full = np.flatnonzero([bool(text.strip(b"\r")) for text in chunk.split(b"\n")])
    return full if full.size == rows else places  # else a cell holds line breaks
