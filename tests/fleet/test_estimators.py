"""Estimators against textbook formulas coded naively, published examples, and simulated coverage."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tests.depth import examples
from tests.fleet import naive_fleet as naive
from wattshed.agent.errors import InputError
from wattshed.agent.fleet.estimate.bootstrap import bootstrap_se
from wattshed.agent.fleet.estimate.estimators import estimate
from wattshed.agent.fleet.estimate.planner import allocate, sample_size
from wattshed.agent.fleet.estimate.sample import Population, Sample
from wattshed.agent.fleet.estimate.student import quantile


def population(*hosts, sizes=None):
    names = tuple(f"s{i}" for i in range(len(hosts)))
    return Population(names, np.array(hosts), np.array(sizes or [math.nan] * len(hosts), float))


def sample(pop, *strata, units=None, sizes=None):
    """``strata``: for each stratum, a list of hosts; a host is a number, or the list of its units' numbers."""
    hosts = [(h, v if isinstance(v, list) else [v]) for h, group in enumerate(strata) for v in group]
    flat = [float(v) for _, values in hosts for v in values]
    return Sample(
        pop,
        tuple(f"h{i}" for i in range(len(hosts))),
        np.array([h for h, _ in hosts], np.int64),
        np.array(units or [-1] * len(hosts), np.int64),
        np.repeat(np.arange(len(hosts)), [len(v) for _, v in hosts]),
        np.array(flat),
        np.array(sizes if sizes is not None else [math.nan] * len(flat), float),
    )


CARIBOU = [1, 50, 21, 98, 2, 36, 4, 29, 7, 15, 86, 10, 21, 5, 4]


def test_published_example_of_simple_random_sampling():
    # S. K. Thompson, Sampling, ch. 2: caribou on 15 of 286 transects; mean 25.9333, s^2 919.0667, total 7417.
    found = estimate(sample(population(286), CARIBOU), "stratified")
    assert found.total == pytest.approx(286 * 389 / 15, rel=1e-12)
    assert found.se == pytest.approx(math.sqrt(286 * (286 - 15) * 919.0666667 / 15), rel=1e-7)
    assert found.df == 14
    assert found.deff == pytest.approx(1.0, rel=1e-12)


def test_published_example_of_stratified_sampling():
    # Thompson, ch. 11: N 20, 9, 12; n 5, 3, 4; means 1.6, 2.8, 0.6; s^2 3.3, 4.0, 2.2: 64.4, variance 322.8.
    def with_moments(n, mean, variance):
        base = np.arange(n) - (n - 1) / 2
        return (mean + base * math.sqrt(variance / base.var(ddof=1))).tolist()

    strata = with_moments(5, 1.6, 3.3), with_moments(3, 2.8, 4.0), with_moments(4, 0.6, 2.2)
    found = estimate(sample(population(20, 9, 12), *strata), "stratified")
    assert found.total == pytest.approx(64.4, rel=1e-9)
    assert found.se**2 == pytest.approx(322.8, rel=1e-9)
    parts = [20**2 * 0.75 * 3.3 / 5, 9**2 * (2 / 3) * 4.0 / 3, 12**2 * (2 / 3) * 2.2 / 4]
    assert found.df == pytest.approx(322.8**2 / (parts[0] ** 2 / 4 + parts[1] ** 2 / 2 + parts[2] ** 2 / 3), rel=1e-9)


def test_interval_is_students():
    found = estimate(sample(population(286), CARIBOU), "stratified", confidence=0.9, kind="t")
    assert found.upper - found.total == pytest.approx(stats.t.ppf(0.95, 14) * found.se, rel=1e-9)


@pytest.mark.parametrize("df", [1, 2, 3, 7.5, 30, 1000, 1e6])
@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.999])
def test_t_quantile_is_scipys(df, confidence):
    assert quantile(confidence, df) == pytest.approx(stats.t.ppf(0.5 + confidence / 2, df), rel=1e-8)


def test_t_quantile_refuses_what_is_none():
    for confidence, df in ((0.95, 0), (1.0, 5), (0.0, 5)):
        with pytest.raises(ValueError, match="no t quantile"):
            quantile(confidence, df)


