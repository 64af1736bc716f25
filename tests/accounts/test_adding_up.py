"""Sums, peaks and limits with numbers that can be told apart: a part that is lost, doubled or swapped is seen."""

from dataclasses import fields, replace
from itertools import pairwise, product

import numpy as np
import pytest

from tests.accounts.made import S, device, window
from wattshed.agent.accounts.account import GpuAccount
from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.accounts.ledger import GpuKey, JobAccount, Ledger, Line
from wattshed.agent.accounts.limits import DeviceLimits, in_parts
from wattshed.agent.accounts.modules import Module
from wattshed.agent.accounts.statistics import HORIZON_US, Moving
from wattshed.agent.accounts.uncertainty import disagrees
from wattshed.agent.window import OTHER, JobKey, Readings
from wattshed.kernels.billing.layout import Diagnostics
from wattshed.kernels.billing.reconcile import MOST_HNJ

T0 = 1_700_000_000 * S
X, Y = GpuKey("h", "GPU-0"), GpuKey("h", "GPU-1")

TALLIES = len(fields(Diagnostics))
RISING = Diagnostics(*range(TALLIES))


def numbered(first):
    return Line(*(first * 10**place for place, _ in enumerate(fields(Line))))


def as_numbers(line):
    return [getattr(line, column.name) for column in fields(Line)]


def test_a_new_line_is_nothing():
    assert as_numbers(Line()) == [0] * len(fields(Line))


@pytest.mark.parametrize(("one", "two"), [(5, 3), (3, 5)])
def test_two_parts_of_a_line_are_summed_but_for_the_peaks(one, two):
    line = numbered(one)
    line.add(numbered(two))
    expected = as_numbers(numbered(8))
    for peak in ("peak_mw", "cut_peak_mw"):
        place = [column.name for column in fields(Line)].index(peak)
        expected[place] = 5 * 10**place
    assert as_numbers(line) == expected


def test_two_parts_of_a_gpus_account_are_summed():
    parts = []
    for k in (1, 10):
        one = GpuAccount(
            device(), k, 2 * k, 3 * k, Diagnostics(*(k * (n + 4) for n in range(TALLIES))), booked_us=5 * k
        )
        one.silent_us, one.missing_us, one.module = 6 * k, 7 * k, Module(8 * k)
        one.power.extend(np.array([0, k * S]), np.array([300_000, 300_000], np.int32), 900_000, 100 * S)
        one.power.settle()
        parts.append(one)
    whole, other = parts
    whole.merge(other)
    assert (whole.energy_hnj, whole.idle_hnj, whole.unattributed_hnj) == (11, 22, 33)
    assert (whole.booked_us, whole.silent_us, whole.missing_us, whole.module.energy_hnj) == (55, 66, 77, 88)
    assert whole.totals == Diagnostics(*(11 * (n + 4) for n in range(TALLIES)))
    assert whole.power.total_us() == 11 * S
    bare = GpuAccount(device())
    bare.merge(other)
    assert bare.module.energy_hnj == 80


def test_what_is_said_of_an_account():
    account = GpuAccount(device())
    assert (account.method, account.was_read, account.disagreement, account.rejected) == ("power", False, None, {})
    account.add(RISING, 1, 2, 3, 4)
    account.add(RISING, 10, 20, 30, 40)
    assert (account.energy_hnj, account.booked_us, account.idle_hnj, account.unattributed_hnj) == (11, 22, 33, 44)
    assert account.totals == Diagnostics(*(2 * n for n in range(TALLIES)))
    assert account.rejected["negative"] == 2 * RISING.rejected_negative
    for what in ("by_counter_hnj", "counter_hnj"):
        one = GpuAccount(device())
        setattr(one.totals, what, 1)
        assert one.method == "counter"
        assert not one.was_read
        one.module = Module()
        assert one.method == "power"
    for read in ({"energy_hnj": 1}, {"samples": 1}):
        one = GpuAccount(device(), read.get("energy_hnj", 0))
        one.totals.samples = read.get("samples", 0)
        assert one.was_read
    for counter, power in product((0, 1, 2, 400), (0, 1, 2, 500)):
        one.totals.compared_counter_hnj, one.totals.compared_power_hnj = counter, power
        assert one.disagreement == ((power - counter) / counter if counter and power else None)


