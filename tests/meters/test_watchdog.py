"""Who waits for windows: how long, what it does about a call that does not return, and how the wait ends."""

import itertools
from types import SimpleNamespace

import pytest

from wattshed.agent.clock import VirtualClock
from wattshed.agent.meters.errors import RestartNeeded
from wattshed.agent.meters.events import Deaf, Xid
from wattshed.agent.meters.sampler import EVENT_WAIT_MS, Stopped
from wattshed.agent.meters.schedule import Rates

S = 1_000_000
RATES = Rates(learn_us=0, window_us=S, stale_us=5 * S, restart_us=60 * S)


class HandClock(VirtualClock):
    """It stands where it was put; who waits does so in a thread of its own."""

    virtual = False


@pytest.fixture
def watched(rig):
    return rig(gpus=2, rates=RATES, clock=HandClock())


def under_way(node, waited_us):
    """Let a call have begun so long ago."""
    begun_ns = node.clock.elapsed_ns() - waited_us * 1000
    node.meter.costs.in_flight = None if waited_us is None else ("nvmlCall", begun_ns)


def test_a_call_that_does_not_return_ends_the_process_at_once_where_the_driver_is_to_be_let_go_of(watched):
    watched.sampler._desk.ask(60 * S)
    watched.clock.sleep_until(watched.sampler.start_us + 2 * S)
    under_way(watched, RATES.stale_us - 1)
    assert watched.sampler._stale() is None
    under_way(watched, RATES.stale_us)
    with pytest.raises(RestartNeeded, match="nvmlCall did not return for 5 s"):
        watched.sampler._stale()


OVER = (-1, 0, 1, 10 * S)
WAITED = (0, RATES.stale_us - 1, RATES.stale_us, RATES.restart_us - 1, RATES.restart_us, 10 * RATES.restart_us)


@pytest.mark.parametrize("queued", [False, True])
@pytest.mark.parametrize(("over_us", "waited_us"), [*itertools.product(OVER, WAITED)])
def test_a_window_is_closed_over_the_head_of_a_call_once_it_is_over_and_the_call_stale(
    watched, over_us, waited_us, queued
):
    sampler = watched.sampler
    start_us = sampler.start_us
    watched.clock.sleep_until(start_us + S + over_us)
    under_way(watched, waited_us)
    if queued:
        sampler._finished.put(None)
    if over_us < 0:
        assert sampler._stale() is None
    elif waited_us >= RATES.restart_us:
        with pytest.raises(RestartNeeded, match=f"nvmlCall did not return for {waited_us // S} s"):
            sampler._stale()
    elif waited_us < RATES.stale_us or queued:
        assert sampler._stale() is None
    else:
        window, seen = sampler._stale()
        assert (window.start_us, window.end_us, seen) == (start_us, start_us + S, [])
        assert [(e.kind, e.gpu, e.detail) for e in window.events] == [
            ("lost", gpu, "stale: nvmlCall does not return") for gpu in (0, 1)
        ]
        assert sampler._poller.start_us == window.end_us


def test_where_no_call_is_under_way_nothing_is_closed(watched):
    watched.clock.sleep_until(watched.sampler.start_us + 10 * S)
    watched.meter.costs.in_flight = None
    assert watched.sampler._stale() is None


@pytest.mark.parametrize("stale_us", [S // 10, 5 * S])
@pytest.mark.parametrize("into_us", [0, 1, S // 2, S - 1, S, S + 1, 90 * S])
def test_the_wait_lasts_until_the_window_should_have_come_and_a_little_longer(rig, stale_us, into_us):
    node = rig(rates=Rates(learn_us=0, stale_us=stale_us), clock=HandClock())
    node.clock.sleep_until(node.sampler.start_us + into_us)
    left_s, more_s = max(S - into_us, 0) / S, min(0.25, stale_us / S / 4)
    assert node.sampler._patience_s() == pytest.approx(left_s + more_s)


class Thread:
    def __init__(self, *, alive):
        self.alive, self.waited = alive, []

    def join(self, timeout):
        self.waited.append(timeout)

    def is_alive(self):
        return self.alive


@pytest.mark.parametrize("busy", [False, True])
@pytest.mark.parametrize("alive", [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize(
    ("waited_us", "patience_s"), [(None, 2.0), (0, 2.0), (RATES.stale_us - 1, 2.0), (RATES.stale_us, 0.0)]
)
def test_the_session_ends_unless_somebody_is_in_it(watched, monkeypatch, waited_us, patience_s, alive, busy):
    """A thread is waited for, but not one whose call hangs; whoever waits for windows is told that none comes."""
    sampler, closed = watched.sampler, []
    sampler._threads = threads = [Thread(alive=one) for one in alive]
    monkeypatch.setattr(watched.meter, "close", lambda: closed.append(True))
    monkeypatch.setattr(watched.meter, "asked", [SimpleNamespace(over=not busy)])
    watched.meter.costs.in_flight = None if waited_us is None else ("c", watched.clock.elapsed_ns() - waited_us * 1000)
    sampler.close()
    assert [thread.waited for thread in threads] == [[patience_s]] * 2
    assert closed == ([] if any(alive) or busy else [True])
    with pytest.raises(Stopped):
        sampler.next()
    sampler._threads = []


class Heard:
    """A driver that is waited for as long as it says, and then tells of something or of nothing."""

    def __init__(self, node, answers):
        self.node, self.answers, self.paused, self.asked = node, list(answers), [], []
        node.sampler._poller.stop = self

    def wait_event(self, timeout_ms):
        self.asked.append(timeout_ms)
        took_us, news = self.answers.pop(0)
        self.node.clock.sleep_until(self.node.clock.now_us() + took_us)
        return news

    def is_set(self):
        return not self.answers

    def set(self):
        self.answers.clear()

    def wait(self, seconds):
        self.paused.append(seconds)


def test_events_are_queued_and_a_driver_that_does_not_wait_is_left_alone_for_a_second(watched, monkeypatch):
    first, second = Xid(0, 31), Xid(1, 45)
    deaf = Deaf("GPU is lost")
    answers = [(0, first), (9_999, None), (10_000, None), (S, None), (5_000, second), (9, deaf), (9, deaf), (S, deaf)]
    heard = Heard(watched, answers)
    monkeypatch.setattr(watched.meter, "wait_event", heard.wait_event)
    watched.sampler._listen()
    assert list(watched.sampler._poller.heard) == [first, second, deaf, deaf, deaf]
    assert heard.paused == [1.0] * 3
    assert heard.asked == [EVENT_WAIT_MS] * len(answers)


def test_what_ends_the_loop_reaches_who_waits(watched, monkeypatch):
    sampler, poller = watched.sampler, watched.sampler._poller
    for end in (None, RestartNeeded("the driver was replaced")):

        def collect(end=end):
            if end is not None:
                raise end

        monkeypatch.setattr(poller, "collect", collect)
        sampler._poll()
        assert sampler._finished.get_nowait() is end
