"""Virtual time for programs that were written for the real one: threads, timers and sleeps take turns on one clock.

Exactly one thread runs at any moment. Who sleeps hands over to whoever is due next, and the clock jumps there. So code
of others that polls in the background runs unaltered, quickly, and the same way every time.
"""

from __future__ import annotations

import heapq
import itertools
import queue
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import ModuleType

FOREVER_S = 1e6


class VirtualTime:
    """A clock as agent and simulated driver know it (``agent.clock``), and the turns of those who wait on it.

    Parameters
    ----------
    start_us : int, us
    """

    virtual = True
    offset_us = 0

    def __init__(self, start_us: int = 1_767_225_600_000_000) -> None:
        self._now_us = self._limit_us = start_us
        self._due: list[tuple[int, int, Callable[[], object]]] = []  # moment, order, what to resume
        self._order = itertools.count()
        self._local = threading.local()

    def now_us(self) -> int:
        """Return the moment at which the clock stands."""
        return self._now_us

    def elapsed_ns(self) -> int:
        """Return the same moment in nanoseconds."""
        return self._now_us * 1000

    def sleep_until(self, time_us: int, stop: threading.Event | None = None) -> None:  # noqa: ARG002 - a clock's
        """Let the others have their turns until ``time_us``."""
        turn = self.turn()
        if turn is None:
            self._run(time_us)
        elif time_us <= self._limit_us and not (self._due and self._due[0][0] <= time_us):
            self._now_us = max(self._now_us, time_us)  # nobody is due before: no need to hand over
        else:
            self.at(time_us, turn.resume)
            turn.pause()

    def advance(self, time_us: int, stop: threading.Event | None = None) -> None:  # noqa: ARG002 - a clock's
        """Take time without a pause, as a call of the driver does: nobody else's turn comes while locks may be held."""
        self._now_us = max(self._now_us, time_us)

    def at(self, time_us: int, resume: Callable[[], object]) -> None:
        """Call ``resume`` at a moment."""
        heapq.heappush(self._due, (time_us, next(self._order), resume))

    def _run(self, until_us: int) -> None:
        outer_us, self._limit_us = self._limit_us, until_us
        while self._due and self._due[0][0] <= until_us:
            at_us, _, resume = heapq.heappop(self._due)
            self._now_us = max(self._now_us, at_us)
            resume()
        self._now_us = max(self._now_us, until_us)
        self._limit_us = outer_us

    def enter(self, turn: Any) -> None:
        """Mark the calling thread as one that takes turns."""
        self._local.turn = turn

    def turn(self) -> Any:
        """Return what the calling thread was marked with; None: it is the main program."""
        return getattr(self._local, "turn", None)

    def sleep(self, seconds: float) -> None:
        """Sleep, as ``time.sleep`` does."""
        self.sleep_until(self._now_us + round(max(0.0, seconds) * 1e6))

    def seconds(self) -> float:
        """Tell the time, as ``time.time`` does."""
        return self._now_us / 1e6

    def seconds_of_a_loop(self) -> float:
        """Like :meth:`seconds`, for a loop that polls without ever sleeping: it hands over when others are due."""
        turn = self.turn()
        if turn is not None and (self._now_us > self._limit_us or (self._due and self._due[0][0] <= self._now_us)):
            self.at(self._now_us, turn.resume)
            turn.pause()
        return self._now_us / 1e6


class DriverClock:
    """The same clock as the driver knows it."""

    virtual = True
    offset_us = 0

    def __init__(self, clock: VirtualTime) -> None:
        self.now_us, self.elapsed_ns, self.sleep_until = clock.now_us, clock.elapsed_ns, clock.advance


def modules(clock: VirtualTime) -> dict[str, Any]:
    """Make what stands for the modules ``time``, ``threading`` and ``multiprocessing`` in a program's own modules.

    ``loop`` has the function ``time`` for a loop that polls without ever sleeping.
    """
    thread, event = _thread(clock), _event(clock)

    class Context:
        """What multiprocessing.get_context gives: a process shares our memory here, and is a thread."""

        Queue, Event, Process = queue.Queue, event, thread

    return {
        "time": _Instead(
            time,
            time=clock.seconds,
            monotonic=clock.seconds,
            perf_counter=clock.seconds,
            time_ns=clock.elapsed_ns,
            monotonic_ns=clock.elapsed_ns,
            perf_counter_ns=clock.elapsed_ns,
            sleep=clock.sleep,
        ),
        "loop": _Instead(time, time=clock.seconds_of_a_loop),
        "threading": _Instead(threading, Thread=thread, Timer=_timer(clock), Event=event),
        "multiprocessing": _Instead(queue, get_context=lambda _: Context),
    }


