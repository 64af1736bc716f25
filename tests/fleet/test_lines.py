"""A line of known amplitude and frequency is found within 5 % through every kind of meter, or told to be one of two."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples, few
from wattshed.agent.fleet.demand.grid import on_grid
from wattshed.agent.fleet.demand.kept import KeptSeries, SeriesName
from wattshed.agent.fleet.demand.lines import find_lines
from wattshed.agent.fleet.demand.series import LoadRecording
from wattshed.agent.fleet.demand.spectrum import analyse

SPAN_S, LEVEL_W, SWING_W, GPUS = 120.0, 400.0, 60.0, 4


def energy_j(t, hz, swing_w=SWING_W):
    """Of one GPU whose power is LEVEL_W + swing_w cos(2 pi hz t), since 0."""
    return LEVEL_W * t + swing_w * np.sin(2 * np.pi * hz * t) / (2 * np.pi * hz)


def polls(random, period_s, jitter):
    """Stamps that are not quite even, as those of a program that polls are, in whole microseconds."""
    t = np.arange(5.0, 5.0 + SPAN_S, period_s)
    return np.rint((t + random.uniform(0, jitter * period_s, t.size)) * 1e6) / 1e6


def recording(powers, counters=()):
    """Of series of times (s) and watts, and of times and joules."""
    kept, counted = KeptSeries(), KeptSeries()
    for series, of in ((kept, powers), (counted, counters)):
        for i, (t, values) in enumerate(of):
            series.add(
                SeriesName(host="n", gpu=str(i)), np.rint(t * 1e6).astype(np.int64), np.rint(values * 1e3).astype(int)
            )
    return LoadRecording(kept, "gpu", 0, {}, (), counted, frozenset(counted))


def instant(random, hz):
    t = polls(random, 0.1, 0.2)
    return recording([(t, LEVEL_W + SWING_W * np.cos(2 * np.pi * hz * t) + random.normal(0, 10, t.size))]), 0.0


def averaged(random, hz, window_s=0.15):
    t = polls(random, 0.1, 0.2)
    return recording([(t, (energy_j(t, hz) - energy_j(t - window_s, hz)) / window_s)]), window_s


def counted(random, hz, step_s=0.0):
    """GPUs whose counters are published every ``step_s``, each at its own moments."""
    powers, counters = [], []
    for _ in range(GPUS):
        t = polls(random, 0.1, 0.02)
        late = t if not step_s else np.floor((t - random.uniform(0, step_s)) / step_s) * step_s
        joules = energy_j(late, hz)
        moved = np.diff(joules, prepend=-1) > 0
        powers.append((t, np.full(t.size, LEVEL_W)))
        counters.append((t[moved], joules[moved]))
    return recording(powers, counters), 0.0


METERS = {
    "instant": (instant, 1),
    "mean over 150 ms": (averaged, 1),
    "counter": (counted, GPUS),
    "counter every 20 ms": (lambda random, hz: counted(random, hz, 0.02), GPUS),
    "counter every 53 ms": (lambda random, hz: counted(random, hz, 0.053), GPUS),
    "counter every 100 ms": (lambda random, hz: counted(random, hz, 0.1), GPUS),
}


@pytest.mark.parametrize("hz", few([0.31, 0.77, 1.23, 1.77, 2.2, 2.54], plain=2))
@pytest.mark.parametrize("meter", METERS)
def test_a_line_is_found_through_every_meter(meter, hz):
    make, gpus = METERS[meter]
    recorded, window_s = make(np.random.default_rng(round(100 * hz)), hz)
    lines = find_lines(on_grid(recorded), recorded, meter_window_s=window_s)
    (line,) = [line for line in lines if line.hz == pytest.approx(hz, abs=0.1 / SPAN_S)]
    assert line.rms_w == pytest.approx(gpus * SWING_W / math.sqrt(2), rel=0.05)
    assert line.lower_w <= line.rms_w <= line.upper_w
    if gpus > 1:
        assert line.in_step > 0.9


@pytest.mark.parametrize("window_s", [0.0, 1.0])
def test_the_interval_of_a_line_grows_with_what_the_meter_took(window_s):
    """A mean over a second leaves an eighth of 2.54 Hz, and all of the noise of its readings; 95 % of 40 are 38."""
    held = 0
    for seed in range(40):
        random = np.random.default_rng(seed)
        t, hz = polls(random, 0.1, 0.2), 2.54
        power = LEVEL_W + SWING_W * np.sinc(hz * window_s) * np.cos(2 * np.pi * hz * (t - window_s / 2))
        recorded = recording([(t, power + random.normal(0, 10, t.size))])
        lines = find_lines(on_grid(recorded), recorded, meter_window_s=window_s)
        line = min(lines, key=lambda line: abs(line.hz - hz))
        held += line.lower_w <= SWING_W / math.sqrt(2) <= line.upper_w
    assert held >= 34


def test_a_beat_of_a_counter_is_not_in_step():
    """A counter that is published every 53 ms and read every 100 ms shows 1.13 Hz, on each GPU in its own phase."""
    recorded, _ = counted(np.random.default_rng(1), 1.0, 0.053)
    lines = {round(line.hz, 2): line for line in find_lines(on_grid(recorded), recorded)}
    assert lines[1.0].in_step > 0.99
    assert lines[1.13].in_step < 0.9


def published(seed, hz, every_s, read_s, swing_w, gpus=1):
    """GPUs whose counters are published every ``every_s``, with 2 ms of jitter, and read together."""
    random = np.random.default_rng(seed)
    t = polls(random, read_s, 0.02)
    series = []
    for _ in range(gpus):
        moments = np.arange(2.0, 8.0 + SPAN_S, every_s * (1.0 + random.normal(0, 1e-4)))
        moments += random.uniform(0, every_s) + random.uniform(0, 0.002, moments.size)
        joules = energy_j(moments, hz, swing_w)[np.searchsorted(moments, t, side="right") - 1]
        moved = np.diff(joules, prepend=-1) > 0
        series.append((t[moved], joules[moved]))
    return recording([(t, np.full(t.size, LEVEL_W))] * gpus, series)


@pytest.mark.parametrize("swing_w", [60.0, 300.0])
@pytest.mark.parametrize(("every_s", "read_s"), [(0.1, 0.09), (0.053, 0.05), (0.1, 0.02)])
def test_a_counter_of_which_each_value_is_read_shows_the_line_and_no_beat(every_s, read_s, swing_w):
    """It beats with the readings at 1.11 or 1.13 Hz; at its moments of publication it does not."""
    recorded = published(1, 2.2, every_s, read_s, swing_w, 2)
    (line,) = find_lines(on_grid(recorded), recorded)
    assert line.hz == pytest.approx(2.2, abs=0.1 / SPAN_S)
    assert line.rms_w == pytest.approx(2 * swing_w / math.sqrt(2), rel=0.01)
    assert line.upper_w - line.lower_w < 0.15 * line.rms_w
    assert line.in_step > 0.99
    assert line.moments_known


PUBLISHED = st.sampled_from([0.02, 0.053, 0.057, 0.07, 0.1])


@settings(max_examples=examples(12), deadline=None)
@given(PUBLISHED, st.sampled_from([0.05, 0.0997, 0.1003, 0.1, 0.12]), st.sampled_from([1, 3]), st.integers(0, 1000))
def test_the_interval_of_a_line_holds_whenever_its_counter_was_published(every_s, read_s, gpus, seed):
    """Between readings come none, one or several publications, which nobody saw: what that may change is in it."""
    random = np.random.default_rng(seed)
    swing_w, hz = random.uniform(50, 300), random.uniform(0.4, 0.45 / max(every_s, read_s))
    recorded = published(seed, hz, every_s, read_s, swing_w, gpus)
    near = [one for one in find_lines(on_grid(recorded), recorded) if abs(one.hz - hz) < 2 / SPAN_S]
    truth_w = gpus * swing_w / math.sqrt(2)
    assert any(one.lower_w <= truth_w <= one.upper_w for one in near)
    assert max(one.upper_w - one.lower_w for one in near) < 1.2 * truth_w


@pytest.mark.parametrize("gpus", [3, 70])  # each at its stamps, and their sum on its grid
@pytest.mark.parametrize("step_s", [None, 0.2])
def test_a_line_of_many_gpus_and_of_jobs_that_come_and_go(gpus, step_s):
    t = np.arange(0, 60, 0.1)
    line = SWING_W * np.cos(2 * np.pi * 1.7 * t)
    recorded = recording([(t, LEVEL_W + line)] * gpus)
    (found, *_) = find_lines(on_grid(recorded, step_s), recorded)
    assert found.rms_w == pytest.approx(gpus * SWING_W / math.sqrt(2), rel=0.01)
    kept = KeptSeries()
    for name, first, last in (("a", 0, 600), ("b", 20, 400)):
        kept.add(
            SeriesName(job=name),
            np.rint(t[first:last] * 1e6).astype(np.int64),
            np.rint((LEVEL_W + (line[first:last] if name == "a" else 0 * t[first:last])) * 1e3).astype(int),
        )
    jobs = LoadRecording(kept, "job", 0, {})
    found = [line for line in find_lines(on_grid(jobs, step_s), jobs) if line.hz == pytest.approx(1.7, abs=2e-3)]
    assert [one.rms_w for one in found] == [pytest.approx(SWING_W / math.sqrt(2), rel=0.05)]


@settings(max_examples=5, deadline=None)
@given(st.floats(5.5, 9.5), st.integers(0, 1000))
def test_even_stamps_do_not_tell_a_frequency_from_its_mirror(hz, seed):
    """7.46 Hz read every 100 ms looks like 2.54 Hz; uneven stamps tell them apart."""
    random = np.random.default_rng(seed)
    for jitter in (0.0, 0.4):
        t = polls(random, 0.1, jitter)
        power = LEVEL_W + SWING_W * np.cos(2 * np.pi * hz * t) + random.normal(0, 5, t.size)
        recorded = recording([(t, power)])
        (line, *_) = find_lines(on_grid(recorded), recorded)
        if not jitter:
            assert line.mirror_hz == pytest.approx(hz, abs=0.01)
            assert line.frequency == f"{line.hz:.4g} Hz or {line.mirror_hz:.4g} Hz"


def test_jitter_tells_the_lower_one():
    random = np.random.default_rng(3)
    t = polls(random, 0.1, 0.4)
    recorded = recording([(t, LEVEL_W + SWING_W * np.cos(2 * np.pi * 2.54 * t))])
    (line, *_) = find_lines(on_grid(recorded), recorded)
    assert line.mirror_hz is None
    assert line.frequency == "2.54 Hz"


@pytest.mark.parametrize("phi", [0.0, 0.9, 0.99, 1.0])
def test_noise_has_no_line(phi):
    """Of ten recordings of noise at most one shows a line, be it white or a random walk."""
    random = np.random.default_rng(4)
    shown = 0
    for _ in range(10):
        noise = random.normal(0, 20, 1000)
        for i in range(1, noise.size):
            noise[i] += phi * noise[i - 1]
        t = np.arange(1000) * 0.1
        recorded = recording([(t, 2000 + noise)])
        shown += bool(find_lines(on_grid(recorded), recorded))
    assert shown <= 1


def test_a_short_recording_or_a_flat_one_has_none():
    for n in (20, 500):
        recorded = recording([(np.arange(n) * 0.1, np.full(n, 300.0))])
        assert find_lines(on_grid(recorded), recorded) == ()


def test_the_line_of_real_gpus_is_in_their_counters(fleet, traces):
    """Eight H100 step together at 2.54 Hz; their power readings, which are means over a second, show a tenth of it."""
    found = fleet("demand", traces / "h100-2node" / "t13_node0_telemetry.csv.gz", "--json").json
    assert found["power"] == "energy counter"
    line = found["lines"][0]
    assert (line["hz"], line["or_hz"]) == (pytest.approx(2.5436, abs=1e-3), None)
    assert line["rms_w"] > 440
    assert line["in_step"] > 0.9
    # The line and more; 608 W by an average periodogram of the steady part's differences, taken in their order.
    assert next(b for b in found["bands"] if b["band"] == "0.2-3 Hz")["rms_w"] == pytest.approx(574, rel=0.02)


@pytest.mark.parametrize("late", ["even", "jitter", "drift"])
@pytest.mark.parametrize("hz", [0.5, 2.54, 4.2])
def test_a_band_has_the_swing_of_the_readings_whatever_their_stamps(late, hz):
    """Stamps that are late by a fifth of a period, or drift against the grid, take up to 40 % from a swing on it."""
    random = np.random.default_rng(7)
    t = np.arange(5.0, 5.0 + SPAN_S, 0.1)
    moved = {"even": 0.0, "jitter": random.uniform(0, 0.02, t.size), "drift": 1e-4 * np.cumsum(t > 5 + SPAN_S / 3)}
    t = t + moved[late]
    recorded = recording([(np.rint(t * 1e6) / 1e6, LEVEL_W + SWING_W * np.cos(2 * np.pi * hz * t))])
    load = on_grid(recorded)
    shown = analyse(load.stretch, load.step_s, mixing=load.mixing)
    parts = {band.name: band for band in shown.bands}
    whole = math.sqrt(sum((parts[name].partial_w or 0.0) ** 2 for name in ("slower", "0.1-20 Hz")))
    assert whole == pytest.approx(SWING_W / math.sqrt(2), rel=0.06)
    assert shown.sd_w == pytest.approx(whole, rel=1e-3)
    assert (load.mixing == 0.0) == (late == "even")
