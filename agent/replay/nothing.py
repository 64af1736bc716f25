"""Nothing is no answer of 0 J: a replay in which nothing could be read is refused; a GPU without energy is named."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError, counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from wattshed.agent.accounts.account import GpuAccount
    from wattshed.agent.inputs.report import SourceReport
    from wattshed.agent.replay.books import Part

NO_READING, NO_INTERVAL = "no_reading", "no_interval"
"""Flags of a GPU without energy: nothing could be used, or no two readings that are close enough."""
_NAMED = 5
_NATIVE = "native"


def flags_of_nothing(account: GpuAccount) -> tuple[str, ...]:
    """Name why a GPU has no energy; nothing if it has some."""
    if account.energy_hnj > 0 or account.totals.covered_us > 0:
        return ()
    return (NO_INTERVAL,) if account.totals.samples > 0 else (NO_READING,)


def refuse_nothing(part: Part) -> None:
    """Refuse logs of which no GPU has energy; a recording of the agent may be one of GPUs that could not be read.

    Raises
    ------
    InputError
        It names the file, the first line and column, and what to do.
    """
    foreign = [report for report in part.reports if not report.format.startswith(_NATIVE)]
    accounts = part.accounts.gpus.values()
    if len(foreign) < len(part.reports) or not all(flags_of_nothing(account) for account in accounts):
        return
    unread = not any(account.totals.samples for account in accounts)
    if part.accounts.ledger.jobs and unread and not any(report.rejected for report in foreign):
        return  # a log of processes says who had GPUs, and for how long
    report = max(foreign, key=lambda one: one.rows_rejected)
    bad = next(iter(report.bad), None)
    if bad is None or not bad.line:
        bad = report.first or bad
    line, column = (bad.line, bad.column) if bad is not None else (0, 0)
    raise InputError(_why(report, list(accounts)), report.path, line, column)


def _why(report: SourceReport, accounts: list[GpuAccount]) -> str:
    if any(account.totals.samples for account in accounts):
        if all(account.totals.samples <= 1 for account in accounts):
            return "it has one reading of each GPU, and energy needs two: log for longer, or name more files"
        return "no two readings of a GPU are close enough to tell of the time between; say --max-gap SECONDS"
    reason, rows = report.rejected.most_common(1)[0] if report.rejected else ("", 0)
    if reason == "zero":
        return (
            f"power is 0 in {counted(rows, 'row')}, and a powered board draws more (loggers write 0 for a failed "
            "read): no reading can be used; say --columns power=COLUMN if it is another column"
        )
    if reason == "above_ceiling":
        return (
            f"power is above what a GPU can draw in {counted(rows, 'row')}: is it in mW? Say --columns "
            "power=COLUMN:mW, or --max-power WATTS"
        )
    if reason:
        return f"no reading can be used: {reason} in {counted(rows, 'row')}; say --columns if it is another column"
    return "its energy stands still, and there is no power beside it: no joule is known; log power as well"


def gpus_of_nothing(part: Part) -> Iterator[str]:
    """Say which GPUs have no energy, beside others that do."""
    by_flag: dict[str, list[str]] = {}
    for key, account in part.accounts.gpus.items():
        for flag in flags_of_nothing(account):
            by_flag.setdefault(flag, []).append(f"{key.host}/{key.gpu}" if key.host else key.gpu)
    said = {NO_READING: "no reading could be used", NO_INTERVAL: "no two readings are close enough"}
    for flag, names in by_flag.items():
        yield f"{said[flag]} of {counted(len(names), 'GPU')}, whose energy is not known: {_shown(names)}"


def _shown(names: Iterable[str]) -> str:
    names = sorted(names)
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
