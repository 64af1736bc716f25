"""Siting: sums over hours that are joined in UTC, holes that are left out, intervals over years, and its pace."""

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from wattshed.agent.fleet.boundary.pue import LoadPue
from wattshed.agent.fleet.boundary.ranges import Range
from wattshed.agent.fleet.decide.candidate_sites import CandidateSite
from wattshed.agent.fleet.decide.hourly_sources import read_hourly
from wattshed.agent.fleet.decide.hourly_table import HourlyTable, HourlyTables
from wattshed.agent.fleet.decide.site_year import YEAR_H, compare
from wattshed.agent.fleet.demand.transformer import Transformer
from wattshed.agent.fleet.estimate.student import quantile

T0 = 17_532 * 24  # 2018-01-01 in hours


def site(name="s", pue=1.2, transformer=None, hours=None, wue=None, **columns):
    size = len(next(iter(columns.values())))
    at = np.arange(T0, T0 + size) if hours is None else np.array(hours)
    table = HourlyTable(at, {key: np.array(values, float) for key, values in columns.items()})
    return CandidateSite(
        name, HourlyTables((table,)), Range.exact(pue) if isinstance(pue, float) else pue, wue, transformer
    )


def load(watts, hours=None):
    at = np.arange(T0, T0 + len(watts)) if hours is None else np.array(hours)
    return HourlyTable(at, {"load_w": np.array(watts, float)})


hours_of = st.lists(
    st.tuples(st.floats(1e3, 1e7), st.floats(0, 1), st.floats(0, 900), st.floats(0, 1e7)), min_size=1, max_size=60
)


@settings(max_examples=examples(40), deadline=None)
@given(hours_of, st.floats(1.0, 2.0))
def test_sums_are_those_of_the_hours(rows, pue):
    watts, price, carbon, clean = zip(*rows, strict=True)
    (found,), hours = compare((site(pue=pue, price=price, carbon_g_per_kwh=carbon, clean_w=clean),), load(watts))
    n = len(rows)
    assert hours.size == n
    assert found.totals["energy_kwh"].value == pytest.approx(sum(watts) * pue / 1e3 / n * YEAR_H)
    assert found.totals["cost"].value == pytest.approx(
        sum(w * pue / 1e3 * p for w, p in zip(watts, price, strict=True)) / n * YEAR_H
    )
    assert found.totals["carbon_kg"].value == pytest.approx(
        sum(w * pue / 1e6 * c for w, c in zip(watts, carbon, strict=True)) / n * YEAR_H
    )
    assert found.clean_share == pytest.approx(
        sum(min(w * pue, c) for w, c in zip(watts, clean, strict=True)) / sum(watts) / pue
    )
    assert found.pue == pytest.approx(pue)
    assert found.totals["water_l"] is None


@settings(max_examples=examples(40), deadline=None)
@given(st.sets(st.integers(0, 40)), st.sets(st.integers(0, 40)), st.sets(st.integers(0, 40), min_size=1))
def test_a_missing_hour_is_a_hole_for_all(absent, empty, of_load):
    there = [h for h in range(41) if h not in absent]
    price = [math.nan if h in empty else 1.0 for h in range(41)]
    one, other = site(hours=[T0 + h for h in there], price=[2.0] * len(there)), site("t", price=price)
    at = sorted(of_load)
    common = [h for h in at if h in there and h not in empty]
    given_load = load([1e6 + h for h in at], [T0 + h for h in at])
    if not there or not common:
        return
    found, hours = compare((one, other), given_load)
    assert (hours - T0).tolist() == common
    assert [f.holes for f in found] == [sum(h not in there for h in at), sum(h in empty for h in at)]
    mean = sum(1e6 + h for h in common) / len(common)
    assert [f.totals["energy_kwh"].value for f in found] == pytest.approx([mean * 1.2 / 1e3 * YEAR_H] * 2)


