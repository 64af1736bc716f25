"""What one host can say about its fleet: its own power, extrapolated with an inventory, and without an interval."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from wattshed.agent.fleet.live.inventory import read_inventory
from wattshed.agent.fleet.live.node_fits import EVERY_S, Nodes, why_assumed
from wattshed.agent.fleet.live.node_minutes import NodeMinutes
from wattshed.agent.fleet.live.rules import measure_one
from wattshed.agent.fleet.live.serve import FleetPublisher
from wattshed.agent.fleet.live.site import extrapolate
from wattshed.exporters.units import HNJ_PER_JOULE, MICRO
from wattshed.exporters.web.history import PATIENCE, covered_s

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from wattshed.agent.fleet.live.site import FleetEstimate
    from wattshed.exporters.snapshot import FleetFacts, GpuFacts, NodeFacts

LOG = logging.getLogger(__name__)
EVERY_US = 10_000_000
NODE_LIFE_US = 60_000_000
"""For so long the power by the node's meter holds, which may be read every half minute."""


class _Seen(NamedTuple):
    """The host at a time: (hnj, us covered) of each GPU, and its node."""

    time_us: int
    gpus: Mapping[str, tuple[int, int]]
    node: NodeFacts | None


class OneHost:
    """The fleet as a daemon with an inventory sees it.

    Parameters
    ----------
    inventory : str
        Path of a FLEET.toml.
    host : str
        Found in a stratum by the strata's match expressions.
    kept : Path, optional
        Where what the node model is fitted to outlives a restart.

    Raises
    ------
    InputError
        The inventory cannot be used.
    """

    def __init__(self, inventory: str, host: str, kept: Path | None = None) -> None:
        self._inventory, self._host, self._kept = read_inventory(inventory), host, kept
        self._power_w = 0.0
        self._node_w: tuple[int, float] | None = None  # us, and W by the node's meter
        self._before: _Seen | None = None
        self._minutes, self._nodes, self._fitted_us = NodeMinutes(), Nodes(), -math.inf
        self._live = tuple(s.name for s in self._inventory.strata if s.live)
        if self._live and kept is not None:
            try:
                self._minutes.load(kept)
            except FileNotFoundError:
                pass
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                LOG.warning("%s cannot be used, so the node model begins anew: %s", kept, error)
        self._publisher = FleetPublisher(self._inventory, self._estimate)

    def facts(self, time_us: int, gpus: Sequence[GpuFacts], node: NodeFacts | None = None) -> FleetFacts | None:
        """Return the extrapolation, renewed every ten seconds, or less often where readings are rare.

        Parameters
        ----------
        time_us : int, us
        gpus : sequence of GpuFacts
            All the host's; each one's power is its joules over the time that they cover. What is a module's energy,
            CPU included, is no GPU's: left out.
        node : NodeFacts, optional
            The whole node, if it has a meter: in a stratum with ``node = "live"`` it is measured by it, and a model of
            the others is fitted to it.
        """
        if self._live:
            self._minutes.see(time_us, gpus, node)
        gpus = [gpu for gpu in gpus if gpu.boundary == "board"]
        now = _Seen(time_us, {gpu.uuid: (gpu.energy_hnj, gpu.covered_us) for gpu in gpus}, node)
        if self._before is None:
            self._before = now
        elif time_us - self._before.time_us >= EVERY_US:
            then = self._before.gpus
            seconds = covered_s(now.gpus, then)
            late = [g for g in gpus if g.up and g.energy_source != "none" and g.uuid in then and g.uuid not in seconds]
            if seconds and (not late or time_us - self._before.time_us >= PATIENCE * EVERY_US):
                joules = {uuid: (now.gpus[uuid][0] - then[uuid][0]) / HNJ_PER_JOULE for uuid in seconds}
                self._power_w = sum(joules[uuid] / seconds[uuid] for uuid in seconds)
                self._see_node(now, self._before.node)
                self._before = now
                self._publisher.update()
        return self._publisher.snapshot.fleet

    def _see_node(self, now: _Seen, before: NodeFacts | None) -> None:
        """Note the node's power, and every ten minutes the model that its minutes give."""
        if not self._live:
            return
        node, time_us = now.node, now.time_us
        if node is not None and before is not None and before.meter == node.meter:
            covered_us = node.covered_us - before.covered_us
            if covered_us > 0:
                self._node_w = time_us, (node.node_hnj - before.node_hnj) / HNJ_PER_JOULE * MICRO / covered_us
        known = self._node_w is not None and time_us - self._node_w[0] <= NODE_LIFE_US
        power_w = {self._host: self._node_w[1]} if self._node_w is not None and known else {}
        if time_us - self._fitted_us >= EVERY_S * MICRO:
            self._fit(time_us)
        self._nodes = replace(self._nodes, power_w=power_w)

    def _fit(self, time_us: int) -> None:
        mine = self._inventory.finder()("", self._host)
        not_here = "this host is not in it, and has seen no other"
        found = {name: self._minutes.model(time_us) if name == mine else not_here for name in self._live}
        models = {name: model for name, model in found.items() if not isinstance(model, str)}
        self._nodes = Nodes(models=models, warnings=why_assumed(found))
        self._fitted_us = time_us
        if self._kept is not None:
            try:
                self._minutes.save(self._kept)
            except OSError as error:
                LOG.warning("a restart would begin the node model anew: %s", error)

    def _estimate(self) -> FleetEstimate:
        measured = measure_one(self._inventory, self._host, self._power_w)
        warnings = *measured.warnings, *self._nodes.warnings
        return extrapolate(self._inventory, replace(measured, nodes=self._nodes, warnings=warnings))
