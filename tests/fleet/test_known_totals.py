"""What is known beside a sample: fitted weights have the known totals, and errors are those of residuals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from tests.fleet.test_estimators import population, sample
from wattshed.agent.errors import InputError
from wattshed.agent.fleet.estimate.calibration import Margins
from wattshed.agent.fleet.estimate.estimators import estimate
from wattshed.agent.fleet.estimate.fitting import fitted
from wattshed.agent.fleet.estimate.sample import Sample

NAMES = ("a", "b", "c")
NINES = dict.fromkeys(NAMES, 9.0)


def labelled(values, hosts, **columns):
    """Hosts of one stratum with further columns."""
    plain = sample(population(hosts), list(values))
    return Sample(plain.population, *(getattr(plain, f) for f in list(Sample.__slots__)[1:7]), columns=columns)


@st.composite
def classed(draw):
    """Values, a class for each (all three occur), and the population's counts of them."""
    n = draw(st.integers(6, 25))
    labels = [NAMES[i % 3] for i in range(n)]
    values = draw(st.lists(st.floats(0, 1e4), min_size=n, max_size=n))
    counts = {name: labels.count(name) + draw(st.integers(1, 200)) for name in NAMES}
    return values, labels, counts


@settings(max_examples=examples(60), deadline=None)
@given(classed())
def test_poststratification_counts_each_class_as_it_is(case):
    values, labels, counts = case
    hosts = sum(counts.values())
    margins = Margins({"class": counts}, {})
    one = labelled(values, hosts, **{"class": tuple(labels)})
    found = estimate(one, "stratified", margins=margins)
    means = {c: sum(v for v, x in zip(values, labels, strict=True) if x == c) / labels.count(c) for c in NAMES}
    assert found.total == pytest.approx(sum(counts[c] * means[c] for c in NAMES), rel=1e-9, abs=1e-6)
    u = [counts[c] / labels.count(c) * (v - means[c]) for v, c in zip(values, labels, strict=True)]
    n = len(u)
    variance = (1 - n / hosts) * n / (n - 1) * sum((x - sum(u) / n) ** 2 for x in u)
    assert found.se == pytest.approx(variance**0.5, rel=1e-6, abs=1e-4)
    # One set of categories is met by regression and by raking alike.
    assert estimate(one, "regression", margins=margins).total == pytest.approx(found.total, rel=1e-9, abs=1e-6)


@settings(max_examples=examples(60), deadline=None)
@given(st.integers(6, 25), st.integers(0, 2**32 - 1), st.booleans())
def test_fitted_weights_have_the_known_totals(n, seed, raked):
    """The totals are those of some weights above 0: others may contradict the sample."""
    random = np.random.default_rng(seed)
    true = random.uniform(1, 40, n)
    labels, other = np.array(NAMES)[np.arange(n) % 3], np.array(["0", "1"])[random.permutation(n) % 2]
    size = random.uniform(1, 10, n)
    counts, halves = ({c: float(true[x == c].sum()) for c in set(x.tolist())} for x in (labels, other))
    columns = {"class": tuple(labels.tolist()), "other": tuple(other.tolist())}
    one = labelled([1.0] * n, int(true.sum()), **columns, size_now=tuple(map(repr, size.tolist())))
    totals = {} if raked else {"size_now": float(true @ size)}
    margins = Margins({"class": counts, "other": halves}, totals)
    weight = fitted(one, "stratified" if raked else "regression", margins=margins).weight
    known = [(labels == c, counts[c]) for c in counts] + [(other == c, halves[c]) for c in halves]
    known += [(size, total) for total in totals.values()]
    for column, total in known:
        assert weight @ column == pytest.approx(total, rel=1e-8)
    assert not raked or (weight > 0).all()


def test_regression_is_that_of_the_normal_equations():
    random = np.random.default_rng(5)
    x = random.uniform(500, 2000, 30)
    y = 0.6 * x + random.normal(0, 40, 30)
    pop = population(200, 100, sizes=[230_000.0, 140_000.0])
    found = estimate(sample(pop, y[:20].tolist(), y[20:].tolist(), sizes=x.tolist()), "regression")
    w = np.repeat([10.0, 10.0], [20, 10])
    known = np.column_stack([np.arange(30) < 20, np.arange(30) >= 20, x]).astype(float)
    b = np.linalg.solve(known.T @ (w[:, None] * known), known.T @ (w * y))
    totals = np.array([200, 100, 370_000.0])
    assert found.total == pytest.approx(w @ y + (totals - w @ known) @ b, rel=1e-12)
    g = 1 + known @ np.linalg.solve(known.T @ (w[:, None] * known), totals - w @ known)
    u = w * g * (y - known @ b)
    parts = [(u[:20], 200), (u[20:], 100)]
    variance = sum((1 - p.size / size) * p.size * p.var(ddof=1) for p, size in parts)
    assert found.se == pytest.approx(variance**0.5, rel=1e-9)


