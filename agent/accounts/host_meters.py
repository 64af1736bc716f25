"""What meters of the host beside the GPUs' own said: counters without their wraps, gauges integrated, each by itself.

Nothing is added up here: what one meter counts may lie in what another one counts. All is integers, and booked from
reading to reading, so that it is the same however the windows are cut.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from math import isqrt
from typing import TYPE_CHECKING, Any

from wattshed.agent.window.host_meters import COUNTER, HostMeter

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wattshed.agent.window.host_meters import HostReadings

HNJ_PER_UJ = 2_000
MILLION = 1_000_000
SHORTEST_GAP_US = 5_000_000
"""As between readings of a GPU's power."""
GAP_PERIODS = 3
LATE_US = 1_000_000
"""A counter may publish so much late: a step may hold what the ceiling allows in this time beside."""
LIFE_PERIODS = 2.5
STILL_US = 60_000_000
"""A counter of a running host that stands still for so long is doubted."""
STILL_PERIODS = 10


@dataclass(slots=True)
class MeterBook:
    """What one meter said. Energies in hnj (half nanojoules), times in us; -1 where there is none.

    Attributes
    ----------
    meter : HostMeter
    energy_hnj, covered_us : int
        Of the stretches between readings that could be bridged.
    gap_us, gaps : int
        Of those that could not.
    bias_hnj : int
        One sigma of the gain, which all stretches share.
    spread_hnj2 : int, hnj^2
        Variance of when a gauge changed between two readings.
    resets : int
        How often a counter began anew, or jumped.
    last_us, last : int
        The last reading, uJ or mW.
    changed_us : int
        When a counter was first read as it is now.
    suspect_us, suspect : int
        A reading that cannot follow the last one, until the next one says which of them is right.
    power_mw : int, mW
        A gauge's last reading, or what a counter ran at between its last two.
    rejected : dict of str -> int
        Readings that were no reading, by reason.
    """

    meter: HostMeter
    energy_hnj: int = 0
    covered_us: int = 0
    gap_us: int = 0
    gaps: int = 0
    bias_hnj: int = 0
    spread_hnj2: int = 0
    resets: int = 0
    last_us: int = -1
    last: int = -1
    changed_us: int = -1
    suspect_us: int = -1
    suspect: int = -1
    power_mw: int = -1
    rejected: dict[str, int] = field(default_factory=dict)

    @property
    def was_read(self) -> bool:
        """Whether any energy of it is known; without, its energy is unknown and not 0."""
        return self.covered_us > 0

    @property
    def sigma_hnj(self) -> int:
        """One sigma of the energy."""
        return isqrt(self.bias_hnj**2 + self.spread_hnj2)

    @property
    def longest_us(self) -> int:
        """How far apart two readings of a gauge may be."""
        return max(SHORTEST_GAP_US, GAP_PERIODS * self.meter.period_us)

    def power_at(self, now_us: int) -> int | None:
        """Return its power (mW), if it was read lately."""
        life_us = max(SHORTEST_GAP_US, int(LIFE_PERIODS * self.meter.period_us))
        return self.power_mw if self.power_mw >= 0 and now_us - self.last_us <= life_us else None

    def gap_at(self, now_us: int) -> int:
        """Return for how long its energy is not known (us), an open gap of a gauge included.

        A counter may still bridge what is open.
        """
        open_us = now_us - self.last_us if self.last_us >= 0 and self.meter.kind != COUNTER else 0
        return self.gap_us + (open_us if open_us > self.longest_us else 0)

    @property
    def flags(self) -> tuple[str, ...]:
        """What is doubtful about it."""
        still_us = max(STILL_US, STILL_PERIODS * self.meter.period_us)
        still = self.meter.kind == COUNTER and self.last_us - self.changed_us >= still_us
        return (*self.meter.flags, *(["frozen"] if still else []))

    def know(self, meter: HostMeter) -> None:
        """Go on as this meter: one of another kind, or that wraps elsewhere, cannot continue a reading."""
        if (meter.kind, meter.wrap_uj) != (self.meter.kind, self.meter.wrap_uj):
            self._forget()
        self.meter = meter

    def reject(self, reason: str, count: int = 1) -> None:
        """Count readings that were none."""
        self.rejected[reason] = self.rejected.get(reason, 0) + count

    def read(self, time_us: int, value: int) -> None:
        """Book one reading, uJ or mW."""
        if time_us <= self.last_us:
            if (time_us, value) != (self.last_us, self.last):  # the very same was only asked for again
                self.reject("time_backwards")
        elif value < 0:
            self.reject("negative")
        elif self.meter.kind == COUNTER:
            self._count(time_us, value)
        elif not value:
            self.reject("zero")
        elif value > self.meter.ceiling_mw:
            self.reject("above_ceiling")
        else:
            self._integrate(time_us, value)

    def _integrate(self, time_us: int, power_mw: int) -> None:
        """Join a gauge's reading to the last one by a trapezoid."""
        if self.last_us >= 0:
            lasted_us = time_us - self.last_us
            if lasted_us > self.longest_us:
                self._miss(lasted_us)
            else:
                self._book((self.last + power_mw) * lasted_us, lasted_us)
                if self.meter.window_us < lasted_us:  # a step somewhere between them: uniform
                    self.spread_hnj2 += ((power_mw - self.last) * lasted_us) ** 2 // 3
        self.last_us, self.last, self.power_mw = time_us, power_mw, power_mw

    def _count(self, time_us: int, value: int) -> None:
        """Book what a counter advanced by; what cannot follow the last reading waits for the next one to tell."""
        if self.meter.wrap_uj and value > self.meter.wrap_uj:
            self.reject("above_ceiling")
        elif self.last_us < 0:
            self._begin(time_us, value)
        elif (step_uj := self._step(self.last, self.changed_us, time_us, value)) is not None:
            if self.suspect_us >= 0:
                self.reject("counter_step")
            self._advance(time_us, value, step_uj)
        elif self.suspect_us >= 0 and self._step(self.suspect, self.suspect_us, time_us, value) is not None:
            self.resets += 1
            self._miss(self.suspect_us - self.last_us)
            at_us, at = self.suspect_us, self.suspect
            self._begin(at_us, at)
            self._count(time_us, value)
        else:
            if self.suspect_us >= 0:
                self.reject("counter_step")
            self.suspect_us, self.suspect = time_us, value

    def _step(self, last: int, changed_us: int, time_us: int, value: int) -> int | None:
        """Return by how much a counter advanced (uJ), or None if it cannot have.

        A coarse counter that stood still may show in one step what was used since.
        """
        step = value - last
        if step < 0 and self.meter.wrap_uj:
            step += self.meter.wrap_uj
        return step if 0 <= step <= self._most_uj(time_us - changed_us) else None

    def _most_uj(self, lasted_us: int) -> int:
        return self.meter.ceiling_mw * (lasted_us + max(LATE_US, self.meter.period_us)) // 1_000

    def _advance(self, time_us: int, value: int, step_uj: int) -> None:
        lasted_us = time_us - self.last_us
        if self.meter.wrap_uj and step_uj + self.meter.wrap_uj <= self._most_uj(lasted_us):
            self._miss(lasted_us)  # it may have gone round once more
            self._begin(time_us, value)
            return
        self._book(step_uj * HNJ_PER_UJ, lasted_us)
        self.power_mw = step_uj * 1_000 // lasted_us
        if step_uj:
            self.changed_us = time_us
        self.last_us, self.last, self.suspect_us = time_us, value, -1

    def _begin(self, time_us: int, value: int) -> None:
        self.last_us, self.last, self.changed_us, self.suspect_us, self.power_mw = time_us, value, time_us, -1, -1

    def _book(self, energy_hnj: int, lasted_us: int) -> None:
        energy_hnj += energy_hnj * self.meter.gain_ppm // MILLION
        self.energy_hnj += energy_hnj
        self.covered_us += lasted_us
        self.bias_hnj += energy_hnj * self.meter.sigma_ppm // MILLION

    def _miss(self, lasted_us: int) -> None:
        self.gap_us += lasted_us
        self.gaps += 1

    def _forget(self) -> None:
        self.last_us = self.last = self.changed_us = self.suspect_us = self.suspect = self.power_mw = -1

    def restart(self, start_us: int, *, same_boot: bool) -> None:
        """Go on after the agent was down: a counter bridges that if the host was up, a gauge does not."""
        if not same_boot or self.last_us < 0:
            self._forget()
        elif self.meter.kind == COUNTER:  # the wall clock may have stepped back meanwhile
            self.last_us, self.changed_us = min(self.last_us, start_us - 1), min(self.changed_us, start_us - 1)
            self.suspect_us, self.power_mw = -1, -1
        else:
            if start_us > self.last_us:
                self._miss(start_us - self.last_us)
            self._forget()

    def merge(self, other: MeterBook) -> None:
        """Add what the same meter said in another part."""
        for name in ("energy_hnj", "covered_us", "gap_us", "gaps", "bias_hnj", "spread_hnj2", "resets"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for reason, count in other.rejected.items():
            self.reject(reason, count)
        if other.last_us > self.last_us:
            self.last_us, self.last, self.power_mw = other.last_us, other.last, other.power_mw

    def plain(self) -> dict[str, Any]:
        """Lay it out for a state file."""
        numbers = {name: getattr(self, name) for name in _NUMBERS}
        return numbers | {"meter": self.meter.plain, "rejected": dict(self.rejected)}

    @classmethod
    def of_plain(cls, plain: dict[str, Any]) -> MeterBook:
        """Read it again.

        Raises
        ------
        ValueError, KeyError, TypeError, AttributeError
            It is none.
        """
        meter = HostMeter.of_plain(plain["meter"])
        rejected = {str(reason): int(count) for reason, count in plain["rejected"].items()}
        return cls(meter, **{name: int(plain[name]) for name in _NUMBERS}, rejected=rejected)


_NUMBERS = tuple(one.name for one in fields(MeterBook) if one.name not in {"meter", "rejected"})


class MeterBooks(dict[str, MeterBook]):
    """The books of one host's meters, by name (``source/domain``), in the order in which they were heard of."""

    def take(self, beside: HostReadings) -> None:
        """Book what was read in a window."""
        times, values, offsets = beside.time_us.tolist(), beside.value.tolist(), beside.offsets.tolist()
        for place, meter in enumerate(beside.meters):
            book = self.get(meter.name)
            if book is None:
                book = self[meter.name] = MeterBook(meter)
            elif book.meter is not meter:
                book.know(meter)
            for row in range(offsets[place], offsets[place + 1]):
                book.read(times[row], values[row])
        for name, reason, count in beside.rejected:
            if name in self:
                self[name].reject(reason, count)

    def restart(self, start_us: int, *, same_boot: bool) -> None:
        """Go on after the agent was down."""
        for book in self.values():
            book.restart(start_us, same_boot=same_boot)

    def merge(self, other: MeterBooks) -> None:
        """Add what the meters of the same host said in another part."""
        for name, theirs in other.items():
            mine = self.get(name)
            if mine is None:
                self[name] = theirs
            else:
                mine.merge(theirs)

    def read_ones(self) -> Iterable[MeterBook]:
        """Return those of which any energy is known."""
        return [book for book in self.values() if book.was_read]
