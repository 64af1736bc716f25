"""What a real card showed (H200, driver 580.159), in the simulated driver: rows, rings, slow calls, open contexts."""

import itertools

import pynvml
import pytest

from tests.virtual import agent, simulated, sums
from wattshed.agent.meters.nvml import Nvml
from wattshed.agent.simulation.card import LONG, LONG_US

S = 1_000_000
TWO = """
gpus = 1
cycle_s = 300
[[job]]
name = "1"
start_s = 0
end_s = 300
load = {one}
[[job]]
name = "2"
start_s = 0
end_s = 300
load = {two}
"""


@pytest.fixture
def opened(tmp_path):
    """Build a node from TOML text and open its driver: (node, clock, handle)."""

    def build(text):
        script = tmp_path / "s.toml"
        script.write_text(text)
        node, clock = simulated(tmp_path, str(script))
        Nvml(clock, node.library).open()
        return node, clock, pynvml.nvmlDeviceGetHandleByIndex(0)

    return build


def rows_of(handle, since_us=0):
    """Percent and stamp of each process, the older first."""
    rows = pynvml.nvmlDeviceGetProcessUtilization(handle, since_us)
    return {row.pid % 10: (row.smUtil, row.timeStamp) for row in sorted(rows, key=lambda row: row.pid)}


def test_each_sample_names_one_process_and_gives_it_all_that_the_gpu_did(opened):
    """One is busy from 0 to 0.3 s of each second, the other from 0.4 to 0.9: of five ticks they have two and three."""
    turns = TWO.format(one="[[0.3, 200, 100], [0.7, 0, 0]]", two="[[0.4, 0, 0], [0.5, 200, 100], [0.1, 0, 0]]")
    node, clock, handle = opened(turns)
    clock.sleep_until(node.begun_us + 20 * S)
    since_us = max(stamp for _, stamp in rows_of(handle).values())
    clock.sleep_until(node.begun_us + 21 * S)
    found = rows_of(handle, since_us)
    assert sum(percent for percent, _ in found.values()) == pytest.approx(80, abs=1)
    assert sorted(percent for percent, _ in found.values()) == pytest.approx([30, 50], abs=1)
    one_us, two_us = (stamp for _, stamp in found.values())
    assert one_us != two_us, "the stamp of a row is that of the last sample that names its process"
    newest_us = max(one_us, two_us)
    clock.sleep_until(newest_us + 205_000)
    ((percent, stamp_us),) = rows_of(handle, newest_us).values()
    assert 198_000 <= stamp_us - newest_us <= 202_000
    assert percent in {0, 50, 100}


def test_of_loads_that_keep_step_with_the_ticks_one_has_it_all(opened):
    burst = TWO.format(one="[[0.01, 200, 100], [0.09, 0, 0]]", two="[[0.03, 0, 0], [0.04, 200, 100], [0.03, 0, 0]]")
    node, clock, handle = opened(burst)
    clock.sleep_until(node.begun_us + 20 * S)
    ((percent, _),) = rows_of(handle).values()
    assert percent == pytest.approx(50, abs=1)


def test_of_loads_at_once_each_is_found_as_often_as_it_is_busy(opened):
    node, clock, handle = opened(TWO.format(one="[[1, 300, 60]]", two="[[1, 100, 20]]"))
    clock.sleep_until(node.begun_us + 20 * S)
    (one, two) = (percent for percent, _ in rows_of(handle).values())
    assert one + two == pytest.approx(80, abs=1)
    assert one == pytest.approx(60, abs=4)
    assert rows_of(handle) == rows_of(handle), "whose turn it is depends on the tick alone"


def test_the_ring_holds_fourteen_seconds(opened):
    node, clock, handle = opened(TWO.format(one="[[10, 300, 60], [14.5, 0, 0]]", two="[[300, 0, 0]]"))
    clock.sleep_until(node.begun_us + 23 * S)
    ((percent, stamp_us),) = rows_of(handle).values()
    assert stamp_us > node.begun_us + 22.7 * S, "the last process is named while nobody is busy"
    assert 0 < percent < 8, "of 71 samples six at most are of the first ten seconds"
    clock.sleep_until(node.begun_us + 24_400_000)
    ((percent, idle_us),) = rows_of(handle).values()
    assert (percent, idle_us - node.begun_us >= 24.2 * S) == (0, True)


def test_an_idle_sample_names_the_last_process_with_0_for_as_long_as_it_is_there(opened):
    """50 ms a second by turns: each answer to the newest sample names one, and most say 0."""
    turns = TWO.format(one="[[0.05, 200, 100], [1.95, 0, 0]]", two="[[1, 0, 0], [0.05, 200, 100], [0.95, 0, 0]]")
    node, clock, handle = opened(turns.replace("end_s = 300", "end_s = 26", 1))
    clock.sleep_until(node.begun_us + 20 * S)
    since_us, named = max(stamp for _, stamp in rows_of(handle).values()), []
    for tick in range(50):
        clock.sleep_until(node.begun_us + 20 * S + tick * 200_000 + 5_000)
        for who, (percent, stamp_us) in (rows_of(handle, since_us) if tick else {}).items():
            named.append((tick, who, percent))
            since_us = max(since_us, stamp_us)
    assert [tick for tick, _, _ in named if tick < 29] == list(range(1, 29)), "one process each, and never none"
    assert sum(percent > 5 for _, _, percent in named) == 8
    assert sum(percent for _, _, percent in named) == pytest.approx(8 * 25, abs=16)
    (one,) = {who for tick, who, _ in named if tick < 5}
    (two,) = {who for tick, who, _ in named if 6 < tick < 10}
    assert one != two
    assert {who for tick, who, _ in named if tick > 30} == {two}, "who has left is named no more"


