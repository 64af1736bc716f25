"""Owners who come or go in a hole, and nobody sees when: none is billed for another's time, and sigma holds it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.accounts.made import S, device, window
from tests.depth import examples
from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.accounts.calibration import Calibrator
from wattshed.agent.accounts.late_holes import ENOUGH_US, LateHoles
from wattshed.agent.accounts.ledger import GpuKey
from wattshed.agent.accounts.pending_usage import PendingUsage
from wattshed.agent.accounts.state import StateFile
from wattshed.agent.accounts.uncertainty import job_sigma_j
from wattshed.agent.accounts.unseen import AFTER, BEFORE, set_aside
from wattshed.agent.window import Event, JobKey, Owner, Usage
from wattshed.kernels.billing.layout import DIAGNOSTICS, EnergyIntervals

T0 = 1_700_000_000 * S
IDLE = 70
BEFORE_S, AFTER_S = 20, 15
EXACT = device(sigma_gain_ppm=0)


def node(hole_s, jobs, *, restart=False):
    """Windows of a second of a GPU of which nothing is known for ``hole_s`` after 20 s, and what each job drew, J.

    ``jobs``: key -> (from, until, watts above idle by second, whether its beginning in the hole is told after it).
    """
    whole = BEFORE_S + hole_s + AFTER_S
    drawn = np.full(whole, float(IDLE))
    truth = {}
    for key, (since, until, watts, _) in jobs.items():
        there = np.arange(since, until)
        mine = np.array([watts(n) for n in there], float)
        sharers = np.array([sum(a <= n < b for a, b, *_ in jobs.values()) for n in there])
        truth[key] = float((mine + IDLE / np.maximum(sharers, 1)).sum())
        drawn[there] += mine
    counter = np.concatenate([[0], np.cumsum(drawn)])
    windows = []
    for n in range(whole):
        t, lost = T0 + n * S, BEFORE_S <= n < BEFORE_S + hole_s
        if lost and restart:
            continue
        rows = [] if lost else [(t, round(drawn[n] * 1000), round(counter[n] * 1000))]
        first = n == BEFORE_S + hole_s
        usage = []
        for key, (since, until, _, told) in jobs.items():
            if not lost and since <= n < until:
                start = T0 + since * S if first and told and since >= BEFORE_S else t
                usage.append((0, key, start, t + S, -1, -1, 1))
            elif BEFORE_S <= n < BEFORE_S + 7 and since < BEFORE_S and not restart:
                usage.append((0, key, t, t + S, -1, -1, 1))  # as long as a process counts as there that is not listed
        events = (Event(t, "restart", detail="same-boot"),) if first and restart else ()
        windows.append(window(t, t + S, [rows], usage, devices=(EXACT,), host="h", seq=n, events=events))
    return windows, truth


def book(windows, accounts=None):
    accounts = accounts or Accounts()
    for one in windows:
        accounts.add(one)
    accounts.finish()
    (account,) = accounts.gpus.values()
    jobs = accounts.ledger.jobs
    parts = account.idle_hnj + account.unattributed_hnj + sum(job.energy_hnj for job in jobs.values())
    assert account.energy_hnj == parts
    bill = {key: job.energy_hnj / 2e9 for key, job in jobs.items()}
    return bill, {key: job_sigma_j(job, accounts.gpus) for key, job in jobs.items()}, account.unattributed_hnj / 2e9


def steady(watts):
    return lambda n: watts


def bursty(watts, phase):
    """Full power for two seconds of three."""
    return lambda n: watts if (n + phase) % 3 else watts / 8


holes = st.integers(10, 400)
watts = st.integers(30, 300)
parts = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted)


@settings(max_examples=examples(25), deadline=None)
@given(holes, watts, watts, parts, st.integers(0, 2))
@example(236, 229, 287, (0.0804, 0.1984), 1)
def test_who_is_told_to_have_come_is_billed_what_it_drew_whenever_the_one_before_it_went(hole_s, one, two, when, phase):
    gone, came = (BEFORE_S + int(part * (hole_s - 1)) for part in when)
    jobs = {
        "a": (0, gone, bursty(one, phase), False),
        "b": (came, BEFORE_S + hole_s + AFTER_S, bursty(two, phase), True),
    }
    windows, truth = node(hole_s, jobs)
    bill, sigma, _ = book(windows)
    # The seconds after the hole stand for it: of a load in bursts they may hold a pause more, or less, than their part.
    assert bill["b"] == pytest.approx(truth["b"], rel=0.2, abs=3 * two)
    assert bill["b"] == pytest.approx(truth["b"], abs=2 * sigma["b"] + 3 * two)
    assert bill["a"] <= truth["a"] + 3 * one
    assert truth["a"] - bill["a"] <= 2 * sigma["a"] + 3 * one


@settings(max_examples=examples(25), deadline=None)
@given(holes, watts, watts, parts, st.booleans(), st.sampled_from(["ab", "a", "b"]))
def test_nobody_is_billed_for_a_hole_who_came_or_went_unseen(hole_s, one, two, when, restart, which):
    gone, came = (BEFORE_S + int(part * (hole_s - 1)) for part in when)
    jobs = {"a": (0, gone, steady(one), False), "b": (came, BEFORE_S + hole_s + AFTER_S, steady(two), False)}
    windows, truth = node(hole_s, {key: jobs[key] for key in which}, restart=restart)
    bill, sigma, nobodys = book(windows)
    seen = {"a": BEFORE_S * (one + IDLE), "b": AFTER_S * (two + IDLE)}
    for key in which:
        edge = 2 * max(one, two) + 2 * IDLE
        assert bill[key] == pytest.approx(seen[key], abs=edge)
        assert truth[key] - bill[key] <= 2 * sigma[key] + edge
    assert nobodys == pytest.approx(sum(truth[key] - seen[key] for key in which), abs=hole_s * IDLE + 4 * max(one, two))


@settings(max_examples=examples(25), deadline=None)
@given(holes, watts, watts, st.floats(0, 1), st.sampled_from(["goes", "comes"]))
def test_who_stays_keeps_a_hole_whoever_else_goes_or_comes(hole_s, one, two, part, what):
    moment, whole = BEFORE_S + int(part * (hole_s - 1)), BEFORE_S + hole_s + AFTER_S
    other = (0, moment) if what == "goes" else (moment, whole)
    jobs = {"a": (0, whole, steady(one), False), "b": (*other, steady(two), False)}
    bill, sigma, _ = book(node(hole_s, jobs, restart=what == "comes")[0])
    truth = node(hole_s, jobs)[1]
    assert bill["a"] == pytest.approx(truth["a"], abs=2 * sigma["a"])
    assert bill["b"] == pytest.approx(truth["b"], abs=2 * sigma["b"])


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("key", ["a", "b"])
def test_without_a_counter_sigma_holds_the_time_in_which_nobody_saw_a_job(key, restart):
    job = {"a": (0, 110, steady(300), False), "b": (30, 135, steady(300), False)}[key]
    windows, truth = node(100, {key: job}, restart=restart)
    alone = [
        replace(w, readings=replace(w.readings, counter_mj=np.full(len(w.readings.counter_mj), -1))) for w in windows
    ]
    bill, sigma, _ = book(alone)
    assert 20_000 < truth[key] - bill[key] < 2 * sigma[key]


@pytest.mark.parametrize("claimed_s", [0, 1, 7])
def test_how_long_the_one_before_was_claimed_changes_nothing_for_the_one_after(claimed_s):
    """An agent that was stopped claims nobody in the window that it cut late."""
    jobs = {"a": (0, 40, steady(300), False), "b": (70, 95, steady(300), True)}
    windows, truth = node(60, jobs)
    cut = [
        one if not BEFORE_S - 1 + claimed_s <= n < BEFORE_S + 60 else replace(one, usage=Usage.empty())
        for n, one in enumerate(windows)
    ]
    bill, _, _ = book(cut)
    assert bill["b"] == pytest.approx(truth["b"], abs=400)
    assert bill["a"] == pytest.approx(BEFORE_S * 370, abs=750)


def intervals_of(*intervals):
    """EnergyIntervals of one GPU: (from, until, J, mW before, mW after, hole)."""
    t0, t1, energy, begin, end, hole = zip(*intervals, strict=True)
    return EnergyIntervals(
        np.zeros(1, np.int64), np.array([len(intervals)]), T0 + np.array(t0) * S, T0 + np.array(t1) * S,
        np.array(energy, np.int64) * 2_000_000_000, np.array(begin), np.array(end), np.array(hole, np.int64),
        np.zeros(1, DIAGNOSTICS),
    )  # fmt: skip


def rows_of(*rows):
    """Rows of one GPU: (key, live, share, from, until)."""
    made = [(0, Owner(JobKey(key)), -1, share, live, T0 + a * S, T0 + b * S) for key, live, share, a, b in rows]
    return PendingUsage.made(made).followed_by(PendingUsage.made([]))


@given(
    st.integers(0, 10**9), st.integers(-1, 10**6), st.integers(-1, 10**6), st.integers(-1, 10**5),
    st.lists(st.tuples(st.sampled_from([BEFORE, AFTER, 0, 1, 2]), st.integers(0, 10**6), st.integers(0, 90),
                       st.integers(1, 90)), max_size=5),
)  # fmt: skip
def test_what_is_set_aside_and_the_rest_are_the_whole(joules, before, after, idle, made):
    rows = rows_of(*((f"{n}", live, share, a, a + b) for n, (live, share, a, b) in enumerate(made)))
    intervals = intervals_of((10, 80, joules, before, after, 1), (80, 85, joules, after, after, 0))
    aside = set_aside(intervals, rows, np.array([idle]))
    assert int(intervals.energy_hnj.sum()) + sum(aside.nobodys_hnj.values()) == 2 * joules * 2_000_000_000
    assert min(intervals.energy_hnj) >= 0
    assert intervals.energy_hnj[1] == joules * 2_000_000_000  # what was read is as it was
    assert min(aside.sigma_hnj.values(), default=0) >= 0
    assert all(rows.live[row] < 0 for row in aside.booked_us)
    if not (rows.live < 0).any():
        assert not aside.nobodys_hnj


@pytest.mark.parametrize(("share", "sure_w"), [(1_000_000, 70), (250_000, 370), (0, 470)])
def test_of_the_power_beside_a_hole_who_stays_had_what_the_others_had_not(share, sure_w):
    """470 W before the hole with both of them, as much after it."""
    intervals = intervals_of((0, 100, 60_000, 470_000, 470_000, 1))
    aside = set_aside(intervals, rows_of(("a", 1, -1, 0, 100), ("b", BEFORE, share, 0, 100)), np.array([70_000]))
    assert int(intervals.energy_hnj[0]) == sure_w * 100 * 2_000_000_000
    assert aside.nobodys_hnj == {0: (60_000 - sure_w * 100) * 2_000_000_000}


KEY = GpuKey("h", "GPU-0")
PART = rows_of(("a", 1, -1, 0, 4), ("b", 1, -1, 50, 200))


def test_a_hole_in_which_owners_changed_gets_the_power_of_the_seconds_after_it():
    late = LateHoles()
    first = intervals_of((0, 100, 30_000, 300_000, 900_000, 1), (100, 101, 900, 1, 1, 0))
    assert late.hold_back(first, [KEY], PART) is None
    assert (first.counts[0], first.t0_us[0]) == (1, T0 + 100 * S)
    assert late.split_until([KEY], np.array([T0 + 101 * S])) == [T0]
    second = intervals_of(*((n, n + 1, 100, 1, 1, 0) for n in range(101, 105)))
    due = late.hold_back(second, [KEY], PART)
    assert (int(due.counts[0]), int(due.energy_hnj[0]), int(due.end_mw[0])) == (1, 30_000 * 2_000_000_000, 260_000)
    assert late.of(KEY) is None
    assert ENOUGH_US == 5 * S


def test_a_hole_with_enough_after_it_stays_where_it_is():
    intervals = intervals_of((0, 100, 30_000, 300_000, 900_000, 1), (100, 105, 1000, 1, 1, 0), (105, 200, 9, 1, 1, 0))
    assert LateHoles().hold_back(intervals, [KEY], PART) is None
    assert (int(intervals.counts[0]), int(intervals.end_mw[0])) == (3, 200_000)


def test_another_hole_ends_the_waiting():
    late = LateHoles()
    late.hold_back(intervals_of((0, 100, 30_000, 300_000, 900_000, 1)), [KEY], PART)
    due = late.hold_back(intervals_of((101, 180, 20_000, 300_000, 800_000, 1)), [KEY], rows_of(("b", 1, -1, 50, 140)))
    assert int(due.end_mw[0]) == 900_000  # nothing else is known of what came after it
    assert late.of(KEY).t0_us == T0 + 101 * S
    assert int(late.give_up([KEY]).energy_hnj[0]) == 20_000 * 2_000_000_000
    assert late.give_up([KEY]) is None


def test_a_hole_that_was_held_throughout_does_not_wait():
    intervals = intervals_of((0, 100, 30_000, 300_000, 900_000, 1))
    late = LateHoles()
    assert late.hold_back(intervals, [KEY], rows_of(("a", 1, -1, 0, 200))) is None
    assert (late.of(KEY), int(intervals.counts[0])) == (None, 1)


@pytest.mark.parametrize("seconds", [1, 3, 6])
def test_a_hole_that_waits_outlives_the_agent(tmp_path, seconds):
    """Its energy is in no account yet: it must be in the file."""
    jobs = {"a": (0, 40, bursty(400, 0), False), "b": (60, 75, bursty(400, 0), True)}
    windows, _ = node(60 - BEFORE_S + 5, jobs)
    at = BEFORE_S + 45 + seconds
    begun = replace(windows[at], events=(Event(windows[at].start_us, "restart", detail="same-boot"),))
    windows[at] = begun
    accounts = Accounts()
    for one in windows[:at]:
        accounts.add(one)
    StateFile(tmp_path, "h", "boot").save(accounts, Calibrator(), windows[at].start_us)
    after = Accounts()
    assert StateFile(tmp_path, "h", "boot").restore(after, Calibrator()).found
    assert book(windows[at:], after) == book(windows)
