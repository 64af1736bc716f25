"""What holds of every window, whatever fails and whenever: where it begins and ends, and what may stand in it."""

import itertools
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, reject, settings
from hypothesis import strategies as st

from tests.depth import examples
from tests.rig import Rigs
from wattshed.agent.meters.errors import NoMeter, RestartNeeded
from wattshed.agent.meters.schedule import Rates
from wattshed.agent.window import MISSING

S = 1_000_000
RATES = Rates(learn_us=0, burst_us=0)
NODE = """
gpus = 3
cycle_s = 600
[[gpu]]
index = 1
accounting = true
[[job]]
name = "7"
gpus = [0, 1]
load = [[1.0, 400.0, 80], [0.5, 100.0, 20]]
[[job]]
name = "8"
gpus = [1]
start_s = 12.3
end_s = 44.8
load = [[1.0, 250.0, 40]]
"""
FAULT = """
[[fault]]
kind = "{kind}"
gpu = {gpu}
at_s = {at_s}
for_s = {for_s}
value = {value}
"""

SLOWEST_US = 3_000_000
faults = st.tuples(
    st.sampled_from(
        [("error", 999), ("error", 10), ("error", 15), ("gpu-lost", 0), ("wedged", 0), ("slow-gpu", SLOWEST_US),
         ("latency", 5_000), ("garbage", 0), ("not-ready", 0), ("scrambled-pids", 0), ("xid", 31), ("xid", 79)]
    ),
    st.integers(0, 2), st.integers(0, 50), st.integers(1, 25),
)  # fmt: skip


def lived(script, seconds=60):
    """The windows of so many seconds with these faults, those before a new process is needed; and what was seen."""
    text = NODE + "".join(
        FAULT.format(kind=kind, value=value, gpu=gpu, at_s=at_s, for_s=for_s)
        for (kind, value), gpu, at_s, for_s in script
    )
    with tempfile.TemporaryDirectory() as folder:
        rigs = Rigs(Path(folder))
        try:
            node = rigs(text, plain=False, rates=RATES)
        except NoMeter:
            reject()  # no GPU answers at the start: there is nothing to meter, and no window
        try:
            node.run(seconds)
        except RestartNeeded:
            assert node.windows
        rigs.close()
    return node


@settings(deadline=None, max_examples=examples(15))
@example([(("wedged", 0), 0, 1, 5)])
@given(st.lists(faults, max_size=4))
def test_windows_follow_each_other_and_hold_what_happened_in_them(script):
    node = lived(script)
    begun_us = node.windows[0].start_us
    slowest_us = sum(value for (kind, value), *_ in script if kind == "slow-gpu")  # delays add up
    slowest_us += sum(for_s * 1_000_000 for (kind, _), _, _, for_s in script if kind == "wedged")  # as calls do
    assert [window.seq for window in node.windows] == list(range(len(node.windows)))
    assert [w.start_us for w in node.windows[1:]] == [w.end_us for w in node.windows[:-1]]
    last_us = dict.fromkeys(range(3), 0)
    for window, seen in zip(node.windows, node.observations, strict=True):
        length_us = window.end_us - window.start_us
        assert length_us > 0
        assert (window.end_us - begun_us) % RATES.window_us == 0
        offsets, count = window.readings.offsets, len(window.devices)
        assert (len(offsets), offsets[0], offsets[-1]) == (count + 1, 0, len(window.readings.time_us))
        assert all(len(column) == count for column in (window.busy_us, *window.gauges.values()))
        for gpu, (low, high) in enumerate(itertools.pairwise(offsets.tolist())):
            times = window.readings.time_us[low:high].tolist()
            assert all(window.start_us <= t < window.end_us for t in times)
            assert all(a < b for a, b in itertools.pairwise([last_us[gpu], *times]))
            last_us[gpu] = times[-1] if times else last_us[gpu]
        assert ((window.busy_us >= MISSING) & (window.busy_us <= length_us)).all()
        moments = [event.time_us for event in window.events]
        assert moments == sorted(moments)
        assert all(MISSING <= event.gpu < count for event in window.events)
        for one in seen:
            # One that ended was seen to when the call that told of it was over, which may be a slow one.
            assert one.from_us <= one.to_us <= window.end_us + max(RATES.window_us, slowest_us)
            assert 0 <= one.gpu < count
            assert MISSING <= one.sm_us <= max(one.to_us - one.from_us, 0)


