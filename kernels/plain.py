"""The plain case at the speed of memory: power only, every reading good, nobody on the GPUs.

Most of a long trace is like that, and then booking needs no pieces: the sums of `kernels.booking.merge` and
`kernels.splitting.split` follow from one pass that the compiler turns into vector code. The pass also looks for
anything out of the ordinary; if there is any, the window is left to those two. Both ways give the same integers.
"""

# Kernels are typed by numba when they are first called; what Python calls is annotated.
# mypy: allow-untyped-defs, allow-untyped-calls
# ruff: noqa: ANN202

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kernels import booking
from kernels.jit import jit, prange

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHUNK = 65_536
PARALLEL_FROM = 4 * CHUNK
_MOST = 1 << 62
_ENERGY, _STATIC, _COVERED, _GAP, _GAPS, _EQUAL, _LOW, _HIGH, _BACK = range(9)


@jit
def _survey(time_us, power_mw, lo, hi, max_gap_us, twice_idle, out):
    """Sum the intervals that end in rows ``lo:hi`` (each with the row before it)."""
    energy = static = covered = gap = gaps = equal = np.int64(0)
    low = high = np.int64(power_mw[lo])
    back = np.int64(0)
    times, powers = time_us[lo - 1 : hi], power_mw[lo - 1 : hi]  # sliced first, or the loop is not vectorised
    for i in range(1, len(times)):
        dt = times[i] - times[i - 1]
        before, power = np.int64(powers[i - 1]), np.int64(powers[i])
        back = min(back, dt)
        low, high = min(low, power), max(high, power)
        within = np.int64(dt <= max_gap_us)
        span = dt * within
        amount = (before + power) * span
        energy += amount
        static += min(amount, twice_idle * span)
        covered += span
        gap += dt - span
        gaps += 1 - within
        equal += np.int64(before == power)
    out[0], out[1], out[2], out[3], out[4], out[5], out[6], out[7], out[8] = (
        energy, static, covered, gap, gaps, equal, low, high, back,
    )  # fmt: skip


@jit
def _survey_all(time_us, power_mw, first, last, gpu, max_gap_us, twice_idle, out):
    for chunk in range(len(first)):
        _survey(
            time_us, power_mw, first[chunk], last[chunk], max_gap_us[gpu[chunk]], twice_idle[gpu[chunk]], out[chunk]
        )


@jit(parallel=True)
def _survey_parallel(time_us, power_mw, first, last, gpu, max_gap_us, twice_idle, out):
    for chunk in prange(len(first)):
        _survey(
            time_us, power_mw, first[chunk], last[chunk], max_gap_us[gpu[chunk]], twice_idle[gpu[chunk]], out[chunk]
        )


@jit
def _longest_run(time_us, power_mw, lo, hi, max_gap_us, run_t, run_max):
    """Go on with the run of equal readings without a gap: (its start, the longest so far)."""
    for i in range(lo, hi):
        if power_mw[i] == power_mw[i - 1] and time_us[i] - time_us[i - 1] <= max_gap_us:
            run_max = max(run_max, time_us[i] - run_t)
        else:
            run_t = time_us[i]
    return run_t, run_max


