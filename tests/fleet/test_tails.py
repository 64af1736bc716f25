"""Tails without an end: told apart from lognormal fleets and from fleets of two kinds, whatever the unit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from tests.fleet.test_estimators import population, sample
from wattshed.agent.fleet.estimate.estimators import estimate
from wattshed.agent.fleet.estimate.tails import endless


def kinds(random, n):
    """Samples of fleets, by name."""
    return {
        "Pareto": 300 * (1 + random.pareto(1.5, n)),
        "racks": np.where(random.random(n) < 0.05, 110_000, random.lognormal(7, 0.4, n)),
        "lognormal": random.lognormal(8, 0.8, n),
        "exponential": random.exponential(5000, n),
        "idle": np.where(random.random(n) < 0.9, random.normal(700, 50, n), random.normal(6500, 300, n)),
        "busy": np.where(random.random(n) < 0.1, random.normal(700, 50, n), random.normal(6500, 300, n)),
        "off": np.where(random.random(n) < 0.2, 0.0, random.normal(5000, 1000, n)),
    }


def test_which_samples_look_endless():
    random = np.random.default_rng(5)
    told = dict.fromkeys(kinds(random, 50), 0)
    for _ in range(200):
        for name, value in kinds(random, 50).items():
            told[name] += endless(value)
    assert told["Pareto"] >= 194
    assert told["lognormal"] <= 24
    assert told["racks"] > 150
    assert max(told[name] for name in ("exponential", "idle", "busy", "off")) <= 4


@settings(max_examples=examples(50), deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1e6), st.integers(20, 200))
def test_units_and_order_do_not_matter(seed, scale, n):
    random = np.random.default_rng(seed)
    for value in kinds(random, n).values():
        assert endless(value) == endless(random.permutation(value) * scale)


def test_few_or_equal_values_tell_nothing():
    assert not endless(np.array([]))
    assert not endless(np.full(30, 7.0))
    assert not endless(300 * (1 + np.random.default_rng(1).pareto(1.5, 19)))
    assert not endless(np.append(np.zeros(40), [1.0, 1e6]))


def test_what_is_far_above_the_mean_is_more_than_intervals_assume():
    others = np.linspace(900, 1100, 40)
    assert endless(np.append(others, [110_000.0] * 2))
    assert not endless(np.append(others, [8000.0] * 2))


def test_the_warning_says_what_to_do():
    drawn = (300 * (1 + np.random.default_rng(2).pareto(1.5, 50))).tolist()
    found = estimate(sample(population(5000), drawn), "stratified")
    assert found.interval == "johnson"
    assert any("the hosts of stratum s0 vary as if a few were far larger" in w for w in found.warnings)
    # A stratum with most of the error decides; one that was measured whole has none.
    even = [5000.0 + 20 * i for i in range(30)]
    for hosts, quiet in ((5000, False), (50, True)):
        both = estimate(sample(population(hosts, 300), drawn, even), "stratified")
        assert any("far larger" in w for w in both.warnings) is not quiet
    plain = estimate(sample(population(5000), drawn), "stratified", kind="t")
    assert "skewed" in plain.warnings[0]
    assert not any("far larger" in w for w in plain.warnings)
    assert plain.total == pytest.approx(found.total)