values = st.floats(0, 1e6, allow_nan=False)


@st.composite
def strata(draw):
    groups = draw(st.lists(st.lists(values, min_size=2, max_size=8), min_size=1, max_size=4))
    return [(len(g) + draw(st.integers(0, 50)), g) for g in groups]


@settings(max_examples=examples(100), deadline=None)
@given(strata())
def test_stratified_is_the_textbooks(groups):
    found = estimate(sample(population(*(n for n, _ in groups)), *(g for _, g in groups)), "stratified")
    total, variance, df = naive.stratified(groups)
    assert found.total == pytest.approx(total, rel=1e-9, abs=1e-6)
    assert found.se == pytest.approx(math.sqrt(variance), rel=1e-6, abs=1e-3)
    assert found.df == pytest.approx(df, rel=1e-6)
    assert sum(s.total for s in found.strata) == pytest.approx(found.total, rel=1e-9, abs=1e-6)


@settings(max_examples=examples(60), deadline=None)
@given(strata(), st.integers(0, 2**32 - 1))
def test_ratio_is_the_textbooks(groups, seed):
    random = np.random.default_rng(seed)
    sizes = [random.uniform(1, 100, len(g)).tolist() for _, g in groups]
    known = [float(sum(s)) * n / len(s) * 1.1 for s, (n, _) in zip(sizes, groups, strict=True)]
    pop = population(*(n for n, _ in groups), sizes=known)
    found = estimate(sample(pop, *(g for _, g in groups), sizes=[x for s in sizes for x in s]), "ratio")
    rows = [(n, g, s) for (n, g), s in zip(groups, sizes, strict=True)]
    total, variance = naive.ratio(rows, sum(known))
    assert found.total == pytest.approx(total, rel=1e-9, abs=1e-6)
    assert found.se == pytest.approx(math.sqrt(variance), rel=1e-6, abs=1e-3)
    assert sum(s.total for s in found.strata) == pytest.approx(found.total, rel=1e-9, abs=1e-6)


@settings(max_examples=examples(60), deadline=None)
@given(
    st.lists(st.lists(values, min_size=2, max_size=6), min_size=2, max_size=8), st.integers(0, 40), st.integers(0, 5)
)
def test_two_stage_is_the_textbooks(hosts, more_hosts, more_units):
    size = len(hosts) + more_hosts
    units = [len(h) + more_units for h in hosts]
    found = estimate(sample(population(size), hosts, units=units), "two-stage")
    total, variance = naive.two_stage(size, list(zip(units, hosts, strict=True)))
    assert found.total == pytest.approx(total, rel=1e-9, abs=1e-6)
    assert found.se == pytest.approx(math.sqrt(variance), rel=1e-6, abs=1e-3)
    assert found.df == (len(hosts) - 1 if more_hosts else sum(len(h) - 1 for h in hosts) if more_units else 0)


def test_clusters_count_hosts_not_gpus():
    # Two GPUs of a host draw the same: the cluster estimate has the error of hosts, and a design effect near two.
    random = np.random.default_rng(3)
    hosts = [[float(v)] * 2 for v in random.normal(500, 50, 200)]
    found = estimate(sample(population(10_000), hosts), "cluster")
    _, variance, df = naive.stratified([(10_000, [2 * h[0] for h in hosts])])
    assert found.se == pytest.approx(math.sqrt(variance), rel=1e-9)
    assert found.df == pytest.approx(199)
    assert df == pytest.approx(199)
    assert found.deff == pytest.approx(2.0, rel=0.01)


def test_strata_taken_whole_add_neither_variance_nor_degrees_of_freedom():
    rest, giants = [10.0, 12.0, 11.0], [900.0, 1000.0]
    found = estimate(sample(population(30, 2), rest, giants), "stratified")
    total, variance, _ = naive.stratified([(30, rest)])
    assert found.total == pytest.approx(total + 1900.0)
    assert found.se == pytest.approx(math.sqrt(variance))
    assert found.df == 2
    assert found.strata[1].take_all
    assert found.strata[1].se == 0.0


