"""One host fits its node's meter to its own GPUs: the true line, however late the meter is, or a reason for none."""

import dataclasses
import pickle
import shutil

import numpy as np
import pytest

from tests.depth import few
from tests.exporters import snapshots
from wattshed.agent.fleet.live.node_minutes import NodeMinutes
from wattshed.agent.fleet.live.one_host import OneHost
from wattshed.exporters.snapshot import NodeFacts
from wattshed.exporters.units import HNJ_PER_JOULE

S, DAY_S, STEP_S = 1_000_000, 86_400, 5
EPOCH_US = 1_700_000_000 * S
FIXED_W, SLOPE = 640.0, 1.17
FLEET = """
[[site]]
name = "east"
[[stratum]]
name = "all"
site = "east"
hosts = 10
gpus_per_host = 1
model = "H100"
match = "node.*"
{node}
"""


def power_w(spread=1.0, job_s=300.0, seed=7):
    """GPU power second by second: jobs of some minutes."""
    rng, watts = np.random.default_rng(seed), np.full(DAY_S, 560.0)
    start = 0
    while start < DAY_S:
        end = start + int(rng.exponential(job_s)) + 1
        watts[start:end] += spread * rng.uniform(0, 4000)
        start = end
    return watts


def used_j(watts):
    return np.concatenate([[0.0], np.cumsum(watts)])


def day(minutes, watts, *, lag_s, average_s=1, every_s=STEP_S, seconds=DAY_S, gone=(), board="board"):
    """Show the host to ``minutes``: a BMC that is read now and then, late, and averages."""
    gpu_j = used_j(watts)
    node_j, energy_j, covered_s, last = used_j(FIXED_W + SLOPE * watts), 0.0, 0, None
    for t in range(120, seconds, STEP_S):
        if t % every_s == 0:
            if t in gone:
                last = None
            else:
                now_w = (node_j[t - lag_s] - node_j[t - lag_s - average_s]) / average_s
                if last is not None:
                    energy_j += (t - last[0]) * (last[1] + now_w) / 2
                    covered_s += t - last[0]
                last = t, now_w
        gpu = snapshots.gpu(0, round(gpu_j[t] * HNJ_PER_JOULE), covered_us=t * S)
        node = NodeFacts("ipmi/node", covered_s * S, round(energy_j * HNJ_PER_JOULE), {})
        time_us = EPOCH_US + t * S
        minutes.see(time_us, [dataclasses.replace(gpu, boundary=board)], node if covered_s else None)
    return time_us


@pytest.mark.parametrize(
    ("lag_s", "average_s", "every_s", "tolerance"),
    few(
        [
            (1, 1, 5, 0.005),
            (10, 1, 5, 0.005),
            (20, 1, 5, 0.005),
            (10, 10, 10, 0.005),
            (5, 30, 10, 0.01),
            (5, 1, 30, 0.02),
        ],
        plain=2,
    ),
)
def test_a_meter_that_is_late_and_averages_makes_no_flatter_line(lag_s, average_s, every_s, tolerance):
    minutes = NodeMinutes()
    end_us = day(minutes, power_w(), lag_s=lag_s, average_s=average_s, every_s=every_s)
    model = minutes.model(end_us)
    assert model.slope.value == pytest.approx(SLOPE, rel=tolerance)
    assert model.fixed_w == pytest.approx(FIXED_W, rel=0.06)
    assert model.fitted


def test_minutes_that_are_taken_together_would(monkeypatch):
    """The test above sees the look for the lag, and no accident."""
    monkeypatch.setattr("wattshed.agent.fleet.live.node_minutes.LAGS_S", (0,))
    minutes = NodeMinutes()
    assert minutes.model(day(minutes, power_w(), lag_s=20)).slope.value < 0.985 * SLOPE


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"seconds": 70_000}, "has 1200 of the last 1440 minutes"),
        ({"board": "module"}, "has 1200 of the last 1440 minutes"),
        ({"gone": range(0, DAY_S, 50)}, "has 1200 of the last 1440 minutes"),
    ],
)
def test_too_few_minutes_are_said(how, why):
    minutes = NodeMinutes()
    assert why in minutes.model(day(minutes, power_w(), lag_s=1, **how))