def test_totals_far_from_the_sample_are_told():
    x = [10.0, 20.0, 30.0, 40.0]
    near, far = (
        estimate(sample(population(40, sizes=[size]), [1.0, 2.5, 2.9, 4.2], sizes=x), "regression")
        for size in (1020.0, 2900.0)
    )
    assert not any("weight below 0" in w for w in near.warnings)
    assert "give 2 of 4 measured values a weight below 0" in far.warnings[0]


def test_what_explains_everything_leaves_no_error():
    x = [100.0, 250.0, 400.0, 900.0]
    found = estimate(sample(population(50, sizes=[20_000.0]), [3 * v + 7 for v in x], sizes=x), "regression")
    assert found.total == pytest.approx(3 * 20_000 + 7 * 50)
    assert found.se == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("margins", "method", "said"),
    [
        (Margins({"class": {"a": 10}}, {}), "stratified", "'b', and the known totals do not"),
        (Margins({"class": {"a": 10, "b": 9, "c": 8, "d": 7}}, {}), "stratified", "nothing was measured of the 7"),
        (Margins({"class": NINES, "two": {"0": 20, "1": 20}}, {}), "stratified", "different pop"),
        (
            Margins({"class": NINES, "same": {"a": 8, "b": 10, "c": 9}}, {}),
            "regression",
            "contradict",
        ),
        (
            Margins({"class": NINES, "same": {"a": 8, "b": 10, "c": 9}}, {}),
            "stratified",
            "contradict",
        ),
        (Margins({}, {"hosts": 27}), "stratified", "use --method regression"),
        (Margins({"class": NINES}, {}), "ratio", "use --method regression"),
    ],
)
def test_totals_that_cannot_be_met_are_refused(margins, method, said):
    labels = ("a", "b", "c") * 3
    one = labelled(range(9), 27, **{"class": labels}, same=labels, two=tuple("010101010"))
    with pytest.raises(InputError, match=said):
        estimate(one, method, margins=margins)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("column,category,total\nclass,a,-1\n", "M.csv:2:3: total: -1 is below 0"),
        ("column,category,total\nclass,a,1\nclass,a,2\n", "M.csv:3:1"),
        ("column,category,total\nclass,a,1\nclass,,2\n", "M.csv:3:1"),
        ("column,category,total\n", "lists no known total"),
        ("column,category,total\nrack,a,1\n", "no column 'rack'"),
        ("column,category,total\nclass,,5\n", "S.csv:2:4: class: 'x' is not a number"),
    ],
)
def test_bad_tables_of_totals(fleet, files, table, said):
    s, p, m = files(S_csv="stratum,host,value,class\na,1,2,x\na,2,3,x\n", P_csv="stratum,hosts\na,9\n", M_csv=table)
    found = fleet("estimate", "--sample", s, "--population", p, "--calibrate", m)
    assert found.code == 2
    assert said in found.err


@pytest.mark.parametrize(("n", "classes", "warned"), [(20, 2, False), (20, 4, True), (43, 7, False), (42, 7, True)])
def test_many_known_totals_for_few_hosts_are_said(n, classes, warned):
    """In simulation 20 hosts with 3 totals beside their number cover 91 %, 40 hosts with 6 92 %, with 4 94 %."""
    random = np.random.default_rng(1)
    labels = tuple(str(i % classes) for i in range(n))
    one = labelled(random.uniform(1, 9, n), 1000, **{"class": labels})
    counts = dict.fromkeys(dict.fromkeys(labels), 1000.0 / classes)
    found = estimate(one, "stratified", margins=Margins({"class": counts}, {}))
    told = f"{classes - 1} known totals beside the strata fitted to {n} hosts"
    assert any(told.replace("1 known totals", "1 known total") in w for w in found.warnings) == warned


@pytest.mark.parametrize("method", ["stratified", "regression"])
def test_counts_of_another_fleet_are_said(method):
    one = labelled(range(30), 1000, **{"class": ("x", "y") * 15})
    for counts, said in (({"x": 600.0, "y": 400.0}, False), ({"x": 60.0, "y": 40.0}, True)):
        found = estimate(one, method, margins=Margins({"class": counts}, {}))
        assert ("known counts of class: 100 hosts, and the population has 1,000" in " ".join(found.warnings)) == said
