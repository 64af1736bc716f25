"""What each job draws at full activity, learned from how a shared GPU's power moves with the activities on it.

The mean dynamic power y of a slot of time (`kernels.billing.slots`) is taken to be

    y = sum_f beta_f F_f + sum_j delta_j a_j + noise

with a_j the mean activity of job j and F_f sums over all jobs: without MIG F_0 = sum a alone, so that beta_0 is the
common line K, what a job draws that nothing is known of, and k_j = K + delta_j. One scalar Kalman step a slot follows
(beta, delta). Between slots a delta fades towards 0 and its variance grows back to that of a stranger: a job that is
not seen returns to the common line.

Estimates touch no joule before they are whole numbers: weights per activity in 1024ths of the common line, cut to a
bound. Loops over float64 in one order, with no pow and no exp: the same to the last bit in every form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from wattshed.kernels.billing.slots import COARSE, CONCURRENT, GAP, LIMITED, RING, SLOT_US, UNKNOWN, Slots, rows_of
from wattshed.kernels.billing.usage import COMMON
from wattshed.kernels.entry import f64, i64, kernel, written
from wattshed.kernels.jit import jit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FEATURES = 3
"""beta: activity, and under MIG tensor cores and memory; places of jobs follow in every column."""
ONE = COMMON
"""The weight of the common line."""
ALONE_SLOTS, SHARED_SLOTS, CONCURRENT_SLOTS, LIMITED_SLOTS, UNKNOWN_SLOTS, COARSE_SLOTS = range(6)
USES = ("alone", "shared", "concurrent", "limited", "unknown", "coarse")
"""What slots were good for, as they are counted."""
READING_W, MISFIT, LATE, ROW_NOISE = 1.0, 0.05, 0.06, 2e-6
"""One sigma of a slot's power; what the model misses of it, relative; how late rows may be, in slots; and the square of
a row's own error."""
FORGETS = 0.02
MOST_INFLATION = 25.0
MOST_BARE = 16.0
CUT = 2
NOT_ASKED, NO_ROOM = -1, -2
"""Places of owners that have none: whether there is one was not asked yet; there is none."""
LEAST_PART = 0.02
"""No watts below this part of the prior's: a common line of nothing would divide by nothing."""


class Beliefs(NamedTuple):
    """What is believed of each GPU's watts.

    Attributes
    ----------
    mean : float64[g, n], W
        beta, then the deltas.
    covariance : float64[g, n, n], W^2
    inflation : float64[g]
        By how much the covariance is too small, by what the innovations say.
    before : float64[g, n]
        Activities of the slot before.
    prior_w : float64[g], W
        One sigma, and the mean, of the common line before anything is known.
    """

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    inflation: NDArray[np.float64]
    before: NDArray[np.float64]
    prior_w: NDArray[np.float64]


class KeptStates(NamedTuple):
    """The state after the newest closed slot (0), and after the one before (1), by which energy is split.

    Attributes
    ----------
    slot : int64[g, 2]
        After which slot; -1 none.
    mean : float64[g, 2, n], W
    covariance : float64[g, 2, n, n], W^2
        With the inflation.
    """

    slot: NDArray[np.int64]
    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]


@jit
def _power_of(base: float, count: int) -> float:
    """Return ``base ** count``, by multiplications alone."""
    result, square = 1.0, base
    while count > 0:
        if count & 1:
            result *= square
        square *= square
        count >>= 1
    return result


@jit
def _fade(beliefs: Beliefs, gpu: int, kept: float, spread: float) -> None:
    """Let the deltas fade by a factor, and their variances grow back to those of strangers."""
    mean, covariance = beliefs.mean, beliefs.covariance
    n, one_w = mean.shape[1], spread * beliefs.prior_w[gpu]
    for j in range(FEATURES, n):
        mean[gpu, j] *= kept
        for i in range(n):
            covariance[gpu, i, j] *= kept
        for i in range(n):
            covariance[gpu, j, i] *= kept
        covariance[gpu, j, j] += (1.0 - kept * kept) * (one_w * one_w)


