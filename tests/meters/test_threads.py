"""The sampler in real time: its threads, its watchdog, its end."""

import itertools
import threading
import time

import pytest

from wattshed.agent.clock import RealClock
from wattshed.agent.meters.errors import RestartNeeded
from wattshed.agent.meters.sampler import Stopped
from wattshed.agent.meters.schedule import Rates

QUICK = Rates(
    window_us=100_000,
    sample_us=50_000,
    instant_us=50_000,
    burst_us=0,
    learn_us=0,
    stale_us=400_000,
    restart_us=5_000_000,
)


def test_windows_come_in_time(rig):
    node = rig(gpus=2, rates=QUICK, clock=RealClock())
    begun = time.monotonic()
    node.run(0.5)
    assert 0.4 < time.monotonic() - begun < 10.0
    assert all(w.end_us - w.start_us == 100_000 for w in node.windows)
    assert len(node.column("counter_mj", 0)) >= 5
    histogram = node.sampler.calls()["nvmlDeviceGetFieldValues"]
    assert list(histogram.counts) == sorted(histogram.counts)
    assert histogram.counts[-1] > 10
    assert histogram.total > 0


def test_who_is_new_is_met_in_the_thread_that_takes_windows_before_the_window_ends(rig):
    node = rig(rates=QUICK, clock=RealClock())
    met = []
    node.sampler._meet = lambda pid: met.append((pid, len(node.windows), threading.current_thread()))
    node.run(0.5)
    ((pid, windows, thread),) = met
    assert pid in {one.pid for one in node.observations[windows]}
    assert thread is threading.current_thread()


def test_windows_go_on_while_a_call_hangs(rig):
    """However late a busy machine is: windows touch, and those of the hang have no readings."""
    text = '\n[[fault]]\nkind = "wedged"\ngpu = 0\nat_s = 0.35\nfor_s = 1.0\n'
    node = rig(text, gpus=2, rates=QUICK, clock=RealClock())
    deadline = time.monotonic() + 60
    while {e.gpu for e in node.events("back")} != {0, 1}:
        assert time.monotonic() < deadline
        node.run(0.5)
    lost, back = (next(i for i, w in enumerate(node.windows) if kind in {e.kind for e in w.events})
                  for kind in ("lost", "back"))  # fmt: skip
    assert lost < back
    assert any(not len(window.readings.time_us) for window in node.windows[lost:back])
    assert {e.gpu for e in node.events("lost")} == {0, 1}
    after = node.run(0.5)
    for gpu in (0, 1):
        assert node.column("time_us", gpu, after)
        assert node.column("time_us", gpu) == sorted(node.column("time_us", gpu))
    assert [w.seq for w in node.windows] == list(range(len(node.windows)))
    assert all(before.end_us == later.start_us for before, later in itertools.pairwise(node.windows))
    for window in node.windows:
        assert all(window.start_us <= t < window.end_us for t in window.readings.time_us)


def test_a_call_that_never_returns_asks_for_a_new_process(rig):
    quick = Rates(window_us=100_000, learn_us=0, stale_us=150_000, restart_us=400_000)
    node = rig('\n[[fault]]\nkind = "wedged"\ngpu = 0\nat_s = 0.1\nfor_s = 90.0\n', rates=quick, clock=RealClock())
    begun = time.monotonic()
    with pytest.raises(RestartNeeded, match=r"nvml\w+ did not return"):
        node.run(60)
    node.sampler.close()
    assert time.monotonic() - begun < 60  # it did not wait for the call


def test_xid_errors_arrive_from_a_thread_of_their_own(rig):
    node = rig('\n[[fault]]\nkind = "xid"\ngpu = 1\nat_s = 0.1\nvalue = 31\n', gpus=2, rates=QUICK, clock=RealClock())
    node.run(1.5)
    (event,) = node.events("xid")
    assert (event.gpu, event.detail) == (1, "31")
    assert node.windows[-1].gauges["xid"][1] == 31
    assert node.events("lost") == []
    assert "wattshed-xid" in {thread.name for thread in threading.enumerate()}


def test_closing_ends_a_wait(rig):
    slow = Rates(window_us=30_000_000, learn_us=0)
    node = rig(rates=slow, clock=RealClock())
    threading.Timer(0.2, node.sampler.close).start()
    begun = time.monotonic()
    with pytest.raises(Stopped):
        node.sampler.next()
    assert time.monotonic() - begun < 20  # of a window of thirty


def test_a_failure_of_the_poller_itself_reaches_the_consumer(rig, monkeypatch):
    node = rig(rates=QUICK, clock=RealClock())

    def broken(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(node.sampler._poller, "_cut", broken)
    with pytest.raises(ZeroDivisionError):
        node.sampler.next()
