"""The stated intervals are the propagated ones: every claim of every scenario against draws of its given numbers.

An interval is a root of squares, so its two tails need not be alike: each verdict is the one by the drawn interval, or
says less.
"""

import tomllib

import numpy as np
import pytest

from wattshed.agent.fleet.boundary.ranges import Range
from wattshed.agent.fleet.claims.scenario import load, shipped
from wattshed.agent.fleet.claims.verdict import judge

DRAWS = 10_000
SAYS_LESS = "Tariffs make solar power in the United States at least 5 % dearer"  # docs/fleet.md names it
Z = 1.959964  # 97.5 % of a normal
FUNCTIONS = {
    "sum": lambda a: np.sum(a, axis=0), "mean": lambda a: np.mean(a, axis=0), "min": np.minimum, "max": np.maximum,
    "smallest": lambda a: np.min(a, axis=0), "largest": lambda a: np.max(a, axis=0),
    "sqrt": np.sqrt, "log10": np.log10, "exp": np.exp, "ceil": np.ceil,
}  # fmt: skip


def split_normal(value, low, high, rng):
    """Numbers whose median is ``value`` and of which 95 % lie between the two ends."""
    z = rng.standard_normal(DRAWS)
    return value + np.where(z > 0, z * (high - value), z * (value - low)) / Z


def split_lognormal(value, low, high, rng):
    """The same on a scale of ratios."""
    z = rng.standard_normal(DRAWS)
    return value * np.where(z > 0, (high / value) ** (z / Z), (value / low) ** (z / Z))


def drawn(given, shape, rng):
    if isinstance(given["value"], list):
        half = given.get("spread", 0.0)
        return np.array(given["value"])[:, None] * shape(1.0, 1.0 - half, 1.0 + half, rng)
    half = abs(given["value"]) * given.get("spread", 0.0)
    value = given["value"]
    return shape(value, given.get("low", value - half), given.get("high", value + half), rng)


def value_of(name, file, draws):
    """A figure of each draw, by Python's own arithmetic."""
    if name in draws:
        return draws[name]

    class Lazy(dict):
        def __missing__(self, word):
            known = word in file["given"] or word in file["formula"]
            return value_of(word, file, draws) if known else FUNCTIONS[word]

    return eval(file["formula"][name]["is"], {"__builtins__": {}}, Lazy())


@pytest.mark.parametrize("shape", [split_normal, split_lognormal])
@pytest.mark.parametrize("name", shipped())
def test_stated_intervals_hold_95_of_100_draws_and_say_no_more_than_these(name, shape):
    rng = np.random.default_rng(20261128)
    file = tomllib.loads(shipped()[name].read_text(encoding="utf-8"))
    draws = {key: drawn(given, shape, rng) for key, given in file["given"].items()}
    for claim in load(name).claims:
        if claim.computed is None or claim.computed.is_exact or claim.verdict == "not comparable":
            continue
        figures = np.asarray(value_of(claim.computed_by, file, draws))
        inside = np.mean((figures >= claim.computed.low) & (figures <= claim.computed.high))
        assert 0.935 <= inside <= 0.98, (claim.text, inside)  # a number that ends at its own value has one tail only
        low, high = np.quantile(figures, (0.025, 0.975))
        propagated = Range(claim.computed.value, min(low, claim.computed.value), max(high, claim.computed.value))
        again = judge(claim.claimed, claim.relation, claim.tolerance, propagated, claim.unit)
        if not str(claim.verdict).startswith(str(again.verdict)):
            assert (claim.text, claim.verdict) == (SAYS_LESS, "undetermined")
