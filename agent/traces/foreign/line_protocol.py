"""InfluxDB's line protocol, which telegraf writes: its ``nvidia_smi`` plugin, and scrapes of exporters."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.quantities import scaled_text
from wattshed.agent.inputs.timestamps import parse_number
from wattshed.agent.inputs.unit_tables import ENERGY_MJ, POWER_MW
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

_WORD = r"(?:\\.|[^\s,=\\\"])+"
_VALUE = r"\"(?:\\.|[^\"\\])*\"|(?:\\.|[^\s,\"\\])+"
_LINE = re.compile(
    rf"(?:> )?(?P<name>{_WORD})(?P<tags>(?:,{_WORD}={_WORD})*) "
    rf"(?P<fields>{_WORD}=(?:{_VALUE})(?:,{_WORD}=(?:{_VALUE}))*)(?: (?P<stamp>-?\d+))?\s*$"
)
_PAIR = re.compile(rf"(?:^|,)({_WORD})=({_VALUE})")
_STATEMENT = re.compile(r"(?:CREATE|USE|INSERT)\b", re.IGNORECASE)
_OWN: Mapping[str, Meaning] = {
    "power_draw": Meaning("power", POWER_MW["W"]),
    "power_draw_instant": Meaning("instant", POWER_MW["W"]),
    "power_limit": Meaning("limit", POWER_MW["W"]),
    "utilization_gpu": Meaning("util", Fraction(1)),
}
_VALUES = {"value", "gauge", "counter"}
_MEASURED = {"power", "instant", "energy"}


def _pairs(text: str) -> dict[str, str]:
    return {re.sub(r"\\(.)", r"\1", name): re.sub(r"\\(.)", r"\1", value) for name, value in _PAIR.findall(text)}


def _meanings(name: str, fields: Mapping[str, str], tags: Mapping[str, str]) -> dict[str, tuple[Meaning, str]]:
    """Return the value of each kind of quantity of one line."""
    found: dict[str, tuple[Meaning, str]] = {}
    for field, value in fields.items():
        meaning = _OWN.get(field) if name == "nvidia_smi" else None
        meaning = meaning or meaning_of(name if field in _VALUES else field, tags)
        if meaning is not None:
            found.setdefault(meaning.kind, (meaning, value.strip('"').rstrip("iu")))
    return found


def read_lines(
    lines: Iterable[tuple[int, str]], clock: TimestampParser, gpus: Gpus, report: SourceReport
) -> Iterator[Rows]:
    """Read numbered lines.

    Raises
    ------
    InputError
        If no field of power or energy is in it.
    """
    samples, kinds = Samples(report, clock), set[str]()
    numbers: dict[str, int] = {}
    for number, line in lines:
        text = line.strip()
        if not text or text.startswith("#") or _STATEMENT.match(text):
            continue
        match = _LINE.match(text)
        if match is None:
            report.rows += 1
            report.reject("not_a_sample", line=number, text=text)
            continue
        tags = _pairs(match["tags"])
        found = _meanings(match["name"], _pairs(match["fields"]), tags)
        if not found.keys() & {*_MEASURED, "limit"}:
            continue
        kinds.update(found)
        gpu = numbers.get(match["tags"])
        if gpu is None:
            gpu = numbers[match["tags"]] = gpu_of(tags, gpus)
        if "limit" in found:
            gpus.describe(gpu, limit_mw=scaled_text(found["limit"][1], found["limit"][0].factor, {})[0])
        time_us = parse_number(match["stamp"] or "")
        if time_us is None:
            report.rows += 1
            report.reject("no_time", line=number, text=text)
            continue
        values = {kind: value for kind, (_, value) in found.items()}
        factors = {kind: meaning.factor for kind, (meaning, _) in found.items()}
        if values.keys() & _MEASURED:
            samples.add(
                gpu,
                (time_us, False),
                line=number,
                power=values.get("power"),
                energy=values.get("energy"),
                instant=values.get("instant"),
                util=values.get("util"),
                energy_unit=factors.get("energy", ENERGY_MJ["mJ"]),
                power_unit=factors.get("power", factors.get("instant", POWER_MW["W"])),
            )
        yield from samples.full()
    yield from samples.rest()
    if not kinds & _MEASURED:
        raise InputError("it contains no field of GPU power or energy (power_draw of nvidia_smi)", report.path)


def _tells(head: Head) -> bool:
    def fits(line: str) -> bool:
        match = _LINE.match(line)
        return match is not None and len((match["stamp"] or "").lstrip("-")) >= 10

    return not head.told and head.mostly(fits)


FORMAT = Format(
    name="line-protocol",
    title="InfluxDB's line protocol (telegraf)",
    told_by="`measurement,tag=... field=... time`",
    reads="`power_draw`, `power_limit`, `utilization_gpu` of `nvidia_smi`; DCGM's names where it scraped an exporter",
    traps="times are nanoseconds, or what their size says; other measurements are left out",
    tells=_tells,
    rows=by_line(read_lines),
)
