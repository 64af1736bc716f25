"""Intervals: degrees of freedom, skewness, the choice between them, and bounds that hold whatever was drawn."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from tests.fleet import naive_fleet as naive
from tests.fleet.test_estimators import population, sample
from wattshed.agent.fleet.estimate.betting import mean_within
from wattshed.agent.fleet.estimate.design import Spread
from wattshed.agent.fleet.estimate.estimators import estimate
from wattshed.agent.fleet.estimate.intervals import degrees_of_freedom, hall, interval, skewness
from wattshed.agent.fleet.estimate.sample import Population

parts = st.lists(st.tuples(st.floats(0.01, 1e6), st.integers(1, 60)), min_size=1, max_size=6)


def spread(*strata):
    """Variance, third moment and degrees of freedom of each stratum."""
    return Spread(*(np.array(column, float) for column in zip(*strata, strict=True)))


@given(parts)
def test_degrees_of_freedom_lie_between_the_least_and_the_sum(strata):
    df = degrees_of_freedom(spread(*((v, 0, n) for v, n in strata)))
    assert min(n for _, n in strata) * (1 - 1e-9) <= df <= sum(n for _, n in strata) * (1 + 1e-9)


@given(st.floats(-2, 2), st.lists(st.floats(-5, 5), min_size=2, max_size=6))
def test_the_transform_keeps_the_order_and_is_odd_in_both(g, xs):
    bent = [hall(x, g) for x in sorted(xs)]
    assert bent == sorted(bent)
    assert hall(-xs[0], -g) == pytest.approx(-hall(xs[0], g), abs=1e-9)


def test_the_transform_is_halls():
    x, g = 2.0, 0.3
    assert hall(x, g) == pytest.approx(3 / g * ((1 + g * (x - g / 6)) ** (1 / 3) - 1))
    assert hall(x, 1e-7) == pytest.approx(x, abs=1e-5)
    assert hall(x, 0.0) == x


def test_a_skewed_sample_reaches_further_up():
    few_busy = [700.0] * 27 + [6500.0] * 3
    found = estimate(sample(population(1000), few_busy), "stratified")
    plain = estimate(sample(population(1000), few_busy), "stratified", kind="t")
    bent = estimate(sample(population(1000), few_busy), "stratified", kind="hall")
    assert (found.interval, plain.interval, bent.interval) == ("johnson", "t", "hall")
    assert found.skewness > 0.2
    assert found.upper > plain.upper
    assert found.lower == plain.lower < bent.lower
    n, y = 30, np.array(few_busy)
    k3 = n / ((n - 1) * (n - 2)) * ((y - y.mean()) ** 3).sum()
    third = 1000**3 * 0.97 * 0.94 * k3 / n**2
    assert found.skewness == pytest.approx(third / found.se**3, rel=1e-9)


def test_few_hosts_say_nothing_of_skewness():
    one = spread((100.0, 900.0, 4))
    assert skewness(one) == pytest.approx(0.9)
    assert interval(50.0, one, 0.0, 0.95, sampled=np.array([5])).kind == "t"
    assert interval(50.0, one, 0.0, 0.95, sampled=np.array([10])).kind == "johnson"
    assert interval(50.0, one, 0.0, 0.95, sampled=np.array([5]), kind="hall").kind == "hall"
    straight = spread((100.0, 90.0, 10))
    assert interval(50.0, straight, 0.0, 0.95, sampled=np.array([20])).kind == "t"
    # Six strata of five tell what one of thirty does; pairs have no third moment.
    assert interval(50.0, spread(*[(100.0, 900.0, 4)] * 6), 0.0, 0.95, sampled=np.full(6, 5)).kind == "johnson"
    assert interval(50.0, spread(*[(100.0, 900.0, 1)] * 30), 0.0, 0.95, sampled=np.full(30, 2)).kind == "t"


@given(st.floats(0.11, 1.5), st.floats(0.5, 0.99), st.sampled_from([1, -1]))
def test_only_the_long_side_reaches_further(g, confidence, sign):
    """By three times Johnson's g (1 + 2 q^2) / 6."""
    found = interval(0.0, spread((4.0, sign * 8 * g, 29)), 0.0, confidence, sampled=np.array([30]))
    short, long = sorted((-found.lower, found.upper))
    q = naive.student(confidence, 29)
    assert short == pytest.approx(2 * q)
    assert long == pytest.approx(2 * (q + g * (q * q + 0.5)))
    assert (found.upper > -found.lower) == (sign > 0)


