"""What one host can say about its fleet: its own power, extrapolated with an inventory, and without an interval."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wattshed.agent.fleet.live.inventory import read_inventory
from wattshed.agent.fleet.live.rules import measure_one
from wattshed.agent.fleet.live.serve import FleetPublisher
from wattshed.agent.fleet.live.site import extrapolate
from wattshed.exporters.units import HNJ_PER_JOULE
from wattshed.exporters.web.history import PATIENCE, covered_s

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wattshed.agent.fleet.live.site import FleetEstimate
    from wattshed.exporters.snapshot import FleetFacts, GpuFacts

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
        self._before: tuple[int, dict[str, tuple[int, int]]] | None = None  # us, and by GPU: hnj, us
        self._publisher = FleetPublisher(self._inventory, self._estimate)

    def facts(self, time_us: int, gpus: Sequence[GpuFacts]) -> FleetFacts | None:
        """Return the extrapolation, renewed every ten seconds, or less often where readings are rare.

        Parameters
        ----------
        time_us : int, us
        gpus : sequence of GpuFacts
            All the host's; each one's power is its joules over the time that they cover. What is a module's energy,
            CPU included, is no GPU's: left out.
        """
        gpus = [gpu for gpu in gpus if gpu.boundary == "board"]
        now = {gpu.uuid: (gpu.energy_hnj, gpu.covered_us) for gpu in gpus}
        if self._before is None:
            self._before = time_us, now
        elif time_us - self._before[0] >= EVERY_US:
            then = self._before[1]
            seconds = covered_s(now, then)
            late = [g for g in gpus if g.up and g.energy_source != "none" and g.uuid in then and g.uuid not in seconds]
            if seconds and (not late or time_us - self._before[0] >= PATIENCE * EVERY_US):
                joules = {uuid: (now[uuid][0] - then[uuid][0]) / HNJ_PER_JOULE for uuid in seconds}
                self._power_w = sum(joules[uuid] / seconds[uuid] for uuid in seconds)
                self._before = time_us, now
                self._publisher.update()
        return self._publisher.snapshot.fleet

    def _estimate(self) -> FleetEstimate:
        return extrapolate(self._inventory, measure_one(self._inventory, self._host, self._power_w))