def test_an_interval_takes_three_years():
    days = [365, 365, 366, 365]
    level = np.repeat([100.0, 120.0, 110.0, 90.0], np.array(days) * 24)
    (found,), _ = compare((site(carbon_g_per_kwh=level),), load(np.full(level.size, 1e6)))
    years = np.array([100.0, 120.0, 110.0, 90.0]) * 1.2e3 / 1e3 * YEAR_H
    half = quantile(0.95, 3) * years.std(ddof=1) / 2
    assert found.totals["carbon_kg"].interval == pytest.approx((years.mean() - half, years.mean() + half))
    (short,), _ = compare((site(carbon_g_per_kwh=level[: 730 * 24]),), load(np.full(730 * 24, 1e6)))
    assert short.totals["carbon_kg"].interval is None


@settings(max_examples=examples(15), deadline=None)
@given(st.floats(1.0, 1.5), st.floats(0, 0.5), st.floats(0, 0.5), st.floats(-50, 50), st.floats(-50, 50))
def test_the_interval_of_a_pue_is_that_of_its_ends(pue, down, up, first, second):
    """Its ends are the totals at the PUE's ends, with prices below 0 too."""
    price = [first, second]
    low = max(pue - down, 1.0)

    def cost(of):
        (found,), _ = compare((site(pue=of, price=price, wue=Range(1.5, 1.0, 2.0)),), load([1e6, 2e6]))
        return found.totals["cost"], found.totals["water_l"]

    (uncertain, water), ends = cost(Range(pue, low, pue + up)), [cost(end)[0].value for end in (low, pue + up)]
    assert uncertain.value == pytest.approx(cost(pue)[0].value)
    span = uncertain.interval or (uncertain.value, uncertain.value)
    assert span == pytest.approx((min(*ends, uncertain.value), max(*ends, uncertain.value)), rel=1e-6, abs=1e-3)
    assert water.interval == pytest.approx((1500 * YEAR_H * 1.0, 1500 * YEAR_H * 2.0))


def test_years_are_compared_pair_by_pair():
    """Where all years are equally better, the difference is certain though the years are not."""
    size = [365 * 24, 365 * 24, 366 * 24]
    here, there = (np.repeat([a, b, c], size) for a, b, c in ((100.0, 300.0, 200.0), (110.0, 310.0, 210.0)))
    (one, other), _ = compare(
        (site(carbon_g_per_kwh=here), site("t", carbon_g_per_kwh=there)), load(np.full(sum(size), 1e6))
    )
    mine, theirs = one.totals["carbon_kg"], other.totals["carbon_kg"]
    assert mine.interval[1] > theirs.interval[0]
    assert mine.less_than(theirs) == pytest.approx((10 * 1.2 * YEAR_H,) * 2)


def test_clean_power_at_hand_and_the_grids_share():
    """What the site's own clean power leaves is as clean as the grid."""
    (found,), _ = compare((site(pue=1.0, clean_w=[5e5, 3e6], clean_share=[0.5, 0.25]),), load([1e6, 2e6]))
    assert found.clean_share == pytest.approx((0.5e6 + 0.5 * 0.5e6 + 2e6) / 3e6)
    (grid,), _ = compare((site(clean_share=[0.5, 0.25]),), load([1e6, 2e6]))
    assert grid.clean_share == pytest.approx((0.5 * 1e6 + 0.25 * 2e6) / 3e6)


def test_a_site_that_computes_nothing_for_an_hour_still_draws():
    model = LoadPue(2e6, u0=0.02, fixed_w=1e4)
    (found,), hours = compare((site(pue=model, outdoor_c=[10.0, 10.0]),), load([0.0, 1e6]))
    assert hours.size == 2
    assert found.by_hour["energy_kwh"][0] == pytest.approx(0.02 * 2e3 + 10)
    assert found.by_hour["energy_kwh"][1] == pytest.approx(1e3 * model.at(1e6, 10.0))


