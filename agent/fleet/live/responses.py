"""Hosts by what they do: those that do not answer are no random sample, and one that is down draws no job's power.

In each stratum, hosts of one state (`agent.fleet.live.states`) that answer stand for those of the same state that do
not; how many these are is known (poststratification by known counts). Hosts that answer and draw what their state does
not allow are counted by themselves, and show how often states are wrong.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wattshed.agent.fleet.boundary.ranges import Range
from wattshed.agent.fleet.boundary.reference import find
from wattshed.agent.fleet.live.states import SORTED, STATES, HostIndex, HostState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from wattshed.agent.fleet.live.inventory import Inventory, Stratum
    from wattshed.agent.fleet.live.rules import Measured

FEWEST = 5
"""Answers that a state needs to stand for hosts that do not answer."""

ALL = "all"
"""Hosts of a stratum about whose states nothing is known: those that answer are taken for a random sample of them."""

RESTING = ("idle", "drained")
UNKNOWN_GPU = Range(400.0, 10.0, 1400.0)
"""A GPU of an unknown model, W."""


@dataclass(slots=True)
class StateGroup:
    """Hosts of one stratum in one state: all of them, and those that answer: host -> W."""

    stratum: Stratum
    state: str
    hosts: int = 0
    answers: dict[str, float] = field(default_factory=dict)
    pool: str = ""

    @property
    def key(self) -> str:
        """Groups of one key are one sample."""
        return self.pool or (self.stratum.name if self.state == ALL else f"{self.stratum.name} ({self.state})")

    @property
    def is_whole(self) -> bool:
        """Whether all of its hosts answer."""
        return len(self.answers) >= self.hosts


@dataclass(frozen=True, slots=True)
class Silent:
    """Hosts of a stratum that do not answer and for which no other stands, by what is known of them."""

    stratum: Stratum
    off: int = 0
    down: tuple[HostState, ...] = ()
    unknown: tuple[HostState, ...] = ()


@dataclass(frozen=True, slots=True)
class Responses:
    """All hosts of the fleet, sorted.

    Attributes
    ----------
    groups : tuple of StateGroup
    silent : tuple of Silent
    counts : mapping of state -> hosts
        Of hosts whose state is known; ``contradicted`` are apart. Empty where nothing is known of states.
    contradicted : tuple of (host, state, W)
    resting : int
        Hosts that answer and should be idle, the contradicted ones among them.
    surplus : mapping of stratum -> hosts
        That exist where the inventory has fewer.
    strangers : tuple of str
        Hosts with a state that are in no stratum.
    """

    groups: tuple[StateGroup, ...]
    silent: tuple[Silent, ...]
    counts: Mapping[str, int]
    contradicted: tuple[tuple[str, str, float], ...]
    resting: int
    surplus: Mapping[str, int]
    strangers: tuple[str, ...]


def typical_gpu_w(stratum: Stratum) -> Range:
    """Power of one GPU of a stratum that nobody measured, W: from idle to its design power."""
    known = find(stratum.model)
    return UNKNOWN_GPU if known is None else known.typical


def idle_gpu_w(stratum: Stratum) -> Range:
    """Power of one idle GPU, W: as the inventory says, or within a factor of two of the data sheet's."""
    if stratum.gpu_idle_w is not None:
        return stratum.gpu_idle_w
    known = find(stratum.model)
    if known is None:
        return Range(100.0, UNKNOWN_GPU.low, 250.0)
    return Range(known.idle_w, min(known.idle_w, known.typical.low), 2.0 * known.idle_w)


def sort_hosts(inventory: Inventory, measured: Measured) -> Responses:
    """Sort the hosts of the fleet by stratum, state, and whether they answer."""
    named, located = HostIndex(measured.states), inventory.finder()
    # A scheduler knows all hosts; a rule may tell only of those that do not answer.
    complete = any(state.state in SORTED for state in measured.states.values())
    answered: set[str] = set()
    strata = {s.name: _Stratum(s) for s in inventory.strata}
    for name, hosts in measured.powers.items():
        for host, watts in hosts.items():
            known = named.find(host)
            if known is not None:
                answered.add(known)
            strata[name].answers[host] = (watts, None if known is None else measured.states[known].state)
    strangers = []
    for host, state in measured.states.items():
        if host not in answered:
            where = located(state.stratum, host)
            if where is None:
                strangers.append(host)
            else:
                strata[where].silent.append(state)
    for stratum in strata.values():
        stratum.sort(complete=complete)
    every = list(strata.values())
    counts = {state: sum(s.counts.get(state, 0) for s in every) for state in (*STATES, "contradicted")}
    return Responses(
        tuple(_merged([g for s in every for g in s.groups])),
        tuple(s.apart for s in every),
        counts if measured.states else {},
        tuple(c for s in every for c in s.contradicted),
        sum(s.resting for s in every),
        {s.stratum.name: s.surplus for s in every if s.surplus > 0},
        tuple(strangers),
    )


