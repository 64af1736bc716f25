"""Records with named fields: a dataclass of whole numbers says what they are, in an array and in plain Python.

A kernel reads and writes ``record.field``. Compiled, a record is a row of a structured array; in plain Python
attributes of such a row are 11 to 35 times slower than those of an object, so there a kernel gets objects of the
dataclass, which are written back when it is done (`kernels.entry.Kernel.plain`).
"""

from __future__ import annotations

from dataclasses import astuple, fields
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

Record = TypeVar("Record")


@cache
def dtype_of(kind: type) -> np.dtype[np.void]:
    """Return the dtype of an array of such records: int64 each field, in the order of the dataclass."""
    return np.dtype([(field.name, np.int64) for field in fields(kind)])


def blank(kind: type, count: int) -> NDArray[np.void]:
    """Make ``count`` records with the defaults of the dataclass."""
    records = np.zeros(count, dtype_of(kind))
    records[:] = astuple(kind())
    return records


def objects(records: NDArray[np.void], kind: type[Record]) -> list[Record]:
    """Return the records as objects of their dataclass, which hold numbers of any size."""
    return [kind(*row) for row in records.tolist()]


def of_objects(rows: Iterable[Any], kind: type) -> NDArray[np.void]:
    """Make an array of records of what `objects` returned."""
    return np.array([astuple(row) for row in rows], dtype_of(kind))


def write_back(records: NDArray[np.void], rows: Iterable[Any]) -> None:
    """Write into an array of records what was done to the objects that `objects` made of it."""
    row_of = attrgetter(*(records.dtype.names or ()))
    for place, row in enumerate(rows):
        records[place] = row_of(row)
