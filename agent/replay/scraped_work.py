"""Work of inference servers from series of a time-series database: their pages put together again, and counted as live.

The series of one server at one time are what its page said then. So replaying what Prometheus scraped gives the counts
that reading the pages gave: over restarts, ranks and models (`agent.work_units`).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError, counted
from wattshed.agent.inputs.text import head_of, open_lines
from wattshed.agent.inputs.timestamps import parse_number
from wattshed.agent.traces.foreign.prometheus_json import series_in
from wattshed.agent.traces.foreign.promtool import points_in
from wattshed.agent.window import SCRAPED, JobKey, WorkRow
from wattshed.agent.work_units.counting import baseline_at_birth, count, work_rows
from wattshed.agent.work_units.page import PageRefusedError, is_of_a_server, page_of_series

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from wattshed.agent.inputs.report import SourceReport
    from wattshed.agent.work_units.counting import Baseline, Done

    Series = tuple[str, str]
    """Name and labels, as a page has them."""

JOB = "job"
"""The label that names the job, where nothing else is said."""
_INSTANCE = ("instance", "pod")
_PROMTOOL = re.compile(r"^\S*(\{.*\})?\s+=>", re.MULTILINE)
_NAMED = 5


def is_series(head: str) -> bool:
    """Tell whether a file that begins like this is one of series, and not a table."""
    return head.lstrip()[:1] in {"{", "["} or (" @[" in head and bool(_PROMTOOL.search(head)))


def read_series(path: str, label: str, since_us: Mapping[str, int], report: SourceReport) -> list[WorkRow]:
    """Read counters of servers: an answer of ``query_range``, an export of VictoriaMetrics, or what promtool prints.

    Parameters
    ----------
    path : str
    label : str
        Names the job.
    since_us : mapping of str to int, us
        When jobs began, as far as it is known: pages before belong to another job, and a server whose process began
        later counts from zero.
    report : SourceReport
        Gets what was left out.

    Returns
    -------
    list of WorkRow
        In the order of time.

    Raises
    ------
    InputError
        If there is no series of a server, or one that does not name its job.
    """
    servers: dict[tuple[str, str], dict[Series, list[tuple[int, str]]]] = defaultdict(lambda: defaultdict(list))
    left_out = Counter[str]()
    for line, labels, time_us, value in _points(Path(path), report):
        name = labels.get("__name__", "")
        if not is_of_a_server(name):
            left_out[name or "series without a name"] += 1
            continue
        if not labels.get(label):
            has = ", ".join(sorted(set(labels) - {"__name__"}))
            hint = f"name the label that does (--work-columns job=LABEL); it has {has}"
            raise InputError(f"{name} has no label {label!r}, which names the job; {hint}", path, line)
        where = next((labels[one] for one in _INSTANCE if one in labels), "")
        servers[labels[label], where][name, _written(labels, {"__name__", label, *_INSTANCE})].append((time_us, value))
    if left_out:
        names = ", ".join(list(left_out)[:_NAMED]) + (" ..." if len(left_out) > _NAMED else "")
        report.note(f"left out: {names}")
    if not servers:
        raise InputError("no counter of a known inference server is in it", path)
    found: list[WorkRow] = []
    jobs: dict[str, list[dict[int, Done]]] = defaultdict(list)
    for (job, _), series in servers.items():
        rows, pages = _counted(JobKey(job), series, since_us.get(job), report)
        found += rows
        jobs[job].append(pages)
    for job, several in jobs.items():
        found += _waiting(JobKey(job), several)
    return sorted(found, key=lambda row: row.end_us)


def _points(path: Path, report: SourceReport) -> Iterator[tuple[int, Mapping[str, str], int, str]]:
    """Yield line, labels, time (us) and value of each point."""
    is_json = head_of(path).lstrip()[:1] in {"{", "["}
    with open_lines(path) as file:
        if is_json:
            for line, labels, points in series_in(file, str(path)):
                for time, value, unit in points:
                    time_us = parse_number(str(time), unit)
                    if time_us is not None and value is not None:
                        yield line, labels, time_us, str(value)
            return
        for point in points_in(enumerate(file, 1), report):
            time_us = parse_number(point.stamp, "s")
            if time_us is not None:
                yield point.line, {"__name__": point.name, **point.labels}, time_us, point.value


def _written(labels: Mapping[str, str], without: set[str]) -> str:
    """Write labels as a page does."""
    escaped = {
        name: value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
        for name, value in sorted(labels.items())
        if name not in without
    }
    return ",".join(f'{name}="{value}"' for name, value in escaped.items())


def _counted(
    owner: JobKey, series: Mapping[Series, list[tuple[int, str]]], since_us: int | None, report: SourceReport
) -> tuple[list[WorkRow], dict[int, Done]]:
    """Count what one server did, page by page; what it says of waiting is by the time of the page."""
    points = sorted(
        ((time_us, name, labels, value) for (name, labels), some in series.items() for time_us, value in some),
        key=itemgetter(0),
    )
    rows: list[WorkRow] = []
    pages: dict[int, Done] = {}
    before: Baseline | None = None
    refused = Counter[str]()
    for time_us, some in groupby(points, key=itemgetter(0)):
        if since_us is not None and time_us < since_us:
            continue
        try:
            page = page_of_series((name, labels, value) for _, name, labels, value in some)
        except PageRefusedError as error:
            refused[str(error)] += 1
            continue
        before = before or baseline_at_birth(owner, page, since_us, time_us)
        done, before = count(page, before, owner, time_us)
        rows += work_rows(owner, done)
        if page.running is not None:
            pages[time_us] = done
    for why, number in refused.most_common(1):
        report.note(f"{counted(refused.total(), 'page')} of {owner} left out: {why}" + (" ..." if number > 1 else ""))
    return rows, pages


def _waiting(owner: JobKey, servers: list[dict[int, Done]]) -> Iterator[WorkRow]:
    """Yield whether all servers of a job waited, where all of them say so at the same time."""
    for time_us in sorted(set[int].intersection(*(set(pages) for pages in servers))):
        done = [pages[time_us] for pages in servers]
        since_us, waited = max(one.start_us for one in done), all(one.waited for one in done)
        yield WorkRow(owner, "", 0, SCRAPED, since_us, time_us, 0, waited)
