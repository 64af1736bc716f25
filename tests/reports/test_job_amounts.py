"""Money and carbon of one job: of this run alone, with what is not known of it."""

from dataclasses import replace
from decimal import Decimal

import pytest

from tests.reports.documents import MARCH_S, job
from wattshed.agent.inputs.tariffs.reading import read_tariff
from wattshed.agent.inputs.tariffs.tables import Asked
from wattshed.agent.reports.amounts import Tariffs
from wattshed.agent.reports.job_amounts import amounts_of, document_of, facts_of, notes_on

KWH_J = 3_600_000
HOUR_S = 3600


def row(one, kwh, **changed):
    return {
        "name": one["job"], "jobs": 1, "job": one["job"], "run": one["run"], "energy_j": str(kwh * KWH_J),
        "static_j": "0", "dynamic_j": str(kwh * KWH_J), "sigma_j": kwh * 0.01 * KWH_J, "active_s": 1.0, "held_s": 0.0,
    } | changed  # fmt: skip


class Reporting:
    """A source that keeps what it was asked and answers with one report."""

    name = "somebody"

    def __init__(self, rows, steps=(), step_s=None):
        total = {"jobs": 9, "energy_j": "1", "static_j": "0", "dynamic_j": "1", "sigma_j": 0.0}
        self.report = {
            "schema": "wattshed.report/1", "host": "n1", "now_s": MARCH_S, "by": "job", "since_s": None,
            "until_s": None, "boundary": "board", "rows": rows, "total": total | {"active_s": 0.0, "held_s": 0.0},
            "step_s": step_s, "steps": list(steps),
        }  # fmt: skip
        self.asked = []

    def ask(self, path, params):
        self.asked.append((path, dict(params)))
        return self.report


def constant(quantity, text, currency=""):
    return read_tariff(text, Asked(quantity, currency=currency))


ONE = job(sigma_j=0.01 * 2 * KWH_J)
BEFORE = job(run="7")


def test_numbers_are_multiplied_with_the_energy_of_this_run():
    source = Reporting([row(BEFORE, 50), row(ONE, 2)])
    tariffs = Tariffs(constant("price", "0.25", "EUR"), constant("carbon", "400"), constant("pue", "1.5"), "EUR")
    found = amounts_of(source, ONE, tariffs)
    assert source.asked == [("report", {"by": "job", "job": "slurm:1843001"})]
    assert facts_of(found) == {
        "at the wall": "3.000 ± 0.060 kWh", "cost": "0.750 ± 0.015 EUR", "carbon": "1.200 ± 0.024 kg CO2e",
    }  # fmt: skip
    document = document_of(found)
    assert (document["wall_kwh"], document["cost"], document["co2e_g"], document["currency"]) == (
        "3", "0.75", "1200", "EUR",
    )  # fmt: skip
    assert document["cost_sigma"] == pytest.approx(0.0075)
    assert document["tariffs"]["price"]["value"] == "0.25"
    assert "EUR: 0.25 EUR/kWh, of energy at the wall." in notes_on(found)


def test_hosts_of_one_run_add_up():
    found = amounts_of(Reporting([row(ONE, 1), row(BEFORE, 5), row(ONE, 3)]), ONE, Tariffs(constant("price", "0.1")))
    assert document_of(found)["cost"] == "0.4"
    assert facts_of(found)["cost"] == "0.4000 ± 0.0040 in the currency of --price"


@pytest.mark.parametrize(("above", "shown"), [(0, "2.000 ± 0.060 kWh"), (1e-7, "2.000 ± 0.061 kWh")])
def test_a_doubt_at_the_wall_is_rounded_up_by_however_little_it_is_more(above, shown):
    one = job(sigma_j=0.03 * KWH_J * (1 + above))
    found = amounts_of(Reporting([row(one, 2)]), one, Tariffs(pue=constant("pue", "1")))
    assert facts_of(found) == {"at the wall": shown}


