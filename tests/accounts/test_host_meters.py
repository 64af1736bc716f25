"""Meters of the host: any wrap, lag and quantum of a counter, any gauge, gives the energy that there was, or a gap."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.accounts.made import S, window
from tests.depth import examples
from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.accounts.calibration import Calibrator
from wattshed.agent.accounts.host_meters import MeterBook, MeterBooks
from wattshed.agent.accounts.state import StateFile
from wattshed.agent.cutting import cut
from wattshed.agent.window import Event
from wattshed.agent.window.host_meters import COUNTER, GAUGE, HostMeter, HostReadings

T0 = 1_700_000_000 * S
HNJ = 2_000_000_000
PACKAGE = HostMeter("rapl", "package-0", COUNTER, "cpu", wrap_uj=262_143_328_850, ceiling_mw=700_000)
NODE = HostMeter("ipmi", "node", GAUGE, "ac", period_us=5 * S, sigma_ppm=50_000)


def read(meter, *rows):
    book = MeterBook(meter)
    for time_us, value in rows:
        book.read(time_us, value)
    return book


@given(
    st.integers(10**6, 3 * 10**8), st.integers(0, 3 * S), st.integers(1, 10**6), st.integers(0, 10**12),
    st.lists(st.tuples(st.integers(1, 20 * S), st.integers(0, 700_000)), min_size=1, max_size=30),
)  # fmt: skip
@settings(max_examples=examples(60), deadline=None)
def test_a_counter_gives_what_there_was_or_a_gap_whatever_its_wrap_lag_and_quantum(wrap, lag, quantum, began, steps):
    """Every reading is exact modulo the wrap, so a stretch is booked exactly, or is a gap: never anything between."""
    meter = replace(PACKAGE, wrap_uj=wrap, period_us=max(lag, S))
    ends = np.cumsum([0, *(lasted for lasted, _ in steps)])
    energies = np.cumsum([0, *(lasted * power // 1000 for lasted, power in steps)])

    def shown(at_us):
        true_uj = began + int(np.interp(at_us - lag, ends, energies))
        return true_uj // quantum * quantum

    book = MeterBook(meter)
    rows = [(int(end), shown(int(end))) for end in ends]
    for end, value in rows:
        book.read(T0 + end, value % wrap)
    exact = sum(
        later - earlier
        for (_, earlier), (_, later), (lasted, _) in zip(rows[:-1], rows[1:], steps, strict=True)
        if (later - earlier) % wrap + wrap > 700_000 * (lasted + meter.period_us) // 1000
    )
    if quantum <= 700_000 * meter.period_us // 1000:
        assert book.energy_hnj == exact * 2000
        assert not book.rejected
    assert book.covered_us + book.gap_us <= int(ends[-1])


def test_four_hours_of_a_processor_are_exact_over_all_its_wraps():
    times = range(0, 4 * 3600, 10)
    book = read(PACKAGE, *((T0 + t * S, (5_000_000 + t * 350_000_000) % PACKAGE.wrap_uj) for t in times))
    assert book.energy_hnj == times[-1] * 350 * HNJ
    assert (book.gaps, book.resets, book.rejected) == (0, 0, {})
    assert book.sigma_hnj == pytest.approx(0.05 * book.energy_hnj, rel=1e-6)


def test_a_hole_in_which_a_counter_may_have_gone_round_twice_is_a_gap():
    book = read(PACKAGE, (T0, 0), (T0 + S, 350_000_000), (T0 + 301 * S, 1_000_000_000), (T0 + 302 * S, 1_350_000_000))
    assert book.energy_hnj == (350 + 650 + 350) * HNJ  # 300 s at the limit are 210 kJ: no way round yet
    amd = replace(PACKAGE, wrap_uj=65_532_610_987)
    book = read(amd, (T0, 0), (T0 + S, 350_000_000), (T0 + 301 * S, 1_000_000_000), (T0 + 302 * S, 1_350_000_000))
    assert (book.energy_hnj, book.gap_us, book.covered_us) == (700 * HNJ, 300 * S, 2 * S)


def test_a_counter_that_begins_anew_loses_the_stretch_and_invents_nothing():
    book = read(PACKAGE, (T0, 10**9), (T0 + S, 10**9 + 10**8), (T0 + 2 * S, 5), (T0 + 3 * S, 10**8 + 5))
    assert (book.energy_hnj, book.resets, book.gap_us) == (2 * 100 * HNJ, 1, S)


def test_one_reading_that_cannot_be_is_left_out():
    book = read(PACKAGE, (T0, 10**9), (T0 + S, 9 * 10**10), (T0 + 2 * S, 10**9 + 2 * 10**8))
    assert (book.energy_hnj, book.resets, book.rejected) == (200 * HNJ, 0, {"counter_step": 1})


def test_a_coarse_counter_may_step_by_what_was_used_while_it_stood_still():
    coarse = HostMeter("redfish", "node-energy", COUNTER, "ac", period_us=10 * S)
    steps = [(T0 + 10 * k * S, k // 18 * 360_000_000_000) for k in range(100)]  # 0.1 kWh every 180 s: 2 kW
    book = read(coarse, *steps)
    assert (book.energy_hnj, book.resets) == (5 * 360_000 * HNJ, 0)


@given(st.lists(st.tuples(st.integers(1, 15 * S), st.integers(1, 20_000_000)), min_size=2, max_size=20))
@settings(max_examples=examples(40), deadline=None)
def test_a_gauge_is_a_sum_of_trapezoids_and_gaps(steps):
    rows, at = [], T0
    for lasted, power in steps:
        at += lasted
        rows.append((at, power))
    book = read(NODE, *rows)
    bridged = [(a, b) for a, b in pairwise(rows) if b[0] - a[0] <= 15 * S]
    assert book.energy_hnj == sum((a[1] + b[1]) * (b[0] - a[0]) for a, b in bridged)
    assert book.covered_us + book.gap_us == rows[-1][0] - rows[0][0]
    assert book.sigma_hnj >= book.energy_hnj // 20 - len(steps)


@pytest.mark.parametrize(
    ("value", "at", "reason"),
    [(0, S, "zero"), (20_000_001, S, "above_ceiling"), (-1, S, "negative"), (5, -1, "time_backwards")],
)
def test_what_is_no_reading_is_counted_and_changes_nothing(value, at, reason):
    book = read(NODE, (T0, 500_000), (T0 + at, value), (T0 + 2 * S, 500_000))
    assert (book.energy_hnj, book.rejected) == (1000 * HNJ, {reason: 1})


def test_the_same_reading_told_twice_is_one():
    assert read(NODE, (T0, 5), (T0, 5)).rejected == {}


def test_a_meter_that_never_covered_a_stretch_has_no_energy():
    assert not read(NODE, (T0, 500_000)).was_read
    assert read(NODE, (T0, 500_000), (T0 + S, 500_000)).was_read


def test_a_known_gain_is_applied():
    assert read(replace(NODE, gain_ppm=20_000), (T0, 10**6), (T0 + S, 10**6)).energy_hnj == 1020 * HNJ


def told(start_s, *rows, meters=(PACKAGE, NODE), rejected=(), events=()):
    """A window of a second; ``rows`` are (meter, seconds after the start, value)."""
    at = T0 + start_s * S
    beside = HostReadings.of(meters, [(m, at + int(t * S), v) for m, t, v in rows], rejected)
    return replace(window(at, at + S, [[(at, 300_000, -1)]], events=events), beside=beside)


def hours(until=12):
    unknown = (("ipmi/node", "unknown", 1),)
    rows = [((0, 0.2, s * 200_000_000), *([(1, 0.7, 900_000 + s)] if not s % 5 else [])) for s in range(until)]
    return [told(s, *some, rejected=unknown) for s, some in enumerate(rows)]


def state_of(accounts):
    beside = accounts.beside["h"]
    return beside.plain(), beside.node.plain()


@given(st.lists(st.integers(1, 12 * S - 1), unique=True, max_size=6).map(sorted))
@settings(max_examples=examples(20), deadline=None)
def test_books_are_the_same_however_the_windows_are_cut(edges):
    whole, parts = Accounts(), Accounts()
    for one in hours():
        whole.add(one)
        inside = [T0 + edge for edge in edges if one.start_us < T0 + edge < one.end_us]
        for part in cut(one, inside):
            parts.add(part)
    assert state_of(whole)[0] == state_of(parts)[0]


@pytest.mark.parametrize("saves", [1, 2])
def test_books_outlive_a_restart(tmp_path, saves):
    accounts, through = Accounts(), Accounts()
    windows = hours(10)
    state = StateFile(tmp_path, "h", "boot")
    for save in range(1, saves + 1):
        for one in windows[5 * (save - 1) : 5 * save]:
            accounts.add(one)
        state.save(accounts, Calibrator(), T0 + 5 * save * S)
    StateFile(tmp_path, "h", "boot").restore(through, Calibrator())
    assert state_of(through) == state_of(accounts)
    before = accounts.beside["h"].meters["rapl/package-0"].energy_hnj
    down = Event(T0 + 20 * S, "restart", detail="same-boot")
    through.add(told(20, (0, 0.2, 20 * 200_000_000), (1, 0.2, 900_000), events=(down,)))
    meters = through.beside["h"].meters
    bridged = 20 - (5 * saves - 1)
    assert meters["rapl/package-0"].energy_hnj == before + bridged * 200 * HNJ  # the counter went on
    assert meters["ipmi/node"].gap_us == (20 - 5 * (saves - 1)) * S - 700_000  # a gauge did not


def test_a_new_boot_begins_new_counters_and_keeps_the_joules(tmp_path):
    accounts = Accounts()
    for one in [*hours(5), told(9, (0, 0.2, 7), events=(Event(T0 + 9 * S, "restart", detail="new-boot"),))]:
        accounts.add(one)
    book = accounts.beside["h"].meters["rapl/package-0"]
    assert (book.energy_hnj, book.gap_us, book.resets) == (800 * HNJ, 0, 0)


def test_a_state_of_before_is_read_and_one_without_meters_says_nothing_of_them(tmp_path):
    accounts, again = Accounts(), Accounts()
    accounts.add(window(T0, T0 + S, [[(T0, 300_000, -1)]]))
    StateFile(tmp_path, "h", "boot").save(accounts, Calibrator(), T0 + S)
    assert b"beside" not in (tmp_path / "state.json").read_bytes()
    assert StateFile(tmp_path, "h", "boot").restore(again, Calibrator()).found
    assert again.beside == {}


def test_parts_of_a_replay_add_up():
    whole, one, two = MeterBooks(), Accounts(), Accounts()
    for place, told_now in enumerate(hours()):
        whole.take(told_now.beside)
        (one if place < 6 else two).add(told_now)
    sums = one.beside["h"].meters["rapl/package-0"].energy_hnj + two.beside["h"].meters["rapl/package-0"].energy_hnj
    one.merge(two)
    merged = one.beside["h"].meters
    assert merged["rapl/package-0"].energy_hnj == sums
    assert merged["ipmi/node"].rejected == whole["ipmi/node"].rejected == {"unknown": 12}
