"""A time that is missing or cannot be is no time, in columns of every type; the others stand."""

import pyarrow as pa
import pytest

from wattshed.agent.inputs.timestamps import NO_TIME, TimestampParser

FIRST = 1_700_000_000


@pytest.mark.parametrize("scale", [1, 1_000, 1_000_000, 1_000_000_000])
@pytest.mark.parametrize("kind", [int, float])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_missing_number_is_no_time_wherever_it_stands(scale, kind, place):
    values = [FIRST * scale, (FIRST + 1) * scale]
    values.insert(place, None)
    expected = [FIRST * 1_000_000, (FIRST + 1) * 1_000_000]
    expected.insert(place, NO_TIME)
    assert (
        TimestampParser().read(pa.array([None if value is None else kind(value) for value in values])).tolist()
        == expected
    )


@pytest.mark.parametrize("wrong", [2**62, -(2**62)])
def test_a_number_that_no_calendar_holds_is_no_time(wrong):
    found = TimestampParser().read(pa.array([FIRST, wrong, None, FIRST + 1], pa.int64())).tolist()
    assert found == [FIRST * 1_000_000, NO_TIME, NO_TIME, (FIRST + 1) * 1_000_000]


@pytest.mark.parametrize("kind", [pa.int64(), pa.float64()])
def test_nothing_but_missing_numbers(kind):
    assert TimestampParser().read(pa.array([None, None], kind)).tolist() == [NO_TIME] * 2
