"""What flags of money and carbon say: numbers and files, their columns, their currency, and what is refused."""

import argparse
from decimal import Decimal

import pytest

from wattshed.agent.errors import InputError
from wattshed.agent.reports.amounts import Tariffs
from wattshed.agent.reports.tariff_flags import add_tariff_flags, tariffs_of

HOURS = "2026-03-01T00:00Z,2026-03-01T01:00Z"


def parsed(*words):
    parser = argparse.ArgumentParser()
    add_tariff_flags(parser)
    return tariffs_of(parser.parse_args(words))


def test_who_asks_for_nothing_gets_nothing_but_the_currency():
    assert parsed() == Tariffs()
    assert parsed("--currency", "EUR") == Tariffs(currency="EUR")


@pytest.mark.parametrize("code", ["eur", "EU", "EURO", "E1R", "ÄÖÜ", "€€€", "Eur"])
def test_a_currency_is_three_capitals(code):
    with pytest.raises(InputError, match=r"^--currency: '.*' is not a currency's code; write three capitals"):
        parsed("--currency", code)


def test_each_number_is_what_its_flag_says():
    found = parsed("--price", "0.21", "--carbon", "350", "--pue", "1.3", "--currency", "CHF")
    assert [one.values for one in (found.price, found.carbon, found.pue)] == [
        (Decimal("0.21"),), (Decimal(350),), (Decimal("1.3"),),
    ]  # fmt: skip
    assert (found.currency, found.price.unit) == ("CHF", "CHF/kWh")
    for quantity in ("price", "carbon", "pue"):
        alone = parsed(f"--{quantity}", "1.5")
        given = {name for name in ("price", "carbon", "pue") if getattr(alone, name) is not None}
        assert given == {quantity}
        assert alone.currency == ""


def test_a_file_of_prices_brings_its_currency_and_others_do_not_matter(tmp_path):
    prices, pue = tmp_path / "prices.csv", tmp_path / "pue.csv"
    prices.write_text(f"ts,until,price_eur_per_mwh,other\n{HOURS},120,7\n")
    pue.write_text(f"ts,until,site:pue\n{HOURS},1.25\n")
    columns = "time=ts,end=until,price=price_eur_per_mwh,pue=site:pue"
    found = parsed("--price", str(prices), "--pue", str(pue), "--columns", columns, "--carbon", "5")
    assert (found.price.values, found.pue.values, found.carbon.values) == (
        (Decimal("0.12"),), (Decimal("1.25"),), (Decimal(5),),
    )  # fmt: skip
    assert found.currency == "EUR"
    assert found.step_s() == 3600
    with pytest.raises(InputError, match="USD"):
        parsed("--price", str(prices), "--columns", columns, "--currency", "USD")


def test_columns_are_of_a_file_that_is_given():
    said = r"^--columns: names no column of a price, carbon or pue file that is given$"
    with pytest.raises(InputError, match=said):
        parsed("--columns", "time=ts,price=p")
    with pytest.raises(InputError, match=said):
        parsed("--columns", "time=ts,price=p", "--carbon", "350")
