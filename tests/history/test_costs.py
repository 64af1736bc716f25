"""Money and carbon: every joule at the value of its time, exactly, and nothing priced that has no price."""

from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattshed.agent.history.costs import HNJ_PER_KWH, Energies, amounts, rounded
from wattshed.agent.inputs.tariffs.steps import PRICE, Tariff, TariffStep, tariff_of
from wattshed.exporters.units import HNJ_PER_JOULE

KWH_J = 3_600_000


def energies(rows, groups=3):
    """Energies of (group, begin, end, hnj)."""
    columns = [
        np.array(column, np.int64)
        for column in zip(*((g, a, b, *divmod(e, HNJ_PER_JOULE)) for g, a, b, e in rows), strict=True)
    ]
    return Energies(*columns, groups)


def tariff(*steps, estimated=()):
    """Prices of (begin, end, value)."""
    made = [TariffStep(a, b, Decimal(str(v)), estimated=i in estimated) for i, (a, b, v) in enumerate(steps)]
    return tariff_of(made, "f", PRICE, "EUR/kWh", "")


def test_a_kwh_costs_the_price_of_its_time():
    prices = tariff((0, 100, "0.30"), (100, 200, "-0.10"), (300, 400, "0.50"), estimated={2})
    kwh = KWH_J * HNJ_PER_JOULE
    found = amounts(energies([(0, 0, 100, kwh), (1, 50, 150, kwh), (1, 350, 450, kwh), (2, 200, 300, kwh)]), prices)
    assert [one.value for one in found] == [Decimal("0.30"), Decimal("0.10") + Decimal("0.25"), 0]
    assert [one.unpriced_hnj for one in found] == [0, kwh // 2, kwh]
    assert [one.estimated_hnj for one in found] == [0, kwh // 2, 0]


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5), st.integers(-5, 9)), min_size=1, max_size=6),
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(-4, 40), st.integers(0, 30), st.integers(0, 2**62)),
        min_size=1, max_size=8,
    ),
)  # fmt: skip
@settings(deadline=None)
def test_against_every_moment_by_itself(gaps, rows):
    """The same by hand: each energy spread over its moments by the rule of edges, each moment looked up."""
    steps, at = [], 0
    for gap, size, value in gaps:
        steps.append((at + gap, at + gap + size, value))
        at += gap + size
    price_at = {t: Decimal(value) for begin, end, value in steps for t in range(begin, end)}
    found = amounts(energies([(g, a, a + n, e) for g, a, n, e in rows]), tariff(*steps))
    with localcontext() as context:
        context.prec = 60
        for group in range(3):
            value, unpriced, whole = Decimal(0), 0, 0
            for g, a, n, e in rows:
                if g != group:
                    continue
                whole += e
                for t in range(a, a + n) if n else [a]:
                    part = e * (t + 1 - a) // n - e * (t - a) // n if n else e
                    value += part * price_at.get(t, 0)
                    unpriced += part if t not in price_at else 0
            assert found[group].value == pytest.approx(value / HNJ_PER_KWH, rel=Decimal("1e-20"), abs=Decimal("1e-20"))
            assert found[group].unpriced_hnj == unpriced
            assert unpriced <= whole


def test_a_product_has_a_value_where_both_have():
    pue = Tariff.constant("pue", Decimal("1.5"))
    prices = tariff((0, 100, "0.30"), (100, 200, "0.10"))
    both = prices.times(pue)
    assert (both.unit, both.values) == ("EUR/kWh", (Decimal("0.450"), Decimal("0.150")))
    partly = prices.times(tariff((50, 150, 2)))
    assert list(zip(partly.from_us.tolist(), partly.to_us.tolist(), partly.values, strict=True)) == [
        (50, 100, Decimal("0.60")), (100, 150, Decimal("0.20")),
    ]  # fmt: skip
    nothing = prices.times(tariff((500, 600, 2)))
    assert nothing.values == ()
    assert amounts(energies([(0, 0, 100, 7)], 1), nothing)[0].unpriced_hnj == 7


@given(st.lists(st.decimals(-1000, 1000, places=6), min_size=1, max_size=9), st.integers(0, 4))
def test_rounded_amounts_add_up(values, places):
    found = rounded(values, places)
    assert sum(found) == sum(values).quantize(Decimal(1).scaleb(-places))
    assert all(abs(a - b) < Decimal(1).scaleb(-places) for a, b in zip(found, values, strict=True))
