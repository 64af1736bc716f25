"""Cells and stamps to whole numbers: exact, and absent is never 0."""

from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from wattshed.agent.errors import InputError
from wattshed.agent.inputs import quantities
from wattshed.agent.inputs.quantities import REASONS, cast_or_none, decimal_of, scaled_column, scaled_text
from wattshed.agent.inputs.timestamps import NO_TIME, TimestampParser, parse_number, parse_text, unit_of, zone
from wattshed.agent.inputs.unit_tables import ENERGY_MJ, POWER_MW

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOMENTS = st.datetimes(datetime(1971, 1, 1), datetime(2099, 12, 31))  # noqa: DTZ001 - naive on purpose


def micros(moment):
    return (moment.replace(tzinfo=moment.tzinfo or UTC) - EPOCH) // timedelta(microseconds=1)


@given(st.lists(st.decimals(0, 100_000, places=3), min_size=1, max_size=20), st.sampled_from(["W", "mW", "kW"]))
@settings(max_examples=examples(150), deadline=None)
def test_watts_are_exact_by_every_path(values, unit):
    want = [
        int((v * POWER_MW[unit].numerator / POWER_MW[unit].denominator).quantize(Decimal(1), ROUND_HALF_EVEN))
        for v in values
    ]
    texts = [str(v) for v in values]
    fast = scaled_column(pa.array(texts), POWER_MW[unit], POWER_MW)
    slow = scaled_column(pa.array([f"{t} {unit}" for t in texts]), POWER_MW["W"], POWER_MW)
    assert fast.value.tolist() == slow.value.tolist() == want
    assert not fast.reason.any()


@given(st.integers(0, 2**53 - 1))
def test_counters_keep_every_millijoule(value):
    assert scaled_column(pa.array([str(value)]), Fraction(1), ENERGY_MJ).value[0] == value
    assert scaled_column(pa.array([value]), Fraction(1), ENERGY_MJ).value[0] == value
    assert scaled_text(str(value), Fraction(1), ENERGY_MJ) == (value, 0)


@given(st.text(max_size=12))
@settings(max_examples=examples(200))
def test_no_text_crashes_and_none_becomes_a_number_by_accident(text):
    value, reason = scaled_text(text, POWER_MW["W"], POWER_MW)
    assert (value >= 0) == (reason == 0)
    column = scaled_column(pa.array([text, "1 W"]), POWER_MW["W"], POWER_MW)
    assert column.value[0] == value
    assert column.value[1] == 1000


@pytest.mark.parametrize(
    ("text", "number", "unit"),
    [("73,20 W", "73.20", "W"), ("1,234.5", "1234.5", ""), ("1.234,5", "1234.5", ""), ("1'234.5", "1234.5", ""),
     (".5", "0.5", ""), ("1e3 mW", "1000", "mW"), ("-3 W", "-3", "W"), ("12 345,6", "12345.6", ""),
     ("1,234,567 mJ", "1234567", "mJ"), ("1\u202f234", "1234", ""), ("100.", "100", ""), ("73,204", "73.204", "")],
)  # fmt: skip
def test_written_numbers(text, number, unit):
    assert decimal_of(text) == (Decimal(number), unit)


@pytest.mark.parametrize(
    ("cell", "reason"),
    [("100 W, 101 W", "packed"), ("100, 101", "packed"), ("100.50,101.20", "packed"), ("100.50,101", "packed"),
     ("[100, 101]", "packed"), ("100;101;102", "packed"), ("60W / 300W", "packed"), ("73,2 W, 73,5 W", "packed"),
     ("10 0", "packed"), ("1,234,5", "packed"), ("100 W, [N/A]", "packed"), ("99.10 W\x1f98.20 W", "packed"),
     ("[N/A], [N/A]", "not_available"), ("2024-05-01 10:00", "not_a_number"), ("GPU 0: 100 W", "not_a_number"),
     ("1.2.3", "not_a_number"), (", ,", "not_a_number")],
)  # fmt: skip
def test_several_numbers_in_a_cell_are_no_reading(cell, reason):
    assert decimal_of(cell) is None
    assert scaled_text(cell, POWER_MW["W"], POWER_MW) == (-1, REASONS.index(reason))
    for good in ("100", "100 W"):
        column = scaled_column(pa.array([good, cell, good]), POWER_MW["W"], POWER_MW)
        assert (column.value.tolist(), REASONS[column.reason[1]]) == ([100_000, -1, 100_000], reason)


