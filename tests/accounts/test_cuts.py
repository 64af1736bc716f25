"""Parts of accounts: whenever is cut, they add up to what the accounts say, and each is of its own time."""

import json
from collections import defaultdict
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.accounts.made import S, device, window
from tests.depth import examples
from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.accounts.cuts import MOST, Cuts
from wattshed.agent.accounts.uncertainty import job_sigma_j
from wattshed.agent.wire.parts import END, Doubt
from wattshed.exporters.units import HNJ_PER_JOULE

HOUR = 3600 * S
T0 = 1_700_000_000 * S // HOUR * HOUR
JOBS = ("a", "b", "c", "user:0/x")


def seconds(schedule, start=0, watts=(300_000, 200_000), step=1):
    """A window a second; ``schedule``: (job, GPU, from, to)."""
    last = max(to for *_, to in schedule) + 3
    for n in range(start, last):
        t = T0 + n * step * S
        rows = [[(t + 1000, mw, n * step * mw + 7)] for mw in watts]
        usage = [
            (gpu, job, t, t + step * S, 500_000, -1, 1)
            for gpu in range(len(watts))
            for job, on, a, b in schedule
            if on == gpu and a <= n < b
        ]
        yield window(t, t + step * S, rows, usage, tuple(device(i) for i in range(len(watts))))


def run(windows, cuts, keep_us=2 * S, *, kill=()):
    """Book windows and cut them; where it is killed, the cuts go on from what was saved."""
    accounts = Accounts(live=True)
    for n, one in enumerate(windows):
        accounts.add(one)
        for job in accounts.ledger.jobs.values():
            job.shown_hnj = job.energy_hnj
        cuts.close(accounts.retire(one.end_us, keep_us), accounts.gpus)
        cuts.follow(accounts.ledger.jobs, accounts.gpus, accounts.since_us, one.end_us)
        if n in kill:
            cuts = Cuts.of_plain("h", json.loads(json.dumps(cuts.plain())))
    return accounts, cuts


def summed(parts):
    sums = defaultdict(int)
    for part in parts:
        sums[part.gpu] += part.energy_hnj
    return sums


def not_cut(accounts, cuts):
    """What each GPU's open accounts hold beyond their last cuts."""
    left = defaultdict(int)
    for key, account in accounts.gpus.items():
        for owner, hnj in (("_idle", account.idle_hnj), ("_unattributed", account.unattributed_hnj)):
            cut = cuts.cuts.get((owner, key))
            left[key.gpu] += hnj - (cut.used.static_hnj + cut.used.dynamic_hnj if cut else 0)
    for job in accounts.ledger.jobs.values():
        for key, line in job.lines.items():
            cut = cuts.cuts.get((job.key, key))
            left[key.gpu] += line.static_hnj + line.dynamic_hnj
            left[key.gpu] -= cut.used.static_hnj + cut.used.dynamic_hnj if cut else 0
    return left


@st.composite
def lives(draw):
    """Some jobs on two GPUs, which may come again under the same key."""
    schedule = []
    for job in JOBS:
        at = 0
        for _ in range(draw(st.integers(0, 3))):
            at += draw(st.integers(0, 12))
            until = at + draw(st.integers(1, 15))
            schedule += [(job, gpu, at, until) for gpu in draw(st.sampled_from([(0,), (1,), (0, 1)]))]
            at = until
    return schedule or [("a", 0, 1, 5)]


@settings(max_examples=examples(60), deadline=None)
@given(lives(), st.sampled_from([1, 3, 7, 3600]), st.sets(st.integers(0, 60), max_size=4), st.integers(0, 4))
def test_parts_and_what_is_not_cut_are_the_energy_of_each_gpu(schedule, slot_s, kill, keep_s):
    accounts, cuts = run(seconds(schedule), Cuts(slot_s * S), keep_s * S, kill=kill)
    parts, left = summed(cuts.outbox), not_cut(accounts, cuts)
    for key, account in accounts.gpus.items():
        assert parts[key.gpu] + left[key.gpu] == account.energy_hnj
    assert [part.seq for part in cuts.outbox] == list(range(1, cuts.next_seq))
    for part in cuts.outbox:
        assert part.from_us <= part.to_us
        assert min(part.static_hnj, part.dynamic_hnj, part.active_us, part.held_us) >= 0
        assert part.job.startswith("_") or (part.job, part.run_us) in cuts.records


