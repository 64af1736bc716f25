"""A job that was billed under its SLUID goes on under its number: what waits and what follows, never what is booked."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from wattshed.agent.accounts import former_names
from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.accounts.calibration import Calibrator
from wattshed.agent.accounts.state import StateFile
from wattshed.agent.window import Device, Event, JobKey, Owner, Readings, Usage, Window

S = 1_000_000
T0 = 1_700_000_000 * S
DEVICES = (Device("h", 0, "GPU-0", idle_mw=60_000),)
SLUID = "sEKNKTV3WPV500"
UNKNOWN = Owner(JobKey(f"slurm:{SLUID}"), {"manager": "slurm", "sluid": SLUID})
KNOWN = Owner(JobKey("slurm:501"), {"manager": "slurm", "sluid": SLUID})
OTHER = Owner(JobKey("slurm:7"), {"manager": "slurm"})


def window(second, *owners, read=True, events=()):
    """One second at 300 W with these owners on the GPU; without a reading its energy stays open."""
    start = T0 + second * S
    n = len(owners)
    rows = Readings(
        np.array([0, int(read)], np.int64), np.array([start + S // 2] * read, np.int64),
        np.array([300_000] * read, np.int32), np.array([(second + 100) * 300_000] * read, np.int64),
    )  # fmt: skip
    usage = Usage(
        np.zeros(n, np.int32), np.arange(n, dtype=np.int32), np.full(n, start), np.full(n, start + S),
        np.full(n, S // 2), np.full(n, -1, np.int32), np.ones(n, np.int8),
    )  # fmt: skip
    return Window("h", second, start, start + S, DEVICES, rows, np.array([S]), tuple(owners), usage, tuple(events))


def joules(accounts):
    return {key: job.energy_hnj / 2e9 for key, job in accounts.ledger.jobs.items() if job.energy_hnj}


def whole_is_parts(accounts):
    (account,) = accounts.gpus.values()
    parts = account.idle_hnj + account.unattributed_hnj
    return account.energy_hnj == parts + sum(static + dynamic for _, _, static, dynamic in accounts.ledger.shares())


def test_a_daemon_and_its_replay_forget_the_same_names(monkeypatch):
    """The daemon has closed the accounts of jobs that ended; that must not decide who is billed later."""
    monkeypatch.setattr(former_names, "MOST", 2)
    daemon, replay = Accounts(), Accounts()
    ids = [(f"s{n:013}", str(n)) for n in range(1, 6)]
    for second, (sluid, number) in enumerate(ids):
        one = window(second, Owner(JobKey(f"slurm:{number}"), {"sluid": sluid}))
        for books in (daemon, replay):
            books.add(one)
        daemon.retire(one.end_us, 0)
    late = window(9, *(Owner(JobKey(f"slurm:{sluid}"), {"sluid": sluid}) for sluid, _ in ids))
    before = joules(daemon)
    for books in (daemon, replay):
        books.add(late)
        books.finish()
    assert len(before) < len(ids)
    billed = {key for key, energy in joules(daemon).items() if energy > before.get(key, 0)}
    assert {"slurm:s0000000000001", "slurm:s0000000000003", "slurm:4", "slurm:5"} <= billed
    assert {key for key in joules(replay) if key.startswith("slurm:s")} == {
        key for key in joules(daemon) if key.startswith("slurm:s")
    }


def test_what_is_booked_stays_and_what_is_open_goes_to_the_number():
    books = Accounts()
    for second in range(3):
        books.add(window(second, UNKNOWN))
    for second in range(3, 6):
        books.add(window(second, UNKNOWN, read=False))
    books.add(window(6, KNOWN))
    books.finish()
    # the counter was read at 0.5, 1.5 and 2.5 s, and then at 6.5 s
    assert joules(books) == {"slurm:sEKNKTV3WPV500": 600.0, "slurm:501": 1200.0}
    assert whole_is_parts(books)


def test_once_the_number_is_known_the_sluid_alone_means_the_job():
    books = Accounts()
    for second, owner in enumerate((KNOWN, KNOWN, UNKNOWN, UNKNOWN)):
        books.add(window(second, owner))
    books.finish()
    assert joules(books) == {"slurm:501": 900.0}


def test_the_same_name_is_billed_to_nobody_else():
    books = Accounts()
    for second in range(4):
        books.add(window(second, UNKNOWN if second < 2 else KNOWN, OTHER))
    books.finish()
    found = joules(books)
    assert found["slurm:7"] == 450.0
    assert found["slurm:501"] + found["slurm:sEKNKTV3WPV500"] == 450.0


def test_a_restart_without_a_queue_bridges_and_goes_on_under_the_number(tmp_path):
    before, after = Accounts(), Accounts()
    for second in range(4):
        before.add(window(second, KNOWN))
    before.add(window(4, events=[Event(T0 + 4 * S, "shutdown")], read=False))
    StateFile(tmp_path, "h", "boot").save(before, Calibrator(), T0 + 5 * S)
    StateFile(tmp_path, "h", "boot").restore(after, Calibrator())
    for second in range(30, 34):
        restart = [Event(T0 + 30 * S, "restart", detail="same-boot")] if second == 30 else []
        after.add(window(second, UNKNOWN, events=restart))
    after.finish()
    assert joules(after) == {"slurm:501": 33 * 300.0}
    assert whole_is_parts(after)


@settings(max_examples=examples(150), deadline=None)
@given(st.lists(st.tuples(st.sets(st.sampled_from([UNKNOWN.key, KNOWN.key, OTHER.key])), st.booleans()), max_size=12))
def test_whatever_is_known_when_the_parts_are_the_whole_and_no_counter_falls(story):
    owners = {owner.key: owner for owner in (UNKNOWN, KNOWN, OTHER)}
    books, shown = Accounts(), {}
    for second, (keys, read) in enumerate(story):
        books.add(window(second, *(owners[key] for key in sorted(keys)), read=read))
        assert not books.gpus or whole_is_parts(books)
        for job, gpu, static, dynamic in books.ledger.shares():
            assert static >= shown.get((job, gpu), (0, 0))[0]
            assert dynamic >= shown.get((job, gpu), (0, 0))[1]
            shown[job, gpu] = static, dynamic
    if story:
        books.finish()
        assert whole_is_parts(books)
