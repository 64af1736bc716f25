"""What a slot of time teaches of jobs' watts, in one call: usage, what it was billed, and the filter's step."""

from __future__ import annotations

from wattshed.kernels.billing.slots import BOOKED_COLUMNS, Slots, book, length_of, miss, rows_in, see, window_in
from wattshed.kernels.billing.watts import NOT_ASKED, Beliefs, KeptStates, close
from wattshed.kernels.entry import f64, i64, kernel, written
from wattshed.kernels.jit import jit

DONE, ASKED, LEFT = 0, 1, 2


@jit
def _somebody_asks(seen, window, place) -> bool:  # type: ignore[no-untyped-def]
    """Return whether somebody used a GPU of whom it was not asked yet whether there is a place."""
    at = 0
    for w in range(len(window)):
        rows = rows_in(seen, at, window[w, 2])
        for i in range(len(rows.gpu)):
            if rows.live[i] > 0 and place[rows.gpu[i], rows.owner[i]] == NOT_ASKED:
                return True
        at += length_of(window[w, 2], window[w, 3], window[w, 4])
    return False


@kernel(
    i64[:], f64[:], i64[:, :], i64[:, :], f64[:], i64[:], i64[:, :], i64[:, :], i64[:], i64, f64, f64,
    written(i64[:, :]), written(i64[:, :]), written(i64[:, :]), written(i64[:, :, :]),
    written(f64[:, :]), written(f64[:, :, :]), written(f64[:]), written(f64[:, :]), f64[:],
    written(i64[:, :]), written(f64[:, :, :]), written(f64[:, :, :, :]),
    written(f64[:]), written(i64[:, :]), written(i64[:, :]), written(i64[:, :, :]), written(f64[:, :]), returns=i64,
)  # fmt: skip
def learn(  # type: ignore[no-untyped-def]
    seen, gauges, window, place, own_limit_w, booked, split, hole, known_us, since_us, kept, spread,
    number, flags, energy, active, mean, covariance, inflation, before, prior_w, slot_of, mean_of, covariance_of,
    held_s, seen_us, uses, spent, room,
) -> int:  # fmt: skip
    """Enter windows and splits in the slots, then close those of which all energy is known.

    Parameters
    ----------
    seen, gauges, window : int64[*], float64[*], int64[w, 5]
        The windows one after the other, as `slots.window_in` takes them apart; and of each its begin and end (us), and
        how many rows, GPUs and readings it has.
    place : int64[g, owners]
        Of each owner on each GPU, or `watts.NOT_ASKED`, or `watts.NO_ROOM`.
    own_limit_w : float64[g]
    booked, split : int64[*], int64[k, 2]
        The splits one after the other, as `slots.book` takes them apart; and how many rows and GPUs each has.
    hole : int64[3, h]
    known_us : int64[g], us
        Until when energy is known; -1 closes nothing.
    since_us : int, us
        Who was not seen since then has left.
    kept, spread : float
        See `watts.close`.

    Returns
    -------
    int
        `ASKED`: nothing was done, for somebody needs to be asked for a place. `LEFT`: somebody has left. Else `DONE`.
    """
    if _somebody_asks(seen, window, place):
        return ASKED
    slots, beliefs = Slots(number, flags, energy, active), Beliefs(mean, covariance, inflation, before, prior_w)
    at, gauge = 0, 0
    for w in range(len(window)):
        see(window_in(seen, gauges, window, w, at, gauge), place, own_limit_w, held_s, seen_us, slot_of, slots)
        at += length_of(window[w, 2], window[w, 3], window[w, 4])
        gauge += 2 * window[w, 3]
    at = 0
    for k in range(len(split)):
        book(booked, at, split[k, 0], split[k, 1], slots)
        at += (BOOKED_COLUMNS + 1) * split[k, 0] + split[k, 1]
    miss(hole, slots)
    close(known_us, kept, spread, slots, beliefs, KeptStates(slot_of, mean_of, covariance_of), uses, spent, room)
    for g in range(seen_us.shape[0]):
        for i in range(seen_us.shape[1]):
            if seen_us[g, i] < since_us:
                return LEFT
    return DONE
