"""Whose energy a counter tells, found from its rate; what cannot be told apart is left open."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed.agent.meters.scope import AGAIN_US, WATCH_US, Moment, ScopeWatch, at_once, verdict

S = 1_000_000


@pytest.mark.parametrize(
    ("rate", "gpu", "module", "found"),
    [
        (625, 485, 625, "module"),  # GH200
        (166, 166, 467, "gpu"),  # GB200: module and memory beside it
        (196, 166, 467, "gpu"),  # the same, if its counter holds the memory too
        (560, 485, 625, ""),  # neither
        (700, 690, 700, ""),  # too close
        (0, 485, 625, ""),  # it stands still
        (630, 0, 625, "module"),  # the GPU's own is not told
        (485, 0, 625, ""),
    ],
)
def test_the_nearer_one_if_it_is_clear(rate, gpu, module, found):
    assert verdict(rate * 1e3, gpu * 1e3, module * 1e3) == found


def moments(rate_w, gpu_w, rest_w, seconds, start=0, step=1):
    for n in range(0, seconds, step):
        watts = gpu_w(n) if callable(gpu_w) else gpu_w
        yield Moment(
            (start + n) * S, int(rate_w * (start + n) * 1000), watts * 1e3, watts * 1e3, (watts + rest_w) * 1e3
        )


def findings(watch, readings):
    return [(one.time_us // S, found[0]) for one in readings if (found := watch.add(one))[0]]


def test_half_a_minute_is_watched_then_some_minutes_nothing():
    watch = ScopeWatch()
    assert findings(watch, moments(625, 485, 140, 700)) == [(30, "module"), (360, "module"), (690, "module")]
    assert (WATCH_US, AGAIN_US) == (30 * S, 300 * S)


def test_as_long_as_both_are_close_it_goes_on_looking():
    """A GPU at full load is 14 % below its module; at rest it is told apart."""
    watch = ScopeWatch()
    assert findings(watch, moments(1000, 870, 130, 100)) == []
    assert findings(watch, moments(230, 100, 130, 100, start=100)) == [(130, "module")]


def test_a_reset_or_a_hole_begins_anew():
    watch = ScopeWatch()
    assert findings(watch, moments(625, 485, 140, 29)) == []
    reset = [one._replace(counter_mj=one.counter_mj - 10_000_000) for one in moments(625, 485, 140, 25, start=29)]
    assert findings(watch, reset) == []
    assert findings(watch, moments(625, 485, 140, 29, start=100)) == []
    assert findings(watch, moments(625, 485, 140, 3, start=129)) == [(130, "module")]


def test_at_once_only_where_it_is_plain():
    module = list(moments(625, 485, 140, 2))
    assert at_once(*module)[0] == ""  # 22 % apart: a counter that is published late may hide that within a second
    assert at_once(*moments(225, 85, 140, 2))[0] == "module"
    assert at_once(*moments(85, 85, 140, 2))[0] == "gpu"
    assert at_once(*moments(225, lambda n: 85 + 200 * n, 140, 2))[0] == ""  # it moved meanwhile
    one, two = moments(225, 85, 140, 2)
    assert at_once(one, two._replace(time_us=one.time_us + 400_000))[0] == ""


@given(
    st.integers(50, 900),
    st.integers(10, 500),
    st.booleans(),
    st.lists(st.floats(0.5, 1.5), min_size=40, max_size=40),
)
def test_it_is_never_taken_for_the_other(gpu_w, rest_w, module, factors):
    """Whatever the load does, as long as what is told of it is its mean."""
    counter, readings = 0.0, []
    for n, factor in enumerate(factors):
        watts = gpu_w * factor
        counter += watts + (rest_w if module else 0)
        readings.append(Moment(n * S, int(counter * 1000), watts * 1e3, watts * 1e3, (watts + rest_w) * 1e3))
    assert {found for _, found in findings(ScopeWatch(), readings)} <= {"module" if module else "gpu"}
