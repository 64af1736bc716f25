"""Prices, carbon and PUE that change within the steps of a report: a slow oracle minute by minute, and the sigmas."""

import math
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.reports.made_up import HOUR_S, KWH_J, MARCH_S, day_of_prices, report, row
from wattshed.agent.inputs.tariffs.steps import CARBON, CARBON_UNIT, PRICE, PUE, Tariff, TariffStep, tariff_of
from wattshed.agent.reports.amounts import LACK_KEYS, PLACES, SIGMA_KEYS, Tariffs, energies_of, priced

FIVE_S = 300
KEYS = ("wall_kwh", "cost", "co2e_g")


def values_every(length_s, values, quantity, unit):
    """A tariff of steps of so many seconds from the first of March on; None: a hole."""
    begins = [(MARCH_S + i * length_s) * 1_000_000 for i in range(len(values))]
    steps = [
        TariffStep(begin, begin + length_s * 1_000_000, None if value is None else Decimal(value))
        for begin, value in zip(begins, values, strict=True)
    ]
    return tariff_of(steps, "f", quantity, unit, "made up")


def at(length_s, values, second):
    place = int(second - MARCH_S) // length_s
    return values[place] if 0 <= place < len(values) else None


def some(low, high, size):
    known = st.integers(low, high)
    return st.lists(st.none() | known, min_size=size, max_size=size).filter(lambda v: any(x is not None for x in v))


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(1, 10**4)), min_size=1, max_size=6),
    some(-40, 90, 12), some(0, 900, 4), some(1, 3, 6),
)  # fmt: skip
def test_each_five_minutes_have_the_values_of_their_own(used, prices, carbons, pues):
    """Prices change each five minutes, carbon each quarter of an hour, PUE each ten; steps are quarters."""
    tariffs = Tariffs(
        values_every(300, prices, PRICE, "EUR/kWh"), values_every(900, carbons, CARBON, CARBON_UNIT),
        values_every(600, pues, PUE, ""), "EUR",
    )  # fmt: skip
    assert tariffs.step_s() == 900
    rows = [row(f"u{i}", sum(wh * 3600 for who, _, wh in used if who == i), sigma_j=float(i)) for i in range(3)]
    steps = [(who, MARCH_S + quarter * 900, wh * 3600) for who, quarter, wh in used]
    found = priced(report(rows, steps, 900), tariffs)
    expected = {key: [Fraction(0)] * 3 for key in KEYS}
    lacking = {key: [Fraction(0)] * 3 for key in KEYS}
    for who, quarter, wh in used:
        for begin in range(MARCH_S + quarter * 900, MARCH_S + quarter * 900 + 900, FIVE_S):
            pue, price, carbon = at(600, pues, begin), at(300, prices, begin), at(900, carbons, begin)
            for key, value in (("wall_kwh", 1), ("cost", price), ("co2e_g", carbon)):
                if pue is None or value is None:
                    lacking[key][who] += Fraction(wh * 1200)
                else:
                    expected[key][who] += Fraction(wh, 3000) * pue * value
    for key in KEYS:
        for place, one in enumerate(found["rows"]):
            assert Fraction(one[LACK_KEYS[key]]) == lacking[key][place]
            nothing = lacking[key][place] == Fraction(one["energy_j"]) > 0
            assert (one[key] is None) == nothing == (one[SIGMA_KEYS[key]] is None)
            if not nothing:
                assert abs(Fraction(one[key]) - expected[key][place]) <= Fraction(1, 10 ** PLACES[key])
        assert Fraction(found["total"][LACK_KEYS[key]]) == sum(lacking[key])


@given(st.lists(st.integers(-9, 9).filter(bool), min_size=2, max_size=4), st.floats(0.001, 0.5), st.floats(0, 1))
def test_sigma_goes_with_the_size_of_a_price_and_not_with_its_sign(prices, share, joint):
    """What is off by a share of its energy costs as much a share more or less, also where it earns."""
    steps = [(who, MARCH_S + hour * HOUR_S, KWH_J) for who in (0, 1) for hour in range(len(prices))]
    used_j = len(prices) * KWH_J
    rows = [row(name, used_j, sigma_j=share * used_j) for name in ("ada", "bob")]
    document = report(rows, steps, HOUR_S)
    linear = 2 * share * used_j
    document["total"]["sigma_j"] = total_j = math.hypot(1, 1) / 2 * linear * (1 - joint) + linear * joint
    found = priced(document, Tariffs(day_of_prices(*prices)))
    size = sum(map(abs, prices))
    assert [one["cost_sigma"] for one in found["rows"]] == pytest.approx([share * size] * 2)
    assert found["total"]["cost_sigma"] == pytest.approx(2 * share * size * total_j / linear)


def test_sigma_of_what_is_shared_is_added_as_independent():
    rows = [row("ada", 3 * KWH_J, sigma_j=0.3 * KWH_J), row("bob", KWH_J), row("_idle", 2 * KWH_J, sigma_j=0.8 * KWH_J)]
    pue = Tariff.constant(PUE, Decimal(2))
    found = priced(report(rows), Tariffs(pue=pue), spread=True)
    ada, bob = found["rows"]
    assert ada["wall_sigma_kwh"] == pytest.approx(math.hypot(0.6, 1.6 * 3 / 4))
    assert bob["wall_sigma_kwh"] == pytest.approx(1.6 / 4)
    assert (ada["sigma_j"], bob["sigma_j"]) == pytest.approx((math.hypot(0.3, 0.6) * KWH_J, 0.2 * KWH_J))
    assert found["total"]["spread_j"] == str(2 * KWH_J)


def test_a_tariff_says_from_when_to_when_it_is_or_its_value():
    price, carbon = day_of_prices("1", None, "2"), Tariff.constant(CARBON, Decimal("350.0"), CARBON_UNIT)
    document = priced(report([row("a", 1)], [(0, MARCH_S, 1)], HOUR_S), Tariffs(price, carbon))
    assert document["tariffs"] == {
        "price": {
            "source": "made up", "unit": "EUR/kWh", "value": None, "from_s": MARCH_S, "to_s": MARCH_S + 3 * HOUR_S,
            "marginal": False,
        },
        "carbon": {
            "source": carbon.source, "unit": CARBON_UNIT, "value": "350", "from_s": None, "to_s": None,
            "marginal": False,
        },
    }  # fmt: skip


def test_energies_are_read_by_step_or_row_and_by_group():
    rows = [row("a", 3), row("b", 5)]
    plain = energies_of(report(rows))
    assert (plain.group.tolist(), plain.groups) == ([0, 1], 2)
    steps = [(1, MARCH_S, 2), (0, MARCH_S + 900, 3), (1, MARCH_S + 900, 3)]
    stepped = energies_of(report(rows, steps, 900))
    assert stepped.group.tolist() == [1, 0, 1]
    assert stepped.from_us.tolist() == [MARCH_S * 10**6, (MARCH_S + 900) * 10**6, (MARCH_S + 900) * 10**6]
    assert (stepped.to_us - stepped.from_us).tolist() == [900 * 10**6] * 3
    grouped = energies_of(report(rows, steps, 900), [4, 0, 2])
    assert (grouped.group.tolist(), grouped.groups) == ([4, 0, 2], 5)
    assert energies_of(report([], [], 900), []).groups == 0
