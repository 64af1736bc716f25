"""The growth path: closed forms of its probabilities, published numbers, and files that say where they are wrong."""

import math
import re
import textwrap
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from wattshed.agent.fleet.boundary.ranges import Range
from wattshed.agent.fleet.decide.growth_plan import LEAD_TIMES, WEEKS_A_MONTH, GrowthPlan, Supply, read_plan
from wattshed.agent.fleet.decide.path import Draws, month_name, months_ahead, orders

PLAN = """name = "Memphis"
begin = "2026-01"
gpus = [50000, 83000, 84000, 300000]
watts = { value = 1807, low = 1626, high = 1988 }
boundary = "facility"
[[supply]]
name = "first grant"
mw = 150
since = "2025-06"
[[supply]]
name = "transformers"
mw = 400
lead_weeks = { value = 128, low = 115, high = 210 }
"""
WATTS = Range(1807.0, 1626.0, 1988.0)


def plan(gpus, *supplies, watts=WATTS, pue=None):
    return GrowthPlan("p", (2026, 1), tuple(gpus), watts, pue or Range.exact(1.0), "facility", supplies)


def there(watts, since=0.0):
    return Supply("s", watts, since, None, Range.exact(0.0))


def test_what_was_published(fleet, files):
    found = fleet("path", files(p_toml=PLAN), "--json").json
    # 300,000 B200 at the measured GB200 ratio: 542 MW; 150 MW carry 83,011.
    assert found["months"][-1]["demand_w"] == pytest.approx(542.1e6)
    assert found["months"][-1]["demand_interval_w"] == pytest.approx([487.8e6, 596.4e6], rel=1e-3)
    first = found["carried"][0]
    assert (round(first["gpus"]), first["gpus_interval"]) == (83_011, pytest.approx([75_453, 92_251], rel=1e-3))
    p = [m["binds"] for m in found["months"]]
    assert p[1] < 0.5 < p[2] < p[3] == 1.0
    assert found["answer"].startswith("Power binds in 2026-03 (as likely as not; from 2026-02 on at 5 %)")


def test_the_probability_of_one_supply_is_that_of_the_watts():
    found = months_ahead(p := plan([80_000, 83_011, 90_000], there(150e6)), Draws(p))
    for month in found:
        z = (150e6 / month.gpus - 1807.0) / (181.0 / 1.959963984540054)
        assert month.binds == pytest.approx(1 - NormalDist().cdf(z), abs=2e-4)
    assert [m.binds_by for m in found] == pytest.approx([m.binds for m in found])


def test_the_probability_that_an_order_has_come():
    late = Supply("t", 1e9, None, -20.0, Range(128.0, 115.0, 210.0))
    found = months_ahead(p := plan([1e5] * 24, there(1e6), late), Draws(p))
    for i, month in enumerate(found):
        weeks = (i + 1 + 20) * WEEKS_A_MONTH
        spread = (128.0 - 115.0 if weeks < 128.0 else 210.0 - 128.0) / 1.959963984540054
        assert 1 - month.binds == pytest.approx(NormalDist(128.0, spread).cdf(weeks), abs=2e-4)


def test_an_order_made_in_time_is_in_time():
    gpus = [10_000.0 * i for i in range(1, 25)]
    wanted = Supply("new", 1e9, None, None, Range(40.0, 30.0, 80.0))
    p = plan(gpus, there(150e6), wanted)
    first, order = orders(p, Draws(p))
    assert (first.needed, first.order_by) == (0, None)
    assert order.needed == 7  # 80,000 GPUs: 150 MW are too little with more than 5 %

    def placed(ordered):
        """Order in a month, by its name: what then is there in time, and how the months bind."""
        p = plan(gpus, there(150e6), Supply("new", 1e9, None, float(math.floor(ordered)), wanted.lead_weeks))
        return orders(p, Draws(p))[1].in_time, months_ahead(p, Draws(p))

    in_time, months = placed(order.order_by)
    assert in_time >= 0.95
    assert max(m.binds for m in months) <= 0.05
    assert placed(order.order_by + 1.0)[0] < 0.95  # it is the latest such month
    assert placed(order.order_by_median)[0] >= 0.5 > placed(order.order_by_median + 1.0)[0]
    assert pytest.approx(order.needed + 1 - order.order_by_median, abs=1e-3) == 40.0 / WEEKS_A_MONTH


