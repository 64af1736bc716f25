"""Merging counter and power: every way in which a counter lies, and windows cut anywhere."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from wattshed.kernels.billing.layout import Diagnostics
from wattshed.kernels.billing.reconcile import merge, new_state
from wattshed.kernels.records import objects

S = 1_000_000
LIMIT, CEILING, GAP = 700_000, 1_050_000, 5 * S


def book(rows, cuts=(), limit=LIMIT, ceiling=CEILING, gap=GAP, closing=True):
    """Book one GPU's (time, power, counter) in windows cut before the given rows: intervals and summed diagnostics."""
    state, diagnostics, intervals = new_state(1), Diagnostics(), []
    bounds = [0, *sorted(cuts), len(rows)]
    for lo, hi in itertools.pairwise(bounds):
        part = rows[lo:hi]
        t, p, c = (list(column) for column in zip(*part, strict=True)) if part else ([], [], [])
        last = hi == len(rows) and closing
        out = merge(
            np.array([0, len(part)]), np.array(t, np.int64), np.array(p, np.int32), np.array(c, np.int64), state,
            np.array([ceiling]), np.array([limit]), np.array([gap]), closing=last,
        )  # fmt: skip
        n = int(out.counts[0])
        intervals += list(zip(out.t0_us[:n].tolist(), out.t1_us[:n].tolist(), out.energy_hnj[:n].tolist(), strict=True))
        diagnostics.add(*objects(out.diagnostics, Diagnostics))
    return intervals, diagnostics


def joules(intervals):
    return sum(energy for _, _, energy in intervals) / 2e9


