"""Schedules of loads: what is to run when, what really ran, and the same told to the simulated driver."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

WATTS = {"none": 0, "low": 60, "mid": 180, "full": 400}  # of the simulated card, above idle
SHORTEST_S = 0.001  # a step of the simulated driver
JITTER = (0.2, 1.8)  # of a length that is drawn, as a share of its mean


@dataclass
class Load:
    """A process of its own: what it does when (seconds after t0).

    Attributes
    ----------
    name : str
        Of the program, which the agent bills it under.
    segments : list of dict
        See :func:`square`.
    late : bool
        It touches the card only shortly before its first segment, as a job that starts then.
    order : str
        Makers to be tried, instead of the usual ones.
    about : dict
        What it said of itself.
    log : list of (int, int, int)
        Bursts: begin and end, ns after t0, and loops done so far.
    pid : int
    """

    name: str
    segments: list[dict]
    late: bool = False
    order: str = ""
    about: dict = field(default_factory=dict)
    log: list[tuple[int, int, int]] = field(default_factory=list)
    pid: int = 0

    @property
    def begins(self) -> float:
        """Seconds after t0."""
        return min(s["from"] for s in self.segments)

    @property
    def ends(self) -> float:
        """Seconds after t0."""
        return max(s["to"] for s in self.segments)

    def busy(self, from_ns: float, to_ns: float) -> float:
        """Share of a stretch (ns after t0) in which it had a kernel on the card."""
        if to_ns <= from_ns:
            return 0.0
        return sum(max(0, min(b, to_ns) - max(a, from_ns)) for a, b, _ in self.log) / (to_ns - from_ns)

    def loops(self, from_ns: float, to_ns: float) -> float:
        """Loops done in a stretch: work, whatever the time it took."""
        done, before = 0.0, 0
        for a, b, total in self.log:
            done += (total - before) * max(0, min(b, to_ns) - max(a, from_ns)) / max(1, b - a)
            before = total
        return done


def square(begin: float, end: float, kind: str, period: float, on: float, **more) -> dict:
    """A segment: bursts of ``on`` seconds every ``period``, of a kind (none, low, mid, full).

    With ``seed`` the lengths of bursts and of pauses are drawn, ``on`` and ``period`` being their means.
    """
    return {"from": begin, "to": end, "kind": kind, "period": period, "on": on, **more}


def steady(begin: float, end: float, kind: str) -> dict:
    """A segment without pauses, but for some ten microseconds between its kernels."""
    return square(begin, end, kind, 0.02, 0.02)


def drawn(segment: dict):
    """Lengths of bursts and pauses of a segment with a seed, s: the same in the process and in the simulation."""
    rng = random.Random(segment["seed"])
    on, off = segment["on"], segment["period"] - segment["on"]
    while True:
        yield rng.uniform(*JITTER) * on, rng.uniform(*JITTER) * off


def simulated_steps(segment: dict) -> list[list[float]]:
    """A segment as [seconds, watts, SM percent] steps of the simulated driver."""
    length, kind = segment["to"] - segment["from"], segment["kind"]
    watts, sm = WATTS[kind], 100 if kind != "none" else 0
    if kind == "none" or segment["on"] >= segment["period"]:
        return [[round(length, 6), watts, sm]]
    lengths = drawn(segment) if segment.get("seed") else None
    steps, at = [], 0.0
    while at < length - 2 * SHORTEST_S:
        on, off = next(lengths) if lengths else (segment["on"], segment["period"] - segment["on"])
        on = min(max(SHORTEST_S, on), length - at)
        off = min(max(SHORTEST_S, off), length - at - on)
        steps.append([round(on, 6), watts, sm])
        if off >= SHORTEST_S:
            steps.append([round(off, 6), 0, 0])
        at += on + off
    return steps


def ideal_log(load: Load) -> list[tuple[int, int, int]]:
    """What a load's log would be if its bursts were exact; a loop is a microsecond."""
    log, loops = [], 0
    for segment in load.segments:
        at = segment["from"]
        for seconds, _, sm in simulated_steps(segment):
            if sm:
                loops += int(seconds * 1e6)
                log.append((int(at * 1e9), int((at + seconds) * 1e9), loops))
            at += seconds
    return log


def script(loads: list[Load], lead_s: float = 0.0) -> str:
    """The loads as a scenario of the simulated driver that begins ``lead_s`` before t0."""
    lines = ["gpus = 1", "cycle_s = 3600"]
    for load in loads:
        begin, end = load.begins + lead_s, load.ends + lead_s
        steps, at = [], load.begins
        for segment in sorted(load.segments, key=lambda s: s["from"]):
            if segment["from"] - at >= SHORTEST_S:
                steps.append([round(segment["from"] - at, 6), 0, 0])
            steps += simulated_steps(segment)
            at = max(at, segment["to"])
        about = {"name": load.name, "manager": "user", "command": load.name}
        lines += ["[[job]]", *(f'{name} = "{value}"' for name, value in about.items()), "uid = 0", "gpus = [0]"]
        lines += [f"start_s = {begin:.6f}", f"end_s = {max(end, begin + 0.01):.6f}", f"load = {steps}"]
    return "\n".join(lines) + "\n"


def union(loads: list[Load]) -> list[tuple[int, int]]:
    """When the card was busy with any of them: stretches (ns after t0) that neither overlap nor touch."""
    return merged((a, b) for load in loads for a, b, _ in load.log)


def merged(spans) -> list[tuple[int, int]]:
    """Join stretches that overlap or touch."""
    found: list[tuple[int, int]] = []
    for a, b in sorted(spans):
        if found and a <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], b))
        else:
            found.append((a, b))
    return found
