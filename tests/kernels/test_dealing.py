"""Columns of a log made whole, and laid out in windows: as sorting and rounding one by one would do it."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from wattshed.kernels.dealing import deal_windows, whole_numbers

ROWS = st.lists(st.tuples(st.integers(0, 3), st.integers(10, 60), st.sampled_from([-1, 0, 5, 7, 7])), max_size=40)
PLACES = np.array([2, 0, 1, 3], np.int32)


@settings(deadline=None)
@given(ROWS, st.lists(st.integers(11, 70), min_size=1, max_size=4, unique=True), st.booleans())
def test_windows_hold_the_rows_of_their_time(rows, ends, tidy):
    if tidy:  # as most logs are: one reading a GPU and time, in its order
        rows = sorted({(gpu, time): (gpu, time, abs(power)) for gpu, time, power in rows}.values(), key=lambda r: r[1])
    gpu, time, power = (np.array(column, np.int64) for column in (zip(*rows, strict=True) if rows else ((),) * 3))
    edges = np.array([10, *sorted(ends)])
    found = deal_windows(gpu.astype(np.int32), time, power.astype(np.int32), PLACES, edges)
    own = {place: [row for row in rows if PLACES[row[0]] == place] for place in range(4)}
    plain = all(mine == sorted(mine, key=lambda r: r[1]) for mine in own.values())
    plain &= all(len({time for _, time, _ in mine}) == len(mine) for mine in own.values())
    if not plain or any(power < 0 for *_, power in rows):
        assert found is None
        return
    assert found is not None
    for window in range(len(edges) - 1):
        for place, mine in own.items():
            lo, hi = found.offsets[window, place : place + 2].tolist()
            times, powers = found.rows(window, lo, hi)
            wanted = [(t, p) for _, t, p in mine if edges[window] <= t < edges[window + 1]]
            assert list(zip(times.tolist(), powers.tolist(), strict=True)) == wanted


@settings(deadline=None)
@example([-0.0, 5e-324, -5e-324, 2.0**62, math.nan, math.inf], Fraction(1000))
@given(st.lists(st.floats()), st.sampled_from([Fraction(1), Fraction(1000), Fraction(1, 1000), Fraction(3600000)]))
def test_numbers_are_made_whole(values, factor):
    out = np.empty(len(values), np.int64)
    wrong = whole_numbers(np.array(values), float(factor.numerator), float(factor.denominator), out)
    wanted = []
    for value in values:
        scaled = value * float(factor.numerator) / float(factor.denominator)
        wanted.append(round(scaled) if value >= 0 and scaled < 2.0**62 else -1)
    assert out.tolist() == wanted
    assert wrong == wanted.count(-1)


def test_rows_of_a_window_are_one_after_the_other():
    gpu, time = np.array([0, 1, 0, 1, 0], np.int32), np.array([1, 1, 2, 2, 3], np.int64)
    found = deal_windows(gpu, time, np.arange(5, dtype=np.int32), np.arange(2, dtype=np.int32), np.array([1, 2, 3]))
    assert found is not None
    assert found.time_at.tolist() == [0, 2]
    assert found.power_mw.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("late", [0, 1])
def test_a_time_that_comes_twice_or_falls_is_left_to_others(late):
    gpu, time = np.zeros(2, np.int32), np.array([5, 5 - late], np.int64)
    power, place = np.ones(2, np.int32), np.zeros(1, np.int32)
    assert deal_windows(gpu, time, power, place, np.array([0, 9])) is None
