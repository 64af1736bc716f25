"""A counter that stands still beside a hole: what it says there is old, and no measure of what it says next."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from wattshed.agent.accounts.restart import go_on
from wattshed.kernels.billing.layout import Diagnostics, GpuState
from wattshed.kernels.billing.reconcile import merge, new_state
from wattshed.kernels.records import objects

S = 1_000_000
LIMIT, CEILING, GAP = 700_000, 1_050_000, 5 * S
BASE = 10**9
END = 300


def readings(faults, watts, *, end=END, first=0):
    """Readings (s, mW, mJ) of a steady load, power twice a second and the counter with every second one.

    ``faults``: (kind, from, to) in seconds; kinds are hole, restart (no reading), stuck, dip, jump, reset, uncounted.
    """

    def within(kind, t):
        return next((low for name, low, high in faults if name == kind and low <= t < high), None)

    for half in range(first, 2 * end + 1):
        t = half / 2
        if within("hole", t) is not None or within("restart", t) is not None:
            continue
        counted_s = within("stuck", t)
        counted_s = t if counted_s is None else counted_s
        resets = [low for name, low, _ in faults if name == "reset" and low <= counted_s]
        c = round((counted_s - max(resets)) * watts) if resets else BASE + round(counted_s * watts)
        if within("dip", t) is not None:
            c = 5_000
        elif within("jump", t) is not None:
            c += 10**15
        yield t, watts, -1 if half % 2 or within("uncounted", t) is not None else c


def book(rows, restarts=(), window_s=1):
    """Book rows in windows of a second, or all in one; returns intervals, diagnostics, and the state after them."""
    state, diagnostics, intervals = new_state(1), Diagnostics(), []
    number = [int(t // window_s) if window_s else sum(t >= r for r in restarts) for t, *_ in rows]
    bounds = [0, *(i for i in range(1, len(rows)) if number[i] != number[i - 1]), len(rows)]
    for lo, hi in itertools.pairwise(bounds):
        t, p, c = ([row[i] for row in rows[lo:hi]] for i in range(3))
        if lo and any(rows[lo - 1][0] < back <= t[0] for back in restarts):
            go_on(state, round(t[0] * S), same_boot=True)
        out = merge(
            np.array([0, hi - lo]), np.array([round(x * S) for x in t], np.int64), np.array(p, np.int32),
            np.array(c, np.int64), state, np.array([CEILING]), np.array([LIMIT]), np.array([GAP]),
            closing=hi == len(rows),
        )  # fmt: skip
        n = int(out.counts[0])
        columns = (out.t0_us, out.t1_us, out.energy_hnj, out.hole)
        intervals += list(zip(*(column[:n].tolist() for column in columns), strict=True))
        diagnostics.add(*objects(out.diagnostics, Diagnostics))
    return intervals, diagnostics, *objects(state, GpuState)


def booked(faults, watts, **how):
    back = [high for name, _, high in faults if name == "restart"]
    return book(list(readings(faults, watts)), back, **how)


def misplaced_s(intervals, watts):
    """How many seconds of the load are booked too early or too late, at most."""
    done, worst = 0, 0.0
    for _, t1, energy, _ in intervals:
        done += energy
        worst = max(worst, abs(done / 2 / S / watts - t1 / S))
    return worst


KINDS = {
    "stuck since it was away": [("hole", 36, 97), ("stuck", 69, 144)],
    "stuck since it went": [("hole", 36, 97), ("stuck", 37, 144)],
    "one stale reading": [("hole", 36, 97), ("stuck", 69, 97.5)],
    "two stale readings": [("hole", 36, 97), ("stuck", 69, 98.5)],
    "a long hole": [("hole", 36, 236), ("stuck", 69, 260)],
    "stuck for good": [("hole", 36, 97), ("stuck", 69, END + 1)],
    "stuck, then a hole in which it moves on": [("stuck", 30, 80), ("hole", 50, 97)],
    "stuck over a hole": [("stuck", 30, 120), ("hole", 50, 97)],
    "stuck before a hole, and again in it": [("stuck", 30, 60), ("hole", 50, 97), ("stuck", 70, 120)],
    "a hole while it is stuck": [("hole", 36, 97), ("stuck", 69, 200), ("hole", 120, 160)],
    "a hole in which it moves on": [("hole", 36, 97), ("stuck", 69, 140), ("hole", 120, 160)],
    "two holes": [("hole", 36, 50), ("stuck", 40, 60), ("hole", 55, 90), ("stuck", 80, 120)],
    "a restart": [("restart", 36, 97), ("stuck", 69, 144)],
    "stuck over a restart": [("stuck", 30, 144), ("restart", 50, 97)],
    "a restart while it is stuck": [("hole", 36, 97), ("stuck", 69, 200), ("restart", 120, 140)],
    "a dip while it is stuck": [("hole", 36, 97), ("stuck", 69, 144), ("dip", 120, 122)],
    "a dip as it moves on": [("hole", 36, 97), ("stuck", 69, 144), ("dip", 144, 146)],
    "a dip as it comes back": [("hole", 36, 97), ("stuck", 69, 144), ("dip", 97, 99)],
    "garbage as it comes back": [("hole", 36, 97), ("stuck", 69, 144), ("jump", 97, 99)],
    "a reset while it is stuck": [("hole", 36, 97), ("stuck", 69, 144), ("reset", 130, 0)],
    "a reset as it moves on": [("hole", 36, 97), ("stuck", 69, 144), ("reset", 144, 0)],
    "a reset later": [("hole", 36, 97), ("stuck", 69, 144), ("reset", 160, 0)],
    "a reset in the hole": [("hole", 36, 97), ("reset", 60, 0), ("stuck", 69, 144)],
    "a reset in the hole, stuck for a while": [("hole", 36, 97), ("reset", 60, 0), ("stuck", 69, 110)],
    "a reset at which it is stuck": [("reset", 60, 0), ("stuck", 60, 100)],
    "power comes back first": [("hole", 36, 80), ("uncounted", 80, 97), ("stuck", 69, 144)],
    "power comes back long before": [("hole", 36, 80), ("uncounted", 80, 140), ("stuck", 69, 200)],
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("watts", [80_000, 200_000, 400_000, 650_000])
def test_a_counter_that_is_stuck_beside_a_hole(kind, watts):
    intervals, diagnostics, _ = booked(KINDS[kind], watts)
    assert intervals[-1][1] == END * S
    assert sum(interval[2] for interval in intervals) == pytest.approx(END * watts * 2 * S, rel=0.004)
    assert misplaced_s(intervals, watts) < 2
    whole, diagnostics_of_whole, _ = booked(KINDS[kind], watts, window_s=0)
    assert sum(interval[2] for interval in whole) == sum(interval[2] for interval in intervals)
    assert diagnostics_of_whole == diagnostics


def test_what_is_booked_of_a_hole_before_the_counter_moves_on_is_an_estimate():
    intervals, diagnostics, _ = booked(KINDS["stuck since it was away"], 400_000)
    (hole,) = [interval for interval in intervals if interval[3]]
    assert diagnostics.estimated_us == pytest.approx(28 * S, abs=S)  # the other 33 s the stale reading tells
    assert hole[3] == 1 + diagnostics.estimated_us


def test_a_hole_is_booked_once_the_counter_is_seen_to_move():
    rows = [row for row in readings([("hole", 36, 97)], 400_000) if row[0] <= 98]
    state = new_state(1)

    def ends(some):
        times = np.array([round(t * S) for t, _, _ in some], np.int64)
        out = merge(
            np.array([0, len(some)]), times, np.array([p for _, p, _ in some], np.int32),
            np.array([c for _, _, c in some], np.int64), state, np.array([CEILING]), np.array([LIMIT]), np.array([GAP]),
        )  # fmt: skip
        return out.t1_us[: int(out.counts[0])].tolist()

    first = next(i for i, row in enumerate(rows) if row[0] >= 97 and row[2] >= 0)
    assert ends(rows[: first + 1])[-1] <= 36 * S
    assert ends(rows[first + 1 :])[-1] == 98 * S


@pytest.mark.parametrize("watts", [40_000, 150_000])
@pytest.mark.parametrize("joules", [60, 400, 800])
@pytest.mark.parametrize("seconds", [13, 29, 47])
def test_a_counter_that_falls_a_little_and_comes_back_is_booked_once(watts, joules, seconds):
    """The step back is one that the board could have used in a second; power says that it did not."""
    rows = [(t, p, c - joules * 1000 if c >= 0 and 100 <= t < 100 + seconds else c) for t, p, c in readings([], watts)]
    intervals, *_ = book(rows)
    assert sum(interval[2] for interval in intervals) == pytest.approx(END * watts * 2 * S, rel=1e-6)


@st.composite
def two(draw):
    """A hole or a restart, a counter that stands still, and when: before, after, inside, over."""
    low = draw(st.integers(10, 120))
    away = (draw(st.sampled_from(["hole", "restart"])), low, low + draw(st.integers(7, 100)))
    since = draw(st.integers(10, 250))
    return [away, ("stuck", since, since + draw(st.integers(1, 100)))]


@settings(max_examples=examples(300), deadline=None)
@given(two(), st.integers(60_000, 690_000))
def test_whenever_it_stands_still_the_load_is_booked_when_it_was_drawn(faults, watts):
    intervals, *_ = booked(faults, watts)
    assert all(a[1] == b[0] for a, b in itertools.pairwise(intervals))
    assert sum(interval[2] for interval in intervals) == pytest.approx(END * watts * 2 * S, abs=3 * watts * 2 * S)
    assert misplaced_s(intervals, watts) < 3
