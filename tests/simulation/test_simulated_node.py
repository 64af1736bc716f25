"""The simulated node through the real binding: what is read is what really flowed."""

import itertools

import pynvml
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from wattshed.agent.meters.schedule import Rates
from wattshed.agent.simulation.node import _timelines
from wattshed.agent.simulation.scenario import default_scenario
from wattshed.agent.simulation.workload import Job, Step, Timeline, Truth
from wattshed.agent.window import MISSING, Window


def test_the_real_binding_marshals(rig):
    node = rig(plain=False)
    assert pynvml.nvmlSystemGetDriverVersion() == "999.99.99"
    assert pynvml.nvmlDeviceGetCount() == 8
    handle = pynvml.nvmlDeviceGetHandleByIndex(4)
    assert pynvml.nvmlDeviceGetUUID(handle) == node.node.cards[4].uuid
    assert pynvml.nvmlDeviceGetName(handle) == "NVIDIA H100 80GB HBM3"
    assert pynvml.nvmlDeviceGetPciInfo(handle).busId == "00000000:1B:00.0"
    assert pynvml.nvmlDeviceGetMemoryInfo(handle).total == 81_559 << 20
    (process,) = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
    assert (node.node.proc_root / str(process.pid) / "cgroup").read_text().startswith("0::/kubepods.slice/")
    assert pynvml.nvmlDeviceGetPowerManagementLimitConstraints(handle) == [200_000, 700_000]
    assert pynvml.nvmlErrorString(15) == "GPU is lost"
    again = pynvml.nvmlDeviceGetHandleByUUID(node.node.cards[4].uuid)
    assert pynvml.nvmlDeviceGetTotalEnergyConsumption(again) == node.node.cards[4].sensor.energy_mj(node.clock.now_us())
    kind, samples = pynvml.nvmlDeviceGetSamples(handle, pynvml.NVML_TOTAL_POWER_SAMPLES, 0)
    assert kind == pynvml.NVML_VALUE_TYPE_UNSIGNED_INT
    assert len(samples) == 119


def test_an_uninitialised_library_says_so(rig):
    node = rig()
    node.meter.close()
    with pytest.raises(pynvml.NVMLError_Uninitialized):
        pynvml.nvmlDeviceGetCount()
    node.meter.open()


def test_windows_touch_and_hold_what_was_read(rig):
    node = rig(plain=False)
    windows = node.run(30)
    assert len(windows) == 30
    for seq, window in enumerate(windows):
        assert isinstance(window, Window)
        assert window.seq == seq
        assert len(window.devices) == 8 == len(window.busy_us) == len(window.readings.offsets) - 1
        assert window.usage.gpu.size == 0
    assert all(a.end_us == b.start_us for a, b in itertools.pairwise(windows))
    for gpu in range(8):
        times = node.column("time_us", gpu)
        assert times == sorted(set(times))
        assert all(
            w.start_us <= t < w.end_us
            for w in windows
            for t in w.readings.time_us[w.readings.offsets[gpu] : w.readings.offsets[gpu + 1]]
        )
        counters = [c for c in node.column("counter_mj", gpu) if c != MISSING]
        assert len(counters) == 30  # 1 Hz
        assert len(times) >= 60  # 2 Hz, more in bursts
    assert {w.readings.counter_mj.dtype.name for w in windows} == {"int64"}
    assert {w.readings.power_mw.dtype.name for w in windows} == {"int32"}
    assert windows[-1].gauges["limit_enforced_w"].tolist() == [700.0] * 8


def test_gpus_are_read_one_after_the_other_over_the_tick(rig):
    node = rig(plain=False)
    node.run(3)
    firsts = [node.column("time_us", gpu)[0] for gpu in range(8)]
    assert [b - a for a, b in itertools.pairwise(firsts)] == [0, 0, 0, 250_000, 0, 0, 0]


