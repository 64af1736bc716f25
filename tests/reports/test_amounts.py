"""Money, carbon and energy at the wall of a report: exact, adding up, and nothing told that is not known."""

from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.reports.made_up import HOUR_S, KWH_J, MARCH_S, day_of_prices, report, row
from wattshed.agent.inputs.tariffs.steps import CARBON, CARBON_UNIT, PRICE, PUE, Tariff, TariffStep, tariff_of
from wattshed.agent.reports.amounts import Tariffs, priced, shares, with_gpu_hours
from wattshed.agent.reports.notes import INCOMPLETE, notes_of
from wattshed.agent.wire.parts import hnj_of, joules

TEN_CENTS = Tariff.constant(PRICE, Decimal("0.10"), "EUR/kWh")


def column(document, name):
    return {one["name"]: one[name] for one in document["rows"]}


def test_a_plain_price_needs_no_steps():
    tariffs = Tariffs(price=TEN_CENTS, pue=Tariff.constant(PUE, Decimal("1.5")), currency="EUR")
    assert tariffs.step_s() is None
    found = priced(report([row("ada", 3 * KWH_J, sigma_j=36_000.0), row("bob", KWH_J)]), tariffs)
    assert column(found, "wall_kwh") == {"ada": "4.5", "bob": "1.5"}
    assert column(found, "cost") == {"ada": "0.45", "bob": "0.15"}  # of energy at the wall
    assert found["rows"][0]["wall_sigma_kwh"] == pytest.approx(0.015)
    assert found["rows"][0]["cost_sigma"] == pytest.approx(0.0015)
    assert (found["total"]["wall_kwh"], found["total"]["cost"]) == ("6", "0.6")
    assert (found["currency"], found["tariffs"]["price"]["value"]) == ("EUR", "0.1")
    assert "co2e_g" not in found["rows"][0]
    assert "steps" not in found


def test_each_hour_has_its_price_and_an_hour_without_one_costs_nothing_known():
    steps = [
        (0, MARCH_S, KWH_J),
        (0, MARCH_S + HOUR_S, KWH_J),
        (1, MARCH_S + HOUR_S, KWH_J),
        (1, MARCH_S + 2 * HOUR_S, KWH_J),
    ]
    rows = [row("ada", 2 * KWH_J, sigma_j=72_000.0), row("bob", 2 * KWH_J), row("eve", 0)]
    document = report(rows, steps, HOUR_S)
    found = priced(document, Tariffs(price=day_of_prices("0.30", None, "-0.10")))
    assert column(found, "cost") == {"ada": "0.3", "bob": "-0.1", "eve": "0"}
    assert column(found, "unpriced_j") == {"ada": str(KWH_J), "bob": str(KWH_J), "eve": "0"}
    assert found["rows"][0]["cost_sigma"] == pytest.approx(0.3 * 36_000 / KWH_J)  # of the priced half
    assert (found["total"]["cost"], found["total"]["unpriced_j"]) == ("0.2", str(2 * KWH_J))
    nothing = priced(document, Tariffs(price=day_of_prices("0.30")))
    assert column(nothing, "cost") == {"ada": "0.3", "bob": None, "eve": "0"}  # unknown, and not 0
    assert nothing["rows"][1]["cost_sigma"] is None
    never = priced(report([row("ada", 1)], [(0, 0, 1)], 3600), Tariffs(price=day_of_prices("0.30")))
    assert never["total"]["cost"] is None


def test_time_without_a_pue_has_neither_wall_nor_cost():
    document = report([row("ada", 2 * KWH_J)], [(0, MARCH_S, KWH_J), (0, MARCH_S + HOUR_S, KWH_J)], HOUR_S)
    found = priced(document, Tariffs(TEN_CENTS, pue=day_of_prices("1.2", unit="", quantity=PUE)))
    assert (found["rows"][0]["wall_kwh"], found["rows"][0]["no_pue_j"]) == ("1.2", str(KWH_J))
    assert (found["rows"][0]["cost"], found["rows"][0]["unpriced_j"]) == ("0.12", str(KWH_J))


def test_marginal_emissions_are_never_average_ones():
    document = report([row("ada", KWH_J)], [(0, MARCH_S, KWH_J)], HOUR_S)
    carbon = day_of_prices("350.5", unit=CARBON_UNIT, quantity=CARBON, estimated={0})
    average = priced(document, Tariffs(carbon=carbon))
    assert (average["rows"][0]["co2e_g"], average["rows"][0]["co2e_estimated_j"]) == ("350.5", str(KWH_J))
    marginal = priced(document, Tariffs(carbon=day_of_prices("700", unit=CARBON_UNIT, quantity=CARBON, marginal=True)))
    assert marginal["rows"][0]["marginal_co2_g"] == "700"
    assert "co2e_g" not in marginal["rows"][0] | marginal["total"]
    assert "co2e_estimated_j" not in marginal["rows"][0]


