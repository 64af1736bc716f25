"""Laws of a split by learned watts: what it may never break, whatever it believes."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.accounts.calibration import Calibrator
from wattshed.agent.accounts.changes import LastSaved
from wattshed.agent.accounts.content import restore
from wattshed.agent.accounts.split_rule import SplitRule
from wattshed.agent.accounts.watts_places import MOST_JOBS
from wattshed.agent.bench.split.patterns import PATTERNS, told
from wattshed.agent.bench.split.running import BEGIN_US, windows
from wattshed.agent.cutting import cut
from wattshed.agent.window import Event, Owner, Usage
from wattshed.kernels.billing.shares import BY_ACTIVITY, LEARNED
from wattshed.kernels.billing.watts import USES

LEARNS, SHOWS = SplitRule(learned=True), SplitRule()
SECONDS = 60
HOUR = 3_600_000_000
QUANTUM = 1 / 512  # one step of a weight, relative


def recorded(pattern="4 jobs", ratio=4.0, seed=1, seconds=SECONDS):
    return list(windows(told(pattern, ratio, seed, seconds)))


def booked(those, rule=LEARNS):
    accounts = Accounts(split=rule)
    for window in those:
        accounts.add(window)
    accounts.finish()
    return accounts


def bill(accounts):
    return {key: line.dynamic_hnj for key, job in accounts.ledger.jobs.items() for line in job.lines.values()}


def lines(accounts):
    return {key: (job.method, job.lines) for key, job in accounts.ledger.jobs.items()}


def total(accounts):
    (gpu,) = accounts.gpus.values()
    parts = sum(job.energy_hnj for job in accounts.ledger.jobs.values()) + gpu.idle_hnj + gpu.unattributed_hnj
    return parts, gpu.energy_hnj


@pytest.mark.parametrize("pattern", PATTERNS)
def test_parts_sum_to_the_whole_and_nobody_pays_less_than_nothing(pattern):
    accounts = booked(recorded(pattern))
    parts, whole = total(accounts)
    assert parts == whole
    assert min(bill(accounts).values()) >= 0
    assert whole == total(booked(recorded(pattern), None))[1]


def test_it_is_billed_by_watts_and_says_so():
    accounts = booked(recorded())
    assert all(job.method & LEARNED and not job.method & BY_ACTIVITY for job in accounts.ledger.jobs.values())
    assert bill(accounts) != bill(booked(recorded(), None))


@pytest.mark.parametrize("pattern", ["bursty", "join", "7 jobs"])
def test_the_common_mode_is_what_it_was_whatever_is_learned(pattern):
    those = recorded(pattern)
    learning, plain = booked(those, SHOWS), booked(those, None)
    assert lines(learning) == lines(plain)
    assert learning.watts.jobs()
    assert not plain.watts.jobs()


def test_a_bound_of_one_is_the_common_line():
    those = recorded()
    one, common = bill(booked(those, replace(LEARNS, bound=1.0))), bill(booked(those, None))
    assert all(abs(one[key] - common[key]) <= 2 * len(those) for key in common)


def test_who_is_not_active_pays_nothing_and_changes_nobody():
    those = recorded("bursty")

    def with_idler(window):
        usage, count = window.usage, len(window.owners)
        columns = [np.append(column, column[:1]) for column in vars_of(usage)]
        more = Usage(*columns)
        more.owner[-1], more.activity_us[-1] = count, 0
        idler = replace(window.owners[0], key="slurm:0")
        return replace(window, owners=(*window.owners, idler), usage=more)

    before, after = bill(booked(those)), bill(booked(map(with_idler, those)))
    assert after.pop("slurm:0") == 0
    assert after == before


def vars_of(usage):
    return [getattr(usage, name) for name in ("gpu", "owner", "start_us", "end_us", "activity_us", "share_ppm", "live")]


def test_memory_of_processes_that_take_turns_is_recorded_and_not_learned_from():
    those = recorded("bursty")

    def with_memory(window):
        usage = window.usage
        return replace(window, usage=replace(usage, dram_us=usage.activity_us * (usage.owner + 1) // 4))

    assert lines(booked(map(with_memory, those))) == lines(booked(those))


def test_the_order_of_rows_means_nothing():
    def turned(window):
        return replace(window, usage=Usage(*(column[::-1].copy() for column in vars_of(window.usage))))

    those = recorded("7 jobs")
    assert lines(booked(map(turned, those))) == lines(booked(those))


def test_equal_histories_have_equal_bills():
    found = bill(booked(recorded("identical")))
    one, two = found.values()
    assert one == pytest.approx(two, rel=QUANTUM)


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(1, SECONDS * 1_000_000 - 1), max_size=20))
def test_windows_may_be_cut_anywhere(at):
    those = recorded("bursty")
    edges = [sorted({BEGIN_US + us for us in at if w.start_us < BEGIN_US + us < w.end_us}) for w in those]
    pieces = [piece for window, inside in zip(those, edges, strict=True) for piece in cut(window, inside)]
    whole, parts = bill(booked(those)), bill(booked(pieces))
    # Activities are cut to whole microseconds: a slot's may differ by some of these.
    assert parts == pytest.approx(whole, rel=3 * QUANTUM)


@pytest.mark.parametrize("rule", [LEARNS, SHOWS])
@pytest.mark.parametrize("after", [7, 31])
def test_what_is_learned_outlives_a_restart(rule, after):
    those = recorded()
    first = Accounts(split=rule)
    for window in those[:after]:
        first.add(window)
    _, state = LastSaved.whole("simulated", first, Calibrator(), None)
    second = Accounts(split=rule)
    restore(second, Calibrator(), "simulated", json.loads(json.dumps({"beside": [], **state})))
    for window in those[after:]:
        second.add(window)
    second.finish()
    whole = booked(those, rule)
    assert lines(second) == lines(whole)
    assert second.watts.jobs() == whole.watts.jobs()


@pytest.mark.parametrize("rule", [LEARNS, SHOWS])
@settings(max_examples=4, deadline=None)
@given(asked=st.sets(st.integers(0, SECONDS - 1), max_size=8))
def test_whoever_asks_changes_nothing(rule, asked):
    """What was collected is entered when somebody asks."""
    those, accounts = recorded("join"), Accounts(split=rule)
    for second, window in enumerate(those):
        accounts.add(window)
        if second in asked:
            accounts.watts.jobs()
    accounts.finish()
    whole = booked(those, rule)
    assert lines(accounts) == lines(whole)
    assert accounts.watts.jobs() == whole.watts.jobs()


def test_beyond_the_places_of_a_gpu_the_common_line_is_used():
    those, many = recorded("identical"), MOST_JOBS + 3

    def crowded(window):
        usage = window.usage
        columns = [np.repeat(column[:1], many) for column in vars_of(usage)]
        more = Usage(*columns)
        more.owner[:], more.activity_us[:] = np.arange(many), np.arange(many) * 500
        return replace(window, owners=tuple(Owner(f"slurm:{job}") for job in range(many)), usage=more)

    accounts = booked(map(crowded, those))
    assert len(accounts.watts.jobs()) == MOST_JOBS
    assert total(accounts)[0] == total(accounts)[1]
    assert len(bill(accounts)) == many


def uses_of(those):
    return dict(zip(USES, booked(those, SHOWS).watts.of("simulated").uses[0].tolist(), strict=True))


def test_a_board_that_its_limit_held_back_teaches_nothing():
    those = recorded("bursty")
    free, held = ({"throttle_power_cap_s": np.array([one])} for one in (7.0, 7.1))
    calm = uses_of([replace(window, gauges=free) for window in those])
    later = uses_of([replace(window, gauges=held if second > 31 else free) for second, window in enumerate(those)])
    assert calm["limited"] == 0
    assert later["limited"] == 1
    assert sum(calm.values()) == sum(later.values())


def test_who_is_alone_and_not_asked_for_is_as_active_as_the_gpu():
    def alone(window, busy_us):
        usage = Usage(*(column[:1].copy() for column in vars_of(window.usage)))
        usage.activity_us[:] = -1
        return replace(window, usage=usage, busy_us=np.array([busy_us]))

    those = recorded("bursty")
    assert uses_of([alone(window, 400_000) for window in those])["alone"] > 8
    assert uses_of([alone(window, -1) for window in those])["alone"] == 0


def test_no_bill_leaves_its_bound():
    """A neighbour that runs heavy kernels only while the victim works, and light ones else."""
    for bound in (1.25, 2.0, 4.0):
        those = list(framed())
        learned, common = Accounts(split=replace(LEARNS, bound=bound)), Accounts()
        before = {}, {}
        for n, window in enumerate(those):
            learned.add(window)
            common.add(window)
            if n % 20 == 19:
                now = bill(learned), bill(common)
                for key in now[0]:
                    mine, theirs = (now[i][key] - before[i].get(key, 0) for i in (0, 1))
                    assert theirs / bound**2 * 0.99 <= mine <= theirs * bound**2 * 1.01
                before = now


def framed():
    rng = np.random.default_rng(3)
    seen = told("bursty", 1.0, 5, 200)
    victim = (rng.random(200) < 0.5) * 0.5
    attacker = np.full(200, 0.45)
    watts = 200 * victim + np.where(victim > 0, 500, 100) * attacker
    drawn = np.array([200 * victim, watts - 200 * victim])
    yield from windows(seen._replace(drawn_w=drawn, board_w=70 + watts, activity=np.array([victim, attacker])))


def test_a_reloaded_driver_begins_anew_and_the_common_line_with_it():
    those = recorded()
    those[40] = replace(those[40], events=(Event(those[40].start_us, "driver-reload", 0),))
    accounts = Accounts(split=LEARNS)
    for window in those[:41]:
        accounts.add(window)
    told_now = accounts.watts.jobs()
    assert {one.alone_us + one.shared_us for one in told_now.values()} == {0}
    assert {one.watts for one in told_now.values()} == {accounts.watts.of("simulated").common_w(0)}


def test_a_gpu_that_is_divided_anew_begins_anew():
    those = recorded()
    mig = replace(those[0].devices[0], capabilities={"mig": ""})
    accounts = Accounts(split=LEARNS)
    for window in those[:30]:
        accounts.add(window)
    before = accounts.watts.of("simulated").common_w(0)
    accounts.add(replace(those[30], devices=(mig,)))
    assert accounts.watts.of("simulated").common_w(0) != before
    assert {one.alone_us + one.shared_us for one in accounts.watts.jobs().values()} == {0}
    assert sum(total(accounts)) > 0


def test_a_job_whose_account_is_closed_leaves_nothing_behind():
    those = recorded(seconds=30)
    # A window after which slots are closed: then those lose their places who were not seen for long.
    later = [replace(w, start_us=w.start_us + 4 * HOUR, end_us=w.end_us + 4 * HOUR) for w in those[19:20]]
    usage = those[19].usage
    moved = replace(usage, start_us=usage.start_us + 4 * HOUR, end_us=usage.end_us + 4 * HOUR)
    owners = tuple(replace(owner, key=f"{owner.key}0") for owner in those[0].owners)
    last = replace(later[0], usage=moved, owners=owners)
    for closed in (False, True):
        accounts = Accounts(split=SHOWS)
        for window in those:
            accounts.add(window)
        learned = accounts.watts.of("simulated")
        if closed:
            learned.retire([owner.key for owner in those[0].owners])
        accounts.add(last)
        left = {one.job for one in learned.jobs()} & {owner.key for owner in those[0].owners}
        assert len(left) == (0 if closed else 4)


def test_nothing_is_learned_from_kernels_that_ran_at_once():
    accounts = booked(recorded("MPS at the limit", seconds=80), SHOWS)
    _, shared, concurrent, limited, unknown, coarse = accounts.watts.of("simulated").uses[0].tolist()
    assert concurrent + limited >= 5
    assert unknown == coarse == 0
    assert shared <= 2


@pytest.mark.parametrize("ratio", [1.0, 4.0])
def test_watts_are_found_and_the_bill_comes_closer(ratio):
    """What was drawn beside what is billed, by either line; all of it within two sigma."""
    far = {True: [], False: []}
    for pattern in ("bursty", "training+inference", "join", "4 jobs"):
        recording = told(pattern, ratio, 2, 240)
        for learned in (True, False):
            accounts = booked(windows(recording), SplitRule(learned=learned))
            found = np.array([bill(accounts)[f"slurm:{job + 1}"] for job in range(len(recording.drawn_w))], float)
            drawn = recording.drawn_w.sum(axis=1) * found.sum() / recording.drawn_w.sum()
            far[learned] += (np.abs(found - drawn) / drawn).tolist()
            sigma = [job.lines.popitem()[1].split_hnj for _, job in sorted(accounts.ledger.jobs.items())]
            assert (np.abs(found - drawn) <= 2.5 * np.array(sigma)).all()
    assert np.median(far[True]) < (0.03 if ratio == 1 else 0.5 * np.median(far[False]))