def test_the_counter_is_true_to_a_millijoule_and_a_publication_period(rig):
    node = rig(plain=False)
    node.run(600)
    for gpu in range(8):
        rows = [
            (t, c) for t, c in zip(node.column("time_us", gpu), node.column("counter_mj", gpu), strict=True) if c > 0
        ]
        (t0, c0), (t1, c1) = rows[0], rows[-1]
        sensor = node.node.cards[gpu].sensor
        true_mj = node.node.truth.gpu_nj(gpu, sensor._published(t0, 100_000), sensor._published(t1, 100_000)) / 1e6
        assert abs((c1 - c0) - true_mj) <= 1


def test_truth_of_jobs_and_gpus_is_the_same_joules():
    origin = 1_000_000_000
    truth = Truth(_timelines(default_scenario(), origin))
    start, end = origin + 12_345_678, origin + 1_987_654_321
    jobs = truth.jobs_nj(start, end)
    for gpu in range(8):
        assert sum(s + d for (_, g), (s, d) in jobs.items() if g == gpu) == truth.gpu_nj(gpu, start, end)
    assert {key for key, gpu in jobs if gpu == 7} == {"_idle"}
    assert jobs["slurm:4004", 6][1] == 0 < jobs["slurm:4004", 6][0]  # held, never used


@settings(max_examples=examples(60), deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.integers(1, 900_000), st.integers(0, 600_000), st.integers(0, 100)), min_size=1, max_size=6
    ),
    start=st.integers(0, 900_000),
    length=st.integers(1, 2_000_000),
    at=st.lists(st.integers(0, 20_000_000), min_size=2, max_size=2),
)
def test_energy_is_the_sum_of_power_over_time(steps, start, length, at):
    cycle = 3_000_000
    job = Job("1", "slurm", (0,), start, min(cycle, start + length), tuple(Step(*s) for s in steps))
    line = Timeline(0, (job,), cycle, 0, 50_000)
    low, high = sorted(at)
    naive = sum(n * segment.power_mw for _, n, segment in line.between(low, high))
    assert line.energy_nj(high) - line.energy_nj(low) == naive


def test_processes_come_and_go_within_a_second(rig):
    node = rig(plain=False)
    node.run(600)  # from 75 s into the cycle, so job 4001 ends at 470 - 75
    seen = {}
    for window, observations in zip(node.windows, node.observations, strict=True):
        for one in observations:
            if one.gpu == 0 and not one.exited:
                seen.setdefault(one.pid, []).append((window.start_us - node.node.begun_us) // 1_000_000)
    training, short, again = seen.values()
    assert max(training) in {393, 394, 395}
    assert min(short) in {414, 415, 416}
    assert min(again) in {544, 545, 546}
    gone = [one for observations in node.observations for one in observations if one.exited and one.gpu == 0]
    assert len(gone) == 2


def test_activity_of_those_who_share_a_gpu(rig):
    node = rig(plain=False)
    node.run(120)
    busy = {}
    for observations in node.observations[30:110]:
        for one in observations:
            if one.gpu == 5 and one.sm_us != MISSING:
                busy[one.pid] = busy.get(one.pid, 0) + one.sm_us / 80e6
    line = node.node.truth.timelines[5]
    from_us = node.node.begun_us + 30_000_000
    true = line.busy(from_us, from_us + 80_000_000)
    assert sum(busy.values()) == pytest.approx(sum(true.values()) / 100 / 80e6, abs=0.005)
    assert sorted(busy.values()) == pytest.approx(sorted(v / 100 / 80e6 for v in true.values()), abs=0.02)
    alone = [one for observations in node.observations for one in observations if one.gpu == 4]
    assert {one.sm_us for one in alone} == {MISSING}  # nobody to share with: not worth a call


def test_mapping_folder_names_the_holder_of_an_idle_gpu(rig):
    node = rig(plain=False)
    node.run(2)
    assert (node.node.mapping_dir / "6").read_text() == "4004\n"
    assert not (node.node.mapping_dir / "7").exists()
    assert not any(one.gpu == 6 for observations in node.observations for one in observations)


def test_a_coarse_schedule_reads_less(rig):
    slow = Rates(
        window_us=10_000_000, sample_us=5_000_000, instant_us=5_000_000, usage_us=10_000_000, learn_us=0, burst_us=0
    )
    node = rig(plain=False, rates=slow)
    node.run(100)
    assert len(node.windows) == 10
    assert len(node.column("time_us", 3)) == 20
