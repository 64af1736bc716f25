"""Idle power is learned from what is known to be idle, and from nothing else."""

import dataclasses
import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.accounts.made import S, device, window
from tests.virtual import agent, simulated
from wattshed.agent.accounts.calibration import Calibrator
from wattshed.agent.meters.sight import HOST_NAMESPACE, own_namespace, seen_from
from wattshed.agent.simulation import card as simulated_card

T0 = 1_700_000_000 * S
PRIOR_MW = 70_000


def second(n, watts=74.0, busy=0.0, processes=0.0, jobs=(), **able):
    """A window of one second; ``busy`` is a ratio or None, ``processes`` None where they are not told."""
    t = T0 + n * S
    rows = [(t + 1000, round(watts * 1000), -1), (t + S // 2, round(watts * 1000), -1)]
    usage = [(0, key, t, t + S, -1, -1, 1) for key in jobs]
    card = device(idle_mw=-1, capabilities=able)
    one = window(t, t + S, [rows], usage, devices=(card,), busy=[-1 if busy is None else int(busy * S)], seq=n)
    gauges = {"processes": np.array([np.nan if processes is None else processes])}
    return dataclasses.replace(one, gauges=gauges)


def learned(windows, calibrator=None):
    """Idle power (mW) after each window."""
    calibrator = calibrator or Calibrator()
    return [calibrator.apply(one).devices[0].idle_mw for one in windows]


def test_the_first_window_that_is_known_to_be_idle_teaches():
    assert learned(second(n, 95) for n in range(3)) == [95_000] * 3
    assert learned([second(0, 95, jobs=["a"]), second(1, 95)]) == [PRIOR_MW] * 2
    assert learned([second(0, 300)]) == [PRIOR_MW]  # nobody is in sight, and it is not idle


def test_after_a_job_it_settles_first():
    windows = [second(n, 74) for n in range(5)] + [second(n, 300, 0.8, 1, ["a"]) for n in range(5, 10)]
    mw = learned(windows + [second(n, 110) for n in range(10, 60)])
    assert mw[:40] == [74_000] * 40
    assert 74_000 < mw[40] < 80_000
    assert mw[40:] == sorted(mw[40:])


@pytest.mark.parametrize(
    "unknown",
    [
        {"busy": None, "processes": None},
        {"busy": 0.0, "processes": None},
        {"busy": None, "processes": 0.0},
        {"busy": 0.5, "processes": 0.0},
        {"busy": 0.0, "processes": 1.0},
        {"busy": 1.0, "processes": None},
        {"busy": 1.0, "processes": 2.0},
        {"busy": 0.0, "processes": 0.0, "jobs": ["a"]},
        {"busy": 0.0, "processes": 0.0, "all_processes": "a PID namespace"},
        {"busy": 1.0, "processes": 0.0, "all_processes": "a vGPU"},
    ],
)
def test_unknown_is_not_idle(unknown):
    assert learned(second(n, 150, **unknown) for n in range(100)) == [PRIOR_MW] * 100


def test_one_of_the_two_that_fails_now_and_then_is_no_use():
    mw = learned(second(n, 95, processes=None if n % 20 == 0 else 0) for n in range(60))
    assert mw == [PRIOR_MW] + [95_000] * 59
    mw = learned(second(n, 95, busy=None if n % 20 == 0 else 0.0) for n in range(60))
    assert mw == [PRIOR_MW] + [95_000] * 59


def test_utilisation_that_hangs_is_nobodys_use(caplog):
    calibrator = Calibrator()
    with caplog.at_level(logging.WARNING):
        windows = [calibrator.apply(second(n, 95, busy=1.0)) for n in range(100)]
    assert [w.devices[0].idle_mw for w in windows] == [PRIOR_MW] * 10 + [95_000] * 90
    assert [int(w.busy_us[0]) for w in windows] == [S] * 10 + [-1] * 90
    assert len(caplog.records) == 1
    # A job that comes is not called busy by it, nor is its power learned from.
    later = calibrator.apply(second(100, 150, busy=1.0, processes=1, jobs=["a"]))
    assert (later.devices[0].idle_mw, int(later.busy_us[0])) == (95_000, -1)
    assert int(calibrator.apply(second(101, 150, busy=0.7, processes=1, jobs=["a"])).busy_us[0]) == 7 * S // 10


def test_work_that_nobody_is_seen_for_shows_that_the_list_is_blind():
    """Bursts with pauses of nearly no power: between them the GPU is somebody's, too."""
    busy = [0.6 if n % 50 < 15 else 0.0 for n in range(300)]
    assert learned(second(n, 60 + 100 * (b > 0) + 50, busy=b) for n, b in enumerate(busy)) == [PRIOR_MW] * 300
    real = [second(n, 150, 0.6, 1, ["a"]) for n in range(300, 310)]
    calm = [second(n, 80) for n in range(310, 350)]
    calibrator = Calibrator()
    learned([second(n, 160, busy=b) for n, b in enumerate(busy)], calibrator)
    assert learned(real + calm, calibrator)[-1] == 80_000  # it names somebody: it is not blind after all


def test_what_the_operator_states_stands():
    fixed = Calibrator({"GPU-0": 61.5})
    assert learned((second(n, 95) for n in range(5)), fixed) == [61_500] * 5
    by_model = Calibrator({"": 50.0})
    assert learned([second(0, 95, processes=None), second(1, 95)], by_model) == [50_000, 95_000]


STATES = st.tuples(
    st.floats(1, 900), st.sampled_from([None, 0.0, 0.3, 1.0]), st.sampled_from([None, 0.0, 1.0]), st.booleans()
)


@given(st.lists(STATES, max_size=60))
def test_nothing_but_idle_power_ever_moves_it(states):
    calibrator, known = Calibrator(), []
    for n, (watts, busy, processes, job) in enumerate(states):
        before = calibrator.learned_mw.get("GPU-0")
        calibrator.apply(second(n, watts, busy, processes, ["a"] if job else []))
        after = calibrator.learned_mw.get("GPU-0")
        if processes == 0 and not job and busy in {0.0, 1.0} and watts <= 280:
            known.append(watts * 1000)
        else:
            assert before == after
        assert after is None or min(known) - 1 <= after <= max(known) + 1


IDLE = """
gpus = 1
cycle_s = 600
[[gpu]]
index = 0
idle_w = 95
[[job]]
name = "7"
gpus = [0]
start_s = {start}
end_s = 597
load = [[1.0, 400.0, 80]]
"""
NEITHER = """
gpus = 1
cycle_s = 600
missing = ["nvmlDeviceGetUtilizationRates", "nvmlDeviceGetComputeRunningProcesses_v3"]
[[gpu]]
index = 0
architecture = "ada"
[[job]]
name = "box"
manager = "docker"
gpus = [0]
start_s = 20
end_s = 590
load = [[1.0, 90.0, 80]]
"""


def lived(tmp_path, scenario, seconds):
    (tmp_path / "s.toml").write_text(scenario)
    node, clock = simulated(tmp_path, str(tmp_path / "s.toml"))
    one = agent(node, clock, seconds=seconds)
    one.daemon.run()
    one.close()
    (account,) = one.accounts.gpus.values()
    return one, account


@pytest.mark.parametrize("latched", [False, True])
def test_an_idle_card_that_draws_more_than_others_is_idle(tmp_path, monkeypatch, latched):
    if latched:
        monkeypatch.setattr(simulated_card.Card, "utilisation", lambda _: (100, 0))
    one, account = lived(tmp_path, IDLE.format(start=590), 500)
    assert one.windows[-1].devices[0].idle_mw == pytest.approx(95_000, rel=0.005)
    # Ten seconds pass before it is known that a utilisation hangs.
    assert account.unattributed_hnj / 2e9 < (10 * 25 + 20 if latched else 20)
    assert account.energy_hnj == account.idle_hnj + account.unattributed_hnj
    lists = one.sampler.calls()["nvmlDeviceGetGraphicsRunningProcesses_v3"].counts[-1]  # a glance is at one list
    assert lists <= 112


def test_a_blind_agent_does_not_take_use_for_idleness(tmp_path, monkeypatch):
    monkeypatch.setattr(simulated_card.Card, "processes", lambda *_: [])
    monkeypatch.setattr(simulated_card.Card, "memory", lambda _: (600 << 20, 80_000 << 20))
    scenario = IDLE.format(start=0).replace("400.0, 80]", "400.0, 80], [1.0, 100.0, 30]").replace("= 95", "= 60")
    one, _ = lived(tmp_path, scenario.replace('name = "7"', 'name = "7"\nmanager = "docker"'), 300)
    assert {w.devices[0].idle_mw for w in one.windows[:-1]} == {PRIOR_MW}


def test_where_neither_utilisation_nor_processes_are_told_nothing_is_learned(tmp_path):
    one, account = lived(tmp_path, NEITHER, 500)
    prior_w = 0.1 * one.windows[0].devices[0].limit_mw / 1000
    assert {w.devices[0].idle_mw for w in one.windows} == {round(prior_w * 1000)}
    assert account.idle_hnj / 2e9 == pytest.approx(prior_w * 500, rel=0.01)
    assert account.unattributed_hnj / 2e9 == pytest.approx(account.energy_hnj / 2e9 - prior_w * 500, rel=0.01)


def test_a_process_list_of_a_namespace_is_not_all(tmp_path):
    link = tmp_path / "pid"
    assert own_namespace(link)
    link.symlink_to(HOST_NAMESPACE)
    assert own_namespace(link) == ""
    link.unlink()
    link.symlink_to("pid:[4026532000]")
    reason = own_namespace(link)
    assert "namespace" in reason
    assert seen_from(reason)(device(capabilities={"all_processes": ""})).capabilities == {"all_processes": reason}
    assert seen_from(reason)(device(capabilities={"all_processes": "a"})).capabilities == {"all_processes": "a"}
