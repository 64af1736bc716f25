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

from wattshed.kernels.billing.slots import COARSE, CONCURRENT, GAP, LIMITED, RING, SLOT_US, UNKNOWN, Slots
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


class Weights(NamedTuple):
    """What a state says of its places: the newest closed one (0), and the one before (1).

    Attributes
    ----------
    slot : int64[g, 2]
        After which slot; -1 none.
    cut, bare : int64[g, 2, n], 1024ths of the common line
        Within the bound, and as estimated.
    unlike : float64[g, 2, n, n]
        Covariance of the watts, relative to them.
    """

    slot: NDArray[np.int64]
    cut: NDArray[np.int64]
    bare: NDArray[np.int64]
    unlike: NDArray[np.float64]


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
    n, stranger = mean.shape[1], (spread * beliefs.prior_w[gpu]) ** 2
    for j in range(FEATURES, n):
        mean[gpu, j] *= kept
        for i in range(n):
            covariance[gpu, i, j] *= kept
        for i in range(n):
            covariance[gpu, j, i] *= kept
        covariance[gpu, j, j] += (1.0 - kept * kept) * stranger


@jit
def _learn(beliefs: Beliefs, gpu: int, power_w: float, h, gain) -> None:  # type: ignore[no-untyped-def]
    """Take one slot: its power, and ``h`` (float64[n]), the sums of the features and each place's activity."""
    mean, covariance, before = beliefs.mean, beliefs.covariance, beliefs.before
    n = mean.shape[1]
    noise = READING_W * READING_W + (MISFIT * power_w) ** 2
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
def _tell(beliefs: Beliefs, weights: Weights, gpu: int, slot: int, bound: float) -> None:
    """Write down what the state after a slot says; what the newest one said is what the one before it does."""
    n = beliefs.mean.shape[1]
    weights.slot[gpu, 1] = weights.slot[gpu, 0]
    weights.slot[gpu, 0] = slot
    common = max(beliefs.mean[gpu, 0], LEAST_PART * beliefs.prior_w[gpu])
    for i in range(FEATURES, n):
        weights.cut[gpu, 1, i], weights.bare[gpu, 1, i] = weights.cut[gpu, 0, i], weights.bare[gpu, 0, i]
        bare = max((beliefs.mean[gpu, 0] + beliefs.mean[gpu, i]) / common, 1.0 / ONE)
        weights.bare[gpu, 0, i] = int(min(bare, MOST_BARE) * ONE + 0.5)
        weights.cut[gpu, 0, i] = int(min(max(bare, 1.0 / bound), bound) * ONE + 0.5)
    for i in range(FEATURES, n):
        for j in range(FEATURES, n):
            weights.unlike[gpu, 1, i, j] = weights.unlike[gpu, 0, i, j]
            both = beliefs.covariance[gpu, 0, 0] + beliefs.covariance[gpu, 0, i] + beliefs.covariance[gpu, 0, j]
            scale = common * common * (weights.cut[gpu, 0, i] / ONE) * (weights.cut[gpu, 0, j] / ONE)
            weights.unlike[gpu, 0, i, j] = beliefs.inflation[gpu] * (both + beliefs.covariance[gpu, i, j]) / scale


@kernel(
    i64[:], f64, f64, f64, written(i64[:, :]), written(i64[:, :]), written(i64[:, :]), written(i64[:, :, :]),
    written(f64[:, :]), written(f64[:, :, :]), written(f64[:]), written(f64[:, :]), f64[:],
    written(i64[:, :]), written(i64[:, :, :]), written(i64[:, :, :]), written(f64[:, :, :, :]),
    written(i64[:, :]), written(i64[:, :, :]), written(f64[:, :]),
)  # fmt: skip
def close(  # type: ignore[no-untyped-def]
    known_us, kept, spread, bound, number, flags, energy, active, mean, covariance, inflation, before, prior_w,
    slot_of, cut, bare, unlike, uses, spent, room,
) -> None:  # fmt: skip
    """Close every slot of each GPU that ends before its energy is known until then (``known_us``, int64[g]).

    ``kept`` is what a slot leaves of a delta; ``uses`` (int64[g, len(USES)]) counts slots, ``spent``
    (int64[g, n, 2]) those that each job was alone in, and shared; ``room`` is float64[2, n].
    A GPU whose ``slot_of`` is -1 begins with the slot that its energy is known in: of that one only a part was seen.
    """
    slots = Slots(number, flags, energy, active)
    beliefs, weights = Beliefs(mean, covariance, inflation, before, prior_w), Weights(slot_of, cut, bare, unlike)
    n = mean.shape[1]
    for gpu in range(len(known_us)):
        last, newest = known_us[gpu] // SLOT_US - 1, slot_of[gpu, 0]
        if newest < 0:
            _tell(beliefs, weights, gpu, last + 1, bound)
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
            _tell(beliefs, weights, gpu, slot, bound)


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
