"""Work of jobs, as columns of a native trace: a row of each list is one `WorkRow`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from wattshed.agent.window import SCRAPED, TOLD, WorkRow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from wattshed.agent.window import Owner, Window

WORK: Mapping[str, Any] = {
    "work_owner": pa.int32(),
    "work_unit": pa.utf8(),
    "work_count": pa.int64(),
    "work_source": pa.int8(),
    "work_start_us": pa.int64(),
    "work_end_us": pa.int64(),
    "work_doubt": pa.int64(),
    "waiting": pa.int8(),
}
"""The list columns and their item types."""
_SOURCES = (TOLD, SCRAPED)


def lay_out(window: Window) -> dict[str, list[Any]]:
    """Lay work out in columns."""
    place = {owner.key: i for i, owner in enumerate(window.owners)}
    rows = [
        (
            place[row.owner],
            row.unit,
            row.count,
            _SOURCES.index(row.source),
            row.start_us,
            row.end_us,
            row.doubt,
            int(row.waiting),
        )
        for row in window.work
    ]
    return {name: [row[i] for row in rows] for i, name in enumerate(WORK)}


def work_of(
    lists: Mapping[str, NDArray[Any]], units: list[str], owners: tuple[Owner, ...], start_us: int, end_us: int
) -> tuple[WorkRow, ...] | None:
    """Read what `lay_out` laid out; None if its columns do not fit together."""
    columns = [lists[name].tolist() for name in WORK if name != "work_unit"]
    if any(len(column) != len(units) for column in columns):
        return None
    found = []
    for unit, owner, count, source, begin, end, doubt, waiting in zip(units, *columns, strict=True):
        in_time = begin <= end and start_us <= end <= end_us
        if not (0 <= owner < len(owners) and 0 <= source < len(_SOURCES) and in_time and min(count, doubt) >= 0):
            return None
        row = WorkRow(owners[owner].key, unit, count, _SOURCES[source], begin, end, doubt, waiting=bool(waiting))
        found.append(row)
    return tuple(found)