def test_a_job_exists_from_its_first_to_its_last_stretch():
    job = JobAccount(JobKey("a"))
    assert (job.start_us, job.end_us, job.energy_hnj) == (-1, -1, 0)
    job.shown_from_us = 9
    job.seen(50, 60)
    assert (job.start_us, job.end_us, job.shown_from_us) == (50, 60, None)
    job.shown_from_us = 9
    for stretch in ((55, 58), (52, 60)):
        job.seen(*stretch)
        assert (job.start_us, job.end_us, job.shown_from_us) == (50, 60, 9), "nothing new was seen"
    job.seen(0, 10)
    job.seen(5, 70)
    assert (job.start_us, job.end_us, job.shown_from_us) == (0, 70, None)
    job.line(X).static_hnj, job.line(Y).dynamic_hnj = 3, 40
    assert job.line(X) is job.lines[X]
    assert job.energy_hnj == 43


def ledger_of(*jobs, cap=10):
    """A ledger of jobs (key, end_us, {gpu: (static, dynamic)})."""
    ledger = Ledger(cap)
    for key, end_us, lines in jobs:
        job = ledger.job(JobKey(key), {})
        job.seen(0, end_us)
        for gpu, (static, dynamic) in lines.items():
            job.lines[gpu] = Line(static, dynamic)
    return ledger


def test_parts_of_a_ledger_are_merged_gpu_by_gpu():
    mine = ledger_of(("a", 5, {X: (1, 2)}), ("b", 9, {X: (3, 4)}))
    theirs = ledger_of(("a", 7, {X: (10, 20), Y: (30, 40)}), ("c", 3, {Y: (50, 60)}))
    mine.jobs[JobKey("a")].method, theirs.jobs[JobKey("a")].method = 1, 4
    for ledger, k in ((mine, 1), (theirs, 100)):
        ledger.ended_hnj, ledger.other = {X: k, Y: 2 * k}, {X: Line(3 * k, 4 * k)}
    mine.merge(theirs)
    assert {(job, gpu): (s, d) for job, gpu, s, d in mine.shares()} == {
        ("a", X): (11, 22), ("a", Y): (30, 40), ("b", X): (3, 4), ("c", Y): (50, 60), (OTHER, X): (303, 404),
    }  # fmt: skip
    assert mine.ended_hnj == {X: 101, Y: 202}
    job = mine.jobs[JobKey("a")]
    assert (job.start_us, job.end_us, job.method) == (0, 7, 5)


def test_a_retired_job_goes_where_it_was_shown():
    """One with a series into the jobs that ended, one without into `_other`; the sum stays the same at every step."""
    ledger = ledger_of(
        ("a", 10, {X: (1, 2)}), ("b", 10, {X: (40, 80)}), ("c", 10, {X: (100, 200), Y: (5, 6)}), ("d", 99, {X: (7, 8)}),
        cap=2,
    )  # fmt: skip
    assert [job.folded for job in ledger.jobs.values()] == [False, False, True, True]
    assert ledger.folded == 2

    def whole():
        shown = sum(static + dynamic for _, _, static, dynamic in ledger.shares())
        return shown + sum(ledger.ended_hnj.values())

    before = whole()
    for now in (20, 30, 40):
        ledger.retire(now, 15, waiting={JobKey("b")})
        assert whole() == before
    assert set(ledger.jobs) == {"b", "d"}
    assert ledger.ended_hnj == {X: 3}
    assert {gpu: (line.static_hnj, line.dynamic_hnj) for gpu, line in ledger.other.items()} == {
        X: (100, 200),
        Y: (5, 6),
    }


def test_the_last_bill_is_shown_for_its_time():
    """From when it is known on, whatever is looked at how often; and longer if it changes."""
    ledger = ledger_of(("a", 10, {X: (1, 2)}))
    ledger.retire(10, 5)
    ledger.retire(11, 5)  # takes note of the bill
    for now in (13, 16):
        ledger.retire(now, 5)
        assert "a" in ledger.jobs, now
    ledger.jobs[JobKey("a")].lines[X].dynamic_hnj += 1
    ledger.retire(17, 5)
    ledger.retire(22, 5)
    assert "a" in ledger.jobs, "5 us are not more than 5 us"
    ledger.retire(23, 5)
    assert "a" not in ledger.jobs
    assert ledger.ended_hnj == {X: 4}


@pytest.mark.parametrize(
    ("offset_w", "gain", "joules"), [(-9, 0, 0), (-4, 0, 9), (2, 0, 63), (-4, 0.5, 31.5), (0, -0.25, 33.75)]
)
def test_a_correction_takes_off_what_it_says_but_never_below_nothing(offset_w, gain, joules):
    accounts = Accounts()
    facts = {"offset_mw": offset_w * 1_000, "gain_ppm": round(gain * 1e6), "idle_mw": 0}
    for n in range(10):
        t = T0 + n * S
        accounts.add(window(t, t + S, [[(t, 5_000, -1)]], devices=(device(**facts),)))
    accounts.finish()
    (account,) = accounts.gpus.values()
    assert account.energy_hnj == round(joules * 2e9)
    assert account.idle_hnj + account.unattributed_hnj == account.energy_hnj


