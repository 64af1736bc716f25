"""One even grid from uneven readings, against the same written out reading by reading."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fleet import naive_fleet as naive
from wattshed.agent.errors import InputError
from wattshed.agent.fleet.demand import grid
from wattshed.agent.fleet.demand.grid import Load, on_grid
from wattshed.agent.fleet.demand.kept import KeptSeries, SeriesName
from wattshed.agent.fleet.demand.series import LoadRecording

SECOND = 1_000_000


def recording(*traces, kind="gpu", pieces=1):
    """Traces of GPUs on a host each, or of a job each, kept in so many pieces."""
    series = KeptSeries()
    for i, (times, powers) in enumerate(traces):
        name = SeriesName(job=str(i)) if kind == "job" else SeriesName(host=f"n{i}", gpu="0")
        columns = np.array(times, np.int64), np.array(powers, np.int64) * 1000
        for piece in zip(*(np.array_split(column, pieces) for column in columns), strict=True):
            series.add(name, *piece)
    return LoadRecording(series, kind, sum(len(t) for t, _ in traces), {})


@st.composite
def traces(draw, longest_ms=4000):
    """Readings at least a millisecond apart, now and then with a hole, of a power of their own each."""
    steps = draw(st.lists(st.integers(1, longest_ms), min_size=1, max_size=12))
    start = draw(st.integers(0, 3000))
    times = [start * 1000]
    for step in steps:
        times.append(times[-1] + step * 1000)
    return times, [draw(st.integers(1, 1000)) for _ in times]


@settings(max_examples=200, deadline=None)
@given(traces(), st.sampled_from([0.1, 0.25, 1.0, 2.5]))
def test_a_step_is_the_reading_on_it_or_else_the_mean_about_it(trace, step_s):
    times, powers = trace
    if times[-1] - times[0] < step_s * SECOND:
        return
    found = on_grid(recording(trace), step_s)
    assert found.power_w.size == (times[-1] - times[0]) // round(step_s * SECOND) + 1
    for i, watts in enumerate(found.power_w.tolist()):
        at = times[0] + i * round(step_s * SECOND)
        away = min(abs(t - at) for t in times)
        if away > 10 * step_s * SECOND:
            assert math.isnan(watts)
        elif away <= 0.01 * step_s * SECOND:
            assert watts in {p for t, p in zip(times, powers, strict=True) if abs(t - at) == away}
        else:
            half = step_s * SECOND / 2
            assert watts == pytest.approx(naive.mean_between(times, powers, at - half, at + half), rel=1e-6)


@settings(max_examples=100, deadline=None)
@given(st.lists(traces(), min_size=2, max_size=4), st.sampled_from(["gpu", "job"]))
def test_series_add_up_while_they_last(several, kind):
    """What is no job is known only while all are; a job draws nothing before it begins and after it has ended."""
    firsts, lasts = [t[0] for t, _ in several], [t[-1] for t, _ in several]
    first, last = (min(firsts), max(lasts)) if kind == "job" else (max(firsts), min(lasts))
    if last - first < SECOND:
        with pytest.raises(InputError, match="at least 2 and at most"):
            on_grid(recording(*several, kind=kind), 1.0)
        return
    found = on_grid(recording(*several, kind=kind), 1.0, unit="job" if kind == "job" else "host")
    assert (found.step_s, found.start_us, found.kind) == (1.0, first, kind)
    assert found.power_w.size == (last - first) // SECOND + 1
    parts = list(found.units.values())
    np.testing.assert_allclose(found.power_w, np.sum(parts, axis=0), rtol=1e-12)
    known = ~np.isnan(found.power_w)
    assert found.largest_w == tuple(part[known].max(initial=0.0) for part in parts)
    for (times, _), part in zip(several, parts, strict=True):
        at = first + np.arange(part.size) * SECOND
        outside = (at < times[0] - SECOND // 2) | (at > times[-1] + SECOND // 2)
        assert (part[outside] == 0).all() if kind == "job" else np.isnan(part[outside]).all()
        close = np.abs(at[:, None] - np.array(times)).min(axis=1) <= SECOND
        assert not np.isnan(part[close]).any()


def test_the_grid_is_the_longest_of_the_periods():
    fast, slow = ([i * 500_000 for i in range(9)], range(1, 10)), ([0, SECOND, 4 * SECOND], [10, 20, 30])
    assert on_grid(recording(fast, slow)).step_s == 2.0  # the median of one and three seconds
    assert on_grid(recording(fast, fast)).step_s == 0.5
    assert on_grid(recording(fast, slow, kind="job"), 1.0).power_w.tolist()[:2] == [11, 23]
    with pytest.raises(InputError, match="at least two readings"):
        on_grid(recording(([5], [1])))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.booleans(), max_size=20))
def test_the_longest_stretch_without_a_hole(known):
    power = np.where(known, np.arange(1.0, len(known) + 1), np.nan) if known else np.empty(0)
    best = []
    run = []
    for watts in [*power.tolist(), math.nan]:
        run = [] if math.isnan(watts) else [*run, watts]
        best = run if len(run) > len(best) else best
    assert Load(1.0, 0, power, "total").stretch.tolist() == best


@settings(max_examples=60, deadline=None)
@given(st.lists(traces(), min_size=1, max_size=3), st.integers(1, 5), st.sampled_from(["gpu", "job"]))
def test_how_much_is_held_at_once_changes_no_figure(several, pieces, kind):
    """Neither pieces of a series nor stretches of the grid change a value by more than the rounding of sums."""
    try:
        whole = on_grid(recording(*several, kind=kind), 0.1, unit="job")
    except InputError:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grid, "stretches", lambda n, _: ((low, min(low + 7, n)) for low in range(0, n, 7)))
        parts = on_grid(recording(*several, kind=kind, pieces=pieces), 0.1, unit="job")
    np.testing.assert_allclose(parts.power_w, whole.power_w, rtol=1e-9)
    assert parts.largest_w == pytest.approx(whole.largest_w)


def test_a_gap_that_the_user_calls_none_is_bridged():
    holey = [0, SECOND, 2 * SECOND, 62 * SECOND, 63 * SECOND], [100] * 5
    assert np.isnan(on_grid(recording(holey)).power_w).sum() == 60 - 21
    assert not np.isnan(on_grid(recording(holey), max_gap_s=60.0).power_w).any()
    assert np.isnan(on_grid(recording(holey), max_gap_s=10.0).power_w).sum() == 60 - 11
