"""The whole node, by parts: what its own meter said, less GPUs, CPUs and memory, is the rest.

All energies are integers of half nanojoules. The meters of a node are late by different times, so that the rest of a
second may come out negative: that is a debt, which later rest pays. With R what the node used beyond the other parts so
far, the rest is the highest that R ever was, and the debt is the rest less R:

    gpu + cpu + memory + rest = node + debt, and none of them ever falls.

Parts advance only over what the node's meter covers: in a gap of it nothing is known of the rest.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, fields
from math import hypot
from typing import TYPE_CHECKING, Any, NamedTuple

from wattshed.agent.window.host_meters import COUNTER, MEMORY, NODE_AC, NODE_DC, PACKAGE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from wattshed.agent.accounts.host_meters import MeterBook, MeterBooks

CHOSEN = "node-meter"
"""Flag of the meter that the configuration chose."""
NEVER = ("rapl", "hwmon", "grace", "nvml")
"""Sources that are taken for the whole node only where the configuration says so: none is sure to hold all of it."""
CPU_SOURCES = ("rapl", "grace", "hwmon", "cray")
"""In this order; others, by name, after them."""
PATIENCE_US = 300_000_000
"""A node's meter that is silent for so long makes room for the next one."""
WATCHED_US = 600_000_000
MARK_US = 60_000_000
SIGMAS = 3
PARTS = ("gpu", "cpu", "memory", "rest")
HNJ_PER_MW_US = 2


class NodeMark(NamedTuple):
    """Where the books stood at a time: energies (hnj) of the node's meter and of the parts that are measured."""

    time_us: int
    node_hnj: int
    measured_hnj: int
    covered_us: int


