"""Answers of Prometheus' HTTP API (``query_range``, ``query``) as files, read series by series.

https://prometheus.io/docs/prometheus/latest/querying/api/#range-queries
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TextIO

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.quantities import POWER_MW
from wattshed.agent.inputs.text import open_lines
from wattshed.agent.inputs.timestamps import parse_number
from wattshed.agent.traces.foreign.exposition import add
from wattshed.agent.traces.foreign.format import Format
from wattshed.agent.traces.foreign.samples import Samples
from wattshed.agent.traces.foreign.series import Meaning, gpu_of, meaning_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wattshed.agent.inputs.report import SourceReport
    from wattshed.agent.inputs.timestamps import TimestampParser
    from wattshed.agent.traces.foreign.format import Reading
    from wattshed.agent.traces.foreign.gpus import Gpus
    from wattshed.agent.traces.foreign.rows import Rows

_CHUNK = 1 << 20
_LARGEST_SERIES = 256 << 20


def series_of(file: TextIO, path: str) -> Iterator[dict[str, Any]]:
    """Yield the members of the ``result`` array one by one, without holding the whole answer.

    Raises
    ------
    InputError
        If it is cut off, is not JSON, or Prometheus answered with an error.
    """
    text = file.read(_CHUNK)
    if '"status":"error"' in text[:200].replace(" ", ""):
        raise InputError(f"Prometheus answered with an error: {' '.join(text[:200].split())}", path)
    at = text.find('"result"')
    if at < 0 or text.find("[", at) < 0:
        raise InputError("it is JSON, but not an answer of Prometheus with a result", path)
    decoder = json.JSONDecoder(parse_float=str, parse_int=str)
    at = text.find("[", at) + 1
    while True:
        while at < len(text) and text[at] in " \t\r\n,":
            at += 1
        if at < len(text) and text[at] == "]":
            return
        try:
            member, end = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            more = file.read(_CHUNK)
            if not more or len(text) - at > _LARGEST_SERIES:
                raise InputError(f"the JSON is cut off or damaged ({error.msg})", path) from error
            text, at = text[at:] + more, 0
            continue
        except RecursionError as error:
            raise InputError("the JSON is nested too deeply", path) from error
        if not isinstance(member, dict):
            raise InputError("a member of the result is not a series", path)
        yield member
        text, at = text[end:], 0


def read_prometheus(file: TextIO, clock: TimestampParser, gpus: Gpus, report: SourceReport) -> Iterator[Rows]:
    """Read a matrix or vector.

    Raises
    ------
    InputError
        See `series_of`; also if no series of power or energy is in it.
    """
    samples = Samples(report, clock)
    found = False
    for member in series_of(file, report.path):
        metric = member.get("metric")
        labels = {str(k): str(v) for k, v in metric.items()} if isinstance(metric, dict) else {}
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
        values = member.get("values", [member["value"]] if "value" in member else [])
        for point in values if isinstance(values, list) else []:
            stamp = parse_number(str(point[0]), "s") if isinstance(point, list) and len(point) == 2 else None
            if stamp is None:
                report.rows += 1
                report.reject("no_time", text=str(point))
                continue
            add(samples, gpus, (gpu, meaning), (stamp, str(point[1])), 0)
            yield from samples.full()
    yield from samples.rest()
    if not found:
        raise InputError("it contains no series of GPU power or energy", report.path)


def _rows(reading: Reading) -> Iterator[Rows]:
    with open_lines(reading.source.path) as file:
        yield from read_prometheus(file, reading.clock(), reading.gpus, reading.report)


FORMAT = Format(
    name="prometheus-json",
    title="Prometheus `query_range` JSON",
    told_by="`result` or `status` in its first object",
    reads="power and energy by the names of DCGM, wattshed, nvidia_gpu_exporter; the two may be in two files",
    traps="series without a name (the query was an expression) are taken for watts",
    tells=lambda head: head.text.startswith("{") and ('"result' in head.text or '"status"' in head.text),
    rows=_rows,
)
