"""The coverage that docs/fleet.md shows: what is kept obeys its law, and a small part of it is simulated again."""

import pytest

from tests.fleet.coverage import KINDS, simulate, stored

MOSTLY = 0.5
ROWS = {row["name"]: {k: v if k == "name" else float(v) for k, v in row.items()} for row in stored()}


def test_every_kind_is_kept():
    assert list(ROWS) == list(KINDS)


def test_kinds_that_are_seldom_warned_of_are_covered():
    """Where most samples have no warning, 92 to 98.5 % of the intervals hold; bounds hold more often than they say."""
    for name, row in ROWS.items():
        if name.endswith("bounded"):
            assert row["covered"] >= 0.95
        elif row["warned"] < MOSTLY:
            assert 0.92 <= row["covered"] <= 0.985, name


def test_what_covers_less_is_warned_of():
    for name, row in ROWS.items():
        if row["given"] and row["covered"] < 0.92:
            assert row["warned"] > 0.95, name
    assert ROWS["one whole job, given as hosts"]["given"] == 0
    for name in ("20 whole jobs of 1 to 512 hosts, given as hosts", "40 whole jobs of 1 to 64 hosts, given as hosts"):
        assert ROWS[name]["warned"] == 1


@pytest.mark.parametrize(
    "name",
    [
        "cv 35 %, 30 of 1,000",
        "97 % idle, 30 of 2,000",
        "3 of 2,000 beside ten times 20 of 100",
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
