"""What the user should know of the traces of a replay, a line each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wattshed.agent.errors import counted
from wattshed.agent.replay.nothing import gpus_of_nothing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wattshed.agent.replay.books import Part, Settings
    from wattshed.agent.traces.jobs.jobs_file import JobRow


def notes_of(whole: Part, settings: Settings) -> list[str]:
    """Say in one line each what the user should know about the traces."""
    lines = [*settings.notes, *gpus_of_nothing(whole)]
    for report in whole.reports:
        lines += [f"{report.path}: {note}" for note in report.notes]
        if report.rows_rejected:
            reasons = ", ".join(f"{reason} {count}" for reason, count in report.rejected.most_common())
            at = next((f", first at line {bad.line}" for bad in report.bad if bad.line), "")
            lines.append(f"{report.path}: {report.rows_rejected} of {report.rows} rows rejected ({reasons}{at})")
    if settings.jobs is not None:
        lines += _of_jobs(whole, settings.jobs)
    return lines


def _of_jobs(whole: Part, jobs: Sequence[JobRow]) -> Iterator[str]:
    """Say which rows of the jobs file found nothing in the traces."""
    missing = sorted({row.host for row in jobs if row.host} - whole.matched_hosts)
    if missing:
        shown = ", ".join(missing[:5]) + (" ..." if len(missing) > 5 else "")
        nameless = any(not key.host for key in whole.accounts.gpus)
        hint = "; for a trace that names no host, write FILE@HOST" if nameless else ""
        yield f"the jobs file names hosts that are not in the traces: {shown}{hint}"
    booked = {job.key for job in whole.accounts.ledger.jobs.values()}
    absent = list(dict.fromkeys(row.job for row in jobs if row.job not in booked))
    if absent:
        shown = ", ".join(absent[:5]) + (" ..." if len(absent) > 5 else "")
        yield f"{counted(len(absent), 'job')} of the jobs file held no GPU of the traces in their time: {shown}"
