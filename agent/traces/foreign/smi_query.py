"""``nvidia-smi -q`` as text and as XML (``-q -x``), one report or one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.parsers import expat

from wattshed.agent.inputs.chosen_lines import ElementChooser, ReportChooser, chosen_blocks, chosen_lines
from wattshed.agent.inputs.line_stamps import prefix_of_file, stamped_lines
from wattshed.agent.inputs.timestamps import parse_text
from wattshed.agent.traces.foreign.format import Format
from wattshed.agent.traces.foreign.smi_facts import NAMES, ReportedGpus
from wattshed.agent.traces.foreign.smi_text import TITLE, read_blocks, read_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from wattshed.agent.inputs.report import SourceReport
    from wattshed.agent.inputs.timestamps import TimestampParser
    from wattshed.agent.traces.foreign.format import LogFile
    from wattshed.agent.traces.foreign.gpus import Gpus
    from wattshed.agent.traces.foreign.rows import Rows

_DOCUMENT = "nvidia_smi_log"


class _Handler:
    """Follows the XML as it is read."""

    def __init__(self, out: ReportedGpus) -> None:
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
    out = ReportedGpus(clock, gpus, report)
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
    chooser = ElementChooser(_DOCUMENT, {*NAMES, "timestamp", "driver_version"})
    yield from read_xml(chosen_lines(log.source.path, chooser, log.report), log.clock(), log.gpus, log.report)


def _rows_of_text(log: LogFile) -> Iterator[Rows]:
    chooser = ReportChooser(NAMES)
    prefix = prefix_of_file(log.source.path)
    if prefix is None:
        blocks = chosen_blocks(log.source.path, chooser, log.report)
        yield from read_blocks(blocks, log.clock(), log.gpus, log.report)
    else:
        lines = stamped_lines(log.source.path)
        yield from read_lines(lines, log.clock(), log.gpus, log.report, by_stamps=not prefix.note)


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
    tells=lambda head: TITLE in head.text[:20000] and not head.told,
    rows=_rows_of_text,
)
