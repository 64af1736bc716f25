"""Lines of column monitors: ``nvidia-smi dmon``, ``nvidia-smi pmon`` and ``dcgmi dmon``.

Their header (``# gpu pwr ...``) names the columns and is repeated on every screen. Date and time stand there only if
they were asked for (``-o DT``); else what somebody wrote before each line is its time (``ts``, a journal), and without
that a round of rows is taken for one second, which is their usual pace.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.timestamps import parse_text
from wattshed.agent.traces.foreign.samples import Samples
from wattshed.agent.window import MISSING
from wattshed.kernels.word_rows import LARGEST_INDEX, count_rounds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from wattshed.agent.inputs.line_stamps import Stamped
    from wattshed.agent.inputs.report import SourceReport
    from wattshed.agent.inputs.timestamps import TimestampParser
    from wattshed.agent.traces.foreign.gpus import Gpus
    from wattshed.agent.traces.foreign.rows import Rows

_ROUND_US = 1_000_000
_DAY_US = 86_400_000_000
_LONGEST_PID = 10
_UNITS = {"id", "idx"}
"""Words that a line of units begins with, where it has no ``#``."""
OF_WORDS = {"command", "name"}
"""Last columns that may hold several words, or none."""
_ENTITY = re.compile(r"(?:GPU|gpu)[\s:-]*(\d+)$")


@dataclass(frozen=True, slots=True)
class NumberedRows:
    """Rows that were read from their bytes.

    Attributes
    ----------
    line : int64[n]
        1-based.
    numbers : mapping of name -> int64[n]
        ``gpu`` and what `Samples.add_all` takes.
    """

    line: NDArray[np.int64]
    numbers: Mapping[str, NDArray[np.int64]]


