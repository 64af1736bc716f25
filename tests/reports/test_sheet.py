"""The table of a report: every figure under the heading that it belongs to, and what OpenCost says beside it."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.reports.documents import Terminal, done
from tests.reports.made_up import MARCH_S, day_of_prices, report, row
from wattshed.agent.inputs.opencost import Allocation
from wattshed.agent.inputs.tariffs.steps import CARBON, CARBON_UNIT, PRICE, PUE, Tariff
from wattshed.agent.reports.amounts import IDLE, Tariffs, priced, with_gpu_hours, with_opencost
from wattshed.agent.reports.notes import INCOMPLETE
from wattshed.agent.reports.sheet import TOTAL, print_sheet, sheet_of
from wattshed.agent.reports.work_fields import with_work_fields
from wattshed.agent.wire.parts import hnj_of

KWH_HNJ = 7_200_000_000_000_000
# What a column tells, of which key of a document and in which part of its unit; and where its sigma is.
COLUMNS = {
    "kWh": ("energy_j", 3_600_000, "± kWh", "sigma_j"),
    "wall kWh": ("wall_kwh", 1, "± wall", "wall_sigma_kwh"),
    "EUR": ("cost", 1, "± EUR", "cost_sigma"),
    "kg CO2e": ("co2e_g", 1000, "± CO2e", "co2e_sigma_g"),
    "kg CO2 marg.": ("marginal_co2_g", 1000, "± marg.", "marginal_co2_sigma_g"),
    "GPU h EUR": ("gpu_hours_cost", 1, "", ""),
    "OpenCost GPU": ("opencost_gpu_cost", 1, "", ""),
}


def number(text):
    return Decimal(text.strip().removesuffix(INCOMPLETE).replace(",", ""))


@given(
    st.lists(st.tuples(st.integers(1, 10**12), st.floats(1, 1e9), st.integers(0, 10**6)), min_size=1, max_size=5),
    st.booleans(),
)
def test_every_figure_stands_under_its_heading_and_adds_up(found, marginal):
    rows = [
        row(f"u{i}", energy, jobs=i + 1, sigma_j=sigma, gpu_s=gpu_s) for i, (energy, sigma, gpu_s) in enumerate(found)
    ]
    carbon = Tariff.constant(CARBON, Decimal(350), CARBON_UNIT)
    carbon = replace(carbon, marginal=marginal)
    price, pue = Tariff.constant(PRICE, Decimal("0.21"), "EUR/kWh"), Tariff.constant(PUE, Decimal("1.3"))
    document = priced(report(rows), Tariffs(price, carbon, pue, "EUR"))
    document = with_gpu_hours(document, [(Decimal("2.5"), report(rows))])
    document = with_opencost(document, [Allocation(f"u{i}", 0, 1_000_000, Decimal(7 * i)) for i in range(len(rows))])
    sheet = sheet_of(document)
    lines = [*sheet.rows, sheet.total]
    assert [line["user"] for line in lines] == [*(one["name"] for one in rows), TOTAL]
    assert [line["jobs"] for line in lines[:-1]] == [f"{one['jobs']}" for one in rows]
    absent = {"kg CO2e" if marginal else "kg CO2 marg."}
    headings = {column.name for column in sheet.columns}
    assert headings == {"user", "jobs", "GPU h", "idle"} | {
        name
        for heading, (_, _, doubt, _) in COLUMNS.items()
        if heading not in absent
        for name in (heading, doubt)
        if name
    }
    for heading, (key, divisor, doubt, sigma) in COLUMNS.items():
        if heading in absent:
            continue
        cells = [number(line[heading]) for line in lines]
        step = Decimal(1).scaleb(cells[-1].as_tuple().exponent)
        assert sum(cells[:-1]) == cells[-1]
        for cell, line, one in zip(cells, lines, [*document["rows"], document["total"]], strict=True):
            assert abs(cell - Decimal(one[key]) / divisor) <= step * (1 + (one is document["total"]))
            if sigma:  # two of them, rounded up
                off = Decimal(2 * one[sigma]) / divisor
                assert -off * Decimal("1e-8") <= number(line[doubt]) - off <= step + off * Decimal("1e-8")
    for line, one in zip(lines, [*document["rows"], document["total"]], strict=True):
        assert number(line["GPU h"]) == pytest.approx(
            Decimal(one["active_s"] + one["held_s"]) / 3600, abs=Decimal("0.051")
        )
        assert line["idle"] == ("25%" if one["held_s"] else "")


ALLOCATED = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "elsewhere", "__idle__"]), st.integers(-5, 12), st.integers(1, 9),
        st.integers(0, 10**6),
    ),
    max_size=6,
)  # fmt: skip


@given(ALLOCATED, st.integers(0, 4), st.integers(5, 8))
def test_what_opencost_says_is_taken_for_the_time_of_the_report(allocated, begin, end):
    """The same second by second: each has its share of what an allocation cost."""
    document = priced(report([row("a", 5), row("b", 7), row(IDLE, 3)], by="namespace"), Tariffs())
    document |= {"since_s": MARCH_S + begin, "until_s": MARCH_S + end}
    expected = {}
    for name, at, length, cost in allocated:
        for second in range(at, at + length):
            if begin <= second < end:
                expected[name] = expected.get(name, 0) + Fraction(cost, length)
    made = [
        Allocation(name, (MARCH_S + at) * 10**6, (MARCH_S + at + length) * 10**6, Decimal(cost))
        for name, at, length, cost in allocated
    ]
    found = with_opencost(document, made)
    for one in found["rows"]:
        mine = expected.pop("__idle__" if one["name"] == IDLE else one["name"], None)
        assert (one["opencost_gpu_cost"] is None) == (mine is None)
        assert mine is None or abs(Fraction(one["opencost_gpu_cost"]) - mine) <= Fraction(1, 10**6)
    assert abs(Fraction(found["total"]["opencost_elsewhere"]) - sum(expected.values())) <= Fraction(1, 10**6)
    shown = [Decimal(one["opencost_gpu_cost"] or 0) for one in found["rows"]]
    assert Decimal(found["total"]["opencost_gpu_cost"]) == sum(shown)
    assert hnj_of(found["total"]["energy_j"]) == 15 * KWH_HNJ // 3_600_000


@pytest.mark.parametrize("said", [{"since_s": None, "until_s": None}, {"since_s": 0, "until_s": 10**10}])
def test_a_report_of_all_time_has_all_that_opencost_says_up_to_now(said):
    document = priced(report([row("a", 5)], by="namespace"), Tariffs()) | said
    now_us = round(document["now_s"]) * 10**6
    made = [Allocation("a", 0, 1_000_000, Decimal(3)), Allocation("a", now_us - 10**6, now_us + 10**6, Decimal(4))]
    assert with_opencost(document, made)["total"]["opencost_gpu_cost"] == "5"


def test_columns_of_a_report_go_in_their_order_as_the_terminal_narrows(monkeypatch):
    tariffs = Tariffs(
        Tariff.constant(PRICE, Decimal("0.21"), "EUR/kWh"), Tariff.constant(CARBON, Decimal(350), CARBON_UNIT),
        Tariff.constant(PUE, Decimal("1.3")), "EUR",
    )  # fmt: skip
    document = priced(report([row("ada", 10**9, sigma_j=10.0**7)]), tariffs)
    sheet = sheet_of(with_gpu_hours(document, [(Decimal(2), report([row("ada", 5)]))]))
    monkeypatch.setenv("TERM", "xterm")
    gone, before = [], set()
    for columns in range(200, 30, -1):
        monkeypatch.setenv("COLUMNS", str(columns))
        out = Terminal()
        print_sheet(sheet, out)
        said = " ".join(out.lines()).partition(f"Not shown in {columns} columns: ")[2].partition(" (--csv")[0]
        now = set(said.split(", ")) - {""}
        assert before <= now
        gone += sorted(now - before)
        before = now
    assert gone == ["GPU h", "idle", "± wall", "± EUR", "± CO2e", "wall kWh", "jobs", "± kWh", "GPU h EUR"]


def test_who_is_not_named_is_unknown_and_what_has_no_value_is_a_dash():
    hours = [(0, MARCH_S, 5), (1, MARCH_S + 3600, 7)]
    document = priced(report([row("", 5), row("b", 7)], hours, 3600), Tariffs(day_of_prices("1"), currency="EUR"))
    sheet = sheet_of(document)
    assert [line["user"] for line in sheet.rows] == ["(unknown)", "b"]
    assert sheet.rows[1]["EUR"].strip() == "-"
    assert (sheet.rows[1]["± EUR"], sheet.total["EUR"][-1]) == ("-", "*")
    assert "*" not in sheet.rows[0]["EUR"]
    assert len(sheet.rows[0]["EUR"]) == len(sheet.total["EUR"]), "figures stand under each other beside a mark"


def worked(**more):
    """A report of three users, two of whom did work of two kinds."""
    nothing = {"work": None, "waiting_j": None, "waiting_share": None}
    did = [
        {"work": [done(), done("steps", 50, 7.0, source="told")], "waiting_j": "5", "waiting_share": 0.25},
        {"work": [done("steps", 50, 9.0, source="told")], "waiting_j": None, "waiting_share": None},
        nothing,
    ]
    found = report([row("ada", 10**9), row("bob", 10**9), row("cy", 10**9)])
    rows = [one | more for one, more in zip(found["rows"], did, strict=True)]
    total = {"work": [done(), done("steps", 100, 8.0, source="told")], "waiting_j": "5", "waiting_share": 0.25}
    return priced({**found, "rows": rows, "total": found["total"] | total, **more}, Tariffs())


def test_work_has_a_row_for_each_unit_and_units_are_never_mixed():
    sheet = sheet_of(worked())
    assert [(one["user"], one["unit"], one["count"], one["J per unit"], one["waiting"]) for one in sheet.work] == [
        ("ada", "output_tokens", "2,000,000", "0.400", "25%"),
        ("ada", "steps", "50", "7.00", ""),
        ("bob", "steps", "50", "9.00", ""),
        (TOTAL, "steps", "100", "8.00", "25%"),
    ]
    out = Terminal()
    print_sheet(sheet, out)
    assert "Work" in out.lines()


def test_a_report_without_work_says_nothing_of_it():
    sheet = sheet_of(priced(report([row("ada", 10**9)]), Tariffs()))
    assert sheet.work == ()
    assert not any("unit" in note for note in sheet.notes)


def test_jobs_whose_work_is_left_out_are_told():
    (note,) = [one for one in sheet_of(worked(work_left_out=1)).notes if "left out" in one]
    assert note.startswith("Work of 1 job that is partly outside this time is left out")


def test_a_table_for_machines_has_three_fields_for_each_unit():
    document = with_work_fields(worked())
    ada, bob, cy = document["rows"]
    assert (ada["output_tokens_scraped"], ada["steps_told_joules_per_unit"]) == (2_000_000, 7.0)
    assert (bob["output_tokens_scraped"], bob["steps_told"], bob["waiting_share"]) == (None, 50, None)
    assert set(ada) - {"name"} == set(document["total"]) == set(cy) - {"name"}
    assert "work" not in ada
    assert not any("told" in name for name in with_work_fields(priced(report([row("ada", 1)]), Tariffs()))["total"])
