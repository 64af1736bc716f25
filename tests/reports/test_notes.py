"""What stands below a report: each sentence where it holds, in its order, with the figures of the document."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.reports.made_up import HOUR_S, KWH_J, MARCH_S, day_of_prices, report, row
from wattshed.agent.inputs.opencost import Allocation
from wattshed.agent.inputs.tariffs.steps import CARBON, CARBON_UNIT, PRICE, PUE, Tariff
from wattshed.agent.reports.amounts import Tariffs, priced, with_gpu_hours, with_opencost
from wattshed.agent.reports.notes import notes_of, places_for

BOARDS = "Energy is what GPU boards drew, ± two sigma; processors, memory, network and cooling are not in it."
MARGINAL = (
    "Marginal emissions are what one kWh more emits, and must not be added to average emissions, or compared with them."
)
NONE = Tariffs()
TEN_CENTS = Tariff.constant(PRICE, Decimal("0.10"), "EUR/kWh")


def notes(rows, tariffs=NONE, steps=None, step_s=None, *, spread=False, **more):
    by = more.pop("by", "user")
    return notes_of(priced(report(rows, steps, step_s, by, **more), tariffs, spread=spread))


@given(st.decimals(min_value="1e-9", max_value="1e12", allow_nan=False), st.sampled_from([0, 2]), st.booleans())
def test_a_column_has_five_digits_in_all_or_the_places_of_money(value, least, below):
    """The oracle counts the digits before the point; where there are none, the zeros behind it."""
    whole = f"{value:f}".partition(".")[0].lstrip("0")
    zeros = 0 if whole else len(fraction := f"{value:f}".partition(".")[2]) - len(fraction.lstrip("0"))
    digits = (3 if least else 5) - len(whole) + zeros
    assert places_for(-value if below else value, least) == min(max(digits, least), 6)


def test_nothing_has_no_places_but_those_of_money():
    assert (places_for(Decimal(0)), places_for(Decimal("0.000"), 2)) == (0, 2)


@pytest.mark.parametrize(
    ("since", "until", "said"),
    [
        (None, None, "n1, all that is kept to 2026-03-02 01:00 UTC"),
        (0, None, "n1, from 1970-01-01 00:00 to 2026-03-02 01:00 UTC"),
        (MARCH_S, MARCH_S + 7200, "n1, from 2026-03-01 00:00 to 2026-03-01 02:00 UTC"),
        (MARCH_S, MARCH_S + 900_000, "n1, from 2026-03-01 00:00 to 2026-03-02 01:00 UTC"),
        (None, 0, "n1, all that is kept to 1970-01-01 00:00 UTC"),
    ],
)
def test_the_first_says_of_what_time_it_is_and_never_of_one_to_come(since, until, said):
    assert notes([row("ada", 1)], since_s=since, until_s=until) == [f"{said}. {BOARDS}"]


def test_of_whom_it_is_and_who_made_it_up_follow():
    assert notes([row("ada", 1)], scope="own", simulated=True, host="a\x07")[0].startswith("a\\x07, ")
    assert notes([row("ada", 1)], scope="own", simulated=True)[1:] == [
        "SIMULATED DATA, all of it or a part: no GPU drew it.", "Only your own jobs are in it.",
    ]  # fmt: skip
    assert len(notes([row("ada", 1)], scope="all", simulated=False)) == 1


def test_all_that_a_value_is_is_said_once_in_the_order_of_the_columns():
    tariffs = Tariffs(
        TEN_CENTS, Tariff.constant(CARBON, Decimal(350), CARBON_UNIT), Tariff.constant(PUE, Decimal("1.30")), "EUR"
    )
    assert notes([row("ada", KWH_J)], tariffs)[1:] == [
        "wall kWh: board energy times PUE (1.3); the PUE is taken as exact.",
        "EUR: 0.1 EUR/kWh, of energy at the wall.",
        f"kg CO2e: 350 {CARBON_UNIT}, of energy at the wall.",
    ]
    marginal = replace(tariffs.carbon, marginal=True)
    assert notes([row("ada", KWH_J)], Tariffs(Tariff.constant(PRICE, Decimal(2)), marginal))[1:] == [
        "cost: 2 a kWh, without a currency (give --currency), of the boards' energy.",
        f"kg CO2 marg.: 350 {CARBON_UNIT}, of the boards' energy. " + MARGINAL,
    ]


@pytest.mark.parametrize(
    ("step_s", "called"), [(900, "quarter of an hour"), (1800, "half hour"), (3600, "hour"), (86_400, "day")]
)
def test_values_over_time_name_their_source_and_span_and_how_even_energy_is_taken(step_s, called):
    steps = [(0, MARCH_S, KWH_J)]
    tariffs = Tariffs(day_of_prices(*["0.5"] * 24), currency="EUR")
    assert notes([row("ada", KWH_J)], tariffs, steps, step_s)[1:] == [
        "EUR: made up, EUR/kWh, 2026-03-01 00:00 to 2026-03-02 00:00 UTC, of the boards' energy.",
        f"Energy is taken as used evenly within each {called} (UTC).",
    ]
    assert len(notes([row("ada", KWH_J)], NONE, steps, step_s)) == 1, "without values it is of no account"


@given(st.integers(1, 2000), st.integers(0, 2000))
def test_a_share_is_whole_percent_and_neither_nothing_nor_all_while_it_is_not(unknown, known):
    steps = [(0, MARCH_S, known), (0, MARCH_S + HOUR_S, unknown)]
    (note,) = (
        note
        for note in notes([row("ada", known + unknown)], Tariffs(day_of_prices("1")), steps, HOUR_S)
        if note.startswith("*")
    )
    said = note.partition("(")[2].partition(")")[0]
    share = unknown / (known + unknown) * 100
    if said == "less than 1 %":
        assert share < 0.5
    elif said == "more than 99 %":
        assert 99.5 <= share < 100
    else:
        assert abs(int(said.removesuffix(" %")) - share) <= 0.5 + 1e-9
        assert (said == "100 %") == (not known)
        assert said != "0 %"


@pytest.mark.parametrize("marginal", [False, True])
def test_what_the_source_estimated_is_told_of_carbon(marginal):
    steps = [(0, MARCH_S, 3 * KWH_J), (0, MARCH_S + HOUR_S, KWH_J)]
    carbon = day_of_prices("1", "2", unit=CARBON_UNIT, quantity=CARBON, marginal=marginal, estimated={1})
    found = notes([row("ada", 4 * KWH_J)], Tariffs(carbon=carbon), steps, HOUR_S)
    assert found[2] == "The source estimated the carbon intensities of 25 % of the energy."
    certain = day_of_prices("1", "2", unit=CARBON_UNIT, quantity=CARBON, marginal=marginal)
    assert not [note for note in notes([row("ada", 1)], Tariffs(carbon=certain), steps, HOUR_S) if "estimated" in note]


def test_what_stands_beside_energy_is_told_and_what_has_no_row_or_rate():
    document = priced(report([row("a", KWH_J, gpu_s=7200.0), row("b", 5)], by="namespace"), NONE)
    rated = with_gpu_hours(document, [(Decimal(2), report([row("b", 5)]))])
    beside = "What GPU hours cost by model stands beside energy, not in it."
    assert notes_of(rated)[1:] == [beside, "2.0 of the GPU hours are of models without a rate."]
    whole = [(Decimal(2), report([row("a", KWH_J, gpu_s=7200.0), row("b", 5)]))]
    assert notes_of(with_gpu_hours(document, whole))[1:] == [beside]
    day = MARCH_S * 1_000_000, (MARCH_S + HOUR_S) * 1_000_000
    told = "OpenCost GPU: what OpenCost says that GPUs cost, in its currency; it stands beside energy, not in it."
    assert notes_of(with_opencost(document, [Allocation("a", *day, Decimal(3))]))[1:] == [told]
    assert notes_of(with_opencost(document, [Allocation("elsewhere", *day, Decimal("3.50"))]))[1:] == [
        told, "3.5 of OpenCost's GPU cost is of namespaces without energy here.",
    ]  # fmt: skip


def test_rows_that_are_nobodys_are_explained_or_said_to_be_shared():
    rows = [row("ada", KWH_J), row("_idle", KWH_J), row("_unattributed", KWH_J // 2), row("_other", 5)]
    other = "_other: jobs beyond the number that is told apart."
    assert notes(rows)[1:] == [
        "_idle: what GPUs drew at rest while no job held them.",
        "_unattributed: used by processes whose job is unknown.", other,
    ]  # fmt: skip
    assert notes(rows, spread=True)[1:] == [
        other, "1.5000 kWh of _idle and _unattributed are shared among the rows in proportion to their energy.",
    ]  # fmt: skip
    assert notes(rows[:1], spread=True)[1:] == []


@pytest.mark.parametrize("by", ["day", "month", "host", "model", "user", "job", "namespace"])
def test_rows_of_gpus_hold_all_and_say_so(by):
    said = "Each row holds all that its GPUs drew, with a job and without."
    assert (said in notes([row("a", 1)], by=by)) == (by in {"day", "month", "host", "model"})