def test_a_transformers_own_weather_is_that_of_the_hour():
    """A load that lacks hours, and begins in the evening, meets the same temperatures."""
    day = 20.0 + 15.0 * np.sin(2 * np.pi * np.arange(24) / 24)
    hours = [T0 + 18 + h for h in range(200) if h % 7]
    unit = Transformer(1e6, power_factor=1.0, hourly_c=day)
    plain = Transformer(1e6, power_factor=1.0)
    outdoor = [day[h % 24] for h in hours]
    given_load = load(np.linspace(5e5, 1e6, len(hours)), hours)
    (own,), _ = compare((site(hours=hours, price=outdoor, transformer=unit),), given_load)
    (weather,), _ = compare((site(hours=hours, outdoor_c=outdoor, transformer=plain),), given_load)
    assert own.ageing == pytest.approx(weather.ageing, rel=1e-12)


@pytest.mark.parametrize(("day_c", "year_c", "ageing", "hot_spot_c"), [(0, 0, 0.350, 100), (8, 12, 0.586, 120)])
def test_a_transformer_ages_by_the_weather_of_each_hour(day_c, year_c, ageing, hot_spot_c):
    """At its nameplate: with the swings of a day and a year more than at their mean, for ageing is convex."""
    hour = np.arange(8760)
    outdoor = 20.0 + day_c * np.sin(2 * np.pi * hour / 24) + year_c * np.sin(2 * np.pi * hour / 8760)
    unit = Transformer(1e6, power_factor=1.0)
    (found,), _ = compare((site(pue=1.0, outdoor_c=outdoor, transformer=unit),), load(np.full(8760, 1e6)))
    assert found.ageing == pytest.approx(ageing, rel=0.01)
    assert outdoor.max() + 80.0 == pytest.approx(hot_spot_c, abs=0.1)


def table(rows, header="stamp,eur,co2,temp"):
    return header + "\n" + "".join(f"{at},{','.join(map(str, cells))}\n" for at, *cells in rows)


SITES = """[[site]]
name = "north"
hourly = "north.csv"
columns = { time = "stamp", price = "eur", carbon_g_per_kwh = "co2", outdoor_c = "temp" }
pue = { capacity_w = 12e6 }
wue = 1.5
[[site]]
name = "south"
hourly = "south.csv"
columns = { time = "stamp", price = "eur", carbon_g_per_kwh = "co2", pue = "temp" }
transformer = "t.toml"
"""


@pytest.fixture
def folder(files):
    t0 = datetime(2025, 1, 1, tzinfo=UTC)
    # North writes UTC by the quarter of an hour, south its own clock, two hours ahead, with a hole at 05:00 UTC.
    quarters = [(t0 + timedelta(minutes=15 * i), 0.05 + 0.01 * (i % 4), 40, 5) for i in range(96)]
    south = [(t0 + timedelta(hours=h), 0.04, 400 + h, 1.3) for h in range(24) if h != 5]
    files(north_csv=table((f"{at:%Y-%m-%d %H:%M}", *rest) for at, *rest in quarters))
    files(south_csv=table((f"{at + timedelta(hours=2):%Y-%m-%dT%H:%M:%S}+02:00", *rest) for at, *rest in south))
    files(t_toml="rated_va = 20e6\n", h_toml='rated_va = 20e6\nhourly = "w.csv"\n')
    files(w_csv="hour,outdoor_c\n" + "".join(f"{h},{h}\n" for h in range(24)))
    files(
        it_csv="time,load_w\n"
        + "".join(f"{t0 + timedelta(hours=h):%Y-%m-%dT%H}:00Z,{9e6 + 1e4 * h}\n" for h in range(24))
    )
    return files


