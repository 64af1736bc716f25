"""Prices, carbon intensities and PUE over time, as their publishers write them; and what is refused."""

from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.tariffs.reading import read_tariff
from wattshed.agent.inputs.tariffs.steps import Tariff, TariffStep, tariff_of
from wattshed.agent.inputs.tariffs.tables import Asked
from wattshed.agent.inputs.tariffs.units import unit_in

HOUR = 3_600_000_000
MARCH = 1_772_323_200_000_000  # 2026-03-01T00:00:00Z


def utc(text):
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


def read(tmp_path, text, quantity="price", *, name="file.csv", **asked):
    path = tmp_path / name
    path.write_text(text)
    return read_tariff(str(path), Asked(quantity, **asked))


def shown(tariff):
    starts, ends = tariff.from_us.tolist(), tariff.to_us.tolist()
    return list(zip(starts, ends, tariff.values, strict=True))


# --- what Electricity Maps exports -------------------------------------------------------------------------------

NEW = (
    "Datetime (UTC),Country,Zone name,Zone id,Carbon intensity gCO₂eq/kWh (direct),"
    "Carbon intensity gCO₂eq/kWh (Life cycle),Data estimated\n"
    "2026-03-01 00:00:00,Norway,South,NO1,20.5,31.25,false\n"
    "2026-03-01 01:00:00,Norway,South,NO1,,,true\n"
    "2026-03-01 02:00:00,Norway,South,NO1,22,33,true\n"
)
OLD = NEW.replace("Carbon intensity", "Carbon Intensity").replace("Life cycle", "LCA").replace("Zone id", "Zone Id")


@pytest.mark.parametrize("text", [NEW, OLD], ids=["since 2025", "before"])
def test_electricity_maps(text, tmp_path):
    found = read(tmp_path, text, "carbon")
    assert found.unit == "gCO2e/kWh"
    # An hour without a value has none: it is not 0, and neither neighbour's.
    assert shown(found) == [
        (MARCH, MARCH + HOUR, Decimal("31.25")),
        (MARCH + 2 * HOUR, MARCH + 3 * HOUR, Decimal(33)),
    ]
    assert found.estimated.tolist() == [False, True]
    assert read(tmp_path, text, "carbon", basis="direct").values == (Decimal("20.5"), Decimal(22))


def test_two_zones_are_not_one(tmp_path):
    with pytest.raises(InputError, match=r"file.csv:2:4: holds several zones \(NO1, NO2\)"):
        read(tmp_path, NEW + "2026-03-01 03:00:00,Norway,North,NO2,1,1,false\n", "carbon")


# --- what ENTSO-E exports ----------------------------------------------------------------------------------------

HEAD = '"MTU ({zone})","Area","Sequence","Day-ahead Price (EUR/MWh)"\n'


def day_ahead(rows, zone="UTC", sequence="Without Sequence"):
    return HEAD.format(zone=zone) + "".join(f'"{span}","BZN|FR","{sequence}","{price}"\n' for span, price in rows)


def test_two_auctions_are_never_mixed(tmp_path):
    spans = [f"01/03/2026 00:{a:02}:00 - 01/03/2026 00:{a + 15:02}:00" for a in (0, 15, 30)]
    first = day_ahead(zip(spans, ["80.40", "-5.00", ""], strict=True), sequence="Sequence 1")
    second = day_ahead(zip(spans, ["79.90", "3.10", "61"], strict=True), sequence="Sequence 2")
    both = first + second.partition("\n")[2]
    with pytest.raises(InputError, match=r"Sequence 1, Sequence 2\); choose with --sequence \(1, 2\)"):
        read(tmp_path, both)
    found = read(tmp_path, both, sequence="1")
    assert (found.unit, found.currency) == ("EUR/kWh", "EUR")
    quarter = HOUR // 4
    assert shown(found) == [
        (MARCH, MARCH + quarter, Decimal("0.0804")),
        (MARCH + quarter, MARCH + 2 * quarter, Decimal("-0.005")),
    ]
    with pytest.raises(InputError, match="the file has no 'Sequence 3'"):
        read(tmp_path, both, sequence="3")


