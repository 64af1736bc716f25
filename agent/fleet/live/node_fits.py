"""Node models fitted to the fleet's own nodes: where hosts have a meter of their node, for those that have none.

The server sums up 24 hours of means over a minute, so that no raw sample travels; the line is fitted to the sums. A
BMC is late and averages, which moves slopes by some per cent over shorter stretches, and a fleet whose power hardly
changes tells nothing of the slope: then the model stays the assumed one.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wattshed.agent.fleet.boundary.ranges import Range
from wattshed.agent.fleet.estimate.node_model import NodeModel
from wattshed.agent.fleet.estimate.student import quantile
from wattshed.agent.wire.query import ServerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from wattshed.agent.wire.query import Prometheus

NODE_RULE = "wattshed:host_node_power_watts"
"""One series a host that has a meter of its node (docs/fleet.md)."""
GPU_RULE = "wattshed:host_gpu_power_watts"
DAY_MINUTES = 1440
FEWEST_MINUTES = 1200
LEAST_SPREAD = 0.15
"""Standard deviation of the GPUs' power as a part of its mean."""
METER_SIGMA = 0.05
"""One sigma of the gain of nodes' meters: what BMCs are known for (docs/accuracy.md)."""
MOST_NODE_W = 200_000.0
"""No node draws as much: more is garbage."""
EVERY_S = 600.0
_STRETCH = 60  # minutes of a host that count as one independent residual: jobs last
_SUMS = {
    "n": "count_over_time(({x} * {y})[24h:1m])",
    "x": "sum_over_time(({x} + 0 * {y})[24h:1m])",
    "y": "sum_over_time(({y} + 0 * {x})[24h:1m])",
    "xx": "sum_over_time(({x} * {x} + 0 * {y})[24h:1m])",
    "xy": "sum_over_time(({x} * {y})[24h:1m])",
    "yy": "sum_over_time(({y} * {y} + 0 * {x})[24h:1m])",
}
LAGS_S = (0, 10, 20, 30)
"""By how much nodes' meters may be behind the GPUs."""
LOOKED_S = 86_400.0
"""For so long a stratum's lag holds: a look for it asks four times as much of the server."""


@dataclass(slots=True)
class MinuteSums:
    """Sums over minutes of hosts: GPU power x and node power y, W, and their products."""

    n: float = 0.0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    xy: float = 0.0
    yy: float = 0.0

    def see(self, minutes: float, x: float, y: float) -> None:
        """Add a mean over so many minutes."""
        for name, value in zip(_SUMS, (1.0, x, y, x * x, x * y, y * y), strict=True):
            setattr(self, name, getattr(self, name) + minutes * value)

    @property
    def plain(self) -> list[float]:
        """All of them, in order."""
        return [getattr(self, name) for name in _SUMS]

    def add(self, other: MinuteSums) -> None:
        """Add those of another host."""
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))


def line(hosts: Iterable[MinuteSums]) -> NodeModel | str:
    """Fit one line to the minutes of all hosts; returns why not, where they do not allow it.

    Returns
    -------
    NodeModel or str
        With 95 % intervals: of the fit, an hour of a host counting as one independent residual, and of the gain that
        the nodes' meters share.
    """
    hosts = [one for one in hosts if one.n >= FEWEST_MINUTES]
    if not hosts:
        return f"no host with a meter of its node has {FEWEST_MINUTES} of the last {DAY_MINUTES} minutes"
    total = MinuteSums()
    for one in hosts:
        total.add(one)
    n, pivot, level = total.n, total.x / total.n, total.y / total.n
    spread = max(total.xx - n * pivot**2, 0.0)
    if pivot <= 0 or math.sqrt(spread / n) < LEAST_SPREAD * pivot:
        return f"GPU power changed by less than {LEAST_SPREAD:.0%} in 24 h"
    slope = (total.xy - n * pivot * level) / spread
    squares = max(total.yy - n * level**2 - slope * (total.xy - n * pivot * level), 0.0)
    independent = max(n / _STRETCH, 3.0)
    sd = math.sqrt(squares / n)
    half = quantile(0.95, max(independent - 2.0, 1.0)) * sd / math.sqrt(independent)
    gain = quantile(0.95, 1e9) * METER_SIGMA
    level_half, slope_half = math.hypot(half, gain * level), math.hypot(half / math.sqrt(spread / n), gain * slope)
    return NodeModel(
        Range(level, level - level_half, level + level_half),
        Range(slope, slope - slope_half, slope + slope_half),
        pivot,
        fitted=True,
        residual_w=sd,
        samples=round(n),
        gpu_share=total.x / total.y if total.y > 0 else math.nan,
    )


