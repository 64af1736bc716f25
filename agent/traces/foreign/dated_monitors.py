"""Column monitors whose lines somebody else stamped: ``nvidia-smi dmon | ts``, a journal, ``dcgmi dmon`` in a loop.

The stamp is written as the monitors write theirs (``-o DT``), so that they are read in one way.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from wattshed.agent.inputs.prefixes import prefix_of_file
from wattshed.agent.inputs.text import open_lines
from wattshed.agent.traces.foreign.format import by_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from wattshed.agent.inputs.prefixes import Prefix
    from wattshed.agent.traces.foreign.format import LogFile, ReadLines
    from wattshed.agent.traces.foreign.gpus import Gpus
    from wattshed.agent.traces.foreign.rows import Rows

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HEADER = re.compile(r"#(?=.*\b(?:gpu|entity)\b)\s*(date|time)?", re.IGNORECASE)
_ENTITY = re.compile(r"\s*([A-Za-z][\w-]*) (\d+)(?=\s|$)")


def _written(stamp: tuple[int, bool]) -> str:
    moment = _EPOCH + timedelta(microseconds=stamp[0])
    return f"{moment:%Y%m%d} {moment:%H:%M:%S.%f}{'' if stamp[1] else 'Z'}"


def dated(lines: Iterable[tuple[int, str]], prefix: Prefix, gpus: Gpus) -> Iterator[tuple[int, str]]:
    """Rewrite numbered lines: what stands before them becomes their date and time, unless they have their own.

    Parameters
    ----------
    lines : iterable of (int, str)
    prefix : Prefix
    gpus : Gpus
        Gets the host of the lines that are handed out, where they name one.
    """
    own, named = False, gpus.host
    for number, line in lines:
        split = prefix.split(number, line)
        text = split.text.strip()
        gpus.host = named or split.host
        comma = "," if "," in text else ""
        if header := _HEADER.match(text):
            own = bool(header[1])
            yield number, text if own else f"# Date{comma} Time{comma} {text.lstrip('# ')}"
        elif own or split.stamp is None or text[:2].lower() in {"", "id"} or text.startswith("#"):
            yield number, text
        else:
            stamp = _written(split.stamp).replace(" ", f"{comma} ")
            row = _ENTITY.sub(r"\1-\2", text, count=1)  # "GPU 0" is two words
            yield number, f"{stamp}{comma} {row}"


def by_dated_line(read: ReadLines) -> Callable[[LogFile], Iterator[Rows]]:
    """Make a reader of files from a reader of the lines of a monitor."""
    plain = by_line(read)

    def rows(log: LogFile) -> Iterator[Rows]:
        prefix = prefix_of_file(log.source.path)
        if prefix is None:
            yield from plain(log)
            return
        if prefix.note:
            log.report.note(prefix.note)
        with open_lines(log.source.path) as file:
            lines = dated(enumerate(file, 1), prefix, log.gpus)
            yield from read(lines, log.clock(), log.gpus, log.report)

    return rows
