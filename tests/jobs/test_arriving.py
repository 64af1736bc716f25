"""Since when a process counts as being on a GPU, by the rule in words."""

from types import SimpleNamespace

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from wattshed.agent.jobs.arriving import LINGER_US, REACH_BACK_US, arrival_us
from wattshed.agent.window import ProcessObservation

SECOND = 1_000_000
START = 100 * SECOND
TIME = st.integers(85, 102).map(SECOND.__mul__)


@settings(max_examples=examples(300), deadline=None)
@given(TIME | st.none(), st.integers(95, 101).map(SECOND.__mul__), st.sampled_from([0, 80, 90, 93, 95, 100]))
def test_when_a_process_came(born_us, from_us, since_s):
    """Whole seconds, so that every edge of the rule is met: a birth just so long before the window, a first look."""
    since_us = since_s * SECOND
    seen = ProcessObservation(0, 10, from_us, START + SECOND, 5)
    found = arrival_us(SimpleNamespace(started_us=born_us), seen, START, since_us)
    if born_us is None:
        assert found == max(START, from_us)  # of its age nothing is known: only what was reported is certain
        return
    before_any_list_could_tell = born_us < START - LINGER_US
    somebody_looked = born_us < max(from_us, since_us)
    if before_any_list_could_tell and somebody_looked:
        assert found == max(START, from_us)
    else:
        # From its birth on; but no further back than the accounts can still book, or than it is reported.
        assert found == max(born_us, min(START - REACH_BACK_US, from_us))
    assert found >= min(START - REACH_BACK_US, from_us)
