"""Exports of grids and weather as their publishers write them: units, clocks, areas, holes; and what is refused."""

import math
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from wattshed.agent.errors import InputError
from wattshed.agent.fleet.decide.grid_exports import HourlyChoice
from wattshed.agent.fleet.decide.hourly_sources import read_hourly, read_sources
from wattshed.agent.fleet.decide.hourly_table import in_typical_year

LB = 0.45359237


def hour(text):
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() / 3600)


@pytest.fixture
def read(tmp_path):
    """Read files of the given texts as those of one site: hour -> columns, and the tables."""

    def of(*texts, columns=None, **choice):
        paths = []
        for i, text in enumerate(texts):
            path = tmp_path / f"{i}.csv"
            path.write_text(text)
            paths.append(str(path))
        return read_sources(paths, {"time": "time", **(columns or {})}, HourlyChoice(**choice))

    return of


def shown(tables, name):
    """Hours (UTC) and values of a column."""
    (part,) = (part for part in tables.parts if name in part.values)
    return dict(zip(part.hours.tolist(), part.values[name].tolist(), strict=True))


MAPS = (
    "Datetime (UTC),Country,Zone name,Zone id,Carbon intensity gCO₂eq/kWh (direct),Carbon intensity gCO₂eq/kWh "
    "(Life cycle),Carbon-free energy percentage (CFE%),Renewable energy percentage (RE%),Data source,Data estimated,"
    "Data estimation method\n"
    "2024-01-01 00:00:00,Germany,Germany,DE,230.43,286.46,58.57,52.83,entsoe.eu,false,\n"
    "2024-01-01 01:00:00,Germany,Germany,DE,,,,,entsoe.eu,true,TIME_SLICER_AVERAGE\n"
    "2024-01-01 02:00:00,Germany,Germany,DE,2.54,30.02,100.00,60.13,entsoe.eu,false,\n"
)
OLD_MAPS = (
    "Datetime (UTC),Country,Zone Name,Zone Id,Carbon Intensity gCO₂eq/kWh (direct),Carbon Intensity gCO₂eq/kWh (LCA),"
    "Low Carbon Percentage,Renewable Percentage,Data Source,Data Estimated,Data Estimation Method\n"
    "2024-01-01 00:00:00,Germany,Germany,DE,230.43,286.46,58.57,52.83,entsoe.eu,false,\n"
    "2024-01-01 01:00:00,Germany,Germany,DE,,,,,entsoe.eu,true,TIME_SLICER_AVERAGE\n"
    "2024-01-01 02:00:00,Germany,Germany,DE,2.54,30.02,100.00,60.13,entsoe.eu,false,\n"
)
NEW_YEAR = hour("2024-01-01")


@pytest.mark.parametrize("text", [MAPS, OLD_MAPS, "\ufeff" + MAPS.replace(" 00:00:00", "T00:00:00.000Z")])
def test_electricity_maps(read, text):
    found = read(text)
    assert shown(found, "carbon_g_per_kwh") == pytest.approx(
        {NEW_YEAR: 286.46, NEW_YEAR + 1: math.nan, NEW_YEAR + 2: 30.02}, nan_ok=True
    )
    assert shown(found, "clean_share") == pytest.approx(
        {NEW_YEAR: 0.5857, NEW_YEAR + 1: math.nan, NEW_YEAR + 2: 1.0}, nan_ok=True
    )
    assert found.said == ("carbon by Electricity Maps is life cycle emissions",)
    assert shown(read(text, basis="direct"), "carbon_g_per_kwh")[NEW_YEAR] == 230.43


def test_several_zones_or_auctions_are_never_mixed(read):
    two = MAPS + "2024-01-01 00:00:00,France,France,FR,20,30,95,30,rte,false,\n"
    with pytest.raises(InputError, match=r"holds several at once \(DE, FR\); choose one with area"):
        read(two)
    assert shown(read(two, area="FR"), "carbon_g_per_kwh") == {NEW_YEAR: 30.0}
    with pytest.raises(InputError, match="area: the file has no 'GB'"):
        read(two, area="GB")