def test_what_is_answered(fleet, folder, tmp_path):
    path, plot = folder(sites_toml=SITES), tmp_path / "s.svg"
    words = ("siting", path, "--load", tmp_path / "it.csv")
    found = fleet(*words, "--plot", plot, "--json").json
    north, south = found["sites"]
    assert (found["hours"], north["hours_missing"], south["hours_missing"]) == (23, 0, 1)
    assert (found["first"], found["last"]) == ("2025-01-01 00+00:00", "2025-01-01 23+00:00")
    watts = np.array([9e6 + 1e4 * h for h in range(24) if h != 5])
    assert south["energy_kwh"] == pytest.approx(watts.mean() * 1.3 / 1e3 * YEAR_H)
    carbon = [w * 1.3 / 1e6 * (400 + h) for w, h in zip(watts, [h for h in range(24) if h != 5], strict=True)]
    assert south["carbon_kg"] == pytest.approx(np.mean(carbon) * YEAR_H)
    assert north["cost"] == pytest.approx(0.065 * north["energy_kwh"], rel=1e-9)
    assert north["water_l"] == pytest.approx(watts.mean() * 1.5 / 1e3 * YEAR_H)
    assert south["water_l"] is None
    assert north["transformer_ageing"] is None
    assert 0 < south["transformer_ageing"] < 1
    assert south["intervals"]["cost"] is None
    above = north["energy_kwh"] - watts.mean() / 1e3 * YEAR_H  # 10 % of it are unknown
    assert north["intervals"]["cost"] == pytest.approx([north["cost"] - 0.0065 * above, north["cost"] + 0.0065 * above])
    assert found["answer"].startswith("north has the least carbon (")
    assert "south has the least cost" in found["answer"]
    text = fleet(*words).out
    assert "warning: south: 1 hour of the load missing, left out for all" in text
    assert "hour of the day, UTC" in plot.read_text()


def test_what_is_said_of_one_site_and_of_prices_below_zero(fleet, files, tmp_path):
    times = [f"2025-01-01T{h:02}:00Z" for h in range(24)]
    files(it_csv="time,load_w\n" + "".join(f"{t},1e6\n" for t in times))
    for name, price in (("a", -20.0), ("b", 30.0), ("c", 25.0)):
        files(**{f"{name}_csv": "time,p (EUR/MWh)\n" + "".join(f"{t},{price}\n" for t in times)})
    one = '[[site]]\nname = "{0}"\nhourly = "{0}.csv"\ncolumns = {{ price = "p (EUR/MWh)" }}\npue = {1}\n'

    def answer(*sites):
        path = files(sites_toml="".join(one.format(*s) for s in sites))
        return fleet("siting", path, "--load", tmp_path / "it.csv", "--json").json

    single = answer(("b", "1.0"))
    assert single["answer"] == "b takes 8.766 GWh of energy and 262,980 EUR a year."
    below = answer(("a", "1.0"), ("b", "1.0"))["answer"]
    assert below.startswith("a has the least cost (-175,320 EUR a year, 438,300 EUR less than b)")
    certain = answer(("b", "{ value = 1.2, low = 1.15, high = 1.25 }"), ("c", "1.0"))
    assert certain["answer"].startswith(
        "c has the least cost (219,150 EUR a year, 30.6 % less than b, 95 % 26.39 to 34.72 %)"
    )
    vague = answer(("b", "{ value = 1.2, low = 1.0, high = 1.4 }"), ("c", "1.4"))["answer"]
    assert "2.78 % less than b" in vague
    assert "a difference within the 95 % interval" in vague


