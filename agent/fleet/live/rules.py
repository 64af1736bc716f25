"""What a server knows of the fleet: its recording rules, one series a host, and never raw samples (docs/fleet.md)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from wattshed.agent.fleet.live.node_fits import NodeFits, Nodes
from wattshed.agent.fleet.live.responses import typical_gpu_w
from wattshed.agent.fleet.live.states import STATES, HostIndex, HostState
from wattshed.agent.wire.query import Point, Prometheus, ServerError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sized

    from wattshed.agent.fleet.live.inventory import Inventory

POWER_RULE = "wattshed:host_gpu_power_watts"
GPUS_RULE = "wattshed:host_gpus"
STATE_RULE = "wattshed:host_state"
"""The recording rules that are read (docs/fleet.md); a label ``host`` wins over ``instance``."""


_MOST_GPU_W = 20_000.0
"""No GPU draws more, W: it is no reading, as elsewhere."""

_FAR_ABOVE = 3.0
"""Times a board's design power: its model, or the unit of the rule, is in doubt."""

_ODD = {
    "simulated": "that are simulated, left out",
    "strange": "that are in no stratum of the inventory, left out",
    "unusable": f"with a power below 0 W or above {_MOST_GPU_W / 1e3:g} kW a GPU, left out",
    "partial": "that report fewer GPUs than they have, scaled up",
    "large": (
        f"that draw more than {_FAR_ABOVE:g} times the design power of their boards; check the model in the inventory, "
        "and the unit of the rule"
    ),
}


@dataclass(frozen=True, slots=True)
class Measured:
    """What is known of the hosts.

    Attributes
    ----------
    powers : mapping
        Stratum -> host -> GPU power of the hosts that answer, W.
    warnings : tuple of str
        What was wrong with the rest.
    states : mapping of host -> HostState
        Of hosts that answer and others, in names of their own (`agent.fleet.live.states.HostIndex`).
    nodes : Nodes
        Power of nodes by their own meters, and models fitted to them.
    """

    powers: Mapping[str, Mapping[str, float]]
    warnings: tuple[str, ...] = ()
    states: Mapping[str, HostState] = field(default_factory=dict)
    nodes: Nodes = field(default_factory=Nodes)


def ask(server: Prometheus, inventory: Inventory) -> Measured:
    """Read the recording rules; a dead server measures nothing, and a warning says so."""
    try:
        points = server.query(POWER_RULE)
        counts = {_host(p.labels): p.value for p in server.query(GPUS_RULE)}
        states = _states(server.query(STATE_RULE))
    except ServerError as error:
        return Measured({}, (f"{error}; nothing was measured",))
    strata, find = {s.name: s for s in inventory.strata}, inventory.finder()
    powers: dict[str, dict[str, float]] = {}
    odd: dict[str, list[str]] = {kind: [] for kind in _ODD}
    double = 0
    for point in points:
        host = _host(point.labels)
        if point.labels.get("simulated"):
            odd["simulated"].append(host)
            continue
        name = find(point.labels.get("stratum", ""), host)
        if name is None or not host:
            odd["strange"].append(host)
            continue
        gpus = strata[name].gpus_per_host
        if not 0.0 <= point.value <= _MOST_GPU_W * max(gpus, 1):
            odd["unusable"].append(host)
            continue
        watts, seen = point.value, counts.get(host)
        if seen is not None and 0 < seen < gpus:
            # A host with a lost GPU stands for whole ones: its other GPUs say what that one would draw.
            watts *= gpus / seen
            odd["partial"].append(host)
        if watts > _FAR_ABOVE * typical_gpu_w(strata[name]).high * max(gpus, 1):
            odd["large"].append(host)
        double += host in powers.setdefault(name, {})
        powers[name][host] = watts
    said = _complaints(server.url, points, odd, double)
    return Measured(powers, tuple(said), states)


def _states(points: Iterable[Point]) -> dict[str, HostState]:
    """States by the rule: one series a host, with the state as a label, and a value other than 0."""
    return {
        _host(p.labels): HostState(p.labels["state"], p.labels.get("stratum", ""))
        for p in points
        if p.value and p.labels.get("state") in STATES and not p.labels.get("simulated")
    }


def fits_of(server: Prometheus, inventory: Inventory) -> NodeFits | None:
    """Return what fits node models to the fleet's own meters; None where no stratum wants one."""
    live, find = {s.name for s in inventory.strata if s.live}, inventory.finder()

    def stratum_of(label: str, host: str) -> str | None:
        name = find(label, host)
        return name if name in live else None

    return NodeFits(server, stratum_of) if live else None


def survey(server: Prometheus, inventory: Inventory, fits: NodeFits | None = None) -> Measured:
    """Read the recording rules, the nodes' meters, and the states of hosts from wherever the inventory says.

    Raises
    ------
    InputError
        If the inventory's file of states is wrong.
    """
    measured = ask(server, inventory)
    if fits is not None:
        nodes = fits.ask([s.name for s in inventory.strata if s.live])
        measured = replace(measured, nodes=nodes, warnings=(*measured.warnings, *nodes.warnings))
    if inventory.states is None:
        return measured
    theirs, said = inventory.states.hosts()
    named = HostIndex(theirs)
    # What the scheduler says of a host outweighs what a rule does, which may only see that it does not answer.
    states = {host: state for host, state in measured.states.items() if named.find(host) is None} | theirs
    answering, find = HostIndex(h for hosts in measured.powers.values() for h in hosts), inventory.finder()
    silent = {
        host: state
        for host, state in states.items()
        if answering.find(host) is None and find(state.stratum, host) is not None
    }
    asked, more = inventory.states.asked_of_bmcs(silent)
    return replace(measured, states=states | asked, warnings=(*measured.warnings, *said, *more))


def _complaints(url: str, points: Sized, odd: Mapping[str, list[str]], double: int) -> Iterator[str]:
    """Say what was not taken as it stands."""
    if not points:
        yield f"{url} has no series {POWER_RULE}; load the recording rules, and check that hosts are scraped"
    for kind, what in _ODD.items():
        if hosts := odd[kind]:
            yield f"hosts {what}: {len(hosts):,} (such as {hosts[0]!r})"
    if double:
        yield f"hosts with several series of {POWER_RULE}, of which the last was taken: {double:,}; check its labels"


def _host(labels: Mapping[str, str]) -> str:
    return labels.get("host") or labels.get("instance", "")


def measure_one(inventory: Inventory, host: str, gpu_w: float, stratum: str = "") -> Measured:
    """Take one host for all that is measured: what a daemon with an inventory knows by itself.

    ``gpu_w`` is the mean power of the host's GPUs, W; ``stratum`` its own, or empty to go by the host's name.
    """
    name = inventory.finder()(stratum, host)
    if name is None:
        return Measured({}, (f"host {host!r} is in no stratum of the inventory; give its stratum a match expression",))
    return Measured({name: {host: gpu_w}})