def test_lists_name_a_process_before_it_works_and_forget_it_before_it_ends(opened):
    text = CONTEXT.replace("linger_s = 1.6", "named_after_s = 0.2\nforgotten_before_s = 0.035")
    node, clock, handle = opened(text)
    seen = {}
    for at_s in (40.19, 40.39, 40.41, 70.16, 70.17, 70.21):
        clock.sleep_until(node.begun_us + round(at_s * 1e6))
        named = pynvml.nvmlDeviceGetComputeRunningProcesses_v3(handle)
        seen[at_s] = len(named)
        assert pynvml.nvmlDeviceGetMemoryInfo(handle).used >> 20 == 600 + 20480 * len(named)
    assert seen == {40.19: 0, 40.39: 0, 40.41: 1, 70.16: 1, 70.17: 0, 70.21: 0}


def test_power_samples_are_20_ms_apart_and_instant_power_is_one_of_them(opened):
    node, clock, handle = opened(TWO.format(one="[[0.05, 400, 100], [0.05, 0, 0]]", two="[[300, 0, 0]]"))
    seen, means = set(), []
    for tenth in range(30, 60):
        clock.sleep_until(node.begun_us + tenth * S // 10 + tenth * 1_234)
        _, samples = pynvml.nvmlDeviceGetSamples(handle, pynvml.NVML_TOTAL_POWER_SAMPLES, 0)
        stamps = [sample.timeStamp for sample in samples]
        assert [b - a for a, b in itertools.pairwise(stamps)] == [20_000] * 118
        values = [sample.sampleValue.uiVal for sample in samples]
        (instant,) = pynvml.nvmlDeviceGetFieldValues(handle, [pynvml.NVML_FI_DEV_POWER_INSTANT])
        assert instant.value.uiVal in values[-6:]
        seen.add(instant.value.uiVal // 10_000)
        means.append(pynvml.nvmlDeviceGetPowerUsage(handle) - sum(values[-56:-6]) / 50)
    assert len(seen) == 1, "a wave of 100 ms is seen at one phase, for good"
    assert max(map(abs, means)) < 30_000, "and average power is the mean of a second of samples"


def test_a_slow_counter_takes_its_time_and_power_beside_it_none(opened):
    _, clock, handle = opened('gpus = 1\n[[fault]]\nkind = "slow-counter"\nvalue = 3000\n')
    begun_us, took = clock.now_us(), {}
    for ms in range(0, 200, 5):
        clock.sleep_until(begun_us + 1_000_000 + ms * 1_000)
        at_us = clock.now_us()
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
        took.setdefault(clock.now_us() - at_us, []).append(at_us % 100_000)
    assert set(took) == {3_000, 3_000 * LONG}
    assert max(took[3_000 * LONG]) - min(took[3_000 * LONG]) < LONG_US
    clock.sleep_until(clock.now_us() - (clock.now_us() - min(took[3_000 * LONG])) % 100_000 + 150_000)
    before_us = clock.now_us()
    pynvml.nvmlDeviceGetPowerUsage(handle)
    assert clock.now_us() == before_us
    pynvml.nvmlDeviceGetFieldValues(handle, [pynvml.NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION])
    assert clock.now_us() == before_us + 3_000


CONTEXT = """
gpus = 1
cycle_s = 120
[[gpu]]
idle_w = 80
context_w = 44
linger_s = 1.6
[[job]]
name = "1"
start_s = 40.2
end_s = 70.2
load = [[10, 0, 0], [10, 400, 90]]
"""


def test_a_context_draws_power_and_what_it_draws_after_the_last_process_is_nobodys(tmp_path):
    """The job is billed for its open context; what it draws for 1.6 s after it belongs to no process and no job."""
    script = tmp_path / "s.toml"
    script.write_text(CONTEXT)
    node, clock = simulated(tmp_path, str(script))
    one = agent(node, clock, seconds=110, keep_us=10**12)
    one.daemon.run()
    one.close()
    truth = node.truth.jobs_nj(one.windows[0].start_us, one.windows[-1].end_us)
    assert truth["_unattributed", 0] == (0, 16 * 44 * 10**8)
    assert sum(truth["slurm:1", 0]) == (30 * (80 + 44) + 10 * 400) * 10**9
    whole, parts = sums(one.accounts)
    assert whole == parts
    (job,) = one.accounts.ledger.jobs.values()
    assert job.energy_hnj / 2e9 == pytest.approx(7720, rel=0.02)
    (account,) = one.accounts.gpus.values()
    assert account.unattributed_hnj / 2e9 == pytest.approx(70.4, abs=44), "to a second at the edge of the job"


def test_whom_idle_samples_name_is_known_to_have_done_nothing(tmp_path):
    """One of two works for 10 s and is named for as long as it waits; what the GPU draws then is neither's work."""
    script = tmp_path / "s.toml"
    script.write_text(TWO.format(one="[[60, 20, 0]]", two="[[30, 0, 0], [10, 300, 80], [260, 20, 0]]"))
    node, clock = simulated(tmp_path, str(script))
    one = agent(node, clock, seconds=90, keep_us=10**12)
    one.daemon.run()
    one.close()
    resting = [window for window in one.windows[:-1] if window.start_us >= node.begun_us + 42 * S]
    activities = [window.usage.activity_us.tolist() for window in resting]
    assert len(activities) >= 45
    assert all(activity == [0, 0] for activity in activities)
    working = [w for w in one.windows if node.begun_us + 32 * S <= w.start_us < node.begun_us + 38 * S]
    assert all(min(window.usage.activity_us) == 0 < max(window.usage.activity_us) for window in working)
