"""One test for each way in which reading fails: who survives, what is read, and what is told."""

import itertools
import logging

import numpy as np
import pytest

from wattshed.agent.meters.errors import RestartNeeded
from wattshed.agent.meters.events import Xid
from wattshed.agent.meters.schedule import Rates
from wattshed.agent.window import MISSING, MigDevice


def fault(kind, **keys):
    lines = [f'kind = "{kind}"', *(f"{k} = {v!r}".replace("'", '"') for k, v in keys.items())]
    return "\n[[fault]]\n" + "\n".join(lines) + "\n"


def seconds_read(rig, gpu=0, name="counter_mj"):
    """Whole seconds since the start in which a GPU has a reading."""
    rows = zip(rig.column("time_us", gpu), rig.column(name, gpu), strict=True)
    return {(t - rig.node.begun_us) // 1_000_000 for t, v in rows if v != MISSING}


def test_a_counter_reset_is_handed_on_raw(rig):
    node = rig(fault("counter-reset", at_s=10))
    node.run(20)
    counters = [c for c in node.column("counter_mj") if c != MISSING]
    drops = [i for i, (a, b) in enumerate(itertools.pairwise(counters)) if b < a]
    assert drops == [9]
    assert counters[10] < 1_000_000


def test_a_dip_that_recovers_is_handed_on_raw(rig):
    node = rig(fault("counter-dip", at_s=10, for_s=5, value=500), gpus=1)
    node.run(20)
    counters = [c for c in node.column("counter_mj") if c != MISSING]
    assert sum(b < a for a, b in itertools.pairwise(counters)) == 1
    assert counters[-1] > counters[0]


def test_a_stuck_and_a_jumping_counter(rig):
    node = rig(
        fault("counter-stuck", gpu=0, at_s=5, for_s=10) + fault("counter-jump", gpu=1, at_s=5, value=1e6), gpus=2
    )
    node.run(20)
    still = [c for c in node.column("counter_mj", 0) if c != MISSING]
    assert len(set(still[6:15])) == 1
    jumped = [c for c in node.column("counter_mj", 1) if c != MISSING]
    assert max(b - a for a, b in itertools.pairwise(jumped)) > 10**9


def test_not_ready_is_missing_for_that_field_alone(rig):
    node = rig(fault("not-ready", at_s=5, for_s=5))
    node.run(15)
    assert seconds_read(node) == set(range(15)) - set(range(5, 10))
    assert seconds_read(node, name="power_mw") == set(range(15))
    assert node.events() == []


def test_garbage_stays_absurd_and_zero_stays_zero(rig):
    node = rig(fault("garbage", gpu=0, at_s=5, for_s=3) + fault("zero-power", gpu=1, at_s=5, for_s=3), gpus=2)
    node.run(10)
    assert max(node.column("power_mw", 0)) == 2**31 - 1  # above any ceiling: the accounts reject it with a reason
    assert 0 in node.column("power_mw", 1)
    for gpu in (0, 1):
        shown = [w.gauges["power_instant_w"][gpu] for w in node.windows]
        assert all(np.isnan(shown[5:8]))
        assert all(0 < watts <= 1050 for watts in shown[:5] + shown[8:])


def test_scrambled_pids_are_not_believed(rig, caplog):
    node = rig(fault("scrambled-pids", at_s=5, for_s=10))
    node.run(25)
    running = {one.pid for one in node.node.tree.running(node.clock.now_us())}
    assert {one.pid for seen in node.observations for one in seen} == running
    assert node.sampler.faults["scrambled_pid"] > 0
    assert "does not exist" in caplog.text


TWO_JOBS = """
gpus = 1
cycle_s = 600
[[job]]
name = "7"
load = [[1.0, 200.0, 60]]
[[job]]
name = "8"
load = [[1.0, 100.0, 30]]
"""


@pytest.mark.parametrize("kind", ["success-error", "garbage-utilisation"])
def test_no_samples_and_absurd_samples_are_unknown_activity(rig, kind):
    node = rig(TWO_JOBS + '[[gpu]]\nrows = "interval"\n' + fault(kind, at_s=10, for_s=10), plain=False)
    node.run(30)
    known = [{one.sm_us for one in seen} for seen in node.observations]
    assert known[5] == {600_000, 300_000}
    assert known[15] == {MISSING}
    assert known[25] == {600_000, 300_000}
    assert node.events() == []
    if kind == "garbage-utilisation":
        shown = [w.gauges["gpu_util"][0] for w in node.windows]
        assert np.isnan(shown[11:19]).all()
        assert set(shown[5:9] + shown[22:]) == {90.0}


def test_not_found_on_an_idle_gpu_is_known_idleness(rig):
    node = rig(TWO_JOBS.replace("60]", "0]").replace("30]", "0]"), plain=False)
    node.run(5)
    assert {one.sm_us for one in node.observations[-1]} == {0}


@pytest.mark.parametrize("code", [10, 19, 21, 27, 999])
def test_a_transient_failure_backs_off_that_gpu_alone(rig, code):
    node = rig(fault("error", gpu=0, at_s=10, for_s=20, value=code, call="nvmlDeviceGetFieldValues"), gpus=2)
    node.run(60)
    assert seconds_read(node, 1) == set(range(60))
    alone = seconds_read(node, 0)
    assert set(range(10)) <= alone
    assert alone.isdisjoint(range(10, 30))
    assert set(range(46, 60)) <= alone  # doubled waits: asked again at most 16 s after it recovered
    assert 3 <= node.sampler.faults["nvmlDeviceGetFieldValues"] <= 7
    assert node.events() == []


def test_a_capability_that_fails_is_not_a_gpu_that_fails(rig):
    node = rig(fault("error", gpu=0, value=3, call="nvmlDeviceGetUtilizationRates"))
    node.run(10)
    assert node.meter.devices[0].capabilities["utilisation"] == "not supported (3)"
    assert seconds_read(node) == set(range(10))
    assert {w.busy_us[0] for w in node.windows} == {MISSING}


@pytest.mark.parametrize("how", ["gpu-lost", "xid"])
def test_a_lost_gpu_comes_back_by_uuid_after_a_new_session(rig, how, caplog):
    text = fault("gpu-lost", gpu=0, at_s=10, for_s=20)
    if how == "xid":
        text = fault("xid", gpu=0, at_s=10, value=79)
    node = rig(text, gpus=3)
    node.run(100)
    (lost,) = node.events("lost")
    (back,) = node.events("back")
    assert lost.gpu == back.gpu == 0
    assert 60 <= (back.time_us - lost.time_us) / 1e6 <= 62
    for gpu in (1, 2):
        assert seconds_read(node, gpu) == set(range(100))
    assert seconds_read(node, 0).isdisjoint(range(12, 70))
    assert set(range(75, 100)) <= seconds_read(node, 0)
    assert {len(w.devices) for w in node.windows} == {3}
    if how == "xid":
        (xid,) = node.events("xid")
        assert (xid.gpu, xid.detail) == (0, "79")
        assert node.windows[11].gauges.keys() >= {"fb_used_mib"}


def test_xid_errors_of_one_number_are_one_line_of_a_window_in_the_log(rig, caplog):
    node = rig("", gpus=3)
    recovery = node.sampler._poller.recovery
    for gpu in (2, 0, 0, 2, 0):
        recovery.hear(Xid(gpu, 45))
    recovery.hear(Xid(1, 31))
    node.run(2)
    assert sorted(event.gpu for event in node.events("xid")) == [0, 0, 0, 1, 2, 2]
    said = [record.getMessage() for record in caplog.records if "XID" in record.getMessage()]
    assert said == ["XID 45: GPU 0, 2", "XID 31: GPU 1"]


def test_a_gpu_that_stays_lost_stays_in_its_place(rig):
    node = rig(fault("gpu-lost", gpu=1, at_s=5), gpus=3)
    node.run(200)
    assert [e.gpu for e in node.events("lost")] == [1]
    assert node.events("back") == []
    assert [d.index for d in node.windows[-1].devices] == [0, 1, 2]
    assert node.column("counter_mj", 1, node.windows[10:]) == []
    assert set(range(196, 200)) <= seconds_read(node, 2)


def test_a_gpu_that_is_lost_at_the_start_comes_last(rig):
    node = rig(fault("gpu-lost", gpu=1, at_s=0, for_s=30), gpus=3)
    node.run(80)
    assert [d.index for d in node.windows[0].devices] == [0, 2]
    assert [d.index for d in node.windows[-1].devices] == [0, 2, 1]
    for place in (0, 1):
        assert seconds_read(node, place) == set(range(80))
    late = [w for w in node.windows if len(w.devices) == 3]
    assert all(len(w.readings.offsets) == 4 and len(w.busy_us) == 3 for w in late)
    assert len([c for c in node.column("counter_mj", 2, late) if c != MISSING]) >= 15


def test_a_gpu_that_this_process_may_not_touch_is_not_waited_for(rig):
    node = rig(fault("error", gpu=1, value=4), gpus=2)
    node.run(130)
    assert len(node.meter.devices) == 1
    assert node.sampler.calls()["nvmlInitWithFlags"].counts[-1] == 1


def test_a_driver_reload_is_survived(rig):
    node = rig(fault("driver-reload", at_s=10, for_s=12), gpus=2)
    node.run(60)
    assert sorted(e.gpu for e in node.events("lost")) == [0, 1]
    assert sorted(e.gpu for e in node.events("back")) == [0, 1]
    assert sorted(e.gpu for e in node.events("driver-reload")) == [0, 1]
    for gpu in (0, 1):
        assert seconds_read(node, gpu).isdisjoint(range(11, 22))
        assert set(range(34, 60)) <= seconds_read(node, gpu)
        counters = [c for c in node.column("counter_mj", gpu) if c != MISSING]
        assert counters[-1] < counters[0]  # a new epoch


@pytest.mark.parametrize("kind", ["version-mismatch", "cut-off"])
def test_what_only_a_new_process_can_cure(rig, kind):
    node = rig(fault(kind, at_s=10), gpus=2)
    with pytest.raises(RestartNeeded) as caught:
        node.run(60)
    assert caught.value.exit_code == 75
    assert len(node.windows) >= 9


def test_a_slow_call_is_told_and_survived(rig):
    node = rig(fault("wedged", gpu=0, at_s=10, for_s=20), gpus=2)
    node.run(120)
    lengths = [w.end_us - w.start_us for w in node.windows]
    assert sorted(lengths) == [1_000_000] * (len(lengths) - 1) + [19_000_000]  # nothing was read: one window says so
    assert [w.end_us for w in node.windows[:-1]] == [w.start_us for w in node.windows[1:]]
    lost, back = node.events("lost"), node.events("back")
    assert [e.gpu for e in lost] == [e.gpu for e in back] == [0]
    assert (lost[0].time_us - node.node.begun_us) // 1_000_000 == 15
    assert 90 <= (back[0].time_us - node.node.begun_us) // 1_000_000 <= 91  # asked again a minute after it returned
    assert set(range(31, 120)) <= seconds_read(node, 1)
    assert set(range(92, 120)) <= seconds_read(node, 0)


def test_a_call_of_a_minute_ends_the_process(rig):
    node = rig(fault("wedged", gpu=0, at_s=10, for_s=70))
    with pytest.raises(RestartNeeded, match="70 s"):
        node.run(100)


def test_slow_calls_are_made_less_often(rig):
    node = rig(fault("latency", gpu=0, at_s=20, for_s=100, value=3000), gpus=2, rates=Rates(learn_us=0, burst_us=0))
    node.run(300)
    per_ten = [len(node.column("time_us", 0, node.windows[i : i + 10])) for i in range(0, 300, 10)]
    assert per_ten[0] == 20
    assert max(per_ten[6:12]) <= 6  # twice halved at least
    assert per_ten[-1] == 20  # and back again


def test_a_gpu_that_the_kernel_put_to_sleep_is_left_asleep(rig, tmp_path):
    status = tmp_path / "sys/bus/pci/devices/0000:17:00.0/power/runtime_status"
    status.parent.mkdir(parents=True)
    status.write_text("suspended\n")
    node = rig(gpus=2, wake=False, sys_root=tmp_path / "sys")
    node.run(10)
    assert node.column("time_us", 0) == []
    assert seconds_read(node, 1) == set(range(10))
    status.write_text("active\n")
    node.run(5)
    assert len(seconds_read(node, 0)) == 5


def test_bursts_on_request_and_never_beyond_twice_the_publication_rate(rig):
    node = rig(gpus=2, rates=Rates(learn_us=2_000_000, burst_us=20_000))
    node.run(10)
    node.sampler.burst(10_000_000, gpu=1)
    windows = node.run(10)
    quiet, burst = (len(node.column("time_us", gpu, windows)) for gpu in (0, 1))
    assert quiet < 100 < burst
    assert burst == pytest.approx(200, abs=5)  # published every 100 ms, so 20 Hz although 50 Hz was allowed


def test_a_large_step_is_looked_at_closely(rig):
    node = rig(gpus=1, rates=Rates(learn_us=0))
    node.run(5)
    assert max(len(w.readings.time_us) for w in node.windows) >= 10
    calm = rig(gpus=1, rates=Rates(learn_us=0, burst_us=0))
    calm.run(5)
    assert {len(w.readings.time_us) for w in calm.windows} == {2}


def test_accounting_finds_a_job_that_no_list_ever_held(rig):
    node = rig(
        """
gpus = 1
cycle_s = 600
[[gpu]]
accounting = true
[[job]]
name = "9"
start_s = 10.2
end_s = 10.9
load = [[1.0, 300.0, 90]]
""",
        plain=False,
    )
    node.run(20)
    found = [one for seen in node.observations for one in seen]
    (one,) = [one for one in found if one.from_us == node.node.begun_us + 10_200_000]
    assert one.exited
    assert one.to_us - one.from_us == 700_000
    assert one.sm_us == pytest.approx(630_000, abs=4_000)


MIG = """
gpus = 1
cycle_s = 600
[[gpu]]
mig = [[1, 0, 66], [2, 0, 33]]
[[job]]
name = "7"
instance = "1/0"
load = [[1.0, 200.0, 80]]
[[job]]
name = "8"
instance = "2/0"
load = [[1.0, 100.0, 40]]
"""


def test_mig_energy_is_the_parents_and_activity_weighted_by_sms(rig):
    node = rig(MIG, plain=False)
    node.run(10)
    assert len(node.windows[-1].devices) == 1
    seen = {one.instance: one for one in node.observations[-1]}
    assert {i: one.instance_ppm for i, one in seen.items()} == {"1/0": 500_000, "2/0": 250_000}
    assert seen["1/0"].sm_us == pytest.approx(0.8 * 0.5 * 1e6, abs=2)
    assert seen["2/0"].sm_us == pytest.approx(0.4 * 0.25 * 1e6, abs=2)
    assert node.windows[-1].busy_us[0] == pytest.approx(0.5e6, abs=4)
    first, *_, last = [c for c in node.column("counter_mj") if c != MISSING]
    assert (last - first) / 9 == pytest.approx(370_000, rel=0.01)
    uuid = node.windows[-1].devices[0].uuid
    mig = node.meter.mig()
    assert sorted(mig.values()) == [MigDevice(uuid, "1", 500_000), MigDevice(uuid, "2", 250_000)]
    assert all(name.startswith("MIG-") for name in mig)


def test_a_log_survives_a_broken_gpu(rig, caplog):
    caplog.set_level(logging.WARNING)
    node = rig(fault("error", gpu=0, at_s=5, value=999, call="nvmlDeviceGetMemoryInfo"))
    node.run(300)
    assert seconds_read(node) == set(range(300))
    assert len(caplog.records) < 10
