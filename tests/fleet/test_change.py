"""The change between two samples: exact where the same hosts were measured, by covariance where some were."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from tests.fleet.test_estimators import population, sample
from wattshed.agent.errors import InputError
from wattshed.agent.fleet.estimate.change import change
from wattshed.agent.fleet.estimate.estimators import estimate


def measured(hosts, *strata):
    """Hosts by name: a mapping of name to value for each stratum."""
    one = sample(population(*hosts), *(list(s.values()) for s in strata))
    return replace(one, names=tuple(name for s in strata for name in s))


values = st.floats(0, 1e5, allow_nan=False)


@settings(max_examples=examples(30), deadline=None)
@given(st.lists(st.tuples(values, values), min_size=2, max_size=10), st.integers(0, 50))
def test_of_the_same_hosts_the_differences_are_the_sample(pairs, more):
    hosts = len(pairs) + more
    before, now = (measured([hosts], {f"h{i}": p[k] for i, p in enumerate(pairs)}) for k in (0, 1))
    found = change(now, before, "stratified")
    plain = estimate(sample(population(hosts), [b - a for a, b in pairs]), "stratified", kind="t")
    assert found.total == pytest.approx(plain.total, rel=1e-9, abs=1e-4)
    assert found.se == pytest.approx(plain.se, rel=1e-6, abs=1e-2)
    assert (found.matched, found.only_before, found.only_now) == (len(pairs), 0, 0)
    assert found.before == pytest.approx(estimate(before, "stratified").total)


def test_what_did_not_change_has_no_error_of_rounding():
    one = measured([100], {"a": 10.0, "b": 12.0, "c": 9.0, "d": 20.1})
    assert change(one, one, "stratified").se == 0.0


def test_without_a_common_host_the_errors_add():
    before = measured([40, 30], {"a": 3.0, "b": 5.0}, {"c": 1.0, "d": 2.0})
    now = measured([40, 30], {"e": 4.0, "f": 9.0}, {"a": 1.5, "b": 2.5})  # a and b are hosts of the other stratum here
    found = change(now, before, "stratified")
    assert found.se == found.unpaired_se
    errors = [estimate(one, "stratified").se for one in (before, now)]
    assert found.se == pytest.approx((errors[0] ** 2 + errors[1] ** 2) ** 0.5)
    assert (found.matched, found.only_before, found.only_now) == (0, 4, 4)


def test_an_overlap_in_part_has_the_error_that_samples_show():
    random = np.random.default_rng(8)
    old = random.normal(5000, 1500, 300)
    new = 0.95 * old + random.normal(0, 200, 300)
    moved, claimed = [], []
    for _ in range(250):
        order = random.permutation(300)
        first, second = order[:40], np.concatenate([order[15:40], order[40:60]])
        before = measured([300], {f"h{i}": old[i] for i in first})
        now = measured([300], {f"h{i}": new[i] for i in second})
        found = change(now, before, "stratified")
        moved.append(found.total)
        claimed.append(found.se**2)
    assert (found.matched, found.only_before, found.only_now) == (25, 15, 20)
    assert np.mean(claimed) == pytest.approx(np.var(moved, ddof=1), rel=0.3)


def test_the_kind_of_interval_is_the_one_asked_for():
    before = measured([500], {f"h{i}": 100.0 + i for i in range(30)})
    now = measured([500], {f"h{i}": 100.0 + i + (900.0 if i < 2 else i % 3) for i in range(30)})
    found = {kind: change(now, before, "stratified", kind=kind) for kind in ("auto", "t", "johnson", "hall")}
    assert {kind: one.interval for kind, one in found.items()} == {
        "auto": "johnson",
        "t": "t",
        "johnson": "johnson",
        "hall": "hall",
    }
    assert len({one.se for one in found.values()}) == 1
    assert found["t"].upper < found["hall"].upper
    assert found["t"].upper < found["johnson"].upper
    assert found["t"].lower == found["johnson"].lower < found["hall"].lower
    # The same hosts both times: it is the interval of their differences.
    gains = [now_w - then for now_w, then in zip(now.value.tolist(), before.value.tolist(), strict=True)]
    plain = estimate(sample(population(500), gains), "stratified", kind="johnson")
    assert (found["johnson"].lower, found["johnson"].upper) == (pytest.approx(plain.lower), pytest.approx(plain.upper))


def test_hosts_that_all_changed_alike_may_have_missed_others():
    before, now = (measured([500], {f"h{i}": k * (100.0 + i) for i in range(30)}) for k in (1.0, 0.97))
    warnings = change(now, before, "stratified").warnings
    assert any("may have missed a kind of host" in w and w.endswith("measure more both times") for w in warnings)


def of_jobs(hosts, size, level=100.0):
    """Hosts that came with jobs of so many."""
    one = measured([400], {f"h{i}": level + 7.0 * (i // size) + i % size for i in hosts})
    return replace(one, columns={"job": tuple(f"j{i // size}" for i in hosts)})


def test_jobs_are_compared_with_jobs():
    jobs, apart = of_jobs(range(40), 8), of_jobs(range(0, 400, 8), 8, level=90.0)
    for now, before in ((jobs, apart), (apart, jobs)):
        found = change(now, before, "stratified")
        assert (found.sampling_unit, found.matched) == ("job", 5)
        assert found.only_before + found.only_now == 45
    assert any(w.startswith("earlier sample: 5 jobs have the 40 measured hosts") for w in found.warnings)
    assert any("its hosts are taken by job" in w for w in change(jobs, apart, "stratified").warnings)
    assert change(apart, apart, "stratified").sampling_unit == "host"


@pytest.mark.parametrize("swapped", [False, True])
def test_jobs_are_not_compared_with_hosts(swapped):
    jobs, hosts = of_jobs(range(40), 8), replace(of_jobs(range(0, 400, 8), 8), columns={})
    pair = (hosts, jobs) if swapped else (jobs, hosts)
    units = ("host", "job") if swapped else ("job", "host")
    said = f"of the new sample is the {units[0]}, of the old one the {units[1]}; give both a column job"
    with pytest.raises(InputError, match=said):
        change(*pair, "stratified")


def test_of_all_hosts_the_change_is_exact():
    found = change(measured([2], {"a": 5.0, "b": 6.0}), measured([2], {"a": 4.0, "b": 4.0}), "stratified")
    assert (found.total, found.se, found.lower, found.upper, found.interval) == (3.0, 0.0, 3.0, 3.0, "t")


def test_a_stratum_that_was_not_measured_leaves_it_unknown():
    before = measured([9, 9], {"a": 4.0, "b": 4.0}, {})
    found = change(measured([9, 9], {"a": 5.0, "b": 6.0}, {"c": 1.0, "d": 1.0}), before, "stratified")
    assert (found.total, found.se, found.lower) == (None, None, None)


def test_methods_that_have_no_change():
    one = measured([9], {"a": 5.0, "b": 6.0})
    with pytest.raises(InputError, match="--against cannot be used with --method pi"):
        change(one, one, "pi")


def test_the_command_says_it_in_a_line(fleet, files):
    s, o, p = files(
        S_csv="stratum,host,value\na,1,90\na,2,120\na,3,70\n",
        O_csv="stratum,host,value\na,1,100\na,2,130\na,4,75\n",
        P_csv="stratum,hosts\na,30\n",
    )
    words = ("estimate", "--sample", s, "--population", p, "--against", o, "--unit", "W")
    text = fleet(*words).out
    assert "change -250 W (-8.2%) from 3.05 kW" in text
    assert "2 measured both times, 1 only before, 1 only now" in text
    found = fleet(*words, "--json").json["change"]
    assert found["se"] < found["unpaired_se"]
    assert "warning: change: each measured host of stratum a stands for more than 10% of the total" in text
    assert "has no bounded interval" in fleet(*words, "--interval", "bounded").err


def test_a_change_by_jobs_says_so(fleet, files):
    rows = [f"a,h{i},j{i // 4},{100 + 9 * (i // 4) + i % 4}" for i in range(24)]
    s, o, p = files(
        S_csv="\n".join(["stratum,host,job,value", *rows]) + "\n",
        O_csv="\n".join(["stratum,host,job,value", *rows[::4]]) + "\n",
        P_csv="stratum,hosts\na,300\n",
    )
    found = fleet("estimate", "--sample", s, "--population", p, "--against", o)
    assert "; 6 jobs measured both times, 0 only before, 0 only now)" in found.out
    assert "warning: change: earlier sample: its hosts are taken by job" in found.out
