"""What a job did, as one text beside who it is: in the history's database, and from agents to a collector."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wattshed.exporters.snapshot import WorkFacts
from wattshed.exporters.units import HNJ_PER_JOULE

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


def work_of_hosts(
    hosts: Iterable[tuple[WorkDone | None, int]], relative_sigma: float
) -> tuple[list[WorkFacts], int | None]:
    """Add up what a job did on its hosts; a host that did nothing of a unit has a part in its energy.

    Parameters
    ----------
    hosts : iterable of (WorkDone or None, int)
        With what the job used there, hnj.
    relative_sigma : float
        One sigma of the job's energy, by that energy.

    Returns
    -------
    (list of WorkFacts, int or None)
        And what it used while it waited for requests, hnj.
    """
    hosts = list(hosts)
    keys = list(dict.fromkeys(key for done, _ in hosts if done is not None for key in done.units))
    found = []
    for unit, source in keys:
        count = energy = variance = 0
        for done, used_hnj in hosts:
            one = done.units.get((unit, source)) if done is not None else None
            count += one.count if one is not None else 0
            energy += one.energy_hnj if one is not None else used_hnj
            variance += one.variance if one is not None else 0
        sigma = math.hypot(relative_sigma, math.sqrt(variance) / count) if count else None
        found.append(WorkFacts(unit, source, count, energy, sigma))
    known = [done.waiting_hnj for done, _ in hosts if done is not None and done.waiting_hnj is not None]
    return found, sum(known) if known else None


def relative(sigma_j: float, energy_hnj: int) -> float:
    """Return one sigma of an energy (J) by that energy (hnj); 0 of nothing."""
    return sigma_j * HNJ_PER_JOULE / energy_hnj if energy_hnj else 0.0
