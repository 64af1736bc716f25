"""What rows have wrong that came late: sums of slots against the same in fractions."""

from collections import defaultdict
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattshed.kernels.billing.late_rows import CELLS, PART, LateRows, note, owed_to
from wattshed.kernels.billing.watts import FEATURES

PLACES = (-1, FEATURES, FEATURES + 1)
ROW = st.tuples(st.sampled_from(PLACES), st.integers(0, 10**13), st.integers(0, 10**16))


def blank(gpus=1):
    n = FEATURES + 2
    return LateRows(np.full((gpus, CELLS), -1), *np.zeros((2, gpus, CELLS, n), np.int64), np.zeros((gpus, n), np.int64))


def differs(rows):
    """What each place got of a slot beyond its part of the weights, as a fraction."""
    got, weighed = defaultdict(int), defaultdict(int)
    for place, hnj, weight in rows:
        got[place] += hnj
        weighed[place] += weight
    whole, weights = sum(got.values()), sum(weighed.values())
    return {place: abs(got[place] - Fraction(whole * weighed[place], weights)) if weights else 0 for place in PLACES}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(ROW, max_size=6), min_size=1, max_size=5))
def test_each_place_is_owed_what_differs_in_slots_that_are_over(slots):
    late = blank()
    for slot, rows in enumerate(slots):
        for place, hnj, weight in rows:
            note(late, 0, place, slot, float(hnj), weight)
    for slot in (len(slots), len(slots) + 1):  # whatever comes next settles what was before
        note(late, 0, -1, slot, 0.0, 0)
    for place in PLACES[1:]:
        wanted = sum(PART * float(differs(rows)[place]) for rows in slots)
        assert owed_to(late, 0, place) == pytest.approx(wanted, rel=1e-9, abs=len(slots) + 1)
        assert owed_to(late, 0, place) == 0, "it is given once"
    assert owed_to(late, 0, -1) == 0


def test_rows_that_do_not_change_owe_nothing_and_late_ones_do():
    """A burst of 100 times the watts whose rows come a second late: what it drew falls to the other one."""
    steady, late = blank(), blank()
    for second in range(15):
        slot = second // 5
        burst, told = second % 5 == 2, second % 5 == 3
        for one, active, power in ((steady, True, 500), (late, told, 900 if burst else 100)):
            weights = 100, 400 * active
            for place, weight in zip(PLACES[1:], weights, strict=True):
                note(one, 0, place, slot, power * weight / sum(weights), weight)
    assert [owed_to(steady, 0, place) for place in PLACES[1:]] == [0, 0]
    wrong = 80 - (1200 + 100) * 400 / 900  # one burst, of slot 0: the other slots are not over
    assert [owed_to(late, 0, place) for place in PLACES[1:]] == [int(PART * abs(wrong))] * 2
