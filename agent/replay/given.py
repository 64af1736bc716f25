"""What a user says about traces, as flags or as keywords, made into settings."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wattshed.agent.accounts.split_rule import SplitRule
    from wattshed.agent.inputs.frames import Frame
    from wattshed.agent.replay.books import Settings
    from wattshed.agent.traces.jobs.jobs_file import JobRow
    from wattshed.agent.traces.options import Options
    from wattshed.agent.window import WorkRow

    Columns = str | Mapping[str, str]
    Source = str | os.PathLike[str] | Frame
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
    from wattshed.agent.traces.options import ANY_POWER_MW, Options  # noqa: PLC0415
    from wattshed.agent.window import MISSING  # noqa: PLC0415

    ceiling_mw = None if max_power is None else round(watts(max_power) * 1e3)
    return Options(
        parse_spec(columns) if columns else None,
        zone(timezone),
        20_000_000 if ceiling_mw is None else min(ceiling_mw, 2**31 - 2),
        MISSING if max_gap is None else round(seconds(max_gap) * 1e6),
        where=_conditions(where),
        period_us=0 if period is None else round(seconds(period) * 1e6),
        most_load_mw=ANY_POWER_MW if ceiling_mw is None else ceiling_mw,
    )


def settings_from(
    options: Options,
    *,
    jobs: Source | None = None,
    job_columns: Columns | None = None,
    idle_watts: float | None = None,
    work: Source | None = None,
    work_columns: Columns | None = None,
    split: str | None = None,
) -> Settings:
    """Make settings of what is said about jobs.

    Parameters
    ----------
    options : Options
    jobs : path or Frame, optional
        The jobs file, or a table.
    job_columns : str or mapping, optional
        Its columns, where they are called otherwise.
    idle_watts : float, optional, W
        Idle power of every GPU.
    work : path or Frame, optional
        What the jobs did: a file of a table or of series, or a table.
    work_columns : str or mapping, optional
        What its columns, or the label that names the job, are called.
    split : str, optional
        By what watts a shared GPU's energy is split: ``common`` or ``learned``, see `agent.accounts.split_rule`.

    Raises
    ------
    InputError
        If one of them cannot be understood, or one of the files cannot.
    """
    from wattshed.agent.inputs.report import SourceReport  # noqa: PLC0415 - a command imports its parts when it runs
    from wattshed.agent.replay.books import Settings  # noqa: PLC0415
    from wattshed.agent.window import MISSING  # noqa: PLC0415

    rows, report = None, SourceReport(_name(jobs, "jobs"))
    if jobs is not None:
        from wattshed.agent.traces.jobs.jobs_file import parse_job_columns, read_jobs  # noqa: PLC0415

        spec = parse_job_columns(job_columns) if job_columns else None
        source = Path(jobs) if isinstance(jobs, str | os.PathLike) else jobs
        rows = tuple(read_jobs(source, options.local, spec, report))
    idle_mw = MISSING if idle_watts is None else round(watts(idle_watts) * 1e3)
    notes = (*(f"{report.path}: {note}" for note in report.notes), *report.left_out())
    did, more = _work(work, work_columns, options, rows or ())
    return Settings(options, rows, idle_mw, options.max_gap_us, (*notes, *more), did, _rule(split))


def _rule(split: str | None) -> SplitRule | None:
    """Return by what watts energy is split; of the common ones nothing has to be learned."""
    from wattshed.agent.accounts.split_rule import SplitRule  # noqa: PLC0415 - a command imports its parts when it runs

    try:
        rule = SplitRule.parsed(split or "common")
    except ValueError as error:
        raise InputError(f"--watts: {error}") from None
    return rule if rule.learned else None


def _work(
    work: Source | None, columns: Columns | None, options: Options, jobs: Sequence[JobRow]
) -> tuple[tuple[WorkRow, ...], list[str]]:
    """Read what the jobs did, and what is to be said about that."""
    if work is None:
        return (), []
    from wattshed.agent.inputs.report import SourceReport  # noqa: PLC0415 - for those who have such a table
    from wattshed.agent.replay.work_tables import parse_work_columns, read_work  # noqa: PLC0415

    since_us: dict[str, int] = {}
    for row in jobs:
        since_us[row.job] = min(since_us.get(row.job, row.start_us), row.start_us)
    report = SourceReport(_name(work, "work"))
    spec = parse_work_columns(columns) if columns else {}
    source = os.fspath(work) if isinstance(work, str | os.PathLike) else work
    rows = read_work(source, options.local, spec, since_us, report)
    return tuple(rows), [*(f"{report.path}: {note}" for note in report.notes), *report.left_out()]


def _name(source: Source | None, what: str) -> str:
    return os.fspath(source) if isinstance(source, str | os.PathLike) else what


def _conditions(where: Conditions) -> dict[str, tuple[str, ...]]:
    """Return column -> values, any of which will do."""
    from wattshed.agent.inputs.where import parse_where  # noqa: PLC0415

    if isinstance(where, str):
        return parse_where([where])
    if not isinstance(where, Mapping):
        return parse_where(where)
    return {name: (wanted,) if isinstance(wanted, str) else tuple(wanted) for name, wanted in where.items()}
