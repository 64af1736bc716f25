"""Delimited text of any dialect, in blocks of columns: what nvidia-smi, spreadsheets and loggers write."""

from __future__ import annotations

import csv as plain_csv
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow import csv

from agent.traces.clean_text import CleanStream
from agent.window import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from agent.traces.report import SourceReport

_BLOCK = 4 << 20
_PACKED = "\x1f"


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
        1-based line of the first row.
    columns : dict of name -> pyarrow.Array
        All of one length; text from CSV, any type from Parquet.
    """

    line: int
    columns: dict[str, Any]


def split(line: str, delimiter: str) -> list[str]:
    """Split one line; cells come without blanks around them and without quotes."""
    if delimiter == _PACKED:
        line = line.replace(", ", _PACKED)
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
        packed = [len(split(line, _PACKED)) for line in lines[:20]]
        commas = [len(split(line, ",")) for line in lines[:20]]
        if packed and packed[0] > 1 and packed.count(packed[0]) == len(packed) and set(commas) != {packed[0]}:
            best = _PACKED
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


def read_csv(path: Path, dialect: Dialect, wanted: Sequence[str], report: SourceReport) -> Iterator[Block]:
    """Read the wanted columns of a table as text, block by block; rows of another length are counted and left out.

    Raises
    ------
    InputError
        If it cannot be read as a table at all.
    """

    def ragged(row: Any) -> str:
        cells = len(row.text.split(dialect.delimiter)) if row.text else 0
        if cells > 1 or row.text.strip(" \0\t"):
            report.rows += 1
            report.reject("wrong_number_of_columns", line=(row.number or 0), text=row.text)
        return "skip"

    columns = [f"c{i}" for i in range(len(dialect.names))]
    chosen = [columns[dialect.names.index(name)] for name in wanted]
    stream = CleanStream(path, b", " if dialect.delimiter == _PACKED else b"")
    try:
        with stream:
            table = csv.open_csv(
                pa.PythonFile(stream, mode="r"),
                csv.ReadOptions(
                    use_threads=False, block_size=_BLOCK, skip_rows=dialect.header_lines, column_names=columns
                ),
                csv.ParseOptions(
                    delimiter=dialect.delimiter,
                    quote_char='"' if dialect.quoted else False,
                    invalid_row_handler=ragged,
                ),
                csv.ConvertOptions(
                    include_columns=list(dict.fromkeys(chosen)),
                    column_types=dict.fromkeys(columns, pa.string()),
                    strings_can_be_null=False,
                    quoted_strings_can_be_null=False,
                    check_utf8=False,
                ),
            )
            line = dialect.header_lines + 1
            for batch in table:
                report.position = stream.position
                if batch.num_rows:
                    yield Block(line, {name: batch.column(c) for name, c in zip(wanted, chosen, strict=True)})
                line += batch.num_rows
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        text = str(error).splitlines()[0]
        if "Empty CSV" in text:  # a header and nothing below
            return
        if "straddling object" in text:
            text = "a line is longer than 4 MiB"
        raise InputError(f"it cannot be read as a table ({text})", str(path)) from error
