"""Virtual time for programs that were written for the real one: threads, timers and sleeps take turns on one clock.

Exactly one thread runs at any moment. Who sleeps hands over to whoever is due next, and the clock jumps there. So code
of others that polls in the background runs unaltered, quickly, and the same way every time.
"""

import heapq
import itertools
import queue
import threading
import time


class VirtualTime:
    """A clock as agent and simulated driver know it (``agent.clock``), and the turns of those who wait on it."""

    virtual = True

    def __init__(self, start_us=1_767_225_600_000_000):
        self._now_us = self._limit_us = start_us
        self._due = []  # (moment, order, what to resume)
        self._order = itertools.count()
        self._local = threading.local()

    def now_us(self):
        return self._now_us

    def elapsed_ns(self):
        return self._now_us * 1000

    def sleep_until(self, time_us, stop=None):
        """Let the others have their turns until ``time_us``."""
        turn = getattr(self._local, "turn", None)
        if turn is None:
            self._run(time_us)
        elif time_us <= self._limit_us and not (self._due and self._due[0][0] <= time_us):
            self._now_us = max(self._now_us, time_us)  # nobody is due before: no need to hand over
        else:
            self.at(time_us, turn.resume)
            turn.pause()

    def advance(self, time_us, stop=None):
        """Take time without a pause, as a call of the driver does: nobody else's turn comes while locks may be held."""
        self._now_us = max(self._now_us, time_us)

    def at(self, time_us, resume):
        """Call ``resume`` at a moment."""
        heapq.heappush(self._due, (time_us, next(self._order), resume))

    def _run(self, until_us):
        outer_us, self._limit_us = self._limit_us, until_us
        while self._due and self._due[0][0] <= until_us:
            at_us, _, resume = heapq.heappop(self._due)
            self._now_us = max(self._now_us, at_us)
            resume()
        self._now_us = max(self._now_us, until_us)
        self._limit_us = outer_us

    def enter(self, turn):
        """Mark the calling thread as one that takes turns."""
        self._local.turn = turn

    def sleep(self, seconds):
        self.sleep_until(self._now_us + round(max(0.0, seconds) * 1e6))

    def seconds(self):
        return self._now_us / 1e6

    def seconds_of_a_loop(self):
        """Like :meth:`seconds`, for a loop that polls without ever sleeping: it hands over when others are due."""
        turn = getattr(self._local, "turn", None)
        if turn is not None and (self._now_us > self._limit_us or (self._due and self._due[0][0] <= self._now_us)):
            self.at(self._now_us, turn.resume)
            turn.pause()
        return self._now_us / 1e6


class DriverClock:
    """The same clock as the driver knows it."""

    virtual = True

    def __init__(self, clock):
        self.now_us, self.elapsed_ns, self.sleep_until = clock.now_us, clock.elapsed_ns, clock.advance


def modules(clock):
    """Make what stands for the modules ``time``, ``threading`` and ``multiprocessing`` in a program's own modules."""
    thread, event = _thread(clock), _event(clock)

    class Context:
        """What multiprocessing.get_context gives."""

        Queue, Event, Process = queue.Queue, event, thread

    return {
        "time": _Instead(
            time,
            time=clock.seconds,
            monotonic=clock.seconds,
            perf_counter=clock.seconds,
            time_ns=clock.elapsed_ns,
            monotonic_ns=clock.elapsed_ns,
            sleep=clock.sleep,
        ),
        "threading": _Instead(threading, Thread=thread, Timer=_timer(clock), Event=event),
        "multiprocessing": _Instead(queue, get_context=lambda _: Context),
    }


def _thread(clock):
    class Thread:
        """A thread that takes turns; also a process, which shares our memory but for that."""

        def __init__(self, group=None, target=None, name=None, args=(), kwargs=None, *, daemon=None):
            self.name, self.daemon = name, daemon
            self._work = (target, args, kwargs or {})
            self._go, self._back = threading.Semaphore(0), threading.Semaphore(0)
            self._real = threading.Thread(target=self._body, name=name, daemon=True)
            self._started = self._over = False

        def _body(self):
            target, args, kwargs = self._work
            clock.enter(self)
            self._go.acquire()
            try:
                target(*args, **kwargs)
            finally:
                self._over = True
                self._back.release()

        def resume(self):
            self._go.release()
            self._back.acquire()

        def pause(self):
            self._back.release()
            self._go.acquire()

        def start(self):
            if self._started:
                raise RuntimeError("threads can only be started once")
            self._started = True
            self._real.start()
            clock.at(clock.now_us(), self.resume)

        def is_alive(self):
            return self._started and not self._over

        def join(self, timeout=None):
            end_us = clock.now_us() + round((1e6 if timeout is None else timeout) * 1e6)
            while self.is_alive() and clock.now_us() < end_us:
                clock.sleep(0.01)

    return Thread


def _timer(clock):
    class Timer:
        def __init__(self, interval, function, args=(), kwargs=None):
            self.interval, self.daemon, self._call = interval, None, (function, args, kwargs or {})
            self._cancelled = False

        def start(self):
            clock.at(clock.now_us() + round(self.interval * 1e6), self._fire)

        def cancel(self):
            self._cancelled = True

        def _fire(self):
            function, args, kwargs = self._call
            if not self._cancelled:
                function(*args, **kwargs)

    return Timer


def _event(clock):
    class TurnEvent(threading.Event):
        def wait(self, timeout=None):
            end_us = clock.now_us() + round((1e6 if timeout is None else timeout) * 1e6)
            while not self.is_set() and clock.now_us() < end_us:
                clock.sleep(0.01)
            return self.is_set()

    return TurnEvent


class _Instead:
    """A module, some names of which mean something else."""

    def __init__(self, module, **names):
        self._module = module
        vars(self).update(names)

    def __getattr__(self, name):
        return getattr(self._module, name)
