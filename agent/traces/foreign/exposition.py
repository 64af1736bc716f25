"""Prometheus text and OpenMetrics: one scrape of an exporter, many in a row, or a dump with times."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.quantities import scaled_text
from wattshed.agent.inputs.timestamps import parse_number
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

_LINE = re.compile(
    r"([a-zA-Z_:][\w:]*|(?=\{))(\{(?:[^\"}]|\"(?:[^\"\\]|\\.)*\")*\})?\s+(\S+)(?:\s+(\S+))?(?:\s+#.*)?\s*$"
)
_SAMPLE = re.compile(r"([a-zA-Z_:][\w:]*(\{.*\})?|\{.*\})\s+[-+]?(\d|NaN|Inf)\S*(\s+[-+]?\d\S*)?\s*$")
_LABEL = re.compile(r"([a-zA-Z_]\w*)\s*=\s*\"((?:[^\"\\]|\\.)*)\"")
_ESCAPES = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}
SCRAPE_US = 60_000_000  # scrapes without times are distinguished by this; nothing but their order is known


def labels_of(text: str) -> dict[str, str]:
    """Read ``{name="value",...}``."""
    return {name: re.sub(r"\\.", lambda m: _ESCAPES.get(m[0], m[0]), value) for name, value in _LABEL.findall(text)}


def read_exposition(
    lines: Iterable[tuple[int, str]], clock: TimestampParser, gpus: Gpus, report: SourceReport
) -> Iterator[Rows]:
    """Read numbered lines of either format; OpenMetrics counts time in seconds, Prometheus text in milliseconds.

    Raises
    ------
    InputError
        If no series of power or energy is in it, or several scrapes without time have power alone.
    """
    samples = Samples(report, clock)
    known: dict[tuple[str, str], tuple[Meaning, int] | None] = {}
    seen: set[tuple[str, str]] = set()
    scrape, timeless, kinds = 0, False, set[str]()
    for number, line in lines:
        if line.startswith("#") or not line.strip():
            continue
        match = _LINE.match(line)
        if match is None:
            report.rows += 1
            report.reject("not_a_sample", line=number, text=line.strip())
            continue
        name, label_text, value, stamp = match.groups()
        key = (name, label_text or "")
        if key not in known:
            labels = labels_of(key[1])
            meaning = meaning_of(name or labels.get("__name__", ""), labels)
            known[key] = (meaning, gpu_of(labels, gpus)) if meaning else None
        found = known[key]
        if found is None:
            continue
        meaning, gpu = found
        if stamp is None:
            if key in seen:
                scrape += 1
                seen.clear()
            seen.add(key)
            timeless, time_us = True, scrape * SCRAPE_US
        else:
            parsed = parse_number(stamp)
            if parsed is None:
                report.rows += 1
                report.reject("no_time", line=number, text=stamp)
                continue
            time_us = parsed
        kinds.add(meaning.kind)
        add(samples, gpus, (gpu, meaning), (time_us, value), number)
        yield from samples.full()
    yield from samples.rest()
    if not kinds & {"power", "instant", "energy"}:
        raise InputError("it contains no series of GPU power or energy", report.path)
    if timeless and scrape:
        if "energy" not in kinds:
            raise InputError("several scrapes without times: power cannot be integrated", report.path)
        report.note(
            "its scrapes have no times: they are taken to be a minute apart, and only energy from counters is right"
        )


def add(samples: Samples, gpus: Gpus, series: tuple[int, Meaning], point: tuple[int, str], line: int) -> None:
    """Add one point (us, text) of a series (GPU, meaning)."""
    gpu, meaning = series
    time_us, value = point
    if meaning.kind == "limit":
        gpus.describe(gpu, limit_mw=scaled_text(value, meaning.factor, {})[0])
    elif meaning.kind == "energy":
        samples.add(gpu, (time_us, False), line=line, energy=value, energy_unit=meaning.factor)
    elif meaning.kind == "instant":
        samples.add(gpu, (time_us, False), line=line, instant=value, power_unit=meaning.factor)
    else:
        samples.add(gpu, (time_us, False), line=line, power=value, power_unit=meaning.factor)


def _has_samples(head: Head) -> bool:
    return not head.told and head.mostly(_SAMPLE.match)


def _is_scrape(head: Head) -> bool:
    stamped = re.search(r"\}\s+\S+\s+\d{9,}", head.data[0]) if head.data else None
    return _has_samples(head) and "DCGM_FI_" in head.text and "# EOF" not in head.text and not stamped


def _is_samples(head: Head) -> bool:
    commented = not head.data and any(line.startswith(("# TYPE", "# HELP")) for line in head.lines)
    return _has_samples(head) or commented


SCRAPE = Format(
    name="dcgm-exporter",
    title="a scrape of dcgm-exporter, or several in a row",
    told_by="names that begin with `DCGM_FI_`",
    reads="energy from the counter; power of a single scrape",
    traps="scrapes have no times: only energy from counters is right",
    tells=_is_scrape,
    rows=by_line(read_exposition),
)
SAMPLES = Format(
    name="openmetrics",
    title="OpenMetrics, Prometheus text, `promtool tsdb dump`",
    told_by="lines of samples",
    reads="power and energy by the names of DCGM, wattshed, nvidia_gpu_exporter",
    traps="times are seconds in OpenMetrics, milliseconds in Prometheus text: told by their size",
    tells=_is_samples,
    rows=by_line(read_exposition),
    by_series=True,
)
