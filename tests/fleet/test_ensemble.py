"""Fleets of many units: the two ways agree, blocks are long enough, and GPUs are not resampled."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from wattshed.agent.errors import InputError
from wattshed.agent.fleet.demand.ensemble import exceedance, resample, simulate
from wattshed.agent.fleet.demand.fleets import Fleets, over
from wattshed.agent.fleet.demand.grid import Load


def one(power, step_s=1.0, kind="total", **units):
    return Load(step_s, 0, np.asarray(power, float), kind, units=units)


def ar1(n, phi, seed=0):
    random = np.random.default_rng(seed).standard_normal(n)
    x = np.empty(n)
    x[0] = random[0]
    for i in range(1, n):
        x[i] = phi * x[i - 1] + random[i]
    return x


def added_up(traces_mw, starts):
    """Whole milliwatts of units that are added one start after the other."""
    return sum(
        int(starts[j, begin]) * np.roll(traces_mw[j], begin).astype(object)
        for j in range(len(starts))
        for begin in np.flatnonzero(starts[j])
    )


@settings(max_examples=examples(60), deadline=None)
@given(st.integers(1, 3), st.integers(1, 50), st.integers(1, 10**6), st.integers(0, 99), st.integers(3, 9))
def test_a_fleet_by_fft_is_its_units_added_up(jobs, n, units, seed, size):
    """To the milliwatt, for units from 60 W to 700 MW: of large ones the transform is by digits."""
    traces_mw = np.random.default_rng(seed).integers(60 * 10**size, 700 * 10**size, (jobs, n))
    fleets = Fleets(traces_mw / 1e3, units, seed)
    starts = fleets.starts(7)
    assert (starts.shape, starts.sum(), starts.min() >= 0) == ((jobs, n), units, True)
    exact = np.array([mw / 1e3 for mw in added_up(traces_mw, starts)])  # of integers, the nearest float64
    assert fleets.draw(7).tobytes() == exact.tobytes()


def test_a_long_trace_is_exact_too():
    traces_mw = np.random.default_rng(1).integers(0, 7 * 10**10, (1, 9973))  # 70 MW; a prime number of steps
    fleets = Fleets(traces_mw / 1e3, 40, 1)
    assert (fleets.draw(0) * 1e3).round().tolist() == added_up(traces_mw, fleets.starts(0)).tolist()


def test_a_fleet_beyond_whole_numbers_is_refused():
    with pytest.raises(InputError, match="more than can be added up"):
        Fleets(np.full((1, 8), 1e9), 10**7, 1)


@pytest.mark.parametrize("units", [100, 5000])  # begun one by one, and by a multinomial distribution
def test_every_start_is_as_likely_as_any_other(units):
    fleets = Fleets(np.ones((2, 20)), units, 1)
    starts = np.array([fleets.starts(r).ravel() for r in range(400)])
    share = 1 / 40
    error = np.sqrt(units * share * (1 - share) / 400)
    assert np.abs(starts.mean(axis=0) - units * share).max() < 4.5 * error
    assert starts.var(axis=0).mean() == pytest.approx(units * share * (1 - share), rel=0.05)
    assert np.corrcoef(starts[:, 0], starts[:, 1])[0, 1] < 0.2


@pytest.mark.parametrize("units", [10, 1000, 300_000])
def test_the_spread_falls_as_theory_says(units):
    """The spread of independent units grows with the root of their number: there is no floor."""
    random = np.random.default_rng(1)
    on = np.repeat(np.arange(40) % 2, random.integers(30, 600, 40))
    trace = np.where(on, 560.0, 75.0)
    found = simulate(one(trace), units, replicates=60)
    assert found.mean_w == pytest.approx(units * trace.mean(), rel=1e-12)
    assert found.sd_w == pytest.approx(np.sqrt(units) * trace.std(), rel=0.15)


def test_a_limit_far_above_the_peaks_is_not_exceeded():
    """Ten standard deviations of 300,000 units above their mean, where a floor of noise was."""
    trace = np.where(np.arange(3600) // 300 % 2, 560.0, 75.0)
    mean, sd = 300_000 * trace.mean(), np.sqrt(300_000) * trace.std()
    found = simulate(one(trace), 300_000, replicates=40, limit_w=mean + 10 * sd)
    assert found.exceedance.probability == 0.0
    assert mean + sd < np.median(found.peaks_w) < mean + 5 * sd


def test_a_fleet_of_one_unit_is_its_trace():
    trace = np.random.default_rng(1).uniform(1, 2, 100).round(3)  # whole milliwatts
    found = simulate(one(trace), 1, replicates=3)
    assert found.peaks_w == pytest.approx(trace.max())
    assert sorted(found.typical_w) == pytest.approx(sorted(trace))
    assert simulate(one(trace), 1, replicates=3, peak_steps=10).peaks_w.max() < trace.max()


def test_peaks_are_of_means():
    assert over(np.arange(7.0), 3).tolist() == [1.0, 4.0]
    assert over(np.arange(2.0), 3).tolist() == [0.5]
    assert over(np.arange(3.0), 1).tolist() == [0, 1, 2]


def test_a_job_moves_as_one():
    # Eight GPUs of one job, drawn as a job, swing as the job does; as independent GPUs they would swing 2.8 times less.
    trace = 500 + 100 * ar1(3000, 0.8)
    job = simulate(one(8 * trace, kind="gpu"), 50, replicates=30)
    alone = simulate(one(trace), 400, replicates=30)
    assert job.mean_w == pytest.approx(alone.mean_w, rel=0.02)
    assert job.sd_w / alone.sd_w == pytest.approx(np.sqrt(8), rel=0.2)


def test_a_recording_holds_a_checkpoint():
    noise = np.random.default_rng(4).uniform(1, 2, 3000)
    assert simulate(one(noise), 10, replicates=3, checkpoint_s=300).block_s == 3000
    with pytest.raises(InputError, match="record longer"):
        simulate(one(noise), 10, replicates=3, checkpoint_s=5000)
    with pytest.raises(InputError, match="too few"):
        simulate(one(noise[:7]), 10, replicates=3)


def test_coincidence_falls_with_the_number_of_units():
    trace = 500 + 100 * np.random.default_rng(5).standard_normal(2000)
    few, many = (simulate(one(trace), n, replicates=10).coincidence for n in (4, 400))
    assert many < few < 1.0
    assert many == pytest.approx(trace.mean() / trace.max(), rel=0.05)


def test_gpus_are_not_resampled(fleet, files):
    with pytest.raises(InputError, match="no bootstrap by GPU"):
        simulate(one(np.ones(100)), 10, unit="gpu")
    s = files(s_csv="time,power\n" + "".join(f"{i},{5 + i % 3}\n" for i in range(100)))
    found = fleet("demand", s, "--scale", 10, "--resample", "gpu")
    assert found.code == 2
    assert "rise and fall together" in found.err


def test_exceedance_has_an_interval():
    peaks = np.arange(100.0)
    found = exceedance(peaks, 89.5)
    assert found.probability == 0.10
    # Wilson, 10 of 100: 0.0552 to 0.1744.
    assert (found.lower, found.upper) == (pytest.approx(0.0552, abs=1e-4), pytest.approx(0.1744, abs=1e-4))
    never = exceedance(peaks, 1e9)
    assert (never.probability, never.lower) == (0.0, 0.0)
    assert 0 < never.upper < 0.05
    always = exceedance(peaks, -1.0)
    assert (always.probability, always.upper) == (1.0, 1.0)
    assert always.lower > 0.95


def test_exceedance_on_the_command_line(fleet, files):
    s = files(
        s_csv="time,job,power\n"
        + "".join(f"{i},{j},{100 * (1 + (i * (j + 3)) % 5)}\n" for i in range(300) for j in range(3))
    )
    words = ("demand", s, "--scale", 100, "--replicates", 20, "--limit", 32_000)
    found = fleet(*words, "--json").json["ensemble"]
    assert found["units"] == 100
    assert 0 <= found["exceedance"]["lower"] <= found["exceedance"]["probability"] <= found["exceedance"]["upper"] <= 1
    assert found["peak_w"]["p5"] <= found["peak_w"]["p50"] <= found["peak_w"]["p99"]
    assert "probability" in fleet(*words).out
    assert fleet(*words, "--json").json["ensemble"] == found  # the seed decides
    resampled = fleet("demand", s, "--limit", 5, "--json").json["ensemble"]
    assert (resampled["units"], resampled["exceedance"]["probability"]) == (3, 1.0)
    one_load = files(t_csv="time,power\n0,5\n1,6\n")
    assert "no probability" in fleet("demand", one_load, "--limit", 5).err


def test_holes_in_one_job_are_skipped_for_all():
    a, b = np.ones(100), np.ones(100)
    b[:40] = np.nan
    found = simulate(one(a + b, kind="job", a=a, b=b), 5, replicates=2)
    assert found.span_s == 60.0
    with pytest.raises(InputError, match="without a hole"):
        simulate(one(a * np.nan, kind="job", a=a * np.nan, b=b), 5, replicates=2)


def test_resampling_jobs_hosts_and_why_not_gpus():
    # 40 jobs of 32 GPUs; a job's GPUs share its level. By job the spread of the fleet's mean is the truth's;
    # by GPU it would be many times too small.
    random = np.random.default_rng(7)
    steps, parts, levels = 50, {}, []
    for job in range(40):
        levels.append(random.normal(500, 100))
        parts[f"j{job}"] = 32 * (levels[-1] + random.normal(0, 1, steps))
    load = one(np.sum(list(parts.values()), axis=0), kind="job", **parts)
    found = resample(load, replicates=400)
    assert found.units == 40
    assert found.mean_w == pytest.approx(load.power_w.mean(), rel=0.01)
    by_job = 32 * np.std(levels) * np.sqrt(40)
    assert found.sd_w == pytest.approx(by_job, rel=0.12)
    by_gpu = np.std(levels) * np.sqrt(40 * 32)
    assert found.sd_w > 5 * by_gpu  # sqrt(32) times
    with pytest.raises(InputError, match="one job cannot be resampled"):
        resample(one(np.ones(10), kind="job", a=np.ones(10)))