@settings(max_examples=examples(30), deadline=None)
@given(lives(), st.sampled_from([1, 5, 3600]))
def test_parts_of_one_owner_on_one_gpu_do_not_overlap(schedule, slot_s):
    _, cuts = run(seconds(schedule), Cuts(slot_s * S))
    times = defaultdict(list)
    for part in cuts.outbox:
        times[part.job, part.run_us, part.gpu].append((part.from_us, part.to_us))
    for mine in times.values():
        assert all(a[1] <= b[0] for a, b in pairwise(mine)), mine


def test_a_job_ends_with_one_part_that_says_so_and_comes_again_as_another_run():
    schedule = [("a", 0, 0, 4), ("a", 1, 0, 4), ("a", 0, 20, 24), ("b", 1, 0, 30)]
    _, cuts = run(seconds(schedule), Cuts(HOUR))
    mine = [part for part in cuts.outbox if part.job == "a"]
    assert [(part.run_us - T0, part.flags & END) for part in mine] == [(0, 0), (0, END), (20 * S, END)]
    records = [record for (job, _), record in cuts.records.items() if job == "a"]
    assert [(record.start_us - T0, record.end_us - T0) for record in records] == [(0, 4 * S), (20 * S, 24 * S)]


def test_who_lasts_is_cut_at_every_slot_and_nobody_is_forgotten():
    """A service and idle power have a part for every slot; what is used between two cuts is that slot's."""
    schedule = [("unit:serve", 0, 0, 100)]
    _, cuts = run(seconds(schedule), Cuts(10 * S))
    parts = defaultdict(list)
    for part in cuts.outbox:
        parts[part.job, part.gpu].append((part.to_us - T0) // S)
    assert parts["unit:serve", "GPU-0"][:3] == [10, 20, 30]
    assert parts["_idle", "GPU-1"][:3] == [10, 20, 30]
    joules = [p.energy_hnj / HNJ_PER_JOULE for p in cuts.outbox if p.job == "unit:serve"]
    assert joules[1:9] == [pytest.approx(3000)] * 8


def test_a_window_cuts_no_more_than_its_share():
    schedule = [(f"j{n}", n % 2, 0, 12) for n in range(MOST)]
    accounts, cuts = Accounts(live=True), Cuts(5 * S)
    per_window = []
    for one in seconds(schedule):
        accounts.add(one)
        before = cuts.next_seq
        cuts.follow(accounts.ledger.jobs, accounts.gpus, accounts.since_us, one.end_us)
        per_window.append(cuts.next_seq - before)
    at_once = [n for n in per_window if n]
    assert at_once[0] > MOST - 5  # of what is due then, four are of nobody, who may have used nothing
    assert at_once[1] > 0
    assert max(per_window) <= MOST


def test_the_highest_power_is_that_of_the_part():
    accounts, cuts = Accounts(live=True), Cuts(4 * S)
    for n in range(13):
        t, mw = T0 + n * S, 600_000 if n < 4 else 200_000
        counter = sum(600_000 if k < 4 else 200_000 for k in range(n))
        accounts.add(window(t, t + S, [[(t, mw, counter)]], [(0, "a", t, t + S, -1, -1, 1)], (device(),)))
        cuts.follow(accounts.ledger.jobs, accounts.gpus, accounts.since_us, t + S)
    peaks = [part.peak_mw for part in cuts.outbox if part.job == "a"]
    assert peaks[0] == 600_000
    assert peaks[-1] == 200_000
    assert accounts.ledger.jobs["a"].lines[next(iter(accounts.gpus))].peak_mw == 600_000


def test_the_parts_of_a_job_say_its_sigma():
    schedule = [("a", 0, 0, 300), ("b", 0, 50, 200), ("a", 1, 0, 250)]
    accounts, cuts = run(seconds(schedule), Cuts(20 * S), HOUR)
    for key, job in accounts.ledger.jobs.items():
        doubt = Doubt()
        for part in cuts.outbox:
            if part.job == key:
                doubt = doubt.plus(part.doubt)
        cuts.close([job], accounts.gpus)
        for part in list(cuts.outbox)[-len(job.lines) :]:
            doubt = doubt.plus(part.doubt)
        assert doubt.sigma_j == pytest.approx(job_sigma_j(job, accounts.gpus), rel=1e-9)


def test_what_is_acknowledged_is_forgotten_and_the_rest_is_not():
    _, cuts = run(seconds([("a", 0, 0, 4), ("b", 1, 0, 40)]), Cuts(10 * S))
    first = next(part for part in cuts.outbox if part.job == "a")
    cuts.acknowledge(first.seq)
    assert cuts.outbox[0].seq == first.seq + 1
    assert not any(job == "a" for job, _ in cuts.records)
    assert any(job == "b" for job, _ in cuts.records)
    cuts.acknowledge(cuts.next_seq)
    assert not cuts.outbox
    assert not cuts.records


def test_joined_parts_say_the_same_with_fewer_numbers():
    _, cuts = run(seconds([("a", 0, 0, 40), ("a", 1, 0, 40), ("b", 1, 5, 9)]), Cuts(5 * S))
    before, sums, highest = list(cuts.outbox), summed(cuts.outbox), cuts.outbox[-1].seq
    assert cuts.compact(0) == 0
    assert summed(cuts.outbox) == sums
    assert len(cuts.outbox) == len({(p.job, p.run_us, p.gpu) for p in before}) < len(before)
    numbers = [part.seq for part in cuts.outbox]
    assert numbers == sorted(numbers)
    assert numbers[-1] == highest
    mine = [part for part in before if (part.job, part.gpu) == ("a", "GPU-0")]
    (joined,) = [part for part in cuts.outbox if (part.job, part.gpu) == ("a", "GPU-0")]
    assert (joined.from_us, joined.to_us) == (mine[0].from_us, mine[-1].to_us)
    doubt = Doubt()
    for part in mine:
        doubt = doubt.plus(part.doubt)
    assert joined.doubt.sigma_j == pytest.approx(doubt.sigma_j)
    assert joined.edges == 2


def test_a_lost_history_starts_the_numbers_again():
    _, cuts = run(seconds([("a", 0, 0, 40)]), Cuts(5 * S, "old"))
    cuts.acknowledge(4)
    waiting = len(cuts.outbox)
    cuts.begin_store("new")
    assert [part.seq for part in cuts.outbox] == list(range(1, waiting + 1))
    assert (cuts.store_id, cuts.next_seq) == ("new", waiting + 1)


def test_a_clock_that_is_set_back_cuts_everybody_there_and_goes_on_from_where_it_stands():
    accounts, cuts = run(seconds([("a", 0, 0, 40), ("a", 1, 0, 40), ("b", 1, 0, 40)]), Cuts(HOUR), keep_us=HOUR)
    assert not any(part.job in JOBS for part in cuts.outbox), "nothing is due yet"
    ended_us, now_us = T0 + 43 * S, T0 - 500 * S
    cuts.follow(accounts.ledger.jobs, accounts.gpus, accounts.since_us, now_us)
    assert {(part.job, part.gpu) for part in cuts.outbox} >= {("a", "GPU-0"), ("a", "GPU-1"), ("b", "GPU-1")}
    assert summed(cuts.outbox) == {key.gpu: account.energy_hnj for key, account in accounts.gpus.items()}
    assert set(not_cut(accounts, cuts).values()) == {0}
    assert {part.to_us for part in cuts.outbox if part.job.startswith("_")} <= {ended_us}
    assert {cut.at_us for cut in cuts.cuts.values()} == {now_us}
