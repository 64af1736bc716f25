"""Booked energy intervals, split among those who were there, and entered in the accounts of GPUs and jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.accounts.calibration import correct
from wattshed.agent.accounts.entering import enter_energy
from wattshed.agent.accounts.unseen import set_aside
from wattshed.agent.accounts.untold import untold_hnj
from wattshed.kernels.billing.layout import Diagnostics
from wattshed.kernels.billing.split import split
from wattshed.kernels.billing.watts import CUT
from wattshed.kernels.records import objects

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from wattshed.agent.accounts.account import GpuAccount
    from wattshed.agent.accounts.host import HostAccounts
    from wattshed.agent.accounts.ledger import GpuKey, Ledger
    from wattshed.agent.accounts.pending_usage import PendingUsage
    from wattshed.kernels.billing.layout import EnergyIntervals

_ZERO = np.zeros(1, np.int64)


def enter_split(
    intervals: EnergyIntervals,
    rows: PendingUsage,
    host: HostAccounts,
    gpus: Mapping[GpuKey, GpuAccount],
    ledger: Ledger,
) -> None:
    """Split intervals of one host among usage rows, and enter the result.

    Parameters
    ----------
    intervals : EnergyIntervals
        Of the host's GPUs, in its order; they are corrected in place.
    rows : PendingUsage
        Who was there, or may have been.
    host : HostAccounts
    gpus : mapping of GpuKey to GpuAccount
    ledger : Ledger
    """
    if host.limits.calibrated:
        correct(intervals, [gpus[key].device for key in host.keys])
    aside = set_aside(intervals, rows, host.limits.idle_mw)
    sure, everybody = rows.live >= 0, rows
    rows = rows if sure.all() else rows.keep(sure)
    bounds = np.searchsorted(rows.gpu, np.arange(len(host.keys) + 1)).astype(np.int64)
    hole = intervals.hole if intervals.hole.any() else None
    told = host.watts.told(rows) if host.watts is not None and host.watts.rule.learned else None
    parts = split(
        intervals.starts, intervals.counts, intervals.t0_us, intervals.t1_us, intervals.energy_hnj,
        host.limits.idle_mw, bounds, rows.start_us, rows.end_us, rows.activity_ppm, rows.busy_ppm,
        rows.share_ppm, rows.live,
        begin_mw=intervals.begin_mw, end_mw=intervals.end_mw, hole=hole,
        owner=None if hole is None else rows.whose(), rests=True,
        watts=None if told is None else told[CUT],
    )  # fmt: skip
    if host.watts is not None:
        host.watts.book(rows, parts, None if hole is None else intervals, told)
    energy = _sums(intervals, intervals.energy_hnj)
    covered = _sums(intervals, intervals.t1_us - intervals.t0_us - np.maximum(-intervals.hole, 0))
    idle, nobodys = parts.idle_hnj.tolist(), parts.unattributed_hnj.tolist()
    for i, (key, happened) in enumerate(zip(host.keys, objects(intervals.diagnostics, Diagnostics), strict=True)):
        aside_hnj = aside.nobodys_hnj.get(i, 0)
        gpus[key].add(happened, energy[i] + aside_hnj, covered[i], idle[i], nobodys[i] + aside_hnj)
    untold = untold_hnj(intervals, host.state, [gpus[key] for key in host.keys], everybody)
    aside.enter(ledger, everybody, host.keys, untold)
    if ledger.work:
        ledger.work.note(rows, host.keys, parts, intervals)
    untold = np.zeros_like(parts.booked_us) if untold is None else untold[sure]
    covered_us = parts.booked_us - _unmeasured_us(intervals, rows)
    enter_energy(ledger, rows, host.keys, parts, covered_us, untold, [gpus[key].device for key in host.keys])


def _unmeasured_us(intervals: EnergyIntervals, rows: PendingUsage) -> NDArray[np.int64]:
    """Return how much of each row's time (us) is booked as nothing: what was used in it, nothing measured."""
    found = np.zeros(len(rows.gpu), np.int64)
    for k in np.flatnonzero(intervals.hole < 0).tolist():
        gpu = int(np.searchsorted(intervals.starts, k, "right")) - 1
        if k >= intervals.starts[gpu] + intervals.counts[gpu]:
            continue  # room that nobody filled
        begin, end, unmeasured = int(intervals.t0_us[k]), int(intervals.t1_us[k]), -int(intervals.hole[k])
        there = np.where(rows.gpu == gpu, np.minimum(rows.end_us, end) - np.maximum(rows.start_us, begin), 0)
        for row in np.flatnonzero(there > 0).tolist():
            found[row] += int(there[row]) * unmeasured // (end - begin)  # a product of two days is beyond an int64
    return found


def _sums(intervals: EnergyIntervals, amounts: NDArray[np.int64]) -> list[int]:
    """Return the sum of each GPU's intervals; words that wrap, over room that nobody filled, wrap back."""
    upto = np.concatenate([_ZERO, np.cumsum(amounts)])
    return (upto[intervals.starts + intervals.counts] - upto[intervals.starts]).tolist()  # type: ignore[no-any-return]
