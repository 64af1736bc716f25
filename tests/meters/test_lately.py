"""What follows from how the answers of a slow driver differ."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattshed.agent.meters.lately import ANSWERS, OLDER, Lately

S = 1_000_000


def heard(answers, did=None, *, whole=False, past=frozenset(), older=False):
    lately = Lately()
    for said in answers:
        lately.add(said, S, whole=whole, past=set(past), older=older)
        if did is not None:
            lately.compare(did)
    return lately


BURSTS = [{7: 0.8 * (i % 7 == 0), 8: 0.15} for i in range(300)]
STEADY = [{7: 0.75 + 0.01 * (i % 3), 8: 0.2} for i in range(300)]


def test_it_does_not_matter_what_rows_of_steady_loads_mean():
    assert heard(STEADY[:50]).matters  # it is not seen yet
    assert not heard(STEADY).matters
    assert heard(BURSTS).matters
    assert heard(STEADY, past={7}).matters  # it was not active in the newest sample each time


def test_nor_does_it_where_each_sample_is_told_by_itself():
    assert not heard(BURSTS, whole=True).matters


def test_a_load_that_begins_to_move_is_noticed_at_once():
    lately = heard(STEADY)
    for said in BURSTS[:10]:
        lately.add(said, S, whole=False, past=set(), older=False)
    assert lately.matters


def test_the_last_answers_count_together():
    assert heard(BURSTS).mean() == pytest.approx({7: 0.8 / 7, 8: 0.15}, rel=0.15)
    assert heard([{8: 0.1}] * 20 + [{7: 0.5, 8: 0.1}] * 2).mean() == pytest.approx({7: 0.5, 8: 0.1})
    assert heard([]).newest() is None


def test_rows_that_add_up_to_more_than_the_gpu_did_are_no_means():
    assert not heard(BURSTS, 0.8 / 7 + 0.15).too_much
    assert heard([{7: 0.8, 8: 0.15}] * ANSWERS, 0.27).too_much
    assert not heard([{7: 0.8, 8: 0.15}] * (ANSWERS - 1), 0.27).too_much


def test_a_row_of_an_older_sample_shows_that_rows_are_not_the_newest_sample_alone():
    assert heard(BURSTS[: OLDER - 1], older=True).spotty
    assert not heard(BURSTS[:OLDER], older=True).spotty


@settings(deadline=None)
@given(st.lists(st.dictionaries(st.integers(1, 4), st.floats(0, 1)), max_size=60))
def test_a_mean_is_between_what_was_said(answers):
    lately = heard(answers)
    last = answers[-ANSWERS:]
    for pid, ratio in lately.mean().items():
        assert 0 <= ratio <= max(said.get(pid, 0.0) for said in last) + 1e-9
    assert lately.mean().keys() == {pid for said in last for pid in said}
