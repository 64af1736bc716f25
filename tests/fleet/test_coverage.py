"""The coverage that docs/fleet.md shows: what is kept obeys its law, and a small part of it is simulated again."""

import pytest

from tests.fleet.coverage import KINDS, simulate, stored

ROWS = {row["name"]: {k: v if k == "name" else float(v) for k, v in row.items()} for row in stored()}
OFTEN = 0.02
"""Share of samples without a warning above which their coverage is known."""


def test_every_kind_is_kept():
    assert list(ROWS) == list(KINDS)


def test_what_is_not_warned_of_covers():
    """At least 93 % of the intervals that are given without a warning hold."""
    for name, row in ROWS.items():
        if row["unwarned_samples"] > OFTEN * row["samples"]:
            assert row["unwarned_covered"] >= 0.93, name


def test_hosts_that_vary_about_one_level_are_not_covered_too_often():
    one_level = ("cv ", "4 strata", "10 strata", "ratio", "regression", "change", "Pareto")
    for name, row in ROWS.items():
        if name.startswith(one_level) or name.endswith("each, cv 35 %"):
            assert row["covered"] <= 0.975, name


def test_what_covers_less_is_warned_of():
    for name, row in ROWS.items():
        if row["given"] and row["covered"] < 0.92:
            missed = row["given"] * (1 - row["covered"])
            assert row["warned"] > 0.9 * missed, name
    assert ROWS["one whole job, given as hosts"]["given"] == 0
    for name in ("20 whole jobs of 1 to 512 hosts, given as hosts", "40 whole jobs of 1 to 64 hosts, given as hosts"):
        assert ROWS[name]["warned"] == 1


@pytest.mark.parametrize(
    "name",
    [
        "cv 35 %, 30 of 1,000",
        "cv 100 %, 30 of 1,000",
        "97 % idle, 30 of 2,000",
        "90 % idle, 30 of 1,000, bounded",
        "3 of 2,000 beside ten times 20 of 100",
        "ratio to nameplates, 60 of 1,000",
        "jobs come and go on 30 % of 1,000, 30 measured twice",
        "30 hosts at random, of jobs of 1 to 64",
        "40 whole jobs of 1 to 64 hosts, given as hosts",
        "40 jobs of 1 to 512 hosts, drawn in proportion",
    ],
)
def test_a_part_is_simulated_again(name):
    """The seed differs; so may 100 samples of ten fleets, by four standard errors of a share (fleets differ too)."""
    found = simulate(name, 10, 10, seed=2)
    for key in ("covered", "warned"):
        share = ROWS[name][key]
        spread = 4 * (max(share * (1 - share), 0.02) / 40) ** 0.5
        assert getattr(found, key) == pytest.approx(share, abs=spread), key
