"""What ``fleet demand`` prints and draws is what was found: every number against the power that went in."""

import math
from functools import partial

import numpy as np
import pytest

from tests.fleet import naive_fleet as naive
from tests.fleet.recorded import recorded
from wattshed.agent.fleet.boundary.units import between, shown
from wattshed.agent.fleet.demand.ensemble import Fleets, simulate
from wattshed.agent.fleet.demand.grid import on_grid
from wattshed.agent.fleet.demand.plots import MOST_POINTS, thinned
from wattshed.agent.fleet.demand.spectrum import analyse
from wattshed.agent.fleet.demand.transformer import Transformer, age

STEPS, STEP_S, JOBS = 400, 0.5, 3
RATED_VA = 2000.0
UNITS, REPLICATES, LIMIT_W = 40, 60, 15_600.0


@pytest.fixture
def powers():
    """Watts of the jobs, job by job: no two figures of their sum are alike."""
    random = np.random.default_rng(12)
    return np.rint(200 + random.gamma(3.0, 40.0, (JOBS, STEPS)).cumsum(axis=1) % 300)


@pytest.fixture
def table(powers, files):
    rows = [f"{i * STEP_S},{j},{powers[j, i]}\n" for i in range(STEPS) for j in range(JOBS)]
    return files(s_csv="time_s,job,power_w\n" + "".join(rows))


@pytest.fixture
def transformer(files):
    return files(t_toml=f"rated_va = {RATED_VA}\nambient_c = 25\n")


to_12 = partial(pytest.approx, rel=1e-11)
"""Documents have twelve digits."""


def test_every_figure_of_the_load(fleet, table, powers):
    found, load = fleet("demand", table, "--json").json, powers.sum(axis=0)
    assert (found["series"], found["kind"], found["rows"], found["rejected"]) == (JOBS, "job", STEPS * JOBS, {})
    assert found["source"] == str(table)
    assert (found["step_s"], found["span_s"], found["covered_s"]) == (STEP_S, STEPS * STEP_S, STEPS * STEP_S)
    assert (found["max_w"], found["min_w"]) == (load.max(), load.min())
    assert (found["mean_w"], found["sd_w"]) == (pytest.approx(load.mean()), pytest.approx(load.std()))
    assert found["load_factor"] == pytest.approx(load.mean() / load.max())
    assert found["coincidence"] == pytest.approx(load.max() / powers.max(axis=1).sum())
    assert {p["window"]: p["watts"] for p in found["peaks"]} == {
        "1s": pytest.approx(naive.peak(load.tolist(), 2)),
        "1m": pytest.approx(naive.peak(load.tolist(), 120)),
        "15m": None,
    }
    percents = [0, 0.1, 1, 5, 10, 25, 50, 75, 90, 95, 99, 100]
    assert [p["percent"] for p in found["duration_curve"]] == percents
    for point in found["duration_curve"]:
        assert point["watts"] == pytest.approx(np.percentile(load, 100 - point["percent"]))
    ramps = {r["window"]: r for r in found["ramps"]}
    assert list(ramps) == ["1s", "10s", "1m", "15m"]
    for window, seconds in (("1s", 1), ("10s", 10), ("1m", 60)):
        up, down = naive.largest_change(load.tolist(), int(seconds / STEP_S))
        apart = load[int(seconds / STEP_S) :] - load[: -int(seconds / STEP_S)]
        ramp = ramps[window]
        assert (ramp["up_w"], ramp["down_w"], ramp["watts"]) == (up, down, max(up, down))
        assert ramp["rms_w"] == pytest.approx(math.sqrt(np.mean(apart**2)))
        assert ramp["mw_per_s"] == pytest.approx(max(up, down) / seconds / 1e6)
        assert ramp["mw_per_min"] == pytest.approx(max(up, down) / seconds * 60 / 1e6)
    assert (ramps["15m"]["watts"], ramps["15m"]["mw_per_s"], ramps["15m"]["mw_per_min"]) == (None, None, None)
    assert {(b["band"], b["low_hz"], b["high_hz"]) for b in found["bands"]} == {
        ("below 1 Hz", 0.0, 1.0), ("0.1-20 Hz", 0.1, 20.0), ("0.2-3 Hz", 0.2, 3.0), ("1-2.5 Hz", 1.0, 2.5),
        ("slower", 0.0, 0.1),
    }  # fmt: skip
    assert (found["of"], found["boundary"], found["power"]) == ("the recording", "as recorded", "power readings")
    assert found["swing"] == {"rms_w": to_12(load.std()), "span_s": STEPS * STEP_S}
    assert {b["observable_up_to_hz"] for b in found["bands"]} == {found["observable_up_to_hz"]} == {1.0}