class MonitorReader:
    """Reads the lines of one of the three.

    Parameters
    ----------
    clock : TimestampParser
    gpus : Gpus
    report : SourceReport
    is_stamped : bool
        What stands before lines is their time.

    Attributes
    ----------
    columns : list of str
        What the last header names; empty before one.
    samples : Samples
    stamp : (int, bool) or None
        Of the row that was read last; None if it was none, or lacks it.
    """

    def __init__(self, clock: TimestampParser, gpus: Gpus, report: SourceReport, *, is_stamped: bool = False) -> None:
        self._gpus, self._report = gpus, report
        self.samples = Samples(report, clock)
        self.columns: list[str] = []
        self.stamp: tuple[int, bool] | None = None
        self._rounds, self._numbers = _Rounds(), dict[str, dict[int, int]]()
        self._period_us = clock.period_us
        self._day_us, self._last_time_us = 0, -1
        self._is_stamped = is_stamped
        self._named = gpus.host
        self._useful = False

    def line(self, line: Stamped) -> None:
        """Read a line: what stood before it is the time of rows that have none of their own."""
        self._gpus.host = self._named or line.host
        self.stamp = None
        text = line.text.strip()
        if text.startswith("#"):
            self._header(text)
            self._useful |= bool({"pwr", "power", "totec", "pid"} & set(self.columns))
        elif text and self.columns:
            self._row(line.number, text, line.stamp)

    def says_nothing_new(self, text: str) -> bool:
        """Return whether a line that was read changes nothing when it comes again below the same header."""
        if text.startswith("#"):
            return True
        return _first_word(text) in _UNITS and self.columns[:1] in (["gpu"], ["entity"])

    def rows(self, host: str, stamps: tuple[NDArray[np.int64], bool] | None, rows: NumberedRows) -> None:
        """Book rows that were read from their bytes.

        Parameters
        ----------
        host : str
            That stood before them.
        stamps : (int64[n], bool) or None
            Their times, and whether these are local; None where they have none.
        rows : NumberedRows
        """
        self._gpus.host = self._named or host
        index = rows.numbers["gpu"]
        pids = rows.numbers.get("pid")
        if stamps is None:
            stamps = self._rounds.of_all(index, pids) * (self._period_us or _ROUND_US), False
        elif "date" not in self.columns and "time" in self.columns:
            self._last_time_us = int(stamps[0][-1]) - self._day_us
        number = np.full(LARGEST_INDEX + 1, -1, np.int64)
        there = set(np.flatnonzero(np.bincount(index)).tolist())
        known = self._numbers.setdefault(self._gpus.host, {})
        for gpu in sorted(there - known.keys(), key=lambda gpu: int(np.argmax(index == gpu))):
            known[gpu] = self._gpus.number(index=gpu)
        number[list(there)] = [known[gpu] for gpu in there]
        numbers = {name: values for name, values in rows.numbers.items() if name != "gpu"}
        (times, naive), line = stamps, rows.line
        if pids is not None and not (chosen := pids >= 0).all():
            index, times, line = index[chosen], times[chosen], line[chosen]
            numbers = {name: values[chosen] for name, values in numbers.items()}
        self.samples.add_all(number[index], times, naive=naive, line=line, numbers=numbers)

    def end(self) -> Iterator[Rows]:
        """Give out what is left.

        Raises
        ------
        InputError
            If there was neither power nor energy nor a process in it.
        """
        yield from self.samples.rest()
        if not self._useful:
            raise InputError("it has no column of power or energy", self._report.path, 1)

    def _header(self, text: str) -> None:
        names = [name for name in re.split(r"[\s,]+", text.lstrip("# ").lower()) if name]
        if {"gpu", "entity"} & set(names):
            self.columns = names

    def _row(self, number: int, text: str, before: tuple[int, bool] | None) -> None:
        columns = self.columns
        cells = cells_of(text)
        if columns[0] == "entity" and len(cells) > 1 and cells[0].lower() == "gpu":
            cells = [f"GPU {cells[1]}", *cells[2:]]  # "GPU 0" is two words
        if len(cells) < len(columns) - (columns[-1] in OF_WORDS):
            if cells[0].lower() not in _UNITS:
                self._reject("wrong_number_of_columns", number, text)
            return
        row = dict(zip(columns, cells, strict=False))
        name = row.get("gpu", row.get("entity", ""))
        match = _ENTITY.match(name)
        index = int(name) if name.isdecimal() else int(match[1]) if match else -1
        if index < 0:
            if name.lower() not in _UNITS:
                self._reject("unknown_gpu", number, text)
            return
        stamp = self._stamp(row, index, before)
        if stamp is None:
            self._reject("no_time", number, text)
            return
        self.stamp = stamp
        gpu = self._gpus.number(index=index)
        if "pid" in row:
            if (pid := _pid(row["pid"])) >= 0:
                self.samples.add(gpu, stamp, line=number, util=row.get("sm"), pid=pid)
            return
        self.samples.add(
            gpu,
            stamp,
            line=number,
            power=row.get("pwr", row.get("power")),
            energy=row.get("totec"),
            util=row.get("sm", row.get("gputl")),
        )

    def _reject(self, reason: str, number: int, text: str) -> None:
        self._report.rows += 1
        self._report.reject(reason, line=number, text=text)

    def _stamp(self, row: dict[str, str], index: int, before: tuple[int, bool] | None) -> tuple[int, bool] | None:
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
        if self._is_stamped:
            return before
        pid = row.get("pid", "")
        count = self._rounds.of(index, _pid(pid) if _pid(pid) >= 0 or pid in {"", "-"} else pid)
        if not self._period_us:
            said = "rounds are taken for one second each (--period)"
            self._report.note(f"it has no times (dmon -o DT writes them); {said}")
        return count * (self._period_us or _ROUND_US), False


class _Rounds:
    """Counts rounds: where a GPU, or a process of it, comes again, a new one has begun."""

    def __init__(self) -> None:
        self._count = -1
        self._last = np.full(LARGEST_INDEX + 1, -1, np.int64)  # of GPUs
        self._others: dict[tuple[int, int | str], int] = {}  # of processes

    def of(self, gpu: int, pid: int | str) -> int:
        """Return the round of a row; ``pid`` is -1 for none."""
        is_plain = pid == MISSING and gpu <= LARGEST_INDEX
        last = int(self._last[gpu]) if is_plain else self._others.get((gpu, pid), -1)
        if last == self._count:
            self._count += 1
            self._others.clear()
        if is_plain:
            self._last[gpu] = self._count
        else:
            self._others[gpu, pid] = self._count
        return self._count

    def of_all(self, gpus: NDArray[np.int64], pids: NDArray[np.int64] | None) -> NDArray[np.int64]:
        """Return the round of each of some rows: int64[n]."""
        if pids is not None:
            return np.array([*map(self.of, gpus.tolist(), pids.tolist())], np.int64)
        rounds = np.empty(gpus.size, np.int64)
        self._count = count_rounds(np.ascontiguousarray(gpus), self._count, self._last, rounds)
        return rounds


def cells_of(text: str) -> list[str]:
    """Split a row at its commas, else at its blanks."""
    return [cell.strip() for cell in text.split(",")] if "," in text else text.split()


def _first_word(text: str) -> str:
    return cells_of(text)[0].lower() if text else ""


def _pid(text: str) -> int:
    """Read the number of a process; -1 if it is none."""
    return int(text) if text.isdecimal() and len(text) <= _LONGEST_PID else -1
