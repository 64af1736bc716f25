"""Hosts and jobs drawn with chances of their own: laws of the variance, and draws that keep their chances."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from tests.fleet.test_estimators import population, sample
from wattshed.agent.errors import InputError
from wattshed.agent.fleet.estimate.design import chances, drawn
from wattshed.agent.fleet.estimate.estimators import estimate
from wattshed.agent.fleet.estimate.planner import JobDrawn, draw_jobs
from wattshed.agent.fleet.estimate.sample import Sample

VALUES = [12.0, 30.0, 7.0, 22.0, 18.0, 41.0]


def with_chances(hosts, values, pi, column="pi"):
    """Hosts of one stratum, each with its chance (or weight)."""
    plain = sample(population(hosts), list(values))
    fields = (getattr(plain, name) for name in list(Sample.__slots__)[1:7])
    return Sample(plain.population, *fields, columns={column: tuple(repr(float(p)) for p in pi)})


def test_equal_chances_are_a_random_sample():
    same = estimate(with_chances(40, VALUES, [6 / 40] * 6), "pi")
    plain = estimate(sample(population(40), VALUES), "stratified")
    assert (same.total, same.se, same.df) == (
        pytest.approx(plain.total),
        pytest.approx(plain.se, rel=1e-12),
        pytest.approx(plain.df),
    )
    joint = np.full((6, 6), 6 * 5 / (40 * 39))
    np.fill_diagonal(joint, 6 / 40)
    paired = estimate(with_chances(40, VALUES, [6 / 40] * 6), "pi", joint=joint)
    assert paired.se == pytest.approx(plain.se, rel=1e-12)


def test_a_variance_below_zero_says_nothing():
    """Pairs that are drawn together more often than apart: the sum of Yates and Grundy may be negative."""
    joint = np.full((3, 3), 0.45)
    np.fill_diagonal(joint, 1.0)
    found = estimate(with_chances(6, VALUES[:3], [0.5] * 3), "pi", joint=joint)
    assert (found.se, found.lower, found.upper, found.interval) == (None, None, None, "none")
    assert found.total == pytest.approx(2 * sum(VALUES[:3]))
    assert "a variance below 0" in found.warnings[0]
    assert not any("one measured host" in w for w in found.warnings)


def test_weights_alone_know_no_finite_population():
    found = estimate(with_chances(40, VALUES, [40 / 6] * 6, column="weight"), "pi")
    assert found.total == pytest.approx(40 * sum(VALUES) / 6)
    assert found.se == pytest.approx(40 * (np.var(VALUES, ddof=1) / 6) ** 0.5)


@settings(max_examples=examples(50), deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1e4), st.floats(0.05, 0.95)), min_size=2, max_size=8))
def test_the_variance_is_brewers(units):
    values, pi = zip(*units, strict=True)
    found = estimate(with_chances(1000, values, pi), "pi")
    n, u = len(units), [v / p for v, p in units]
    mean = sum(u) / n
    variance = n / (n - 1) * sum((1 - p) * (x - mean) ** 2 for x, p in zip(u, pi, strict=True))
    assert found.se == pytest.approx(variance**0.5, rel=1e-6, abs=1e-4)
    assert found.total == pytest.approx(sum(u), rel=1e-9, abs=1e-6)


def test_what_is_certain_adds_no_error():
    found = estimate(with_chances(100, [9000.0, *VALUES], [1.0, *[0.1] * 6]), "pi")
    alone = estimate(with_chances(100, VALUES, [0.1] * 6), "pi")
    assert found.total == pytest.approx(alone.total + 9000)
    assert found.se == pytest.approx(alone.se)
    assert found.df == alone.df == 5


def test_yates_and_grundy_over_all_samples_is_the_true_variance():
    """Drawn two at a time with known chances, the variance estimate is right on average: every sample is listed."""
    y = np.array([10.0, 25.0, 70.0, 90.0])
    p = np.array([0.1, 0.2, 0.3, 0.4])
    pairs = {
        (i, j): p[i] * p[j] / (1 - p[i]) + p[j] * p[i] / (1 - p[j]) for i, j in itertools.combinations(range(4), 2)
    }
    pi = np.array([sum(c for pair, c in pairs.items() if k in pair) for k in range(4)])
    assert pi.sum() == pytest.approx(2)
    truth = sum(c * (y[i] / pi[i] + y[j] / pi[j] - y.sum()) ** 2 for (i, j), c in pairs.items())
    mean = 0.0
    for (i, j), chance in pairs.items():
        joint = np.array([[1, chance], [chance, 1]])
        found = estimate(with_chances(4, y[[i, j]], pi[[i, j]]), "pi", joint=joint)
        mean += chance * found.se**2
    assert mean == pytest.approx(truth, rel=1e-9)


@settings(max_examples=examples(80), deadline=None)
@given(st.lists(st.integers(1, 500), min_size=1, max_size=30), st.data())
def test_chances_follow_sizes_and_sum_to_the_draws(sizes, data):
    draws = data.draw(st.integers(1, len(sizes)))
    pi = chances(np.array(sizes, float), draws, float(sum(sizes)))
    assert pi.sum() == pytest.approx(draws)
    assert ((pi > 0) & (pi <= 1)).all()
    uncertain = pi < 1
    if uncertain.any():
        ratio = pi[uncertain] / np.array(sizes)[uncertain]
        assert ratio == pytest.approx(np.full(ratio.size, ratio[0]))


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(st.integers(1, 500), min_size=1, max_size=30), st.integers(0, 2**31), st.data())
def test_a_draw_has_as_many_jobs_as_asked_each_once(sizes, seed, data):
    number = data.draw(st.integers(1, len(sizes)))
    jobs = [JobDrawn("ab"[i % 2], f"j{i}", m) for i, m in enumerate(sizes)]
    found = draw_jobs(jobs, number, seed=seed)
    assert len({(j.stratum, j.job) for j in found}) == number
    assert found == draw_jobs(jobs, number, seed=seed)
    largest = max(jobs, key=lambda j: j.hosts)
    if largest.hosts * number >= sum(sizes):
        assert largest.job in {j.job for j in found}


def test_jobs_are_drawn_as_often_as_their_chances_say():
    jobs = [JobDrawn("all", f"j{i}", m) for i, m in enumerate((1, 2, 4, 8, 16, 32, 64, 3, 5, 40))]
    counts = dict.fromkeys((j.job for j in jobs), 0)
    for seed in range(1500):
        for job in draw_jobs(jobs, 3, seed=seed):
            counts[job.job] += 1
    pi = {j.job: j.pi for seed in range(60) for j in draw_jobs(jobs, 3, seed=seed)}
    for name, chance in pi.items():
        assert counts[name] / 1500 == pytest.approx(chance, abs=5 * (chance * (1 - chance) / 1500) ** 0.5 + 1e-9)


def test_a_plan_of_jobs_and_the_estimate_from_them(fleet, files):
    jobs = files(J_csv="job,hosts\n" + "".join(f"j{i},{m}\n" for i, m in enumerate((1, 2, 4, 8, 16, 3, 5, 6, 7, 9))))
    plan = fleet("plan", "--unit", "job", "--jobs", jobs, "--draw", 4, "--json").json
    assert plan["jobs"] == len(plan["draw"]) == 4
    assert plan["hosts"] == sum(j["hosts"] for j in plan["draw"])
    rows = [f"all,h{j['job']}-{k},{j['job']},100,{j['pi']}" for j in plan["draw"] for k in range(j["hosts"])]
    s, p = files(S_csv="\n".join(["stratum,host,job,value,pi", *rows]) + "\n", P_csv="stratum,hosts\nall,10\n")
    found = json.loads(fleet("estimate", "--sample", s, "--population", p, "--method", "pi", "--json").out)
    assert found["sampling_unit"] == "job"
    # Every host draws 100 W: chances in proportion to hosts give the true total but for jobs that are certain.
    assert found["total"] == pytest.approx(6100, rel=1e-9)
    assert "measure all hosts of 4 jobs of 10" in fleet("plan", "--unit", "job", "--jobs", jobs, "--draw", 4).out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--unit", "job"), "needs --jobs"),
        (("--unit", "job", "--jobs", "J", "--draw", "99"), "cannot draw 99 jobs of 2"),
        (("--unit", "job", "--jobs", "J", "--draw", "1", "--cv", "1"), "leave out --cv"),
        (("--unit", "job", "--jobs", "J", "--draw", "1", "--deff", "2"), "leave out --deff"),
        (("--unit", "job", "--jobs", "J"), "give --draw"),
        (("--unit", "job", "--jobs", "J", "--draw", "1", "--hosts", "9"), "--hosts cannot"),
        (("--draw", "5", "--cv", "1", "--error", "0.1"), "--draw needs --unit"),
        (("--unit", "host", "--draw", "5", "--cv", "1", "--error", "0.1"), "--draw needs --unit job"),
        ((), "give --cv and --error"),
    ],
)
def test_options_of_a_plan_that_contradict(fleet, files, words, said):
    jobs = files(J_csv="job,hosts\na,3\nb,4\n")
    found = fleet("plan", *(jobs if w == "J" else w for w in words))
    assert found.code == 2
    assert said in found.err
    assert found.err.count("\n") == 1


def test_sizes_that_cannot_be(files):
    with pytest.raises(InputError, match="needs a size above 0"):
        drawn(sample(population(9, sizes=[50.0]), [1.0, 2.0]), "pps")
    with pytest.raises(InputError, match=r"have a size of 90, the stratum 50"):
        drawn(sample(population(9, sizes=[50.0]), [1.0, 2.0], sizes=[40.0, 50.0]), "pps")


@pytest.mark.parametrize(
    ("sample_text", "joint", "said"),
    [
        ("a,1,2,0.5\na,2,3,0\n", None, "S.csv:3:4: pi: 0 is not above 0"),
        ("a,1,2,0.5\na,2,3,1.5\n", None, "above 0 and no more than 1"),
        ("a,1,2,0.5\na,2,3,0.5\n", "host,other,pi\n1,3,0.2\n", "J.csv:2:2: other: '3' is not in the sample"),
        ("a,1,2,0.5\na,2,3,0.5\n", "host,other,pi\n1,2,0\n", "J.csv:2:3: pi: 0 is not a probability"),
        ("a,1,2,0.5\na,2,3,0.5\n", "host,other,pi\n1,1,0.5\n", "no probability of the pair '1', '2'"),
        ("a,1,2,0.5\na,2,3,0.3\n", "host,other,pi\n1,2,0.31\n", "J.csv:2:3: pi: 0.31 exceeds 0.3, the smaller"),
        ("a,1,2,0.9\na,2,3,0.8\n", "host,other,pi\n1,2,0.6\n", "J.csv:2:3: pi: 0.6 is below 0.7, the least"),
        ("a,1,2,0.5\na,2,3,0.5\n", "host,other,pi\n1,2,0.2\n2,1,0.3\n", "J.csv:3:3: pi: 0.3 here and 0.2 above"),
        ("a,1,2,0.5\nb,1,3,0.5\n", "host,other,pi\n1,1,0.2\n", "J.csv: cannot tell hosts of one name"),
    ],
)
def test_bad_chances(fleet, files, sample_text, joint, said):
    s, p = files(S_csv="stratum,host,value,pi\n" + sample_text, P_csv="stratum,hosts\na,9\nb,9\n")
    more = () if joint is None else ("--joint", files(J_csv=joint))
    found = fleet("estimate", "--sample", s, "--population", p, "--method", "pi", *more)
    assert found.code == 2
    assert said in found.err
    assert found.err.count("\n") == 1


def test_joint_probabilities_of_weights(fleet, files):
    s, p, j = files(
        S_csv="stratum,host,value,weight\na,1,2,2\na,2,3,2\n",
        P_csv="stratum,hosts\na,9\n",
        J_csv="host,other,pi\n1,2,0.2\n",
    )
    found = fleet("estimate", "--sample", s, "--population", p, "--method", "pi", "--joint", j)
    assert found.code == 2
    assert "--joint needs the probability of each host" in found.err