def test_a_census_is_exact():
    found = estimate(sample(population(3), [1.0, 2.0, 3.0]), "stratified")
    assert (found.total, found.se, found.lower, found.upper, found.df) == (6.0, 0.0, 6.0, 6.0, 0)


def test_one_host_gives_no_interval_and_says_so():
    found = estimate(sample(population(10, 5), [1.0], [2.0, 3.0]), "stratified")
    assert (found.se, found.lower, found.upper, found.deff) == (None, None, None, None)
    assert found.total == pytest.approx(10 + 12.5)
    assert "s0" in found.warnings[0]


def test_hosts_that_do_not_differ_prove_nothing_and_it_says_so():
    found = estimate(sample(population(10, 2), [3.0, 3.0], [5.0, 5.0]), "stratified")
    assert (found.total, found.se) == (40.0, 0.0)
    assert len(found.warnings) == 1  # the second stratum is taken whole: there nothing is left to prove
    assert "stratum s0 has no spread" in found.warnings[0]


def test_an_unmeasured_stratum_leaves_the_total_unknown():
    found = estimate(sample(population(10, 5), [1.0, 2.0], []), "stratified")
    assert (found.total, found.lower, found.upper, found.strata[1].total) == (None, None, None, None)
    assert found.measured_total == pytest.approx(15.0)
    assert "s1" in found.warnings[0]


def test_an_empty_stratum_of_the_population_is_nothing():
    found = estimate(sample(population(10, 0), [1.0, 2.0], []), "stratified")
    assert found.total == pytest.approx(15.0)
    assert found.lower is not None


def test_two_stage_with_one_gpu_of_many_has_no_variance():
    found = estimate(sample(population(10), [[1.0], [2.0, 3.0]], units=[8, 8]), "two-stage")
    assert found.se is None
    assert "GPU" in found.warnings[0]


def test_a_giant_in_the_sample_is_told():
    found = estimate(sample(population(1000), [1.0] * 19 + [3000.0]), "stratified")
    assert not any("alone" in w for w in found.warnings)  # 3000 of 150,000 is 2 %
    assert "far larger than the rest" in found.warnings[0]
    assert found.interval == "johnson"
    assert found.lower < 4000 < found.upper  # it may be the only one
    plain = estimate(sample(population(1000), [1.0] * 19 + [3000.0]), "stratified", kind="t")
    assert "skewed" in plain.warnings[0]
    found = estimate(sample(population(40), [1.0] * 19 + [3000.0]), "stratified")
    assert "alone holds" in found.warnings[-1]


def test_the_meters_gain_does_not_shrink_with_more_hosts():
    few = estimate(sample(population(10_000), [99.0, 101.0] * 10), "stratified", meter_gain_sigma=0.02)
    many = estimate(sample(population(10_000), [99.0, 101.0] * 2000), "stratified", meter_gain_sigma=0.02)
    assert many.sampling_se < few.sampling_se / 10
    assert many.meter_se == few.meter_se == pytest.approx(0.02 * few.total)
    assert many.upper - many.total >= 1.9599 * many.meter_se
    assert few.se == pytest.approx(math.hypot(few.sampling_se, few.meter_se))


def test_coverage_of_homogeneous_strata():
    random = np.random.default_rng(11)
    fleet = [random.normal(6000, 600, 400), random.normal(2500, 400, 300)]
    truth = sum(f.sum() for f in fleet)
    pop = population(400, 300)
    hits = 0
    for _ in range(2000):
        drawn = [random.choice(f, n, replace=False).tolist() for f, n in zip(fleet, (20, 15), strict=True)]
        found = estimate(sample(pop, *drawn), "stratified")
        hits += found.lower <= truth <= found.upper
    assert 0.93 <= hits / 2000 <= 0.97


