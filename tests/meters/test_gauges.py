"""A gauge is what can be read now: absent when it cannot be, and never what no board can show."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.virtual import agent, simulated
from wattshed.agent.meters.gauges import BOUNDS, MODULE_W, Gauges
from wattshed.exporters.formats import dcgm, prometheus
from wattshed.exporters.formats.exposition import Writer
from wattshed.exporters.web import api

S = 1_000_000
CEILING_MW = 1_050_000
JOB = """
gpus = 2
cycle_s = 600
[[job]]
name = "7"
gpus = [0, 1]
start_s = 2
load = [[1.0, 400.0, 80], [0.5, 100.0, 20]]
"""
READ = {"power_instant_w", "power_average_w", "temperature_c", "sm_clock_mhz", "fb_used_mib", "gpu_util", "processes"}


def fault(kind, **keys):
    return f'[[fault]]\nkind = "{kind}"\n' + "".join(f"{k} = {v!r}\n".replace("'", '"') for k, v in keys.items())


def shown(tmp_path, faults, seconds=60):
    """Gauges of GPU 0 by name, a value a window; and the last snapshot."""
    (tmp_path / "s.toml").write_text(JOB + faults)
    node, clock = simulated(tmp_path, str(tmp_path / "s.toml"))
    one = agent(node, clock, seconds=seconds)
    one.daemon.run()
    one.close()
    windows = one.windows[:seconds]
    names = sorted(set().union(*(w.gauges for w in windows)))
    nothing = np.full(2, np.nan)
    return {n: np.array([w.gauges.get(n, nothing)[0] for w in windows]) for n in names}, one.board.current()


def pages(snapshot):
    """Everything that is published of the snapshot's first GPU, as text."""

    def fail(name, error):
        raise AssertionError(name) from error

    lines = []
    for families in (prometheus.families(snapshot), dcgm.families()):
        text = Writer(openmetrics=False, on_fault=fail).write(snapshot, families).decode()
        lines += [line for line in text.splitlines() if snapshot.gpus[0].uuid in line]
    return lines


def test_garbage_is_on_no_page(tmp_path):
    columns, snapshot = shown(tmp_path, fault("garbage", gpu=0, at_s=15))
    for name in ("power_instant_w", "power_average_w"):
        assert (columns[name][2:13] > 0).all()
        assert np.isnan(columns[name][15:]).all()
    assert dict(snapshot.gpus[0].power_w) == {}
    assert snapshot.gpus[1].power_w.keys() == {"instant", "average"}
    assert not [
        line for line in pages(snapshot) if line.startswith(("wattshed_gpu_power_watts", "DCGM_FI_DEV_POWER_USAGE"))
    ]
    first, second = json.loads(api.document(snapshot, {}))["gpus"]
    assert (first["power_w"], len(second["power_w"])) == ({}, 2)
    assert max(first["peak_w"].values()) < CEILING_MW / 1e3


def test_a_gpu_that_does_not_answer_shows_nothing_old(tmp_path):
    columns, snapshot = shown(tmp_path, fault("error", gpu=0, value=10, at_s=15))
    assert columns.keys() >= READ
    for name in READ:
        assert not np.isnan(columns[name][5:13]).any(), name
        assert np.isnan(columns[name][15 + 13 :]).all(), name  # 2.5 times five seconds at most
    for name in ("power_instant_w", "power_average_w"):
        assert np.isnan(columns[name][16:]).all(), name  # their call failed: at once
    assert np.isnan(columns["gpu_util"][15 + 6 :]).all()
    facts = snapshot.gpus[0]
    assert (dict(facts.power_w), dict(facts.limits_w), dict(facts.gauges)) == ({}, {}, {})
    kept = {"power_watts", "limit_watts", "TEMP", "CLOCK", "FB_", "UTIL"}
    assert not [line for line in pages(snapshot) if any(word in line for word in kept)]


def test_they_come_back_when_the_gpu_answers_again(tmp_path):
    columns, _ = shown(tmp_path, fault("error", gpu=0, value=10, at_s=15, for_s=25), seconds=90)
    for name in READ:
        assert np.isnan(columns[name][30:40]).all(), name
        assert not np.isnan(columns[name][80:]).any(), name


@pytest.mark.parametrize(
    "call", ["nvmlDeviceGetTemperature", "nvmlDeviceGetUtilizationRates", "nvmlDeviceGetMemoryInfo"]
)
def test_one_call_that_fails_takes_its_own_gauges_along(tmp_path, call):
    columns, _ = shown(tmp_path, fault("error", gpu=0, value=3, call=call, at_s=20))
    own = {"nvmlDeviceGetTemperature": {"temperature_c"}, "nvmlDeviceGetUtilizationRates": {"gpu_util"}}
    gone = own.get(call, {"fb_used_mib"})
    for name in READ:
        assert np.isnan(columns[name][26:]).all() == (name in gone), name


def test_time_that_the_gpu_was_busy_is_unknown_with_its_utilisation(tmp_path):
    (tmp_path / "s.toml").write_text(
        JOB + fault("error", gpu=0, value=3, call="nvmlDeviceGetUtilizationRates", at_s=20, for_s=20)
    )
    node, clock = simulated(tmp_path, str(tmp_path / "s.toml"))
    one = agent(node, clock, seconds=60)
    one.daemon.run()
    one.close()
    busy = [int(window.busy_us[0]) for window in one.windows]
    assert all(us >= 0 for us in busy[:18] + busy[42:59])
    assert set(busy[22:38]) == {-1}


def test_an_xid_error_is_an_event_and_stays(tmp_path):
    columns, snapshot = shown(tmp_path, fault("xid", gpu=0, value=31, at_s=5) + fault("error", gpu=0, value=10, at_s=9))
    assert (columns["xid"][6:] == 31).all()
    assert snapshot.gpus[0].last_xid == 31


NAMES = ["power_instant_w", "power_average_w", "power_module_w", "limit_enforced_w", "throttle_power_cap_s", *BOUNDS]


@given(st.dictionaries(st.sampled_from(NAMES), st.floats(width=32)), st.integers(0, 60 * S), st.integers(1, 60 * S))
def test_what_is_shown_is_true_and_young(values, later_us, period_us):
    gauges = Gauges(lambda: CEILING_MW)
    gauges.renew("a call", values, 0, period_us)
    found = gauges.at(later_us)
    assert not found or later_us <= max(5 * S, 2.5 * period_us)
    for name, value in found.items():
        assert value == values[name]
        assert math.isfinite(value)
        if name.endswith("_w"):
            assert 0 < value <= (MODULE_W if "module" in name else CEILING_MW / 1e3)
        else:
            assert BOUNDS.get(name, (0.0, math.inf))[0] <= value <= BOUNDS.get(name, (0.0, math.inf))[1]
    gauges.forget("a call")
    assert gauges.at(0) == {}
