"""Work of jobs beside their energy: it moves no joule, waits for the energy of its time, and outlives a restart."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.accounts.made import S, device, window
from tests.depth import examples
from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.accounts.calibration import Calibrator
from wattshed.agent.accounts.state import StateFile
from wattshed.agent.accounts.work import MOST_UNITS
from wattshed.agent.window import JobKey, WorkRow

A, B = JobKey("a"), JobKey("b")
HNJ = 2_000_000_000
WATTS = 300


def second(i, work=(), lag_us=300_000):
    """One second at 300 W; the counter is read 300 ms before the end, so that the rest is booked a window later."""
    at = (i + 1) * S - lag_us
    rows = [[(at, WATTS * 1000, WATTS * at // 1000)]]
    usage = [(0, A, i * S, (i + 1) * S, S // 2, -1, 1), (0, B, i * S, (i + 1) * S, S // 2, -1, 1)]
    return replace(window(i * S, (i + 1) * S, rows, usage, devices=(device(0),), seq=i), work=tuple(work))


def scraped(owner, unit, count, start_us, end_us, doubt=0):
    return WorkRow(owner, unit, count, "scraped", start_us, end_us, doubt)


def booked(windows, accounts=None):
    accounts = accounts or Accounts()
    for one in windows:
        accounts.add(one)
    return accounts


def lines(accounts):
    return {key: job.lines for key, job in accounts.ledger.jobs.items()}


def unit_of(accounts, owner=A, unit="tokens", source="scraped"):
    return accounts.ledger.jobs[owner].work.units[unit, source]


def test_energy_of_a_unit_is_that_of_the_time_between_its_first_and_last_page():
    begin = [scraped(A, "tokens", 0, 2 * S + 500_000, 2 * S + 500_000)]
    later = [scraped(A, "tokens", 1500, 2 * S + 500_000, 7 * S + 500_000)]
    accounts = booked([second(i, {2: begin, 7: later}.get(i, ())) for i in range(10)])
    accounts.finish()
    one = unit_of(accounts)
    assert one.count == 1500
    assert one.energy_hnj / HNJ == pytest.approx(WATTS / 2 * 5, rel=1e-9)
    (told,) = accounts.ledger.jobs[A].work.facts(accounts.ledger.jobs[A].energy_hnj, 0.0)
    assert told.joules == pytest.approx(0.5, rel=1e-9)
    assert told.plain()["joules_per_unit"] == told.joules


def test_work_waits_for_the_energy_of_its_time():
    done = [scraped(A, "tokens", 10, 0, 4 * S - 100_000)]
    accounts = booked([second(i, done if i == 3 else ()) for i in range(4)])
    assert accounts.ledger.jobs[A].work is None
    accounts.add(second(4))
    assert unit_of(accounts).count == 10


def test_told_work_is_of_all_that_the_job_used():
    told = [WorkRow(A, "steps", 100, "told", 6 * S, 6 * S)]
    accounts = booked([second(i, told if i == 5 else ()) for i in range(8)])
    accounts.finish()
    one = unit_of(accounts, unit="steps", source="told")
    first = 700_000  # of a counter nothing is known before its first reading
    assert one.energy_hnj / HNJ == pytest.approx(WATTS / 2 * (6 * S - first) / S, rel=1e-9)


def test_waiting_energy_is_a_part_of_the_jobs_own():
    rows = {
        1: [scraped(A, "tokens", 0, 2 * S, 2 * S), WorkRow(A, "", 0, "scraped", 2 * S, 2 * S)],
        3: [scraped(A, "tokens", 0, 2 * S, 4 * S), WorkRow(A, "", 0, "scraped", 2 * S, 4 * S, 0, waiting=True)],
        5: [scraped(A, "tokens", 9, 4 * S, 6 * S), WorkRow(A, "", 0, "scraped", 4 * S, 6 * S)],
    }
    accounts = booked([second(i, rows.get(i, ())) for i in range(8)])
    accounts.finish()
    job = accounts.ledger.jobs[A]
    assert job.work.waiting_hnj / HNJ == pytest.approx(WATTS / 2 * 2, rel=1e-9)
    assert accounts.ledger.jobs[B].work is None


def test_what_is_in_doubt_cancels_between_pages_and_stays_where_counting_begins():
    rows = [
        scraped(A, "tokens", 0, S, S, doubt=30),
        scraped(A, "tokens", 100, S, 2 * S, doubt=7),
        scraped(A, "tokens", 100, 2 * S, 3 * S, doubt=40),
    ]
    accounts = booked([second(i, [row for row in rows if row.end_us == (i + 1) * S]) for i in range(5)])
    accounts.finish()
    job = accounts.ledger.jobs[A]
    for of_energy in (0.0, 0.3):
        (told,) = job.work.facts(job.energy_hnj, of_energy * job.energy_hnj / HNJ)
        assert told.sigma == pytest.approx(math.hypot(50 / 200, of_energy))


def test_work_of_nobody_and_of_too_many_units_is_refused():
    rows = [WorkRow(A, f"u{i}", 1, "told", S, S) for i in range(MOST_UNITS + 2)]
    rows.append(WorkRow(JobKey("gone"), "tokens", 1, "told", S, S))
    accounts = booked([second(0, rows), second(1), second(2)])
    assert accounts.ledger.work.owners() == {"gone"}
    accounts.finish()
    assert len(accounts.ledger.jobs[A].work.units) == MOST_UNITS
    assert accounts.ledger.work.rejected == {"units_of_a_job": 2, "no_job": 1}


def test_the_other_gpus_of_a_job_count_where_parts_are_merged():
    done = [WorkRow(A, "tokens", 100, "told", 2 * S, 2 * S)]
    one = booked([second(i, done if i == 1 else ()) for i in range(3)])
    other = booked([replace(second(i), host="other", devices=(device(0, "other"),)) for i in range(3)])
    for part in (one, other):
        part.finish()
    mine, theirs = unit_of(one, source="told").energy_hnj, other.ledger.jobs[A].energy_hnj
    for first, last in ((one, other), (other, one)):
        whole = Accounts()
        whole.merge(first)
        whole.merge(last)
        assert unit_of(whole, source="told").energy_hnj == mine + theirs
    assert mine > 0 < theirs


ROWS = st.lists(
    st.builds(
        lambda owner, unit, count, source, end, length, doubt, waiting: WorkRow(
            owner, unit, count, source, end - length, end, doubt, waiting
        ),
        st.sampled_from([A, B, JobKey("gone")]),
        st.sampled_from(["tokens", "steps", ""]),
        st.integers(0, 2**53),
        st.sampled_from(["told", "scraped"]),
        st.integers(1, 6 * S),
        st.sampled_from([0, S // 3, 2 * S]),
        st.integers(0, 1000),
        st.booleans(),
    ),
    max_size=8,
)


def with_work(rows):
    return [second(i, [row for row in rows if i * S < row.end_us <= (i + 1) * S]) for i in range(6)]


def test_a_job_that_is_not_seen_yet_may_tell_its_work():
    told = [
        WorkRow(JobKey("late"), "steps", 2, "told", S // 2, S // 2),
        WorkRow(JobKey("late"), "steps", 3, "told", S, S),
    ]
    usage = [(0, JobKey("late"), 2 * S, 3 * S, S, -1, 1)]
    late = window(2 * S, 3 * S, [[(3 * S, 300_000, 900)]], usage, devices=(device(0),), seq=2)
    accounts = booked([second(0, told), second(1), late])
    accounts.finish()
    assert unit_of(accounts, JobKey("late"), "steps", "told").count == 5


@given(ROWS)
@settings(max_examples=examples(40), deadline=None)
def test_work_moves_no_joule(rows):
    told, silent = booked(with_work(rows)), booked(second(i) for i in range(6))
    for accounts in (told, silent):
        accounts.finish()
    assert lines(told) == lines(silent)
    assert {key: one.energy_hnj for key, one in told.gpus.items()} == {
        key: one.energy_hnj for key, one in silent.gpus.items()
    }
    counts = {}
    for row in rows:
        if row.unit and row.owner != "gone":
            key = row.owner, row.unit, row.source
            counts[key] = counts.get(key, 0) + row.count
    found = {
        (key, *unit): one.count
        for key, job in told.ledger.jobs.items()
        for unit, one in (job.work.units.items() if job.work else ())
    }
    assert found == counts
    for job in told.ledger.jobs.values():
        for one in job.work.units.values() if job.work else ():
            assert 0 <= one.energy_hnj <= job.energy_hnj
        assert job.work is None or 0 <= (job.work.waiting_hnj or 0) <= job.energy_hnj


@given(ROWS, st.integers(1, 5))
@settings(max_examples=examples(15), deadline=None)
def test_work_outlives_a_restart(tmp_path_factory, rows, cut):
    folder = tmp_path_factory.mktemp("state")
    windows = with_work(rows)
    whole, first = booked(windows), Accounts()
    file, idle = StateFile(folder, "h", "boot"), Calibrator({}, {}, 0.04)
    for one in windows[:cut]:  # whole, then what changed
        first.add(one)
        first.ledger.work.baselines["http://127.0.0.1:8000"] = {"time_us": one.end_us}
        file.save(first, idle, one.end_us)
    file.release()
    second_life = Accounts()
    assert StateFile(folder, "h", "boot").restore(second_life, idle).problems == ()
    assert second_life.ledger.work.baselines == {"http://127.0.0.1:8000": {"time_us": cut * S}}
    assert second_life.ledger.work.plain() == first.ledger.work.plain()
    booked(windows[cut:], second_life)
    for accounts in (whole, second_life):
        accounts.finish()
    assert {k: j.work and j.work.plain() for k, j in second_life.ledger.jobs.items()} == {
        k: j.work and j.work.plain() for k, j in whole.ledger.jobs.items()
    }