MARKED = [
    ("25/10/2026 01:00:00 - 25/10/2026 02:00:00", 1),
    ("25/10/2026 02:00:00 (CEST) - 25/10/2026 03:00:00 (CEST)", 2),
    ("25/10/2026 02:00:00 (CET) - 25/10/2026 03:00:00 (CET)", 3),
    ("25/10/2026 03:00:00 - 25/10/2026 04:00:00", 4),
]
ACROSS = [
    ("25/10/2026 01:30:00 - 25/10/2026 02:00:00 (CEST)", 1),
    ("25/10/2026 02:00:00 (CEST) - 25/10/2026 02:00:00 (CET)", 2),
    ("25/10/2026 02:00:00 (CET) - 25/10/2026 03:00:00", 3),
]
UNMARKED = [(span.replace(" (CEST)", "").replace(" (CET)", ""), price) for span, price in MARKED]


@pytest.mark.parametrize("rows", [MARKED, ACROSS, UNMARKED], ids=["marked", "across the change", "by order"])
def test_the_hour_that_comes_twice(rows, tmp_path):
    found = shown(read(tmp_path, day_ahead(rows, "CET/CEST")))
    assert [price * 1000 for _, _, price in found] == [price for _, price in rows]
    for (_, end, _), (start, _, _) in pairwise(found):
        assert end == start
    assert found[-1][1] == utc("2026-10-25T03:00") if rows is not ACROSS else utc("2026-10-25T02:00")


def test_the_hour_that_never_comes(tmp_path):
    rows = [("29/03/2026 01:45:00 - 29/03/2026 03:00:00", 1), ("29/03/2026 03:00:00 - 29/03/2026 03:15:00", 2)]
    found = shown(read(tmp_path, day_ahead(rows, "CET/CEST")))
    assert [(a, b) for a, b, _ in found] == [
        (utc("2026-03-29T00:45"), utc("2026-03-29T01:00")),
        (utc("2026-03-29T01:00"), utc("2026-03-29T01:15")),
    ]


def a44(curve, points, sequence="1"):
    inside = "".join(f"<Point><position>{p}</position><price.amount>{v}</price.amount></Point>" for p, v in points)
    return (
        '<?xml version="1.0"?><Publication_MarketDocument xmlns="urn:iec62325.351:tc57wg16:451-3:publicationdocument'
        f':7:3"><type>A44</type><TimeSeries><currency_Unit.name>EUR</currency_Unit.name><price_Measure_Unit.name>MWH'
        "</price_Measure_Unit.name><classificationSequence_AttributeInstanceComponent.position>"
        f"{sequence}</classificationSequence_AttributeInstanceComponent.position><curveType>{curve}</curveType><Period>"
        "<timeInterval><start>2026-03-01T00:00Z</start><end>2026-03-01T01:30Z</end></timeInterval>"
        f"<resolution>PT15M</resolution>{inside}</Period></TimeSeries></Publication_MarketDocument>"
    )


def test_points_that_are_left_out(tmp_path):
    """Curve A03 leaves out what repeats; in A01 what is missing is missing."""
    points = [(1, 100.5), (2, 90), (5, -1.25)]
    held = read(tmp_path, a44("A03", points), name="prices.xml")
    assert [value * 1000 for value in held.values] == [Decimal("100.5"), 90, 90, 90, Decimal("-1.25"), Decimal("-1.25")]
    assert int(held.to_us[-1]) == MARCH + 3 * HOUR // 2
    bare = read(tmp_path, a44("A01", points), name="prices.xml")
    assert [value * 1000 for value in bare.values] == [Decimal("100.5"), 90, Decimal("-1.25")]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (a44("A03", [(2, 1)]), "points"),
        (a44("A03", [(1, 1), (7, 1)]), "to 7"),
        (a44("A03", [(1, "none")]), "'none'"),
        (a44("A03", [(1, 1)]).replace("PT15M", "PT0M"), "resolution"),
        (a44("A03", [(1, 1)]).replace("A44", "A65"), "type A44"),
        (a44("A03", [(1, 1)])[:-9], "prices.xml:1:.*XML"),
        (a44("A03", [(1, 1)]).replace("00:00Z", "00:00"), "UTC"),
    ],
)
def test_documents_that_are_refused(text, why, tmp_path):
    with pytest.raises(InputError, match=why):
        read(tmp_path, text, name="prices.xml")