def aligned(by_lag: Mapping[int, Iterable[MinuteSums]]) -> tuple[int, NodeModel] | str:
    """Fit a line for each lag (s) of the nodes' meters, and return the one that leaves least unexplained, and its lag.

    A meter that is 10 to 20 s late makes the line of minutes that are taken together 1 to 5 % too flat where jobs last
    some minutes. Returns why there is none, where the minutes do not allow one.
    """
    lines = {lag: line(hosts) for lag, hosts in by_lag.items()}
    models = {lag: model for lag, model in lines.items() if not isinstance(model, str)}
    if not models:
        return next(str(why) for why in lines.values())
    best = min(models, key=lambda lag: models[lag].residual_w)
    return best, models[best]


def why_assumed(found: Mapping[str, object]) -> tuple[str, ...]:
    """Say of which strata no model is fitted, and why: those for which a text was found instead."""
    return tuple(
        f"stratum {stratum!r}: no node model is fitted ({why}); an assumed one is used"
        for stratum, why in found.items()
        if isinstance(why, str)
    )


def queries(lag_s: int) -> dict[str, str]:
    """Return what to ask for the sums, with the GPUs' power of so long before."""
    x = f"({GPU_RULE} offset {lag_s}s)" if lag_s else GPU_RULE
    return {name: text.format(x=x, y=NODE_RULE) for name, text in _SUMS.items()}


@dataclass(frozen=True, slots=True)
class Nodes:
    """What is known of nodes.

    Attributes
    ----------
    power_w : mapping of host -> W
        By their own meters, now.
    models : mapping of stratum -> NodeModel
    warnings : tuple of str
    """

    power_w: Mapping[str, float] = field(default_factory=dict)
    models: Mapping[str, NodeModel] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


class NodeFits:
    """Asks a server for the nodes' power, and every ten minutes for what to fit.

    Parameters
    ----------
    server : Prometheus
    stratum_of : callable
        Says of a host's stratum label and name in which stratum with ``node = "live"`` it is; None: in none.
    clock : callable
        Monotonic seconds.
    """

    def __init__(
        self,
        server: Prometheus,
        stratum_of: Callable[[str, str], str | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._server, self._stratum_of, self._clock = server, stratum_of, clock
        self._fitted_s = self._looked_s = -math.inf
        self._lags: dict[str, int] = {}  # of a stratum
        self._models: dict[str, NodeModel] = {}
        self._said: tuple[str, ...] = ()

    def ask(self, strata: Iterable[str]) -> Nodes:
        """Return what is known now; ``strata`` are those that want a model."""
        try:
            power_w = {_host(p.labels): p.value for p in self._server.query(NODE_RULE) if not p.labels.get("simulated")}
            if self._clock() - self._fitted_s >= EVERY_S:
                self._fit(strata)
        except ServerError as error:
            return Nodes(models=self._models, warnings=(f"{error}; node meters were not read", *self._said))
        return Nodes({host: watts for host, watts in power_w.items() if watts > 0}, self._models, self._said)

    def _fit(self, strata: Iterable[str]) -> None:
        look = self._clock() - self._looked_s >= LOOKED_S
        lags = {stratum: LAGS_S if look else (self._lags.get(stratum, 0),) for stratum in strata}
        sums = {lag: self._sums(lag) for lag in sorted({lag for those in lags.values() for lag in those})}
        found = {
            stratum: aligned({lag: sums[lag].get(stratum, {}).values() for lag in those})
            for stratum, those in lags.items()
        }
        fitted = {stratum: fit for stratum, fit in found.items() if not isinstance(fit, str)}
        self._models = {stratum: model for stratum, (_, model) in fitted.items()}
        if look:
            self._lags, self._looked_s = {stratum: lag for stratum, (lag, _) in fitted.items()}, self._clock()
        self._said = why_assumed(found)
        self._fitted_s = self._clock()

    def _sums(self, lag_s: int) -> dict[str, dict[str, MinuteSums]]:
        """Return the sums by stratum and host."""
        hosts: dict[str, dict[str, MinuteSums]] = {}
        for name, query in queries(lag_s).items():
            for point in self._server.query(query):
                host = _host(point.labels)
                stratum = self._stratum_of(point.labels.get("stratum", ""), host)
                if stratum is not None and not point.labels.get("simulated"):
                    setattr(hosts.setdefault(stratum, {}).setdefault(host, MinuteSums()), name, point.value)
        return hosts


def _host(labels: Mapping[str, str]) -> str:
    return labels.get("host") or labels.get("instance", "")
