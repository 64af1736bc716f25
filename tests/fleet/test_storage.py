"""Storage: closed forms, and a battery of the size stated keeps the limit in operation where a smaller one does not."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from wattshed.agent.fleet.decide.battery import in_band, low_pass, operate, settled, sized, slew, smoothed, within_band
from wattshed.agent.fleet.decide.given import BandLimit, Floor

MWH = 3.6e9


def test_a_step_takes_half_its_square_over_the_ramp():
    # 50 MW at 100 MW/min: .2083 MWh.
    load = np.repeat([10e6, 60e6], [100, 6000])
    battery = sized(load, slew(load, 0.01, 100e6 / 60), 0.01)
    assert battery.energy_j / MWH == pytest.approx(50.0**2 / (2 * 100 * 60), rel=1e-3)
    assert battery.power_w == pytest.approx(50e6, rel=1e-3)


@pytest.mark.parametrize("direction", [1, -1])
def test_a_step_at_the_end_counts_whole(direction):
    load = np.repeat([50e6, 50e6 + direction * 40e6], [100, 1])
    longer = settled(load, 0.1, 1e6)
    assert longer.size * 0.1 == pytest.approx(10.1 + 40.0, abs=0.2)
    battery = sized(longer, slew(longer, 0.1, 1e6), 0.1)
    assert battery.energy_j == pytest.approx((40e6) ** 2 / 2e6, rel=5e-3)


@pytest.mark.parametrize("frequency_hz", [0.5, 2.5])
def test_a_sine_takes_its_amplitude_over_pi_f(frequency_hz):
    step, amplitude = 0.01, 74.3
    load = 1000.0 + amplitude * np.cos(2 * np.pi * frequency_hz * step * np.arange(8000))
    limit = BandLimit(frequency_hz / 2, frequency_hz * 2, 0.02 * amplitude)
    grid, corner = within_band(load, step, limit)
    # 74.3 W at 2.54 Hz is 9.3 J; a low-pass gives nearly all of it, and is late.
    charge = np.cumsum(load[4000:] - grid[4000:]) * step
    assert charge.max() - charge.min() == pytest.approx(amplitude / (math.pi * frequency_hz), rel=0.02)
    assert np.sqrt(np.mean(in_band(grid, step, limit.low_hz, limit.high_hz) ** 2)) == pytest.approx(
        limit.rms_w, rel=1e-3
    )
    assert 0 < corner < frequency_hz
    calm = BandLimit(limit.low_hz, limit.high_hz, amplitude)
    assert within_band(load, step, calm) == (pytest.approx(load), math.inf)


@settings(max_examples=examples(40), deadline=None)
@given(
    st.lists(st.integers(0, 1000), min_size=2, max_size=60),
    st.floats(1.0, 300.0),
    st.floats(0.5, 1.0),
)
def test_the_size_stated_keeps_the_limit_and_a_smaller_one_does_not(kilowatts, ramp, efficiency):
    load = settled(np.repeat(np.array(kilowatts, float), 3), 1.0, ramp)
    wanted = slew(load, 1.0, ramp)
    battery = sized(load, wanted, 1.0, efficiency)
    grid = operate(battery, load, wanted, 1.0)
    assert grid == pytest.approx(wanted + battery.loss_w, rel=1e-9, abs=1e-6)
    assert np.abs(np.diff(grid)).max(initial=0.0) <= ramp * (1 + 1e-6) + 1e-6
    # Energy: what the grid gave beyond the load is lost, or held more than before.
    if efficiency == 1.0:
        assert battery.loss_w == 0.0
    if battery.power_w > 1.0:
        weak = operate(replace(battery, power_w=0.98 * battery.power_w), load, wanted, 1.0)
        assert not np.allclose(weak, wanted + battery.loss_w, rtol=1e-9, atol=1e-6)
        small = replace(battery, energy_j=0.98 * battery.energy_j, charge_j=0.98 * battery.charge_j)
        assert not np.allclose(operate(small, load, wanted, 1.0), wanted + battery.loss_w, rtol=1e-9, atol=1e-6)


def test_what_is_lost_is_bought():
    load = np.tile(np.repeat([10e6, 50e6], 300), 8)
    wanted = slew(load, 1.0, 10e6 / 60)
    battery = sized(load, wanted, 1.0, 0.81)
    grid = operate(battery, load, wanted, 1.0)
    given = load - grid
    lost = np.where(given > 0, given * (1 / 0.9 - 1), -given * 0.1).mean()
    assert battery.loss_w == pytest.approx(lost, rel=1e-9)
    assert sized(load, wanted, 1.0).loss_w == 0.0


def test_a_low_pass_follows():
    assert low_pass(np.full(5, 7.0), 1.0, 0.1) == pytest.approx(7.0)
    step = low_pass(np.repeat([0.0, 1.0], [300, 1000]), 0.01, 0.5)
    assert step[300 + round(1 / (2 * np.pi * 0.5) / 0.01)] == pytest.approx(1 - math.exp(-1), abs=0.02)


def test_a_floor_holds_and_then_falls():
    gpu = np.array([[100.0, 100, 600, 50, 50, 50, 50, 50, 50, 50, 50]])
    found = smoothed(gpu, 1.0, Floor(0.5, 100.0, 2.0), 700.0)
    assert found.tolist() == [[100, 100, 600, 350, 350, 250, 150, 50, 50, 50, 50]]


@pytest.fixture
def trace(files):
    rows = "".join(f"{s},{g},{600 if 60 <= s < 300 else 100}\n" for s in range(400) for g in (0, 1))
    return files(g_csv="time,gpu,power\n" + rows)


def test_what_is_answered(fleet, trace, files, tmp_path):
    node = files(n_toml="node = { level_w = 200, slope = { value = 1.2, low = 1.0, high = 1.5 }, pivot_w = 0 }\n")
    plot = tmp_path / "s.svg"
    words = ("storage", trace, "--hosts", 1000, "--node", node, "--ramp", "1MW/min,2MW/min", "--round-trip", 1)
    found = fleet(*words, "--plot", plot, "--json").json
    first, second = found["limits"]
    assert found["largest_step_w"] == pytest.approx(1.2e6)
    assert first["energy_wh"] == pytest.approx(1.2e6**2 / (2 * 1e6 / 60) / 3600, rel=0.02)
    assert second["energy_wh"] == pytest.approx(first["energy_wh"] / 2, rel=0.03)
    assert first["energy_interval_wh"] == pytest.approx(
        [first["energy_wh"] / 1.44, first["energy_wh"] * 1.5625], rel=0.02
    )
    assert (first["kept_in_operation"], first["loss_w"]) == (True, 0.0)
    assert found["answer"].startswith(
        "For 1MW/min, a load of 1.64 MW at most (1,000 hosts in lockstep) needs a battery of"
    )
    assert found["answer"] in fleet(*words).out
    assert "What the battery gives" in plot.read_text()


def test_a_floor_of_gpus_spares_a_battery_and_costs_energy(fleet, files):
    rows = "".join(f"{s},{g},{600 if s < 60 else 100}\n" for s in range(400) for g in (0, 1))
    trace = files(g_csv="time,gpu,power\n" + rows)
    words = ("storage", trace, "--hosts", 1000, "--ramp", "1MW/min", "--json")
    bare = fleet(*words).json
    floor = fleet(*words, "--floor", "60%,2W/s,10s", "--tmp", "700W").json
    assert floor["limits"][0]["energy_wh"] < 0.5 * bare["limits"][0]["energy_wh"]
    assert floor["floor"]["bought_w"] == pytest.approx(floor["mean_w"] - bare["mean_w"])
    assert floor["floor"]["bought_w"] > 0.0


def test_a_band(fleet, files):
    rows = "".join(f"{i / 10},a,{1e6 + 1e5 * math.cos(0.194 * math.pi * i):.0f}\n" for i in range(3000))
    trace = files(t_csv="time,host,power\n" + rows)
    found = fleet("storage", trace, "--band", "0.5-5Hz:5kW", "--json").json
    assert found["limits"][0]["kept_in_operation"]
    assert found["limits"][0]["limit"] == "5 kW rms in 0.5-5 Hz"
    assert found["with_foresight"]["rms_w"] == pytest.approx(1e5 / math.sqrt(2), rel=1e-3)
    assert found["with_foresight"]["energy_wh"] * 3600 == pytest.approx(0.929 * 1e5 / (0.97 * math.pi), rel=0.03)
    assert "show swings up to 5 Hz" in fleet("storage", trace, "--band", "6-9Hz:1kW").err
    beyond = fleet("storage", trace, "--band", "0.5-9Hz:5kW", "--json").json
    assert "swings above 5 Hz are not in the recording, and not in the size" in beyond["warnings"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "one of the arguments --ramp --band is required"),
        (("--ramp", "10MW"), "is not a ramp, such as 10MW/min"),
        (("--band", "20-1Hz:5MW"), "is not a limit of a band, such as 0.1-20Hz:5MW"),
        (("--ramp", "1MW/s", "--floor", "65%,1W/s"), "is not a floor"),
        (("--ramp", "1MW/s", "--floor", "65%,1W/s,1s"), "--floor needs --tmp"),
        (("--ramp", "1MW/s", "--tmp", "700W"), "--tmp needs --floor"),
    ],
)
def test_what_is_refused(fleet, trace, words, said):
    found = fleet("storage", trace, *words)
    assert (found.code, found.out) == (2, "")
    assert said in found.err


def test_what_uneven_stamps_take_from_a_swing_is_said(fleet, files):
    even, uneven = (
        files(
            **{
                name: "time_s,power_W\n"
                + "".join(f"{i / 10 + late * (i % 7):.3f},{900 + 89 * math.sin(i) ** 3:.2f}\n" for i in range(400))
            }
        )
        for name, late in (("e_csv", 0.0), ("u_csv", 0.007))
    )
    said = [" ".join(fleet("storage", p, "--band", "1-4Hz:10W", "--json").json["warnings"]) for p in (even, uneven)]
    assert ["the battery is understated" in text for text in said] == [False, True]
