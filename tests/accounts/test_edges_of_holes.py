"""Who was on a GPU when a hole began, and who is known to have gone or come in it: against a plain reading of it."""

from hypothesis import given
from hypothesis import strategies as st

from tests.accounts.test_rows_that_wait import plain, usage
from wattshed.agent.accounts.holding import Holding, WindowRows
from wattshed.agent.accounts.hole import Hole, OwnerAtEdge
from wattshed.agent.accounts.pending_usage import PPM
from wattshed.agent.accounts.unseen import share_beside
from wattshed.agent.window import JobKey, Owner

WINDOW = st.dictionaries(
    st.tuples(st.integers(0, 1), st.sampled_from("abc")),
    st.tuples(
        st.sampled_from([-1, 200_000, 700_000]), st.sampled_from([-1, PPM // 2]), st.integers(0, 1), st.booleans()
    ),
    max_size=4,
)  # fmt: skip


def rows_of(window, start, end):
    """One row of an owner; it lasts until the window's end, or not."""
    return [
        (gpu, key, activity, share, live, start, end if lasts else end - 1)
        for (gpu, key), (activity, share, live, lasts) in window.items()
    ]


@given(WINDOW, WINDOW)
def test_who_was_there_when_a_hole_began(earlier, last):
    """Whoever lasted until the end of the last window; one that claims nobody tells nothing of who went before it."""
    holding = Holding()
    holding._earlier = WindowRows(usage(rows_of(earlier, 0, 10)), 10)
    holding._last = WindowRows(usage(rows_of(last, 10, 20)), 20)
    for gpu in (0, 1):
        of = lambda window, gpu=gpu: {key: one for (where, key), one in window.items() if where == gpu}
        now, past = of(last), {key: one for key, one in of(earlier).items() if one[3]}
        expected = {key: one[:3] for key, one in now.items() if one[3]}
        claims_nobody = not any(live for _, _, live, _ in now.values())
        since = 20
        for key, (activity, share, live, _) in past.items():
            if key in expected:
                told = expected[key][0]
                expected[key] = (told if told >= 0 else activity, *expected[key][1:])
            elif claims_nobody:
                expected[key], since = (activity, share, live), 10
        hole = holding.of(gpu)
        assert hole.since_us == since
        assert {key: (one.activity_ppm, one.share_ppm, one.live) for key, one in hole.before.items()} == expected
        assert all(one.owner.key == key for key, one in hole.before.items())
        assert (hole.gone, hole.came) == (set(), set())


def test_before_the_first_window_nobody_is_known_to_have_been_there():
    hole = Holding().of(0)
    assert (hole.since_us, hole.before) == (0, {})


KEYS = st.sampled_from("abc")


@given(
    st.sets(KEYS), st.lists(st.dictionaries(KEYS, st.integers(0, 10)), max_size=4), st.dictionaries(KEYS, st.booleans())
)
def test_what_windows_in_a_hole_tell_of_who_went_and_who_came(before, windows, after):
    """A window says until when it has owners; afterwards some are there, since its beginning or from before it."""
    seen = lambda key: OwnerAtEdge(Owner(JobKey(key)), -1, -1, 1)
    hole = Hole(0, {JobKey(key): seen(key) for key in before})
    gone, came = set(), set()
    for n, until in enumerate(windows):
        for key, stops in until.items():
            if key not in before or key in gone:
                came.add(key)  # whoever was not there, or had gone, began in it
            elif stops < 10:
                gone.add(key)
        hole.see({JobKey(key): 10 * n + stops for key, stops in until.items()}, 10 * (n + 1))
    assert (hole.gone, hole.came) == (gone, came)
    end = 10 * len(windows)
    here = {JobKey(key): (end if at_once else end - 5, seen(key)) for key, at_once in after.items()}
    stayed, arrived = hole.beside(here, end)
    assert stayed == before - gone
    assert arrived == {key for key, at_once in after.items() if key not in came and (at_once or key in before)}
    for key in "abc":
        there = key in before and key not in gone
        assert hole.may_hold(JobKey(key), at_once=True) == (key in came)
        assert hole.may_hold(JobKey(key), at_once=False) == (key in came or there)
    again = Hole.of_plain(hole.plain())
    assert (again.since_us, again.gone, again.came, again.before.keys()) == (0, gone, came, before)


@given(WINDOW)
def test_shares_of_what_was_drawn_beside_a_hole_are_of_those_who_used_it(window):
    """By activity if all of theirs are known, else evenly; of those who only held it only where nobody used it."""
    side = {JobKey(f"{gpu}{key}"): OwnerAtEdge(Owner(JobKey(key)), *one[:3]) for (gpu, key), one in window.items()}
    shares = {key: share_beside(key, side) for key in side}
    used = {key for key, one in side.items() if one.live} or set(side)
    assert {key for key, share in shares.items() if share} <= used
    assert share_beside(JobKey("nobody"), side) == 0
    known = [side[key].activity_ppm for key in used]
    if used and min(known) > 0:
        assert {key: shares[key] for key in used} == {key: side[key].activity_ppm * PPM // sum(known) for key in used}
    else:
        assert {shares[key] for key in used} <= {PPM // max(len(used), 1)}
    assert PPM - 3 <= sum(shares.values()) <= PPM or not side


def test_the_rows_of_these_tests_are_what_they_say():
    window = {(0, "a"): (5, -1, 1, True), (1, "b"): (-1, 7, 0, False)}
    assert plain(usage(rows_of(window, 10, 20))) == [(0, "a", 5, -1, 1, 10, 20), (1, "b", -1, 7, 0, 10, 19)]
