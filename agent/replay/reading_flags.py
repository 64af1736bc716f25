"""Flags that say how foreign traces are to be understood, and the settings that they make."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wattshed.agent.replay.books import Settings
    from wattshed.agent.traces.options import Options


def add_reading_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say how foreign traces are to be understood."""
    parser.add_argument("--columns", metavar="k=v,...", help="columns of a table: time=ts:ms,gpu=id,power=p:mW,...")
    parser.add_argument(
        "--where", metavar="k=v,...", action="append", help="rows of a table that count: metric=power,..."
    )
    parser.add_argument("--period", type=seconds, metavar="S", help="seconds between rounds of a log without times")
    parser.add_argument("--timezone", default="UTC", metavar="TZ", help="time zone of times without one (default UTC)")
    parser.add_argument("--max-gap", type=seconds, metavar="S", help="longest interval that is bridged, in seconds")
    parser.add_argument("--max-power", type=watts, metavar="W", help="readings above this are rejected (default 20000)")


def _number(text: str, what: str, least: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value <= 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a valid {what}")
    return value


def watts(text: str) -> float:
    """Read a power of the command line, W."""
    return _number(text, "power in watts", 0.0)


def seconds(text: str) -> float:
    """Read a length of time of the command line, s."""
    return _number(text, "time in seconds", 1e-6)


def count(text: str) -> int:
    """Read how many workers there shall be."""
    return int(_number(text, "number of workers", 1.0))


def options_of(args: argparse.Namespace) -> Options:
    """Turn the flags into how traces are read.

    Raises
    ------
    InputError
        If one of them cannot be understood.
    """
    from wattshed.agent.inputs.columns import parse_spec  # noqa: PLC0415 - a command imports its parts when it runs
    from wattshed.agent.inputs.timestamps import zone  # noqa: PLC0415
    from wattshed.agent.inputs.where import parse_where  # noqa: PLC0415
    from wattshed.agent.traces.options import Options  # noqa: PLC0415
    from wattshed.agent.window import MISSING  # noqa: PLC0415

    return Options(
        parse_spec(args.columns) if args.columns else None,
        zone(args.timezone),
        min(round(args.max_power * 1e3), 2**31 - 2) if args.max_power is not None else 20_000_000,
        round(args.max_gap * 1e6) if args.max_gap is not None else MISSING,
        where=parse_where(getattr(args, "where", None) or ()),
        period_us=round((getattr(args, "period", None) or 0) * 1e6),
    )


def settings_of(args: argparse.Namespace) -> Settings:
    """Turn the flags into settings.

    Raises
    ------
    InputError
        If one of them cannot be understood, or the jobs file cannot.
    """
    from wattshed.agent.inputs.report import SourceReport  # noqa: PLC0415
    from wattshed.agent.replay.books import Settings  # noqa: PLC0415
    from wattshed.agent.traces.jobs.jobs_file import parse_job_columns, read_jobs  # noqa: PLC0415
    from wattshed.agent.window import MISSING  # noqa: PLC0415

    options = options_of(args)
    jobs, report = None, SourceReport(str(getattr(args, "jobs", "")))
    if getattr(args, "jobs", None):
        spec = parse_job_columns(args.job_columns) if args.job_columns else None
        jobs = tuple(read_jobs(Path(args.jobs), options.local, spec, report))
    idle = getattr(args, "idle_watts", None)
    notes = (*(f"{args.jobs}: {note}" for note in report.notes), *report.left_out())
    return Settings(options, jobs, round(idle * 1e3) if idle is not None else MISSING, options.max_gap_us, notes)
