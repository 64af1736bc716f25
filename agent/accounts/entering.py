"""Entries in the ledger: the time that jobs held and used GPUs, and the energy that was split among them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wattshed.agent.accounts.uncertainty import idle_sigma_mw, split_spread
from wattshed.agent.accounts.unseen import BEFORE

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from wattshed.agent.accounts.ledger import GpuKey, Ledger
    from wattshed.agent.accounts.pending_usage import PendingUsage
    from wattshed.agent.window import Device
    from wattshed.kernels.billing.split import Split


def enter_time(ledger: Ledger, rows: PendingUsage, keys: Sequence[GpuKey]) -> None:
    """Enter the time of new usage rows; ``keys`` names the GPUs by their places."""
    columns = (rows.gpu, rows.owner, rows.start_us, rows.end_us, rows.live)
    for gpu, place, start, end, live in zip(*(column.tolist() for column in columns), strict=True):
        owner = rows.owners[place]
        if live == BEFORE and owner.key not in ledger.jobs:
            continue  # it may have been there, but its account is closed
        job = ledger.job(owner.key, owner.labels)
        known = keys[gpu] in job.lines
        line = job.line(keys[gpu])
        line.unread_us += end - start
        if live < 0:
            continue
        if live:
            line.active_us += end - start
        else:
            line.held_us += end - start
        if not known or start > job.end_us:
            line.edges += 2
        job.seen(start, end)


def enter_energy(  # noqa: PLR0917 - the parts of a split, and what is known of its GPUs
    ledger: Ledger,
    rows: PendingUsage,
    keys: Sequence[GpuKey],
    parts: Split,
    covered_us: NDArray[np.int64],
    untold_hnj: NDArray[np.int64],
    devices: Sequence[Device],
) -> None:
    """Enter what was split among usage rows.

    Parameters
    ----------
    ledger : Ledger
    rows : PendingUsage
        Those among which it was split.
    keys : sequence of GpuKey
        The GPUs by their places.
    parts : Split
        What each row got.
    covered_us : int64[n], us
        How much of each row's time that was measured in.
    untold_hnj : int64[n], hnj
        What each row may have got of energy that nothing tells whose it was.
    devices : sequence of Device
        The GPUs: how far watts per activity, and idle power, spread on them.
    """
    spread, idle_mw = [split_spread(one) for one in devices], [idle_sigma_mw(one) for one in devices]
    columns = (
        rows.gpu, rows.owner, parts.static_hnj, parts.dynamic_hnj, parts.peak_mw, parts.method,
        parts.unlike_hnj, parts.guessed_hnj, parts.booked_us, parts.idle_us, covered_us, untold_hnj,
    )  # fmt: skip
    for gpu, place, static, dynamic, peak, method, unlike, guessed, booked_us, idle_us, covered, untold in zip(
        *(column.tolist() for column in columns), strict=True
    ):
        if booked_us <= 0:
            continue
        owner = rows.owners[place]
        job = ledger.job(owner.key, owner.labels)
        line = job.line(keys[gpu])
        line.static_hnj += static
        line.dynamic_hnj += dynamic
        line.peak_mw, line.cut_peak_mw = max(line.peak_mw, peak), max(line.cut_peak_mw, peak)
        line.split_hnj += int(unlike * spread[gpu]) + guessed
        line.unread_us = max(line.unread_us - booked_us, 0)
        line.covered_us += covered
        line.untold_hnj += untold
        line.idle_hnj += 2 * idle_us * idle_mw[gpu]
        job.method |= method
