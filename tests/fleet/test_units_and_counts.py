"""Numbers of a demand in their units, and hosts counted as what they are."""

import numpy as np
import pytest

from tests.fleet.example_fleet import FLEET
from tests.fleet.test_live import host, server, vector
from wattshed.agent.fleet.demand.grid import Load
from wattshed.agent.fleet.demand.measure import measure
from wattshed.agent.fleet.live.inventory import read_inventory
from wattshed.agent.fleet.live.rules import POWER_RULE, ask
from wattshed.agent.wire.query import Prometheus


@pytest.mark.parametrize("step_s", [0.25, 0.5, 2.0, 10.0])
def test_times_are_seconds_and_holes_are_not_covered(step_s):
    power = np.full(100, 300.0)
    power[[3, 50, 51]] = np.nan
    power[7], power[90] = 500.0, 100.0
    found = measure(Load(step_s, 0, power, "it"))
    assert (found.step_s, found.span_s, found.covered_s) == (step_s, 100 * step_s, 97 * step_s)
    assert (found.mean_w, found.max_w, found.min_w) == (300.0, 500.0, 100.0)
    assert found.sd_w == pytest.approx(np.sqrt(2 * 200.0**2 / 97))
    assert found.load_factor == pytest.approx(0.6)
    assert found.duration[0] == 500.0
    assert found.duration[100] == 100.0
    for peak in found.peaks:
        seconds = {"1s": 1, "1m": 60, "15m": 900}[peak.window]
        steps = max(round(seconds / step_s), 1)
        if seconds < step_s or steps > 48:
            assert peak.watts is None
            assert peak.reason
        elif steps <= 46:  # it fits between the holes, with the top in it
            assert peak.watts == pytest.approx(300 + 200 / steps)


def test_a_load_of_nothing_has_a_load_factor():
    found = measure(Load(1.0, 0, np.zeros(10), "it"))
    assert (found.load_factor, found.mean_w, found.covered_s) == (1.0, 0.0, 10.0)


@pytest.mark.parametrize(
    ("series", "count"),
    [
        ([("t0", ""), ("t1", "")], 0),
        ([("t0", "a"), ("t0", "b"), ("t1", "")], 1),
        ([("t0", "a"), ("t0", "b"), ("t1", "a"), ("t1", "b"), ("t2", "")], 2),
    ],
)
def test_hosts_with_two_series_are_counted(tmp_path, series, count):
    (tmp_path / "FLEET.toml").write_text(FLEET)
    powers = [(host("train", name, job=job), 5000.0) for name, job in series]
    with server({POWER_RULE: vector(*powers)}) as (url, _):
        found = ask(Prometheus(url), read_inventory(tmp_path / "FLEET.toml"))
    said = [warning for warning in found.warnings if "several series" in warning]
    assert len(said) == bool(count)
    assert all(f"was taken: {count};" in warning for warning in said)