def day_ahead(rows, zone="CET/CEST", area="BZN|DE-LU", sequence="Without Sequence"):
    head = f'"MTU ({zone})","Area","Sequence","Day-ahead Price (EUR/MWh)","Intraday Period ({zone})","Intraday Price"\n'
    return head + "".join(f'"{span}","{area}","{sequence}","{price}","",""\n' for span, price in rows)


OLD_DAY_AHEAD = '"MTU (CET/CEST)","Day-ahead Price [EUR/MWh]","Currency","BZN|DE-LU"\n'


def local_rows(first, last, step, written):
    """Rows as a clock in Berlin shows them, the repeated hour twice, and the hour of each in UTC."""
    zone, at = ZoneInfo("Europe/Berlin"), first.astimezone(UTC)
    rows, hours = [], []
    while at < last.astimezone(UTC):
        begin, end = at.astimezone(zone), (at + step).astimezone(zone)
        rows.append((f"{begin:{written}} - {end:{written}}", len(rows)))
        hours.append(int(at.timestamp() // 3600))
        at += step
    return rows, hours


@pytest.mark.parametrize("day", ["2025-10-26", "2025-03-30", "2025-06-01"])
@pytest.mark.parametrize("minutes", [15, 60])
@pytest.mark.parametrize("old", [False, True])
def test_day_ahead_prices_across_the_change_of_clocks(read, day, minutes, old):
    zone, step = ZoneInfo("Europe/Berlin"), timedelta(minutes=minutes)
    written = "%d.%m.%Y %H:%M" if old else "%d/%m/%Y %H:%M:%S"
    first = datetime.fromisoformat(day).replace(tzinfo=zone)
    rows, hours = local_rows(first, first + timedelta(days=1), step, written)
    before = OLD_DAY_AHEAD + "".join(f'"{span}","{price}","EUR",""\n' for span, price in rows)
    expected = {h: np.mean([p for (_, p), at in zip(rows, hours, strict=True) if at == h]) / 1000 for h in hours}
    found = read(before if old else day_ahead(rows))
    assert shown(found, "price") == pytest.approx(expected)
    assert list(expected) == list(range(min(hours), max(hours) + 1))
    assert found.currencies == {"EUR"}


def test_marks_of_the_repeated_hour_and_cells_without_a_price(read):
    rows = [
        ("26/10/2025 01:00:00 - 26/10/2025 02:00:00", -500.0),
        ("26/10/2025 02:00:00 (CET) - 26/10/2025 03:00:00 (CET)", 3),
        ("26/10/2025 02:00:00 (CEST) - 26/10/2025 03:00:00 (CEST)", 2),
        ("26/10/2025 03:00:00 - 26/10/2025 04:00:00", "n/e"),
        ("26/10/2025 04:00:00 - 26/10/2025 05:00:00", "-"),
    ]
    t = hour("2025-10-25T23:00")
    assert shown(read(day_ahead(rows)), "price") == pytest.approx(
        {t: -0.5, t + 1: 0.002, t + 2: 0.003, t + 3: math.nan, t + 4: math.nan}, nan_ok=True
    )


def test_utc_exports_and_auctions(read):
    first = day_ahead([("01/01/2024 00:00:00 - 01/01/2024 00:15:00", 40)], "UTC", "BZN|AT", "Sequence Sequence 1")
    second = day_ahead([("01/01/2024 00:00:00 - 01/01/2024 00:15:00", 80)], "UTC", "BZN|AT", "Sequence Sequence 2")
    both = first + second.partition("\n")[2]
    with pytest.raises(InputError, match=r"holds several at once .*choose one with sequence"):
        read(both)
    assert shown(read(both, sequence="2", area="AT"), "price") == {NEW_YEAR: 0.08}


def test_ember_energy_charts_and_smard(read):
    ember = (
        "Country,ISO3 Code,Datetime (UTC),Datetime (Local),Price (EUR/MWhe)\n"
        "Germany,DEU,2024-01-01 00:00:00,2024-01-01 01:00:00,39.91\nGermany,DEU,2024-01-01 01:00:00,,-0.04\n"
    )
    charts = (
        '"Date (GMT+1)","Load","Day Ahead Auction (DE-LU)"\n"","Power (MW)","Price (EUR/MWh, EUR/tCO2)"\n'
        "2024-01-01T01:00+01:00,40000,39.91\n2024-01-01T02:00+01:00,39000,-0.04\n"
    )
    smard = (
        "\ufeffDatum von;Datum bis;Deutschland/Luxemburg [€/MWh] Originalauflösungen;Belgien [€/MWh] Original\n"
        "01.01.2024 01:00;01.01.2024 02:00;39,91;1.039,91\n01.01.2024 02:00;01.01.2024 03:00;-0,04;-\n"
    )
    english = (
        "Start date;End date;Germany/Luxembourg [€/MWh] Calculated resolutions\n"
        "Jan 1, 2024 1:00 AM;Jan 1, 2024 2:00 AM;39.91\nJan 1, 2024 2:00 AM;Jan 1, 2024 3:00 AM;-0.04\n"
    )
    before = (
        "Datum;Anfang;Ende;Deutschland/Luxemburg [€/MWh] Originalauflösungen\n"
        "01.01.2024;01:00;02:00;39,91\n01.01.2024;02:00;03:00;-0,04\n"
    )
    expected = {NEW_YEAR: 0.03991, NEW_YEAR + 1: -0.00004}
    for text, area in ((ember, ""), (charts, ""), (smard, "Deutschland"), (english, ""), (before, "")):
        assert shown(read(text, area=area), "price") == pytest.approx(expected)
    assert shown(read(smard, area="Belgien"), "price") == pytest.approx(
        {NEW_YEAR: 1.03991, NEW_YEAR + 1: math.nan}, nan_ok=True
    )
    with pytest.raises(InputError, match=r"holds several at once .*choose one with area"):
        read(smard)


BALANCE = (
    "Balancing Authority,Data Date,Hour Number,Local Time at End of Hour,UTC Time at End of Hour,Demand (MW),"
    "Net Generation (MW) from Coal,Net Generation (MW) from Natural Gas,Net Generation (MW) from Nuclear,"
    "Net Generation (MW) from Solar without Integrated Battery Storage,"
    "Net Generation (MW) from Solar with Integrated Battery Storage,Net Generation (MW) from Battery Storage,"
    "Net Generation (MW) from Coal (Adjusted),Region\n"
    'ERCO,01/01/2024,1,01/01/2024 1:00:00 AM,01/01/2024 7:00:00 AM,"41,000","9,999","3,000","1,000",-50,0,500,'
    '"1,000",TEX\n'
    "ERCO,07/01/2024,13,07/01/2024 1:00:00 PM,07/01/2024 6:00:00 PM,1,1,0,0,100,300,,0,TEX\n"
    "ERCO,07/01/2024,14,07/01/2024 2:00:00 PM,07/01/2024 7:00:00 PM,1,,,,,,,,TEX\n"
    "PJM,07/01/2024,14,07/01/2024 2:00:00 PM,07/01/2024 6:00:00 PM,1,,,,,,,9,MIDA\n"
)


def test_eia_930_is_by_fuel_and_by_the_end_of_the_hour(read):
    found = read(BALANCE, area="ERCO")
    first, second = hour("2024-01-01T06:00"), hour("2024-07-01T17:00")
    mean = (1000 * 820 + 3000 * 490 + 1000 * 12) / 5000
    assert shown(found, "carbon_g_per_kwh") == pytest.approx(
        {first: mean, second: 48.0, second + 1: math.nan}, nan_ok=True
    )
    assert shown(found, "clean_share") == pytest.approx({first: 0.2, second: 1.0, second + 1: math.nan}, nan_ok=True)
    direct = shown(read(BALANCE, area="ERCO", basis="direct"), "carbon_g_per_kwh")
    assert direct[first] == pytest.approx((1000 * 2.31 + 3000 * 0.96) / 5000 * LB * 1000)
    with pytest.raises(InputError, match="choose one with area"):
        read(BALANCE)


def test_watttime_is_marginal(read, tmp_path):
    five = [f"2019-02-28 00:{m:02}:00+00:00,{m}" for m in range(0, 60, 5)]
    found = read("timestamp,MOER\n" + "\n".join(five) + "\n")
    assert shown(found, "carbon_g_per_kwh") == pytest.approx({hour("2019-02-28"): 27.5 * LB})
    assert found.marginal
    sgip = read("timestamp,MOER version 2.0\n2022-02-28T00:00:00+00:00,0.402\n")
    assert shown(sgip, "carbon_g_per_kwh") == pytest.approx({hour("2022-02-28"): 402.0})


def test_documents_are_read_as_elsewhere(read):
    """What the interfaces of ENTSO-E and WattTime answer: quarters are averaged, a step of hours is each of them."""
    a44 = (
        '<?xml version="1.0"?><Publication_MarketDocument xmlns="urn:iec62325.351:tc57wg16:451-3:publicationdocument:'
        '7:3">'
        "<type>A44</type><TimeSeries><currency_Unit.name>EUR</currency_Unit.name><price_Measure_Unit.name>MWH"
        "</price_Measure_Unit.name><curveType>A03</curveType><Period><timeInterval><start>2024-01-01T00:00Z</start>"
        "<end>2024-01-01T02:00Z</end></timeInterval><resolution>{}</resolution>{}</Period></TimeSeries>"
        "</Publication_MarketDocument>"
    )
    point = "<Point><position>{}</position><price.amount>{}</price.amount></Point>"
    quarters = a44.format("PT15M", "".join(point.format(i + 1, 10 * i) for i in range(8)))
    assert shown(read(quarters), "price") == pytest.approx({NEW_YEAR: 0.015, NEW_YEAR + 1: 0.055})
    hours = a44.format("PT60M", point.format(1, 70))
    assert shown(read(hours), "price") == pytest.approx({NEW_YEAR: 0.07, NEW_YEAR + 1: 0.07})
    watttime = (
        '{"data":[{"point_time":"2024-01-01T00:00:00+00:00","value":1000},{"point_time":"2024-01-01T00:05:00+00:00",'
        '"value":500}],"meta":{"region":"CAISO_NORTH","signal_type":"co2_moer","units":"lbs_co2_per_mwh",'
        '"data_point_period_seconds":300}}'
    )
    found = read(watttime)
    assert shown(found, "carbon_g_per_kwh") == pytest.approx({NEW_YEAR: 750 * LB})
    assert found.marginal


METEO = (
    "latitude,longitude,elevation,utc_offset_seconds,timezone,timezone_abbreviation\n"
    "52.54833,13.407822,38.0,3600,Europe/Berlin,GMT+1\n\n"
    "time,temperature_2m (°C),relative_humidity_2m (%)\n"
    "2024-07-01T02:00,14.5,80\n2024-07-01T03:00,,81\n2024-07-01T04:00,13.1,82\n"
)
PVGIS = (
    "Latitude (decimal degrees): 29.760\r\nLongitude (decimal degrees): -95.370\r\nElevation (m): 18.0\r\n"
    "Irradiance Time Offset (h): 0.0\r\nmonth,year\r\n1,2014\r\n2,2008\r\n"
    "time(UTC),T2m,RH,G(h),Gb(n),Gd(h),IR(h),WS10m,WD10m,SP\r\n"
    "20140101:0000,14.1,66.65,0.0,-0.0,0.0,331.94,1.85,109.0,102551.0\r\n"
    "20080228:2300,15.2,60,0,0,0,300,1,100,102000\r\n20080301:0000,16.3,60,0,0,0,300,1,100,102000\r\n\r\n"
    "T2m: 2-m air temperature (degree Celsius)\r\nRH: relative humidity (%)\r\n\r\nPVGIS (c) European Union, 2001\r\n"
)


def test_open_meteo_has_one_offset_for_all_rows(read):
    """Its clock does not follow the change: in July, too, it is that of the day of the download (its issue 1255)."""
    t = hour("2024-07-01T01:00")
    assert shown(read(METEO), "outdoor_c") == pytest.approx({t: 14.5, t + 1: math.nan, t + 2: 13.1}, nan_ok=True)
    fahrenheit = METEO.replace("°C", "°F").replace("14.5", "50")
    assert shown(read(fahrenheit), "outdoor_c")[t] == pytest.approx(10.0)
    stamps = METEO.replace("2024-07-01T02:00", str(t * 3600)).replace("2024-07-01T03:00,,81\n", "")
    assert shown(read(stamps.replace("2024-07-01T04:00", str((t + 2) * 3600))), "outdoor_c") == {t: 14.5, t + 2: 13.1}


def test_a_typical_year_stands_for_each(read):
    found = read(PVGIS)
    at = np.array([hour(f"{year}-{rest}") for year in (2023, 2024) for rest in ("01-01", "02-28T23", "03-01", "03-02")])
    leap = np.array([hour("2024-02-29T23"), hour("2024-02-29T22")])
    assert found.at(at)["outdoor_c"] == pytest.approx([14.1, 15.2, 16.3, math.nan] * 2, nan_ok=True)
    assert found.at(leap)["outdoor_c"] == pytest.approx([15.2, math.nan], nan_ok=True)
    real = PVGIS.replace("month,year\r\n1,2014\r\n2,2008\r\n", "").replace("time(UTC),T2m,RH,", "time,T2m,H_sun,")
    assert shown(read(real.replace("20080228:2300", "20140101:0110")), "outdoor_c")[hour("2014-01-01T01")] == 15.2


@settings(max_examples=examples(60), deadline=None)
@given(st.integers(0, 1_140_000))
def test_an_hour_in_the_typical_year_has_the_same_name(since_1970):
    at = datetime.fromtimestamp(since_1970 * 3600, UTC)
    (found,) = in_typical_year(np.array([since_1970])).tolist()
    assert datetime.fromtimestamp(found * 3600, UTC) == at.replace(year=2000)


def test_nsrdb_noaa_and_nasa_power(read):
    nsrdb = (
        "Source,Location ID,City,State,Country,Latitude,Longitude,Time Zone,Elevation,Local Time Zone,Version\n"
        "NSRDB,538838,-,-,-,30.89,-102.9,-6,915,-6,4.1.2\nYear,Month,Day,Hour,Minute,Temperature,Relative Humidity\n"
        "2024,1,1,0,0,4.0,53.07\n2024,1,1,0,30,5.0,53.07\n2024,1,1,1,0,26.5,30.0\n"
    )
    t = hour("2024-01-01T06:00")
    assert shown(read(nsrdb), "outdoor_c") == pytest.approx({t: 4.5, t + 1: 26.5})
    noaa = (
        '"STATION","DATE","SOURCE","LATITUDE","LONGITUDE","NAME","REPORT_TYPE","TMP","DEW"\n'
        '"72503014732","2024-01-01T06:53:00","4","40.8","-74.0","CENTRAL PARK, NY US","FM-15","+0050,5","+0020,5"\n'
        '"72503014732","2024-01-01T07:53:00","4","40.8","-74.0","CENTRAL PARK, NY US","FM-15","-0054,1","+0024,5"\n'
        '"72503014732","2024-01-01T08:53:00","4","40.8","-74.0","CENTRAL PARK, NY US","FM-15","+9999,9","+9999,9"\n'
        '"72503014732","2024-01-01T09:53:00","4","40.8","-74.0","CENTRAL PARK, NY US","FM-15","+0999,3","+0024,5"\n'
    )
    assert shown(read(noaa), "outdoor_c") == pytest.approx(
        {t: 5.0, t + 1: -5.4, t + 2: math.nan, t + 3: math.nan}, nan_ok=True
    )
    power = (
        "-BEGIN HEADER-\nNASA/POWER Source Native Resolution Hourly Data \n"
        "Dates (month/day/year): 01/01/2024 through 01/01/2024 in {clock}\n"
        "Location: Latitude  32.9   Longitude -97.04 \n"
        "T2M                   MERRA-2 Temperature at 2 Meters (C) \n-END HEADER-\n"
        "YEAR,MO,DY,HR,T2M,PS\n2024,1,1,0,2.57,97.98\n2024,1,1,1,-999,98.05\n"
    )
    assert shown(read(power.format(clock="LST")), "outdoor_c") == pytest.approx({t: 2.57, t + 1: math.nan}, nan_ok=True)
    assert shown(read(power.format(clock="UTC")), "outdoor_c")[NEW_YEAR] == 2.57


def test_files_of_a_site_go_together(read):
    prices = day_ahead([("01/01/2024 01:00:00 - 01/01/2024 02:00:00", 40)])
    own = "when,air\n2024-01-01 01:00,3.5\n"
    found = read(MAPS, prices, own, columns={"time": "when", "outdoor_c": "air"}, zone=ZoneInfo("Europe/Berlin"))
    assert found.names == {"price", "carbon_g_per_kwh", "clean_share", "outdoor_c"}
    at = found.at(np.array([NEW_YEAR]))
    assert {name: column.item() for name, column in at.items()} == pytest.approx(
        {"price": 0.04, "carbon_g_per_kwh": 286.46, "clean_share": 0.5857, "outdoor_c": 3.5}
    )
    later = MAPS.replace("2024-01-01", "2025-01-01")
    years = read(MAPS, later).at(np.array([NEW_YEAR, hour("2025-01-01")]))
    assert years["carbon_g_per_kwh"].tolist() == [286.46, 286.46]
    with pytest.raises(InputError, match="two of its files say different things of the carbon_g_per_kwh"):
        read(MAPS, MAPS.replace("286.46", "286.47"))
    with pytest.raises(InputError, match="none has a column 'humidity'"):
        read(MAPS, own, columns={"time": "when", "outdoor_c": "air", "wue": "humidity"})


@pytest.mark.parametrize(
    ("header", "name", "scale"),
    [
        ("EUR/MWh", "price", 1e-3), ("price (ct/kWh)", "price", 1e-2), ("price", "price", 1.0),
        ("kg/MWh", "carbon_g_per_kwh", 1.0), ("lb/MWh", "carbon_g_per_kwh", LB), ("CFE %", "clean_share", 0.01),
    ],
)  # fmt: skip
def test_units_in_names_of_ones_own_columns_count(tmp_path, header, name, scale):
    path = tmp_path / "own.csv"
    path.write_text(f"time,{header}\n2024-01-01T00:00Z,50\n")
    assert read_hourly(str(path), {"time": "time", name: header}).values[name] == pytest.approx([50 * scale])


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("pue", "0.9", r"own.csv:2:2: 0.9 is below 1; a pue cannot be"),
        ("carbon_g_per_kwh", "-3", "-3 is below 0; a carbon_g_per_kwh cannot be"),
        ("wue", "-1", "-1 is below 0"),
        ("clean_share", "58", "58 is above 1; a clean_share cannot be"),
        ("outdoor_c", "-300", "-300 is below -273.15"),
        ("load_w", "-1", "-1 is below 0"),
    ],
)
def test_what_cannot_be_is_refused_at_its_place(tmp_path, name, value, said):
    path = tmp_path / "own.csv"
    path.write_text(f"time,x\n2024-01-01T00:00Z,{value}\n")
    with pytest.raises(InputError, match=said):
        read_hourly(str(path), {"time": "time", name: "x"})


def test_what_an_export_cannot_say_is_refused(read):
    with pytest.raises(InputError, match=r"has a carbon_g_per_kwh of -1 to 286.46, which cannot be"):
        read(MAPS.replace("30.02", "-1"))
    with pytest.raises(InputError, match=r"0.csv:3:1: 'noon' is not a time"):
        read(MAPS.replace("2024-01-01 01:00:00", "noon"))
