"""Totals of parts (``--by``): each says what its own hosts do not support."""

from dataclasses import replace

import numpy as np

from tests.fleet.test_estimators import population, sample
from wattshed.agent.fleet.estimate.estimators import estimate
from wattshed.agent.fleet.estimate.sample import Population


def parts(values, names, hosts=1000, **words):
    """Parts of a sample of hosts, by name."""
    one = replace(sample(population(hosts), list(values)), columns={"rack": tuple(names)})
    return {d.domain: d for d in estimate(one, "stratified", by="rack", **words).domains}


def test_few_hosts_of_a_part_are_told():
    found = parts([2000.0 + 2000 * (i % 5) for i in range(30)], ["a"] * 2 + ["b"] * 28)
    assert found["a"].warnings == ("fewer than 3 measured hosts: measure more",)
    assert not found["b"].warnings


def test_a_part_that_looks_alike_may_have_missed_a_kind():
    """Most of its error is how many hosts it has; that its hosts are alike shows in their mean."""
    values = [700.0 + i for i in range(15)] + [6500.0 + 300 * (i % 7) for i in range(15)]
    found = parts(values, ["idle"] * 15 + ["busy"] * 15)
    assert "15 measured hosts may have missed a kind" in found["idle"].warnings[0]
    everywhere = parts(values, ["x", "y"] * 15)
    assert not any(d.warnings for d in everywhere.values())


def test_parts_that_were_measured_whole_or_have_bounds_need_no_warning():
    assert not any(d.warnings for d in parts([7.0, 8.0, 9.0], "aab", hosts=3).values())
    limited = Population(("s0",), np.array([50]), np.array([np.nan]), np.array([10_000.0]))
    one = replace(sample(limited, [700.0, 701.0, 800.0]), columns={"rack": ("a", "a", "b")})
    assert not any(d.warnings for d in estimate(one, "stratified", by="rack", kind="bounded").domains)


def test_the_command_says_it_once_for_all_parts(fleet, files):
    racks = ["r0", "r1", "r1", "r2", "r2", *["r3"] * 35]
    rows = [f"a,h{i},{2000 + 2000 * (i % 5)},{rack}" for i, rack in enumerate(racks)]
    s, p = files(S_csv="\n".join(["stratum,host,value,rack", *rows]) + "\n", P_csv="stratum,hosts\na,900\n")
    words = ("estimate", "--sample", s, "--population", p, "--by", "rack")
    assert "warning: parts r0, r1, r2: fewer than 3 measured hosts: measure more" in fleet(*words).out.splitlines()
    assert [bool(d["warnings"]) for d in fleet(*words, "--json").json["domains"]] == [True] * 3 + [False]
