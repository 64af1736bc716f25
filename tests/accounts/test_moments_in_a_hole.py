"""Who counts as there in which part of a hole, in numbers that can be worked out by hand."""

import numpy as np
import pytest

from tests.accounts.test_unseen import intervals_of, rows_of
from wattshed.agent.accounts.hole import Hole, OwnerAtEdge
from wattshed.agent.accounts.unseen import AFTER, BEFORE, set_aside, share_beside
from wattshed.agent.window import JobKey, Owner

HNJ = 2_000_000_000


@pytest.mark.parametrize(
    ("sure", "known_j", "begin_w", "end_w"),
    [
        ([(0, 10)], 3_500, 300, 50),
        ([(10, 20)], 500 + 4_000, 50, 400),
        ([(0, 20)], 300 * 20, 300, 400),
        ([(0, 5), (15, 20)], 1_500 + 500 + 2_000, 300, 400),
        ([(5, 15)], 250 + 350 * 10 + 250, 50, 50),
        ([], 1_000, 50, 50),
    ],
)
def test_a_moment_is_somebodys_from_its_rows_start_to_before_its_end(sure, known_j, begin_w, end_w):
    """300 W before a hole of 20 s, 400 W after it, 50 W idle; "b" may have been there, and had nothing of either."""
    intervals = intervals_of((0, 20, 60_000, 300_000, 400_000, 1))
    rows = rows_of(("b", BEFORE, 0, 0, 20), *((f"a{n}", 1, -1, a, b) for n, (a, b) in enumerate(sure)))
    aside = set_aside(intervals, rows, np.array([50_000]))
    assert int(intervals.energy_hnj[0]) == known_j * HNJ
    assert aside.nobodys_hnj == {0: (60_000 - known_j) * HNJ}
    assert (int(intervals.begin_mw[0]), int(intervals.end_mw[0])) == (begin_w * 1_000, end_w * 1_000)
    (place,) = [row for row in range(len(rows.gpu)) if rows.live[row] < 0]
    assert aside.booked_us == {place: 20_000_000}


@pytest.mark.parametrize(("start", "end", "booked_s"), [(0, 20, 20), (5, 20, 15), (-9, 7, 7), (19, 40, 1), (20, 40, 0)])
def test_of_whoever_may_have_been_there_only_the_time_in_the_hole_is_booked(start, end, booked_s):
    intervals = intervals_of((0, 20, 600, 30_000, 30_000, 1))
    aside = set_aside(intervals, rows_of(("b", AFTER, 0, start, end)), np.array([10_000]))
    assert sum(aside.booked_us.values()) == booked_s * 1_000_000
    assert (aside.nobodys_hnj == {}) == (booked_s == 0)


def seen(activity=-1, live=1):
    return OwnerAtEdge(Owner(JobKey("x")), activity, -1, live)


@pytest.mark.parametrize(
    ("side", "share"),
    [
        ({"a": seen(), "b": seen()}, 500_000),
        ({"a": seen(0), "b": seen(0)}, 500_000),
        ({"a": seen(100), "b": seen(300)}, 250_000),
        ({"a": seen(100), "b": seen(-1)}, 500_000),
        ({"a": seen(100, live=0), "b": seen(300)}, 0),
        ({"a": seen(-1, live=0), "b": seen(-1, live=0), "c": seen(-1, live=0)}, 333_333),
        ({"b": seen()}, 0),
    ],
)
def test_the_share_of_what_was_drawn_beside_a_hole(side, share):
    assert share_beside(JobKey("a"), side) == share


def test_who_goes_and_comes_within_a_hole():
    hole = Hole(0, {JobKey("a"): seen(), JobKey("b"): seen()})
    hole.see({"a": 10}, 10)
    assert (hole.gone, hole.came) == (set(), set()), "it is there to the end of the window"
    hole.see({"a": 19, "c": 20}, 20)
    assert (hole.gone, hole.came) == ({"a"}, {"c"})
    hole.see({"a": 30}, 30)
    assert (hole.gone, hole.came) == ({"a"}, {"a", "c"}), "who went and is here again came"
    assert [hole.may_hold(JobKey(key), at_once=False) for key in "abcd"] == [True, True, True, False]
    assert [hole.may_hold(JobKey(key), at_once=True) for key in "abcd"] == [True, False, True, False]
    before, after = hole.beside({"a": (25, seen()), "b": (25, seen()), "d": (30, seen()), "e": (25, seen())}, 30)
    assert before == {"b"}
    assert after == {"b", "d"}
    assert Hole.of_plain(hole.plain()).plain() == hole.plain()
