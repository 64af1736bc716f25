"""``nvidia-smi -q`` as text and as XML (``-q -x``), one report or one after the other.

A report shows the power of the board (``GPU Power Readings``), of its memory and, on Grace superchips, of the whole
module side by side. Only the board's is read; these are parts and wholes of each other and are never added.
"""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, NamedTuple
from xml.parsers import expat

from wattshed.agent.inputs.chosen_lines import ElementChooser, ReportChooser, chosen_lines
from wattshed.agent.inputs.line_stamps import Stamped, prefix_of_file, stamped_lines
from wattshed.agent.inputs.quantities import POWER_MW, scaled_text
from wattshed.agent.inputs.timestamps import parse_text
from wattshed.agent.traces.foreign.format import Format
from wattshed.agent.traces.foreign.samples import Samples
from wattshed.agent.window import MISSING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from wattshed.agent.inputs.report import SourceReport
    from wattshed.agent.inputs.timestamps import TimestampParser
    from wattshed.agent.traces.foreign.format import LogFile
    from wattshed.agent.traces.foreign.gpus import Gpus
    from wattshed.agent.traces.foreign.rows import Rows

_SECTIONS = {"gpu power readings", "power readings", "gpu_power_readings", "power_readings"}
_AVERAGE = ("average power draw", "average_power_draw", "power draw", "power_draw")
_INSTANT = ("instantaneous power draw", "instant_power_draw", "instantaneous_power_draw", "instant power draw")
_LIMIT = tuple(
    f"{which}power{mark}limit"
    for mark in (" ", "_")
    for which in (f"max{mark}", f"current{mark}", f"enforced{mark}", "")
)
_UTIL = ("gpu", "gpu_util", "gpu util")
_UUID, _MODEL = ("gpu uuid", "uuid"), ("product name", "product_name")
_ARCHITECTURE = ("product architecture", "product_architecture")
_UTILIZATION = "utilization"
_DOCUMENT = "nvidia_smi_log"
_NAMES = {*_SECTIONS, *_AVERAGE, *_INSTANT, *_LIMIT, *_UTIL, *_UUID, *_MODEL, *_ARCHITECTURE, _UTILIZATION}
_TITLE = "NVSMI LOG"
_DEEPEST = 8
_CHUNK = 1 << 16


class _Board(NamedTuple):
    """What a report says of a GPU beside its readings."""

    host: str
    pci: str
    uuid: str
    model: str
    architecture: str
    driver: str
    limit: str


class _Report:
    """Turns the facts of one GPU in one report into a sample."""

    def __init__(self, clock: TimestampParser, gpus: Gpus, report: SourceReport) -> None:
        self.samples = Samples(report, clock)
        self._gpus, self._report = gpus, report
        self.stamp: tuple[int, bool] | None = None
        self.driver = ""
        self._numbers: dict[_Board, int] = {}

    def gpu(self, pci: str, facts: Mapping[tuple[str, str], str], line: int) -> None:
        """Add a GPU's sample; ``facts`` are (section, key) -> text, both in lower case."""

        def first(sections: Iterable[str], keys: Iterable[str]) -> str | None:
            cells = [facts[s, k] for k in keys for s in sections if (s, k) in facts]
            numeric = [cell for cell in cells if any(c.isdecimal() for c in cell)]
            return numeric[0] if numeric else cells[0] if cells else None

        if self.stamp is None:
            self._report.rows += 1
            self._report.reject("no_time", line=line)
            return
        average, instant = first(_SECTIONS, _AVERAGE), first(_SECTIONS, _INSTANT)
        uuid, model, architecture = (first(("",), keys) or "" for keys in (_UUID, _MODEL, _ARCHITECTURE))
        limit = first(_SECTIONS, _LIMIT) or ""
        number = self._number(_Board(self._gpus.host, pci, uuid, model, architecture, self.driver, limit))
        self.samples.add(
            number,
            self.stamp,
            line=line,
            power=average if average and any(c.isdecimal() for c in average) else instant or average or "",
            instant=instant,
            util=first((_UTILIZATION,), _UTIL),
        )

    def _number(self, board: _Board) -> int:
        """Return the number of a GPU in `Gpus`, which learns what is said of it when that is said first."""
        number = self._numbers.get(board)
        if number is None:
            # Masked captures show one UUID for all GPUs; the PCI address distinguishes them then.
            uuid = board.uuid if board.uuid.strip("GPU-0") else ""
            number = self._numbers[board] = self._gpus.number(uuid=uuid, pci=board.pci, model=board.model)
            self._gpus.describe(
                number,
                limit_mw=scaled_text(board.limit, POWER_MW["W"], POWER_MW)[0] if board.limit else MISSING,
                driver=board.driver,
                architecture=board.architecture.lower(),
            )
        return number