def test_every_figure_of_the_transformer(fleet, table, transformer, powers):
    found = fleet("demand", table, "--transformer", transformer, "--json").json["transformer"]
    load = powers.sum(axis=0)
    aged = age(load, STEP_S, Transformer(RATED_VA, ambient_c=25.0))
    assert (found["rated_va"], found["units"]) == (RATED_VA, 1)
    assert (found["hot_spot_max_c"], found["hot_spot_final_c"]) == to_12((aged.hot_spot_c.max(), aged.hot_spot_c[-1]))
    assert (found["top_oil_max_c"], found["top_oil_final_c"]) == to_12((aged.top_oil_c.max(), aged.top_oil_c[-1]))
    assert found["loss_of_life_h"] == to_12(aged.loss_of_life_h)
    assert found["loss_of_life_share"] == pytest.approx(aged.loss_of_life_h / 180_000)
    assert found["equivalent_ageing"] == pytest.approx(aged.loss_of_life_h / (STEPS * STEP_S / 3600))
    square = math.sqrt(np.mean(load**2))  # it is shorter than the winding's time constant
    assert found["peak_loading"] == pytest.approx(square / (0.95 * RATED_VA))
    assert found["headroom_w"] == pytest.approx(0.8 * 0.95 * RATED_VA - square)
    assert found["units_needed"] == math.ceil(square / (0.8 * 0.95 * RATED_VA)) + 1
    assert found["of"] == "the recording"


@pytest.mark.parametrize(("limit_va", "warned"), [(1e3, True), (1e6, False)])
def test_a_transformer_above_its_plan_is_said(fleet, table, files, limit_va, warned):
    small = files(t_toml=f"rated_va = {limit_va}\noil_time_constant_h = {0.01 if warned else 3.5}\n")
    said = " ".join(fleet("demand", table, "--transformer", small, "--json").json["warnings"])
    assert ("above its planned 80%" in said) == warned
    assert ("shorter than the oil's time constant" in said) != warned


def words(table, *more):
    return ("demand", table, "--scale", UNITS, "--replicates", REPLICATES, "--limit", LIMIT_W, "--seed", 5, *more)


def test_every_figure_of_a_simulated_fleet(fleet, table):
    found = fleet(*words(table, "--checkpoint", 20), "--json").json["ensemble"]
    load = on_grid(recorded(table), unit="job")
    drawn = simulate(load, UNITS, replicates=REPLICATES, checkpoint_s=20.0, limit_w=LIMIT_W, seed=5)
    assert (found["units"], found["unit"], found["replicates"]) == (UNITS, "job", REPLICATES)
    assert (found["block_s"], found["span_s"]) == (STEPS * STEP_S, STEPS * STEP_S)
    assert (found["mean_w"], found["sd_w"], found["coincidence"]) == to_12(
        (drawn.mean_w, drawn.sd_w, drawn.coincidence)
    )
    peaks = drawn.peaks_w
    assert found["peak_w"] == {f"p{q}": pytest.approx(np.percentile(peaks, q)) for q in (5, 50, 95, 99)}
    assert len(set(found["peak_w"].values())) == 4
    x = found["exceedance"]
    assert (x["limit_w"], x["probability"]) == to_12((LIMIT_W, np.mean(peaks > LIMIT_W)))
    assert 0 < x["lower"] < x["probability"] < x["upper"] < 1
    text = fleet(*words(table, "--checkpoint", 20)).out
    low, high = np.percentile(peaks, [2.5, 97.5])
    assert f"peak {shown(float(np.median(peaks)), 'W')} ({between(low, high, 'W')})" in text