numbers = st.decimals(0, 99_999, places=2).map(str)


@given(
    st.lists(numbers, min_size=2, max_size=8),
    st.sampled_from([", ", "; ", ";", "|", " | "]),
    st.sampled_from(["", " W", "W"]),
)
@settings(max_examples=examples(150), deadline=None)
def test_no_separator_makes_one_number_of_several(values, between, unit):
    value, reason = scaled_text(between.join(v + unit for v in values), POWER_MW["W"], POWER_MW)
    assert (value, REASONS[reason]) == (-1, "packed")


@pytest.mark.parametrize(
    ("cell", "reason"),
    [(float("nan"), "not_available"), (None, "not_available"), (-0.5, "negative"), (float("inf"), "not_a_number")],
)
def test_floats_that_are_no_reading(cell, reason):
    column = scaled_column(pa.array([cell, 1.0], pa.float64()), POWER_MW["W"], POWER_MW)
    assert (column.value.tolist(), REASONS[column.reason[0]]) == ([-1, 1000], reason)


def test_half_a_milliwatt_rounds_to_even():
    assert scaled_text("0.0005", POWER_MW["W"], POWER_MW) == (0, 0)
    assert scaled_text("0.0015", POWER_MW["W"], POWER_MW) == (2, 0)


@given(
    st.lists(MOMENTS, min_size=1, max_size=10),
    st.sampled_from(["/", "-"]),
    st.sampled_from([" ", "T"]),
    st.integers(0, 6),
)
@settings(max_examples=examples(150), deadline=None)
def test_written_times_are_exact_by_both_paths(moments, mark, between, places):
    texts, want = [], []
    for drawn in moments:
        fraction = f"{drawn.microsecond:06d}"[:places]
        moment = drawn.replace(microsecond=int(fraction.ljust(6, "0")))
        dot = "." if places else ""
        texts.append(moment.strftime(f"%Y{mark}%m{mark}%d{between}%H:%M:%S") + dot + fraction)
        want.append(micros(moment))
    texts = [text if len(text.split(mark)[0]) == 4 else text.rjust(19 + bool(places) + places, "0") for text in texts]
    assert TimestampParser().read(pa.array(texts)).tolist() == want
    mixed = TimestampParser().read(pa.array([*texts, "no time at all"]))
    assert mixed.tolist() == [*want, NO_TIME]


