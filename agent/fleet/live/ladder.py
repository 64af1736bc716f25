"""The ladder of boundaries: GPU, node, IT, facility, grid; every number names its own.

    node     = sum over strata of hosts that are on * (level + slope * (GPU power per host - pivot))
    it       = node * (1 + other) + other_w        network, storage, CPU nodes
    facility = it + (PUE - 1) it
    grid     = facility / (1 - loss)

Errors of the sample, of the meters' shared gain, of each node model and of each site's figures are independent of
one another; they travel up together (`agent.fleet.boundary.ranges`). What several sites share (the meters' gain, a node
model) moves all of them at once, so that it enters their sum once; a site's own interval has all that touches the site.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.fleet.boundary.pue import overhead
from wattshed.agent.fleet.boundary.ranges import Range

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from wattshed.agent.fleet.live.inventory import Inventory, Site, Stratum

BOUNDARIES = ("gpu", "node", "it", "facility", "grid")

_NODE_GAIN = "gain of nodes' meters"
_PLACE = Range(0.0, -1.0, 1.0)
"""Where a draw is between its low (-1) and its high (1): GPU power and hosts move together."""


@dataclass(frozen=True, slots=True)
class Power:
    """Power at a boundary; bounds are None where the sample gives no interval."""

    boundary: str
    mean_w: float
    lower_w: float | None
    upper_w: float | None


@dataclass(frozen=True, slots=True)
class Draw:
    """What some hosts of a stratum draw.

    Attributes
    ----------
    stratum, key : str
        Draws with the same key have one error: they are low together, and high together.
    gpu_w : Range, W
        GPU power of these hosts.
    hosts : Range
        How many of them are on and have a node's fixed power; low where ``gpu_w`` is.
    bounded : bool
        Whether the range is an interval at all.
    node_w : float or None, W
        Power of these nodes where their own meters were read; None: by the stratum's node model.
    node_sigma : float
        One sigma of the gain that such meters share.
    """

    stratum: str
    key: str
    gpu_w: Range
    hosts: Range
    bounded: bool = True
    node_w: float | None = None
    node_sigma: float = 0.0


@dataclass(frozen=True, slots=True)
class Ladder:
    """Power at each boundary, of the fleet and of each site."""

    fleet: tuple[Power, ...]
    sites: Mapping[str, tuple[Power, ...]]


class _SiteRungs:
    """One site, and which inputs it has."""

    def __init__(self, site: Site, draws: Sequence[tuple[Draw, Stratum]]) -> None:
        self.site = site
        self.bounded = all(draw.bounded for draw, _ in draws)
        self._draws = [
            (draw, stratum, f"draw {draw.key}", _node_key(stratum, "level"), _node_key(stratum, "slope"))
            for draw, stratum in draws
        ]
        self._other, self._pue, self._loss = (f"{part} {site.name}" for part in ("other", "pue", "loss"))

    def inputs(self, scale: float) -> dict[str, Range]:
        """Name -> range; those of the inventory are intervals of 95 %, to be stretched by ``scale``."""
        inputs: dict[str, Range] = {}
        for draw, stratum, place, level, slope in self._draws:
            inputs[place] = Range.exact(0.0) if draw.gpu_w.is_exact and draw.hosts.is_exact else _PLACE
            # Strata with the same node model share its error, so they share its name here.
            inputs[level] = stratum.node.level_w.stretched(scale)
            inputs[slope] = stratum.node.slope.stretched(scale)
            if draw.node_sigma:
                inputs[_NODE_GAIN] = Range.relative(1.0, 1.959963984540054 * scale * draw.node_sigma)
            if stratum.live and stratum.node.residual_w and draw.node_w is None:
                off_w = 1.959963984540054 * scale * stratum.node.residual_w * math.sqrt(max(draw.hosts.value, 0.0))
                inputs[f"residual {place}"] = Range(0.0, -off_w, off_w)
        inputs[self._other] = self.site.other_it.stretched(scale)
        inputs[self._pue] = overhead(self.site.pue).stretched(scale)
        inputs[self._loss] = self.site.grid_loss.stretched(scale, most=0.99)
        return inputs

    def powers(self, x: Mapping[str, float]) -> tuple[float, ...]:
        """Power at each boundary for one set of inputs, W."""
        gpu = node = 0.0
        gain = x["gain"]
        for draw, stratum, place, level, slope in self._draws:
            if at := x[place]:
                watts, hosts = draw.gpu_w.at(at) * gain, draw.hosts.at(at)
            else:
                watts, hosts = draw.gpu_w.value * gain, draw.hosts.value
            gpu += watts
            if draw.node_w is None:
                node += hosts * (x[level] - x[slope] * stratum.node.pivot_w) + x[slope] * watts
                node += x.get(f"residual {place}", 0.0)
            else:
                node += draw.node_w * (x[_NODE_GAIN] if draw.node_sigma else 1.0)
        it = node * (1.0 + x[self._other]) + self.site.other_it_w
        facility = it if it <= 0.0 else it * (1.0 + (self.site.pue.at(it) - 1.0) * x[self._pue])
        return gpu, node, it, facility, facility / (1.0 - x[self._loss])


def _node_key(stratum: Stratum, part: str) -> str:
    return f"{part} {stratum.node!r}"


def climb(inventory: Inventory, draws: Iterable[Draw], gain: Range, *, confidence: float = 0.95) -> Ladder:
    """Power of the fleet and of each of its sites at every boundary.

    Parameters
    ----------
    inventory : Inventory
    draws : iterable of Draw
        What the hosts draw, with intervals at ``confidence``.
    gain : Range
        About 1: the factor that all meters share, with an interval at ``confidence``.
    confidence : float
        Of the interval; those that the inventory gives are taken for 95 %, and normal.
    """
    scale = NormalDist().inv_cdf(0.5 + confidence / 2.0) / NormalDist().inv_cdf(0.975)
    sites = _by_site(inventory, draws)
    inputs, touched = {"gain": gain}, {"gain": list(range(len(sites)))}
    for i, site in enumerate(sites):
        for name, found in site.inputs(scale).items():
            inputs[name] = found
            touched.setdefault(name, []).append(i)
    x = {name: found.value for name, found in inputs.items()}
    central = np.array([site.powers(x) for site in sites])
    squares = np.zeros((2, len(sites) + 1, len(BOUNDARIES)))  # downward and upward; the last row is the fleet
    for name, found in inputs.items():
        if found.is_exact:
            continue
        rows = touched[name]
        moved = np.empty((2, len(rows), len(BOUNDARIES)))
        for end, value in enumerate((found.low, found.high)):
            x[name] = value
            moved[end] = [sites[i].powers(x) for i in rows]
        x[name] = found.value
        moved -= central[rows]
        for at, change in ((rows, moved), (-1, moved.sum(axis=1))):
            squares[0, at] += np.minimum(np.minimum(change[0], change[1]), 0.0) ** 2
            squares[1, at] += np.maximum(np.maximum(change[0], change[1]), 0.0) ** 2
    down, up = np.sqrt(squares)
    return Ladder(
        _powers(central.sum(axis=0), down[-1], up[-1], bounded=all(site.bounded for site in sites)),
        {site.site.name: _powers(central[i], down[i], up[i], bounded=site.bounded) for i, site in enumerate(sites)},
    )


def _by_site(inventory: Inventory, draws: Iterable[Draw]) -> list[_SiteRungs]:
    strata = {stratum.name: stratum for stratum in inventory.strata}
    of_site: dict[str, list[tuple[Draw, Stratum]]] = {site.name: [] for site in inventory.sites}
    for draw in draws:
        stratum = strata[draw.stratum]
        of_site[stratum.site].append((draw, stratum))
    return [_SiteRungs(site, of_site[site.name]) for site in inventory.sites]


def _powers(
    mean: NDArray[np.float64], down: NDArray[np.float64], up: NDArray[np.float64], *, bounded: bool
) -> tuple[Power, ...]:
    return tuple(
        Power(
            boundary, float(w), max(float(w - below), 0.0) if bounded else None, float(w + above) if bounded else None
        )
        for boundary, w, below, above in zip(BOUNDARIES, mean, down, up, strict=True)
    )