def test_what_is_not_alike_is_not_compared(fleet, files, tmp_path):
    times = [f"2025-01-01T{h:02}:00Z" for h in range(24)]
    files(it_csv="time,load_w\n" + "".join(f"{t},1e6\n" for t in times))
    files(a_csv="time,EUR/kWh,gCO2/kWh\n" + "".join(f"{t},0.1,300\n" for t in times))
    files(b_csv="time,USD/kWh\n" + "".join(f"{t},0.1\n" for t in times))
    files(m_csv="timestamp,MOER\n" + "".join(f"{t},900\n" for t in times))
    path = files(
        sites_toml='[[site]]\nname = "a"\nhourly = "a.csv"\npue = 1.2\n'
        'columns = { price = "EUR/kWh", carbon_g_per_kwh = "gCO2/kWh" }\n'
        '[[site]]\nname = "b"\nhourly = ["b.csv", "m.csv"]\npue = 1.3\ncolumns = { price = "USD/kWh" }\n'
    )
    found = fleet("siting", path, "--load", tmp_path / "it.csv", "--plot", tmp_path / "p.svg", "--json").json
    assert found["answer"] == "a has the least energy (10.52 GWh a year, 7.69 % less than b)."
    assert found["warnings"][1:] == ["cost is not compared: EUR and USD", "carbon is not compared: marginal and mean"]
    assert "MWh a year" in (tmp_path / "p.svg").read_text()


def test_a_year_of_many_sites_is_read_in_one_pass(files):
    at = [(datetime(2025, 1, 1, tzinfo=UTC) + timedelta(hours=h)).isoformat() for h in range(8760)]
    path = files(y_csv="time,price\n" + "".join(f"{t},{i % 97 / 1000}\n" for i, t in enumerate(at)))
    found = read_hourly(str(path), {"time": "time", "price": "price"})
    assert found.hours.tolist() == list(range(found.hours[0], found.hours[0] + 8760))
    assert found.hours[0] == datetime(2025, 1, 1, tzinfo=UTC).timestamp() / 3600
    assert found.values["price"][:97] == pytest.approx(np.arange(97) / 1000)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("wue = 1.5", "wui = 1.5", "6:1: site.wui: unknown key; did you mean site.wue?"),
        (
            'price = "eur", carbon_g_per_kwh = "co2", outdoor',
            'prize = "eur", outdoor',
            "site.columns.prize: unknown key",
        ),
        ('"south"', '"north"', "8:1: site.name: 'north' appears twice"),
        ("pue = { capacity_w = 12e6 }", "", "site: needs pue, a number, or among the columns"),
        ('"co2", outdoor', '"co3", outdoor', "north.csv:1: has no column 'co3'"),
        ("wue = 1.5", "wue = 1.5\n[[site]]", "7:1: site: needs hourly, a file or a list of files"),
        ('"stamp", price', '"time", price', "north.csv:1: is of no form that is known (Electricity Maps, ENTSO-E,"),
        ("wue = 1.5", 'timezone = "Mars"', "site.timezone: no time zone is named 'Mars'"),
        ("wue = 1.5", 'basis = "direkt"', "site.basis: must be one of lifecycle, direct"),
        (
            'outdoor_c = "temp" }',
            'outdoor_c = "temp" }\ntransformer = "h.toml"',
            "5:1: site.transformer: has hourly temperatures of its own beside the site's outdoor_c",
        ),
        ('transformer = "t.toml"', "pue = 1.2", "11:1: site.pue: is a column as well"),
    ],
)
def test_where_a_file_is_wrong(fleet, folder, tmp_path, old, new, said):
    found = fleet("siting", folder(sites_toml=SITES.replace(old, new, 1)), "--load", tmp_path / "it.csv")
    assert (found.code, found.out) == (2, "")
    assert said in found.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("time,load_w\n2025-01-01T00:00Z,9e6\n2025-01-01T01:00Z,much\n", ":3:2: 'much' is not a number"),
        ("time,load_w\nnoon,9e6\n", ":2:1: 'noon' is not a time"),
        ("time,load_w\n2025-01-01T00:00Z\n", ":2:1: has 1 cells where the header has 2"),
        ("time,watts\n2025-01-01T00:00Z,1\n", ":1: has no column 'load_w'"),
        ("time,load_w\n1999-01-01T00:00Z,1\n", "no hour of the load is in the tables of all sites"),
    ],
)
def test_where_a_table_is_wrong(fleet, folder, text, said):
    found = fleet("siting", folder(sites_toml=SITES), "--load", folder(bad_csv=text))
    assert (found.code, found.out) == (2, "")
    assert said in found.err