def book_plain(
    offsets: NDArray[np.int64],
    time_us: NDArray[np.int64],
    power_mw: NDArray[np.int32],
    state: NDArray[np.int64],
    ceiling_mw: NDArray[np.int64],
    max_gap_us: NDArray[np.int64],
    idle_mw: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Book a window that has no counter and no usage, if nothing in it is out of the ordinary.

    Parameters
    ----------
    offsets, time_us, power_mw, state, ceiling_mw, max_gap_us
        As for `kernels.booking.merge`; ``state`` is changed only if the window is booked.
    idle_mw : int64[g], mW
        -1 unknown.

    Returns
    -------
    (tally, static_hnj) or None
        int64[g, booking.TALLIES] and int64[g]: what `merge` would tally, and what `split` would give to nobody as
        static. None: there is something to look at more closely.
    """
    gpus = len(offsets) - 1
    if (state[:, booking.COUNTER] >= 0).any() or not len(time_us):
        return None
    counts = np.diff(offsets)
    live = np.flatnonzero(counts)
    begins, ends = offsets[live], offsets[live + 1] - 1
    first_t = np.where(state[live, booking.POWER_T] >= 0, state[live, booking.POWER_T], time_us[begins])
    span = np.maximum(time_us[ends] - first_t, 0).astype(np.float64)
    if (span * 2.0 * ceiling_mw[live] >= _MOST).any():
        return None
    # Chunks of intervals; the one that reaches back into the window before is the state's own, below.
    starts = [np.arange(lo + 1, hi + 1, CHUNK) for lo, hi in zip(begins.tolist(), ends.tolist(), strict=True)]
    first = np.concatenate(starts) if starts else np.empty(0, np.int64)
    gpu = np.repeat(live, [len(s) for s in starts])
    last = np.minimum(first + CHUNK, offsets[gpu + 1])
    out = np.zeros((len(first), 9), np.int64)
    twice_idle = 2 * np.maximum(idle_mw, 0)
    survey = _survey_parallel if len(time_us) >= PARALLEL_FROM else _survey_all
    if len(first):
        survey(time_us, power_mw, first, last, gpu, max_gap_us, twice_idle, out)
    sums = np.zeros((gpus, 9), np.int64)
    for column in (_ENERGY, _STATIC, _COVERED, _GAP, _GAPS, _EQUAL):
        np.add.at(sums[:, column], gpu, out[:, column])
    sums[:, _LOW], sums[:, _HIGH] = _MOST, 0
    np.minimum.at(sums[:, _LOW], gpu, out[:, _LOW])
    np.maximum.at(sums[:, _HIGH], gpu, out[:, _HIGH])
    np.minimum.at(sums[:, _BACK], gpu, out[:, _BACK])
    lead = power_mw[begins].astype(np.int64)
    sums[live, _LOW], sums[live, _HIGH] = np.minimum(sums[live, _LOW], lead), np.maximum(sums[live, _HIGH], lead)
    backwards = time_us[begins] < state[live, booking.LAST_T]
    odd = (sums[live, _LOW] <= 0) | (sums[live, _HIGH] > ceiling_mw[live]) | (sums[live, _BACK] < 0) | backwards
    if odd.any():
        return None
    tally = np.zeros((gpus, booking.TALLIES), np.int64)
    static = np.zeros(gpus, np.int64)
    for i in live.tolist():
        static[i] = _enter(
            time_us, power_mw, int(offsets[i]), int(offsets[i + 1]), state[i], tally[i], sums[i], int(max_gap_us[i]),
            int(twice_idle[i]),
        )  # fmt: skip
    return tally, static


def _enter(
    time_us: NDArray[np.int64],
    power_mw: NDArray[np.int32],
    lo: int,
    hi: int,
    s: NDArray[np.int64],
    tally: NDArray[np.int64],
    sums: NDArray[np.int64],
    max_gap_us: int,
    twice_idle: int,
) -> int:
    """Add one GPU's sums, and the interval from the window before, to state and tally; returns its static energy."""
    t, p = int(time_us[lo]), int(power_mw[lo])
    energy, static, covered, gap, gaps, equal = (int(n) for n in sums[: _EQUAL + 1])
    run_t, run_max = t, int(s[booking.RUN_MAX])
    if s[booking.POWER_T] >= 0:
        before_t, before = int(s[booking.POWER_T]), int(s[booking.POWER])
        dt = t - before_t
        if before == p and dt <= max_gap_us:
            run_t = int(s[booking.RUN_T])
            run_max = max(run_max, t - run_t)
        if dt > max_gap_us:
            gap, gaps = gap + dt, gaps + 1
        else:
            amount = (before + p) * dt
            energy, static, covered = energy + amount, static + min(amount, twice_idle * dt), covered + dt
    if equal:
        run_t, run_max = (int(n) for n in _longest_run(time_us, power_mw, lo + 1, hi, max_gap_us, run_t, run_max))
    elif hi - lo > 1:
        run_t = int(time_us[hi - 1])
    s[booking.RUN_T], s[booking.RUN_MAX] = run_t, run_max
    s[booking.POWER_MIN] = sums[_LOW] if s[booking.POWER_MIN] < 0 else min(int(s[booking.POWER_MIN]), int(sums[_LOW]))
    s[booking.POWER_MAX] = max(int(s[booking.POWER_MAX]), int(sums[_HIGH]))
    if s[booking.FIRST_T] < 0:
        s[booking.FIRST_T] = t
    for column in (booking.LAST_T, booking.POWER_T, booking.SHAPE_T, booking.BOOKED_T):
        s[column] = time_us[hi - 1]
    s[booking.POWER] = power_mw[hi - 1]
    for column, value in (
        (booking.SAMPLES, hi - lo), (booking.COVERED, covered), (booking.GAP, gap), (booking.GAPS, gaps),
        (booking.POWER_HNJ, energy), (booking.BOOKED_BY_POWER, energy),
    ):  # fmt: skip
        tally[column] = value
    return static
