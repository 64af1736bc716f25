"""Work of jobs as a text of a native trace: most windows hold none, and a column costs each of them a hundred bytes."""

from __future__ import annotations

import json
from itertools import groupby
from typing import TYPE_CHECKING

from wattshed.agent.window import SCRAPED, TOLD, WorkRow

if TYPE_CHECKING:
    from wattshed.agent.window import Owner, Window

_SOURCES = (TOLD, SCRAPED)


def text_of_work(window: Window) -> str | None:
    """JSON of a window's work: ``[[owner, start, end, source, waiting, [[unit, count, doubt], ...]], ...]``, or None.

    Owners are places among the window's, times microseconds from its start; rows of one page stand together.
    """
    if not window.work:
        return None
    place, begin = {owner.key: i for i, owner in enumerate(window.owners)}, window.start_us

    def page(row: WorkRow) -> tuple[int, ...]:
        source = _SOURCES.index(row.source)
        return place[row.owner], row.start_us - begin, row.end_us - begin, source, int(row.waiting)

    pages = [
        [*of, [[row.unit, row.count, *([row.doubt] if row.doubt else [])] for row in rows]]
        for of, rows in groupby(window.work, key=page)
    ]
    return json.dumps(pages, separators=(",", ":"))


def work_from_text(text: str | None, owners: tuple[Owner, ...], start_us: int, end_us: int) -> tuple[WorkRow, ...]:
    """Inverse of `text_of_work`, for a window of this time.

    Raises
    ------
    ValueError, TypeError
        It is another thing.
    """
    found: list[WorkRow] = []
    for owner, begin, end, source, waiting, rows in json.loads(text) if text else ():
        if any(type(number) is not int for number in (owner, begin, end, source, waiting)):
            raise ValueError("a page is malformed")
        if not (0 <= owner < len(owners) and 0 <= source < len(_SOURCES) and begin <= end):
            raise ValueError("a page is nobody's")
        if not 0 <= end <= end_us - start_us:
            raise ValueError("a page is of another time")
        of, times = owners[owner].key, (start_us + begin, start_us + end)
        for unit, count, *more in rows:
            (doubt,) = more or (0,)
            if type(unit) is not str or type(count) is not int or type(doubt) is not int or min(count, doubt) < 0:
                raise ValueError("a row is malformed")
            found.append(WorkRow(of, unit, count, _SOURCES[source], *times, doubt, waiting=bool(waiting)))
    return tuple(found)