@jit
def _learn(beliefs: Beliefs, gpu: int, power_w: float, h, gain) -> None:  # type: ignore[no-untyped-def]
    """Take one slot: its power, and ``h`` (float64[n]), the sums of the features and each place's activity."""
    mean, covariance, before = beliefs.mean, beliefs.covariance, beliefs.before
    n = mean.shape[1]
    missed_w = MISFIT * power_w
    noise = READING_W * READING_W + missed_w * missed_w
    for j in range(FEATURES, n):
        edge, watts = LATE * (h[j] - before[gpu, j]), mean[gpu, 0] + mean[gpu, j]
        if h[j] > 0.0 or edge != 0.0:
            noise += watts * watts * (edge * edge + ROW_NOISE)
    surprise, variance = power_w, noise
    for i in range(n):
        surprise -= h[i] * mean[gpu, i]
        gain[i] = 0.0
        for j in range(n):
            gain[i] += covariance[gpu, i, j] * h[j]
        variance += gain[i] * h[i]
    for i in range(n):
        mean[gpu, i] += gain[i] * surprise / variance
        for j in range(n):
            covariance[gpu, i, j] -= gain[i] * gain[j] / variance
    for i in range(n):
        covariance[gpu, i, i] = max(covariance[gpu, i, i], 0.0)
    grown = beliefs.inflation[gpu] + FORGETS * (surprise * surprise / variance - beliefs.inflation[gpu])
    beliefs.inflation[gpu] = min(max(grown, 1.0), MOST_INFLATION)


@jit
def _tell(beliefs: Beliefs, states: KeptStates, gpu: int, slot: int) -> None:
    """Keep the state after a slot; what was the newest one is the one before."""
    n = beliefs.mean.shape[1]
    states.slot[gpu, 1] = states.slot[gpu, 0]
    states.slot[gpu, 0] = slot
    for i in range(n):
        states.mean[gpu, 1, i] = states.mean[gpu, 0, i]
        states.mean[gpu, 0, i] = beliefs.mean[gpu, i]
        for j in range(n):
            states.covariance[gpu, 1, i, j] = states.covariance[gpu, 0, i, j]
            states.covariance[gpu, 0, i, j] = beliefs.inflation[gpu] * beliefs.covariance[gpu, i, j]


@jit
def _watts(mean, place: int, activity: int, tensor: int, memory: int) -> float:  # type: ignore[no-untyped-def]
    """Return what a row draws per activity, by a state; of whom nothing is known, by the common line."""
    watts = mean[0] + (mean[1] * max(tensor, 0) + mean[2] * max(memory, 0)) / activity
    return float(watts + mean[place] if place >= 0 else watts)


@kernel(i64[:, :], i64[:, :], i64[:, :], f64[:, :, :], f64[:], f64, written(i64[:, :]), returns=i64)
def weigh(table, place_of, slot_of, mean, prior_w, bound, told) -> int:  # type: ignore[no-untyped-def]
    """Give each row its weight per activity, in 1024ths of the common line: within the bound, and as estimated.

    Parameters
    ----------
    table : int64[10, m]
        As in `agent.accounts.pending_usage.PendingUsage`, GPU by GPU. The common line of a slot is what strangers as
        busy as its rows would draw.
    place_of : int64[g, owners]
        Each owner's place on each GPU, `NOT_ASKED` or `NO_ROOM`.
    slot_of, mean, prior_w : int64[g, 2], float64[g, 2, n], float64[g]
        See `KeptStates` and `Beliefs`.
    bound : float
    told : int64[4, m]
        Is filled with the rows' places (below 0: none), which of the two states counts for each, and both weights; the
        first of these has the place `CUT`.

    Returns
    -------
    int
        How many who are active were not asked whether there is a place.
    """
    rows, asking = rows_of(table), 0
    gpu, start, activity, tensor, dram = rows.gpu, rows.start_us, rows.rate, rows.tensor, rows.dram
    place, which, cut, bare = told[0], told[1], told[CUT], told[CUT + 1]
    for i in range(len(gpu)):
        place[i] = place_of[gpu[i], rows.owner[i]]
        asking += place[i] == NOT_ASKED and activity[i] > 0
        which[i] = slot_of[gpu[i], 1] == start[i] // SLOT_US - 2
    first = 0
    while first < len(gpu):
        g, stop = gpu[first], first + 1
        while stop < len(gpu) and gpu[stop] == g:
            stop += 1
        for i in range(first, stop):
            cut[i] = bare[i] = ONE
            if activity[i] <= 0:
                continue
            drawn, active = 0.0, 0.0
            for j in range(first, stop):
                if start[j] // SLOT_US == start[i] // SLOT_US and activity[j] > 0:
                    drawn += activity[j] * _watts(mean[g, which[j]], -1, activity[j], tensor[j], dram[j])
                    active += activity[j]
            least = LEAST_PART * prior_w[g]
            watts = _watts(mean[g, which[i]], place[i], activity[i], tensor[i], dram[i])
            ratio = min(max(watts, least) / max(drawn / active, least), MOST_BARE)
            bare[i] = max(int(ratio * ONE + 0.5), 1)
            cut[i] = int(min(max(ratio, 1.0 / bound), bound) * ONE + 0.5)
        first = stop
    return asking