def read_text(
    lines: Iterable[Stamped], clock: TimestampParser, gpus: Gpus, report: SourceReport, *, by_stamps: bool = False
) -> Iterator[Rows]:
    """Read ``nvidia-smi -q``, whose sections are recognised by their indentation.

    Parameters
    ----------
    lines : iterable of Stamped
    clock, gpus, report
        See `Samples` and `Gpus`.
    by_stamps : bool
        What stood before a report's first lines is its time; else only where it does not say one, as its own counts
        whole seconds.
    """
    out = _Report(clock, gpus, report)
    pci, at, facts, section, named = "", 0, dict[tuple[str, str], str](), "", gpus.host
    for line in lines:
        text = line.text
        key, colon, value = text.partition(" : ")
        depth = len(text) - len(text.lstrip())
        name = key.strip().lower()
        if not name:
            continue
        if not depth:
            if pci:
                out.gpu(pci, facts, at)
                yield from out.samples.full()
                pci, facts, section = "", {}, ""
            if match := re.match(r"GPU ([0-9A-Fa-f:.]+)$", text.strip()):
                pci, at, gpus.host = match[1], line.number, named or line.host
                out.stamp = out.stamp or line.stamp
            elif name == "timestamp":
                out.stamp = (line.stamp if by_stamps else None) or parse_text(value.strip())
            elif name == "driver version":
                out.driver = value.strip()
            elif _TITLE in key:
                out.stamp = None
        elif not colon and depth <= 4:
            section = name
        elif depth <= 4:
            section = ""
            facts["", name] = value.strip()
        elif depth <= _DEEPEST:
            facts.setdefault((section, name), value.strip())
    if pci:
        out.gpu(pci, facts, at)
    yield from out.samples.rest()


class _Handler:
    """Follows the XML as it is read."""

    def __init__(self, out: _Report) -> None:
        self._out = out
        self._path: list[str] = []
        self._text: list[str] = []
        self._facts: dict[tuple[str, str], str] = {}
        self._pci = ""
        self.line = 0

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        self._path.append(name)
        self._text = []
        if name == "gpu" and len(self._path) == 2:
            self._pci, self._facts = attributes.get("id", ""), {}

    def data(self, text: str) -> None:
        self._text.append(text)

    def end(self, name: str) -> None:
        text = "".join(self._text).strip()
        depth = len(self._path)
        if depth == 2 and name == "timestamp":
            self._out.stamp = parse_text(text)
        elif depth == 2 and name == "driver_version":
            self._out.driver = text
        elif depth == 2 and name == "gpu":
            self._out.gpu(self._pci, self._facts, self.line)
        elif depth == 3:
            self._facts.setdefault(("", name), text)
        elif depth == 4:
            self._facts.setdefault((self._path[2], name), text)
        self._path.pop()
        self._text = []


def read_xml(
    lines: Iterable[tuple[int, str]], clock: TimestampParser, gpus: Gpus, report: SourceReport
) -> Iterator[Rows]:
    """Read ``nvidia-smi -q -x``: any number of documents, one after the other; one that is cut off is read so far."""
    out = _Report(clock, gpus, report)
    parser, handler, above = None, _Handler(out), 0
    for number, line in lines:
        if "<nvidia_smi_log" in line:
            parser, handler, above = expat.ParserCreate(), _Handler(out), number - 1
            parser.buffer_text = True
            # Entities could be made to expand without end; these documents declare none.
            parser.EntityDeclHandler = _refuse_entity
            parser.StartElementHandler, parser.EndElementHandler = handler.start, handler.end
            parser.CharacterDataHandler = handler.data
        if parser is None:
            continue
        handler.line = number
        try:
            parser.Parse("\n" * (number - above - 1) + line)  # lines that were left out count in what it says
        except (expat.ExpatError, ValueError) as error:
            report.reject("damaged", line=number, text=str(error))
            parser = None
            continue
        above = number
        if "</nvidia_smi_log>" in line:
            parser = None
        yield from out.samples.full()
    if parser is not None:
        report.note("the last document is cut off")
    yield from out.samples.rest()


def _refuse_entity(*_declaration: object) -> None:
    raise ValueError("it declares an entity")


def _rows_of_xml(log: LogFile) -> Iterator[Rows]:
    chooser = ElementChooser(_DOCUMENT, {*_NAMES, "timestamp", "driver_version"})
    yield from read_xml(chosen_lines(log.source.path, chooser, log.report), log.clock(), log.gpus, log.report)


def _rows_of_text(log: LogFile) -> Iterator[Rows]:
    chooser = ReportChooser(_NAMES)
    prefix = prefix_of_file(log.source.path)
    if prefix is None:
        lines: Iterator[Stamped] = itertools.starmap(Stamped, chosen_lines(log.source.path, chooser, log.report))
    else:
        lines = stamped_lines(log.source.path)
    by_stamps = prefix is not None and not prefix.note
    yield from read_text(lines, log.clock(), log.gpus, log.report, by_stamps=by_stamps)


XML = Format(
    name="nvidia-smi-xml",
    title="`nvidia-smi -q -x`",
    told_by="its document type",
    reads="power of the board; one report, or several in a row",
    traps="power of the memory and of the module stand beside it and are left out",
    tells=lambda head: head.text.startswith("<") and "<nvidia_smi_log" in head.text,
    rows=_rows_of_xml,
)
TEXT = Format(
    name="nvidia-smi-q",
    title="`nvidia-smi -q`",
    told_by="`NVSMI LOG`",
    reads="power of the board; one report, or several in a row",
    traps="power of the memory and of the module stand beside it and are left out; whole seconds, unless a full stamp "
    "stands before each line (`ts '%Y-%m-%dT%H:%M:%.S'`)",
    tells=lambda head: _TITLE in head.text[:20000] and not head.told,
    rows=_rows_of_text,
)
