"""Who is on a GPU while the driver's process list fails, or names processes that do not exist."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed.agent.meters.ghosts import Ghosts

PIDS = st.integers(1, 30)
LISTS = st.one_of(st.none(), st.dictionaries(st.integers(0, 60), st.just("told"), max_size=6))


def follow(ghosts, before, told, alive, elsewhere=()):
    there, dead = ghosts.believe(
        dict.fromkeys(before, "before"), told if told is None else dict.fromkeys(told, "told"),
        set(alive).__contains__, lambda: dict.fromkeys(elsewhere, "elsewhere"),
    )  # fmt: skip
    return set(there), dead


def test_a_list_of_processes_that_all_exist_is_believed():
    ghosts = Ghosts()
    assert follow(ghosts, {1, 2}, [2, 3], {1, 2, 3}, {4}) == ({2, 3}, [])
    assert follow(ghosts, {2, 3}, [], {1, 2, 3}, {1}) == (set(), [])


@pytest.mark.parametrize("told", [None, [900], [0], [900, 901, 0], [2, 900]])
def test_who_was_there_and_lives_has_not_left_a_list_that_fails_or_names_ghosts(told):
    ghosts = Ghosts()
    for _ in range(3):
        there, dead = follow(ghosts, {1, 2}, told, {1, 2, 3})
        assert there == {1, 2}
        assert dead == [pid for pid in told or [] if pid != 2]
    assert follow(ghosts, {1, 2}, told, {2, 3})[0] == {2}  # the other one died


def test_who_exists_and_is_listed_among_ghosts_is_there():
    assert follow(Ghosts(), {1}, [900, 3], {1, 3})[0] == {1, 3}


def test_whom_other_lists_name_is_there_if_it_lives():
    assert follow(Ghosts(), set(), None, {5}, {5, 6})[0] == {5}
    assert follow(Ghosts(), {1}, [900], {1, 5}, {5, 6})[0] == {1, 5}


def test_a_process_that_died_and_is_listed_for_ever_hides_nobody_who_leaves():
    ghosts = Ghosts()
    assert follow(ghosts, {1, 2, 7}, [1, 2, 7], {1, 2})[0] == {1, 2}  # 7 died
    assert follow(ghosts, {1, 2}, [1, 7], {1, 2})[0] == {1}
    # Nor does it if it died before anybody looked.
    ghosts = Ghosts()
    follow(ghosts, {1, 2}, [1, 2, 7], {1, 2})
    assert follow(ghosts, {1, 2}, [1, 7], {1, 2})[0] == {1}
    assert follow(ghosts, {1, 2}, [1, 7, 8], {1, 2})[0] == {1, 2}  # another ghost may be the second one


@given(st.lists(st.tuples(LISTS, st.frozensets(PIDS), st.frozensets(PIDS, max_size=3)), max_size=8))
def test_nobody_is_there_who_does_not_live_or_whom_nothing_ever_named(lists):
    ghosts, before, named = Ghosts(), {}, set()
    for told, alive, elsewhere in lists:
        there, dead = ghosts.believe(before, told, alive.__contains__, lambda e=elsewhere: dict.fromkeys(e, ""))
        named |= set(told or ()) | elsewhere
        assert there.keys() <= alive & named
        assert set(told or ()) == (there.keys() & set(told or ())) | set(dead)
        if told is not None and not dead:
            assert there == told
        if told is None:
            assert there.keys() >= before.keys() & alive
        before = there
