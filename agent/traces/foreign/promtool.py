"""What ``promtool query range`` and ``query instant`` print: a series' labels, then its points, one a line.

https://prometheus.io/docs/prometheus/latest/command-line/promtool/#promtool-query
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.quantities import POWER_MW
from wattshed.agent.inputs.timestamps import parse_number
from wattshed.agent.traces.foreign.exposition import add, labels_of
from wattshed.agent.traces.foreign.format import Format, by_line
from wattshed.agent.traces.foreign.samples import Samples
from wattshed.agent.traces.foreign.series import Meaning, gpu_of, meaning_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

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
    series: tuple[int, Meaning] | None = None
    for number, line in lines:
        text = line.strip()
        head, point = _SERIES.match(text), _POINT.match(text)
        if head:
            labels = labels_of(head[2] or "")
            name = head[1] or labels.get("__name__", "")
            meaning = meaning_of(name, labels)
            if meaning is None and not name:
                report.note("its series have no name (the query was an expression): they are taken for watts")
                meaning = Meaning("power", POWER_MW["W"])
            if meaning is None:
                report.note(f"left out: {name}")
            series = (gpu_of(labels, gpus), meaning) if meaning else None
            found |= series is not None
            value, stamp = head[3], head[4]
        elif point:
            value, stamp = point[1], point[2]
        else:
            if text:
                report.rows += 1
                report.reject("not_a_sample", line=number, text=text)
            continue
        if series is None or value is None:
            continue
        time_us = parse_number(stamp, "s")
        if time_us is None:
            report.rows += 1
            report.reject("no_time", line=number, text=text)
            continue
        add(samples, gpus, series, (time_us, value), number)
        yield from samples.full()
    yield from samples.rest()
    if not found:
        raise InputError("it contains no series of GPU power or energy", report.path)


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