def test_what_known_activities_do_not_cover_is_nobodys():
    """Two jobs use together half of a GPU that is always busy: somebody who is not seen drew the other half."""
    accounts = Accounts()
    for n in range(60):
        t = T0 + n * S
        rows = [(t + 1000, 370_000, 370_000 * n + 1), (t + S // 2, 370_000, -1)]
        usage = [(0, key, t, t + S, activity, -1, 1) for key, activity in (("a", 300_000), ("b", 200_000))]
        accounts.add(window(t, t + S, [rows], usage, busy=[S]))
    accounts.finish()
    (account,) = accounts.gpus.values()
    lines = [job.lines[X] for job in accounts.ledger.jobs.values()]
    dynamic = account.energy_hnj - account.idle_hnj - sum(line.static_hnj for line in lines)
    assert account.unattributed_hnj == pytest.approx(dynamic / 2, rel=0.05)
    assert lines[0].dynamic_hnj / lines[1].dynamic_hnj == pytest.approx(1.5, rel=0.05)


def test_limits_are_of_the_devices_in_their_order():
    devices = (
        device(0, ceiling_mw=900_000, limit_mw=700_000, idle_mw=50_000, max_gap_us=3 * S),
        device(1, ceiling_mw=20_000_000, limit_mw=-1, idle_mw=60_000, max_gap_us=-1),
        device(2, ceiling_mw=20_000_000, max_gap_us=2**60),
    )
    limits = DeviceLimits.of(devices, 5 * S)
    assert limits.ceiling_mw.tolist() == [900_000, 20_000_000, 20_000_000]
    assert limits.limit_mw.tolist() == [700_000, -1, 700_000]
    assert limits.idle_mw.tolist() == [50_000, 60_000, 70_000]
    assert limits.max_gap_us.tolist() == [3 * S, 5 * S, MOST_HNJ // 20_000_000]
    assert not limits.calibrated
    for facts in ({"gain_ppm": 1}, {"offset_mw": -1}):
        assert DeviceLimits.of((device(), device(1, **facts)), S).calibrated


@pytest.mark.parametrize("instant", [False, True])
def test_a_window_that_is_too_long_is_cut_and_nothing_is_lost(instant):
    limits = DeviceLimits.of((device(ceiling_mw=20_000_000, limit_mw=-1), device(1)), 5 * S)
    longest = MOST_HNJ // (2 * 20_000_000)
    times = [[0, 1, longest, longest + 1, 3 * longest], [5, longest - 1, longest + 2]]
    flat = np.array([t for mine in times for t in mine], np.int64)
    n = len(flat)
    columns = (np.arange(n, dtype=np.int32) + 1, np.arange(n, dtype=np.int64) + 10)
    extra = np.arange(n, dtype=np.int32) + 20 if instant else np.empty(0, np.int32)
    readings = Readings(np.array([0, 5, 8]), flat, *columns, extra)
    parts = list(in_parts(readings, limits))
    assert [np.diff(part.offsets).tolist() for part in parts] == [[2, 2], [2, 1], [1, 0]]
    for part in parts:
        assert part.time_us.max() - part.time_us.min() <= longest
    for gpu in (0, 1):
        for name in ("time_us", "power_mw", "counter_mj", *(["instant_mw"] if instant else [])):
            mine = [getattr(part, name)[part.offsets[gpu] : part.offsets[gpu + 1]] for part in parts]
            whole = getattr(readings, name)[readings.offsets[gpu] : readings.offsets[gpu + 1]]
            assert np.concatenate(mine).tolist() == whole.tolist(), (gpu, name)
    short = Readings(np.array([0, 1, 2]), np.array([0, longest]), columns[0][:2], columns[1][:2])
    assert list(in_parts(short, limits)) == [short]


def naive_moving(points, length, now):
    """Peaks and ramps of one window length over the last minute, from their definition."""
    peaks, ups, downs = [], [], []
    for k, (end, power) in enumerate(points):
        if end < now - HORIZON_US or points[0][0] > end - length:
            continue
        there = float(np.interp(end - length, [t for t, _ in points], [p for _, p in points]))
        inside = [(end - length, there), *((t, p) for t, p in points[: k + 1] if t > end - length)]
        area = sum((p + q) / 2 * (u - t) for (t, p), (u, q) in pairwise(inside))
        peaks.append(area / length / 1e3)
        ups.append(max(power - there, 0) / length * 1e3)
        downs.append(max(there - power, 0) / length * 1e3)
    return [max(values, default=None) for values in (peaks, ups, downs)]


@pytest.mark.parametrize("seed", range(4))
def test_peaks_and_ramps_are_as_their_definition_has_them(seed):
    random = np.random.default_rng(seed)
    times = np.cumsum(random.choice([200_000, 500_000, 1_300_000], 250))
    points = list(zip(times.tolist(), random.integers(60_000, 700_000, 250).tolist(), strict=True))
    moving = Moving()
    for k, (t, p) in enumerate(points):
        moving.add_power(t, p, 5 * S)
        moving.add_mean(t, p, 5 * S)
        if k in {0, 3, 30, 100, 249}:
            for name, length in (("1s", S), ("10s", 10 * S), ("1m", 60 * S)):
                peak, up, down = naive_moving(points[: k + 1], length, t)
                ramps = moving.ramps_w_per_s()
                found = [moving.peaks_w().get(name), ramps.get((name, "up")), ramps.get((name, "down"))]
                for mine, theirs in zip(found, (peak, up, down), strict=True):
                    assert (mine is None) == (theirs is None), (k, name)
                    assert mine == (None if theirs is None else pytest.approx(theirs, rel=1e-9, abs=1e-9)), (k, name)


def add(moving, t, p):
    moving.add_power(t, p, 5 * S)
    moving.add_mean(t, p, 5 * S)


def test_no_window_reaches_over_a_gap():
    moving = Moving()
    for second in range(5):
        add(moving, second * S, 100_000)
    assert moving.peaks_w()["1s"] == 100
    add(moving, 4 * S, 800_000)  # the same moment again
    add(moving, 3 * S, 800_000)
    assert moving.ramps_w_per_s()["1s", "up"] == 0
    add(moving, 10 * S, 700_000)
    add(moving, 10 * S + S // 2, 700_000)
    assert moving.peaks_w()["1s"] == 100
    add(moving, 11 * S, 700_000)
    assert moving.peaks_w()["1s"] == 700
    assert moving.ramps_w_per_s()["1s", "up"] == 0


def locked_load(seconds, counter_mw=487_000):
    """A load that works 60 ms in every 100: readings of instant power are taken while it works, means are not."""
    accounts = Accounts(live=True)
    one = device(publication_us={"average": 100_000, "instant": 100_000, "energy": 100_000}, limit_mw=700_000)
    for n in range(seconds):
        at = T0 + n * S
        readings = Readings(
            np.array([0, 2]), np.array([at, at + S // 2]), np.array([500_000, -1], np.int32),
            np.array([counter_mw * n, -1], np.int64), np.array([648_000, 667_000], np.int32),
        )  # fmt: skip
        accounts.add(replace(window(at, at + S, [[]], (), (one,)), readings=readings))
    return next(iter(accounts.gpus.values()))


def test_what_is_read_in_step_with_a_load_contradicts_no_counter():
    account = locked_load(70)
    assert account.disagreement == pytest.approx(500 / 487 - 1)
    assert account.totals.compared_us == 69 * S
    assert account.totals.power_hnj == 2 * 500_000 * 69 * S
    assert not disagrees(account)


def test_what_is_read_in_step_with_a_load_is_no_peak():
    peaks = locked_load(70).moving.peaks_w()
    assert peaks == {"1s": 500, "10s": pytest.approx(487, rel=1e-4), "1m": pytest.approx(487, rel=1e-4)}


def test_a_counter_that_leaps_falls_or_goes_silent_gives_no_mean():
    moving = Moving()
    for n in range(12):
        moving.add_counter(n * S, n * 300_000, 900_000, 5 * S)
    assert moving.peaks_w() == {"10s": 300}
    moving.add_counter(12 * S, 300_000_000, 900_000, 5 * S)  # a leap
    for n in range(13, 24):
        moving.add_counter(n * S, (n - 13) * 400_000, 900_000, 5 * S)  # from zero again
    assert moving.peaks_w() == {"10s": 400}
    moving.add_counter(40 * S, 40 * 800_000, 900_000, 5 * S)  # after a gap
    for n in range(41, 50):
        moving.add_counter(n * S, n * 800_000, 900_000, 5 * S)
    assert moving.peaks_w() == {"10s": 400}
    for n in range(50, 112):
        moving.add_mean(n * S, 200_000, 5 * S, of_last_second=True)
    assert moving.peaks_w() == {"1s": 200, "10s": 200, "1m": 200}
