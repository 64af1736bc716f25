"""Numbers of what rows refer to by number: looked up many at a time, and made where there is none yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from wattshed.agent.history.sql import SqlDatabase

MOST_VALUES = 500
"""Values in one statement."""


class Numbers:
    """Numbers of one table's rows by the columns that tell them apart.

    Parameters
    ----------
    database : SqlDatabase
    table : str
    columns : sequence of str
        No two rows are the same in all of them.
    """

    def __init__(self, database: SqlDatabase, table: str, columns: Sequence[str]) -> None:
        self._database, self._table, self._columns = database, table, columns
        self._known: dict[tuple[str, ...], int] = {}

    def forget(self) -> None:
        """Forget what was looked up: it may never have been written, or be no more."""
        self._known.clear()

    def of(self, places: Iterable[tuple[str, ...]]) -> dict[tuple[str, ...], int]:
        """Return at least the numbers of these, by their columns; a row is made for each that has none."""
        if new := sorted(set(places) - self._known.keys()):
            names = ", ".join(self._columns)
            self._database.each_do(
                f"INSERT INTO {self._table}({names}) VALUES({', '.join('?' * len(self._columns))}) "
                "ON CONFLICT DO NOTHING",
                new,
            )
            for number, *place in rows_with(self._database, self._table, self._columns, new, ("id", *self._columns)):
                self._known[tuple(place)] = int(number)
        return self._known


def rows_with(
    database: SqlDatabase, table: str, columns: Sequence[str], places: Collection[tuple[Any, ...]], read: Sequence[str]
) -> Iterator[tuple[Any, ...]]:
    """Read the rows whose columns have one of many combinations of values.

    Parameters
    ----------
    database : SqlDatabase
    table : str
    columns : sequence of str
        They are an index, or its begin.
    places : collection of tuple
        What they are to have.
    read : sequence of str
        The columns to read.
    """
    names = [f"at{number}" for number in range(len(columns))]
    same = " AND ".join(f"{table}.{column} = {name}" for column, name in zip(columns, names, strict=True))
    one = f"({', '.join('?' * len(columns))})"
    # Row by row from the index. Where each column is IN a list SQLite tries every pair; where rows are, it reads the
    # whole table.
    for some in batched(sorted(places), MOST_VALUES // len(columns)):
        yield from database.rows(
            f"WITH wanted({', '.join(names)}) AS (VALUES {', '.join([one] * len(some))}) "
            f"SELECT {', '.join(f'{table}.{column}' for column in read)} FROM wanted CROSS JOIN {table} WHERE {same}",
            [value for place in some for value in place],
        )


def batched(values: Sequence[Any], most: int = MOST_VALUES) -> Iterator[Sequence[Any]]:
    """Take values apart into as many as fit into one statement."""
    for begin in range(0, len(values), most):
        yield values[begin : begin + most]
