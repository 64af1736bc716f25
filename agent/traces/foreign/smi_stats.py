"""``nvidia-smi stats``: the driver's own samples, each with its microsecond."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.line_stamps import stamped_lines
from wattshed.agent.inputs.timestamps import parse_number
from wattshed.agent.traces.foreign.format import Format
from wattshed.agent.traces.foreign.samples import Samples

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wattshed.agent.traces.foreign.format import Head, LogFile
    from wattshed.agent.traces.foreign.rows import Rows

_LINE = re.compile(r"\s*(\d{1,3})\s*,\s*([A-Za-z]{3,12})\s*,\s*(\d{13,19})\s*,\s*(\S.*?)\s*$")
_POWER = "pwrDraw"
_OTHERS = {"gpuUtil", "temp", "memUtil", "encUtil", "decUtil", "violPwr", "violThm", "procClk", "memClk", "pState"}


def _read(log: LogFile) -> Iterator[Rows]:
    samples, found = Samples(log.report, log.clock()), False
    for line in stamped_lines(log.source.path):
        match = _LINE.match(line.text)
        if match is None:
            if line.text.strip():
                log.report.rows += 1
                log.report.reject("wrong_number_of_columns", line=line.number, text=line.text.strip())
            continue
        if match[2] != _POWER:
            continue
        found = True
        time_us = parse_number(match[3], "us")
        if time_us is None:
            log.report.rows += 1
            log.report.reject("no_time", line=line.number, text=match[3])
            continue
        gpu = log.gpus.number(host=line.host, index=int(match[1]))
        samples.add(gpu, (time_us, False), line=line.number, power=match[4], column=4)
        yield from samples.full()
    yield from samples.rest()
    if not found:
        raise InputError(f"it contains no {_POWER} (nvidia-smi stats -d {_POWER})", log.report.path)


def _is_stats(line: str) -> bool:
    match = _LINE.match(line)
    return match is not None and match[2] in {_POWER, *_OTHERS}


def _tells(head: Head) -> bool:
    return not head.told and head.bare.mostly(_is_stats)


FORMAT = Format(
    name="nvidia-smi-stats",
    title="`nvidia-smi stats`",
    told_by="rows of a GPU, the name of a quantity, microseconds and a value",
    reads="`pwrDraw`",
    traps="",
    tells=_tells,
    rows=_read,
)