def _thread(clock: VirtualTime) -> type:
    class Thread:
        """A thread that takes turns; also a process, which shares our memory but for that."""

        def __init__(
            self,
            group: object = None,  # noqa: ARG002 - the real one's parameters
            target: Callable[..., object] | None = None,
            name: str | None = None,
            args: Sequence[object] = (),
            kwargs: Mapping[str, object] | None = None,
            *,
            daemon: bool | None = None,
        ) -> None:
            self.name, self.daemon = name, daemon
            self._work = (target, args, kwargs or {})
            self._go, self._back = threading.Semaphore(0), threading.Semaphore(0)
            self._real = threading.Thread(target=self._body, name=name, daemon=True)
            self._begun = self._over = False

        def _body(self) -> None:
            clock.enter(self)
            self._go.acquire()
            try:
                self.run()
            finally:
                self._over = True
                self._back.release()

        def run(self) -> None:
            """Do the work; a class of its own may do another."""
            target, args, kwargs = self._work
            if target is not None:
                target(*args, **kwargs)

        def resume(self) -> None:
            self._go.release()
            self._back.acquire()

        def pause(self) -> None:
            self._back.release()
            self._go.acquire()

        def start(self) -> None:
            if self._begun:
                raise RuntimeError("threads can only be started once")
            self._begun = True
            self._real.start()
            clock.at(clock.now_us(), self.resume)

        def is_alive(self) -> bool:
            return self._begun and not self._over

        def join(self, timeout: float | None = None) -> None:
            end_us = clock.now_us() + round((FOREVER_S if timeout is None else timeout) * 1e6)
            while self.is_alive() and clock.now_us() < end_us:
                clock.sleep(0.01)

    return Thread


def _timer(clock: VirtualTime) -> type:
    class Timer:
        """What calls a function later, unless it is cancelled."""

        def __init__(
            self,
            interval: float,
            function: Callable[..., object],
            args: Sequence[object] = (),
            kwargs: Mapping[str, object] | None = None,
        ) -> None:
            self.interval, self.daemon, self._call = interval, None, (function, args, kwargs or {})
            self._cancelled = False

        def start(self) -> None:
            clock.at(clock.now_us() + round(self.interval * 1e6), self._fire)

        def cancel(self) -> None:
            self._cancelled = True

        def _fire(self) -> None:
            function, args, kwargs = self._call
            if not self._cancelled:
                function(*args, **kwargs)

    return Timer


def _event(clock: VirtualTime) -> type:
    class TurnEvent(threading.Event):
        """An event that threads which take turns wait for."""

        def __init__(self) -> None:
            super().__init__()
            self._sleepers: list[Callable[[], None]] = []

        def set(self) -> None:
            super().set()
            for wake in self._sleepers:
                clock.at(clock.now_us(), wake)

        def wait(self, timeout: float | None = None) -> bool:
            end_us = clock.now_us() + round((FOREVER_S if timeout is None else timeout) * 1e6)
            turn = clock.turn()
            if turn is None:  # the main program: others have their turns meanwhile
                while not self.is_set() and clock.now_us() < end_us:
                    clock.sleep(0.01)
            elif not self.is_set():
                self._wait(turn, end_us)
            return self.is_set()

        def _wait(self, turn: Any, end_us: int) -> None:
            def wake() -> None:
                if wake in self._sleepers:  # it is called at the end of the time, and when the event is set
                    self._sleepers.remove(wake)
                    turn.resume()

            self._sleepers.append(wake)
            clock.at(end_us, wake)
            turn.pause()

    return TurnEvent


class _Instead:
    """A module, some names of which mean something else."""

    def __init__(self, module: ModuleType, **names: object) -> None:
        self._module = module
        vars(self).update(names)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)