@given(MOMENTS, st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"]))
@settings(max_examples=examples(150), deadline=None)
def test_local_times_are_those_of_the_zone(moment, name):
    zone = ZoneInfo(name)
    moment = moment.replace(fold=0)  # written down, an hour that comes twice does not say which it is: the first
    local = moment.replace(tzinfo=zone)
    back = local.astimezone(UTC).astimezone(zone)
    if back.replace(tzinfo=None) != moment:  # skipped by the clock in spring
        return
    (got,) = TimestampParser(zone).read(pa.array([moment.isoformat()])).tolist()
    assert got == micros(local.astimezone(UTC))


@given(st.integers(0, 2_000_000_000_000_000))
@settings(max_examples=examples(100))
def test_epoch_seconds_with_six_decimals_are_exact(value):
    text = f"{value // 10**6}.{value % 10**6:06d}"
    assert TimestampParser(unit="s").read(pa.array([text, text])).tolist() == [value, value]
    assert parse_number(text, "s") == value


@pytest.mark.parametrize(
    ("text", "unit"),
    [("1700000000", "s"), ("1700000000000", "ms"), ("1700000000000000", "us"), ("1700000000000000000", "ns")],
)
def test_units_are_told_by_size(text, unit):
    assert unit_of(float(text)) == unit
    assert TimestampParser().read(pa.array([text])).tolist() == [1_700_000_000_000_000]
    assert TimestampParser().read(pa.array([int(text)])).tolist() == [1_700_000_000_000_000]


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("2024-03-05T10:00:00Z", "2024-03-05T10:00:00+00:00"),
        ("2024-03-05 10:00:00.5+02:00", "2024-03-05T08:00:00.5+00:00"),
        ("2024-03-05T10:00:00-0530", "2024-03-05T15:30:00+00:00"),
        ("2024-03-05", "2024-03-05T00:00:00+00:00"),
        ("05.03.2024 10:00:00", "2024-03-05T10:00:00+00:00"),
        ("5/3/2024 10:00", "2024-03-05T10:00:00+00:00"),
        ("3/25/2024 1:00:00 PM", "2024-03-25T13:00:00+00:00"),
        ("12/25/2024 12:30:00 AM", "2024-12-25T00:30:00+00:00"),
        ("Tue Jul 14 08:12:53 2026", "2026-07-14T08:12:53+00:00"),
        ("2024/03/05 10:00:00,250", "2024-03-05T10:00:00.25+00:00"),
    ],
)
def test_other_writings(text, want):
    found = parse_text(text)
    assert found is not None
    assert found[0] == micros(datetime.fromisoformat(want))


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2024-13-01 00:00:00", "2024-02-30 00:00:00", "25:00", "99999-01-01"]
)
def test_no_time(text):
    assert parse_text(text) is None
    assert TimestampParser().read(pa.array([text])).tolist() == [NO_TIME]


@given(
    st.lists(st.none() | st.sampled_from(["", "1.5", "-2", "1e3", "nan", "inf", "+1", "[N/A]", "7 W", "1,5"])),
    st.lists(st.sampled_from(["", "1.5", "[N/A]"]), max_size=40),
)
def test_text_is_numbers_if_the_whole_of_it_is(first, rest):
    column = pa.array([*first, *rest], pa.string())
    try:
        want = pc.cast(column, pa.float64())
    except pa.ArrowInvalid:
        want = None
    found = cast_or_none(column, pa.float64())
    assert found is None if want is None else str(found) == str(want)  # NaN is not equal to itself


@pytest.fixture
def cast(monkeypatch):
    """Count the cells of text that Arrow is told to read as numbers."""
    cells = []

    class Counting:
        def __getattr__(self, name):
            return getattr(pc, name)

        def cast(self, column, kind, **options):
            if pa.types.is_string(column.type) and not pa.types.is_string(kind):
                cells.append(len(column))
            return pc.cast(column, kind, **options)

    monkeypatch.setattr(quantities, "pc", Counting())
    return cells


def test_numbers_with_a_unit_are_read_once(cast):
    found = scaled_column(pa.array(["441.47 W"] * 10_000), POWER_MW["W"], POWER_MW)
    assert found.value.tolist() == [441_470] * 10_000
    assert sum(cast) < 10_100


def test_stamps_are_not_read_as_numbers(cast):
    times = TimestampParser().read(pa.array(["2024/05/01 10:00:00.000"] * 10_000))
    assert (times == 1_714_557_600_000_000).all()
    assert sum(cast) < 100


def test_the_repeated_hour_follows_the_order_of_the_file():
    clock = TimestampParser(ZoneInfo("Europe/Berlin"))
    texts = [f"2024-10-27 02:{m:02d}:00" for m in range(60)] * 2
    first, second = clock.read(pa.array(texts[:70])), clock.read(pa.array(texts[70:]))  # over two blocks
    times = np.concatenate([first, second])
    assert (np.diff(times) == 60_000_000).all()


def test_utc_is_known_by_identity():
    assert zone("UTC") is UTC
    assert zone("Europe/Berlin") is not UTC


def test_unknown_zone():
    with pytest.raises(InputError):
        zone("Mars/Olympus")