def test_coverage_of_a_heavy_tail_with_the_largest_taken_whole():
    random = np.random.default_rng(5)
    fleet = np.sort(random.lognormal(8, 1.0, 1000))[::-1]
    fleet[0] = 0.148 * fleet[1:].sum()  # one unit holds 12.9 % of the total
    truth = fleet.sum()
    giants, rest = fleet[:20].tolist(), fleet[20:]
    hits = naive_hits = 0
    for _ in range(2000):
        found = estimate(
            sample(population(20, 980), giants, random.choice(rest, 60, replace=False).tolist()), "stratified"
        )
        hits += found.lower <= truth <= found.upper
        plain = estimate(sample(population(1000), random.choice(fleet, 80, replace=False).tolist()), "stratified")
        naive_hits += plain.lower <= truth <= plain.upper
    assert hits / 2000 >= 0.92
    assert naive_hits / 2000 < 0.90  # what the take-all stratum is for


def test_degrees_of_freedom_of_a_few_sampled_hosts_beside_many_giants():
    # Counting the giants would give 51 degrees of freedom and an interval that covers far too rarely.
    random = np.random.default_rng(2)
    giants = [10_000.0] * 50
    rest = random.normal(1000, 200, 500)
    truth = sum(giants) + rest.sum()
    hits = as_counted = 0
    for _ in range(2000):
        found = estimate(
            sample(population(50, 500), giants, random.choice(rest, 3, replace=False).tolist()), "stratified"
        )
        hits += found.lower <= truth <= found.upper
        half = quantile(0.95, 51) * found.se
        as_counted += abs(found.total - truth) <= half
    assert 0.93 <= hits / 2000 <= 0.97
    assert as_counted / 2000 < 0.87


def test_bootstrap_by_host_agrees_with_the_formula():
    random = np.random.default_rng(4)
    drawn = random.normal(1000, 100, 60).tolist()
    found = estimate(sample(population(120), drawn), "stratified")
    assert bootstrap_se(sample(population(120), drawn), 4000) == pytest.approx(found.se, rel=0.06)
    assert bootstrap_se(sample(population(120), [1.0]), 10) is None
    assert bootstrap_se(sample(population(2), [1.0, 5.0]), 10) == 0.0


def test_bootstrap_by_gpu_is_refused_with_the_reason():
    with pytest.raises(InputError, match=r"rise and fall together.*29 times"):
        bootstrap_se(sample(population(10), [1.0, 2.0]), 10, unit="gpu")
    with pytest.raises(InputError, match="host or job"):
        bootstrap_se(sample(population(10), [1.0, 2.0]), 10, unit="rack")


def test_sample_size():
    # n0 = (1.96 x 0.4 / 0.02)^2 = 1536.64; of 5000 hosts 1175.4.
    assert sample_size(0.4, 0.02).hosts == 1537
    assert sample_size(0.4, 0.02, 5000).hosts == 1176
    assert sample_size(0.4, 0.02, deff=2.0).infinite == pytest.approx(2 * 1536.64)
    assert sample_size(0.0, 0.02, 5000).hosts == 2
    assert sample_size(5.0, 0.001, 10).hosts == 10
    for bad in (
        {"cv": -1, "error": 0.1},
        {"cv": 1, "error": 0},
        {"cv": 1, "error": 0.1, "deff": 0},
        {"cv": 1, "error": 0.1, "population": 0},
    ):
        with pytest.raises(InputError):
            sample_size(**bad)


def test_a_planned_sample_reaches_its_error():
    random = np.random.default_rng(9)
    fleet = random.normal(1000, 400, 3000)
    plan = sample_size(float(fleet.std() / fleet.mean()), 0.03, fleet.size)
    halves = []
    for _ in range(50):
        found = estimate(
            sample(population(fleet.size), random.choice(fleet, plan.hosts, replace=False).tolist()), "stratified"
        )
        halves.append((found.upper - found.total) / found.total)
    assert np.mean(halves) == pytest.approx(0.03, rel=0.05)


def test_neyman_allocation():
    assert allocate([("a", 100, 10.0), ("b", 100, 30.0)], 40) == (("a", 10), ("b", 30))
    assert allocate([("a", 3, 1000.0), ("b", 100, 1.0)], 20) == (("a", 3), ("b", 17))
    assert allocate([("a", 1, 5.0), ("b", 4, 0.0)], 1) == (("a", 1), ("b", 2))
    assert dict(allocate([("a", 2, 1.0), ("b", 2, 1.0)], 50)) == {"a": 2, "b": 2}
