"""The stated 95 % intervals hold for 93 to 100 % of what is simulated, in each case, and docs/accuracy.md says so."""

import numpy as np
import pytest

from tests.accounts import coverage


@pytest.mark.parametrize("name", list(coverage.CASES))
def test_the_interval_holds(name):
    held, sigma = coverage.result(name)
    assert held >= 0.93
    assert sigma < 1.2  # an interval that holds because it says nothing is none


def test_the_table_is_what_the_simulation_gives():
    page = coverage.PAGE.read_text(encoding="utf-8")
    assert coverage.generated(page, coverage.results()) == page, "run: make docs"


def test_an_interval_that_is_too_narrow_is_noticed(monkeypatch):
    monkeypatch.setattr("wattshed.agent.accounts.uncertainty.SPREAD", 0.2)
    assert coverage.held(coverage.shared(np.random.default_rng(1), coverage.ratio(2), "steady"))[0] < 0.8