class _Stratum:
    """The hosts of one stratum: those that answer, with W and state, and the states of others."""

    def __init__(self, stratum: Stratum) -> None:
        self.stratum = stratum
        self.answers: dict[str, tuple[float, str | None]] = {}
        self.silent: list[HostState] = []
        self.groups: list[StateGroup] = []
        self.apart = Silent(stratum)
        self.counts: dict[str, int] = {}
        self.contradicted: list[tuple[str, str, float]] = []
        self.resting = 0
        self.surplus = 0

    def sort(self, *, complete: bool) -> None:
        """Make groups of the hosts; ``complete`` says that whoever has no state is unknown to a scheduler."""
        rest = self.stratum.hosts - len(self.answers) - len(self.silent)
        self.surplus = max(-rest, 0)
        rest = max(rest, 0)
        groups = {state: StateGroup(self.stratum, state) for state in (ALL, *SORTED)}
        alone = StateGroup(self.stratum, "answering")
        ceilings = {state: self._ceiling_w(state) for state in STATES}
        for host, (watts, state) in self.answers.items():
            self.resting += state in RESTING
            if state is not None and watts > ceilings[state]:
                self.contradicted.append((host, state, watts))
                self._count("contradicted", 1)
                group = alone
            else:
                group = groups[ALL] if state is None and not complete else groups.get(state or "", alone)
                self._count(state or ("unknown" if complete else ""), 1)
            group.answers[host] = watts
            group.hosts += 1
        for state in SORTED:
            groups[state].hosts += (silent := sum(s.state == state for s in self.silent))
            self._count(state, silent)
        unknown = [s for s in self.silent if s.state == "unknown"]
        if complete:
            unknown += [HostState("unknown")] * rest
        else:
            groups[ALL].hosts += rest
        down = tuple(s for s in self.silent if s.state == "down")
        self.apart = Silent(self.stratum, sum(s.state == "off" for s in self.silent), down, tuple(unknown))
        for state, hosts in (("off", self.apart.off), ("down", len(down)), ("unknown", len(unknown))):
            self._count(state, hosts)
        self.groups = [g for g in (*groups.values(), alone) if g.hosts]

    def _count(self, state: str, hosts: int) -> None:
        self.counts[state] = self.counts.get(state, 0) + hosts

    def _ceiling_w(self, state: str) -> float:
        """GPU power above which a host of this state cannot be in it, W: half-way between idle and usual, at least.

        If half of the hosts of a state draw more, it is not they that are wrong.
        """
        if state in ("busy", "unknown"):
            return float("inf")
        if state == "off":
            return 0.0
        each = (idle_gpu_w(self.stratum).value + typical_gpu_w(self.stratum).value) / 2.0
        same = sorted(watts for watts, theirs in self.answers.values() if theirs == state)
        usual = same[len(same) // 2] if len(same) >= FEWEST else 0.0
        return max(each * self.stratum.gpus_per_host, 2.0 * usual)


def _merged(groups: list[StateGroup]) -> Iterable[StateGroup]:
    """Let groups with too few answers share a sample: drained with idle hosts, and idle ones of the same boards.

    Busy hosts share none: what another stratum's jobs draw says nothing of this one's.
    """
    for of in (lambda g: g.stratum.name, lambda g: (g.stratum.model, g.stratum.gpus_per_host)):
        kinds: dict[object, dict[str, list[StateGroup]]] = {}
        for group in groups:
            if group.state in RESTING:
                kinds.setdefault(of(group), {}).setdefault(group.key, []).append(group)
        for samples in kinds.values():
            if len(samples) > 1 and any(_is_short(sample) for sample in samples.values()):
                pool = ", ".join(samples)
                for group in (g for sample in samples.values() for g in sample):
                    group.pool = pool
    return groups


def _is_short(sample: list[StateGroup]) -> bool:
    answers = sum(len(g.answers) for g in sample)
    return answers < FEWEST and answers < sum(g.hosts for g in sample)
