"""Tables of other libraries (pandas, polars, pyarrow), as rows of text: read like a file of the same cells."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Protocol

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.arrow import pa

if TYPE_CHECKING:
    from collections.abc import Iterator

_INDEX = "__index_level_"
"""What a nameless index of pandas is called."""


class Frame(Protocol):
    """A table that can be handed over as a stream of Arrow: of pandas, polars, pyarrow, DuckDB ..."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Hand it over."""


class FrameRows:
    """The header and the rows of a table, as `csv.reader` has those of a file.

    Parameters
    ----------
    frame : Frame
    name : str
        What it is, for messages.

    Raises
    ------
    InputError
        If it is no table.
    """

    def __init__(self, frame: Frame, name: str) -> None:
        try:
            table = pa.RecordBatchReader.from_stream(frame).read_all()
        except (TypeError, pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise InputError(f"is no table that can be read ({error})", name) from None
        self._table = table.select([column for column in table.column_names if not column.startswith(_INDEX)])
        self.line_num = 0

    def __iter__(self) -> Iterator[list[str]]:
        """Yield the header, then a row each."""
        self.line_num = 1
        yield list(self._table.column_names)
        for batch in self._table.to_batches():
            for cells in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                self.line_num += 1
                yield [_text(cell) for cell in cells]


def _text(cell: Any) -> str:
    """Write a cell as a file would have it; NaN and null are empty."""
    if cell is None or cell != cell:  # noqa: PLR0124 - NaN
        return ""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, datetime):
        return cell.astimezone(UTC).isoformat() if cell.tzinfo is not None else cell.isoformat()
    if isinstance(cell, date):
        return cell.isoformat()
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 2**53:
        return str(int(cell))  # a column of numbers of which one is missing is of floats
    if isinstance(cell, list | tuple):
        return ",".join(map(_text, cell))
    return json.dumps(cell) if isinstance(cell, dict) else str(cell)
