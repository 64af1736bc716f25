"""What ``promtool query range`` and ``query instant`` print: a series' labels, then its points, one a line.

https://prometheus.io/docs/prometheus/latest/command-line/promtool/#promtool-query
"""

from __future__ import annotations

import re
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.timestamps import parse_number
from wattshed.agent.inputs.unit_tables import POWER_MW
from wattshed.agent.traces.foreign.exposition import add, labels_of
from wattshed.agent.traces.foreign.format import Format, by_line
from wattshed.agent.traces.foreign.samples import Samples
from wattshed.agent.traces.foreign.series import Meaning, gpu_of, meaning_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from wattshed.agent.inputs.report import SourceReport
    from wattshed.agent.inputs.timestamps import TimestampParser
    from wattshed.agent.traces.foreign.format import Head
    from wattshed.agent.traces.foreign.gpus import Gpus
    from wattshed.agent.traces.foreign.rows import Rows

_SERIES = re.compile(r"([a-zA-Z_:][\w:]*)?(\{.*\})?\s*=>\s*(?:(\S+) @\[([-\d.e+]+)\])?\s*$")
_POINT = re.compile(r"(\S+) @\[([-\d.e+]+)\]\s*$")


def read_promtool(
    lines: Iterable[tuple[int, str]], clock: TimestampParser, gpus: Gpus, report: SourceReport
) -> Iterator[Rows]:
    """Read numbered lines.

    Raises
    ------
    InputError
        If no series of power or energy is in it.
    """
    samples, found = Samples(report, clock), False
    for (name, labels), points in groupby(points_in(lines, report), key=lambda point: (point.name, point.labels)):
        meaning = meaning_of(name, labels)
        if meaning is None and not name:
            report.note("its series have no name (the query was an expression): they are taken for watts")
            meaning = Meaning("power", POWER_MW["W"])
        if meaning is None:
            report.note(f"left out: {name}")
            continue
        found, series = True, (gpu_of(labels, gpus), meaning)
        for point in points:
            time_us = parse_number(point.stamp, "s")
            if time_us is None:
                report.rows += 1
                report.reject("no_time", line=point.line, text=f"{point.value} @[{point.stamp}]")
                continue
            add(samples, gpus, series, (time_us, point.value), point.line)
            yield from samples.full()
    yield from samples.rest()
    if not found:
        raise InputError("it contains no series of GPU power or energy", report.path)


class SeriesPoint(NamedTuple):
    """One point of a series, as it is written."""

    line: int
    name: str
    labels: Mapping[str, str]
    stamp: str
    value: str


def points_in(lines: Iterable[tuple[int, str]], report: SourceReport) -> Iterator[SeriesPoint]:
    """Read the points of all series from numbered lines; ``report`` gets the lines that are none."""
    name, labels = "", dict[str, str]()
    for number, line in lines:
        text = line.strip()
        head, point = _SERIES.match(text), _POINT.match(text)
        if head:
            labels = labels_of(head[2] or "")
            name = head[1] or labels.get("__name__", "")
            if head[3] is not None:
                yield SeriesPoint(number, name, labels, head[4], head[3])
        elif point:
            yield SeriesPoint(number, name, labels, point[2], point[1])
        elif text:
            report.rows += 1
            report.reject("not_a_sample", line=number, text=text)


def _tells(head: Head) -> bool:
    return not head.told and bool(head.lines) and bool(_SERIES.match(head.lines[0])) and " @[" in head.text


FORMAT = Format(
    name="promtool-query",
    title="`promtool query range`, `query instant`",
    told_by="` =>` behind a series, ` @[` before its times",
    reads="power and energy by the names of DCGM, wattshed, nvidia_gpu_exporter",
    traps="series without a name (the query was an expression) are taken for watts",
    tells=_tells,
    rows=by_line(read_promtool),
    by_series=True,
)