@dataclass(slots=True)
class NodeBook:
    """What a node used, by parts, over the time that its meter covered. Energies in hnj, times in us.

    Attributes
    ----------
    meter : str
        Name of the meter that counts as the node's; empty: it has none.
    node_hnj, covered_us : int
        What that meter said, and in what time.
    gpu_hnj, cpu_hnj, memory_hnj, rest_hnj : int
    known : dict of str -> int
        Energies of meters as they stood when parts last advanced; of the GPUs together by the name ``""``.
    known_us, missed_us : int
        Of the node's meter then: time covered, and not.
    """

    meter: str = ""
    node_hnj: int = 0
    covered_us: int = 0
    gpu_hnj: int = 0
    cpu_hnj: int = 0
    memory_hnj: int = 0
    rest_hnj: int = 0
    known_us: int = 0
    missed_us: int = 0
    known: dict[str, int] = field(default_factory=dict)
    _marks: deque[NodeMark] = field(default_factory=deque)
    _above_since_us: int = -1

    @property
    def debt_hnj(self) -> int:
        """What the parts are above the node's meter by now."""
        return self.rest_hnj - (self.node_hnj - self.gpu_hnj - self.cpu_hnj - self.memory_hnj)

    @property
    def parts_hnj(self) -> dict[str, int]:
        """Energy of each part."""
        return dict(zip(PARTS, (self.gpu_hnj, self.cpu_hnj, self.memory_hnj, self.rest_hnj), strict=True))

    def take(self, meters: MeterBooks, gpu_hnj: int | None, now_us: int, *, holds_cpu: bool) -> None:
        """Advance to the end of a window.

        Parameters
        ----------
        meters : MeterBooks
        gpu_hnj : int or None, hnj
            What the node's GPUs used so far; None: that of one of them is not known at all.
        now_us : int, us
        holds_cpu : bool
            Whether a GPU's energy is that of its whole module, CPU and memory included.
        """
        chosen = choose(meters, self.meter, now_us)
        if chosen is None:
            return
        node, (cpu, memory) = meters[chosen], ([], []) if holds_cpu else counted(meters)
        energies = {name: meters[name].energy_hnj for name in _names((node, *cpu, *memory))}
        if gpu_hnj is not None:
            energies[""] = gpu_hnj
        covered_us, missed_us = node.covered_us - self.known_us, node.gap_us - self.missed_us
        fresh = chosen != self.meter
        if not fresh and not covered_us and not missed_us:
            return
        if not fresh and covered_us and gpu_hnj is not None and "" in self.known:

            def used(*books: MeterBook) -> int:
                return sum(energies[name] - self.known.get(name, energies[name]) for name in _names(books))

            gpu_used_hnj = gpu_hnj - self.known[""]
            self._advance(used(node), (gpu_used_hnj, used(*cpu), used(*memory)), covered_us, covered_us + missed_us)
        self.meter, self.known = chosen, energies
        self.known_us, self.missed_us = node.covered_us, node.gap_us
        self._watch(node, now_us, fresh=fresh)

    def _advance(self, node_hnj: int, parts_hnj: tuple[int, int, int], covered_us: int, of_us: int) -> None:
        """Add what was used; of a window that the node's meter covers in part, that part."""
        gpu, cpu, memory = (hnj * covered_us // of_us for hnj in parts_hnj)
        self.node_hnj += node_hnj
        self.covered_us += covered_us
        self.gpu_hnj += gpu
        self.cpu_hnj += cpu
        self.memory_hnj += memory
        self.rest_hnj = max(self.rest_hnj, self.node_hnj - self.gpu_hnj - self.cpu_hnj - self.memory_hnj)

    def _watch(self, node: MeterBook, now_us: int, *, fresh: bool) -> None:
        """Note once a minute where the books stand, for the last ten."""
        marks = self._marks
        if fresh:
            self._forget()
        if marks and now_us - marks[-1].time_us < MARK_US:
            return
        measured_hnj = self.gpu_hnj + self.cpu_hnj + self.memory_hnj
        marks.append(NodeMark(now_us, self.node_hnj, measured_hnj, self.covered_us))
        while len(marks) > 1 and now_us - marks[1].time_us >= WATCHED_US:
            marks.popleft()
        excess, node_hnj = self._excess()
        if excess * 1_000_000 <= SIGMAS * node.meter.sigma_ppm * node_hnj:
            self._above_since_us = -1
        elif self._above_since_us < 0:
            self._above_since_us = now_us

    def _excess(self) -> tuple[int, int]:
        """Return by how much (hnj) the measured parts are above the node in the last minutes, and what that used."""
        first, last = self._marks[0], self._marks[-1]
        node_hnj = last.node_hnj - first.node_hnj
        return last.measured_hnj - first.measured_hnj - node_hnj, node_hnj

    @property
    def disagreement(self) -> float | None:
        """How far GPUs, CPUs and memory are above the node's own meter over the last ten minutes, as a part of it.

        0 where they are not; None before there are ten minutes.
        """
        if len(self._marks) < 2 or self._marks[-1].time_us - self._marks[0].time_us < WATCHED_US:
            return None
        excess, node_hnj = self._excess()
        return max(excess, 0) / node_hnj if node_hnj > 0 else None

    @property
    def rest_mw(self) -> int | None:
        """Mean power of the rest over the last ten minutes, mW; None before there are ten minutes."""
        if len(self._marks) < 2 or self._marks[-1].time_us - self._marks[0].time_us < WATCHED_US:
            return None
        covered_us = self._marks[-1].covered_us - self._marks[0].covered_us
        return -self._excess()[0] // (HNJ_PER_MW_US * covered_us) if covered_us else None

    @property
    def is_doubted(self) -> bool:
        """Whether that is more than three sigma of the meter, and has been for ten minutes."""
        return self._above_since_us >= 0 and self._marks[-1].time_us - self._above_since_us >= WATCHED_US

    def sigmas_hnj(self, meters: MeterBooks, gpu_sigma_hnj: float) -> dict[str, float]:
        """Return one sigma of each part: those of its meters in proportion, and of the rest all in quadrature."""
        cpu, memory = counted(meters)
        found = {
            "gpu": gpu_sigma_hnj,
            "cpu": _relative(cpu) * self.cpu_hnj,
            "memory": _relative(memory) * self.memory_hnj,
        }
        node = meters.get(self.meter)
        found["rest"] = hypot(_relative([node] if node else []) * self.node_hnj, *found.values())
        return found

    def restart(self) -> None:
        """Go on after the agent was down; what was watched begins anew."""
        self._forget()

    def _forget(self) -> None:
        self._marks.clear()
        self._above_since_us = -1

    def merge(self, later: NodeBook) -> None:
        """Add the book of the same node in another part, which is later or apart."""
        residual = self.node_hnj - self.gpu_hnj - self.cpu_hnj - self.memory_hnj
        self.rest_hnj = max(self.rest_hnj, residual + later.rest_hnj)
        for name in ("node_hnj", "covered_us", "gpu_hnj", "cpu_hnj", "memory_hnj"):
            setattr(self, name, getattr(self, name) + getattr(later, name))
        self.meter = later.meter or self.meter

    def plain(self) -> dict[str, Any]:
        """Lay it out for a state file."""
        return {name: getattr(self, name) for name in _KEPT} | {"known": dict(self.known)}

    @classmethod
    def of_plain(cls, plain: dict[str, Any]) -> NodeBook:
        """Read it again.

        Raises
        ------
        ValueError, KeyError, TypeError, AttributeError
            It is none.
        """
        numbers: dict[str, Any] = {name: int(plain[name]) for name in _KEPT if name != "meter"}
        known = {str(name): int(hnj) for name, hnj in plain["known"].items()}
        return cls(str(plain["meter"]), **numbers, known=known)


_KEPT = tuple(one.name for one in fields(NodeBook) if one.name != "known" and not one.name.startswith("_"))


def choose(meters: MeterBooks, now: str, now_us: int) -> str | None:
    """Return the name of the meter that counts as the node's: the first in order that was read in the last minutes.

    The one that the configuration names; cray, drop files, ipmi, redfish. Energy that Redfish reports is coarse: it
    never stands for power.

    Parameters
    ----------
    meters : MeterBooks
    now : str
        The one that did so far: it stays while no other one is read.
    now_us : int, us
    """
    able = [book for book in meters.values() if book.last_us >= 0 and _may_be_the_nodes(book)]
    if flagged := [book for book in able if CHOSEN in book.meter.flags]:
        able = flagged
    heard = [book for book in able if now_us - book.last_us <= PATIENCE_US]
    if heard:
        return min(heard, key=_order).meter.name
    return now if now in meters else None


def _may_be_the_nodes(book: MeterBook) -> bool:
    meter = book.meter
    if CHOSEN in meter.flags:
        return True
    whole = meter.boundary in {NODE_AC, NODE_DC} and not meter.part_of and meter.source not in NEVER
    return whole and not (meter.source == "redfish" and meter.kind == COUNTER)


def _order(book: MeterBook) -> tuple[int, str]:
    """Order drop files' own sources between cray and ipmi."""
    return {"cray": 0, "ipmi": 2, "redfish": 3}.get(book.meter.source, 1), book.meter.name


def others(meters: MeterBooks, chosen: str) -> Iterator[MeterBook]:
    """Yield the other meters of the whole node."""
    for name, book in meters.items():
        if name != chosen and book.was_read and book.meter.boundary in {NODE_AC, NODE_DC} and not book.meter.part_of:
            yield book


def counted(meters: MeterBooks) -> tuple[list[MeterBook], list[MeterBook]]:
    """Return the meters that CPUs and memory are counted by: of one source each, and none that lies in another."""
    read = [book for book in meters.values() if book.last_us >= 0 and book.meter.source != "nvml"]
    cpus = {(book.meter.source, book.meter.domain) for book in read if book.meter.boundary == PACKAGE}

    def of_one_source(boundary: str) -> list[MeterBook]:
        found = [
            book
            for book in read
            if book.meter.boundary == boundary and (book.meter.source, book.meter.part_of) not in cpus
        ]
        first = min((_cpu_order(book) for book in found), default=None)
        return [book for book in found if _cpu_order(book) == first]

    return of_one_source(PACKAGE), of_one_source(MEMORY)


def _cpu_order(book: MeterBook) -> tuple[int, str]:
    source = book.meter.source
    return (CPU_SOURCES.index(source) if source in CPU_SOURCES else len(CPU_SOURCES)), source


def _names(books: Iterable[MeterBook]) -> list[str]:
    return [book.meter.name for book in books]


def _relative(books: Sequence[MeterBook]) -> float:
    """Return one sigma of meters together as a part of what they said: their gains are off alike."""
    energy_hnj = sum(book.energy_hnj for book in books)
    return sum(book.sigma_hnj for book in books) / energy_hnj if energy_hnj else 0.0