@settings(max_examples=examples(25), deadline=None)
@given(
    st.lists(st.floats(0, 1e6), min_size=1, max_size=12), st.floats(1e6, 1e9), st.floats(1.0, 1.6), st.floats(1e6, 1e9)
)
def test_more_power_binds_less_and_by_grows(gpus, watts, pue, more):
    p = plan(gpus, there(watts), pue=Range(pue, pue * 0.95, pue * 1.1))
    less = months_ahead(p, Draws(p))
    richer = plan(gpus, there(watts), there(more), pue=p.pue)
    for a, b in zip(less, months_ahead(richer, Draws(richer)), strict=True):
        assert 0.0 <= b.binds <= a.binds <= a.binds_by <= 1.0
        assert a.demand_w[1] <= a.demand_w[0] <= a.demand_w[2]
    assert np.all(np.diff([m.binds_by for m in less]) >= 0.0)


def test_months_have_names():
    assert [month_name(plan([1], there(1)), m) for m in (-13.5, -1, 0, 0.9, 12)] == [
        "2024-11", "2025-12", "2026-01", "2026-01", "2027-01",
    ]  # fmt: skip


def test_lead_times_that_are_not_said_are_priors_with_sources(files):
    text = PLAN.replace("lead_weeks = { value = 128, low = 115, high = 210 }", 'kind = "gsu"')
    supply = read_plan(files(p_toml=text)).supplies[1]
    assert (supply.lead_weeks.value, supply.source) == (144.0, LEAD_TIMES["gsu"][1])
    for lead, source in LEAD_TIMES.values():
        assert lead.low < lead.value < lead.high
        assert "Wood Mackenzie" in source


def test_text_and_picture(fleet, files, tmp_path):
    plot = tmp_path / "p.svg"
    path = files(p_toml=PLAN)
    found = fleet("path", path, "--plot", plot)
    assert "transformers: it would have to be ordered by 2022-05, before the plan begins" in found.out
    assert "83,011 (75,4" in found.out
    assert "Power is too little" in plot.read_text()
    assert fleet("path", path, "--seed", 2, "--json").json["months"][2]["binds"] == pytest.approx(
        fleet("path", path, "--json").json["months"][2]["binds"], abs=1e-3
    )


def test_the_page_shows_a_plan(fleet, files):
    text = (Path(__file__).parents[2] / "docs" / "planning.md").read_text(encoding="utf-8")
    block = re.search(r"(?:^    .*\n)+", text[text.index("## Growth path") :], re.MULTILINE)[0]
    found = fleet("path", files(p_toml=textwrap.dedent(block)), "--json").json
    assert found["months"][-1]["demand_w"] == pytest.approx(542.1e6)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("watts =", "watt =", "4:1: watt: unknown key; did you mean watts?"),
        ('"2026-01"', '"2026-13"', "2:1: begin: must be a month such as 2026-01, not '2026-13'"),
        ('since = "2025-06"', 'sinc = "2025-06"', "9:1: supply.sinc: unknown key; did you mean supply.since?"),
        ('"facility"', '"gpu"', "5:1: boundary: must be one of it, facility, not 'gpu'"),
        ('boundary = "facility"', 'boundary = "facility"\npue = 1.2', "6:1: pue: watts are at the facility"),
        ('boundary = "facility"', 'boundary = "it"', "needs pue, a number"),
        ("low = 1626", "low = 1900", "4:25: watts.low: must be from 0 to 1807, not 1900"),
        ("mw = 400", 'mw = 400\nkind = "gsu"', "13:1: supply.kind: lead_weeks are given"),
        (
            "lead_weeks = { value = 128, low = 115, high = 210 }",
            "",
            "10:1: supply: needs since, or lead_weeks, or kind",
        ),
        ("gpus = [50000, 83000, 84000, 300000]", "gpus = []", "3:1: gpus: must have 1 to 600 months, not 0"),
        ("300000]", "-1]", "gpus: must be at least 0, not -1"),
        ('since = "2025-06"', 'since = "2025-06"\nordered = "2024-01"', "10:1: supply.ordered: it is there since"),
    ],
)
def test_where_a_plan_is_wrong(fleet, files, old, new, said):
    path = files(p_toml=PLAN.replace(old, new))
    found = fleet("path", path)
    assert (found.code, found.out) == (2, "")
    assert found.err.startswith(f"wattshed: {path}:")
    assert said in found.err
