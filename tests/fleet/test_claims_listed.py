"""``fleet scenario --all``: every claim, each with its numbers and whom they are from, at any width."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed.agent.fleet.boundary.units import shown
from wattshed.agent.fleet.claims.scenario import load, shipped
from wattshed.agent.fleet.claims.stated import AsOf, Stated, mismatch
from wattshed.agent.fleet.claims.verdict import Verdict

CLAIMS = [(name, claim) for name in shipped() for claim in load(name).claims]
DAYS = st.dates(date(1990, 1, 1), date(2050, 12, 31))


def test_as_a_document(fleet):
    found = fleet("scenario", "--all", "--json").json
    assert found["schema"] == "wattshed.claims/1"
    assert [(c["scenario"], c["text"]) for c in found["claims"]] == [(name, c.text) for name, c in CLAIMS]
    assert list(found["verdicts"]) == [str(verdict) for verdict in Verdict]
    assert sum(found["verdicts"].values()) == len(CLAIMS)
    assert all(found["verdicts"].values()), "every verdict has an example"
    for c in found["claims"]:
        assert c["source"]
        assert c["numbers_from"] or c["verdict"] == "not computable"


def rows_of(out):
    """Cells of each row of a printed table, whose lines are joined again."""
    head, *lines = out.split("\n\n")[0].splitlines()
    starts = [head.index(word) for word in ("verdict", "claim", "computed", "claimed", "numbers")]
    ends = [*starts[1:], None]
    rows = []
    for line in lines:
        cells = [line[start:end].strip() for start, end in zip(starts, ends, strict=True)]
        if line[starts[1] :].startswith(tuple(f"{name}:" for name in shipped())):
            rows.append([[cell] for cell in cells])
        else:
            for cell, more in zip(rows[-1], cells, strict=True):
                cell.append(more)
    return [tuple(" ".join(" ".join(cell).split()) for cell in row) for row in rows]


@pytest.mark.parametrize("width", [80, 120, 160])
def test_as_a_table(fleet, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    out = fleet("scenario", "--all").out
    assert max(map(len, out.splitlines())) <= width
    assert "Not shown" not in out
    for (verdict, text, computed, claimed, numbers_from), (name, c) in zip(rows_of(out), CLAIMS, strict=True):
        assert (verdict, text) == (str(c.verdict), f"{name}: {c.text}")
        assert numbers_from
        assert all(g.label in numbers_from for g in c.rests_on if g.label != "the claim")
        if c.computed is not None:
            assert computed.startswith(shown(c.computed.value, c.unit).partition(" ")[0])
            assert claimed == f"{c.relation} {shown(c.claimed, c.unit)}"
    tally = {verdict: sum(c.verdict == verdict for _, c in CLAIMS) for verdict in Verdict}
    last = f"{len(CLAIMS)} claims: " + ", ".join(f"{count} {verdict}" for verdict, count in tally.items())
    assert " ".join(out.split("\n\n")[1].split()) == last


def test_in_full(fleet):
    out = fleet("scenario", "--all", "--explain").out
    for name, c in CLAIMS:
        assert f"{name}: {c.text}\n    {c.verdict.upper()}: {c.reason}\n    claimed by: {c.source}" in out
        for number in c.rests_on:
            assert f"        {number.source}\n" in out
        assert (c.computed_by in c.formulas) or [g.name for g in c.rests_on] == [n for n in (c.computed_by,) if n]
    assert "\n    article: Davos 2026; as of: 2026\n    needed_2026_w = 21 GW (" in out
    assert "\n        = stock_w * (growth_2026 - 1) * utilisation\n" in out


def test_a_name_or_all_of_them(fleet):
    assert fleet("scenario", "growth", "--all").err == "wattshed: give a scenario or --all, not both\n"
    assert fleet("scenario", "--explain").err == "wattshed: --explain needs a scenario, or --all\n"


@given(first=DAYS, second=DAYS)
def test_days_are_a_year_apart_when_a_year_lies_between_and_either_way_round(first, second):
    one, other = (AsOf.parse(day.isoformat()) for day in (first, second))
    assert one.is_a_year_from(other) == other.is_a_year_from(one) == (abs(first - second) > timedelta(days=365))
    assert not one.is_a_year_from(one)


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [
        ("2023", "2025-01", True),
        ("2024", "2025", False),
        ("2024-03-09", "2025-06-10", True),
        ("2024-03", "2025-02", False),
        ("2022/2025", "2024-02-29", False),
        ("2019/2022", "2024", True),
        ("2024-12", "2026-01", True),
    ],
)
def test_years_months_and_spans(one, other, apart):
    assert AsOf.parse(one).is_a_year_from(AsOf.parse(other)) is apart


@pytest.mark.parametrize(
    "text", ["", "June 2025", "25", "2025-13", "2025-6", "2025-02-30", "2025/2024", "2025/", "/2025"]
)
def test_what_is_no_time(text):
    if text == "2025/":
        assert AsOf.parse(text).text == text  # the slash says nothing
        return
    with pytest.raises(ValueError):
        AsOf.parse(text)


def test_numbers_of_another_boundary_or_year_do_not_match():
    june = Stated(AsOf.parse("2025-06"), "facility")
    assert mismatch(june, [Stated()]) == ""
    assert mismatch(Stated(), [june]) == ""
    assert mismatch(june, [Stated(AsOf.parse("2025"), "facility")]) == ""
    assert mismatch(june, [Stated(boundary="gpu")]) == "it is at the boundary gpu, the claim at facility"
    assert mismatch(june, [Stated(), Stated(AsOf.parse("2023"))]) == "it is of 2023, the claim of 2025-06"


OWN = """\
title = "mine"
source = "me"
[given.chips]
value = 10
unit = "W"
source = "meter: read"
as_of = "2023"
boundary = "gpu"
[formula.building]
is = "chips * 2"
unit = "W"
boundary = "facility"
[formula.again]
is = "building + 0"
unit = "W"
[formula.today]
is = "building * 1"
unit = "W"
as_of = "2025"
[[boundary]]
boundary = "gpu"
power = "chips"
[energy]
of = "chips"
[[claim]]
text = "20 W"
as_of = "AS_OF"
boundary = "BOUNDARY"
claimed = 20
unit = "W"
computed = "COMPUTED"
"""


@pytest.mark.parametrize(
    ("as_of", "boundary", "computed", "verdict"),
    [
        ("2023-05", "facility", "building", "supported"),
        ("2023-05", "gpu", "building", "not comparable"),
        ("2025-05", "facility", "again", "not comparable"),
        ("2025-05", "facility", "today", "supported"),
        ("2023-05", "gpu", "chips", "contradicted"),
    ],
)
def test_a_figure_is_of_what_its_numbers_are_unless_it_says_otherwise(fleet, files, as_of, boundary, computed, verdict):
    text = OWN.replace("AS_OF", as_of).replace("BOUNDARY", boundary).replace("COMPUTED", computed)
    (claim,) = fleet("scenario", files(own_toml=text), "--json").json["claims"]
    assert claim["verdict"] == verdict
    assert claim["as_of"] == as_of