def test_all_figures_of_a_fleet_are_the_fleets(fleet, table, transformer):
    """Peaks, ramps, bands and the transformer are medians over fleets, never those of one recording."""
    found = fleet(*words(table, "--transformer", transformer), "--json").json
    alone = fleet("demand", table, "--transformer", transformer, "--json").json
    fleets = Fleets(np.array(list(on_grid(recorded(table), unit="job").units.values())), UNITS, 5)
    drawn = [fleets.draw(r) for r in range(REPLICATES)]
    t = Transformer(RATED_VA, ambient_c=25.0)
    aged = [age(power, STEP_S, t) for power in drawn]
    assert found["of"] == found["transformer"]["of"] == f"a fleet of {UNITS} jobs"
    assert found["recorded"] == {k: alone[k] for k in found["recorded"]}
    for share, key, of in ((0.5, "watts", found["transformer"]), (0.95, "p95_w", found["transformer"]["p95"])):

        def over_fleets(values, share=share):
            return pytest.approx(np.quantile(values, share))

        assert {p["window"]: p[key] for p in found["peaks"]}["1s"] == over_fleets(
            [naive.peak(power.tolist(), 2) for power in drawn]
        )
        assert {r["window"]: r[key] for r in found["ramps"]}["1s"] == over_fleets(
            [max(naive.largest_change(power.tolist(), 2)) for power in drawn]
        )
        assert of["hot_spot_max_c"] == over_fleets([a.hot_spot_c.max() for a in aged])
        assert of["peak_loading"] == over_fleets([a.peak_loading for a in aged])
        assert of["headroom_w"] == pytest.approx((0.8 - of["peak_loading"]) * 0.95 * RATED_VA)
        assert of["units_needed"] == math.ceil(np.quantile([a.units_needed for a in aged], share))
    assert found["max_w"] == pytest.approx(np.median([power.max() for power in drawn]))
    assert found["mean_w"] == pytest.approx(np.median([power.mean() for power in drawn]))
    slower = next(b for b in found["bands"] if b["band"] == "slower")
    bands = [next(b for b in analyse(power, STEP_S).bands if b.name == "slower").rms_w for power in drawn]
    assert (slower["rms_w"], slower["p95_w"]) == (to_12(np.median(bands)), to_12(np.quantile(bands, 0.95)))
    assert "above its planned 80%" in " ".join(found["warnings"])


def test_the_table_says_what_the_document_says(fleet, table, transformer):
    flags = words(table, "--transformer", transformer)
    text, d = fleet(*flags).out, fleet(*flags, "--json").json
    lines = text.splitlines()
    assert lines[0] == (
        f"a fleet of {UNITS} jobs, {d['span_s']:g} s in steps of {d['step_s']:g} s: mean {shown(d['mean_w'], 'W')}, "
        f"largest {shown(d['max_w'], 'W')}, load factor {d['load_factor']:.3f}"
    )
    assert lines[1] == f"coincidence factor {d['coincidence']:.3f}"
    r = d["recorded"]
    assert lines[3] == f"recorded: {JOBS} series, mean {shown(r['mean_w'], 'W')}, largest {shown(r['max_w'], 'W')}"
    cells = [" ".join(line.split()) for line in lines]

    def row(*told):
        return " ".join(" ".join(told).split())

    for p in d["peaks"]:
        told = ("unknown",) if p["watts"] is None else (shown(p["watts"], "W"), shown(p["p95_w"], "W"))
        assert row(p["window"], *told, p["reason"]) in cells
    for p in d["duration_curve"]:
        assert f"{p['percent']:g} % {shown(p['watts'], 'W')}" in cells
    for r in d["ramps"]:
        told = (
            ("unknown", r["reason"]) if r["watts"] is None
            else (shown(r["watts"], "W"), shown(r["p95_w"], "W"), f"{r['mw_per_s']:.4g}", f"{r['mw_per_min']:.4g}")
        )  # fmt: skip
        assert row(r["window"], *told) in cells
    for b in d["bands"]:
        told = (
            ("refused", b["reason"]) if b["rms_w"] is None
            else (shown(b["rms_w"], "W"), shown(b["p95_w"], "W"), between(b["lower_w"], b["upper_w"], "W"))
        )  # fmt: skip
        assert row(b["band"], *told) in cells
    assert "swings, observable up to 1 Hz" in cells
    t, e = d["transformer"], d["ensemble"]
    for told, head in ((t, "transformer"), (t["p95"], "95th percentile")):
        assert (
            f"{head}: hot spot up to {told['hot_spot_max_c']:.1f} °C, ageing {told['equivalent_ageing']:.3g} times "
            f"normal, {told['loss_of_life_h']:.3g} h of life used, loaded to {told['peak_loading']:.0%}, headroom "
            f"{shown(told['headroom_w'], 'W')}, {told['units_needed']:.0f} units with one spare"
        ) in lines
    assert f"sized by: {t['sized_by']}" in lines
    assert f"mean {shown(e['mean_w'], 'W')}, peak {shown(e['peak_w']['p50'], 'W')} (" in text
    assert f"coincidence factor {e['coincidence']:.3f}" in text
    x = e["exceedance"]
    assert (
        f"above {shown(x['limit_w'], 'W')}: probability {x['probability']:.3g} ({x['lower']:.3g} to {x['upper']:.3g})"
        in text
    )
    assert [line for line in lines if line.startswith("warning: ")] == [f"warning: {w}" for w in d["warnings"]]


