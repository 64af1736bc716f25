"""Logs in JSON: an object a line, objects in a row, or an array of them; of gpustat, W&B, and of loggers of one's own.

An object is a row or several (see `records`), and the columns are told by their names as in any table.
"""

from __future__ import annotations

import ast
import contextlib
import io
import itertools
import json
from typing import TYPE_CHECKING, Any

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.json_values import JsonValues
from wattshed.agent.inputs.report import SourceReport
from wattshed.agent.inputs.text import head_of, open_lines
from wattshed.agent.traces.foreign import wandb
from wattshed.agent.traces.foreign.format import Format
from wattshed.agent.traces.foreign.layouts import has_power
from wattshed.agent.traces.foreign.record_tables import read_records
from wattshed.agent.traces.foreign.records import rows_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

    from wattshed.agent.traces.foreign.format import Head, LogFile
    from wattshed.agent.traces.foreign.rows import Rows

_NOTHING = " \t\r\n\0,"
_CALLED = {"query_time": "timestamp", "_timestamp": "timestamp", "@timestamp": "timestamp", "asctime": "timestamp"}
"""Names of times, as gpustat, W&B, Logstash and Python's logging have them."""


def read_json(log: LogFile) -> Iterator[Rows]:
    """Read a log in JSON.

    Raises
    ------
    InputError
        If it is not JSON, or it is not clear which key is what.
    """
    report, path = log.report, log.source.path
    lined = _is_lines(head_of(path))
    with open_lines(path) as file:
        values = _by_line(file, report) if lined else JsonValues(file, str(path))
        yield from read_records(log, ((line, row) for line, value in values for row in _rows(value)))


def _rows(value: Any) -> Iterator[dict[str, str]]:
    for row in rows_of(value):
        called = {**_CALLED, "name": "gpu_name"} if "power.draw" in row else _CALLED  # gpustat has nvidia-smi's names
        yield {called.get(name, name): cell for name, cell in row.items()}


def _by_line(file: TextIO, report: SourceReport) -> Iterator[tuple[int, Any]]:
    """Read a value a line; a damaged line is one row that is rejected, not the end of it all."""
    for number, line in enumerate(file, 1):
        if line.strip(_NOTHING + "[]"):
            begins = line.find("{")  # a logger may put its own words before
            try:
                yield number, _value(line[max(begins, 0) :].rstrip(_NOTHING))
            except (ValueError, RecursionError):
                report.rows += 1
                report.reject("not_json", line=number, text=line.strip())


def _value(text: str) -> Any:
    """Read a value as JSON, or as Python prints a dict.

    Raises
    ------
    ValueError, RecursionError
        If it is neither.
    """
    try:
        return json.loads(text, parse_float=str, parse_int=str)
    except ValueError:
        if "'" not in text:
            raise
    try:
        return ast.literal_eval(text)
    except (SyntaxError, TypeError, MemoryError) as error:
        raise ValueError("it is no value of Python") from error


def _is_lines(text: str) -> bool:
    """Return whether the first object that begins a line ends on it."""
    for line in text.splitlines()[:20]:
        begins = line.find("{")
        if begins >= 0 and not line.lstrip().startswith("["):
            try:
                return isinstance(_value(line[begins:].rstrip(_NOTHING)), dict)
            except (ValueError, RecursionError):
                continue
    return False


def _names(text: str) -> list[str]:
    """Name the columns of the first rows of a text that may end anywhere."""
    file, report = io.StringIO(text), SourceReport("")
    values = _by_line(file, report) if _is_lines(text) else JsonValues(file, "")
    names: dict[str, None] = {}
    with contextlib.suppress(InputError):
        for _, value in itertools.islice(values, 20):
            for row in itertools.islice(_rows(value), 64):
                names |= dict.fromkeys(row)
    return list(names)


def _tells(head: Head) -> bool:
    if not head.text.startswith(("{", "[")) and not any(line.rstrip().endswith("}") for line in head.lines[:5]):
        return False
    names = _names(head.text)
    return bool(names) and (head.told or wandb.is_table(names) or has_power(names))


FORMAT = Format(
    name="json",
    title="JSON: an object a line, in a row, or in an array (gpustat, W&B's events, loggers of your own)",
    told_by="objects with a key of power or energy, or a key for each GPU",
    reads="as a table: nested keys joined with dots (`--columns power=a.b`), a list of GPUs as a row each; tables by "
    "columns, as pandas writes them; dicts as Python prints them",
    traps="a GPU without a name of its own is its place in the list; a damaged line is one rejected row",
    tells=_tells,
    rows=read_json,
)
