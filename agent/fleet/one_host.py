"""What one host can say about its fleet: its own power, extrapolated with an inventory, and without an interval."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.fleet.inventory import read_inventory
from agent.fleet.live import extrapolate, measure_one
from agent.fleet.serve import Publisher
from exporters.snapshot import HNJ_PER_JOULE

if TYPE_CHECKING:
    from agent.fleet.live import FleetEstimate
    from exporters.snapshot import FleetFacts

EVERY_US = 10_000_000


class OneHost:
    """The fleet as a daemon with an inventory sees it.

    Parameters
    ----------
    inventory : str
        Path of a FLEET.toml.
    host : str
        Found in a stratum by the strata's match expressions.

    Raises
    ------
    InputError
        The inventory cannot be used.
    """

    def __init__(self, inventory: str, host: str) -> None:
        self._inventory, self._host = read_inventory(inventory), host
        self._power_w = 0.0
        self._before: tuple[int, int] | None = None  # us, hnj
        self._publisher = Publisher(self._inventory, self._estimate)

    def facts(self, time_us: int, energy_hnj: int) -> FleetFacts | None:
        """Return the extrapolation, renewed every ten seconds from the energy of all the host's GPUs since.

        Parameters
        ----------
        time_us : int, us
        energy_hnj : int, hnj
            Everything that the host's GPUs used so far.
        """
        if self._before is None:
            self._before = time_us, energy_hnj
        elif time_us - self._before[0] >= EVERY_US:
            self._power_w = (energy_hnj - self._before[1]) / HNJ_PER_JOULE / ((time_us - self._before[0]) / 1e6)
            self._before = time_us, energy_hnj
            self._publisher.update()
        return self._publisher.snapshot.fleet

    def _estimate(self) -> FleetEstimate:
        return extrapolate(self._inventory, measure_one(self._inventory, self._host, self._power_w))
