"""What a job did, as one text beside who it is: in the history's database, and from agents to a collector."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from wattshed.exporters.units import HNJ_PER_JOULE
from wattshed.exporters.work_facts import WorkFacts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MOST_WORK = 4000
"""Characters of a job's work."""


@dataclass(frozen=True, slots=True)
class UnitDone:
    """How much of a unit was done, the energy meanwhile (hnj), and the variance of the count."""

    count: int
    energy_hnj: int
    variance: int

    def plus(self, other: UnitDone) -> UnitDone:
        """Return the sum."""
        return UnitDone(self.count + other.count, self.energy_hnj + other.energy_hnj, self.variance + other.variance)

    def facts(self, unit: str, source: str, relative_sigma: float) -> WorkFacts:
        """Tell the energy of one; ``relative_sigma`` is one sigma of the energy, by that energy."""
        sigma = math.hypot(relative_sigma, math.sqrt(self.variance) / self.count) if self.count else None
        return WorkFacts(unit, source, self.count, self.energy_hnj, sigma)


@dataclass(frozen=True, slots=True)
class WorkDone:
    """What a job did on one host.

    Attributes
    ----------
    units : mapping of (str, str) to UnitDone
        By unit and source.
    waiting_hnj : int or None, hnj
        Used while no server of it had a request.
    """

    units: Mapping[tuple[str, str], UnitDone] = field(default_factory=dict)
    waiting_hnj: int | None = None

    def text(self) -> str:
        """Write it; energies are decimal strings, for readers whose numbers are floats."""
        units = [[*key, one.count, str(one.energy_hnj), str(one.variance)] for key, one in self.units.items()]
        waiting = None if self.waiting_hnj is None else str(self.waiting_hnj)
        return json.dumps([units, waiting], separators=(",", ":"))

    @classmethod
    def read(cls, text: str) -> WorkDone:
        """Read what `text` wrote.

        Raises
        ------
        ValueError
            It is another thing.
        """
        try:
            units, waiting = json.loads(text)
            found = {
                (str(unit), str(source)): UnitDone(int(count), int(energy), int(variance))
                for unit, source, count, energy, variance in units
            }
            return cls(found, None if waiting is None else int(waiting))
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(f"is not the work of a job ({error})") from None


def on_all_hosts(hosts: Iterable[tuple[WorkDone | None, int]]) -> WorkDone:
    """Add up what a job did on its hosts; a host that did nothing of a unit has a part in its energy.

    Parameters
    ----------
    hosts : iterable of (WorkDone or None, int)
        With what the job used there, hnj.
    """
    hosts = list(hosts)
    whole = sum_of_work(done for done, _ in hosts if done is not None)
    units = {}
    for key, one in whole.units.items():
        elsewhere = sum(used_hnj for done, used_hnj in hosts if done is None or key not in done.units)
        units[key] = replace(one, energy_hnj=one.energy_hnj + elsewhere)
    return WorkDone(units, whole.waiting_hnj)


def sum_of_work(several: Iterable[WorkDone]) -> WorkDone:
    """Add up, unit by unit."""
    units: dict[tuple[str, str], UnitDone] = {}
    waiting: int | None = None
    for done in several:
        for key, one in done.units.items():
            units[key] = units[key].plus(one) if key in units else one
        if done.waiting_hnj is not None:
            waiting = (waiting or 0) + done.waiting_hnj
    return WorkDone(units, waiting)


def relative(sigma_j: float, energy_hnj: int) -> float:
    """Return one sigma of an energy (J) by that energy (hnj); 0 of nothing."""
    return sigma_j * HNJ_PER_JOULE / energy_hnj if energy_hnj else 0.0
