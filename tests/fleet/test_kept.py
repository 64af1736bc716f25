"""Readings that are kept: in memory or in a temporary file, in any pieces, the same come back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from wattshed.agent.errors import InputError
from wattshed.agent.fleet.demand import kept
from wattshed.agent.fleet.demand.kept import KeptSeries, SeriesName

READINGS = st.dictionaries(st.integers(0, 400), st.integers(0, 2**40), min_size=1, max_size=60)
A, B = SeriesName(gpu="0"), SeriesName("job", "host", "1")


def filled(in_memory, series, pieces, dtype=np.int64):
    found = KeptSeries(in_memory)
    for i in range(pieces):
        for name, readings in series.items():
            times = np.array_split(sorted(readings), pieces)[i].tolist()
            found.add(name, np.array(times, np.int64), np.array([readings[t] for t in times], dtype))
    return found


@settings(max_examples=examples(60), deadline=None)
@given(
    READINGS,
    READINGS,
    st.sampled_from([1, 7, 1_000, 1_500, 10**9, 10**11]),
    st.integers(1, 6),
    st.sampled_from([0, 100, 1 << 20]),
    st.integers(-5, 405),
    st.integers(0, 90),
)
def test_what_is_kept_comes_back(first, second, apart_us, pieces, in_memory, start, length):
    series = {name: {apart_us * t: mw for t, mw in of.items()} for name, of in ((A, first), (B, second))}
    start, length = apart_us * start, apart_us * length
    found = filled(in_memory, series, pieces)
    assert found.settle() == 0
    assert list(found) == [A, B]
    for name, readings in series.items():
        times = sorted(readings)
        time_us, power_w = found[name]
        assert time_us.tolist() == times
        assert power_w.tolist() == [readings[t] / 1e3 for t in times]
        assert found.span_us(name) == (times[0], times[-1])
        assert found.period_us(name) == (np.median(np.diff(times)) if len(times) > 1 else None)
        inside = [t for t in times if start <= t <= start + length]
        before, after = [t for t in times if t < start][-1:], [t for t in times if t > start + length][:1]
        around = found.between(name, start, start + length)[0]
        assert around.tolist() == before + inside + after
        # As much as is known without reading them: no step of theirs is longer, and some step of the series is as long.
        bound = found.longest_step_us(name, start, start + length)
        assert np.diff(around).max(initial=0) <= bound <= np.diff(times).max(initial=0)
    found.close()


@pytest.mark.parametrize("in_memory", [0, 1 << 20])
def test_readings_out_of_order_are_ordered_and_the_first_of_a_moment_counts(in_memory):
    found = KeptSeries(in_memory)
    for times, powers in (([5, 7], [1, 2]), ([1, 5, 6], [3, 4, 5]), ([7, 7], [6, 7])):
        found.add(A, np.array(times), np.array(powers, np.int32))
    assert found.settle() == 3
    assert [column.tolist() for column in found[A]] == [[1, 5, 6, 7], [0.003, 0.001, 0.005, 0.002]]
    assert found.settle() == 0
    found.close()


@pytest.mark.parametrize(("step_us", "bytes_each"), [(1_000_000, 8), (100, 8), (10_000_000_001, 12)])
def test_times_take_half_their_bytes_where_they_can(step_us, bytes_each):
    """Milliseconds of days, and microseconds of an hour, are counted from the first."""
    found = KeptSeries()
    found.add(A, 10**15 + np.arange(1000) * step_us, np.ones(1000, np.int32))
    assert found.nbytes == 1000 * bytes_each


def test_the_period_of_a_long_series_is_that_of_all_of_it():
    """Not of its beginning: a log whose period changed has the one that it mostly had."""
    found = KeptSeries()
    for start, step in ((0, 10), (10_000, 100), (200_000, 100), (400_000, 100)):
        found.add(A, start + np.arange(1000) * step, np.ones(1000, np.int32))
    assert found.period_us(A) == found.period_us(A, most=1500) == 100


def test_no_room_is_one_line(monkeypatch):
    class Full:
        def seek(self, *_):
            return 0

        def write(self, _):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept.tempfile, "TemporaryFile", lambda **_: Full())
    with pytest.raises(InputError, match=r"no room for readings beyond 0 MiB .*No space left.*; set TMPDIR"):
        KeptSeries(0).add(A, np.array([1]), np.array([1]))


@pytest.mark.parametrize(
    ("name", "text"), [(("a", "b", "0"), "a/b/0"), (("", "h", "GPU-1"), "h/GPU-1"), (("", "", ""), "total")]
)
def test_a_series_is_named_by_what_is_known(name, text):
    assert str(SeriesName(*name)) == text
