"""Whatever a report is written as, its figures are the same: the table, the page, and rows of FOCUS."""

import csv
import io
import re
from datetime import UTC, datetime
from decimal import Decimal
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.reports.made_up import HOUR_S, KWH_J, MARCH_S, day_of_prices, report, row
from wattshed.agent.inputs.tariffs.steps import CARBON, CARBON_UNIT, PRICE, PUE, Tariff
from wattshed.agent.reports.amounts import Tariffs, plain, priced, with_gpu_hours
from wattshed.agent.reports.focus import FocusNames, focus_rows, write_focus
from wattshed.agent.reports.html import page
from wattshed.agent.reports.sheet import print_sheet, sheet_of
from wattshed.agent.wire.parts import hnj_of, joules

DAY_S = 86_400
HOURS = 30  # of prices, which reach into a second day
TARIFFS = Tariffs(
    day_of_prices(*[None if hour == 3 else f"0.{hour:02}" for hour in range(HOURS)]),
    day_of_prices(*[100 + hour for hour in range(HOURS)], unit=CARBON_UNIT, quantity=CARBON, estimated={2, 5}),
    Tariff.constant(PUE, Decimal("1.25")), "EUR",
)  # fmt: skip
USED = st.lists(st.tuples(st.integers(0, 3), st.integers(0, HOURS + 4), st.integers(1, 2**60)), min_size=1, max_size=12)


def by_job(used):
    names = ["slurm:1", "slurm:2", "k8s:a/b", "_idle"]
    sums = [joules(sum(hnj for who, _, hnj in used if who == place)) for place in range(4)]
    rows = [row(name, energy, job=name, hosts=["n1"]) for name, energy in zip(names, sums, strict=True)]
    steps = [(who, MARCH_S + hour * HOUR_S, joules(hnj)) for who, hour, hnj in used]
    return report(rows, steps, HOUR_S, by="job", now_s=MARCH_S + 3 * DAY_S)


