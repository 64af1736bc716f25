"""Who holds a GPU over a hole: laws for any outages and owners, and what waits stays small."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.accounts.made import S, device, window
from tests.depth import examples
from wattshed.agent.accounts import joining
from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.accounts.calibration import Calibrator
from wattshed.agent.accounts.joining import joined
from wattshed.agent.accounts.pending_usage import PendingUsage
from wattshed.agent.accounts.state import StateFile
from wattshed.agent.window import Event, JobKey, Owner

T0 = 1_700_000_000 * S
WATTS, IDLE = 300, 70
SECONDS = 120

outages = st.lists(st.tuples(st.integers(1, SECONDS - 10), st.integers(1, 60)), max_size=3)
lives = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, SECONDS - 1), st.integers(1, SECONDS), st.booleans()), max_size=4
)


def node(lost, jobs, restarts=()):
    """Windows of a second: 300 W by the counter; ``lost`` are seconds in which nothing can be read.

    ``jobs`` are (key, from, until, whether a scheduler tells of them while their processes cannot be listed).
    """
    for n in range(SECONDS):
        t = T0 + n * S
        rows = [] if n in lost else [(t + S // 4, WATTS * 1000, WATTS * 1000 * (n + 1))]
        usage = []
        for key, since, until, told in jobs:
            if not since <= n < until or (n in lost and not told):
                continue
            usage.append((0, key, t, t + S, -1, 1_000_000 if told else -1, int(n not in lost)))
        events = (Event(t, "restart", detail="same-boot"),) if n in restarts else ()
        yield window(t, t + S, [rows], usage, devices=(device(),), host="h", seq=n, events=events)


def distinct(jobs):
    """One life of each owner: rows of one owner never overlap."""
    return list({key: (key, since, since + long, told) for key, since, long, told in jobs}.values())


def book(windows, accounts=None, folder=None):
    accounts = accounts or Accounts()
    for one in windows:
        if folder is not None and any(event.kind == "restart" for event in one.events):
            accounts = Accounts()
            StateFile(folder, "h", "boot").restore(accounts, Calibrator())
        accounts.add(one)
        if folder is not None:
            StateFile(folder, "h", "boot").save(accounts, Calibrator(), one.end_us)
    return accounts


def bill(accounts):
    return {key: (job.energy_hnj, job.method) for key, job in accounts.ledger.jobs.items()}


@settings(max_examples=examples(120), deadline=None)
@given(outages, lives)
def test_laws_of_any_outages_and_owners(broken, jobs):
    jobs = distinct(jobs)
    lost = {n for since, long in broken for n in range(since, min(since + long, SECONDS - 2))}
    accounts = book(node(lost, jobs))
    accounts.finish()
    (account,) = accounts.gpus.values()
    parts = account.idle_hnj + account.unattributed_hnj + sum(job.energy_hnj for job in accounts.ledger.jobs.values())
    assert account.energy_hnj == parts
    for key, since, until, _ in jobs:
        job = accounts.ledger.jobs.get(JobKey(key))
        used_j = job.energy_hnj / 2e9 if job else 0
        beside = {n for n in range(since, min(until, SECONDS)) if any(a <= n < b for k, a, b, _ in jobs if k != key)}
        # Its life, and of the holes that it touches what lies beyond it: nothing of anybody else's.
        assert used_j <= WATTS * (min(until, SECONDS) - since + sum(n in lost for n in range(SECONDS)) + 2)
        if since == 0 and until >= SECONDS and not beside:
            assert used_j == pytest.approx(account.energy_hnj / 2e9, abs=1e-6)


@settings(max_examples=examples(40), deadline=None)
@given(outages, lives, st.lists(st.integers(1, SECONDS - 1), max_size=3))
def test_a_restart_from_the_disk_is_as_the_replay_has_it(tmp_path_factory, broken, jobs, restarts):
    """Whenever it comes, in a hole too: what is open is in the file."""
    jobs = distinct(jobs)
    lost = {n for since, long in broken for n in range(since, min(since + long, SECONDS - 2))}
    windows = list(node(lost, jobs, restarts))
    live = book(windows, folder=tmp_path_factory.mktemp("state"))
    assert bill(live) == bill(book(windows))


def test_a_job_that_ended_stays_while_its_energy_may_come():
    jobs = [("a", 0, 30, True), ("b", 0, 120, False)]
    accounts = Accounts()
    for one in node(set(range(20, 100)), jobs):
        accounts.add(one)
        accounts.retire(one.end_us, 10 * S)
        if one.seq == 99:
            assert set(accounts.ledger.jobs) == {"a", "b"}
    assert set(accounts.ledger.jobs) == {"b"}
    assert sum(accounts.ledger.ended_hnj.values()) > 0


def waiting(*rows):
    """``rows``: (gpu, key, start, end, activity, share, live), in seconds."""
    made = [
        (gpu, Owner(JobKey(key)), activity, share, live, T0 + start * S, T0 + end * S)
        for gpu, key, start, end, activity, share, live in rows
    ]
    return PendingUsage.made(made)


def test_what_waits_is_joined_where_it_touches_and_agrees():
    rows = waiting(
        (0, "a", 0, 1, 200_000, -1, 1), (0, "a", 1, 4, 600_000, -1, 1), (0, "a", 4, 5, -1, -1, 1),
        (0, "a", 6, 7, -1, -1, 1), (0, "b", 0, 1, -1, 500_000, 0), (0, "b", 1, 2, -1, 500_000, 1),
        (1, "b", 2, 3, -1, 500_000, 1), (1, "b", 200, 201, -1, 500_000, 1), (1, "b", 201, 202, -1, 500_000, 1),
    )  # fmt: skip
    found = joined(rows, T0 + 210 * S, np.array([T0 + 300 * S] * 2)).plain()
    assert [
            [row["key"], (row["start_us"] - T0) // S, (row["end_us"] - T0) // S, row["activity_ppm"]] for row in found
    ] == [
        ["a", 0, 4, 500_000], ["a", 4, 5, -1], ["a", 6, 7, -1], ["b", 0, 1, -1], ["b", 1, 2, -1],
        ["b", 2, 3, -1], ["b", 200, 201, -1], ["b", 201, 202, -1],
    ]  # fmt: skip
    across = joined(waiting((0, "a", 0, 1, -1, -1, 1), (0, "a", 1, 2, -1, -1, 1)), T0 + 100 * S, np.array([T0 + S]))
    assert len(across.gpu) == 2  # before the hole, and in it


def test_more_than_may_wait_is_joined_coarsely_and_the_youngest_stay(monkeypatch):
    monkeypatch.setattr(joining, "MOST_WAITING", 8)
    apart = [(0, "abc"[n % 3], 2 * n, 2 * n + 1, -1, -1, 1) for n in range(10)]
    ordered = sorted(apart, key=lambda row: (row[1], row[2]))
    found = joined(waiting(*ordered), T0 + 1000 * S, np.array([T0]))
    assert len(found.gpu) <= 8
    assert {found.key(row) for row in range(len(found.gpu))} == set("abc")
    assert (int(found.start_us.min()), int(found.end_us.max())) == (T0, T0 + 19 * S)


def test_an_hour_without_readings_keeps_a_handful_of_rows():
    accounts = Accounts()
    for n in range(3600):
        t = T0 + n * S
        rows = [(t + 1000, 300_000, 300_000)] if not n else []
        usage = [(0, key, t, t + S, -1, 500_000, 0) for key in ("a", "b")]
        accounts.add(window(t, t + S, [rows], usage, devices=(device(),), host="h", seq=n))
    left = accounts.books_of("h")[0].waiting
    assert len(left.gpu) < 2 * 70
    assert (int(left.start_us.min()), int(left.end_us.max())) == (T0, T0 + 3600 * S)


def one(n, key="a", *, lost=False, devices=None, labels=None):
    """A second in which ``key`` is on GPU-0, the only one that may be lost."""
    t, devices = T0 + n * S, devices or (device(0),)
    rows = [[] if lost and d.index == 0 else [(t + S // 4, 300_000, 300_000 * (n + 1))] for d in devices]
    gpu = [d.index for d in devices].index(0)
    usage = [] if lost else [(gpu, key, t, t + S, -1, -1, 1)]
    made = window(t, t + S, rows, usage, devices=devices, host="h", seq=n)
    return replace(made, owners=tuple(Owner(owner.key, labels or {}) for owner in made.owners))


def test_a_job_that_gets_its_number_in_a_hole_held_the_gpu_throughout():
    known = {"manager": "slurm", "sluid": "sABC"}
    accounts = Accounts()
    for n in range(60):
        key = "slurm:sABC" if n < 30 else "slurm:7"
        accounts.add(one(n, key, lost=20 <= n < 50, labels=known))
    assert accounts.ledger.jobs[JobKey("slurm:7")].energy_hnj / 2e9 == pytest.approx(300 * (59.25 - 19.25))
    (account,) = accounts.gpus.values()
    assert account.idle_hnj + account.unattributed_hnj == 0


def test_gpus_may_be_numbered_anew_in_a_hole():
    accounts = Accounts()
    for n in range(60):
        devices = (device(0), device(1)) if n < 30 else (device(1), device(0))
        accounts.add(one(n, lost=20 <= n < 50, devices=devices))
    for key, account in accounts.gpus.items():
        assert account.energy_hnj / 2e9 == pytest.approx(300 * 59)
        assert account.unattributed_hnj == 0 or key.gpu == "GPU-1"
    assert accounts.ledger.jobs[JobKey("a")].energy_hnj / 2e9 == pytest.approx(300 * 59)


@pytest.mark.parametrize(("before", "after", "used_j"), [(1, 1, 300), (1, 0, 300), (0, 0, IDLE)])
def test_who_shared_a_gpu_and_only_held_it_in_a_hole_used_it_if_it_did_beside_the_hole(before, after, used_j):
    """Two jobs with half of a GPU each; a scheduler tells of both in the hole, where nobody's process can be seen."""
    accounts = Accounts()
    for n in range(60):
        t, lost = T0 + n * S, 20 <= n < 50
        rows = [] if lost else [(t + S // 4, 300_000, 300_000 * (n + 1))]
        live = 0 if lost else before if n < 20 else after
        usage = [(0, key, t, t + S, -1, 500_000, live) for key in ("a", "b")]
        accounts.add(window(t, t + S, [rows], usage, devices=(device(),), host="h", seq=n))
    hole = 30
    told = 29 * (300 if before and after else (300 * 19 + IDLE * 10) / 29 if before else IDLE)
    assert accounts.ledger.jobs.keys() == {"a", "b"}
    for job in accounts.ledger.jobs.values():
        assert job.energy_hnj / 2e9 == pytest.approx((used_j * hole + told) / 2, rel=0.02)
