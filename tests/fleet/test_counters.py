"""Energy counters of a recording: which readings count, which counters are believed, and that their energy is kept."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from wattshed.agent.fleet.demand.counters import LEAST_READINGS, CounterReadings
from wattshed.agent.fleet.demand.grid import on_grid
from wattshed.agent.fleet.demand.kept import KeptSeries, SeriesName
from wattshed.agent.fleet.demand.series import LoadRecording, read_series
from wattshed.agent.window import Device, Readings, Window

NAME, SECOND = SeriesName(host="n", gpu="0"), 1_000_000


def take(time_us, power_mw, counter_mj, pieces=1, ceiling_mw=1 << 40):
    kept = KeptSeries()
    taken = CounterReadings(kept)
    columns = [np.asarray(c, np.int64) for c in (time_us, power_mw, counter_mj)]
    for piece in zip(*(np.array_split(c, pieces) for c in columns), strict=True):
        taken.add(NAME, *piece, ceiling_mw=ceiling_mw)
    return kept, taken


@settings(max_examples=examples(80), deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 900_000), st.integers(0, 500_000)), min_size=12, max_size=60),
    st.integers(1, 5),
    st.floats(0.03, 7.0),
)
def test_any_step_conserves_the_counters_energy(steps, pieces, step_s):
    """Whatever the grid, its energy is the difference of the counter, less what is unknown."""
    time_us = np.cumsum([apart for apart, _ in steps])
    counter = np.cumsum([energy for _, energy in steps])
    kept, _ = take(time_us, np.full(time_us.size, 1000), counter, pieces)
    if len(kept) == 0 or kept[NAME][0].size < 3:
        return
    moved_us, joules = kept[NAME]
    assert (np.diff(joules) > 0).all()
    readings = KeptSeries()
    readings.add(NAME, time_us, np.full(time_us.size, 1000))
    recorded = LoadRecording(readings, "gpu", 0, {}, (), kept, frozenset([NAME]))
    if moved_us[-1] - moved_us[0] <= 1.01 * step_s * SECOND:
        return
    found = on_grid(recorded, step_s, max_gap_s=1e6)
    assert found.counted == 1
    assert np.nansum(found.power_w * found.covered_s) == pytest.approx(joules[-1] - joules[0], rel=1e-9)
    assert found.covered_s.sum() == pytest.approx((moved_us[-1] - moved_us[0]) / SECOND, rel=1e-9)


def test_a_counter_that_begins_anew_leaves_a_hole():
    t = np.arange(20) * SECOND
    counter = np.concatenate((1000 + 5000 * np.arange(10), 200 + 5000 * np.arange(10)))
    kept, taken = take(t, np.full(20, 5000), counter)
    assert taken.believed() == (frozenset([NAME]), 0)
    readings = KeptSeries()
    readings.add(NAME, t, np.full(20, 5000))
    found = on_grid(LoadRecording(readings, "gpu", 0, {}, (), kept, frozenset([NAME])))
    assert np.flatnonzero(np.isnan(found.power_w)).tolist() == [9]
    assert found.power_w[~np.isnan(found.power_w)] == pytest.approx(5.0)


@pytest.mark.parametrize("pieces", [1, 2, 7])
def test_a_jump_of_a_counter_is_no_energy(pieces):
    """A step that the device cannot have drawn is unknown; the steps before and after it keep their energy."""
    t = np.arange(20) * SECOND
    counter = 1000 + 5000 * np.arange(20) + np.where(np.arange(20) >= 8, 10**9, 0)
    kept, taken = take(t, np.full(20, 5000), counter, pieces, ceiling_mw=10_000)
    assert taken.believed() == (frozenset([NAME]), 0)
    readings = KeptSeries()
    readings.add(NAME, t, np.full(20, 5000))
    found = on_grid(LoadRecording(readings, "gpu", 0, {}, (), kept, frozenset([NAME])))
    assert np.flatnonzero(np.isnan(found.power_w)).tolist() == [7]
    assert found.power_w[~np.isnan(found.power_w)] == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("unit", "readings", "believed"), [(1, 20, True), (1000, 20, False), (0.001, 20, False), (1, 5, False)]
)
def test_a_counter_of_something_else_is_not_believed(unit, readings, believed):
    """Of another unit, of a whole module or of too few readings: then the readings of power count."""
    t = np.arange(readings) * SECOND
    _, taken = take(t, np.full(readings, 300_000), 10**9 + 300_000 * unit * np.arange(readings), pieces=3)
    assert taken.believed() == ((frozenset([NAME]), 0) if believed else (frozenset(), 1))
    assert LEAST_READINGS > 5


def test_a_reading_without_a_counter_is_none():
    t = np.arange(30) * SECOND
    counter = np.where(np.arange(30) % 3 == 1, -1, 10**6 + 300_000 * np.arange(30))
    kept, taken = take(t, np.full(30, 300_000), counter)
    assert kept[NAME][0].size == 20
    assert taken.believed()[0]
    assert len(take(t, np.full(30, 300_000), np.full(30, -1))[0]) == 0


ROWS = [f"{i / 10},{g},{300 + 50 * g},{10**6 + round((300 + 50 * g) * 100 * i)}" for i in range(100) for g in (0, 1)]
HEADER = "time_s,gpu,power_w,energy_mj"


def test_a_file_with_counters_is_read_by_them(fleet, files):
    found = fleet("demand", files(a_csv="\n".join([HEADER, *ROWS]) + "\n"), "--json").json
    assert (found["power"], found["step_s"], found["extremes_over_s"]) == ("energy counter", 0.1, 0.5)
    assert (found["mean_w"], found["max_w"]) == (pytest.approx(650), pytest.approx(650))
    text = fleet("demand", files(a_csv="\n".join([HEADER, *ROWS]) + "\n")).out
    assert "power at the boundary gpu, by energy counter; extremes are of means over 0.5 s" in text
    stepped = fleet("demand", files(a_csv="\n".join([HEADER, *ROWS]) + "\n"), "--step", 0.1, "--json").json
    assert stepped["extremes_over_s"] == 0.1
    assert any("counter jitters" in warning for warning in stepped["warnings"])


def test_one_counter_of_two_and_one_that_is_doubted(fleet, files):
    mixed = [row if ",0," in row else f"{row.rsplit(',', 1)[0]}," for row in ROWS]
    found = fleet("demand", files(a_csv="\n".join([HEADER, *mixed]) + "\n"), "--json").json
    assert found["power"] == "energy counter of 1 of 2 series, power readings of the others"
    assert found["mean_w"] == pytest.approx(650)
    doubted = [f"{row.rsplit(',', 1)[0]},{3 * int(row.rsplit(',', 1)[1])}" for row in ROWS]
    found = fleet("demand", files(a_csv="\n".join([HEADER, *doubted]) + "\n"), "--json").json
    assert found["power"] == "power readings"
    assert any("power is used instead" in warning for warning in found["warnings"])


class MadeUp:
    """A trace of one window that no file holds."""

    reports, size, position = (), 0, 0

    def __init__(self, window):
        self._window = window

    def windows(self):
        return iter([self._window])


@pytest.mark.parametrize("scope", ["", "the counter is the whole module's"])
def test_a_counter_of_a_module_is_not_the_gpus(scope):
    t = np.arange(20) * SECOND
    readings = Readings(np.array([0, 20]), t, np.full(20, 300_000, np.int32), 400_000 * np.arange(20) + 1)
    device = Device("n", 0, "GPU-a", capabilities={"gpu_scope": scope})
    window = Window("n", 0, 0, 20 * SECOND, (device,), readings, np.full(1, -1, np.int64))
    found = on_grid(read_series(MadeUp(window), counters=KeptSeries()))
    assert found.counted == (0 if scope else 1)
    assert found.power_w == pytest.approx(300.0 if scope else 400.0)
    assert on_grid(read_series(MadeUp(window))).counted == 0


def test_what_would_be_ignored_is_refused(fleet, files):
    counters = files(a_csv="\n".join([HEADER, *ROWS]) + "\n")
    assert "--meter-window is of readings of power" in fleet("demand", counters, "--meter-window", 1).err
    total = files(t_csv="time_s,power_w\n" + "".join(f"{i},{5 + (i * i) % 101}\n" for i in range(100)))
    for words, why in (
        (("--limit", 5), "no probability"),
        (("--scale", 5, "--resample", "host"), "names hosts"),
        (("--seed", 2), "--seed needs --scale or --limit"),
        (("--checkpoint", 2), "--checkpoint needs --scale"),
    ):
        found = fleet("demand", total, *words)
        assert (found.code, why in found.err) == (2, True), found.err
