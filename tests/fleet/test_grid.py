"""One even grid from uneven readings, against the same written out reading by reading."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from tests.fleet import naive_fleet as naive
from wattshed.agent.errors import InputError
from wattshed.agent.fleet.demand import grid
from wattshed.agent.fleet.demand.grid import Load, on_grid
from wattshed.agent.fleet.demand.kept import KeptSeries, SeriesName
from wattshed.agent.fleet.demand.series import LoadRecording
from wattshed.kernels import threads

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


def naive_series(several, max_gap_s=None):
    """The same traces, reading by reading."""
    found = []
    for times, powers in several:
        period = np.median(np.diff(times))
        found.append(naive.held(times, powers, period / 2, 10 * period if max_gap_s is None else max_gap_s * 5e5))
    return found


STEPS = st.floats(0.05, 30.0) | st.sampled_from([0.1, 1.0, 2.5])


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(traces(), min_size=1, max_size=3), STEPS, st.sampled_from(["gpu", "job"]), st.none() | st.floats(0, 9))
def test_any_step_conserves_energy(several, step_s, kind, max_gap_s):
    """Every step has the mean of what is known of it, and all steps together the energy of the recording."""
    series = naive_series(several, max_gap_s)
    begins, ends = [one[0][0] for one in series], [one[-1][1] for one in series]
    begin, end = (min(begins), max(ends)) if kind == "job" else (max(begins), min(ends))
    try:
        found = on_grid(recording(*several, kind=kind), step_s, max_gap_s=max_gap_s)
    except InputError:
        assert end - begin <= (1 + 1e-6) * step_s * SECOND
        return
    energy, known = naive.sums_between(series, begin, end, kind == "job")
    assert found.covered_s.sum() == pytest.approx(known / SECOND, rel=1e-9, abs=1e-9)
    assert np.nansum(found.power_w * found.covered_s) == pytest.approx(energy / SECOND, rel=1e-9, abs=1e-9)
    for i, watts in list(enumerate(found.power_w.tolist()))[:20]:
        low = begin + i * step_s * SECOND
        high = end if i + 1 == found.power_w.size else low + step_s * SECOND
        energy, known = naive.sums_between(series, low, high, kind == "job")
        assert found.covered_s[i] * SECOND == pytest.approx(known, abs=1e-2)
        if known > 1.0:
            assert watts == pytest.approx(energy / known, rel=1e-6)


@settings(max_examples=examples(50), deadline=None)
@given(st.lists(st.integers(1, 1000), min_size=2, max_size=40), st.integers(1, 5000))
def test_at_its_own_rate_a_recording_is_its_readings(powers, step_ms):
    found = on_grid(recording(([i * step_ms * 1000 for i in range(len(powers))], powers)))
    assert found.power_w.tolist() == powers
    assert (found.start_us, found.step_s) == (0, step_ms / 1000)


@settings(max_examples=examples(50), deadline=None)
@given(st.lists(st.integers(1, 1000), min_size=4, max_size=40), st.integers(2, 9))
def test_a_coarser_step_is_the_mean_of_its_readings(powers, k):
    found = on_grid(recording(([i * SECOND for i in range(len(powers))], powers)), 1.0)
    if len(powers) <= k:
        return
    coarse = on_grid(recording(([i * SECOND for i in range(len(powers))], powers)), float(k))
    assert found.power_w.tolist() == powers
    assert coarse.power_w.tolist() == pytest.approx([np.mean(powers[i : i + k]) for i in range(0, len(powers), k)])


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(traces(), min_size=2, max_size=4), st.sampled_from(["gpu", "job"]))
def test_series_add_up_while_they_last(several, kind):
    """What is no job is known only while all are; a job draws nothing before it begins and after it has ended."""
    try:
        found = on_grid(recording(*several, kind=kind), 1.0, unit="job" if kind == "job" else "host")
    except InputError:
        return
    parts = list(found.units.values())
    np.testing.assert_allclose(found.power_w, np.sum(parts, axis=0), rtol=1e-12)
    whole = ~np.isnan(found.steps_w)
    assert found.largest_w == tuple(part[whole].max(initial=0.0) for part in parts)


def test_the_rest_of_a_step_is_no_extreme():
    """A reading that begins a step that the recording cuts has its energy, and is no mean over a step."""
    found = on_grid(recording(([i * SECOND for i in range(61)], [100] * 60 + [1000])), 10.0)
    assert found.power_w.tolist() == [100] * 6 + [1000]
    assert found.covered_s.tolist() == [10.0] * 6 + [1.0]
    assert np.nanmax(found.steps_w) == 100.0
    assert found.stretch.size == 6


def test_the_grid_is_the_longest_of_the_periods():
    fast, slow = ([i * 500_000 for i in range(9)], range(1, 10)), ([0, SECOND, 4 * SECOND], [10, 20, 30])
    assert on_grid(recording(fast, slow)).step_s == 2.0  # the median of one and three seconds
    assert on_grid(recording(fast, fast)).step_s == 0.5
    with pytest.raises(InputError, match="at least two readings"):
        on_grid(recording(([5], [1])))


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(st.booleans(), max_size=20))
def test_the_longest_stretch_without_a_hole(known):
    power = np.where(known, np.arange(1.0, len(known) + 1), np.nan) if known else np.empty(0)
    best = []
    run = []
    for watts in [*power.tolist(), math.nan]:
        run = [] if math.isnan(watts) else [*run, watts]
        best = run if len(run) > len(best) else best
    assert Load(1.0, 0, power, "total").stretch.tolist() == best


@settings(max_examples=examples(60), deadline=None)
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
    np.testing.assert_allclose(parts.covered_s, whole.covered_s, atol=1e-9)
    assert parts.largest_w == pytest.approx(whole.largest_w)


@pytest.mark.parametrize("in_memory", [0, 1 << 28])
def test_threads_change_no_figure(monkeypatch, in_memory):
    """Stretches filled side by side, from memory or from a file, are those of one thread, to the last digit."""
    random = np.random.default_rng(5)
    kept = KeptSeries(in_memory)
    for gpu in range(5):
        apart = random.integers(900_000, 1_100_000, 2000)
        apart[random.integers(2000, size=gpu)] = 40 * SECOND
        for time_us, power in zip(np.split(np.cumsum(apart), 4), random.integers(1, 10**6, (4, 500)), strict=True):
            kept.add(SeriesName(host=f"n{gpu}", gpu="0"), time_us, power)
    series = LoadRecording(kept, "gpu", 10_000, {})
    alone = on_grid(series, unit="host")
    monkeypatch.setattr(grid, "stretches", lambda n, _: ((low, min(low + 64, n)) for low in range(0, n, 64)))
    cut = on_grid(series, unit="host")
    monkeypatch.setattr(threads, "FEW_ROWS", 0)
    several = on_grid(series, unit="host")
    for found in (several, cut):
        np.testing.assert_allclose(found.power_w, alone.power_w, rtol=1e-9)
    np.testing.assert_array_equal(several.power_w, cut.power_w)
    np.testing.assert_array_equal(several.known_s, cut.known_s)
    assert several.largest_w == cut.largest_w
    for name, power in several.units.items():
        np.testing.assert_array_equal(power, cut.units[name])
    kept.close()


def test_a_gap_that_the_user_calls_none_is_bridged():
    holey = [0, SECOND, 2 * SECOND, 62 * SECOND, 63 * SECOND], [100] * 5
    assert on_grid(recording(holey)).covered_s.sum() == 64 - 40
    assert on_grid(recording(holey)).covered_s.max() == 1.0
    assert on_grid(recording(holey), max_gap_s=60.0).covered_s.sum() == 64
    assert on_grid(recording(holey), max_gap_s=10.0).covered_s.sum() == 64 - 50
