"""Logs of SPEC's PTDaemon, as MLPerf's power measurements hand them in (``spl.txt``): what a power analyser saw.

The analyser is connected to a whole system, so these are no GPU's watts. Pairs of names and values follow each other;
those of the channels repeat the names of the whole.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from wattshed.agent.inputs.line_stamps import stamped_lines
from wattshed.agent.inputs.timestamps import parse_number, parse_text
from wattshed.agent.traces.foreign.format import Format
from wattshed.agent.traces.foreign.samples import Samples

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wattshed.agent.traces.foreign.format import Head, LogFile
    from wattshed.agent.traces.foreign.rows import Rows

_LINE = re.compile(r"\s*Time\s*,\s*([^,]+?)\s*,\s*Watts\s*,\s*([^,]*?)\s*(?:,(?P<rest>.*))?$")
_MARK = re.compile(r"(?:^|,)\s*Mark\s*,\s*([^,]*)")
_METER = "power analyser"
_SHOWN = 3


def _stamp(text: str) -> tuple[int, bool] | None:
    found = parse_text(text, month_first=True)
    if found is not None:
        return found
    number = parse_number(text)
    return None if number is None else (number, False)


def _read(log: LogFile) -> Iterator[Rows]:
    samples, marks = Samples(log.report, log.clock()), dict[str, None]()
    meter = log.gpus.number(index=0, model=_METER)
    log.report.note(f"its power is that of what the {_METER} is connected to, not of GPUs; it is read as one meter")
    for line in stamped_lines(log.source.path):
        match = _LINE.match(line.text)
        if match is None:
            if line.text.strip():
                log.report.rows += 1
                log.report.reject("wrong_number_of_columns", line=line.number, text=line.text.strip())
            continue
        stamp = _stamp(match[1])
        if stamp is None:
            log.report.rows += 1
            log.report.reject("no_time", line=line.number, column=2, text=match[1])
            continue
        if mark := _MARK.search(match["rest"] or ""):
            marks[mark[1].strip()] = None
        samples.add(meter, stamp, line=line.number, power=match[2], column=4)
        yield from samples.full()
    yield from samples.rest()
    if len(marks) > 1:
        shown = ", ".join(list(marks)[:_SHOWN]) + (", ..." if len(marks) > _SHOWN else "")
        log.report.note(f"it has {len(marks)} runs one after the other, all of which count ({shown})")


def _tells(head: Head) -> bool:
    return not head.told and head.bare.mostly(_LINE.match)


FORMAT = Format(
    name="ptdaemon",
    title="PTDaemon (`spl.txt` of MLPerf Power)",
    told_by="`Time,...,Watts,...` in each line",
    reads="the first `Watts` of a line, which is of all channels",
    traps="a whole system, at the wall; -1 is no reading; dates have the month first",
    tells=_tells,
    rows=_read,
    boundary="system on a power analyser",
)
