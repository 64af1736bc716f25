"""Energy of a month from some of its hours: the unit is what was drawn, and the interval covers the month."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from tests.fleet.simulated_months import OCTOBER, coverage, month, rows, some_days, some_passes
from wattshed.agent.errors import InputError
from wattshed.agent.fleet.estimate.period import energy, period_of


def test_days_by_hand():
    """The ratio of energy to hours, times the hours; the variance between days."""
    load = np.repeat([100.0, 140.0, 90.0] + [1.0] * 28, 24)
    hours = [*range(24), *range(24, 48), *range(48, 72)]
    moved = {hour + 24 * 5 * (i // 24): watts for i, (hour, watts) in enumerate(rows(load, hours).items())}
    found = energy({"": moved}, OCTOBER)
    assert found.unit == "day"
    assert (found.units, found.of, found.hours) == (3, 31, 72)
    assert found.estimate.total == pytest.approx(110.0 * 744)
    spread = np.std([2400.0, 3360.0, 2160.0], ddof=1)
    assert found.estimate.se == pytest.approx(31 * spread * np.sqrt((1 - 3 / 31) / 3))
    assert found.estimate.df == pytest.approx(2)


@pytest.mark.parametrize(("draw", "width"), [(some_days, 0.6), (some_passes, 0.12)])
def test_the_interval_covers_hours_that_hang_together(draw, width):
    share, half = coverage(draw, 60)
    assert share >= 0.86
    assert half < width


def test_hours_in_a_row_give_no_interval():
    """They are one piece of the month, however many they are."""
    load = month(np.random.default_rng(1))
    found = energy({"": rows(load, range(240, 336))}, OCTOBER)
    assert (found.estimate.lower, found.estimate.upper, found.estimate.se) == (None, None, None)
    assert "4 days in a row are one piece of the period" in found.estimate.warnings[0]
    one = energy({"": rows(load, range(24))}, OCTOBER).estimate
    assert one.lower is None
    assert one.warnings[0].startswith("one day gives no interval")


@settings(max_examples=examples(10), deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_what_was_measured_whole_is_exact(seed):
    load = month(np.random.default_rng(seed))
    for found in (
        energy({"": rows(load, range(744))}, OCTOBER),
        energy({str(s): rows(load, range(s, 744, 24)) for s in range(24)}, OCTOBER),
    ):
        assert found.estimate.total == pytest.approx(load.sum())
        assert found.estimate.upper - found.estimate.lower == pytest.approx(0.0, abs=1e-3)


def test_periods():
    assert period_of("2026-02").hours == 28 * 24
    assert period_of("2028").hours == 366 * 24
    assert period_of("2026-12-31").hours == 24
    assert period_of("2026-12").start_h + 31 * 24 == period_of("2027").start_h
    assert period_of("2026-10", "Europe/Berlin").hours == 745
    for text in ("2026-13", "october", "2026-1", "2026-02-30", "0000"):
        with pytest.raises(InputError, match="is no period"):
            period_of(text)
    with pytest.raises(InputError, match="is no time zone"):
        period_of("2026-10", "Mars/Base")


def test_a_pass_goes_through_the_whole_period_and_counts_once():
    load = month(np.random.default_rng(3))
    whole = {str(s): rows(load, range(s, 744, 45)) for s in (0, 7, 44)}
    found = energy(whole, OCTOBER)
    assert (found.unit, found.units, found.of) == ("pass", 3, 45)
    half = rows(load, range(7, 372, 45))
    with pytest.raises(InputError, match=r"pass '7' has 9 of its 17 hours: a pass goes through the whole of 2026-10"):
        energy(whole | {"7": half}, OCTOBER)
    with pytest.raises(InputError, match=r"passes '44' and 'again' are the same hours; give each once"):
        energy(whole | {"again": whole["44"]}, OCTOBER)


def test_days_of_a_zone_off_by_half_an_hour(fleet, files):
    """An hour of India begins at half past in UTC; a day has 24 of them all the same."""
    period = period_of("2026-10", "Asia/Kolkata")
    assert (period.hours, len(period.days)) == (744, 31)
    assert (period.days[0], period.days[-1]) == ("2026-10-01", "2026-10-31")
    words = ("estimate", "--period", "2026-10", "--times", files(t_csv=TIMES))
    found = [fleet(*words, "--timezone", zone, "--json").json for zone in ("UTC", "Asia/Kolkata")]
    assert found[0] == found[1]
    assert (found[1]["units"], found[1]["of"], found[1]["hours_measured"]) == (4, 31, 96)
    assert not any("hours of the measured days are missing" in w for w in found[1]["warnings"])


DAYS = (3, 9, 22, 28)
TIMES = "time,value\n" + "".join(f"2026-10-{d:02}T{h:02}:00,{1000 + 10 * d}\n" for d in DAYS for h in range(24))


def test_the_command(fleet, files):
    path = files(t_csv=TIMES)
    words = ("estimate", "--period", "2026-10", "--times", path)
    found, text = fleet(*words, "--json").json, fleet(*words).out
    assert found["schema"] == "wattshed.period/1"
    assert found["total"] == pytest.approx(1155 * 744)
    assert (found["unit"], found["sampling_unit"], found["units"], found["of"]) == ("Wh", "day", 4, 31)
    assert found["lower"] < found["total"] < found["upper"]
    assert text.startswith("2026-10: 859.3 kWh, 95% interval ")
    assert "Sampling unit: day, 4 of 31; 96 of 744 hours measured." in text
    assert fleet(*words, "--sample", path, "--population", path).code == 2
    assert "--times needs --period" in fleet("estimate", "--times", path).err
    assert "--method needs --sample" in fleet(*words, "--method", "ratio").err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("time,value\n2026-11-01T00:00,3\n", "t.csv:2:1: time: 2026-11-01T00:00 is not in 2026-10"),
        ("time,value\n2026-10-01T00:00,3\n2026-10-01T00:30,3\n", "t.csv:3:1: time: 2026-10-01T00:30 appears twice"),
        ("time,value\nnoon,3\n", "t.csv:2:1: time: 'noon' is no time"),
        ("time,value,load\n", "t.csv:1:3: column 'load' is not used here"),
        ("time,value\n", "contains no hour"),
        ("time,value,pass\n2026-10-01T00,3,a\n2026-10-01T05,3,a\n2026-10-01T06,3,a\n", "is not systematic"),
    ],
)
def test_times_that_cannot_be_used(fleet, files, text, said):
    found = fleet("estimate", "--period", "2026-10", "--times", files(t_csv=text))
    assert found.code == 2
    assert said in found.err
