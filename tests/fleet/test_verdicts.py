"""The rule of the verdicts, and what a formula may compute."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fleet import naive_fleet as naive
from wattshed.agent.fleet.boundary.ranges import Range, combine
from wattshed.agent.fleet.claims.formula import Formula, FormulaError, evaluator
from wattshed.agent.fleet.claims.verdict import RELATIONS, judge


def near(expected):
    return pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("relation", "claimed", "computed", "verdict"),
    [
        ("about", 100, Range(100, 95, 105), "supported"),
        ("about", 100, Range(100, 80, 105), "undetermined"),
        ("about", 100, Range(50, 40, 60), "contradicted"),
        ("about", 100, Range(200, 150, 260), "contradicted"),
        ("about", 100, Range.exact(110.0), "supported"),
        ("at least", 100, Range(150, 100, 200), "supported"),
        ("at least", 100, Range(150, 99, 200), "undetermined"),
        ("at least", 100, Range(50, 40, 99), "contradicted"),
        ("at most", 100, Range(50, 0, 100), "supported"),
        ("at most", 100, Range(90, 80, 101), "undetermined"),
        ("at most", 100, Range(200, 101, 300), "contradicted"),
        ("at most", 100, Range(200, 100.9, 300), "undetermined"),
        ("at least", 100, Range(50, 40, 99.1), "undetermined"),
        ("at most", 100, Range.exact(100.1), "contradicted"),
        ("about", 100, Range(50, 20, 89.9), "undetermined"),
    ],
)
def test_verdicts_follow_one_rule(relation, claimed, computed, verdict):
    assert judge(claimed, relation, 0.1, computed, "W").verdict == verdict


@given(
    claimed=st.floats(1e-3, 1e6),
    low=st.floats(1e-3, 1e6),
    width=st.floats(1.001, 100.0),
    relation=st.sampled_from(RELATIONS),
    by=st.floats(-0.004, 0.004),
)
def test_a_small_change_of_an_end_never_turns_a_verdict_into_its_opposite(claimed, low, width, relation, by):
    before, after = (
        judge(claimed, relation, 0.1, Range(low * width * (1 + x), low, low * width * (1 + x)), "W") for x in (0.0, by)
    )
    assert {before.verdict, after.verdict} != {"supported", "contradicted"}
    if before.verdict != after.verdict:
        assert before.at_the_edge or after.at_the_edge


def test_a_verdict_may_hold_for_a_part_or_be_of_another_thing():
    held = judge(1.0, "at least", 0.1, Range(2.0, 1.5, 3.0), "times", part="a part of the year")
    assert held == ("supported for part of it", held.reason, False)
    assert held.reason.endswith("agrees with the claimed minimum of 1 time for a part of the year")
    assert judge(1.0, "at least", 0.1, Range(0.5, 0.4, 0.6), "times", part="a part").verdict == "contradicted"
    apart = judge(1.0, "about", 0.1, Range.exact(1.0), "Wh", mismatch="it is of 2023, the claim of 2025")
    assert apart.verdict == "not comparable"
    assert apart.reason.endswith("is not to be compared with the claimed 1 Wh: it is of 2023, the claim of 2025")


def test_combining_is_one_at_a_time():
    found = combine(lambda x: x["a"] * x["b"], {"a": Range(2, 1, 4), "b": Range(10, 8, 12)})
    assert (found.value, found.low, found.high) == (
        20,
        near(20 - naive.root_sum(10, 4)),
        near(20 + naive.root_sum(20, 4)),
    )
    falling = combine(lambda x: 1 / x["a"], {"a": Range(2, 1, 4)})
    assert (falling.low, falling.high) == (0.25, 1.0)


def test_formulas_compute_lists_and_refuse_the_rest():
    lookup = evaluator({}, {"a": 3.0})
    assert Formula("-a ** 2 + sqrt(16) * 1e3 / 4")(lookup) == -9 + 1000
    for text in ("a < 3", "a if a else 1", "[a]", "'x'", "a.b", "lambda: 1", "min(a, key=3)", "print(a)", "True"):
        with pytest.raises(FormulaError):
            Formula(text)(lookup)
    with pytest.raises(FormulaError):
        Formula("10 ** 10 ** 10")(lookup)
