"""What jobs did, from a table ``job,time,unit,count``, beside a recording that knows none of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.arrow import pa
from wattshed.agent.inputs.frames import FrameRows
from wattshed.agent.inputs.tables import read_rows, read_table
from wattshed.agent.inputs.text import head_of
from wattshed.agent.inputs.timestamps import NO_TIME, TimestampParser
from wattshed.agent.window import TOLD, JobKey, WorkRow
from wattshed.agent.wire.agent_socket import wrong_work

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import tzinfo

    from wattshed.agent.inputs.frames import Frame
    from wattshed.agent.inputs.report import SourceReport
    from wattshed.agent.inputs.tables import Row

_COLUMNS = ("time", "job", "unit", "count")


def parse_work_columns(text: str | Mapping[str, str]) -> dict[str, str]:
    """Read ``job=slurm_job,time=ts``, or a mapping: key -> how the column, or the label, is called.

    Raises
    ------
    InputError
        On an unknown key.
    """
    spec = {}
    for part in text.split(",") if isinstance(text, str) else [f"{key}={value}" for key, value in text.items()]:
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not value or key not in _COLUMNS:
            raise InputError(f"--work-columns: {part!r} is not one of {', '.join(_COLUMNS)} with = and a column")
        spec[key] = value
    return spec


def read_work(
    source: str | Frame, local: tzinfo, columns: Mapping[str, str], since_us: Mapping[str, int], report: SourceReport
) -> list[WorkRow]:
    """Read what jobs did.

    Parameters
    ----------
    source : str or Frame
        A file or a table of ``job``, ``time`` (Unix seconds or ISO 8601), ``unit``, ``count``: what was done since the
        row before. Or a file of series, see `agent.replay.scraped_work`.
    local : tzinfo
        Of times without one.
    columns : mapping of str to str
        What these columns, or the label of the job, are called instead.
    since_us : mapping of str to int, us
        When jobs began.
    report : SourceReport
        Gets what was left out of series; no row of a table is.

    Returns
    -------
    list of WorkRow
        In the order of time.

    Raises
    ------
    InputError
        It says which line and column.
    """
    names = {name: columns.get(name, name) for name in _COLUMNS}
    if not isinstance(source, str):
        rows = read_rows(FrameRows(source, "work"), "work", tuple(names.values()), lower=False)
        return _in_order(_told(rows, names, local))
    if not source.startswith(("http://", "https://")):
        from wattshed.agent.replay.scraped_work import JOB, is_series, read_series  # noqa: PLC0415 - few have series

        if is_series(head_of(Path(source))):
            return read_series(source, columns.get("job", JOB), since_us, report)
    rows = read_table(source, tuple(names.values()), lower=not columns)
    return _in_order(_told(rows, names, local))


def _told(rows: Iterator[Row], names: Mapping[str, str], local: tzinfo) -> Iterator[WorkRow]:
    clock = TimestampParser(local)
    for row in rows:
        written = row.text(names["time"])
        if not (written and (time_us := int(clock.read(pa.array([written]))[0])) != NO_TIME):
            raise row.error(names["time"], f"{written!r} is no time: Unix seconds, or 2026-03-01 12:00:00")
        unit, count = row.name(names["unit"]), row.count(names["count"], least=1)
        if why := wrong_work(unit, count):
            raise row.error(names["unit"], why)
        yield WorkRow(JobKey(row.name(names["job"])), unit, count, TOLD, time_us, time_us)


def _in_order(rows: Iterator[WorkRow]) -> list[WorkRow]:
    return sorted(rows, key=lambda row: row.end_us)
