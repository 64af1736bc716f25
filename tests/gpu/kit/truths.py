"""What jobs that shared a card should be billed, by two conventions, from the counter and from what they really did.

*Own energy*: a job's work at the price that its work had while it was alone, and an equal part of what the card draws
with contexts open and nothing to do. That is what the jobs would pay if a meter could tell them apart.

*Share of busy time*: what docs/accuracy.md promises. Idle power equally among those present; what is above it to the
one that is there alone, else by how busy each was meanwhile; to nobody where none of several was busy.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from .figures import joules, steps

if TYPE_CHECKING:
    from .schedule import Load

NOBODY = "nobody"


@dataclass(frozen=True)
class Stretch:
    """A time in which the same loads were present (ns after t0)."""

    begin_ns: int
    end_ns: int
    present: tuple[str, ...]

    @property
    def seconds(self) -> float:
        """How long it is."""
        return (self.end_ns - self.begin_ns) / 1e9


def present(loads: list[Load]) -> dict[str, tuple[int, int]]:
    """From when to when each load had the card open (ns after t0)."""
    found = {}
    for load in loads:
        begin = load.about.get("opened_s", load.begins)
        end = max(load.about.get("done_s", load.ends), load.ends)
        found[load.name] = (int(begin * 1e9), int(end * 1e9))
    return found


def stretches(spans: dict[str, tuple[int, int]], begin_ns: int, end_ns: int) -> list[Stretch]:
    """Cut a time wherever a load comes or goes."""
    edges = {t for span in spans.values() for t in span if begin_ns < t < end_ns}
    return [
        Stretch(a, b, tuple(name for name, (x, y) in spans.items() if x <= a and b <= y))
        for a, b in pairwise(sorted({begin_ns, end_ns, *edges}))
    ]


def own_energy(
    loads: list[Load], rows, parts: list[Stretch], open_w: float, alone: dict[str, tuple[float, float]]
) -> dict[str, float]:
    """Joules of each load by its own work.

    Parameters
    ----------
    loads : list of Load
    rows : list of (int, int, ...)
        Time, ns after t0, and the counter, mJ.
    parts : list of Stretch
    open_w : float, W
        What the card draws with a context open and nothing to do.
    alone : dict of str to (float, float)
        From when to when (s after t0) a load worked alone: there its work gets its price.
    """
    by_name = {load.name: load for load in loads}
    price = {}  # J a loop, above what an open card draws
    for name, (a, b) in alone.items():
        measured = joules(rows, a * 1e9, b * 1e9)
        loops = by_name[name].loops(a * 1e9, b * 1e9)
        if measured is not None and loops:
            price[name] = (measured - open_w * (b - a)) / loops
    found = dict.fromkeys(by_name, 0.0)
    for part in parts:
        if len(part.present) == 1:
            found[part.present[0]] += joules(rows, part.begin_ns, part.end_ns) or 0.0
            continue
        for name in part.present:
            work = by_name[name].loops(part.begin_ns, part.end_ns) * price.get(name, 0.0)
            found[name] += work + open_w * part.seconds / len(part.present)
    return found


def busy_share(loads: list[Load], rows, parts: list[Stretch], idle_w: float) -> dict[str, float]:
    """Joules of each load, and of nobody, by how busy each was from step to step of the counter."""
    by_name = {load.name: load for load in loads}
    found = dict.fromkeys([*by_name, NOBODY], 0.0)
    at = [t for t, _ in steps(rows)]
    for part in parts:
        cuts = sorted({part.begin_ns, part.end_ns, *(t for t in at if part.begin_ns < t < part.end_ns)})
        for a, b in pairwise(cuts):
            energy = joules(rows, a, b)
            if energy is None:
                continue
            static = min(energy, idle_w * (b - a) / 1e9)
            for name, weight in shares(part.present, {n: by_name[n].busy(a, b) for n in part.present}).items():
                found[name] += (energy - static) * weight
            for name in part.present or (NOBODY,):
                found[name] += static / max(1, len(part.present))
    return found


def shares(names: tuple[str, ...], busy: dict[str, float]) -> dict[str, float]:
    """Who gets which part of what is above idle power."""
    if len(names) == 1:
        return {names[0]: 1.0}
    total = sum(busy.values())
    return {name: value / total for name, value in busy.items()} if total else {NOBODY: 1.0}
