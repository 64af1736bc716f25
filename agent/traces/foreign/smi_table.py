"""What plain ``nvidia-smi`` prints, over and over: ``-l``, ``watch``, or a loop with ``sleep`` around it.

The date above each table is its time. It counts whole seconds: of several tables in one second each gets an equal part.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.line_stamps import date_of, prefix_of_file, stamped_lines
from wattshed.agent.inputs.quantities import scaled_text
from wattshed.agent.inputs.text import head_of
from wattshed.agent.inputs.timestamps import parse_number, parse_text
from wattshed.agent.inputs.unit_tables import POWER_MW
from wattshed.agent.traces.foreign.format import Format
from wattshed.agent.traces.foreign.round_times import NOTE
from wattshed.agent.traces.foreign.samples import Samples

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from wattshed.agent.inputs.line_stamps import Stamped
    from wattshed.agent.inputs.report import SourceReport
    from wattshed.agent.inputs.timestamps import TimestampParser
    from wattshed.agent.traces.foreign.format import Head, LogFile
    from wattshed.agent.traces.foreign.gpus import Gpus
    from wattshed.agent.traces.foreign.rows import Rows

_STYLE = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|\([A-Z0-9]|[=>78])|[\x0e\x0f]")
_PLACED = re.compile(r"\x1b\[\d+(?:;\d+)?[Hd]")
_TITLE = re.compile(r"\|\s*NVIDIA-SMI\s+[\d.]+\S*(?:.*?(?:Driver|KMD) Version:\s*([\d.]+))?")
_GPU = re.compile(
    r"\|\s*(\d{1,3})\.?\s+(\S.*?)\s*\|\s*((?:[0-9A-Fa-f]{4,8}:)?[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-7])(?=[\s|])"
)
_MODE = re.compile(r"\s+(?:On|Off|N/A|WDDM|TCC|MCDM|ERR!)$")
_ABSENT = r"\[?(?:N/A|ERR!|Unknown Error|Not Supported)\]?"
_WATTS = re.compile(rf"(?:^|[\s|])({_ABSENT}|[\d.]+\s*W)\s*/\s*({_ABSENT}|[\d.]+\s*W)?\s*$")
_UTIL = re.compile(r"\s*(\d+)\s*%")
_WATCHED = re.compile(r"Every [\d.,]+s?: .*?([A-Z][a-z]{2} .*)$")
_MOST_PLACED = 3  # a screen begins with one
_SECOND_US = 1_000_000


@dataclass(slots=True)
class _Table:
    """One table: its time, and what stands in it of each GPU: (number, line, power, utilisation)."""

    stamp: tuple[int, bool] | None
    line: int
    gpus: list[tuple[int, int, str, str | None]] = field(default_factory=list)


def _date_in(text: str) -> tuple[int, bool] | None:
    """Read a line that is a date and nothing else, as nvidia-smi, ``date`` and ``watch`` write it."""
    text = text.strip()
    if watched := _WATCHED.match(text):
        text = watched[1]
    if not 10 <= len(text) <= 40 or text.startswith(("|", "+")):
        return None
    if text.replace(".", "", 1).isdecimal():
        number = parse_number(text)
        return None if number is None else (number, False)
    return date_of(text) or parse_text(text)


class SmiTables:
    """Follows the tables of one log.

    Parameters
    ----------
    clock : TimestampParser
    gpus : Gpus
    report : SourceReport
    period_us : int, us
        How far tables without a time are apart; 0: they cannot be used.
    """

    def __init__(self, clock: TimestampParser, gpus: Gpus, report: SourceReport, period_us: int = 0) -> None:
        self._samples = Samples(report, clock)
        self._gpus, self._report = gpus, report
        self._held: list[_Table] = []
        self._date: tuple[int, bool] | None = None
        self._table: _Table | None = None
        self._gpu = -1
        self._driver = ""
        self._period_us = period_us
        self.undated = 0

    def rows(self, lines: Iterable[Stamped], *, stamped: bool) -> Iterator[Rows]:
        """Read lines; ``stamped``: what stands before each is its time."""
        named = self._gpus.host
        for line in lines:
            self._gpus.host = named or line.host
            text = _STYLE.sub("", line.text).strip()
            if title := _TITLE.search(text):
                self._begin(line.stamp if stamped else self._date, line.number)
                self._driver = title[1] or self._driver
                self._date = None
            elif self._table is not None and text.startswith("|"):
                self._cells(line.number, text)
            elif found := _date_in(text):
                self._date = found
            yield from self._samples.full()
        self._flush()
        yield from self._samples.rest()

    def _begin(self, stamp: tuple[int, bool] | None, line: int) -> None:
        if stamp is None and self._period_us:
            stamp = self.undated * self._period_us, False
        self.undated += stamp is None or self._period_us > 0
        if self._held and self._held[-1].stamp != stamp:
            self._flush()
        self._table, self._gpu = _Table(stamp, line), -1
        self._held.append(self._table)

    def _cells(self, number: int, text: str) -> None:
        if match := _GPU.match(text):
            name = _MODE.sub("", match[2])
            self._gpu = self._gpus.number(index=int(match[1]), pci=match[3], model=name)
            self._gpus.describe(self._gpu, driver=self._driver)
            return
        cells = text.strip("|").split("|")
        power = _WATTS.search(cells[0]) if self._gpu >= 0 else None
        if power is None or self._table is None:
            return
        util = _UTIL.match(cells[2]) if len(cells) > 2 else None
        if power[2]:
            self._gpus.describe(self._gpu, limit_mw=scaled_text(power[2], POWER_MW["W"], POWER_MW)[0])
        self._table.gpus.append((self._gpu, number, power[1], util[1] if util else None))
        self._gpu = -1

    def _flush(self) -> None:
        """Add the tables of one time; whole seconds are divided among them."""
        several = len(self._held)
        for i, table in enumerate(self._held):
            for gpu, line, power, util in table.gpus:
                if table.stamp is None:
                    self._report.rows += 1
                    self._report.reject("no_time", line=line)
                    continue
                time_us, naive = table.stamp
                part = _SECOND_US * i // several if time_us % _SECOND_US == 0 else 0
                self._samples.add(gpu, (time_us + part, naive), line=line, power=power, util=util)
        self._held = []


def _read(log: LogFile) -> Iterator[Rows]:
    if len(_PLACED.findall(head_of(log.source.path))) > _MOST_PLACED:
        raise InputError(
            "it is what watch drew on a screen, only what changed from table to table; log with `nvidia-smi -l 1`",
            log.report.path,
        )
    prefix = prefix_of_file(log.source.path)
    if prefix is not None and prefix.note:
        log.report.note(prefix.note)
    dated = prefix is not None or any(map(_date_in, head_of(log.source.path).splitlines()))
    tables = SmiTables(log.clock(), log.gpus, log.report, 0 if dated else log.options.period_us)
    yield from tables.rows(stamped_lines(log.source.path), stamped=prefix is not None)
    if tables.undated and log.report.rows == log.report.rejected["no_time"]:
        raise InputError(
            "its tables have no times: the date that nvidia-smi prints above each is missing; say how far they are "
            "apart (--period), keep that line, or log with --query-gpu=timestamp,index,power.draw --format=csv",
            log.report.path,
        )
    if tables.undated and not dated and log.options.period_us:
        log.report.note(NOTE.format(log.options.period_us / 1e6))


def _tells(head: Head) -> bool:
    if head.told or "NVIDIA-SMI" not in head.text:
        return False
    lines = head.bare.lines
    return any(map(_TITLE.search, lines)) and any("Usage" in line and "Fan" in line for line in lines)


FORMAT = Format(
    name="nvidia-smi-table",
    title="tables of plain `nvidia-smi`: `-l`, `watch`, a loop",
    told_by="`NVIDIA-SMI` and its version in a frame",
    reads="`Pwr:Usage`, the limit, `GPU-Util`; GPU by PCI address; time from the date above each table",
    traps="whole watts and whole seconds (tables of one second are spread over it); without dates `--period` says how "
    "far tables are apart; processes are left out",
    tells=_tells,
    rows=_read,
)