@settings(deadline=None, max_examples=examples(15))
@given(st.lists(faults, max_size=3))
def test_who_is_down_and_who_is_back_takes_turns_and_one_that_is_down_shows_nothing(script):
    node = lived(script)
    for gpu in range(3):
        told = [event for event in node.events() if event.gpu == gpu and event.kind in {"lost", "back"}]
        assert [event.kind for event in told] == [("lost", "back")[n % 2] for n in range(len(told))]
        moments = [event.time_us for event in told]
        assert moments == sorted(moments)
        ends = [*moments, node.windows[-1].end_us][: len(moments) // 2 * 2 + 2]
        for lost_us, back_us in zip(ends[::2], ends[1::2], strict=False):
            assert not [
                t for t in node.column("time_us", gpu) if lost_us < t < back_us
            ]  # one may be of the very moment
            for window in node.windows:
                if lost_us <= window.start_us < window.end_us <= back_us and gpu < len(window.devices):
                    assert window.busy_us[gpu] == MISSING
                    shown = {name for name, column in window.gauges.items() if not np.isnan(column[gpu])}
                    assert shown <= {"xid"}, "an event stays the last one"


@settings(deadline=None, max_examples=examples(15))
@given(st.lists(faults.filter(lambda fault: fault[0][0] not in {"wedged", "slow-gpu", "latency", "xid"}), max_size=3))
def test_one_gpu_that_fails_takes_no_reading_of_another(script):
    """Neither one that is lost, nor one that refuses; only slow calls are in the way of the others."""
    script = [(kind, gpu, max(at_s, 2), for_s) for kind, gpu, at_s, for_s in script]
    node, sick = lived(script), {gpu for _, gpu, _, _ in script}
    begun_us = node.windows[0].start_us
    for gpu in set(range(3)) - sick:
        seconds = [(t - begun_us) // S for t in node.column("time_us", gpu)]
        assert [seconds.count(n) for n in range(60)] == [2] * 60
        assert not [event for event in node.events("lost") if event.gpu == gpu]


@pytest.mark.parametrize("stopped_s", [0, 3, 5, 7, 17])
@pytest.mark.parametrize("at_s", [10, 10.4, 10.999999])
def test_of_the_time_in_which_nothing_was_read_one_window_is_made(rig, stopped_s, at_s):
    """Were this process stopped for long: the window ends on the grid, before what was read first after it."""
    node = rig(NODE, plain=False, rates=RATES)
    begun_us, sleep, left = node.sampler.start_us, node.clock.sleep_until, [at_s]

    def sleep_until(time_us, stop=None):
        sleep(time_us, stop)
        if left and node.clock.now_us() >= begun_us + left[0] * S:
            left.clear()
            sleep(node.clock.now_us() + stopped_s * S)

    node.clock.sleep_until = sleep_until
    node.run(40)
    lengths = [w.end_us - w.start_us for w in node.windows]
    assert sum(lengths) == 40 * S
    long = [length for length in lengths if length != S]
    assert len(long) <= 1
    assert sum(long) <= stopped_s * S + S
    assert bool(long) == (stopped_s > 5)
    for gpu in range(3):
        seconds = {(t - begun_us) // S for t in node.column("time_us", gpu)}
        missed = set(range(40)) - seconds
        assert missed <= set(range(10, 12 + stopped_s))
        assert len(missed) >= stopped_s - 1


@pytest.mark.parametrize("learn_s", [0, 2])
@pytest.mark.parametrize("call", [1, 2, 40, 300])
def test_a_call_that_the_process_was_stopped_in_is_of_no_moment(rig, learn_s, call):
    """What such a call says is filed nowhere: not in the middle of the time in which nothing was read."""
    node = rig(NODE, plain=False, rates=Rates(learn_us=learn_s * S, burst_us=0))
    calls, stopped = itertools.count(1), []

    def stopping(read):
        def stopped_in(*args):
            said = read(*args)
            if next(calls) == call:
                stopped.append(node.clock.now_us())
                node.clock.sleep_until(node.clock.now_us() + 9 * S)
            return said

        return stopped_in

    for handle in node.meter.gpu_handles:
        handle.read, handle.read_instant = stopping(handle.read), stopping(handle.read_instant)
    node.run(120)
    (at_us,) = stopped
    times = np.concatenate([window.readings.time_us for window in node.windows])
    assert not times[(times > at_us) & (times < at_us + 9 * S)].size
    assert max(window.end_us - window.start_us for window in node.windows) >= 8 * S
    assert sum(window.end_us - window.start_us for window in node.windows) == 120 * S
