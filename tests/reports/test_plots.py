"""Where bars and lines lie: round marks at their heights, pieces in their order, labels below some of the bars."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.reports.made_up import KWH_J, MARCH_S, report, row
from wattshed.agent.reports.amounts import Tariffs, priced
from wattshed.agent.reports.plots import HEIGHT_PX, MOST_BARS, MOST_DAYS, MOST_SERIES, bars_of, shortened, stacks_of

DAY_S = 86_400
NOBODY = {"_idle": "idle", "_unattributed": "unattributed", "_other": "other"}


def stacks(used, days, by="user"):
    """Of {name: kWh of each day}; a day is its number after the first of March."""
    names = list(used)
    steps = [
        (place, MARCH_S + day * DAY_S, joules)
        for place, name in enumerate(names)
        for day, joules in zip(days, used[name], strict=True)
    ]
    return stacks_of(report([row(name, sum(used[name])) for name in names], steps, DAY_S, by))


@given(st.lists(st.integers(0, 10**12), min_size=2, max_size=9).filter(any), st.integers(1, 10**6))
def test_marks_are_round_evenly_apart_and_where_their_values_are(used, scale):
    found = stacks({"ada": [joules * scale for joules in used]}, range(len(used)))
    most = max(used) * scale / KWH_J
    texts = [Decimal(mark.text.replace(",", "")) for mark in found.marks]
    step = texts[1]
    assert step.normalize().as_tuple().digits in {(1,), (2,), (2, 5), (5,)}
    assert texts == [step * i for i in range(len(texts))]
    assert 3 <= len(texts) <= 6 or float(step) >= most / 4
    (tallest,) = {piece.height for piece in found.pieces if piece.y == min(one.y for one in found.pieces)}
    for mark in found.marks:
        value = float(mark.text.replace(",", ""))
        assert HEIGHT_PX - mark.at == pytest.approx(value / most * tallest, rel=1e-6, abs=1e-6)
    assert tallest == pytest.approx(HEIGHT_PX / max(1.04, float(step) / most), rel=1e-6), "a little room above"


@given(st.integers(2, 70), st.integers(0, 20))
def test_bars_share_the_width_with_gaps_between_and_labels_below(count, missing):
    days = [day for day in range(count) if day in {0, count - 1} or day % 7 != missing % 7]
    found = stacks({"ada": [KWH_J * (2 + day) for day in days]}, days)
    first = datetime(2026, 3, 1, tzinfo=UTC)
    assert list(found.times) == [f"{first + timedelta(days=day):%Y-%m-%d}" for day in range(count)]
    wide = (100 - 11) / count
    for piece, day in zip(found.pieces, days, strict=True):
        assert piece.x + piece.width / 2 == pytest.approx(11 + wide * (day + 0.5))
        assert piece.width == pytest.approx(wide * (0.82 if count < 40 else 0.92))
        assert piece.told == f"{found.times[day]}, ada: {float(2 + day):,.3g} kWh"
        assert piece.colour == "c0"
    every = -(-count // 6)
    assert [(round(label.at, 6), label.text) for label in found.labels] == [
        (round(11 + wide * (day + 0.5), 6), found.times[day][5:]) for day in range(0, count, every)
    ]


@pytest.mark.parametrize(("days", "unit"), [(MOST_DAYS - 1, "day"), (MOST_DAYS, "month")])
def test_a_quarter_of_a_year_goes_by_day_and_more_by_month(days, unit):
    found = stacks({"ada": [KWH_J, 3 * KWH_J]}, [0, days])
    assert (MOST_DAYS, found.unit) == (92, unit)
    if unit == "month":
        assert found.times == ("2026-03", "2026-04", "2026-05", "2026-06")
        assert found.values == ((1.0,), (0.0,), (0.0,), (3.0,))
        assert [label.text for label in found.labels] == list(found.times)
    else:
        assert len(found.times) == MOST_DAYS


@pytest.mark.parametrize("by", ["day", "month"])
def test_what_goes_by_time_or_is_of_one_day_has_no_other_plot_of_time(by):
    assert stacks({"2026-03-01": [1, 1]}, [0, 1], by) is None
    assert stacks({"ada": [1]}, [0]) is None


@pytest.mark.parametrize("count", [1, MOST_SERIES, MOST_SERIES + 1, MOST_SERIES + 2, 1200])
@pytest.mark.parametrize("nobody", [(), ("_idle", "_unattributed", "_other")])
def test_the_largest_are_series_the_rest_are_one_and_nobody_is_on_top(count, nobody):
    names = [f"u{i}" for i in range(count)]
    used = {name: [KWH_J * (1 + i), KWH_J] for i, name in enumerate(names)} | {name: [9, 9 * KWH_J] for name in nobody}
    found = stacks(used, [0, 1])
    largest = names[::-1]
    alone = largest if count <= MOST_SERIES + 1 else largest[:MOST_SERIES]
    rest = [] if count == len(alone) else [(f"{count - len(alone):,} others", "rest")]
    assert list(found.series) == [
        *((name, f"c{i}") for i, name in enumerate(alone)), *rest, *((name, NOBODY[name]) for name in nobody),
    ]  # fmt: skip
    expected = [[float(used[name][day] / KWH_J) for name in alone] for day in (0, 1)]
    if rest:
        for day in (0, 1):
            expected[day].append(sum(used[name][day] for name in largest[len(alone) :]) / KWH_J)
    for day in (0, 1):
        expected[day] += [used[name][day] / KWH_J for name in nobody]
        assert found.values[day] == pytest.approx(expected[day])


def test_a_correction_below_nothing_is_in_the_table_but_not_in_the_plot():
    found = stacks({"ada": [4 * KWH_J, 2 * KWH_J], "_idle": [-KWH_J, KWH_J]}, [0, 1])
    assert found.values == ((4.0, -1.0), (2.0, 1.0))
    assert [piece.told for piece in found.pieces] == [
        "2026-03-01, ada: 4 kWh", "2026-03-02, ada: 2 kWh", "2026-03-02, _idle: 1 kWh",
    ]  # fmt: skip
    assert found.pieces[0].height == pytest.approx(HEIGHT_PX / 1.04)


@given(st.integers(1, 30), st.sets(st.sampled_from(list(NOBODY))))
def test_bars_are_the_largest_rows_and_all_that_is_nobodys(count, nobody):
    names = [*(f"u{i}" for i in range(count)), *(name for name in NOBODY if name in nobody)]
    document = priced(report([row(name, KWH_J * (40 - i)) for i, name in enumerate(names)]), Tariffs())
    bars = bars_of(document, [str(i) for i in range(len(names))])
    shown = names[: min(count, MOST_BARS - len(nobody))] + names[count:]
    assert [(bar.name, bar.colour) for bar in bars] == [(name, NOBODY.get(name, "c0")) for name in shown]
    assert [bar.value for bar in bars] == [str(names.index(name)) for name in shown]


@given(st.text(min_size=0, max_size=50), st.integers(2, 40))
def test_a_name_in_a_plot_has_at_most_so_many_characters(name, most):
    found = shortened(name, most)
    assert found == (name if len(name) <= most else name[: most - 1] + "…")
    assert len(found) <= most