@pytest.mark.parametrize("steps", [1, 7, MOST_POINTS, MOST_POINTS + 1, 3 * MOST_POINTS - 5])
def test_no_peak_is_lost_by_thinning(steps):
    power = np.random.default_rng(steps).permutation(steps) + 1.0
    position, low, high = thinned(power)
    width = -(-steps // MOST_POINTS)
    assert position.size == low.size == high.size == -(-steps // width) <= MOST_POINTS
    at = np.rint(position * steps).astype(int)
    ends = [*at[1:].tolist(), steps]
    assert at[0] == 0
    assert low.tolist() == [power[a:b].min() for a, b in zip(at, ends, strict=True)]
    assert high.tolist() == [power[a:b].max() for a, b in zip(at, ends, strict=True)]


@pytest.mark.parametrize(
    ("step_s", "watts", "time_unit", "per", "unit", "scale"),
    [
        (0.5, 0.5, "seconds", 1, "W", 1),
        (1.0, 1e3, "minutes", 60, "MW", 1e6),
        (60.0, 20.0, "hours", 3600, "kW", 1e3),
        (60.0, 1e6, "hours", 3600, "GW", 1e9),
    ],
)
def test_the_picture_shows_the_load(
    fleet, files, monkeypatch, tmp_path, powers, step_s, watts, time_unit, per, unit, scale
):
    figure = pytest.importorskip("matplotlib.figure")
    drawn = []
    monkeypatch.setattr(figure.Figure, "savefig", lambda self, path, **_: drawn.append((self, path)))
    load = powers.sum(axis=0) * watts
    s, t = files(
        s_csv="time_s,power_w\n" + "".join(f"{i * step_s},{p}\n" for i, p in enumerate(load)),
        t_toml=f"rated_va = {load.max()}\n",
    )
    found = fleet("demand", s, "--transformer", t, "--plot", tmp_path / "p.svg", "--json").json
    ((shown_figure, path),) = drawn
    assert path == str(tmp_path / "p.svg")
    over_time, duration, spectrum, hot_spot = shown_figure.axes
    assert [a.get_xlabel() for a in shown_figure.axes] == [time_unit, "% of the time at or above", "Hz", time_unit]
    assert [a.get_ylabel() for a in shown_figure.axes] == [unit, unit, f"{unit} per root Hz", "hot spot, °C"]

    def outline(axis):
        points = axis.collections[0].get_paths()[0].vertices
        return points.min(axis=0), points.max(axis=0)

    low, high = outline(over_time)
    assert (low[0], high[0]) == (0, pytest.approx((STEPS - 1) * step_s / per))
    assert (low[1], high[1]) == (pytest.approx(load.min() / scale), pytest.approx(load.max() / scale))
    x, y = duration.lines[0].get_data()
    assert y.tolist() == pytest.approx((np.sort(load)[::-1] / scale).tolist())
    assert x.tolist() == pytest.approx((100 * (np.arange(STEPS) + 0.5) / STEPS).tolist())
    frequency, density = spectrum.lines[0].get_data()
    assert found["observable_up_to_hz"] == to_12(0.5 / step_s)
    assert 0 < frequency[0] < frequency[-1] <= 0.5 / step_s
    width = frequency[1] - frequency[0]
    below = (density * scale) ** 2 * width
    assert below.sum() == pytest.approx(np.var(load), rel=0.3)  # the swing is all there, above the lowest line
    low, high = outline(hot_spot)
    assert (low[0], high[0]) == (0, pytest.approx((STEPS - 1) * step_s / per))
    assert high[1] == pytest.approx(found["transformer"]["hot_spot_max_c"])
    assert hot_spot.lines[0].get_ydata()[0] == 110.0
    assert {axis.get_ylim()[0] for axis in (over_time, duration)} == {0.0}