class Cells(HTMLParser):
    """The cells of each table of a page, by row."""

    def __init__(self, text):
        super().__init__()
        self.tables, self._inside = [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in {"td", "th"}:
            self.tables[-1][-1].append("")
            self._inside = True

    def handle_endtag(self, tag):
        self._inside = self._inside and tag not in {"td", "th"}

    def handle_data(self, data):
        if self._inside:
            self.tables[-1][-1][-1] += data


@given(USED, st.booleans())
def test_rows_of_focus_are_the_report_by_job_and_day(used, spread):
    found = by_job(used)
    whole = priced(found, TARIFFS)
    rows = focus_rows(found, TARIFFS, FocusNames("Site"), spread=spread)
    out = io.StringIO()
    write_focus(rows.rows, "1.2", out)
    lines = list(csv.DictReader(io.StringIO(out.getvalue())))
    energy = sum(hnj_of(one["x_EnergyJoules"]) for one in lines)
    assert energy + rows.unpriced_hnj == hnj_of(whole["total"]["energy_j"])
    for name, key, last in (("BilledCost", "cost", 6), ("PricingQuantity", "priced_kwh", 9)):
        summed = sum(Decimal(one[name]) for one in lines)
        assert abs(summed - Decimal(whole["total"][key] or 0)) <= Decimal(3).scaleb(-last), name
    for one in lines:
        assert Decimal(one["ConsumedQuantity"]) == round(Decimal(hnj_of(one["x_EnergyJoules"])) / 7_200_000 / 10**9, 12)
        assert one["ListUnitPrice"] == plain(round(Decimal(one["BilledCost"]) / Decimal(one["PricingQuantity"]), 10))
    if not spread:  # each has the sigma of its steps, which are taken as fully correlated
        expected = {}
        for who, at, _, sigma_j in found["steps"]:
            key = found["rows"][who]["name"], f"{datetime.fromtimestamp(at // DAY_S * DAY_S, UTC):%Y-%m-%d}"
            expected[key] = expected.get(key, 0.0) + sigma_j
        for one in lines:
            key = one["ResourceId"], one["ChargePeriodStart"][:10]
            assert float(one["x_SigmaJoules"]) == pytest.approx(expected[key], rel=1e-9, abs=1e-6)


@given(USED, st.booleans())
def test_the_page_has_the_cells_of_the_table_and_both_are_the_document(used, spread):
    found = by_job(used)
    document = priced(found, TARIFFS, spread=spread)
    sheet = sheet_of(document)
    headings = [column.name for column in sheet.columns]
    table, *over_time = Cells(page(document, found)).tables
    assert table == [headings, *([line[name] for name in headings] for line in [*sheet.rows, sheet.total])]
    out = io.StringIO()
    print_sheet(sheet, out)
    printed = out.getvalue().splitlines()
    for line, cells in zip(printed[1:], table[1:], strict=False):
        assert line.split() == " ".join(cells).split()
    assert printed[len(table)] == ""
    assert printed[len(table) + 1 :] == list(sheet.notes)
    for days in over_time:
        whole = Decimal(hnj_of(document["total"]["energy_j"])) / 7_200_000 / 10**9
        alls = [Decimal(line[-1].replace(",", "")) for line in days[1:]]
        step = Decimal(1).scaleb(alls[0].as_tuple().exponent)
        assert abs(sum(alls) - whole) <= step * len(alls)
        for line in days[1:]:
            cells = [Decimal(cell.replace(",", "") or 0) for cell in line[1:]]
            assert abs(sum(cells[:-1]) - cells[-1]) <= step * len(cells)


def test_tiles_are_the_totals_and_the_page_says_when():
    carbon = Tariff.constant(CARBON, Decimal(350), CARBON_UNIT)
    tariffs = Tariffs(
        Tariff.constant(PRICE, Decimal("0.2"), "EUR/kWh"), carbon, Tariff.constant(PUE, Decimal("1.5")), "EUR"
    )
    found = report(
        [row("ada", 2 * KWH_J, jobs=1234, sigma_j=0.01 * KWH_J, gpu_s=7200.0)],
        [(0, MARCH_S, KWH_J), (0, MARCH_S + DAY_S, KWH_J)], HOUR_S,
    )  # fmt: skip
    document = with_gpu_hours(priced(found, tariffs), [(Decimal(3), found)])
    text = page(document, found)
    tiles = re.findall(r'class="tile"><h2>(.*?)</h2><p>(.*?)(?: <small>(.*?)</small>)?</p>', text)
    assert tiles == [
        ("Energy of GPU boards", "2.0000 kWh", "± 0.0200"), ("Energy at the wall", "3.0000 kWh", "± 0.0300"),
        ("Cost of energy", "0.600 EUR", "± 0.006"), ("Emissions", "1.0500 kg CO2e", "± 0.0105"),
        ("Cost of GPU hours", "6.00 EUR", "beside energy, not in it"), ("Jobs", "1,234", ""),
        ("GPU hours of jobs", "2.0", "25% of it idle"),
    ]  # fmt: skip
    assert "2026-03-01 00:00 to 2026-03-02 01:00 UTC" in text
    assert "Made by wattshed, 2026-03-02 01:00 UTC." in text
    assert "<title>GPU energy by user, 2026-03-01 00:00 to" in text
    later = {"since_s": MARCH_S + 60, "until_s": MARCH_S + 7200}
    assert "2026-03-01 00:01 to 2026-03-01 02:00 UTC" in page(document | later, found)
    assert "2026-03-01 00:00 to 2026-03-02 01:00 UTC" in page(document | {"until_s": MARCH_S + 10**6}, found)
    assert "2026-03-02 01:00 to 2026-03-02 01:00 UTC" in page(priced(report([], [], DAY_S), Tariffs()), report([], []))


def test_a_report_of_nothing_is_one_sentence():
    out = io.StringIO()
    print_sheet(sheet_of(priced(report([]), Tariffs())), out)
    assert out.getvalue() == "No usage matches.\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [("1E+3", "1000"), ("-0", "0"), ("-0.000", "0"), ("1.500", "1.5"), ("100", "100"), ("0E-9", "0"), ("-2.0", "-2")],
)
def test_numbers_of_documents_are_plain(text, shown):
    assert plain(Decimal(text)) == shown