def steady(seconds, watts=300, start=0, base=1_000_000, counter=True, hz=2):
    """A steady load read at ``hz``; the counter (if any) on every row."""
    n = seconds * hz
    return [(start + i * S // hz, watts * 1000, base + watts * 1000 * i // hz if counter else -1) for i in range(n + 1)]


def test_the_counter_is_the_energy():
    intervals, diagnostics = book(steady(10))
    assert joules(intervals) == 3000
    assert diagnostics.by_counter_hnj == 3000 * 2_000_000_000
    assert diagnostics.counter_hnj == diagnostics.power_hnj


def test_power_gives_the_shape_inside_a_counter_interval():
    rows = [(0, 100_000, 0), (S // 2, 300_000, -1), (S, 300_000, 300_000)]
    intervals, _ = book(rows)
    # Trapezoids of 100 J and 150 J, scaled to the 300 J of the counter.
    assert [e / 2e9 for _, _, e in intervals] == pytest.approx([120, 180])
    assert sum(e for *_, e in intervals) == 300 * 2_000_000_000


def test_without_a_counter_power_is_integrated_exactly():
    intervals, diagnostics = book([(0, 100_000, -1), (S, 200_001, -1), (3 * S, 100_000, -1)])
    assert [e for *_, e in intervals] == [300_001 * S, 300_001 * 2 * S]
    assert diagnostics.covered_us == 3 * S


def test_a_long_hole_is_a_gap_and_is_not_bridged():
    rows = [(0, 100_000, -1), (S, 100_000, -1), (11 * S, 100_000, -1), (12 * S, 100_000, -1)]
    intervals, diagnostics = book(rows)
    assert joules(intervals) == 200
    assert (diagnostics.gap_us, diagnostics.gaps, diagnostics.covered_us) == (10 * S, 1, 2 * S)


def test_the_counter_bridges_a_hole():
    rows = [*steady(2), *steady(2, start=60 * S, base=1_000_000 + 300_000 * 60)]
    intervals, diagnostics = book(rows)
    assert joules(intervals) == 300 * 62
    assert diagnostics.gaps == 1
    (hole,) = [p for p in intervals if p[1] - p[0] > S]
    assert hole == (2 * S, 60 * S, 58 * 300 * 2_000_000_000)


def test_what_the_counter_says_of_a_hole_belongs_to_the_hole_though_power_came_back_first():
    before, after = steady(2), steady(2, start=60 * S, base=1_000_000 + 300_000 * 60)
    after[0] = (*after[0][:2], -1)
    intervals, _ = book([*before, *after])
    assert joules(intervals) == 300 * 62
    assert [p for p in intervals if p[1] - p[0] > S] == [(2 * S, 60 * S, 58 * 300 * 2_000_000_000)]
    assert all(e == (b - a) * 600_000 for a, b, e in intervals)


@pytest.mark.parametrize("quick_first", [False, True])
@pytest.mark.parametrize(
    ("away_s", "counted_j", "hole_j", "estimated_s", "unknown_s"),
    [
        (58, 6000, 58 * 300, 38, 0),  # 20 s of the hole are explained, 38 s are not
        (12, 0, 12 * 300, 12, 0),
        (12, 12 * 300, 12 * 300, 0, 0),
        (300, 6000, 6000, 0, 280),  # too long to be estimated: the lower bound
    ],
)
def test_a_hole_with_a_driver_reload_in_it_is_estimated(quick_first, away_s, counted_j, hole_j, estimated_s, unknown_s):
    after = [(2 * S + away_s * S + i * S // 2, 300_000, counted_j * 1000 + 150_000 * i) for i in range(5)]
    if quick_first:
        after[0] = (*after[0][:2], -1)
    intervals, diagnostics = book([*steady(2, base=9_000_000), *after])
    assert diagnostics.resets == 1
    (hole,) = [p for p in intervals if p[1] - p[0] > S]
    assert hole == (2 * S, (2 + away_s) * S, hole_j * 2_000_000_000)
    assert joules(intervals) == 600 + hole_j + 600
    assert (diagnostics.estimated_us, diagnostics.unknown_us) == (estimated_s * S, unknown_s * S)


@pytest.mark.parametrize("bad", [0, -5, CEILING + 1])
def test_readings_that_are_none_are_not_zero(bad):
    rows = [(0, 100_000, -1), (S, bad, -1), (2 * S, 100_000, -1)]
    intervals, diagnostics = book(rows)
    assert joules(intervals) == 200
    assert diagnostics.rejected_zero + diagnostics.rejected_negative + diagnostics.rejected_high == 1


def test_a_reset_is_a_new_epoch_with_its_hole_estimated():
    rows = [*steady(5), *steady(5, start=6 * S, base=100_000)]  # the driver reloaded between 5 s and 6 s
    intervals, diagnostics = book(rows)
    assert diagnostics.resets == 1
    assert joules(intervals) == pytest.approx(300 * 11, rel=1e-9)  # the second of the hole by power


def test_the_first_value_of_a_new_epoch_is_a_lower_bound_of_the_hole():
    rows = [(0, -1, 5_000_000), (S, -1, 5_300_000), (2 * S, -1, 200_000), (3 * S, -1, 500_000)]
    intervals, diagnostics = book(rows)
    assert diagnostics.resets == 1
    assert joules(intervals) == 300 + 200 + 300


def test_a_dip_that_recovers_is_not_booked():
    rows = steady(10)
    rows[9] = (*rows[9][:2], 5)
    intervals, diagnostics = book(rows)
    assert joules(intervals) == 3000
    assert (diagnostics.resets, diagnostics.rejected_dip) == (0, 1)


def test_a_dip_that_stays_low_for_a_while_and_recovers_is_booked_once():
    rows = steady(20)
    for i in range(8, 14):
        rows[i] = (*rows[i][:2], 1_000 + (i - 8) * 150_000)
    intervals, _ = book(rows)
    assert joules(intervals) == pytest.approx(6000, rel=1e-9)


def test_a_stuck_counter_is_replaced_by_power_and_caught_up_with():
    rows = steady(20)
    for i in range(10, 25):  # stands for 7 s, then shows what it had counted all the time
        rows[i] = (*rows[i][:2], rows[10][2])
    intervals, diagnostics = book(rows)
    assert diagnostics.stuck > 0
    assert joules(intervals) == pytest.approx(6000, rel=1e-9)


def test_a_counter_that_lost_time_does_not_take_it_back():
    rows = steady(20)
    lost = 7 * 300_000
    rows = [r if i <= 10 else (*r[:2], max(rows[10][2], r[2] - lost)) for i, r in enumerate(rows)]
    intervals, _ = book(rows)
    assert joules(intervals) == pytest.approx(6000, rel=0.002)


def test_an_impossible_step_is_rejected():
    rows = steady(20)
    rows = [r if i <= 10 else (*r[:2], r[2] + 10**9) for i, r in enumerate(rows)]
    intervals, diagnostics = book(rows)
    assert diagnostics.rejected_step == 1
    assert joules(intervals) == pytest.approx(6000, rel=1e-9)


def test_one_garbage_value_is_passed_over():
    rows = steady(20)
    rows[10] = (*rows[10][:2], 2**62)
    intervals, diagnostics = book(rows)
    assert diagnostics.rejected_step == 1
    assert joules(intervals) == 6000


def test_a_counter_that_goes_away_is_replaced_by_power():
    rows = steady(20)
    rows = [r if not 10 < i < 30 else (*r[:2], -1) for i, r in enumerate(rows)]
    intervals, _ = book(rows)
    assert joules(intervals) == pytest.approx(6000, rel=1e-9)
    gone, _ = book([r if i <= 10 else (*r[:2], -1) for i, r in enumerate(rows)])
    assert joules(gone) == pytest.approx(6000, rel=1e-9)


def test_a_counter_that_never_moves_again_keeps_power():
    rows = [(*r[:2], 77) for r in steady(20)]
    intervals, _ = book(rows)
    assert joules(intervals) == pytest.approx(6000, abs=2 * 300)


def test_zeros_with_success_are_no_new_epoch():
    rows = steady(20)
    for i in range(10, 16):
        rows[i] = (*rows[i][:2], 0)
    intervals, diagnostics = book(rows)
    assert diagnostics.resets == 0
    assert joules(intervals) == 6000


def test_time_that_goes_back_is_rejected():
    rows = steady(4)
    rows.insert(5, (S, 300_000, rows[2][2]))
    intervals, diagnostics = book(rows)
    assert diagnostics.rejected_time == 1
    assert joules(intervals) == 1200


def test_a_sensor_that_stands_still_is_noticed():
    state = new_state(1)
    t = np.arange(0, 100 * S, S)
    arguments = (np.array([CEILING]), np.array([LIMIT]), np.array([GAP]))
    merge(np.array([0, 100]), t, np.full(100, 46_190, np.int32), np.full(100, -1), state, *arguments)
    assert state["longest_run_us"][0] == 99 * S
    after_a_gap = np.array([200 * S, 230 * S])
    rows = (np.array([0, 2]), after_a_gap, np.full(2, 46_190, np.int32), np.full(2, -1))
    merge(*rows, state, *arguments)
    assert state["longest_run_us"][0] == 99 * S  # nobody knows what it showed meanwhile


@st.composite
def readings(draw):
    t, c, rows = 0, draw(st.integers(0, 10**6)), []
    for _ in range(draw(st.integers(2, 30))):
        dt = draw(st.sampled_from([0, 100_000, 500_000, S, S, 2 * S, 8 * S]))
        p = draw(st.sampled_from([-1, 0, 70_000, 300_000, 650_000, 2_000_000]))
        t += dt
        c += draw(st.integers(0, 700)) * dt // 1000
        shown = draw(st.sampled_from([c, c, c, c, -1, -1, 0, 10**12, c // 2]))
        rows.append((t, p, shown))
    return rows


@settings(max_examples=examples(300), deadline=None)
@given(readings(), st.data())
def test_pieces_are_in_order_never_negative_and_never_overlap(rows, data):
    cuts = data.draw(st.sets(st.integers(0, len(rows)), max_size=5))
    intervals, diagnostics = book(rows, cuts)
    assert all(energy >= 0 and t1 >= t0 for t0, t1, energy in intervals)
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(intervals))
    assert diagnostics.by_counter_hnj + diagnostics.by_power_hnj == sum(e for *_, e in intervals)


@settings(max_examples=examples(300), deadline=None)
@given(readings(), st.data())
def test_pieces_never_outgrow_the_room_that_was_made_for_them(rows, data):
    """Compiled, nothing would stop an interval that is written past the end."""
    state, arguments = new_state(1), (np.array([CEILING]), np.array([LIMIT]), np.array([GAP]))
    edges = sorted({0, len(rows), *data.draw(st.sets(st.integers(0, len(rows)), max_size=5))})
    for first, last in itertools.pairwise(edges):
        t, p, c = (np.array(column) for column in zip(*rows[first:last], strict=True))
        intervals = merge(
            np.array([0, last - first]), t, p.astype(np.int32), c, state, *arguments, closing=data.draw(st.booleans())
        )
        assert intervals.counts[0] <= len(intervals.t0_us)


@settings(max_examples=examples(300), deadline=None)
@given(readings(), st.data())
def test_where_windows_are_cut_does_not_change_the_energy(rows, data):
    cuts = data.draw(st.sets(st.integers(0, len(rows)), max_size=5))
    whole, diagnostics = book(rows)
    parts, diagnostics_of_parts = book(rows, cuts)
    assert sum(e for *_, e in whole) == sum(e for *_, e in parts)
    assert diagnostics == diagnostics_of_parts
