"""Fleets of many units: the two ways agree, blocks are long enough, and GPUs are not resampled."""

import numpy as np
import pytest

from wattshed.agent.errors import InputError
from wattshed.agent.fleet.demand.ensemble import (
    block_matrix,
    bootstrap_fleet,
    exceedance,
    optimal_block,
    replay_by_blocks,
    replay_by_phase,
    resample,
    simulate,
)
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


def test_phases_by_fft_are_phases_added_up():
    random = np.random.default_rng(1)
    trace = random.uniform(60, 700, 5000)
    phases = random.integers(0, 5000, 2000)
    by_hand = np.sum([np.roll(trace, p) for p in phases[:50]], axis=0)
    np.testing.assert_allclose(replay_by_phase(trace, phases[:50]), by_hand, rtol=1e-12)
    np.testing.assert_allclose(replay_by_blocks(trace, phases[:50]), by_hand, rtol=1e-12)
    np.testing.assert_allclose(replay_by_phase(trace, phases), replay_by_blocks(trace, phases, 777), rtol=1e-9)


def test_one_phase_for_all_is_one_synchronous_job():
    trace = np.array([1.0, 5.0, 2.0])
    np.testing.assert_allclose(replay_by_phase(trace, np.ones(300, np.int64)), 300 * np.roll(trace, 1))


def test_block_length_follows_the_correlation():
    assert optimal_block(np.random.default_rng(2).standard_normal(20_000)) <= 3
    short, long = optimal_block(ar1(20_000, 0.5)), optimal_block(ar1(20_000, 0.95))
    assert 5 <= short < long
    # Politis and White: b = (2 g^2 / D)^(1/3) n^(1/3), for AR(1) with (g / f)^2 = (2 phi / (1 - phi^2))^2.
    expected = (1.5 * (2 * 0.5 / (1 - 0.25)) ** 2 * 20_000) ** (1 / 3)
    assert short == pytest.approx(expected, rel=0.35)
    assert optimal_block(np.ones(100)) == 1
    periodic = np.sin(np.arange(4000) / 20)
    assert optimal_block(periodic) > 2 * np.pi * 20


def test_blocks_keep_mean_and_spread():
    random = np.random.default_rng(3)
    trace = 500 + 100 * ar1(4000, 0.9)
    blocks = block_matrix(trace[None], 60, random)
    fleets = np.array([bootstrap_fleet(blocks, 400, 3000, random) for _ in range(20)])
    assert fleets.mean() == pytest.approx(400 * trace.mean(), rel=0.02)
    assert fleets.std() == pytest.approx(np.sqrt(400) * trace.std(), rel=0.15)


def test_a_job_moves_as_one():
    # Eight GPUs of one job, drawn as a job, swing as the job does; as independent GPUs they would swing 2.8 times less.
    trace = 500 + 100 * ar1(3000, 0.8)
    job = simulate(one(8 * trace, kind="gpu"), 50, replicates=30)
    alone = simulate(one(trace), 400, replicates=30)
    assert job.mean_w == pytest.approx(alone.mean_w, rel=0.02)
    assert job.sd_w / alone.sd_w == pytest.approx(np.sqrt(8), rel=0.2)


def test_checkpoints_lengthen_the_blocks():
    noise = np.random.default_rng(4).uniform(1, 2, 3000)
    assert simulate(one(noise), 10, replicates=3).block_s <= 12
    assert simulate(one(noise), 10, replicates=3, checkpoint_s=300).block_s == 300
    with pytest.raises(InputError, match="record longer"):
        simulate(one(noise), 10, replicates=3, checkpoint_s=5000)


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
    assert "no probability" in fleet("demand", one_load, "--limit", 5).out


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