def test_steady_power_tells_no_slope():
    minutes = NodeMinutes()
    assert "changed by less than 15%" in minutes.model(day(minutes, power_w(spread=0.02), lag_s=1))


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A day of a meter that is 10 s late, as it is kept; its end, and its model."""
    minutes, path = NodeMinutes(), tmp_path_factory.mktemp("kept") / "m.json"
    end_us = day(minutes, power_w(), lag_s=10)
    minutes.save(path)
    return path, end_us, minutes.model(end_us)


def test_minutes_outlive_a_restart_and_not_a_day(kept):
    path, end_us, model = kept
    again = NodeMinutes()
    again.load(path)
    assert again.model(end_us) == model
    assert "no host" in again.model(end_us + DAY_S * S)


@pytest.mark.parametrize("text", ["", "{}", '{"schema": "x", "lags_s": [], "hours": []}', "[1]", '{"hours": 3}'])
def test_a_kept_file_that_cannot_be_used_is_no_end(tmp_path, text, caplog):
    (tmp_path / "m.json").write_text(text)
    (tmp_path / "FLEET.toml").write_text(FLEET.format(node='node = "live"'))
    OneHost(str(tmp_path / "FLEET.toml"), "node1", tmp_path / "m.json")
    assert "begins anew" in caplog.text


def ladder(tmp_path, node, kept=None, covered=True):
    """The fleet by one host, whose GPU draws 1,000 W and whose node's meter says 2,000 W."""
    (tmp_path / "FLEET.toml").write_text(FLEET.format(node=node))
    one = OneHost(str(tmp_path / "FLEET.toml"), "node1", kept)
    for t in range(0, 30, 5):
        gpus = [snapshots.gpu(0, 1000 * t * HNJ_PER_JOULE, covered_us=t * S)]
        its = NodeFacts("ipmi/node", t * S, 2000 * t * HNJ_PER_JOULE, {})
        facts = one.facts(EPOCH_US + (DAY_S + t) * S, gpus, its if covered else None)
    return facts


def test_the_ladder_uses_the_hosts_own_fit_and_meter(tmp_path, kept):
    shutil.copy(kept[0], tmp_path / "m.json")
    facts = ladder(tmp_path, 'node = "live"', tmp_path / "m.json")
    model = facts.node_models["all"]
    assert model.source == "live"
    assert model.slope == pytest.approx(SLOPE, rel=0.005)
    others_w = 9 * (model.fixed_w + model.slope * 1000)
    assert facts.power_w["node", "mean"] == pytest.approx(2000 + others_w, rel=1e-6)
    assert not any("no node model" in said for said in facts.warnings)


@pytest.mark.parametrize(
    ("node", "source", "host_w", "other_w"),
    [
        ('node = "live"', "assumed", 2000, 111.25 + 1250),
        ("", "assumed", 111.25 + 1250, 111.25 + 1250),
        ("node = { level_w = 900, slope = 1.1, pivot_w = 500 }", "inventory", 1450, 1450),
    ],
)
def test_without_enough_minutes_it_says_which_model_it_uses(tmp_path, node, source, host_w, other_w):
    facts = ladder(tmp_path, node)
    assert facts.node_models["all"].source == source
    assert facts.power_w["node", "mean"] == pytest.approx(host_w + 9 * other_w)
    assert any("no node model is fitted" in said for said in facts.warnings) == ("live" in node)


def test_a_node_without_a_meter_is_modelled_too(tmp_path):
    facts = ladder(tmp_path, 'node = "live"', covered=False)
    assert facts.power_w["node", "mean"] == pytest.approx(10 * (111.25 + 1250))


def test_a_meter_that_is_silent_for_good_is_not_waited_for_in_memory():
    minutes, sizes = NodeMinutes(), []
    node = NodeFacts("ipmi/node", 60 * S, 60_000 * HNJ_PER_JOULE, {})
    for t in range(0, 6 * 3600, STEP_S):
        gpu = dataclasses.replace(snapshots.gpu(0, t * HNJ_PER_JOULE, covered_us=t * S), boundary="board")
        minutes.see(EPOCH_US + t * S, [gpu], node)
        sizes.append(len(pickle.dumps(minutes)) if t % 600 == 0 else 0)
    hour = 3600 // STEP_S
    assert max(sizes[3 * hour :]) <= 1.1 * max(sizes[: 2 * hour])