def test_meters_widen_an_interval_on_both_sides():
    one = spread((100.0, 0.0, 9))
    found = interval(50.0, one, 7.0, 0.95, sampled=np.array([10]))
    half = math.hypot(naive.student(0.95, 9) * 10, naive.student(0.95, math.inf) * 7)
    assert (found.lower, found.upper) == (pytest.approx(50 - half), pytest.approx(50 + half))


@settings(max_examples=examples(25), deadline=None)
@given(st.lists(st.floats(0, 100), min_size=1, max_size=25), st.integers(0, 300), st.integers(0, 99))
def test_bounds_hold_what_was_drawn_and_what_can_be(drawn, more, seed):
    """Never outside of what the rest could add, around the mean of the sample, and scaled as the values are."""
    members = len(drawn) + more
    low, high = mean_within(np.array(drawn), members, 100.0, 0.95, seed=seed)
    assert sum(drawn) / members - 1e-9 <= low <= high <= (sum(drawn) + 100 * more) / members + 1e-9
    assert low - 1e-9 <= np.mean(drawn) <= high + 1e-9
    twice = mean_within(2 * np.array(drawn), members, 200.0, 0.95, seed=seed)
    assert twice == (pytest.approx(2 * low, abs=1e-9), pytest.approx(2 * high, abs=1e-9))
    wider = mean_within(np.array(drawn), members, 100.0, 0.99, seed=seed)
    assert wider[0] <= low + 1e-9
    assert wider[1] >= high - 1e-9


def test_a_sample_that_saw_no_busy_host_still_covers():
    random = np.random.default_rng(1)
    hosts = np.where(np.arange(1000) < 100, 6500.0, 700.0)
    limited = Population(("s0",), np.array([1000]), np.array([math.nan]), np.array([10_200.0]))
    hits = missed = 0
    for _ in range(40):
        drawn = random.choice(hosts, 10, replace=False).tolist()
        found = estimate(sample(limited, drawn), "stratified", kind="bounded")
        hits += found.lower <= hosts.sum() <= found.upper
        assert not found.warnings
        plain = estimate(sample(limited, [v + i for i, v in enumerate(drawn)]), "stratified")
        if max(drawn) < 1000:
            missed += 1
            assert any("may have missed a kind of host" in w for w in plain.warnings)
    assert hits >= 37
    assert missed > 6


def test_one_host_has_bounds_where_its_limit_is_known():
    limited = Population(("s0", "s1"), np.array([10, 2]), np.array([math.nan] * 2), np.array([100.0, math.nan]))
    found = estimate(sample(limited, [50.0], [7.0, 9.0]), "stratified", kind="bounded")
    assert found.se is None
    assert 16 + 50 <= found.lower < found.total < found.upper <= 16 + 950
    assert found.interval == "bounded"


@pytest.mark.parametrize(
    ("pop", "words", "said"),
    [
        ("stratum,hosts\na,9\n", (), "add a column limit"),
        ("stratum,hosts,limit\na,9,2.5\n", (), "'2' has 3, outside 0 to 2.5"),
        ("stratum,hosts,limit,size\na,9,5,20\n", ("--method", "ratio"), "needs --method stratified"),
        ("stratum,hosts,limit\na,9,5\n", ("--method", "cluster"), "needs --method stratified"),
    ],
)
def test_bounds_that_are_not_known(fleet, files, pop, words, said):
    s, p = files(S_csv="stratum,host,job,value,size\na,1,x,2,1\na,2,y,3,2\n", P_csv=pop)
    found = fleet("estimate", "--sample", s, "--population", p, "--interval", "bounded", *words)
    assert found.code == 2
    assert said in found.err
