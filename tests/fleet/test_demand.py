"""Demand against analytic answers: square waves, AR(1), coincidence, transformers in closed form."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal, stats

from tests.depth import examples
from tests.fleet import naive_fleet as naive
from tests.fleet.recorded import recorded
from wattshed.agent.errors import InputError
from wattshed.agent.fleet.demand.chi_square import chi_square
from wattshed.agent.fleet.demand.grid import Load, on_grid
from wattshed.agent.fleet.demand.kept import SeriesName
from wattshed.agent.fleet.demand.measure import RunningSums, coincidence, measure, moving_extremes
from wattshed.agent.fleet.demand.spectrum import analyse, shares, welch
from wattshed.agent.fleet.demand.transformer import (
    Transformer,
    age,
    ageing_factor,
    read_transformer,
    ultimate_rises,
    units_needed,
)
from wattshed.agent.window import Device, Readings, Window


def load(power, step_s=1.0, largest_w=()):
    return Load(step_s, 0, np.asarray(power, float), "total", largest_w)


def square(n, step_s, period_s, low, high):
    steps = round(period_s / step_s)
    return np.where(np.arange(n) % steps < steps // 2, high, low).astype(float)


def test_square_wave_peaks_ramps_and_duration():
    found = measure(load(square(7210, 1.0, 120.0, 2e6, 10e6)))
    peaks = {p.window: p.watts for p in found.peaks}
    assert peaks == {
        "1s": 10e6,
        "1m": pytest.approx(10e6, rel=1e-12),
        "15m": pytest.approx((8 * 10 + 7 * 2) / 15 * 1e6, rel=1e-9),
    }
    for ramp in found.ramps:
        assert (ramp.up_w, ramp.down_w) == (8e6, 8e6)
    by_window = {r.window: r for r in found.ramps}
    assert by_window["1s"].watts / by_window["1s"].window_s == 8e6  # 8 MW/s
    # Over exactly 10 s a sixth of the moments (20 of 120 s) straddles an edge.
    assert by_window["10s"].rms_w == pytest.approx(8e6 * math.sqrt(20 / 120), rel=1e-3)
    assert found.mean_w == pytest.approx(6e6, rel=1e-3)
    assert found.load_factor == pytest.approx(0.6, rel=1e-3)
    assert found.duration[0] == 10e6
    assert found.duration[25] == 10e6
    assert found.duration[75] == 2e6
    assert found.duration[100] == 2e6


def test_square_wave_bands():
    # 1.5 Hz: the fundamental, (4/pi) A sin, has mean square 8 A^2 / pi^2; the third harmonic is at 4.5 Hz.
    step = 1 / 96
    found = analyse(square(96 * 1200, step, 2 / 3, -1e6, 1e6) + 5e6, step)
    bands = {b.name: b.rms_w for b in found.bands}
    fundamental = math.sqrt(8 / math.pi**2) * 1e6
    assert bands["1-2.5 Hz"] == pytest.approx(fundamental, rel=1e-3)
    assert bands["0.2-3 Hz"] == pytest.approx(fundamental, rel=1e-3)
    assert bands["below 1 Hz"] < 1e-3 * fundamental
    # Of a wave sampled 64 times a period: harmonic k has amplitude 4 / (64 sin(pi k / 64)).
    harmonics = math.sqrt(sum((4 / (64 * math.sin(math.pi * k / 64))) ** 2 / 2 for k in (1, 3, 5, 7, 9, 11, 13))) * 1e6
    assert bands["0.1-20 Hz"] == pytest.approx(harmonics, rel=1e-3)


def ar1_with_its_own_spectrum(n, phi, step_s):
    """Series whose periodogram is exactly that of an AR(1) process with unit innovations; phases at random."""
    w = 2 * np.pi * np.arange(n // 2 + 1) / n
    density = 1 / (1 + phi**2 - 2 * phi * np.cos(w))
    spectrum = np.sqrt(density * n) * np.exp(2j * np.pi * np.random.default_rng(1).random(w.size))
    spectrum[0] = 0
    spectrum[-1] = abs(spectrum[-1])
    return np.fft.irfft(spectrum, n)


def test_ar1_bands_and_ramps():
    phi, step = 0.9, 0.025
    x = ar1_with_its_own_spectrum(2**20, phi, step)
    frequency, density = welch(x, step, x.size // 4)
    found = {band.name: band for band in analyse(x, step).bands}
    for low, high in ((0.2, 3.0), (1.0, 2.5), (0.1, 20.0)):
        expected = naive.ar1_band(1.0, phi, step, low, high)
        # One stretch's content differs from the expected by chance; over a million readings by well under a percent.
        assert shares(frequency, low, high) @ density * frequency[1] == pytest.approx(expected, rel=0.02)
        # The whole-length periodogram is the process's own: its bands are analytic to 0.1 %.
        assert found[f"{low:g}-{high:g} Hz"].rms_w ** 2 == pytest.approx(expected, rel=1e-3)
    # Mean square of the change over k steps: 2 (1 - phi^k) of the variance 1 / (1 - phi^2), exactly for this series.
    found = {r.window: r for r in measure(load(x + 100.0, step)).ramps}
    expected = math.sqrt(2 * (1 - phi**40) / (1 - phi**2))
    assert found["1s"].rms_w == pytest.approx(expected, rel=1e-3)


def test_welch_is_scipys():
    x = np.random.default_rng(0).normal(size=5000).cumsum()
    ours = welch(x, 0.1, 512)
    theirs = signal.welch(x, 10.0, "hann", 512, 256, detrend="constant", scaling="density")
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-12)
    np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-9, atol=1e-12)
    odd = welch(x, 0.1, 501)
    np.testing.assert_allclose(odd[1], signal.welch(x, 10.0, "hann", 501, 251)[1], rtol=1e-9, atol=1e-12)


@settings(max_examples=examples(60), deadline=None)
@given(st.integers(8, 600), st.floats(0.005, 20.0), st.floats(0.0, 3.0), st.integers(0, 99))
def test_bands_add_up_to_the_variance(n, step_s, meter_window_s, seed):
    """The squares of slower, 0.1-20 Hz and faster add up to that of the standard deviation, whatever the load."""
    x = 1e6 + np.random.default_rng(seed).normal(0.0, 1e5, n).cumsum()
    found = analyse(x, step_s, meter_window_s=meter_window_s)
    bands = {band.name: band for band in found.bands}
    parts = [bands[name].partial_w for name in ("slower", "0.1-20 Hz", "faster") if name in bands]
    assert sum(part**2 for part in parts if part is not None) == pytest.approx(found.sd_w**2, rel=1e-10)
    assert found.sd_w == pytest.approx(x.std(), rel=1e-12)
    assert found.span_s == pytest.approx(n * step_s)
    if (slow := bands["below 1 Hz"].rms_w) is not None:
        assert slow >= bands["slower"].rms_w * (1 - 1e-12)
    for band in found.bands:
        if band.partial_w:
            assert band.lower_w < band.partial_w < band.upper_w


def test_what_is_slower_than_a_stretch_is_in_the_lowest_band():
    slow = 800.0 * np.sin(2 * np.pi * np.arange(6000) / 6000)  # one swing in the whole recording
    found = {band.name: band for band in analyse(5e3 + slow, 0.1).bands}
    assert found["below 1 Hz"].rms_w == pytest.approx(800 / math.sqrt(2), rel=1e-9)
    assert found["slower"].rms_w == pytest.approx(800 / math.sqrt(2), rel=1e-9)
    assert found["0.1-20 Hz"].partial_w < 1e-6


def test_an_interval_of_a_band_covers():
    """About 95 of 100 stretches of white noise have the swing of the process in their interval."""
    random = np.random.default_rng(5)
    covered = 0
    for _ in range(200):
        band = next(b for b in analyse(random.normal(size=400), 0.1).bands if b.name == "1-2.5 Hz")
        covered += band.lower_w <= math.sqrt(1.5 / 5.0) <= band.upper_w
    assert 0.91 <= covered / 200 <= 0.99


@pytest.mark.parametrize("freedom", [0.7, 2.0, 5.5, 40.0, 900.0, 9.9e3, 1.1e4])
def test_chi_square_is_scipys(freedom):
    for p in (0.005, 0.025, 0.5, 0.975, 0.999):
        assert chi_square(p, freedom) == pytest.approx(stats.chi2.ppf(p, freedom), rel=1e-6)
    with pytest.raises(ValueError, match="no quantile"):
        chi_square(1.0, freedom)


def test_a_swing_above_the_observable_limit_is_refused_not_zero():
    found = analyse(square(4000, 1.0, 10.0, 0.0, 1.0), 1.0)
    assert found.observable_up_to_hz == 0.5
    for band in found.bands[:4]:
        assert band.rms_w is None
        assert band.observable_up_to_hz == 0.5
        assert "0.5 Hz" in band.reason
    assert next(b for b in found.bands if b.name == "1-2.5 Hz").partial_w is None
    # Fast readings of a slow meter see no further than the meter.
    slow = analyse(square(4000, 0.1, 10.0, 0.0, 1.0), 0.1, meter_window_s=1.0)
    assert slow.observable_up_to_hz == 0.5
    assert all(b.rms_w is None and "averages over" in b.reason for b in slow.bands[:4])
    fast = analyse(square(40000, 0.1, 10.0, 0.0, 1.0), 0.1)
    assert {b.name for b in fast.bands if b.rms_w is not None} == {"below 1 Hz", "0.2-3 Hz", "1-2.5 Hz", "slower"}


def test_too_short_for_a_spectrum():
    assert all("fewer than 8" in b.reason for b in analyse(np.ones(5), 0.01).bands)
    short = {b.name: b for b in analyse(np.ones(80), 0.02).bands}
    assert "too short" in short["0.2-3 Hz"].reason


def test_coincidence_of_independent_and_of_one_synchronous_job():
    together = square(100, 1.0, 10.0, 1.0, 5.0)
    assert coincidence(load(8 * together, largest_w=(5.0,) * 8)) == 1.0
    assert coincidence(load(np.full(100, 5.0), largest_w=(5.0, 5.0))) == 0.5
    assert coincidence(load(together, largest_w=(5.0,))) is None
    assert coincidence(load(0 * together, largest_w=(0.0, 0.0))) is None


@settings(max_examples=examples(80), deadline=None)
@given(st.lists(st.floats(0, 1e7), min_size=2, max_size=40), st.integers(1, 12))
def test_moving_windows_are_the_naive_ones(power, k):
    k = min(k, len(power) - 1)
    x = np.array(power)
    assert RunningSums(x).largest_mean(k) == pytest.approx(naive.peak(power, k), rel=1e-9, abs=1e-6)
    for part in (0.1, 0.5):
        expected = naive.peak_of_parts(power, k, part)
        assert RunningSums(x).largest_mean(k, part) == pytest.approx(expected, rel=1e-9, abs=1e-6)
    low, high = moving_extremes(x, k)
    assert low.tolist() == [min(power[i : i + k + 1]) for i in range(len(power) - k)]
    assert high.tolist() == [max(power[i : i + k + 1]) for i in range(len(power) - k)]
    ramp = next(r for r in measure(load(x, 1.0 / k)).ramps if r.window == "1s")
    if ramp.watts is not None:
        up, down = naive.largest_change(power, k)
        assert (ramp.up_w, ramp.down_w) == (pytest.approx(up, abs=1e-6), pytest.approx(down, abs=1e-6))


@pytest.mark.parametrize("step_s", [1.0, 7.0, 8.0, 40.0, 45.0])
def test_a_minute_is_a_minute_in_steps_of_any_length(step_s):
    """One step of 100 W: a minute with it has its energy over 60 s; no ramp is over more than a minute."""
    power = np.zeros(200)
    power[90:] = np.arange(110) * 0.1
    power[90] = 100.0
    found = measure(load(power, step_s))
    minute = next(p for p in found.peaks if p.window == "1m")
    about = RunningSums(np.repeat(power, round(step_s))).largest_mean(60)
    assert minute.watts == pytest.approx(about, rel=1e-9)
    rise = next(r for r in found.ramps if r.window == "1m")
    assert rise.down_w == pytest.approx(max(100.0 - 0.1 * k for k in range(1, int(60 / step_s) + 1)))


def test_holes_are_left_out():
    power = np.array([1.0] * 100 + [np.nan] * 20 + [5.0] * 100)
    found = measure(load(power))
    assert (found.span_s, found.covered_s, found.mean_w) == (220.0, 200.0, 3.0)
    assert all(r.watts in (0.0, None) for r in found.ramps if r.window != "15m" and r.window_s < 20)
    assert next(p for p in found.peaks if p.window == "15m").watts is None
    assert load(power).stretch.size == 100


# Transformers


def test_ageing_at_110_c_is_exactly_one():
    assert float(ageing_factor(110.0)) == 1.0
    assert float(ageing_factor(117.0)) == pytest.approx(2.0, rel=0.02)  # about doubling every 7 C


def test_constant_load_reaches_the_closed_form():
    t = Transformer(rated_va=10e6, power_factor=1.0)
    found = age(np.full(24 * 60, 8e6), 60.0, t)
    oil = 55 * ((0.64 * 4.87 + 1) / 5.87) ** 0.9
    winding = 25 * 0.64**0.8
    assert found.top_oil_c == pytest.approx(30 + oil, rel=1e-12)
    assert found.hot_spot_c == pytest.approx(30 + oil + winding, rel=1e-12)
    assert found.loss_of_life_h == pytest.approx(
        24 * math.exp(15000 / 383 - 15000 / (30 + oil + winding + 273)), rel=1e-9
    )
    assert found.loss_of_life_share == pytest.approx(found.loss_of_life_h / 180_000)


def test_rated_load_at_30_c_ages_normally():
    found = age(np.full(100, 9.5e6), 60.0, Transformer(rated_va=10e6))
    assert found.hot_spot_c == pytest.approx(110.0, rel=1e-12)
    assert found.equivalent_ageing == pytest.approx(1.0, rel=1e-9)
    assert found.peak_loading == pytest.approx(1.0)
    assert found.headroom_w == pytest.approx(-0.2 * 9.5e6)


def test_step_load_follows_its_time_constants():
    t = Transformer(rated_va=10e6, power_factor=1.0)
    step_s = 30.0
    power = np.full(2000, 10e6)
    found = age(power, step_s, t, cold=True)
    rest = 55 * (1 / 5.87) ** 0.9
    at = (np.arange(2000) + 1) * step_s
    oil = [naive.approach(55.0, rest, s, 3.5 * 3600) for s in at]
    winding = [naive.approach(25.0, 0.0, s, 300) for s in at]
    np.testing.assert_allclose(found.top_oil_c, 30 + np.array(oil), rtol=1e-9)
    np.testing.assert_allclose(found.hot_spot_c, 30 + np.array(oil) + np.array(winding), rtol=1e-9)


def test_fast_swings_do_not_heat():
    t = Transformer(rated_va=10e6, power_factor=1.0)
    step = 0.1
    swinging = age(square(20_000, step, 1.0, 4e6, 8e6), step, t)
    oil, winding = ultimate_rises(np.array([0.4, 0.8]), t)
    assert np.ptp(swinging.hot_spot_c[10_000:]) < 0.05
    assert 30 + oil[0] + winding[0] < swinging.hot_spot_c[-1] < 30 + oil[1] + winding[1]


def test_units_with_a_spare():
    t = Transformer(100e6)
    assert units_needed(np.full(2, 542.1e6), 600.0, t) == 9
    assert units_needed(np.full(2, 76e6), 600.0, t) == 2
    assert units_needed(np.full(2, 76.1e6), 600.0, t) == 3
    assert units_needed(np.full(2, 76e6), 600.0, t, spares=0) == 1
    assert units_needed(np.zeros(2), 600.0, t, spares=0) == 1


def test_a_spike_takes_no_transformer():
    """What heats nothing sizes nothing: a tenth of a second at 160 MW on a load of 70 MW."""
    power = np.full(6000, 70e6)
    power[3000] = 160e6
    t = Transformer(100e6)
    assert units_needed(power, 0.1, t) == units_needed(np.full(6000, 70e6), 0.1, t) == 2
    found = age(power, 0.1, t)
    assert found.peak_loading == pytest.approx(70 / 95, rel=1e-2)
    assert found.headroom_w == pytest.approx(0.8 * 95e6 - 70e6, rel=0.05)
    longer = np.concatenate((power, np.full(6000, 160e6)))  # ten minutes do
    assert units_needed(longer, 0.1, t) == 4
    assert age(longer, 0.1, t).peak_loading == pytest.approx(160 / 95)


def test_heat_takes_more_units_than_the_plan():
    """At 45 C a unit at its planned load is too hot for normal life; it takes another."""
    power, hot = np.full(2000, 95e6), Transformer(100e6, ambient_c=45.0, limit=1.0)
    assert units_needed(power, 600.0, Transformer(100e6, limit=1.0), spares=0) == 1
    assert units_needed(power, 600.0, hot, spares=0) == 2
    assert age(power / 2, 600.0, hot).equivalent_ageing < 1.0 < age(power, 600.0, hot).equivalent_ageing
    assert units_needed(power, 600.0, Transformer(100e6, ambient_c=130.0), spares=0) == 2  # nothing helps: by the plan


def test_the_mean_of_a_year_ages_less_than_its_afternoons():
    """At nameplate and 20 C a unit ages .350 of normal; with 8 C up and down a day and 12 C a year .586."""
    hours = np.arange(8760)
    power = np.full(hours.size, 0.95e6)
    year = 20 + 8 * np.sin(2 * np.pi * hours / 24) + 12 * np.sin(2 * np.pi * hours / 8760)
    flat, real = (age(power, 3600.0, Transformer(1e6, ambient_c=20.0, hourly_c=c)) for c in (None, year))
    assert flat.equivalent_ageing == pytest.approx(0.350, abs=5e-4)
    assert flat.hot_spot_max_c == pytest.approx(100.0)
    assert real.equivalent_ageing == pytest.approx(0.586, abs=5e-4)
    assert real.hot_spot_max_c == pytest.approx(120.0, abs=0.05)
    shifted = age(power[:24], 3600.0, Transformer(1e6, hourly_c=year), begin_h=12.0)
    assert shifted.hot_spot_c[0] == pytest.approx(80 + year[12])


@settings(max_examples=examples(40), deadline=None)
@given(st.lists(st.floats(0, 100), min_size=1, max_size=300), st.floats(1e-4, 30.0))
def test_an_approach_in_blocks_is_step_by_step(loads, step_h):
    t = Transformer(rated_va=100.0, power_factor=1.0)
    found = age(np.array(loads), step_h * 3600.0, t, cold=True)
    ends, rise, stay = ultimate_rises(np.array(loads) / 100.0, t)[0], 55 * (1 / 5.87) ** 0.9, math.exp(-step_h / 3.5)
    for oil, end in zip(found.top_oil_c, ends, strict=True):
        rise = end + (rise - end) * stay
        assert oil == pytest.approx(30.0 + rise, rel=1e-10)


def test_transformer_files(files):
    assert read_transformer(files(t_toml="[transformer]\nrated_va = 1e6\nunits = 2\n")).units == 2
    assert read_transformer(files(t_toml="rated_va = 1e6\n")).power_factor == 0.95
    for text, where in (
        ("units = 2\n", "t.toml:1"),
        ("rated_va = 1e6\ncolour = 3\n", "t.toml:2"),
        ("rated_va = -1\n", "t.toml:1"),
        ("rated_va = 1e6\npower_factor = 1.2\n", "t.toml:2"),
        ("rated_va = 1e6\nunits = 1.5\n", "t.toml:2"),
        ("rated_va = \n", "t.toml:1"),
        ('rated_va = 1e6\nambient_c = 20\nhourly = "w.csv"\n', "t.toml:2"),
    ):
        with pytest.raises(InputError, match=where):
            read_transformer(files(t_toml=text))


def test_ambient_temperature_by_the_hour(fleet, files):
    s, t, w = files(
        s_csv="time_s,power_w\n" + "".join(f"{1_767_225_600 + 43_200 + 60 * i},8e5\n" for i in range(120)),
        t_toml='rated_va = 1e6\nhourly = "w.csv"\n',
        w_csv="hour,outdoor_c,price\n" + "".join(f"{h},{h},1\n" for h in range(24)),
    )
    rises = age(np.full(10, 8e5), 60.0, Transformer(1e6, ambient_c=0.0)).hot_spot_c[0]
    found = fleet("demand", s, "--transformer", t, "--json").json["transformer"]
    # The recording begins at noon (UTC): hours 12 and 13 of the table, and a minute of the hour before.
    assert found["hot_spot_max_c"] == pytest.approx(13 + rises)
    w.write_text("hour,outdoor_c\n0,5\n2,5\n")
    assert "w.csv:3" in fleet("demand", s, "--transformer", t).err
    w.write_text("hour,price\n0,5\n")
    assert "w.csv:1: has no column 'outdoor_c'" in fleet("demand", s, "--transformer", t).err
    w.write_text("hour,outdoor_c\n")
    assert "no hour" in fleet("demand", s, "--transformer", t).err


# Series


@pytest.mark.parametrize(
    ("header", "rows", "seconds", "watts"),
    [
        ("time,power", ["1700000000,5", "1700000001,7"], 1.0, [5, 7]),
        ("timestamp,power_kw", ["2024-01-01T00:00:00Z,5", "2024-01-01T00:00:02Z,7"], 2.0, [5000, 7000]),
        ("time_ms,power_mw", ["1700000000000,5000", "1700000000500,7000"], 0.5, [5, 7]),
        ("time_s,power_MW", ["0,5", "1,7"], 1.0, [5e6, 7e6]),
        ("time (h),load [kW]", ["0,5", "1,7"], 3600.0, [5000, 7000]),
        ("time,node_power_w,temp_c", ["0,5,1", "1,7,1"], 1.0, [5, 7]),
        ("ts,watts", ["1700000000000000,5 W", "1700000001000000,7.5 kW"], 1.0, [5, 7500]),
        (
            "timestamp,power.draw [W]",
            ["2024/01/01 00:00:00.000,5.00 W", "2024/01/01 00:00:00.250,7.00 W"],
            0.25,
            [5, 7],
        ),
    ],
)
def test_units_of_series(files, header, rows, seconds, watts):
    found = on_grid(recorded(files(s_csv="\n".join([header, *rows]))))
    assert found.step_s == pytest.approx(seconds)
    assert found.power_w == pytest.approx(watts)


def test_jobs_are_summed_and_gone_when_over(files):
    text = "time,job,power\n0,a,10\n1,a,10\n2,a,10\n2,b,5\n3,b,5\n4,b,5\n"
    found = on_grid(recorded(files(s_csv=text)))
    assert found.kind == "job"
    assert found.power_w.tolist() == [10, 10, 15, 5, 5]


def test_gpus_are_known_only_while_all_are(files):
    text = "time,gpu,power\n0,0,10\n1,0,10\n2,0,10\n1,1,5\n2,1,5\n3,1,5\n"
    found = on_grid(recorded(files(s_csv=text)))
    assert found.power_w.tolist() == [15, 15]


def test_wide_tables(fleet, files):
    s = files(s_csv="timestamp,GPU0,GPU1\n0,10,20\n1,11,21\n2,[N/A],22\n")
    found = fleet("demand", s, "--columns", "time=timestamp,power=GPU*:kW", "--json").json
    assert (found["series"], found["max_w"], found["kind"]) == (2, 32_000.0, "gpu")
    assert found["rejected"] == {"not_available": 1}
    assert "no column fits" in fleet("demand", s, "--columns", "time=timestamp,power=CPU*").err


def test_gpus_of_nvidia_smi(files):
    text = "timestamp, index, power.draw [W]\n2024/01/01 00:00:00.000, 0, 10 W\n2024/01/01 00:00:00.001, 1, 20 W\n"
    text += "2024/01/01 00:00:01.000, 0, 10 W\n2024/01/01 00:00:01.001, 1, 20 W\n2024/01/01 00:00:02.000, 0, 11 W\n"
    text += "2024/01/01 00:00:02.001, 1, 20 W\n"
    recording = recorded(files(s_csv=text))
    assert [name.gpu for name in recording.series] == ["0", "1"]
    found = on_grid(recording)
    assert found.power_w[0] == pytest.approx(30.0)


def test_rows_without_a_number_are_rejected_with_a_reason(files):
    found = recorded(files(s_csv="time,power\n0,5\n1,[N/A]\n2,\n3,-4\n4,9\n4,9\n"))
    assert dict(found.rejected) == {"not_available": 1, "empty": 1, "negative": 1}
    assert any("1 row with the same GPU, time and power as another" in note for note in found.notes)
    assert found.series[SeriesName()][1].tolist() == [5, 9]


def test_uneven_readings_keep_their_energy(files):
    random = np.random.default_rng(8)
    t = np.cumsum(random.uniform(0.05, 0.15, 3000))
    p = 500 + 100 * np.sin(t / 3)
    text = "time_s,power\n" + "".join(f"{a:.6f},{b:.6f}\n" for a, b in zip(t, p, strict=True))
    found = on_grid(recorded(files(s_csv=text)))
    assert found.power_w[1:-1].mean() == pytest.approx(np.trapezoid(p, t) / (t[-1] - t[0]), rel=2e-3)


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("a,b\n1,2\n", "s.csv:1", "columns are not clear; say --columns time=...,power=... (it has: a, b)"),
        ("time,b\n1,2\n", "s.csv:1", "columns are not clear"),
        ("time,power\nx,2\n", "s.csv:2:1", "time holds no time: 'x'"),
        ("time,power\n1,x\n", "s.csv:2:2", "power holds no number: 'x'"),
        ("time,power\n1,[N/A]\n", "s.csv:2:2", "no usable power"),
        ("time,power\n1,2,3\n", "s.csv:2", "no row has as many columns as the header"),
        ("time,power\n1,2\n", "s.csv", "at least two readings"),
        ("", "s.csv", "it is empty"),
    ],
)
def test_bad_series_are_one_line(fleet, files, text, where, what):
    found = fleet("demand", files(s_csv=text), "--json")
    assert found.code == 2
    assert found.err.count("\n") == 1
    assert where in found.err
    assert what in found.err


def test_demand_json(fleet, files):
    power = square(3600, 1.0, 120.0, 2e6, 10e6)
    text = "time_s,power_w\n" + "".join(f"{i},{p}\n" for i, p in enumerate(power))
    s, t = files(s_csv=text, t_toml="rated_va = 12e6\n")
    found = fleet("demand", s, "--transformer", t, "--json").json
    assert found["schema"] == "wattshed.demand/1"
    assert found["observable_up_to_hz"] == 0.5
    assert [b["band"] for b in found["bands"] if b["rms_w"] is not None] == ["slower"]
    assert {r["window"]: r["mw_per_s"] for r in found["ramps"]}["1s"] == 8.0
    assert {r["window"]: r["mw_per_min"] for r in found["ramps"]}["1m"] == pytest.approx(8.0)
    assert found["transformer"]["units_needed"] == 2
    assert found["transformer"]["hot_spot_max_c"] > found["transformer"]["top_oil_max_c"]
    assert "do not age" in found["transformer"]["note"]
    assert "refused" in fleet("demand", s).out


def test_columns_can_be_named(fleet, files):
    s = files(s_csv="when;site;x\n0;5;a\n2;7;b\n")
    found = fleet("demand", s, "--columns", "time=when:min,power=site:MW", "--json").json
    assert (found["step_s"], found["max_w"]) == (120.0, 7e6)
    for bad in ("time=nope", "power=site:ergs", "colour=x", "time"):
        assert fleet("demand", s, "--columns", bad).code == 2


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_plots(fleet, files, tmp_path, suffix):
    pytest.importorskip("matplotlib")
    power = square(2000, 0.1, 12.0, 2e6, 10e6)
    s, t = files(
        s_csv="time_s,power_w\n" + "".join(f"{i / 10},{p}\n" for i, p in enumerate(power)), t_toml="rated_va=12e6\n"
    )
    target = tmp_path / f"plot.{suffix}"
    assert fleet("demand", s, "--transformer", t, "--plot", target).code == 0
    head = target.read_bytes()[:100]
    assert head.startswith(b"\x89PNG") if suffix == "png" else b"<?xml" in head
    assert fleet("demand", s, "--plot", tmp_path / "plot.pdf").code == 2
    assert fleet("demand", s, "--plot", tmp_path / "no" / "plot.png").code == 2


def window(start_s, power_w):
    n = len(power_w)
    time_us = (start_s * 1_000_000 + np.arange(n) * 1_000_000).astype(np.int64)
    readings = Readings(
        np.array([0, n, 2 * n]),
        np.tile(time_us, 2),
        np.tile(np.array(power_w) * 1000, 2).astype(np.int32),
        np.full(2 * n, -1, np.int64),
    )
    devices = (Device("h", 0, "GPU-a"), Device("h", 1, "GPU-b"))
    return Window("h", 0, int(time_us[0]), int(time_us[-1]), devices, readings, np.full(2, -1, np.int64))


class MadeUp:
    """A trace of windows that no file holds."""

    reports, size, position = (), 0, 0

    def __init__(self, windows):
        self._windows = windows

    def windows(self):
        return iter(self._windows)


def test_traces_come_through_their_own_readers(fleet, tmp_path):
    (tmp_path / "trace").mkdir()
    found = fleet(
        "demand",
        tmp_path / "trace",
        "--json",
        open_trace=lambda *_: MadeUp([window(0, [5, 6, -1e-3]), window(3, [7, 8, 9])]),
    ).json
    assert found["series"] == 2
    assert found["max_w"] == 18.0
    assert found["rejected"] == {"not_available": 2}
    assert fleet("demand", tmp_path / "trace").code == 2


def test_a_real_recording(fleet, traces):
    found = fleet("demand", traces / "h100-2node" / "t13_node0_telemetry.csv.gz", "--json").json
    assert found["series"] == 8
    assert found["step_s"] == pytest.approx(0.1, rel=0.05)
    assert (found["extremes_over_s"], found["power"]) == (pytest.approx(0.5), "energy counter")
    assert found["mean_w"] * found["covered_s"] == pytest.approx(1_016_396.7, rel=2e-4)  # of the common time of all
    assert 0.85 < found["coincidence"] <= 1.0
