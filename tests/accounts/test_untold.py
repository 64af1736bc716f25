"""A job's sigma holds what its GPU's sigma has for times of which nothing tells: in proportion to its part in them."""

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.accounts.made import S, device, window
from tests.depth import examples
from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.accounts.calibration import Calibrator
from wattshed.agent.accounts.state import StateFile
from wattshed.agent.accounts.uncertainty import estimated_w, frozen_w, gpu_sigma_j, job_sigma_j, missing_w
from wattshed.agent.window import JobKey

FACTS = {"sigma_gain_ppm": 0, "publication_us": {"instant": 1}, "architecture": "Turing"}
NO_EDGE_J = 100  # what an edge at 300 W may add


def booked(rows, usage, cuts=(), **facts):
    """Book one GPU's rows in windows that end at these seconds."""
    accounts, bounds = Accounts(), [0, *cuts, rows[-1][0] // S]
    cards = (device(**FACTS | facts),)
    for seq, (a, b) in enumerate(itertools.pairwise(bounds)):
        inside = [row for row in rows if a * S <= row[0] < b * S or (b == bounds[-1] and row[0] == b * S)]
        present = [(key, max(start, a) * S, min(end, b) * S, u) for key, start, end, u in usage]
        usage_rows = [
            (0, key, t0, t1, round(u * (t1 - t0)) if u >= 0 else -1, -1, 1) for key, t0, t1, u in present if t0 < t1
        ]
        accounts.add(window(a * S, b * S, [inside], usage_rows, devices=cards, seq=seq))
    accounts.finish()
    (account,) = accounts.gpus.values()
    return accounts, account


def reloaded(*, away_s=40, counted_s=0):
    """300 W, a driver away from 60 s on; the counter that follows has counted since ``counted_s`` before it is back."""
    back = 60 + away_s
    counter = {t: (t if t <= 60 else t - back + counted_s) * 300_000 for t in range(back + 61)}
    return [(t * S, 300_000, counter[t]) for t in [*range(61), *range(back, back + 61)]]


def untold_j(accounts, name):
    (line,) = accounts.ledger.jobs[JobKey(name)].lines.values()
    return line.untold_hnj / 2e9


@pytest.mark.parametrize("cuts", [(), range(1, 161)])
def test_who_held_the_gpu_over_a_reload_is_as_uncertain_as_the_gpu(cuts):
    accounts, account = booked(reloaded(), [("job", 0, 160, -1)], cuts)
    assert account.totals.estimated_us == 40 * S
    assert untold_j(accounts, "job") == pytest.approx(gpu_sigma_j(account), abs=1e-6)
    (job,) = accounts.ledger.jobs.values()
    assert job_sigma_j(job, accounts.gpus) == pytest.approx(gpu_sigma_j(account), abs=NO_EDGE_J)


def test_over_a_reload_that_is_too_long_to_be_estimated_a_job_may_lack_as_much_as_the_gpu():
    accounts, account = booked(reloaded(away_s=120, counted_s=20), [("job", 0, 240, -1)])
    assert account.totals.unknown_us == 100 * S
    assert untold_j(accounts, "job") == pytest.approx(100 * missing_w(account))
    assert untold_j(accounts, "job") == pytest.approx(gpu_sigma_j(account), abs=1e-6)


def test_a_job_that_was_not_there_has_none_of_it():
    accounts, account = booked(reloaded(), [("before", 0, 60, -1), ("after", 100, 160, -1)])
    assert gpu_sigma_j(account) > 7_000
    assert untold_j(accounts, "before") == untold_j(accounts, "after") == 0


def test_a_job_that_ended_in_it_has_its_part():
    accounts, account = booked(reloaded(), [("before", 0, 70, -1), ("after", 100, 160, -1)])
    assert untold_j(accounts, "before") == pytest.approx(10 * estimated_w(account))


def test_those_who_share_have_it_by_their_activity_and_by_what_that_may_be_off():
    accounts, account = booked(reloaded(), [("a", 0, 160, 0.75), ("b", 0, 160, 0.25)])
    whole_j = 40 * estimated_w(account)
    doubt = 0.7 * 0.75 * 0.25 * math.sqrt(2)
    assert untold_j(accounts, "a") == pytest.approx(whole_j * math.hypot(0.75, doubt), rel=1e-3)
    assert untold_j(accounts, "b") == pytest.approx(whole_j * math.hypot(0.25, doubt), rel=1e-3)


@pytest.mark.parametrize("cuts", [(), range(1, 700), (65, 333, 401)])
def test_who_is_on_a_gpu_whose_sensor_stands_still_is_as_uncertain_as_it(cuts):
    rows = [(t * S, 200_000 + (t % 7 if t < 100 else 0) * 1000, -1) for t in range(701)]
    usage = [("early", 0, 90, -1), ("job", 120, 400, -1), ("late", 400, 700, -1)]
    accounts, account = booked(rows, usage, cuts)
    assert untold_j(accounts, "early") == 0
    assert untold_j(accounts, "late") == pytest.approx(300 * frozen_w(account), rel=1e-3)
    # Found out at 160 s; who was there then answers for what stood since 100 s.
    assert untold_j(accounts, "job") == pytest.approx(280 * frozen_w(account), rel=0.08)
    held = [account.totals.gap_us, untold_j(accounts, "job") + untold_j(accounts, "late")]
    assert held[0] == 0
    assert held[1] <= gpu_sigma_j(account, 600 * S)


def test_a_sensor_that_stands_still_beside_a_counter_tells_nothing_wrong():
    rows = [(t * S, 200_000, t * 250_000) for t in range(301)]
    accounts, _ = booked(rows, [("job", 0, 300, -1)])
    assert untold_j(accounts, "job") == 0


@settings(deadline=None, max_examples=examples(40))
@given(
    st.lists(
        st.tuples(st.integers(0, 150), st.integers(1, 100), st.sampled_from([-1, 0.0, 0.2, 0.9])),
        min_size=1,
        max_size=4,
    ),
    st.sets(st.integers(1, 159), max_size=4),
    st.integers(0, 40),
)
def test_the_parts_of_all_jobs_are_no_more_than_the_gpus(jobs, cuts, counted_s):
    usage = [(f"job{i}", start, min(start + length, 160), u) for i, (start, length, u) in enumerate(jobs)]
    accounts, account = booked(reloaded(counted_s=counted_s), usage, sorted(cuts))
    whole_j = account.totals.estimated_us / 1e6 * estimated_w(account)
    parts = [untold_j(accounts, name) for name in {name for name, a, b, _ in usage if a < b}]
    assert all(part <= whole_j * 1.000001 for part in parts)
    # Beside its part each has the doubt of the split: for two of unknown activity, E / 2 and E / sqrt 12.
    assert sum(parts) <= whole_j * (1 if len(parts) == 1 else math.sqrt(len(parts))) * 1.000001


def test_it_outlives_a_restart(tmp_path):
    accounts, _ = booked(reloaded(), [("job", 0, 160, -1)])
    keeper = StateFile(tmp_path, "h", "boot")
    keeper.save(accounts, Calibrator(), 160 * S)
    again = Accounts()
    keeper.restore(again, Calibrator())
    assert untold_j(again, "job") == untold_j(accounts, "job") > 0


@pytest.mark.parametrize("days", [100, 300, 3_000])
def test_a_hole_of_months_is_booked(days):
    accounts, gap_us = Accounts(), days * 86_400 * S
    for start_us, counter_mj in ((0, 10**9), (gap_us, 5), (gap_us + S, 305)):
        t = 1_700_000_000 * S + start_us
        rows = [(t, 300_000, counter_mj), (t + S // 2, 300_000, counter_mj + 150)]
        accounts.add(window(t, t + S, [rows], [(0, "job", t, t + S, 500_000, -1, 1)]))
    assert untold_j(accounts, "job") > 10**9