def test_prices_over_time_are_asked_for_by_their_steps(tmp_path):
    path = tmp_path / "prices.csv"
    path.write_text(
        "start,end,price\n2026-03-01T00:00Z,2026-03-01T01:00Z,0.2\n2026-03-01T01:00Z,2026-03-01T02:00Z,-0.1\n"
    )
    steps = [[0, MARCH_S, str(9 * KWH_J), 1.0]]
    steps += [[1, MARCH_S + HOUR_S * hour, str((1 + hour) * KWH_J), 1.0] for hour in range(3)]
    source = Reporting([row(BEFORE, 9), row(ONE, 6)], steps, HOUR_S)
    found = amounts_of(source, ONE, Tariffs(read_tariff(str(path), Asked("price", currency="EUR")), currency="EUR"))
    assert source.asked[0][1]["step_s"] == "3600"
    assert Decimal(document_of(found)["cost"]) == Decimal("0.2") * 1 - Decimal("0.1") * 2
    assert document_of(found)["unpriced_j"] == str(3 * KWH_J)
    assert facts_of(found)["cost"].endswith("EUR, without 3.000 kWh whose value is unknown")


def test_what_has_no_value_is_unknown_and_never_nothing(tmp_path):
    path = tmp_path / "prices.csv"
    path.write_text("start,end,price\n2020-03-01T00:00Z,2020-03-01T01:00Z,0.2\n")
    source = Reporting([row(ONE, 2)], [[0, MARCH_S, str(2 * KWH_J), 1.0]], HOUR_S)
    found = amounts_of(source, ONE, Tariffs(read_tariff(str(path), Asked("price", currency="EUR")), currency="EUR"))
    assert facts_of(found) == {"cost": "unknown, without 2.000 kWh whose value is unknown"}
    assert document_of(found)["cost"] is None


def test_what_a_short_job_cost_is_not_rounded_to_nothing():
    source = Reporting([row(ONE, 2) | {"energy_j": "15590", "sigma_j": 300.0}])
    tariffs = Tariffs(constant("price", "0.3", "EUR"), constant("carbon", "400"), None, "EUR")
    facts = facts_of(amounts_of(source, job(energy_j="15590", sigma_j=300.0), tariffs))
    assert facts == {"cost": "0.001299 ± 0.000050 EUR", "carbon": "1.732 ± 0.067 g CO2e"}


@pytest.mark.parametrize(
    ("grams", "marginal", "shown"),
    [
        ("999.9", False, "1,000 ± 20 g CO2e"),
        ("1000", False, "1.000 ± 0.020 kg CO2e"),
        ("1000", True, "1.000 ± 0.020 kg CO2"),
        ("12", True, "12.00 ± 0.24 g CO2"),
    ],
)
def test_carbon_of_a_kilogram_and_more_is_in_kilograms(grams, marginal, shown):
    carbon = replace(constant("carbon", grams), marginal=marginal)
    found = amounts_of(Reporting([row(ONE, 1)]), ONE | {"sigma_j": 0.01 * KWH_J}, Tariffs(carbon=carbon))
    assert facts_of(found) == {"marginal carbon" if marginal else "carbon": shown}
    keys = ("marginal_co2_g", "marginal_co2_sigma_g") if marginal else ("co2e_g", "co2e_sigma_g")
    assert list(document_of(found)) == [*keys, "no_carbon_j", "currency", "tariffs"]


def test_the_total_of_a_run_is_of_its_rows_and_its_doubt_is_the_jobs():
    parts = {"static_j": "2", "dynamic_j": "3", "active_s": 4.5, "held_s": 0.25}
    found = amounts_of(Reporting([row(ONE, 1, **parts), row(BEFORE, 9), row(ONE, 3, **parts)]), ONE, Tariffs())
    assert found["total"] == {
        "jobs": 1, "energy_j": str(4 * KWH_J), "static_j": "4", "dynamic_j": "6", "sigma_j": ONE["sigma_j"],
        "active_s": 9.0, "held_s": 0.5,
    }  # fmt: skip
    none = amounts_of(Reporting([row(BEFORE, 9)]), ONE, Tariffs())
    assert (none["rows"], none["total"]["sigma_j"], none["total"]["energy_j"]) == ([], 0.0, "0")
