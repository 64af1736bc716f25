"""How true the joules are: hours in virtual time, sensors without a counter, how often the stated interval holds."""

import random

import pytest

from tests.depth import deep, few
from tests.virtual import agent, simulated
from wattshed.agent.clock import VirtualClock
from wattshed.agent.meters.schedule import Rates

COARSE = Rates(
    window_us=30_000_000,
    sample_us=1_000_000,
    instant_us=1_000_000,
    burst_us=0,
    usage_us=30_000_000,
    gauges_us=300_000_000,
    processes_us=60_000_000,
    profile_us=300_000_000,
    learn_us=0,
)


LATE_US = VirtualClock().now_us() + 81_000 * 1_000_000  # half past ten: a virtual clock starts at midnight


def run(tmp_path, text, seconds, rates=COARSE, clock=None):
    """Run a scenario; returns per GPU the booked and the true joules, the stated sigma, and the snapshot."""
    tmp_path.mkdir(exist_ok=True)
    file = tmp_path / "s.toml"
    file.write_text(text)
    node, clock = simulated(tmp_path, str(file), clock)
    one = agent(node, clock, seconds=seconds, rates=rates)
    one.daemon.run()
    one.close()
    assert not one.faults.counts
    snapshot, found = one.board.current(), []
    for gpu, facts in enumerate(snapshot.gpus):
        first = one.windows[0].readings.time_us[one.windows[0].readings.offsets[gpu]]
        readings = one.windows[-2].readings
        last = readings.time_us[readings.offsets[gpu + 1] - 1]
        found.append((facts.energy_hnj / 2e9, node.truth.gpu_nj(gpu, int(first), int(last)) / 1e9, facts.sigma_j))
    return found, snapshot


@deep
def test_hours_with_a_counter_at_1_hz_are_within_a_thousandth(tmp_path):
    """Three cycles of the load, over midnight, in which both counters pass what 32 bits of millijoules hold."""
    text = """
gpus = 2
cycle_s = 3600
[[job]]
name = "1"
gpus = [0]
start_s = 100
end_s = 3300
load = [[1.6, 560, 98], [0.4, 330, 60], [0.13, 20, 3]]
[[job]]
name = "2"
gpus = [1]
load = [[0.29, 550, 90], [0.31, 60, 10], [47.0, 480, 80], [12.0, 0, 0]]
"""
    found, snapshot = run(tmp_path, text, 3 * 3600, clock=VirtualClock(LATE_US))
    for booked, true, _ in found:
        assert booked == pytest.approx(true, rel=1e-3)
        assert true > 2**32 / 1e3
    assert len([job for job in snapshot.jobs if job.job.startswith("slurm:")]) >= 2


@pytest.mark.parametrize(
    ("architecture", "bound"),
    few([("ga100", 0.01), ("hopper", 0.005), ("pascal", 0.01), ("turing", 0.01), ("ampere", 0.005)], plain=2),
)
def test_without_a_counter_the_error_is_the_sensors(tmp_path, architecture, bound):
    text = f"""
gpus = 1
cycle_s = 600
[[gpu]]
architecture = "{architecture}"
counter = false
[[job]]
name = "1"
load = [[2.37, 40, 98], [1.11, 10, 60], [0.57, 25, 30]]
"""
    rates = Rates(window_us=30_000_000, usage_us=30_000_000, burst_us=0, learn_us=0)
    ((booked, true, _),), snapshot = run(tmp_path, text, 1200, rates)
    assert snapshot.gpus[0].energy_source == "power"
    assert booked == pytest.approx(true, rel=bound)


@deep
def test_the_stated_interval_holds_for_a_thousand_cards_and_their_jobs(tmp_path):
    """Gains drawn as stated (4 % one sigma): 95 % of cards, and of the jobs on them, lie within 1.96 sigma.

    Those without a counter are read rarely here, and their sigma says so: of them more may lie within it.
    """
    chance = random.Random(20260101)
    counted, others = [], []
    for batch in range(16):
        gpus, jobs = [], []
        for i in range(64):
            kind = chance.choice(["pascal", "volta", "turing", "ga100", "ampere", "ada", "hopper"])
            counter = "" if chance.random() < 0.6 else "\ncounter = false"
            gpus.append(f'[[gpu]]\nindex = {i}\narchitecture = "{kind}"\ngain = {chance.gauss(0, 0.04):.5f}{counter}')
            high, low = chance.randint(20, 35), chance.randint(0, 15)
            steps = f"[[{chance.uniform(3, 9):.2f}, {high}, 90], [{chance.uniform(2, 5):.2f}, {low}, 30]]"
            jobs.append(f'[[job]]\nname = "{100 + i}"\ngpus = [{i}]\nload = {steps}')
        text = "\n".join(["gpus = 64", "cycle_s = 300", *gpus, *jobs])
        rates = Rates(
            window_us=30_000_000, sample_us=2_000_000, instant_us=2_000_000, burst_us=0, usage_us=30_000_000, learn_us=0
        )
        found, snapshot = run(tmp_path / str(batch), text, 60, rates)
        by_job = {job.job: job for job in snapshot.jobs}
        for i, (booked, true, sigma) in enumerate(found):
            gpu, job = snapshot.gpus[i], by_job[f"slurm:{100 + i}"]
            shares = [e for e in snapshot.energy if e.job == job.job and e.gpu_uuid == gpu.uuid]
            cost = sum(e.static_hnj + e.dynamic_hnj for e in shares) / 2e9
            holds = abs(booked - true) <= 1.96 * sigma, abs(cost - true) <= 1.96 * job.sigma_j
            (counted if gpu.energy_source == "counter" else others).append(holds)
    assert len(counted) + len(others) == 1024
    assert len(counted) > 400
    for held in zip(*counted, strict=True):
        assert 0.93 <= sum(held) / len(held) <= 0.97
    for held in zip(*others, strict=True):
        assert sum(held) / len(held) >= 0.93