@pytest.mark.parametrize(
    ("name", "quantity", "unit", "marginal", "what", "where"),
    [
        ("price", PRICE, "EUR/kWh", False, "price", "cost"),
        ("carbon", CARBON, CARBON_UNIT, False, "carbon intensity", "kg CO2e"),
        ("carbon", CARBON, CARBON_UNIT, True, "carbon intensity", "kg CO2 marg."),
        ("pue", PUE, "", False, "PUE", "wall kWh"),
    ],
)
def test_a_note_says_what_was_unknown_and_which_figure_lacks_it(name, quantity, unit, marginal, what, where):
    steps = [(0, MARCH_S, 3 * KWH_J), (0, MARCH_S + HOUR_S, KWH_J)]
    tariff = day_of_prices("1.5", unit=unit, quantity=quantity, marginal=marginal)
    document = priced(report([row("ada", 4 * KWH_J)], steps, HOUR_S), Tariffs(**{name: tariff}))
    (note,) = (note for note in notes_of(document) if note.startswith(INCOMPLETE))
    assert note.removeprefix(INCOMPLETE).strip() == (
        f"1.0000 kWh (25 %) were used when the {what} is unknown, and are not in the {where}."
    )


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=3), st.integers(1, 10**6), st.integers(0, 2))
def test_of_prices_that_change_within_a_step_each_has_its_share_of_the_time(prices, wh, late):
    """Prices of five minutes over a step of fifteen; where there is none, as much energy has no price."""
    five_us, first_us = 300_000_000, MARCH_S * 1_000_000 + late * 300_000_000
    edges = [(first_us + i * five_us, first_us + (i + 1) * five_us, price) for i, price in enumerate(prices)]
    tariff = tariff_of([TariffStep(a, b, Decimal(price)) for a, b, price in edges], "f", PRICE, "EUR/kWh", "")
    used_j = 3 * wh * 3600
    document = report([row("ada", used_j)], [(0, MARCH_S, used_j)], 900)
    found = priced(document, Tariffs(price=tariff))["rows"][0]
    inside = prices[: 3 - late]
    assert Decimal(found["cost"] or 0) == sum(inside) * Decimal(wh) / 1000
    assert int(found["unpriced_j"]) == (3 - len(inside)) * wh * 3600


@pytest.mark.parametrize(
    ("minutes", "needed"), [(1440, 86_400), (60, 3600), (120, 3600), (30, 1800), (15, 900), (5, 900)]
)
def test_steps_are_as_fine_as_the_values_change(minutes, needed):
    edges = [MARCH_S * 1_000_000 + i * minutes * 60_000_000 for i in range(4)]
    steps = [TariffStep(a, b, Decimal(i)) for i, (a, b) in enumerate(pairwise(edges))]
    tariff = tariff_of(steps, "f", PRICE, "EUR/kWh", "")
    assert Tariffs(price=tariff).step_s() == needed
    assert Tariffs(price=TEN_CENTS, carbon=tariff).step_s() == needed


