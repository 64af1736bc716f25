"""One source of host meters in one thread, which may hang: a sensor that never answers stops nothing but itself."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from wattshed.agent.host.sensors import NoReadingError, NotRead, reason_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from wattshed.agent.clock import Clock
    from wattshed.agent.errors import Faults
    from wattshed.agent.host.sensors import HostSource, MeterSensor
    from wattshed.agent.window.host_meters import HostMeter

PART = "host"
"""What faults of meters of the host are counted as."""
NODE_METER = "node-meter"
"""Flag of the meter that was chosen for the whole node."""
TELLS_AFTER = 3
"""Failures in a row of a meter that has answered before."""
HANGS_US = 10_000_000
"""A read that lasts longer is told of."""


class Alarms(Protocol):
    """A clock at which something may be put down for later."""

    def call_at(self, time_us: int, what: Callable[[], None]) -> None:
        """Have ``what`` called when the clock gets there."""


LOOKED_FOR = "it is looked for every 30 s"
SEE_CHECK = "`wattshed check` tells which meters of the host cannot be read"


@dataclass(frozen=True, slots=True)
class Correction:
    """What the owner of a host knows about one meter better than its source; None: nothing."""

    gain_ppm: int | None = None
    sigma_ppm: int | None = None
    boundary: str = ""
    node: bool = False  # it was named as the meter of the whole node

    def of(self, meter: HostMeter) -> HostMeter:
        """Return the meter as it is known."""
        flags = meter.flags
        if self.sigma_ppm is not None:
            flags = tuple(flag for flag in flags if flag != "sigma-assumed")
        if self.node:
            flags += (NODE_METER,)
        return replace(
            meter,
            gain_ppm=meter.gain_ppm if self.gain_ppm is None else self.gain_ppm,
            sigma_ppm=meter.sigma_ppm if self.sigma_ppm is None else self.sigma_ppm,
            boundary=self.boundary or meter.boundary,
            flags=flags,
        )


@dataclass(slots=True)
class _Held:
    """A sensor that is read."""

    sensor: MeterSensor
    due_us: int
    failed: int = 0  # times in a row
    answered: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """A reading of a meter at a time, or (``reason``) why one is missing."""

    meter: HostMeter
    time_us: int
    value: int = 0
    reason: str = ""


@dataclass(slots=True)
class SourceLane:
    """Reads the sensors of one source, each in its period, and puts what they say where it is collected.

    Parameters
    ----------
    source : HostSource
    clock : Clock
    corrections : mapping of str -> Correction
        By name of the meter.
    put : callable
        Takes what was found; called in the lane's thread.
    faults : Faults

    Attributes
    ----------
    refusals : sequence of NotRead
        What is there and cannot be read.
    reading : str
        What is being asked now; empty while nothing is.
    since_us : int, us
        Since when.
    """

    source: HostSource
    clock: Clock
    corrections: Mapping[str, Correction]
    put: Callable[[Found], None]
    faults: Faults
    refusals: Sequence[NotRead] = ()
    reading: str = ""
    since_us: int = 0
    _held: dict[str, _Held] = field(default_factory=dict)
    _look_us: int = 0
    _refused: dict[str, NotRead] = field(default_factory=dict)
    _off: set[str] = field(default_factory=set)
    _told: bool = False
    _stop: threading.Event = field(default_factory=threading.Event)
    _asked: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self, alarms: Alarms | None) -> None:
        """Begin: in a thread of its own, or under a virtual clock whenever its time comes."""
        if alarms is not None:
            self._at(alarms)
            return
        self._thread = threading.Thread(target=self._run, name=f"host {self.source.name}", daemon=True)
        self._thread.start()

    def asked(self, timeout_s: float) -> bool:
        """Wait until everything was asked once; returns whether it was, in that time."""
        return self._asked.wait(timeout_s)

    def stop(self) -> bool:
        """End; returns whether the thread has ended, and does not hang in a read."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(0.5)
        return self._thread is None or not self._thread.is_alive()

    def hangs(self, now_us: int) -> bool:
        """Return whether a read has lasted for long; true once for each."""
        reading, since_us = self.reading, self.since_us
        if not reading or now_us - since_us < HANGS_US:
            self._told = self._told and bool(reading)
            return False
        first, self._told = not self._told, True
        return first

    def step(self) -> int:
        """Do what is due, and return when something will be due again."""
        now_us = self.clock.now_us()
        if now_us >= self._look_us:
            self._look(now_us)
        for name, held in list(self._held.items()):
            if held.due_us <= now_us and not self._stop.is_set():
                self._read(name, held)
        return min([self._look_us, *(held.due_us for held in self._held.values())])

    def _run(self) -> None:
        while not self._stop.is_set():
            self.clock.sleep_until(self._next(), self._stop)

    def _at(self, alarms: Alarms) -> None:
        if not self._stop.is_set():
            alarms.call_at(max(self._next(), self.clock.now_us() + 1), lambda: self._at(alarms))

    def _next(self) -> int:
        """Do what is due; after a fault, nothing before the next look."""
        next_us = self.clock.now_us() + self.source.look_us
        with self.faults.noting(PART):
            next_us = self.step()
        self.reading = ""
        self._asked.set()
        return next_us

    def _look(self, now_us: int) -> None:
        """Take up meters that came, and let go of those that went."""
        self._ask(self.source.name, now_us)
        sensors, refused = self.source.look()
        self.reading = ""
        self._look_us = now_us + self.source.look_us
        found = {sensor.meter.name: sensor for sensor in sensors}
        for name in self._held.keys() - found.keys():
            if self._held.pop(name).answered:
                self.faults.note(PART, f"{name} is gone", LOOKED_FOR)
        for name, sensor in found.items():
            if name in self._off:
                continue
            if (held := self._held.get(name)) is not None:
                held.sensor = sensor
            else:
                self._held[name] = _Held(sensor, now_us)
        self._refused = {name: why for name, why in self._refused.items() if name in found}
        for name in self._refused:
            if name in self._held:
                self._held[name].due_us = now_us  # it may have been permitted since
        for refusal in refused:
            if refusal not in self.refusals:
                self.faults.note(PART, f"{refusal.name}: {refusal.reason}", SEE_CHECK)
        self.refusals = (*refused, *self._refused.values())

    def _read(self, name: str, held: _Held) -> None:
        began_us, reason, reading = self.clock.now_us(), "", None
        self._ask(name, began_us)
        try:
            reading = held.sensor.read()
        except NoReadingError as error:
            reason = str(error)
        except OSError as error:
            reason = reason_of(error)
        ended_us, self.reading = self.clock.now_us(), ""
        every_us = held.sensor.every_us or held.sensor.meter.period_us
        held.due_us += every_us
        if held.due_us <= ended_us:
            held.due_us = ended_us + every_us
        meter = self.corrections[name].of(held.sensor.meter) if name in self.corrections else held.sensor.meter
        if reason:
            self._missing(name, held, meter, reason)
            return
        held.failed = 0
        held.answered = True
        if self._refused.pop(name, None) is not None:
            self.refusals = tuple(refusal for refusal in self.refusals if refusal.name != name)
        if reading is not None:
            self.put(Found(meter, (began_us + ended_us) // 2 - reading.age_us, reading.value))

    def _missing(self, name: str, held: _Held, meter: HostMeter, reason: str) -> None:
        """Count a reading that is none; a sensor that may not be read, or never answers, is left alone."""
        held.failed += 1
        self.put(Found(meter, held.due_us, reason=reason))
        if held.answered and held.failed == TELLS_AFTER:
            self.faults.note(PART, f"{name}: no reading ({reason})", "it is asked again")
        if reason == "gone":
            self._look_us = min(self._look_us, held.due_us)
        if reason == "denied" or (held.sensor.tries and held.failed >= held.sensor.tries):
            why = "permission denied" if reason == "denied" else f"no reading in {held.failed} tries ({reason})"
            if name not in self._refused:
                self.faults.note(PART, f"{self.source.name}: {why}", SEE_CHECK)
            self._refused[name] = NotRead(name, why, self.source.remedy(reason))
            self.refusals = (*(r for r in self.refusals if r.name != name), self._refused[name])
            held.due_us = self._look_us
            if reason != "denied":
                self._off.add(name)
                del self._held[name]

    def _ask(self, what: str, now_us: int) -> None:
        self.since_us, self.reading = now_us, what
