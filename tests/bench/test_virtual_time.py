"""Virtual time: programs of others take turns on one clock, and need not know it."""

import multiprocessing
import threading
import time

import pytest

from wattshed.agent.bench.accuracy.virtual_time import VirtualTime, modules


def test_threads_and_timers_take_turns():
    clock = VirtualTime(0)
    other, seen = modules(clock), []

    def every_second():
        while len(seen) < 5:
            seen.append(("thread", clock.seconds()))
            other["time"].sleep(1)

    thread = other["threading"].Thread(target=every_second)
    late = other["threading"].Timer(1.5, lambda: seen.append(("timer", clock.seconds())))
    never = other["threading"].Timer(1.7, seen.clear)
    for one in (thread, late, never):
        one.start()
    never.cancel()
    clock.sleep(2.5)
    assert seen == [("thread", 0.0), ("thread", 1.0), ("timer", 1.5), ("thread", 2.0)]
    assert clock.seconds() == 2.5
    thread.join()
    assert not thread.is_alive()
    assert clock.seconds() == pytest.approx(4.0, abs=0.02)
    with pytest.raises(RuntimeError):
        thread.start()


def test_a_loop_that_never_sleeps_hands_over():
    clock = VirtualTime(0)
    other, looks = modules(clock), []
    stop = other["multiprocessing"].get_context("spawn").Event()

    def poll():
        while not stop.is_set():
            looks.append(other["loop"].time())
            clock.advance(clock.now_us() + 1000)  # what a call of the driver takes

    other["multiprocessing"].get_context("spawn").Process(target=poll, daemon=True).start()
    clock.sleep(0.1)
    assert len(looks) == pytest.approx(100, abs=1)
    stop.set()
    clock.sleep(0.1)
    assert len(looks) == pytest.approx(100, abs=2)


def test_who_waits_for_an_event_comes_back_when_it_is_set_or_the_time_is_over():
    clock = VirtualTime(0)
    other, seen = modules(clock), []
    event = other["threading"].Event()

    class Waiting(other["threading"].Thread):
        def __init__(self, timeout):
            super().__init__(daemon=True)
            self.timeout = timeout

        def run(self):
            seen.append((self.timeout, event.wait(self.timeout), clock.seconds()))

    for timeout in (1.5, 3.0, None):
        Waiting(timeout).start()
    clock.sleep(2)
    event.set()
    clock.sleep(2)
    assert seen == [(1.5, False, 1.5), (3.0, True, 2.0), (None, True, 2.0)]


def test_what_is_not_replaced_is_the_real_one():
    other = modules(VirtualTime(0))
    assert other["time"].strftime is time.strftime
    assert other["threading"].Lock is threading.Lock
    assert not hasattr(other["multiprocessing"], "no_such_thing")
    assert multiprocessing.get_context is not other["multiprocessing"].get_context