def test_what_nobody_used_stands_last_or_is_shared_by_energy():
    rows = [
        row("_idle", 3 * KWH_J, sigma_j=30.0),
        row("_other", KWH_J),
        row("ada", 2 * KWH_J, sigma_j=40.0),
        row("bob", KWH_J),
    ]
    found = priced(report(rows), Tariffs(price=TEN_CENTS))
    assert list(column(found, "cost").items()) == [("ada", "0.2"), ("bob", "0.1"), ("_idle", "0.3"), ("_other", "0.1")]
    spread = priced(report(rows), Tariffs(price=TEN_CENTS), spread=True)
    # `_other` are jobs, which bear their share.
    assert list(column(spread, "cost").items()) == [("ada", "0.35"), ("bob", "0.175"), ("_other", "0.175")]
    assert column(spread, "spread_j") == {
        "ada": str(3 * KWH_J // 2),
        "bob": str(3 * KWH_J // 4),
        "_other": str(3 * KWH_J // 4),
    }
    assert spread["rows"][0]["sigma_j"] == pytest.approx((40**2 + 15**2) ** 0.5)
    assert spread["total"]["cost"] == found["total"]["cost"]
    assert spread["idle"] == "spread"
    alone = priced(report(rows[:1]), Tariffs(price=TEN_CENTS), spread=True)
    assert column(alone, "cost") == {"_idle": "0.3"}  # nobody is there to bear it


def test_gpu_hours_cost_by_model_beside_energy():
    rows = [row("ada", KWH_J, gpu_s=7200.0), row("bob", KWH_J, gpu_s=3600.0)]
    h100 = report([row("ada", 1, gpu_s=3600.0)])
    l40s = report([row("bob", 1, gpu_s=3600.0)])
    found = with_gpu_hours(priced(report(rows), Tariffs(price=TEN_CENTS)), [(Decimal("2.5"), h100), (Decimal(1), l40s)])
    assert column(found, "gpu_hours_cost") == {"ada": "2.5", "bob": "1"}
    assert column(found, "gpu_hours_unrated") == {"ada": 1.0, "bob": 0.0}
    assert (found["total"]["gpu_hours_cost"], found["total"]["gpu_hours_unrated"]) == ("3.5", 1.0)
    assert column(found, "cost") == {"ada": "0.1", "bob": "0.1"}


ENERGIES = st.lists(st.integers(0, 2**70), min_size=1, max_size=8)


@given(ENERGIES, st.decimals(-5, 5, places=5), st.decimals(1, 3, places=3), st.booleans(), st.booleans())
def test_rows_add_up_to_the_total_to_the_last_digit(energies, price, pue, nobody, spread):
    rows = [row(f"u{i}", joules(hnj)) for i, hnj in enumerate(energies)]
    rows += [row("_idle", joules(energies[0] // 3)), row("_unattributed", joules(energies[-1] // 7))] if nobody else []
    tariffs = Tariffs(Tariff.constant(PRICE, price), Tariff.constant(CARBON, abs(price)), Tariff.constant(PUE, pue))
    found = priced(report(rows), tariffs, spread=spread)
    for key in ("cost", "co2e_g", "wall_kwh"):
        assert sum(Decimal(one[key]) for one in found["rows"]) == Decimal(found["total"][key])
    for key in ("energy_j", "unpriced_j", "static_j", "dynamic_j"):
        assert sum(hnj_of(one[key]) for one in found["rows"]) == hnj_of(found["total"][key])
    for one in [*found["rows"], found["total"]]:
        parts = sum(hnj_of(one.get(key, "0")) for key in ("static_j", "dynamic_j", "spread_j"))
        assert parts == hnj_of(one["energy_j"])
    whole = priced(report(rows), tariffs)["total"]
    assert whole["cost"] == found["total"]["cost"]
    assert abs(Decimal(whole["cost"]) - sum(energies_kwh(rows)) * price * pue) <= Decimal("0.0000011") * (
        1 + abs(price)
    )


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(1, 2**62)), min_size=1, max_size=9),
    st.lists(st.none() | st.integers(0, 9), min_size=4, max_size=4).filter(
        lambda values: any(v is not None for v in values)
    ),
    st.sets(st.integers(0, 3)),
)
def test_who_bears_what_nobody_used_bears_what_is_estimated_and_unknown_of_it(used, values, guessed):
    names = ("ada", "bob", "_idle", "_unattributed")
    rows = [row(name, joules(sum(e for who, _, e in used if who == i))) for i, name in enumerate(names)]
    steps = [(who, MARCH_S + hour * HOUR_S, joules(hnj)) for who, hour, hnj in used]
    valued = [hour for hour, value in enumerate(values) if value is not None]
    tariffs = Tariffs(price=day_of_prices(*values, estimated=guessed))
    unknown = sum(hnj for _, hour, hnj in used if values[hour] is None)
    estimated = sum(hnj for _, hour, hnj in used if hour in valued and hour in guessed)
    for spread in (False, True):
        found = priced(report(rows, steps, HOUR_S), tariffs, spread=spread)
        for key, whole in (("unpriced_j", unknown), ("cost_estimated_j", estimated)):
            assert hnj_of(found["total"].get(key, "0")) == whole
            assert sum(hnj_of(one.get(key, "0")) for one in found["rows"]) == whole
            assert all(0 <= hnj_of(one.get(key, "0")) <= hnj_of(one["energy_j"]) for one in found["rows"])


def energies_kwh(rows):
    return [Decimal(hnj_of(one["energy_j"])) / 7_200_000_000_000_000 for one in rows]


@given(st.integers(-(2**70), 2**70), st.lists(st.integers(0, 2**70), min_size=1).filter(any))
def test_shares_add_up(whole, weights):
    found = shares(whole, weights)
    assert sum(found) == whole
    for share, weight in zip(found, weights, strict=True):
        assert abs(share - Decimal(whole) * weight / sum(weights)) < 2 + abs(whole) * Decimal("1e-27")
