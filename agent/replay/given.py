"""What a user says about traces, as flags or as keywords, made into settings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wattshed.agent.replay.books import Settings
    from wattshed.agent.replay.told_work import ToldWork
    from wattshed.agent.traces.options import Options

    Columns = str | Mapping[str, str]
    Conditions = str | Sequence[str] | Mapping[str, str | Sequence[str]]

_MOST = 1e9


def quantity(value: float | str, what: str, least: float) -> float:
    """Check a number that a user gave.

    Parameters
    ----------
    value : float or str
    what : str
        What it is, for the message.
    least : float
        It may not be smaller.

    Raises
    ------
    InputError
        If it is not a number from ``least`` to 10^9.
    """
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not least <= number <= _MOST:
        raise InputError(f"{value!r} is not a valid {what}")
    return number


def watts(value: float | str) -> float:
    """Check a power, W."""
    return quantity(value, "power in watts", 0.0)


def seconds(value: float | str) -> float:
    """Check a length of time, s."""
    return quantity(value, "time in seconds", 1e-6)


def options_from(
    *,
    columns: Columns | None = None,
    where: Conditions = (),
    period: float | None = None,
    timezone: str = "UTC",
    max_gap: float | None = None,
    max_power: float | None = None,
) -> Options:
    """Make of what is said about traces how they are read.

    Parameters
    ----------
    columns : str or mapping, optional
        ``time=ts:ms,gpu=id,...`` or the same as a mapping: columns of a table.
    where : str, sequence of str or mapping
        ``metric=power,host=n1,host=n2``, several of them, or column -> value or values: rows that count.
    period, max_gap : float, optional, s
        Between rounds of a log without times; the longest interval that is bridged.
    timezone : str
        Of times without one.
    max_power : float, optional, W
        Readings above it are rejected.

    Raises
    ------
    InputError
        If one of them cannot be understood.
    """
    from wattshed.agent.inputs.columns import parse_spec  # noqa: PLC0415 - a command imports its parts when it runs
    from wattshed.agent.inputs.timestamps import zone  # noqa: PLC0415
    from wattshed.agent.traces.options import Options  # noqa: PLC0415
    from wattshed.agent.window import MISSING  # noqa: PLC0415

    return Options(
        parse_spec(columns) if columns else None,
        zone(timezone),
        20_000_000 if max_power is None else min(round(watts(max_power) * 1e3), 2**31 - 2),
        MISSING if max_gap is None else round(seconds(max_gap) * 1e6),
        where=_conditions(where),
        period_us=0 if period is None else round(seconds(period) * 1e6),
    )


def settings_from(
    options: Options,
    *,
    jobs: str | None = None,
    job_columns: Columns | None = None,
    idle_watts: float | None = None,
    work: str | None = None,
) -> Settings:
    """Make settings of what is said about jobs.

    Parameters
    ----------
    options : Options
    jobs : str, optional
        Path of the jobs file.
    job_columns : str or mapping, optional
        Its columns, where they are called otherwise.
    idle_watts : float, optional, W
        Idle power of every GPU.
    work : str, optional
        Path of a table of what the jobs did.

    Raises
    ------
    InputError
        If one of them cannot be understood, or one of the files cannot.
    """
    from wattshed.agent.inputs.report import SourceReport  # noqa: PLC0415 - a command imports its parts when it runs
    from wattshed.agent.replay.books import Settings  # noqa: PLC0415
    from wattshed.agent.window import MISSING  # noqa: PLC0415

    rows, report = None, SourceReport(jobs or "")
    if jobs:
        from wattshed.agent.traces.jobs.jobs_file import parse_job_columns, read_jobs  # noqa: PLC0415

        spec = parse_job_columns(job_columns) if job_columns else None
        rows = tuple(read_jobs(Path(jobs), options.local, spec, report))
    idle_mw = MISSING if idle_watts is None else round(watts(idle_watts) * 1e3)
    notes = (*(f"{jobs}: {note}" for note in report.notes), *report.left_out())
    told: tuple[ToldWork, ...] = ()
    if work:
        from wattshed.agent.replay.told_work import read_work  # noqa: PLC0415

        told = tuple(read_work(work, options.local))
    return Settings(options, rows, idle_mw, options.max_gap_us, notes, told)


def _conditions(where: Conditions) -> dict[str, tuple[str, ...]]:
    """Return column -> values, any of which will do."""
    from wattshed.agent.inputs.where import parse_where  # noqa: PLC0415

    if isinstance(where, str):
        return parse_where([where])
    if not isinstance(where, Mapping):
        return parse_where(where)
    return {name: (wanted,) if isinstance(wanted, str) else tuple(wanted) for name, wanted in where.items()}