# --- WattTime ----------------------------------------------------------------------------------------------------

MOER = (
    '{"data":[{"point_time":"2026-03-01T00:00:00+00:00","value":1000},'
    '{"point_time":"2026-03-01T00:10:00+00:00","value":1.5}],'
    '"meta":{"data_point_period_seconds":300,"region":"X","signal_type":"co2_moer","units":"lbs_co2_per_mwh"}}'
)


def test_watttime_is_in_pounds_and_marginal(tmp_path):
    found = read(tmp_path, MOER, "carbon", name="answer.json")
    assert found.values == (Decimal("453.59237"), Decimal("0.680388555"))
    assert (found.marginal, found.to_us.tolist()) == (True, [MARCH + HOUR // 12, MARCH + HOUR // 4])
    assert not read(tmp_path, MOER.replace("co2_moer", "co2_aoer"), "carbon", name="answer.json").marginal
    for broken, why in [(MOER[:-1], "answer.json:1:"), (MOER.replace("lbs_", "kg_"), "only lbs"), ("{}", "WattTime")]:
        with pytest.raises(InputError, match=why):
            read(tmp_path, broken, "carbon", name="answer.json")


# --- one's own, and those of other tools -------------------------------------------------------------------------


def test_ones_own_table(tmp_path):
    text = "start,end,price\n2026-03-01T00:00Z,2026-03-01T06:00Z,0.20\n2026-03-01T08:00Z,2026-03-01T09:00Z,-0.01\n"
    found = read(tmp_path, text, currency="CHF")
    assert (found.unit, found.values) == ("CHF/kWh", (Decimal("0.20"), Decimal("-0.01")))
    parts = list(found.within(MARCH + 5 * HOUR, MARCH + 10 * HOUR))
    assert [(int((b - a) / HOUR), value) for a, b, value in parts] == [
        (1, Decimal("0.20")), (2, None), (1, Decimal("-0.01")), (1, None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "quantity", "why"),
    [
        ("start,end,price\n2026-03-01,2026-03-02,dear\n", "price", r"file.csv:2:3: price: 'dear' is not a number"),
        ("start,end,price\n2026-03-02,2026-03-01,1\n", "price", r"file.csv:2: ends before it begins"),
        ("start,end,price\nsoon,2026-03-01,1\n", "price", r"file.csv:2:1: start: 'soon' is not a time"),
        ("start,end,pue\n2026-03-01,2026-03-02,0.9\n", "pue", r"file.csv:2:3: pue: 0.9 is below 1"),
        ("start,end,carbon_g_per_kwh\n2026-03-01,2026-03-02,-1\n", "carbon", "below 0"),
        ("start,end,price\n2026-03-01,2026-03-02,1\n", "carbon", "holds price, not carbon; hand it to --price"),
        ("start,end,price\n2026-03-01,2026-03-02,\n", "price", "no row holds a price"),
        ("start,end,price\n2026-03-01,2026-03-03,1\n2026-03-02,2026-03-04,2\n", "price", "3:3: overlaps line 2"),
        ("a,b\n1,2\n", "price", "not a table of price that is known"),
        ("start,end,price\n", "price", "no row"),
    ],
)
def test_tables_that_are_refused(text, quantity, why, tmp_path):
    with pytest.raises(InputError, match=why):
        read(tmp_path, text, quantity)


def test_a_row_that_is_there_twice_is_one(tmp_path):
    row = "2026-03-01,2026-03-02,1\n"
    assert read(tmp_path, "start,end,price\n" + row + row).values == (Decimal(1),)


def test_tables_of_other_tools_say_their_unit(tmp_path):
    text = "hour;Strompreis (ct/kWh)\n2026-03-01T00:00;31,5\n2026-03-01T01:00;30\n"
    columns = {"time": "hour", "price": "Strompreis (ct/kWh)"}
    found = read(tmp_path, text, columns=columns)
    assert (found.unit, found.values) == ("EUR/kWh", (Decimal("0.315"), Decimal("0.30")))
    bare = text.replace(" (ct/kWh)", "")
    with pytest.raises(InputError, match=r"file.csv:1:2: column 'Strompreis' does not say its unit"):
        read(tmp_path, bare, columns=columns | {"price": "Strompreis"})
    with pytest.raises(InputError, match=r"time=\.\.\. is missing"):
        read(tmp_path, text, columns={"price": "Strompreis (ct/kWh)"})
    with pytest.raises(InputError, match="has no column 'when'"):
        read(tmp_path, text, columns=columns | {"time": "when"})


@pytest.mark.parametrize(
    ("name", "quantity", "factor", "unit"),
    [
        ("Day-ahead Price (EUR/MWh)", "price", "0.001", "EUR/kWh"),
        ("price_usd_per_kwh", "price", "1", "USD/kWh"),
        ("price [€/MWh]", "price", "0.001", "EUR/kWh"),
        ("Strom ct/kWh", "price", "0.01", "EUR/kWh"),
        ("rate (p/kWh)", "price", "0.01", "GBP/kWh"),
        ("carbon_g_per_kwh", "carbon", "1", "gCO2e/kWh"),
        ("Carbon intensity kgCO2eq/MWh", "carbon", "1", "gCO2e/kWh"),
        ("lbs_co2_per_mwh", "carbon", "0.45359237", "gCO2e/kWh"),
        ("t CO2/GWh", "carbon", "1", "gCO2e/kWh"),
    ],
)
def test_units_in_names(name, quantity, factor, unit):
    assert unit_in(name, quantity) == (Decimal(factor), unit)


@pytest.mark.parametrize("name", ["price", "price per unit", "c/kWh", "EUR", "kWh", "watts/kW", "carbon"])
def test_names_without_a_unit(name):
    assert unit_in(name, "price") is None


# --- constants, and what holds of all ----------------------------------------------------------------------------


def test_numbers():
    found = read_tariff("0.31", Asked("price", currency="EUR"))
    assert (found.unit, list(found.within(5, 9))) == ("EUR/kWh", [(5, 9, Decimal("0.31"))])
    for text, quantity in (("nan", "price"), ("0.99", "pue"), ("-1", "carbon")):
        with pytest.raises(InputError, match=f"--{quantity}"):
            read_tariff(text, Asked(quantity))


def test_nothing_is_converted(tmp_path):
    rows = [("01/03/2026 00:00:00 - 01/03/2026 00:15:00", "1")]
    with pytest.raises(InputError, match="prices are in EUR, not USD; nothing is converted: use --currency EUR"):
        read(tmp_path, day_ahead(rows), currency="USD")


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(1, 5), st.none() | st.integers(-3, 3)), min_size=1, max_size=8),
    st.integers(-5, 60),
    st.integers(0, 40),
)
def test_a_stretch_is_taken_apart_whole(gaps, begin, length):
    """The pieces follow each other, cover all of it, and each has the value that a look at every moment finds."""
    steps, at = [], 0
    for gap, size, value in gaps:
        at += gap
        steps.append(TariffStep(at, at + size, None if value is None else Decimal(value)))
        at += size
    if all(step.value is None for step in steps):
        return
    tariff = tariff_of(reversed(steps), "f", "price", "EUR/kWh", "")
    at_each = {t: step.value for step in steps for t in range(step.from_us, step.to_us)}
    parts = list(tariff.within(begin, begin + length))
    assert parts[0][0] == begin
    assert parts[-1][1] == begin + length
    assert all(a[1] == b[0] for a, b in pairwise(parts))
    assert all(a < b for a, b, _ in parts) or length == 0
    if length == 0:
        assert [value for _, _, value in parts] == [at_each.get(begin)]
    for a, b, value in parts:
        assert {at_each.get(t) for t in range(a, b)} <= {value}


def test_a_constant_is_one_step():
    tariff = Tariff.constant("pue", Decimal("1.3"))
    assert np.diff(np.stack([tariff.from_us, tariff.to_us]), axis=0).item() > 0
    assert list(tariff.within(0, 10)) == [(0, 10, Decimal("1.3"))]
