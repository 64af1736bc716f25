"""Column monitors: ``nvidia-smi dmon``, ``nvidia-smi pmon`` and ``dcgmi dmon``.

Their header (``# gpu pwr ...``) names the columns and is repeated on every screen. Date and time stand there only if
they were asked for (``-o DT``); without them a round of rows is taken for one second, which is their usual pace.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.dialect import split
from wattshed.agent.inputs.timestamps import parse_text
from wattshed.agent.traces.foreign.dated_monitors import by_dated_line
from wattshed.agent.traces.foreign.format import Format
from wattshed.agent.traces.foreign.samples import Samples

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from wattshed.agent.inputs.report import SourceReport
    from wattshed.agent.inputs.timestamps import TimestampParser
    from wattshed.agent.traces.foreign.format import Head
    from wattshed.agent.traces.foreign.gpus import Gpus
    from wattshed.agent.traces.foreign.rows import Rows

_ROUND_US = 1_000_000
_DAY_US = 86_400_000_000
_LONGEST_PID = 10
_ENTITY = re.compile(r"(?:GPU|gpu)[\s:-]*(\d+)$")


class MonitorReader:
    """Reads the lines of one of the three.

    Parameters
    ----------
    clock : TimestampParser
    gpus : Gpus
    report : SourceReport
    start_us : int, us
        Time of the first round where the lines have no time of their own.
    """

    def __init__(self, clock: TimestampParser, gpus: Gpus, report: SourceReport, start_us: int = 0) -> None:
        self._gpus, self._report = gpus, report
        self._samples = Samples(report, clock)
        self._columns: list[str] = []
        self._start_us, self._round = start_us, -1
        self._period_us = clock.period_us
        self._seen: set[tuple[int, str]] = set()
        self._day_us, self._last_time_us = 0, -1

    def rows(self, lines: Iterable[tuple[int, str]]) -> Iterator[Rows]:
        """Read numbered lines.

        Raises
        ------
        InputError
            If there is neither power nor energy nor a process in it.
        """
        useful = False
        for number, line in lines:
            text = line.strip()
            if not text:
                continue
            if text.startswith("#"):
                self._header(text)
                useful |= bool({"pwr", "power", "totec", "pid"} & set(self._columns))
                continue
            if self._columns:
                self._row(number, text)
                yield from self._samples.full()
        yield from self._samples.rest()
        if not useful:
            raise InputError("it has no column of power or energy", self._report.path, 1)

    def _header(self, text: str) -> None:
        names = [name for name in re.split(r"[\s,]+", text.lstrip("# ").lower()) if name]
        if {"gpu", "entity"} & set(names):
            self._columns = names

    def _row(self, number: int, text: str) -> None:
        cells = [cell.strip() for cell in text.split(",")] if "," in text else text.split()
        if self._columns[0] == "entity" and len(cells) > 1 and cells[0].lower() == "gpu":
            cells = [f"GPU {cells[1]}", *cells[2:]]  # "GPU 0" is two words
        if len(cells) < len(self._columns) - (self._columns[-1] in {"command", "name"}):
            if cells[0].lower() not in {"id", "idx"}:
                self._report.rows += 1
                self._report.reject("wrong_number_of_columns", line=number, text=text)
            return
        row = dict(zip(self._columns, cells, strict=False))
        name = row.get("gpu", row.get("entity", ""))
        match = _ENTITY.match(name)
        index = int(name) if name.isdecimal() else int(match[1]) if match else -1
        if index < 0:
            if name.lower() not in {"id", "idx"}:
                self._report.rows += 1
                self._report.reject("unknown_gpu", line=number, text=text)
            return
        stamp = self._stamp(row, index)
        if stamp is None:
            self._report.rows += 1
            self._report.reject("no_time", line=number, text=text)
            return
        gpu = self._gpus.number(index=index)
        if "pid" in row:
            if row["pid"].isdecimal() and len(row["pid"]) <= _LONGEST_PID:
                self._samples.add(gpu, stamp, line=number, util=row.get("sm"), pid=int(row["pid"]))
            return
        self._samples.add(
            gpu,
            stamp,
            line=number,
            power=row.get("pwr", row.get("power")),
            energy=row.get("totec"),
            util=row.get("sm", row.get("gputl")),
        )

    def _stamp(self, row: dict[str, str], index: int) -> tuple[int, bool] | None:
        if "time" in row:
            date = row.get("date", "")
            day = f"{date[:4]}-{date[4:6]}-{date[6:8]}" if date.isdecimal() and len(date) == 8 else date
            found = parse_text(f"{day or '1970-01-01'} {row['time']}")
            if found is None or day:
                return found
            if found[0] < self._last_time_us - _DAY_US // 2:  # past midnight
                self._day_us += _DAY_US
            self._last_time_us = found[0]
            self._report.note("it has times without a date (dmon -o DT writes both); the day is taken for 1970-01-01")
            return found[0] + self._day_us, True
        what = (index, row.get("pid", ""))
        if what in self._seen or self._round < 0:  # it comes again, so a new round has begun
            self._round += 1
            self._seen.clear()
        self._seen.add(what)
        if not self._period_us:
            said = "rounds are taken for one second each (--period)"
            self._report.note(f"it has no times (dmon -o DT writes them); {said}")
        return self._start_us + self._round * (self._period_us or _ROUND_US), False


def read_monitor(
    lines: Iterable[tuple[int, str]], clock: TimestampParser, gpus: Gpus, report: SourceReport
) -> Iterator[Rows]:
    """Read numbered lines, see `MonitorReader`."""
    yield from MonitorReader(clock, gpus, report).rows(lines)


def _columns(head: Head) -> list[set[str]]:
    """Return the names of columns in its header lines, first words first."""
    return [
        set(line.lstrip("#").lower().split() if "," not in line else split(line.lstrip("# ").lower(), ","))
        for line in head.bare.lines[:40]
        if line.startswith("#") and not head.told
    ]


_TIMES = "without times (`-o DT` writes them, `ts` or a journal before each line), a round counts as one second"
PMON = Format(
    name="nvidia-smi-pmon",
    title="`nvidia-smi pmon`",
    told_by="`# gpu` and `pid` in its header",
    reads="processes and their utilisation, beside power from another file",
    traps=_TIMES,
    tells=lambda head: any({"gpu", "pid"} <= names for names in _columns(head)),
    rows=by_dated_line(read_monitor),
)
DMON = Format(
    name="nvidia-smi-dmon",
    title="`nvidia-smi dmon`",
    told_by="`# gpu` and `pwr` in its header",
    reads="power and utilisation",
    traps=_TIMES,
    tells=lambda head: any("gpu" in names and names & {"pwr", "sm"} for names in _columns(head)),
    rows=by_dated_line(read_monitor),
)
DCGMI = Format(
    name="dcgmi-dmon",
    title="`dcgmi dmon`",
    told_by="`#Entity` in its header",
    reads="fields POWER and TOTEC",
    traps=_TIMES,
    tells=lambda head: any("entity" in names for names in _columns(head)),
    rows=by_dated_line(read_monitor),
)
