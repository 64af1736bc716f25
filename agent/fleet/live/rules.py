"""What a server knows of the fleet: its recording rules, one series a host, and never raw samples (docs/fleet.md)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from wattshed.agent.fleet.live.node_fits import NodeFits, Nodes
from wattshed.agent.fleet.live.states import STATES, HostIndex, HostState
from wattshed.agent.wire.query import Point, Prometheus, ServerError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sized

    from wattshed.agent.fleet.live.inventory import Inventory

POWER_RULE = "wattshed:host_gpu_power_watts"
GPUS_RULE = "wattshed:host_gpus"
STATE_RULE = "wattshed:host_state"
"""The recording rules that are read (docs/fleet.md); a label ``host`` wins over ``instance``."""


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
    gpus, find = {s.name: s.gpus_per_host for s in inventory.strata}, inventory.finder()
    powers: dict[str, dict[str, float]] = {}
    strangers: list[str] = []
    partial: list[str] = []
    invented: list[str] = []
    double = 0
    for point in points:
        host = _host(point.labels)
        if point.labels.get("simulated"):
            invented.append(host)
            continue
        name = find(point.labels.get("stratum", ""), host)
        if name is None or not host or point.value < 0.0:
            strangers.append(host)
            continue
        watts, seen = point.value, counts.get(host)
        if seen is not None and 0 < seen < gpus[name]:
            # A host with a lost GPU stands for whole ones: its other GPUs say what that one would draw.
            watts *= gpus[name] / seen
            partial.append(host)
        double += host in powers.setdefault(name, {})
        powers[name][host] = watts
    said = _complaints(server.url, points, {"simulated": invented, "strange": strangers, "partial": partial}, double)
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
    for kind, what in (
        ("simulated", "are simulated and left out"),
        ("strange", "are in no stratum of the inventory and left out"),
        ("partial", "report fewer GPUs than they have and are scaled up"),
    ):
        if odd[kind]:
            yield f"{len(odd[kind])} hosts {what} (such as {odd[kind][0]!r})"
    if double:
        yield f"{double} hosts have more than one series of {POWER_RULE}; the last was taken, check the rules' labels"


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
