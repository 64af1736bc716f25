"""``nvidia-smi -q`` as text.

A loop writes the same report again and again, and only stamp, power and utilization differ. So a report that was read
line by line is the pattern for those behind it, and one that fits it is not looked at but for these cells.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from wattshed.agent.inputs.line_stamps import Stamped
from wattshed.agent.inputs.timestamps import parse_text
from wattshed.agent.traces.foreign.smi_facts import ReportedGpus
from wattshed.agent.window import MISSING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from wattshed.agent.inputs.chosen_lines import Chosen
    from wattshed.agent.inputs.report import SourceReport
    from wattshed.agent.inputs.timestamps import TimestampParser
    from wattshed.agent.traces.foreign.gpus import Gpus
    from wattshed.agent.traces.foreign.rows import Rows
    from wattshed.agent.traces.foreign.smi_facts import Fact

TITLE = "NVSMI LOG"
_DEEPEST = 8
_GPU = re.compile(r"GPU ([0-9A-Fa-f:.]+)$")
_TITLE_LINE = re.compile(rf"=+{TITLE}=+\n")
_DATE_AND_TIME = r"([A-Z][a-z]{2} [A-Z][a-z]{2} [ 0-9][0-9]) ([0-9]{2}):([0-9]{2}):([0-9]{2}) ([0-9]{4})\n"
_STAMP_CELLS = 5
_STAMP = re.compile("(Timestamp +: )" + _DATE_AND_TIME)
_WATTS = re.compile(r"(.* : )[0-9]{1,6}\.[0-9]{2}( W\n)"), r"([0-9]{1,6}\.[0-9]{2})", 10  # mW for 1 in the last digit
_PERCENT = re.compile(r"(.* : )[0-9]{1,3}( %\n)"), r"([0-9]{1,3})", 10_000  # ppm
_LEARNED = 64  # patterns at most: to make one takes as long as to read some reports
_LONGEST = 20_000  # lines of a report that becomes a pattern


class _Read(NamedTuple):
    """A GPU of a report, and the lines on which its readings stand, -1 without one."""

    gpu: int
    line: int
    power: int
    instant: int
    util: int


class _Lines:
    """Reads reports line by line; sections are recognised by their indentation."""

    def __init__(self, out: ReportedGpus, gpus: Gpus, *, by_stamps: bool) -> None:
        self._out, self._gpus, self._by_stamps, self._named = out, gpus, by_stamps, gpus.host
        self._pci, self._at, self._section = "", 0, ""
        self._facts: dict[Fact, str] = {}
        self._lines: dict[Fact, int] = {}
        self.read: list[_Read] = []  # of the report so far

    def line(self, line: Stamped) -> None:
        """Read one."""
        text = line.text
        key, colon, value = text.partition(" : ")
        depth = len(text) - len(text.lstrip())
        name = key.strip().lower()
        if not name:
            return
        if not depth:
            self.end()
            self._section = ""
            self._begin(line, key, name, value.strip())
        elif not colon and depth <= 4:
            self._section = name
        elif depth <= _DEEPEST:
            fact = ("" if depth <= 4 else self._section, name)
            if depth <= 4:
                self._section = ""
            elif fact in self._facts:
                return
            self._facts[fact], self._lines[fact] = value.strip(), line.number

    def _begin(self, line: Stamped, key: str, name: str, value: str) -> None:
        """Read a line that is not indented."""
        if match := _GPU.match(line.text.strip()):
            self._pci, self._at, self._gpus.host = match[1], line.number, self._named or line.host
            self._facts, self._lines = {}, {}
            self._out.stamp = self._out.stamp or line.stamp
        elif name == "timestamp":
            self._out.stamp = (line.stamp if self._by_stamps else None) or parse_text(value)
        elif name == "driver version":
            self._out.driver = value
        elif TITLE in key:
            self._out.stamp, self.read = None, []

    def end(self) -> None:
        """Add the GPU that was told last."""
        if not self._pci:
            return
        told = self._out.gpu(self._pci, self._facts, self._at)
        if told:
            lines = [self._lines.get(fact, -1) for fact in (told.power, told.instant, told.util)]
            self.read.append(_Read(told.gpu, self._at, *lines))
        self._pci = ""


@dataclass(frozen=True, slots=True)
class _Pattern:
    """Reports that say what one said, but for stamp, power and utilization.

    Attributes
    ----------
    regex : re.Pattern
        A report, up to the title of the next.
    gpus : int64[n]
        Numbers in `Gpus`.
    lines : int64[n]
        Where each stands, from the report's first line of those that were chosen.
    columns : int64[n, 3]
        Which cells are power, instant power and utilization of each; -1 for none.
    factors : int64[cells]
        mW or ppm of 1 in the cell's last digit.
    length : int
        Lines that were chosen.
    midnights : dict
        Day and year, as they are written, -> us of local time; None for no day.
    """

    regex: re.Pattern[str]
    gpus: NDArray[np.int64]
    lines: NDArray[np.int64]
    columns: NDArray[np.int64]
    factors: NDArray[np.int64]
    length: int
    midnights: dict[tuple[str, str], int | None] = field(default_factory=dict)

    @classmethod
    def of(cls, report: Sequence[tuple[int, str]], read: Sequence[_Read]) -> _Pattern | None:
        """Learn from the lines of a report, with their numbers, and what was read of it; None if it is not plain."""
        kinds = {line: _WATTS for gpu in read for line in (gpu.power, gpu.instant)}
        kinds |= {gpu.util: _PERCENT for gpu in read}
        pieces, factors, cell_of, stamps, gpus = list[str](), list[int](), dict[int, int](), 0, 0
        for number, text in report:
            if stamp := _STAMP.fullmatch(text):
                stamps += 1
                pieces.append(re.escape(stamp[1]) + _DATE_AND_TIME)
            elif number in kinds and (cell := kinds[number][0].fullmatch(text)):
                _, digits, factor = kinds[number]
                pieces.append(re.escape(cell[1]) + digits + re.escape(cell[2]))
                cell_of[number] = len(factors)
                factors.append(factor)
            elif number in kinds and any(c.isdecimal() for c in text.partition(" : ")[2]):
                return None  # a number in other words
            else:
                pieces.append(re.escape(text))
                gpus += bool(_GPU.match(text.strip()))
        if stamps != 1 or gpus != len(read) or not all(gpu.power in cell_of for gpu in read):
            return None
        place_of = {number: place for place, (number, _) in enumerate(report)}
        columns = [[cell_of.get(line, -1) for line in gpu[2:]] for gpu in read]
        return cls(
            re.compile("".join(pieces) + f"(?={re.escape(report[0][1])})"),
            np.array([gpu.gpu for gpu in read], np.int64),
            np.array([place_of[gpu.line] for gpu in read], np.int64),
            np.array(columns, np.int64),
            np.array(factors, np.int64),
            len(report),
        )

    def stamp(self, cells: Sequence[str]) -> int | None:
        """Return the time of a report, us of local time; None if it is none."""
        day, hour, minute, second, year = cells
        if (day, year) not in self.midnights:
            told = parse_text(f"{day} 00:00:00 {year}")
            self.midnights[day, year] = told[0] if told and told[1] else None
        midnight = self.midnights[day, year]
        if midnight is None or hour > "23" or minute > "59" or second > "59":
            return None
        return midnight + ((int(hour) * 60 + int(minute)) * 60 + int(second)) * 1_000_000

    def add(self, out: ReportedGpus, stamps: list[int], cells: list[str], numbers: NDArray[np.int64]) -> None:
        """Add the samples of reports that fit.

        Parameters
        ----------
        out : ReportedGpus
        stamps : list of int
            One a report, us of local time.
        cells : list of str
            Those of all reports.
        numbers : int64[reports * length]
            Lines of the file.
        """
        reports, gpus = len(stamps), len(self.gpus)
        digits = "\n".join(cells).replace(".", "").split("\n")
        values = np.array(list(map(int, digits)), np.int64).reshape(reports, -1) * self.factors
        values = np.concatenate((values, np.full((reports, 1), MISSING)), axis=1)  # the column -1
        out.samples.add_all(
            np.tile(self.gpus, reports),
            np.repeat(np.array(stamps, np.int64), gpus),
            naive=True,
            line=numbers.reshape(reports, -1)[:, self.lines].ravel(),
            numbers={
                name: values[:, column].ravel()
                for name, column in zip(("power", "instant", "util"), self.columns.T, strict=True)
            },
        )


class _Alike:
    """Remembers the report that is read line by line, and takes those that are like it."""

    def __init__(self) -> None:
        self._pattern: _Pattern | None = None
        self._seen: list[tuple[int, str]] = []
        self._learned = 0

    def see(self, number: int, line: str) -> None:
        """Remember a line."""
        if len(self._seen) < _LONGEST:
            self._seen.append((number, line))

    def learn(self, read: Sequence[_Read]) -> None:
        """Make the report that was seen the pattern, if it is plain."""
        seen, self._seen = self._seen, []
        if not seen or len(seen) == _LONGEST or self._learned == _LEARNED or not _TITLE_LINE.fullmatch(seen[0][1]):
            return
        pattern = _Pattern.of(seen, read)
        if pattern and (self._pattern is None or pattern.regex != self._pattern.regex):
            self._pattern, self._learned = pattern, self._learned + 1

    def take(self, block: Chosen, at: int, place: int, out: ReportedGpus) -> tuple[int, int]:
        """Take reports from a title on while they fit; returns where the next one begins."""
        pattern, stamps, cells, first = self._pattern, list[int](), list[str](), place
        while pattern and (fit := pattern.regex.match(block.text, at)):
            found = fit.groups()
            stamp = pattern.stamp(found[:_STAMP_CELLS])
            if stamp is None:
                break
            stamps.append(stamp)
            cells += found[_STAMP_CELLS:]
            at, place = fit.end(), place + pattern.length
        if pattern and stamps:
            pattern.add(out, stamps, cells, block.numbers[first:place])
        return at, place


def read_lines(
    lines: Iterable[Stamped], clock: TimestampParser, gpus: Gpus, report: SourceReport, *, by_stamps: bool
) -> Iterator[Rows]:
    """Read lines before which something stood.

    Parameters
    ----------
    lines : iterable of Stamped
    clock, gpus, report
        See `Samples` and `Gpus`.
    by_stamps : bool
        What stood before a report's first lines is its time; else only where it does not say one, as its own counts
        whole seconds.
    """
    out = ReportedGpus(clock, gpus, report)
    reader = _Lines(out, gpus, by_stamps=by_stamps)
    for line in lines:
        reader.line(line)
        yield from out.samples.full()
    reader.end()
    yield from out.samples.rest()


def read_blocks(blocks: Iterable[Chosen], clock: TimestampParser, gpus: Gpus, report: SourceReport) -> Iterator[Rows]:
    """Read reports in blocks of lines; those that are alike at once."""
    out = ReportedGpus(clock, gpus, report)
    reader, alike = _Lines(out, gpus, by_stamps=False), _Alike()
    for block in blocks:
        text, numbers, at, place = block.text, block.numbers.tolist(), 0, 0
        while at < len(text):
            end = text.find("\n", at) + 1 or len(text)
            line = text[at:end]
            if _TITLE_LINE.fullmatch(line):
                reader.end()
                yield from out.samples.full()
                alike.learn(reader.read)
                taken = alike.take(block, at, place, out) if block.certain else (at, place)
                if taken[0] > at:
                    at, place = taken
                    continue
            alike.see(numbers[place], line)
            reader.line(Stamped(numbers[place], line))
            at, place = end, place + 1
    reader.end()
    yield from out.samples.rest()