@jit
def close(  # type: ignore[no-untyped-def]
    known_us, kept: float, spread: float, slots: Slots, beliefs: Beliefs, states: KeptStates, uses, spent, room
) -> None:
    """Close every slot of each GPU that ends before its energy is known until then (``known_us``, int64[g]).

    ``kept`` is what a slot leaves of a delta; ``uses`` (int64[g, len(USES)]) counts slots, ``spent``
    (int64[g, n, 2]) those that each job was alone in, and shared; ``room`` is float64[2, n].
    """
    covariance, before, n = beliefs.covariance, beliefs.before, beliefs.mean.shape[1]
    for gpu in range(len(known_us)):
        last, newest = known_us[gpu] // SLOT_US - 1, states.slot[gpu, 0]
        if newest < 0:  # nothing was seen of it
            continue
        if last - newest > RING:
            _fade(beliefs, gpu, _power_of(kept, last - newest - RING), spread)
            newest = last - RING
        for slot in range(newest + 1, last + 1):
            _fade(beliefs, gpu, kept, spread)
            at = slot % RING
            seen = slots.number[gpu, at] == slot
            why, users = slots.flags[gpu, at] if seen else GAP, 0
            for i in range(n):
                room[0, i] = slots.active[gpu, at, i] / (1e6 * SLOT_US) if seen else 0.0
                users += i >= FEATURES and room[0, i] > 0.0
            before_it = (slot - 1) % RING
            if room[0, 1] + room[0, 2] > 0.0 and covariance[gpu, 1, 1] + covariance[gpu, 2, 2] == 0.0:
                first = beliefs.prior_w[gpu] * beliefs.prior_w[gpu]  # of features that were not seen before
                covariance[gpu, 1, 1] = covariance[gpu, 2, 2] = first
            late = slots.number[gpu, before_it] == slot - 1 and slots.flags[gpu, before_it] & (CONCURRENT | LIMITED)
            if why == 0 and users > 0 and not late:
                _learn(beliefs, gpu, slots.energy_hnj[gpu, at] / (2e3 * SLOT_US), room[0], room[1])
            if users > 0 and not why & GAP:
                use = _use(why, users)
                uses[gpu, use] += 1
                for i in range(FEATURES, n):
                    if room[0, i] > 0.0:
                        spent[gpu, i, min(use, SHARED_SLOTS)] += 1
            for i in range(n):
                before[gpu, i] = room[0, i]
            _tell(beliefs, states, gpu, slot)


@jit
def _use(why: int, users: int) -> int:
    """Return what a slot counts as."""
    if why & COARSE:
        return COARSE_SLOTS
    if why & UNKNOWN:
        return UNKNOWN_SLOTS
    if why & CONCURRENT:
        return CONCURRENT_SLOTS
    if why & LIMITED:
        return LIMITED_SLOTS
    return ALONE_SLOTS if users == 1 else SHARED_SLOTS
