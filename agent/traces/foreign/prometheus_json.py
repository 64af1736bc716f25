"""Answers of Prometheus' HTTP API (``query_range``, ``query``) and exports of VictoriaMetrics, series by series.

https://prometheus.io/docs/prometheus/latest/querying/api/#range-queries and
https://docs.victoriametrics.com/#how-to-export-data-in-json-line-format
"""

from __future__ import annotations

import re
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, TextIO

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.json_values import JsonValues
from wattshed.agent.inputs.text import open_lines
from wattshed.agent.inputs.timestamps import parse_number
from wattshed.agent.inputs.unit_tables import POWER_MW
from wattshed.agent.traces.foreign.exposition import add
from wattshed.agent.traces.foreign.format import Format
from wattshed.agent.traces.foreign.samples import Samples
from wattshed.agent.traces.foreign.series import Meaning, gpu_of, meaning_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wattshed.agent.inputs.report import SourceReport
    from wattshed.agent.inputs.timestamps import TimestampParser
    from wattshed.agent.traces.foreign.format import Head, LogFile
    from wattshed.agent.traces.foreign.gpus import Gpus
    from wattshed.agent.traces.foreign.rows import Rows


def read_prometheus(file: TextIO, clock: TimestampParser, gpus: Gpus, report: SourceReport) -> Iterator[Rows]:
    """Read the series of an answer, of its bare result, or of an export of VictoriaMetrics.

    Raises
    ------
    InputError
        If it is cut off, is not JSON, Prometheus answered with an error, or no series of power or energy is in it.
    """
    samples, found = Samples(report, clock), False
    for line, labels, points in series_in(file, report.path):
        name = labels.get("__name__", "")
        meaning = meaning_of(name, labels)
        if meaning is None and not name:
            report.note("its series have no name (the query was an expression): they are taken for watts")
            meaning = Meaning("power", POWER_MW["W"])
        if meaning is None:
            report.note(f"left out: {name}")
            continue
        found = True
        gpu = gpu_of(labels, gpus)
        for time, value, unit in points:
            stamp = parse_number(str(time), unit)
            if stamp is None or value is None:
                report.rows += 1
                report.reject("no_time" if stamp is None else "not_available", line=line, text=f"{time} {value}")
                continue
            add(samples, gpus, (gpu, meaning), (stamp, str(value)), line)
            yield from samples.full()
    yield from samples.rest()
    if not found:
        raise InputError("it contains no series of GPU power or energy", report.path)


def series_in(file: TextIO, path: str) -> Iterator[tuple[int, dict[str, str], Iterator[tuple[Any, Any, str]]]]:
    """Yield each series of an answer, of its bare result, or of an export of VictoriaMetrics.

    Yields
    ------
    (int, dict, iterator of (time, value, str))
        The line, the labels (the name is ``__name__``), and the points, each with the unit of its time.

    Raises
    ------
    InputError
        If it is cut off, is not JSON, or Prometheus answered with an error.
    """
    values = JsonValues(file, path)
    begins = values.beginning()
    if '"status":"error"' in begins[:200].replace(" ", ""):
        raise InputError(f"Prometheus answered with an error: {' '.join(begins[:200].split())}", path)
    if _is_answer(begins) and not values.enter("result"):
        raise InputError("it is JSON, but not an answer of Prometheus with a result", path)
    for line, member in values:
        if not isinstance(member, dict):
            raise InputError("a member of the result is not a series", path, line)
        metric = member.get("metric")
        labels = {str(k): str(v) for k, v in metric.items()} if isinstance(metric, dict) else {}
        yield line, labels, _points(member)


def _points(member: dict[str, Any]) -> Iterator[tuple[Any, Any, str]]:
    """Yield time, value and the unit of time of each point: Prometheus pairs them, VictoriaMetrics has two arrays."""
    values, stamps = member.get("values", [member["value"]] if "value" in member else []), member.get("timestamps")
    if not isinstance(values, list):
        return
    if isinstance(stamps, list):
        yield from ((time, value, "ms") for value, time in zip_longest(values, stamps))
        return
    for point in values:
        pair = point if isinstance(point, list) and len(point) == 2 else (None, point)
        yield pair[0], pair[1], "s"


def _rows(log: LogFile) -> Iterator[Rows]:
    with open_lines(log.source.path) as file:
        yield from read_prometheus(file, log.clock(), log.gpus, log.report)


def _is_answer(text: str) -> bool:
    """Return whether it is a whole answer, not the series alone."""
    return text.lstrip()[:1] == "{" and not _SERIES.match(text.lstrip())


def _tells(head: Head) -> bool:
    if head.text.startswith("{") and ('"result' in head.text or '"status"' in head.text[:200]):
        return True
    return bool(_SERIES.match(head.text)) and '"value' in head.text


_SERIES = re.compile(r"[\[\s]*\{\s*\"metric\"\s*:\s*\{")
FORMAT = Format(
    name="prometheus-json",
    title="Prometheus `query_range` and `query` JSON, `promtool -o json`; VictoriaMetrics `/api/v1/export`",
    told_by="`result` in its first object, or objects that begin with `metric`",
    reads="power and energy by the names of DCGM, wattshed, nvidia_gpu_exporter; the two may be in two files",
    traps="series without a name (the query was an expression) are taken for watts",
    tells=_tells,
    rows=_rows,
    by_series=True,
)
