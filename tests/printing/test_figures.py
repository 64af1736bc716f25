"""Figures for people: digits that mean something, and no control characters."""

import re
from datetime import UTC
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed.agent.printing import figures

IN_JOULES = {"mWh": Decimal("3.6"), "Wh": 3600, "kWh": 3_600_000, "MWh": 3_600_000_000, "GWh": 3_600_000_000_000}


@pytest.mark.parametrize(
    ("joules", "sigma_j", "shown"),
    [
        ("0", 0.0, "0 ± 0 mWh"),
        ("1000", 5.0, "277.8 ± 2.8 mWh"),
        ("123456.7", 1000.0, "34.29 ± 0.56 Wh"),
        ("3600000", 36_000.0, "1.000 ± 0.020 kWh"),
        ("3600000", 19_000.0, "1.000 ± 0.011 kWh"),
        ("9876543210", 9e7, "2.743 ± 0.050 MWh"),
        ("50", 1e5, "0 ± 56,000 mWh"),
        ("7200000000000", 0.001, "2.000 ± 0.001 GWh"),
        ("123456.7", 1792.8, "34.3 ± 1.0 Wh"),
        ("2358000", 275_000.0, "660 ± 160 Wh"),
        ("123456.7", 0.0, "34.29 ± 0.00 Wh"),
        ("3600001", 0.0, "1.000 ± 0.000 kWh"),
    ],
)
def test_an_energy_has_the_digits_that_its_doubt_leaves(joules, sigma_j, shown):
    assert figures.energy(joules, sigma_j) == shown


@given(hnj=st.integers(0, 2**80), sigma_j=st.floats(0, 1e12))
def test_an_energy_is_shown_no_surer_than_it_is(hnj, sigma_j):
    joules = Decimal(hnj) / 2_000_000_000
    value, doubt, unit = re.fullmatch(r"(\S+) ± (\S+) (\w+)", figures.energy(f"{joules:f}", sigma_j)).groups()
    value, doubt = (Decimal(text.replace(",", "")) for text in (value, doubt))
    step = Decimal(1).scaleb(max(doubt.adjusted() - 1, -3) if doubt else value.as_tuple().exponent)
    assert value.as_tuple().exponent == doubt.as_tuple().exponent >= -3
    assert doubt % step == value % step == 0, "two digits of the doubt, and the figure to the last of them"
    assert abs(value - joules / IN_JOULES[unit]) <= step / 2
    assert 0 <= doubt - Decimal(repr(sigma_j)) * 2 / IN_JOULES[unit] <= step
    assert (doubt == 0) == (sigma_j == 0)
    larger = [size for size in IN_JOULES.values() if size > IN_JOULES[unit]]
    assert unit == "mWh" or joules >= IN_JOULES[unit], "the largest unit of which there is one"
    assert not larger or joules < min(larger)


@given(st.text())
def test_no_control_character_is_left_and_plain_text_stays(text):
    shown = figures.printable(text)
    assert shown.isprintable()
    assert shown == text or not text.isprintable()


def test_text_that_steers_a_terminal_is_spelt_out():
    assert figures.printable("a\x1b[31m\u202eb\n") == r"a\x1b[31m\u202eb\n"


def test_times_and_lengths():
    assert figures.elapsed(93_784.9) == "1-02:03:04"
    assert figures.elapsed(59.9) == "00:00:59"
    assert figures.elapsed(-1.0) == "00:00:00"
    assert figures.moment(None, UTC) == "-"
    assert figures.moment(1_772_323_200, UTC) == "2026-03-01 00:00"
    assert figures.moment(1_772_323_200, ZoneInfo("America/New_York")) == "2026-02-28 19:00"
    assert figures.moment(1_772_323_200, UTC, year=2026) == "03-01 00:00"
    assert figures.moment(1_772_323_200, UTC, year=2027) == "2026-03-01"


@given(st.integers(0, 400), st.integers(0, 23), st.sampled_from([0, 1, 58, 59]), st.sampled_from([0, 1, 58, 59]))
def test_a_length_of_time_is_its_days_hours_minutes_and_seconds(days, hours, minutes, seconds):
    whole = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    assert figures.elapsed(whole + 0.9) == (f"{days}-" if days else "") + f"{hours:02}:{minutes:02}:{seconds:02}"


@pytest.mark.parametrize(("seconds", "text"), [(86_399, "23:59:59"), (86_400, "1-00:00:00"), (172_799, "1-23:59:59")])
def test_a_day_ends_with_its_last_second(seconds, text):
    assert figures.elapsed(seconds) == text


def test_powers():
    assert [figures.watts(value) for value in (None, 0.04, 9.96, 1234.5)] == ["-", "0.0", "10.0", "1,234"]


def test_bars_go_from_nothing_to_the_highest():
    assert figures.sparkline([0, 1, None, 4, 8]) == "▁▂ ▅█"
    assert figures.sparkline([0, 0.0, None]) == "▁▁ "
    assert figures.sparkline([]) == ""
