"""The ladder of boundaries: GPU, node, IT, facility, grid; every number names its own.

    node     = sum over strata of hosts * (level + slope * (GPU power per host - pivot))
    it       = node * (1 + other) + other_w        network, storage, CPU nodes
    facility = it + (PUE - 1) it
    grid     = facility / (1 - loss)

Errors of the sample, of the meters' shared gain, of each node model and of each site's figures are independent of
one another; they travel up together (`agent.fleet.boundary.ranges`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wattshed.agent.fleet.boundary.pue import overhead
from wattshed.agent.fleet.boundary.ranges import Range, combine

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wattshed.agent.fleet.live.inventory import Inventory, Site

BOUNDARIES = ("gpu", "node", "it", "facility", "grid")


@dataclass(frozen=True, slots=True)
class Power:
    """Power at a boundary; bounds are None where the sample gives no interval."""

    boundary: str
    mean_w: float
    lower_w: float | None
    upper_w: float | None


def climb(inventory: Inventory, gpu_w: Mapping[str, Range], gain: Range, *, bounded: bool) -> tuple[Power, ...]:
    """Power of the fleet at every boundary.

    Parameters
    ----------
    inventory : Inventory
    gpu_w : mapping of stratum -> Range, W
        GPU power of each stratum with its sampling interval.
    gain : Range
        About 1: the factor that all meters share.
    bounded : bool
        Whether there is an interval at all.
    """
    inputs = _inputs(inventory, gpu_w, gain)
    powers = []
    for boundary in BOUNDARIES:

        def total(x: Mapping[str, float], boundary: str = boundary) -> float:
            return sum(site_power(inventory, site, boundary, x) for site in inventory.sites)

        found = combine(total, inputs)
        powers.append(
            Power(boundary, found.value, max(found.low, 0.0) if bounded else None, found.high if bounded else None)
        )
    return tuple(powers)


def _inputs(inventory: Inventory, gpu_w: Mapping[str, Range], gain: Range) -> dict[str, Range]:
    inputs = {"gain": gain, **{f"gpu {name}": power for name, power in gpu_w.items()}}
    for stratum in inventory.strata:
        # Strata with the same node model share its error, so they share its name here.
        inputs[_node_key(stratum.node, "level")] = stratum.node.level_w
        inputs[_node_key(stratum.node, "slope")] = stratum.node.slope
    for site in inventory.sites:
        inputs[f"other {site.name}"] = site.other_it
        inputs[f"pue {site.name}"] = overhead(site.pue)
        inputs[f"loss {site.name}"] = site.grid_loss
    return inputs


def _node_key(node: object, part: str) -> str:
    return f"{part} {node!r}"


def site_power(inventory: Inventory, site: Site, boundary: str, x: Mapping[str, float]) -> float:
    """Watts of one site at a boundary, for one set of inputs."""
    rung = BOUNDARIES.index(boundary)
    gpu = node = 0.0
    for stratum in (s for s in inventory.strata if s.site == site.name):
        watts = x.get(f"gpu {stratum.name}", 0.0) * x["gain"]
        gpu += watts
        level, slope = x[_node_key(stratum.node, "level")], x[_node_key(stratum.node, "slope")]
        node += stratum.hosts * (level - slope * stratum.node.pivot_w) + slope * watts
    if rung == 0:
        return gpu
    it = node if rung == 1 else node * (1.0 + x[f"other {site.name}"]) + site.other_it_w
    if rung <= 2 or it <= 0.0:
        return it
    facility = it * (1.0 + (site.pue.at(it) - 1.0) * x[f"pue {site.name}"])
    return facility if rung == 3 else facility / (1.0 - x[f"loss {site.name}"])
