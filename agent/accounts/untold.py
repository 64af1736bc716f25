"""What nothing measured of a GPU's energy, owner by owner: their part of the sigma that `gpu_sigma_j` has for it.

Three times are so: a hole whose energy is an estimate, a hole that is booked as nothing, and the time in which a power
sensor stands still where there is no counter. One sigma of each is split among those who were there by the very rules
that split energy; so the parts of a GPU's jobs sum to no more than the GPU's own, and who came later has none of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from wattshed.agent.accounts.uncertainty import FROZEN_US, estimated_w, frozen_w, missing_w, split_spread
from wattshed.exporters.units import HNJ_PER_JOULE
from wattshed.kernels.billing.split import split

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from wattshed.agent.accounts.account import GpuAccount
    from wattshed.agent.accounts.pending_usage import PendingUsage
    from wattshed.kernels.billing.layout import EnergyIntervals

HNJ_PER_WUS = HNJ_PER_JOULE / 1e6
_MOST_HNJ = 1 << 62
"""Of a GPU at once: what its owners' parts, and their doubt, fit an int64 with."""


class _Time(NamedTuple):
    """A time whose energy was not measured, us, and one sigma of what was used in it, hnj."""

    start_us: int
    end_us: int
    sigma_hnj: int


def untold_hnj(
    intervals: EnergyIntervals, state: NDArray[np.void], accounts: Sequence[GpuAccount], rows: PendingUsage
) -> NDArray[np.int64] | None:
    """Split one sigma of what nothing measured among the usage rows that are there.

    Parameters
    ----------
    intervals : EnergyIntervals
        As booked now.
    state : kernels.billing.layout.GPU_STATE[g]
        After them.
    accounts : sequence of GpuAccount
        With these intervals in.
    rows : PendingUsage
        Who may have been there (`agent.accounts.unseen`) is one of them: nothing of such a time is known of anybody.

    Returns
    -------
    int64[m], hnj, or None
        None: everything was measured.
    """
    by_power = [account.method == "power" for account in accounts]
    if not (any(by_power) or intervals.hole.any()):
        return None
    bounds = np.searchsorted(rows.gpu, np.arange(len(accounts) + 1)).astype(np.int64)
    found: list[list[_Time]] = []
    for i, account in enumerate(accounts):
        mine = slice(int(intervals.starts[i]), int(intervals.starts[i] + intervals.counts[i]))
        times = list(_of_holes(intervals, mine, account))
        if by_power[i] and bounds[i] < bounds[i + 1]:
            times += _of_a_still_sensor(intervals, mine, int(state["run_since_us"][i]), account)
        most = _MOST_HNJ // max(len(times), 1)  # less than a hole of months may have
        found.append(sorted(time._replace(sigma_hnj=min(time.sigma_hnj, most)) for time in times))
    if not any(found):
        return None
    flat = np.array([time for times in found for time in times], np.int64)
    counts = np.array([len(times) for times in found], np.int64)
    start_us, end_us, sigma = np.ascontiguousarray(flat.T)
    maybe = rows.live < 0
    parts = split(
        np.cumsum(counts) - counts, counts, start_us, end_us, sigma, np.full(len(found), -1, np.int64), bounds,
        rows.start_us, rows.end_us, rows.activity_ppm, rows.busy_ppm,
        np.where(maybe, -1, rows.share_ppm), np.where(maybe, 1, rows.live).astype(np.int8),
    )  # fmt: skip
    spread = np.array([split_spread(account.device) for account in accounts])[rows.gpu]
    # Its part, and that nobody knows its part; both are of what is not known anyway.
    doubt = np.hypot(parts.unlike_hnj * spread, parts.guessed_hnj)
    sigma_hnj: NDArray[np.int64] = np.rint(np.hypot(parts.dynamic_hnj, doubt)).astype(np.int64)
    return sigma_hnj


def _of_holes(intervals: EnergyIntervals, mine: slice, account: GpuAccount) -> Iterator[_Time]:
    """Yield the holes that are estimated or booked as nothing, see `kernels.billing.layout.EnergyIntervals`."""
    marks = intervals.hole[mine]
    for k in (mine.start + np.flatnonzero((marks < 0) | (marks > 1))).tolist():
        mark = int(intervals.hole[k])
        watts = missing_w(account) * -mark if mark < 0 else estimated_w(account) * (mark - 1)
        yield _Time(int(intervals.t0_us[k]), int(intervals.t1_us[k]), round(watts * HNJ_PER_WUS))


def _of_a_still_sensor(intervals: EnergyIntervals, mine: slice, run_us: int, account: GpuAccount) -> Iterator[_Time]:
    """Yield the times in which power stood at the very same value for longer than a sensor that lives ever does.

    This is noticed `FROZEN_US` after it began: who is there then answers for that time too.
    """
    t0, t1, begin = intervals.t0_us[mine], intervals.t1_us[mine], intervals.begin_mw[mine]
    still = (begin == intervals.end_mw[mine]) & (begin > 0)
    if not still.any():
        return
    goes_on = still[1:] & still[:-1] & (t0[1:] == t1[:-1])
    first = np.flatnonzero(still & ~np.concatenate([[False], goes_on]))
    last = np.flatnonzero(still & ~np.concatenate([goes_on, [False]]))
    for a, b in zip(first.tolist(), last.tolist(), strict=True):
        start_us, end_us = int(t0[a]), int(t1[b])
        # What still stands at the end of these intervals may have begun before them.
        since_us = min(start_us, run_us) if a == 0 and b == len(t1) - 1 and run_us >= 0 else start_us
        if end_us - since_us > FROZEN_US:
            untold_us = end_us - (start_us if start_us - since_us > FROZEN_US else since_us)
            yield _Time(start_us, end_us, round(frozen_w(account) * untold_us * HNJ_PER_WUS))
